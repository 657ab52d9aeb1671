"""Rows of the tables as records, and back."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, delete, select

from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import not_found
from authz_sidecar.directory.storage.records import AssignmentRecord, GrantRecord, IdentityRecord, ShareRecord
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, GRANTS, IDENTITIES, KEYS, SHARES, TOKENS
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.request import value_problem

ROWS_AT_ONCE = 500
"""How many ids one query asks for, and how many rows one statement writes."""


def select_identities() -> Select[Any]:
    """All that `identity_record` reads."""
    return select(*(IDENTITIES.c[name] for name in IdentityRecord.__struct_fields__))


def identity_record(row: Row[Any]) -> IdentityRecord:
    """A row of `identities`."""
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    fields["kind"] = IdentityKind(fields["kind"])
    return IdentityRecord(**fields)


def assignment_record(row: Row[Any]) -> AssignmentRecord:
    """A row of `assignments`."""
    return AssignmentRecord(**row._mapping)  # noqa: SLF001


def grant_record(row: Row[Any]) -> GrantRecord:
    """A row of `grants`."""
    fields = dict(row._mapping)  # noqa: SLF001
    return GrantRecord(**{**fields, "actions": tuple(fields["actions"])})


def share_record(row: Row[Any]) -> ShareRecord:
    """A row of `shares`."""
    fields = dict(row._mapping)  # noqa: SLF001
    return ShareRecord(**{**fields, "actions": tuple(fields["actions"])})


def find_identity(connection: Connection, id: str) -> IdentityRecord:
    """The identity with that id. Raises DirectoryError(NOT_FOUND)."""
    row = (
        None
        if value_problem(id)
        else connection.execute(select_identities().where(IDENTITIES.c.id == id)).one_or_none()
    )
    if row is None:
        raise not_found("identity", id)
    return identity_record(row)


def find_assignments(connection: Connection, identity: str) -> list[AssignmentRecord]:
    """The roles that an identity was assigned, those that are over too."""
    query = select(ASSIGNMENTS).where(ASSIGNMENTS.c.identity == identity).order_by(ASSIGNMENTS.c.id)
    return [assignment_record(row) for row in connection.execute(query)]


def find_assignment(connection: Connection, id: str) -> AssignmentRecord:
    """The assignment with that id. Raises DirectoryError(NOT_FOUND)."""
    return assignment_record(_find(connection, ASSIGNMENTS, "assignment", id))


def find_grant(connection: Connection, id: str) -> GrantRecord:
    """The grant with that id. Raises DirectoryError(NOT_FOUND)."""
    return grant_record(_find(connection, GRANTS, "grant", id))


def find_share(connection: Connection, id: str) -> ShareRecord:
    """The share with that id. Raises DirectoryError(NOT_FOUND)."""
    return share_record(_find(connection, SHARES, "share", id))


def _find(connection: Connection, table: Table, noun: str, id: str) -> Row[Any]:
    row = None if value_problem(id) else connection.execute(select(table).where(table.c.id == id)).one_or_none()
    if row is None:
        raise not_found(noun, id)
    return row


def columns(record: msgspec.Struct) -> dict[str, Any]:
    """The columns of a record's row."""
    fields = msgspec.structs.asdict(record)
    for name, value in fields.items():
        if isinstance(value, tuple):
            fields[name] = list(value)
        elif isinstance(value, IdentityKind):
            fields[name] = int(value)
    return fields


def audited(record: msgspec.Struct) -> dict[str, Any]:
    """A record as the audit keeps it: what says nothing is left out."""
    fields = columns(record)
    if isinstance(record, IdentityRecord):
        fields["kind"] = record.kind.label
    return {name: value for name, value in fields.items() if value not in ("", None, {}, [])}


def held_credentials(change: Change, identity: str) -> tuple[Sequence[str], Sequence[str]]:
    """The ids of an identity's keys and tokens."""
    keys = change.connection.execute(select(KEYS.c.id).where(KEYS.c.identity == identity)).scalars().all()
    tokens = change.connection.execute(select(TOKENS.c.id).where(TOKENS.c.identity == identity)).scalars().all()
    return keys, tokens


def delete_row(change: Change, table: Table, id: str) -> None:
    """Remove the row with that id."""
    change.connection.execute(delete(table).where(table.c.id == id))
