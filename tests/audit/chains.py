"""A store's audit in the hands of a test: written as the store writes it, tampered with as an attacker would."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from authz_sidecar.audit.chain import GENESIS, row
from authz_sidecar.audit.reading import AuditFilter, Entry, read_all
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.audit.verification import Report, verify
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import AUDIT, STATE
from authz_sidecar.directory.storage.store import Change, Store

BEGAN = 1_700_000_000.0


class Chain:
    """The audit of `store`. The record with the number N is of the minute N after `BEGAN`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read = store.read

    @contextmanager
    def change(self, now: float = BEGAN, actor: str = "sidecar") -> Iterator[Change]:
        """A change of the store."""
        with self.store.change(Actor(actor), now) as change:
            yield change

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection whose changes are committed."""
        with self.change() as change:
            yield change.connection

    def append(self, *records: Mapping[str, Any]) -> None:
        """Append records by `anna`, or by what is in `actor`; other fields are those of `Change.audit`."""
        with self.store.change(Actor("anna", credential="key:k1", address="10.0.0.7", call="c-1"), BEGAN) as change:
            for number, fields in enumerate(records, change.state.audit_sequence + 1):
                made: dict[str, Any] = {"action": "identity.update", "time": BEGAN + 60 * number, **fields}
                if "actor" in made:
                    made["actor"] = Actor(made["actor"])
                change.audit(**made)

    def fill(self, count: int) -> None:
        """Append so many records that differ."""
        self.append(
            *[
                {
                    "subject": f"user-{number % 3}",
                    "company": ("", "acme", "globex")[number % 3],
                    "object_type": "identity",
                    "object_id": f"user-{number % 3}",
                    "before": {"name": "é", "flags": {"a": True}},
                    "after": {"name": f"n{number}", "flags": {"a": False}, "limit": number / 7},
                    "justification": "because",
                }
                for number in range(count)
            ]
        )

    @contextmanager
    def tampered(self, *statements: str, **values: Any) -> Iterator[Connection]:
        """A connection that sees the store after these statements; nobody else ever does."""
        with self.store.engine.connect() as connection, connection.begin() as transaction:
            for statement in statements:
                bound = {name: value for name, value in values.items() if f":{name}" in statement}
                connection.execute(text(statement), bound)
            yield connection
            transaction.rollback()

    def verify(self, **options: Any) -> Report:
        """The verdict on the store as it is."""
        with self.read() as connection:
            return verify(connection, **options)

    def entries(self) -> list[Entry]:
        """All records."""
        return list(read_all(self.read, AuditFilter()))


def rewrite(connection: Connection, records: Sequence[AuditRecord]) -> None:
    """Put another audit in the place of what is there, whole and consistent in itself, as whoever can write the store
    could."""
    connection.execute(AUDIT.delete())
    hash = GENESIS
    for record in records:
        made = row(hash, record)
        connection.execute(AUDIT.insert(), made)
        hash = made["hash"]
    connection.execute(STATE.update().values(audit_sequence=len(records), audit_hash=hash))
