"""Reads the audit: lists by filter, page by page, and what follows.

Lists are in the order of the sequence, which is that in which records were committed: whoever has read up to a place
has read all that there will ever be before it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

from authz_sidecar.audit.chain import ChainError, parse
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.audit.verification import FEW_ROWS

PAGE: Final = 100
MOST_PAGE: Final = 1000
MOST_ACTIONS: Final = 50
# What one page may hold in texts, so that a few large records do not make it too large to send.
PAGE_BYTES: Final = 1 << 20
# What databases count up to.
MOST_SEQUENCE: Final = (1 << 63) - 1


class UnreadableRecordError(Exception):
    """A row that is not what was written; `sequence` is where."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"record {sequence} of the audit is not what was written")
        self.sequence = sequence


class MovedAuditError(Exception):
    """Records went, or the store was set back to a backup, while somebody was reading: it is not known what is left
    out."""

    def __init__(self) -> None:
        super().__init__("the audit was pruned or set back to a backup while it was read")


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records: each field that is set narrows the list.

    `identity` did it, or it was done to it or on its behalf. `company` is one, "" for the platform, None for any.
    `actions` are exact, or beginnings of dotted names: `key` takes in `key.revoke`. Records from `begins` until just
    before `ends` (seconds since 1970-01-01 UTC). `companies` are those that the reader may see ("" for the platform),
    None for all.
    """

    actor: str = ""
    subject: str = ""
    identity: str = ""
    company: str | None = None
    actions: tuple[str, ...] = ()
    begins: float | None = None
    ends: float | None = None
    companies: frozenset[str] | None = None

    def takes(self, record: AuditRecord) -> bool:
        """Whether the list has this record."""
        return (
            (not self.actor or record.actor == self.actor)
            and (not self.subject or record.subject == self.subject)
            and (not self.identity or self.identity in {record.actor, record.subject, record.on_behalf_of})
            and (self.company is None or record.company == self.company)
            and (self.companies is None or record.company in self.companies)
            and (
                not self.actions
                or any(record.action == action or record.action.startswith(f"{action}.") for action in self.actions)
            )
            and (self.begins is None or record.time >= self.begins)
            and (self.ends is None or record.time < self.ends)
        )


class Entry(msgspec.Struct, frozen=True):
    """A record, its line in the audit, and its hash."""

    record: AuditRecord
    text: str
    hash: bytes


class AuditPage(msgspec.Struct, frozen=True):
    """Some entries, and up to which place everything was looked at. `more` says whether there was more to look at.
    `epoch` is the store's, which is another one once it was set back to a backup."""

    entries: tuple[Entry, ...]
    reached: int
    more: bool
    epoch: str


def read_page(connection: Connection, filter: AuditFilter, *, after: int = 0, size: int = PAGE) -> AuditPage:
    """The first `size` records after the place `after` that `filter` takes. Raises UnreadableRecordError."""
    if filter.companies is not None and not filter.companies:
        return AuditPage((), max(read_end(connection), after), more=False, epoch=read_epoch(connection))
    # Before the records: what is written in between is read later.
    end, epoch = read_end(connection), read_epoch(connection)
    statement, values = _query(connection.dialect.name, filter)
    values |= {"after": min(after, MOST_SEQUENCE), "size": size + 1}
    entries: list[Entry] = []
    room, more = PAGE_BYTES, False
    with connection.execute(text(statement), values, execution_options=FEW_ROWS) as rows:
        for sequence, line, hash in rows:
            room -= len(line)
            if len(entries) == size or (entries and room < 0):
                more = True
                break
            entries.append(_entry(sequence, line, hash, filter))
    last = entries[-1].record.sequence if entries else after
    return AuditPage(tuple(entries), last if more else max(end, last), more, epoch)


def read_last(connection: Connection, filter: AuditFilter, size: int) -> list[Entry]:
    """The last `size` records that `filter` takes, the oldest first. Raises UnreadableRecordError."""
    statement, values = _query(connection.dialect.name, filter, "sequence DESC")
    rows = connection.execute(text(statement), values | {"after": 0, "size": size})
    return [_entry(sequence, line, hash, filter) for sequence, line, hash in rows][::-1]


