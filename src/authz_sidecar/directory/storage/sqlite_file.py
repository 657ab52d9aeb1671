"""A directory in one file of SQLite: how the file is made, proven to be ours, and opened.

A new file is made beside its place and put there whole, so that one that is empty or half done is never taken for a
directory without identities. Connections open what is there and never make a file.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_path
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.faults import corrupt, told, told_by_driver

# "azsd": stands in the header of every file that is a directory.
APPLICATION_ID = 0x617A7364
BUSY_SECONDS = 5.0

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_OFFSET = 68
_HEADER_LENGTH = 100
_MODE = 0o600

# The files, as `file_identity` has them, that engines of this process have opened.
_OPENED: "WeakKeyDictionary[Engine, set[tuple[int, int]]]" = WeakKeyDictionary()
_OPENING = threading.Lock()

IMMEDIATE = "directory_immediate"
"""The execution option of connections whose transactions may write."""


def open_engine(path: Path) -> Engine:
    """The engine on the file at `path`, which exists. Each transaction reads one snapshot."""
    uri = f"file:{quote_path(str(path.absolute()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        with _OPENING:
            found = path.stat()
            _OPENED.setdefault(engine, set()).add((found.st_dev, found.st_ino))
        # Transactions are begun below; sqlite3 itself begins none.
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=8,
        pool_timeout=BUSY_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=write_json,
        json_deserializer=msgspec.json.decode,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in ("foreign_keys = ON", "synchronous = FULL", "trusted_schema = OFF", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def write_json(value: Any) -> str:
    """JSON text of a value in a column."""
    return msgspec.json.encode(value).decode()


def make_file(path: Path, shown: str, fill: Callable[[Engine], object]) -> bool:
    """Make the file at `path`, which `fill` gives its tables. Where another process makes it first, that one stays:
    whether it was made here.

    Raises DirectoryError(UNAVAILABLE) where it cannot be made, CORRUPT where a log of a lost file is left.
    """
    # SQLite would play the log of the lost file into the new one.
    for log in ("-wal", "-journal"):
        if Path(f"{path}{log}").exists():
            why = f"the file is missing, but its log `{log}` is there"
            raise corrupt(shown, why, "restore both, or remove the log")
    try:
        with beside(path) as made, told(shown):
            connection = sqlite3.connect(made, isolation_level=None)
            try:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            finally:
                connection.close()
            engine = open_engine(made)
            try:
                fill(engine)
            finally:
                # The last connection moves the log into the file.
                engine.dispose()
    except FileExistsError:
        return False
    except OSError as error:
        raise DirectoryError(
            Fault.UNAVAILABLE,
            f"the store `{shown}` cannot be made: {(error.strerror or 'the system refuses it').lower()}",
            "name a file in a directory that this user may write",
        ) from error
    return True


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file beside `path`, for its owner alone. It is put there, durable and whole, when the block ends well, and
    is removed otherwise. It replaces nothing: raises FileExistsError where something is there, and OSError."""
    made = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
        yield made
        _sync(made)
        # Unlike a rename, a link replaces nothing.
        os.link(made, path)
        _sync(path.parent)
    finally:
        for left in (made, Path(f"{made}-wal"), Path(f"{made}-shm"), Path(f"{made}-journal")):
            left.unlink(missing_ok=True)


def file_identity(path: Path, shown: str) -> tuple[int, int]:
    """Device and inode of the file at `path`: another after it was replaced. Raises DirectoryError(UNAVAILABLE)."""
    try:
        found = path.stat()
    except OSError as error:
        raise DirectoryError(
            Fault.UNAVAILABLE,
            f"the store `{shown}` is gone: {(error.strerror or 'the system refuses it').lower()}",
            "put the file back; what was opened is changed no more",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise DirectoryError(Fault.INVALID, f"the store `{shown}` is not a file", "name a file")
    return found.st_dev, found.st_ino


def find_log(path: Path) -> os.stat_result | None:
    """The log that belongs to the file at `path`; None where there is none."""
    try:
        return Path(f"{os.path.realpath(path)}-wal").stat()
    except OSError:
        return None


def check_header(path: Path, shown: str) -> None:
    """Refuse a file that is not a directory of ours by its first bytes. Raises DirectoryError(CORRUPT)."""
    identity = file_identity(path, shown)
    try:
        # INVARIANT: a process loses all of its locks on a file, those of SQLite too, when it closes any descriptor of
        # it (fcntl(2)), and another process would then take away the log that is being written. So no file is read by
        # its bytes that this process has open as a database; that one was looked at when it was opened.
        with _OPENING:
            if any(identity in opened for opened in _OPENED.values()):
                return
            with path.open("rb") as file:
                header = file.read(_HEADER_LENGTH)
    except OSError as error:
        raise DirectoryError(
            Fault.UNAVAILABLE,
            f"the store `{shown}` cannot be read: {(error.strerror or 'the system refuses it').lower()}",
            "let this user read and write the file",
        ) from error
    if not header:
        raise corrupt(shown, "the file is empty", "restore a backup, or remove the file to begin anew")
    if len(header) < _HEADER_LENGTH or not header.startswith(_MAGIC):
        raise corrupt(shown, "the file is no database of SQLite", "name another file, or restore a backup")
    application = int.from_bytes(header[_APPLICATION_ID_OFFSET : _APPLICATION_ID_OFFSET + 4], "big")
    if application != APPLICATION_ID:
        raise corrupt(shown, "the file is a database of another program", "name another file")


def check_content(engine: Engine, shown: str) -> None:
    """Read the whole file and refuse it where anything is damaged. Raises DirectoryError(CORRUPT)."""
    with told(shown), engine.connect() as connection:
        # A backup has no log. It is given one outside of a transaction, which the first statement would begin.
        with told_by_driver(shown):
            connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise corrupt(shown, "the file is damaged")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
