"""Reading a store into memory: all of it, or what changed since a revision, each in one read of one revision."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count, groupby
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Table, func, select, text

from authz_sidecar.directory.memory.assembly import (
    ASSIGNMENT_COLUMNS,
    GRANT_COLUMNS,
    IDENTITY_COLUMNS,
    SHARE_COLUMNS,
    Assembler,
    Row,
)
from authz_sidecar.directory.memory.copy import Changes, Contents, DirectoryCopy, KeyFacts, Mark, TokenFacts
from authz_sidecar.directory.storage.change import read_state
from authz_sidecar.directory.storage.faults import told_by_driver
from authz_sidecar.directory.storage.place import POSTGRESQL
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, CHANGES, GRANTS, IDENTITIES, KEYS, SHARES, TOKENS
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import FOREVER, Identity

# Rows that come from a database at once.
FETCHED_ROWS = 10_000
# Portions between searches for garbage that is not quite young.
PORTIONS_TO_SEARCH = 4
# Keys of one question to it; both databases bound them.
ASKED_KEYS = 500
# More that was touched than this is read with all the rest, which is quicker.
MOST_TOUCHED = 20_000

_KEY_COLUMNS = ("id", "hash", "identity", "active", "expires_at", "revoked_at")
_TOKEN_COLUMNS = ("id", "hash", "identity", "expires_at", "sliding_seconds", "ends_at", "revoked_at")

T = TypeVar("T")
Owner: TypeAlias = Callable[[str], Identity | None]


class GapError(Exception):
    """What changed since a revision cannot be told: all has to be read. The message says why."""


class HaltedError(Exception):
    """What is being read is wanted no more."""


def load(store: Store, assembler: Assembler, halted: Callable[[], bool] = lambda: False) -> Contents:
    """All of the directory at its newest revision; raises DirectoryError, and HaltedError once `halted` says so, which
    is asked a few times a second.

    Python's searches for garbage are held off meanwhile, and what was read is put out of their sight.
    """
    with store.read() as connection, _without_collecting(), told_by_driver(store.shown):
        state = read_state(connection, store.shown)
        if store.dialect == POSTGRESQL:
            # To put millions of rows in order takes longer than any operation may.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        contents = Contents(state.epoch, state.revision, mark=_mark(connection, state.revision))
        identities = contents.identities
        for id, identity in _all_identities(connection, assembler, halted):
            if identity is None:
                contents.elsewhere.add(id)
            else:
                identities[id] = identity
        contents.keys = _keys(_rows(connection, KEYS, _KEY_COLUMNS, halted), identities.get)
        contents.tokens = _tokens(_rows(connection, TOKENS, _TOKEN_COLUMNS, halted), identities.get)
    return contents


def read_identity(store: Store, id: str) -> Identity | None:
    """One identity at the newest revision; None for one that is not there. Raises DirectoryError."""
    with store.read() as connection:
        return _identities(connection, {id}, Assembler()).get(id)


def read_identities(store: Store, ids: set[str], assembler: Assembler) -> tuple[int, dict[str, Identity]]:
    """The newest revision and those of these identities that there are at it. Raises DirectoryError."""
    with store.read() as connection:
        found = _identities(connection, ids, assembler)
        revision = read_state(connection, store.shown).revision
    return revision, {id: identity for id, identity in found.items() if identity is not None}


def changes_since(store: Store, copy: DirectoryCopy, assembler: Assembler) -> Changes | None:
    """What the copy lacks of the newest revision; None where it lacks nothing.

    Raises GapError where that cannot be told, and DirectoryError.
    """
    with store.read() as connection:
        state = read_state(connection, store.shown)
        mine = copy.revision
        if state.epoch != copy.epoch:
            raise GapError("the store has another history")
        # A database that came back without its last changes, as after a failover, gives their numbers to others.
        if state.changes_from <= mine <= state.revision and _mark(connection, mine) != copy.contents.mark:
            raise GapError(f"the store has another revision {mine}")
        if state.revision == mine:
            return None
        if state.revision < mine:
            raise GapError(f"the store is at revision {state.revision}, which is before {mine}")
        if state.changes_from > mine + 1:
            raise GapError(f"the store knows changes from revision {state.changes_from} on, which is after {mine + 1}")
        since = CHANGES.c.revision > mine
        touched: dict[str, set[str]] = {"identity": set(), "key": set(), "token": set()}
        asked = select(CHANGES.c.kind, CHANGES.c.key).where(since).distinct().limit(MOST_TOUCHED + 1)
        for number, (kind, key) in enumerate(connection.execute(asked)):
            if number == MOST_TOUCHED:
                raise GapError(f"more than {MOST_TOUCHED} records have changed")
            touched[kind].add(key)
        made_at = connection.execute(select(func.min(CHANGES.c.at)).where(since)).scalar_one_or_none()
        identities = _identities(connection, touched["identity"], assembler)
        for id in touched["identity"]:
            _follow_credentials(connection, id, identities.get(id), copy, touched)

        def owner(id: str) -> Identity | None:
            return identities.get(id) if id in touched["identity"] else copy.identity(id)

        return Changes(
            state.revision,
            _with_gone(touched["identity"], identities),
            _with_gone(touched["key"], _keys(_by_id(connection, KEYS, _KEY_COLUMNS, touched["key"]), owner)),
            _with_gone(touched["token"], _tokens(_by_id(connection, TOKENS, _TOKEN_COLUMNS, touched["token"]), owner)),
            made_at,
            frozenset([id for id, identity in identities.items() if identity is None]),
            _mark(connection, state.revision),
        )


def _mark(connection: Connection, revision: int) -> Mark:
    found = connection.execute(
        select(CHANGES.c.kind, CHANGES.c.key, CHANGES.c.at).where(CHANGES.c.revision == revision, CHANGES.c.number == 0)
    ).first()
    return None if found is None else (found.kind, found.key, found.at)


def _follow_credentials(
    connection: Connection, id: str, identity: Identity | None, copy: DirectoryCopy, touched: dict[str, set[str]]
) -> None:
    """Where an identity comes or goes, its credentials do, whether or not a change names them."""
    if identity is None:
        if copy.identity(id) is not None:
            touched["key"].update(key for key, facts in copy.contents.keys.items() if facts.identity == id)
            touched["token"].update(key for key, facts in copy.contents.tokens.items() if facts.identity == id)
    elif copy.identity(id) is None:
        for table, kind in ((KEYS, "key"), (TOKENS, "token")):
            touched[kind].update(connection.execute(select(table.c.id).where(table.c.identity == id)).scalars())


def _identities(connection: Connection, ids: set[str], assembler: Assembler) -> dict[str, Identity | None]:
    """Those that there are; None for what is not held here."""
    found: dict[str, Identity | None] = {}
    for some in _some(ids):
        rows = connection.execute(
            select(*(IDENTITIES.c[name] for name in IDENTITY_COLUMNS)).where(IDENTITIES.c.id.in_(some))
        ).all()
        assignments = _belonging(connection, ASSIGNMENTS, ASSIGNMENT_COLUMNS, some)
        grants = _belonging(connection, GRANTS, GRANT_COLUMNS, some)
        shares = _belonging(connection, SHARES, SHARE_COLUMNS, some)
        for row in rows:
            id = row[0]
            found[id] = assembler.identity(row, assignments.get(id, ()), grants.get(id, ()), shares.get(id, ()))
    return found


def _belonging(
    connection: Connection, table: Table, columns: Sequence[str], ids: Sequence[str]
) -> Mapping[str, list[Row]]:
    """Rows of a table by the identity that they belong to."""
    found: dict[str, list[Row]] = {}
    for row in connection.execute(select(*(table.c[name] for name in columns)).where(table.c.identity.in_(ids))):
        found.setdefault(row[0], []).append(row)
    return found


def _keys(rows: Iterable[Row], owner_of: Owner) -> dict[str, KeyFacts]:
    """Keys by id, of owners that are held here."""
    found = {}
    for id, hash, identity, active, expires, revoked in rows:
        owner = owner_of(identity)
        if owner is not None:
            ends = FOREVER if expires is None else expires
            found[id] = KeyFacts(bytes(hash), owner.id, bool(active), ends, revoked is not None)
    return found


def _tokens(rows: Iterable[Row], owner_of: Owner) -> dict[str, TokenFacts]:
    """The same of tokens."""
    found = {}
    for id, hash, identity, expires, sliding, ends, revoked in rows:
        owner = owner_of(identity)
        if owner is not None:
            last = FOREVER if ends is None else ends
            found[id] = TokenFacts(bytes(hash), owner.id, expires, sliding, last, revoked is not None)
    return found


def _by_id(connection: Connection, table: Table, columns: Sequence[str], ids: set[str]) -> Iterator[Row]:
    for some in _some(ids):
        yield from connection.execute(select(*(table.c[name] for name in columns)).where(table.c.id.in_(some)))


def _all_identities(
    connection: Connection, assembler: Assembler, halted: Callable[[], bool]
) -> Iterator[tuple[str, Identity | None]]:
    """All ids and identities (None for those that are not held here), joined with what belongs to them: each table is
    read once, in the order of identities."""
    assignments = _Groups(_rows(connection, ASSIGNMENTS, ASSIGNMENT_COLUMNS, halted, ordered=True))
    grants = _Groups(_rows(connection, GRANTS, GRANT_COLUMNS, halted, ordered=True))
    shares = _Groups(_rows(connection, SHARES, SHARE_COLUMNS, halted, ordered=True))
    for row in _rows(connection, IDENTITIES, IDENTITY_COLUMNS, halted, ordered=True):
        id = row[0]
        yield id, assembler.identity(row, assignments.of(id), grants.of(id), shares.of(id))


class _Groups:
    """The rows of a table that belong to each identity, for identities in order."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._groups = groupby(rows, itemgetter(0))
        self._id: str | None = None
        self._rows: Iterable[Row] = ()
        self._advance()

    def of(self, id: str) -> Sequence[Row]:
        """The rows that belong to an identity; ask in order."""
        while self._id is not None and self._id < id:
            self._advance()
        if self._id != id:
            return ()
        rows = list(self._rows)
        self._advance()
        return rows

    def _advance(self) -> None:
        self._id, self._rows = next(self._groups, (None, ()))


