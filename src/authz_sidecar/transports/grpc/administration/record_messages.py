"""Records of the directory as messages of `authz.v1`, and back: one table says which field is which.

A time is a Timestamp, unset for None; an etag is the record's revision as text; attributes are a Struct.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import credential_service_pb2, identity_pb2
from authz_sidecar.directory.storage.records import (
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    KeyRecord,
    ShareRecord,
    TokenRecord,
)
from authz_sidecar.transports.grpc.conversion import read_struct, timestamp
from authz_sidecar.values.identity import IdentityKind

Record: TypeAlias = IdentityRecord | AssignmentRecord | GrantRecord | ShareRecord | KeyRecord | TokenRecord

MESSAGES: Mapping[type, type[Message]] = {
    IdentityRecord: identity_pb2.Identity,
    AssignmentRecord: identity_pb2.RoleAssignment,
    GrantRecord: identity_pb2.IdentityGrant,
    ShareRecord: identity_pb2.Share,
    KeyRecord: credential_service_pb2.ApiKey,
    TokenRecord: credential_service_pb2.AccessToken,
}
RECORDS: Mapping[type[Message], type] = {message: record for record, message in MESSAGES.items()}

# Fields of records that messages name in their own way; the others are named alike.
TIMES = {
    "created_at": "create_time",
    "updated_at": "update_time",
    "begins_at": "begin_time",
    "expires_at": "expire_time",
    "revoked_at": "revoke_time",
    "last_used_at": "last_use_time",
    "ends_at": "end_time",
}
# What no message has: clients need not know by how much a token slides.
_UNTOLD = frozenset(("sliding_seconds",))


def record_message(record: Record) -> Any:
    """The message of a record."""
    kind = MESSAGES[type(record)]
    fields: dict[str, Any] = {}
    for field in record.__struct_fields__:
        value = getattr(record, field)
        if field in TIMES:
            if value is not None:
                fields[TIMES[field]] = timestamp(value)
        elif field == "revision":
            if "etag" in kind.DESCRIPTOR.fields_by_name:
                fields["etag"] = etag(value)
        elif field == "attributes":
            if value:
                struct = struct_pb2.Struct()
                struct.update(value)
                fields["attributes"] = struct
        elif field == "kind":
            fields["kind"] = int(value)
        elif field not in _UNTOLD:
            fields[field] = value
    return kind(**fields)


def read_record(message: Message) -> Any:
    """The record of a message. Raises ValueError where a field is not what a record may hold."""
    kind = RECORDS[type(message)]
    fields: dict[str, Any] = {}
    names: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    for field in names:
        if field in TIMES:
            name = TIMES[field]
            if message.HasField(name):
                fields[field] = seconds(getattr(message, name))
        elif field == "revision":
            if "etag" in message.DESCRIPTOR.fields_by_name:
                fields["revision"] = revision(message.etag) or 0  # type: ignore[attr-defined]
        elif field == "attributes":
            fields[field] = read_struct(message.attributes)  # type: ignore[attr-defined]
        elif field == "flags":
            fields[field] = dict(message.flags)  # type: ignore[attr-defined]
        elif field == "actions":
            fields[field] = tuple(message.actions)  # type: ignore[attr-defined]
        elif field == "kind":
            fields[field] = IdentityKind(message.kind)  # type: ignore[attr-defined]
        elif field not in _UNTOLD:
            fields[field] = getattr(message, field)
    return kind(**fields)


def seconds(stamp: timestamp_pb2.Timestamp) -> float:
    """A Timestamp as seconds since 1970-01-01 UTC, to the microsecond."""
    return stamp.seconds + stamp.nanos // 1000 / 1_000_000


def etag(revision: int) -> str:
    """The etag of a record that was changed last at `revision`."""
    return f"r{revision}"


def revision(tag: str) -> int | None:
    """The revision that an etag stands for; None for an empty one. Raises ValueError for what is no etag."""
    if not tag:
        return None
    digits = tag[1:]
    if tag[0] != "r" or not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
        raise ValueError(f"`{tag}` is no etag")
    return int(digits)