def read_end(connection: Connection) -> int:
    """The place of the last record; 0 where there is none."""
    return int(connection.execute(text("SELECT audit_sequence FROM state")).scalar_one())


def read_epoch(connection: Connection) -> str:
    """The epoch of the store."""
    return str(connection.execute(text("SELECT epoch FROM state")).scalar_one())


def read_all(
    read: Callable[[], AbstractContextManager[Connection]], filter: AuditFilter, *, size: int = MOST_PAGE
) -> Iterator[Entry]:
    """All records that `filter` takes up to the place where the audit ends now, a page in memory at a time.

    Each page is read in a transaction of its own, so that no snapshot is held for as long as an export takes. Raises
    UnreadableRecordError, and MovedAuditError where records went meanwhile that had not been read.
    """
    with read() as connection:
        end, epoch = read_end(connection), read_epoch(connection)
        place = _removed(connection)
    more = True
    while more and place < end:
        with read() as connection:
            page = read_page(connection, filter, after=place, size=size)
            if page.epoch != epoch or _removed(connection) > place:
                raise MovedAuditError
        for entry in page.entries:
            if entry.record.sequence > end:
                return
            yield entry
        place, more = page.reached, page.more


def _removed(connection: Connection) -> int:
    """The place of the last record before the first that is left; 0 where none has gone."""
    first = connection.execute(text("SELECT min(sequence) FROM audit")).scalar_one()
    return 0 if first is None else int(first) - 1


def _entry(sequence: int, line: str, hash: bytes, filter: AuditFilter) -> Entry:
    try:
        record = parse(line).record
    except ChainError as error:
        raise UnreadableRecordError(sequence) from error
    # INVARIANT: what a reader may see is decided by the record itself, never by a column alone.
    if record.sequence != sequence or not filter.takes(record):
        raise UnreadableRecordError(sequence)
    return Entry(record, line, bytes(hash))


def _query(dialect: str, filter: AuditFilter, order: str = "sequence") -> tuple[str, dict[str, Any]]:
    """The statement for `filter`, with `after` and `size` left to fill in."""
    limit = f"ORDER BY {order} LIMIT :size"
    where = ["sequence > :after"]
    values: dict[str, Any] = {}
    for name, wanted in (("actor", filter.actor), ("subject", filter.subject)):
        if wanted:
            where.append(f"{name} = :{name}")
            values[name] = wanted
    if filter.company is not None:
        where.append("company = :company")
        values["company"] = filter.company
    if filter.companies is not None:
        values["companies"] = sorted(filter.companies)
        if dialect == "sqlite":
            values["companies"] = json.dumps(values["companies"])
        where.append(_AMONG[dialect])
    if filter.actions:
        where.append("(" + " OR ".join(_action(number) for number in range(len(filter.actions))) + ")")
        for number, action in enumerate(filter.actions):
            values |= {f"action{number}": action, f"under{number}": f"{action}.", f"length{number}": len(action) + 1}
    if filter.begins is not None:
        where.append("at >= :begins")
        values["begins"] = filter.begins
    if filter.ends is not None:
        where.append("at < :ends")
        values["ends"] = filter.ends
    conditions = " AND ".join(where)
    if not filter.identity:
        return f"{_SELECT} WHERE {conditions} {limit}", values
    values["identity"] = filter.identity
    # One of three columns: each has its index, and gives as many as can be needed.
    parts = " UNION ".join(
        f"SELECT sequence FROM ({_PLACES} WHERE {name} = :identity AND {conditions} {limit}) AS of_{name}"  # noqa: S608
        for name in ("actor", "subject", "on_behalf_of")
    )
    return f"{_SELECT} WHERE sequence IN ({parts}) {limit}", values


def _action(number: int) -> str:
    return f"action = :action{number} OR substr(action, 1, :length{number}) = :under{number}"


_SELECT: Final = "SELECT sequence, record, hash FROM audit"
_PLACES: Final = "SELECT sequence FROM audit"
_AMONG: Final = {
    "sqlite": "company IN (SELECT value FROM json_each(:companies))",
    "postgresql": "company = ANY(CAST(:companies AS text[]))",
}
