"""Between messages of administration and what the directory's operations take, give and refuse."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import field_mask_pb2, timestamp_pb2
from google.protobuf.message import Message

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.transports.grpc.administration.record_messages import TIMES, read_record, revision, seconds
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason, LimitError, invalid_request
from authz_sidecar.values import Violation
from authz_sidecar.values.request import value_problem
from authz_sidecar.values.visible import visible

DEFAULT_PAGE, MAX_PAGE = 100, 1000
# A status travels in metadata, which clients bound at 8 kB.
MAX_MESSAGE = 1000
MAX_JUSTIFICATION = 1024
MAX_IDEMPOTENCY_KEY = 256
# 9999-12-31T23:59:59Z, the last that a Timestamp may say.
LAST_SECOND = 253_402_300_799

RETRY_SECONDS = 1.0
_NAME = re.compile(r"[^.`]{1,256}")

_FAULTS: Mapping[Fault, tuple[grpc.StatusCode, ErrorReason]] = {
    Fault.INVALID: (grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.INVALID_REQUEST),
    Fault.NOT_FOUND: (grpc.StatusCode.NOT_FOUND, ErrorReason.RECORD_NOT_FOUND),
    Fault.ALREADY_EXISTS: (grpc.StatusCode.ALREADY_EXISTS, ErrorReason.ALREADY_EXISTS),
    Fault.CONFLICT: (grpc.StatusCode.ABORTED, ErrorReason.ETAG_MISMATCH),
    Fault.LIMIT: (grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.LIMIT_REACHED),
    Fault.PRECONDITION: (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.NOT_POSSIBLE_NOW),
    Fault.JUSTIFICATION: (grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.JUSTIFICATION_REQUIRED),
    Fault.LOCKED: (grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.TOO_MANY_CALLS),
    Fault.UNAUTHENTICATED: (grpc.StatusCode.UNAUTHENTICATED, ErrorReason.SIGN_IN_FAILED),
    Fault.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, ErrorReason.STORE_UNAVAILABLE),
    Fault.CORRUPT: (grpc.StatusCode.DATA_LOSS, ErrorReason.STORE_CORRUPT),
}
# What may be tried again, where the directory does not say when.
_PASSING = frozenset((Fault.UNAVAILABLE, Fault.LOCKED))


def call_error(error: DirectoryError) -> CallError:
    """The error of a call that the directory refuses; its violations name paths in the request message."""
    code, reason = _FAULTS[error.fault]
    message = visible(f"{error.message}; {error.help}" if error.help else error.message)
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…"
    details = {name: visible(value) for name, value in error.details.items()}
    if error.fault is Fault.LIMIT:
        return LimitError(message, details.get("limit_name", "directory"), details)
    retry = error.retry_after
    if retry is None and error.fault in _PASSING:
        retry = RETRY_SECONDS
    violations = []
    if error.fault is Fault.INVALID:
        violations = [Violation(visible(found.field), visible(found.description)) for found in error.violations]
    if error.fault is Fault.CONFLICT and any(found.field == "idempotency_key" for found in error.violations):
        reason = ErrorReason.IDEMPOTENCY_KEY_REUSED
    return CallError(code, message, reason, violations, details, retry)


def invalid(field: str, description: str) -> CallError:
    """The error of a request with one thing wrong in it."""
    return invalid_request([Violation(field, description)])


class Checked:
    """Gathers what is invalid in a message, so that all of it is told at once."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        """Something is invalid."""
        self.violations.append(Violation(field, description))

    def needed(self, field: str, value: str) -> str:
        """A value of requests that must not be empty."""
        if not value:
            self.refuse(field, f"{field} is empty")
        return self.value(field, value)

    def value(self, field: str, value: str) -> str:
        """A value as requests have them, or ""."""
        problem = value_problem(value)
        if problem:
            self.refuse(field, f"{field} {problem}")
        return value

    def bounded(self, field: str, value: str, most: int) -> str:
        """A text of at most so many characters."""
        if len(value) > most:
            self.refuse(field, f"{field} is longer than {most:,} characters")
        return value

    def time(self, field: str, message: Any, name: str) -> float | None:
        """The time that a field of a message says, in seconds since 1970-01-01 UTC; None where it is unset."""
        return self.stamp(field, getattr(message, name)) if message.HasField(name) else None

    def stamp(self, field: str, stamp: timestamp_pb2.Timestamp) -> float:
        """A time."""
        if not (0 <= stamp.seconds <= LAST_SECOND and 0 <= stamp.nanos < 1_000_000_000):
            self.refuse(field, f"{field} is no time between 1970 and 9999")
            return 0.0
        return seconds(stamp)

    def etag(self, field: str, value: str) -> int | None:
        """The revision that an etag names; None for an empty one."""
        try:
            return revision(value)
        except ValueError:
            self.refuse(field, f"{field} is no etag; give the one of the record as it was read")
            return None

    def record(self, field: str, message: Message) -> Any:
        """The record of a message that `field` holds; None with a violation where it is none."""
        for name in TIMES.values():
            if name in message.DESCRIPTOR.fields_by_name and message.HasField(name):
                self.stamp(f"{field}.{name}", getattr(message, name))
        if self.violations:
            return None
        try:
            return read_record(message)
        except ValueError:
            # What a message may hold and a record may not: a kind that is none, an etag.
            if "kind" in message.DESCRIPTOR.fields_by_name:
                self.refuse(f"{field}.kind", f"{field}.kind is neither a user nor a service account")
            else:
                self.refuse(field, f"{field} holds a value that is not taken")
            return None

    def page_size(self, value: int) -> int:
        """How many records a page shall have."""
        if value < 0 or value > MAX_PAGE:
            self.refuse("page_size", f"page_size is not between 0 and {MAX_PAGE:,}")
            return DEFAULT_PAGE
        return value or DEFAULT_PAGE

    def mask(self, mask: field_mask_pb2.FieldMask, known: Sequence[str], maps: Sequence[str] = ()) -> tuple[str, ...]:
        """The paths of a field mask, each once: fields of `known`, and `NAME.KEY` for those of `maps`."""
        paths: list[str] = []
        if not mask.paths:
            self.refuse("update_mask", f"update_mask is empty; it may name {listed(known)}")
        for path in dict.fromkeys(mask.paths):
            field, dot, key = path.partition(".")
            if path in known or (dot and field in maps and _NAME.fullmatch(key)):
                paths.append(path)
            else:
                self.refuse("update_mask", f"update_mask names `{visible(path)[:64]}`; it may name {listed(known)}")
        for path in paths:
            if "." in path and path.partition(".")[0] in paths:
                self.refuse("update_mask", f"update_mask names `{visible(path)[:64]}` beside all of that field")
        return tuple(paths)

    def done(self) -> None:
        """Raises CallError if anything is invalid."""
        if self.violations:
            raise invalid_request(self.violations)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: "`a`, `b` or `c`"."""
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def changes_of(record: Any, paths: Iterable[str]) -> dict[str, Any]:
    """What these paths of an update mask change, by the names of the record's fields: `flags.NAME` is None where the
    message does not have it, which switches it neither on nor off."""
    fields = {message: field for field, message in TIMES.items()}
    changes: dict[str, Any] = {}
    for path in paths:
        field, dot, key = path.partition(".")
        if dot:
            changes[path] = getattr(record, field).get(key)
        else:
            name = fields.get(field, field)
            changes[name] = getattr(record, name)
    return changes


def mask_attributes(paths: Iterable[str]) -> dict[str, Any]:
    """What the policy may know of an update: `r.obj.changes` are the fields, each once."""
    return {"changes": list(dict.fromkeys(path.partition(".")[0] for path in paths))}


def asked(message: Message) -> str:
    """What a list is asked for, but for its pages: a page token holds for that alone."""
    about: Any = type(message)()
    about.CopyFrom(message)
    about.ClearField("page_size")
    about.ClearField("page_token")
    raw: bytes = about.SerializeToString(deterministic=True)
    return f"{message.DESCRIPTOR.full_name}\0{raw.hex()}"


def check_call(checked: Checked, message: Any) -> None:
    """Check what many messages have beside a record."""
    fields = message.DESCRIPTOR.fields_by_name
    if "justification" in fields:
        checked.bounded("justification", message.justification, MAX_JUSTIFICATION)
    if "idempotency_key" in fields:
        checked.bounded("idempotency_key", message.idempotency_key, MAX_IDEMPOTENCY_KEY)


def needed(field: str, value: str) -> None:
    """Raises CallError for an empty value."""
    checked = Checked()
    checked.needed(field, value)
    checked.done()