def _rows(
    connection: Connection, table: Table, columns: Sequence[str], halted: Callable[[], bool], *, ordered: bool = False
) -> Iterator[Row]:
    """The rows of a table as the driver gives them, a portion at a time; `ordered` by the first column as Python orders
    texts."""
    postgresql = connection.dialect.name == POSTGRESQL
    order = f' ORDER BY "{columns[0]}"' + (' COLLATE "C"' if postgresql else "") if ordered else ""
    names = ", ".join(f'"{name}"' for name in columns)
    # INVARIANT: all names are those of `schema`.
    query = f'SELECT {names} FROM "{table.name}"{order}'  # noqa: S608
    driver: Any = connection.connection.driver_connection
    # A cursor with a name is one of the server's: it does not send all rows at once.
    cursor = driver.cursor(name=f"all_{table.name}") if postgresql else driver.cursor()
    with closing(cursor):
        cursor.execute(query)
        for portion in count(1):
            if halted():
                raise HaltedError
            rows = cursor.fetchmany(FETCHED_ROWS)
            if not rows:
                return
            yield from rows
            # What calls leave behind meanwhile is found while it is young, and what was read ages past the search.
            gc.collect(int(not portion % PORTIONS_TO_SEARCH))


def _with_gone(keys: Iterable[str], found: Mapping[str, T]) -> dict[str, T | None]:
    return {key: found.get(key) for key in keys}


def _some(ids: set[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for begin in range(0, len(ordered), ASKED_KEYS):
        yield ordered[begin : begin + ASKED_KEYS]


@contextmanager
def _without_collecting() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.collect(1)
        gc.freeze()
    finally:
        if collecting:
            gc.enable()
