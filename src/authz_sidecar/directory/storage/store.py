"""The store of a directory: consistent reads, and changes that are whole, durable and in one order.

What a store promises on both databases: a change that was acknowledged survives the loss of the process and of power;
one that was not leaves nothing behind; readers see whole revisions. Every wait ends, in DirectoryError(UNAVAILABLE).
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, PoolProxiedConnection, select

from authz_sidecar.directory.storage import migration, postgresql, sqlite_file
from authz_sidecar.directory.storage.change import Change, State, read_state
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.faults import corrupt, told
from authz_sidecar.directory.storage.place import POSTGRESQL, SQLITE, Place, parse_place
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import PAGE_SECRET

__all__ = ["Change", "State", "Store"]

CHANGE_SECONDS = 10.0
"""How long a change waits for the others of its process."""


class Store:
    """An open store. Its methods may be called from any thread, but no thread begins a change inside another.

    `dialect` is `sqlite` or `postgresql`; `shown` names the store without a password; `path` is the file of SQLite,
    None in PostgreSQL. `engine` is for those who need connections of another kind, such as listeners and backups.
    """

    def __init__(self, place: Place, engine: Engine) -> None:
        self.dialect = place.dialect
        self.shown = place.shown
        self.path: Path | None = place.path
        self.engine = engine
        self._file = None if place.path is None else sqlite_file.file_identity(place.path, place.shown)
        self._log = None if place.path is None else sqlite_file.find_log(place.path)
        # SQLite's own waiting is by turns of up to 100 ms; threads of one process need not wait like that.
        self._changing = threading.Lock()
        self._reopening = threading.Lock()

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, check: bool = True) -> "Store":
        """Open the store at `url`: a path, `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`.

        With `migrate` a store that is not there yet is made in SQLite, given its tables in PostgreSQL, and an older one
        is brought to this release's; without, one that has other tables is refused. With `check` the whole file of
        SQLite is read for damage: leave it out where another process of the same sidecar has just done so.

        Raises DirectoryError: INVALID for a URL that is none, CORRUPT for content that is not ours or damaged,
        PRECONDITION for a store of a later release, UNAVAILABLE where it cannot be reached, read or written.
        """
        place = parse_place(url)
        engine = _open_engine(place, make=migrate, check=check)
        try:
            if migrate:
                migration.bring_forward(engine, place.shown)
            with told(place.shown), engine.connect() as connection:
                _require_tables(connection, place.shown)
                read_state(connection, place.shown)
            return cls(place, engine)
        except BaseException:
            engine.dispose()
            raise

    @classmethod
    def make(cls, url: str, actor: Actor, now: float, fill: Callable[[Change], None]) -> bool:
        """Make the store at `url`, with what `fill` puts into it as one change by `actor` at `now`. Until that is done
        there is no store, for nobody. Whether it was made: not where there is one, which is left as it is.

        Raises what `open` and `fill` raise, and DirectoryError(ALREADY_EXISTS) where another process makes a file there
        meanwhile. What was begun is then undone.
        """
        place = parse_place(url)
        path, shown = place.path, place.shown

        def first(connection: Connection) -> None:
            change = Change(connection, shown, actor, now)
            fill(change)
            change.finish()

        if path is None:
            engine = postgresql.open_engine(place)
            try:
                return migration.bring_forward(engine, shown, first)
            finally:
                engine.dispose()
        if path.is_symlink() or path.exists():
            return False
        if not sqlite_file.make_file(path, shown, lambda engine: migration.bring_forward(engine, shown, first)):
            raise DirectoryError(
                Fault.ALREADY_EXISTS,
                f"the store `{shown}` was made by another process meanwhile",
                "name a store that does not exist, and start nothing on it until it does",
            )
        return True

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that reads one snapshot: whole revisions, whatever is changed meanwhile. It writes nothing."""
        self._follow_file()
        with told(self.shown), self.engine.connect() as connection:
            if self.dialect == POSTGRESQL:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def own_connection(self) -> PoolProxiedConnection:
        """A connection to the store as it is there now, which belongs to nobody else: to close it ends it."""
        # The pool may still have connections to a file that was replaced.
        self._follow_file()
        with told(self.shown):
            connection = self.engine.raw_connection()
        connection.detach()
        return connection

    def state(self) -> State:
        """Where the directory stands."""
        with self.read() as connection:
            return read_state(connection, self.shown)

    def page_secret(self) -> bytes:
        """What seals the page tokens of its lists: every sidecar of the store has it from here, and nobody else."""
        with self.read() as connection:
            found = connection.execute(select(PAGE_SECRET.c.secret)).scalars().all()
        if len(found) != 1:
            raise corrupt(self.shown, "it has not one secret for page tokens")
        return bytes(found[0])

    @contextmanager
    def change(self, actor: Actor, now: float) -> Iterator[Change]:
        """A change by `actor` at `now` (seconds since 1970-01-01 UTC). It is committed, with its audit, when the block
        ends without an exception, and undone otherwise.

        Raises DirectoryError(UNAVAILABLE) where it cannot be, also when it is not known whether it was: the connection
        was lost while it was committed.
        """
        self._follow_file()
        if not self._changing.acquire(timeout=CHANGE_SECONDS):
            raise DirectoryError(
                Fault.UNAVAILABLE,
                f"too many wait to change the store `{self.shown}`",
                "try again; a create under an idempotency key does not happen twice",
                retry_after=1.0,
            )
        committing = False
        try:
            with told(self.shown), self.engine.connect() as connection:
                if self.dialect == SQLITE:
                    connection.execution_options(**{sqlite_file.IMMEDIATE: True})
                else:
                    # Each statement reads what was committed before it, whatever the database's default is, and `state`
                    # is held: what is read stays so.
                    connection.execution_options(isolation_level="READ COMMITTED")
                with connection.begin():
                    change = Change(connection, self.shown, actor, now)
                    yield change
                    change.finish()
                    committing = True
        except DirectoryError as error:
            if not committing or self.dialect == SQLITE:
                raise
            raise DirectoryError(
                Fault.UNAVAILABLE,
                f"the store `{self.shown}` was lost while the change was committed: it may have been made",
                "repeat a create under its idempotency key; read what else was to change",
                retry_after=1.0,
            ) from error
        finally:
            self._changing.release()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _follow_file(self) -> None:
        """Where the file of SQLite was replaced, as by a restore, leave the old one: what is written there is lost."""
        if self.path is None:
            return
        found, log = sqlite_file.file_identity(self.path, self.shown), sqlite_file.find_log(self.path)
        if found == self._file:
            self._log = log
            return
        with self._reopening:
            if found != self._file:
                sqlite_file.check_header(self.path, self.shown)
                # SQLite would play what was written to the old file into the new one.
                if log and log.st_size and self._log and os.path.samestat(log, self._log):
                    raise corrupt(
                        self.shown,
                        "the file was replaced, but the log `-wal` of the one before is there",
                        "move the log away with its `-shm`, and put the file there anew",
                    )
                self.engine.dispose()
                with told(self.shown), self.engine.connect() as connection:
                    _require_tables(connection, self.shown)
                self._file, self._log = found, sqlite_file.find_log(self.path)


def _require_tables(connection: Connection, shown: str) -> None:
    """Refuse a store that has not, or no longer, the tables of this release. Raises DirectoryError."""
    if migration.check_schema(connection, shown) < migration.SCHEMA:
        raise DirectoryError(
            Fault.PRECONDITION,
            f"the store `{shown}` does not have the tables of this release",
            "bring it forward: `authz-sidecar directory migrate`",
        )


def _open_engine(place: Place, *, make: bool, check: bool) -> Engine:
    path, shown = place.path, place.shown
    if path is None:
        return postgresql.open_engine(place)
    if make and not path.exists():
        sqlite_file.make_file(path, shown, lambda engine: migration.bring_forward(engine, shown))
    sqlite_file.check_header(path, shown)
    engine = sqlite_file.open_engine(path)
    try:
        if check:
            sqlite_file.check_content(engine, shown)
    except BaseException:
        engine.dispose()
        raise
    return engine
