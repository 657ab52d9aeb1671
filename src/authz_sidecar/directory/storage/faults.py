"""What databases report, as errors of the directory."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.values.visible import visible

_RESTORE = "restore a backup; what is there is left as it is"
_RETRY = "try again; a create under an idempotency key does not happen twice"
_BUSY_SECONDS = 1.0
# What the server itself says when it does not let somebody in.
_FATAL = re.compile(r"FATAL: +([^\n]{1,200})")

# SQLite's primary result codes: message and help.
_SQLITE = {
    sqlite3.SQLITE_BUSY: ("another process has been changing the store `{}` for too long", _RETRY),
    sqlite3.SQLITE_LOCKED: ("another process has been changing the store `{}` for too long", _RETRY),
    sqlite3.SQLITE_READONLY: ("the store `{}` cannot be written", "let this user write the file and its directory"),
    sqlite3.SQLITE_IOERR: ("the store `{}` cannot be read or written: the disk reports an error", "look at the disk"),
    sqlite3.SQLITE_FULL: ("the store `{}` cannot grow: the disk is full", "make room on the disk"),
    sqlite3.SQLITE_CANTOPEN: ("the store `{}` cannot be opened", "see that it exists and may be read and written"),
    sqlite3.SQLITE_PERM: ("the store `{}` may not be opened", "let this user read and write the file"),
    sqlite3.SQLITE_NOMEM: ("the store `{}` cannot be read: memory is used up", "give the process more memory"),
    sqlite3.SQLITE_PROTOCOL: ("the store `{}` cannot be locked", "keep it on a disk of this machine"),
}
_SQLITE_MISSING = ("no such table", "no such column")
_SQLITE_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# The beginnings of PostgreSQL's SQLSTATE, longest first.
_POSTGRESQL = {
    "53100": ("the store `{}` cannot grow: the disk is full", "make room on the disk of the database"),
    "53": ("the store `{}` is at a limit of its own", "see the log of the database"),
    "55P03": ("another process has been changing the store `{}` for too long", _RETRY),
    "57014": ("the store `{}` took too long", _RETRY),
    "57": ("the store `{}` is being stopped or started", _RETRY),
    "25006": ("the store `{}` cannot be written", "name the primary of the database, not a replica"),
    "25P03": ("the store `{}` has ended a change that took too long", _RETRY),
    "40": ("the store `{}` was changed at the same time", _RETRY),
    "42501": ("the store `{}` does not permit it", "let its user create and change tables in its schema"),
    "28": ("the store `{}` does not take its user or password", "correct the URL, or the rights of its user"),
    "3D": ("the database of the store `{}` does not exist", "create it: `createdb NAME`"),
    "08": ("the store `{}` cannot be reached", "see that the database is running and can be reached from here"),
    "58": ("the store `{}` cannot be read or written: the system reports an error", "see the log of the database"),
}
_POSTGRESQL_CORRUPT = ("XX001", "XX002", "42P01", "42703")


@contextmanager
def told(shown: str) -> Iterator[None]:
    """Errors of the database at `shown` inside are DirectoryError(UNAVAILABLE | CORRUPT). Others, such as a row that is
    there twice, are bugs and stay what they are."""
    try:
        yield
    except DBAPIError as error:
        known = directory_error(error.orig, shown, lost=error.connection_invalidated)
        if known is None:
            raise
        raise known from error
    except PoolTimeoutError as error:
        raise DirectoryError(
            Fault.UNAVAILABLE, f"too many wait for the store `{shown}`", _RETRY, retry_after=_BUSY_SECONDS
        ) from error
    except sqlite3.Error as error:
        known = directory_error(error, shown)
        if known is None:
            raise
        raise known from error


@contextmanager
def told_by_driver(shown: str) -> Iterator[None]:
    """The same for those who speak with a driver itself, past SQLAlchemy."""
    try:
        yield
    except Exception as error:
        known = directory_error(error, shown)
        if known is None:
            raise
        raise known from error


def directory_error(error: BaseException | None, shown: str, *, lost: bool = False) -> DirectoryError | None:
    """The error of the directory that an error of a driver is, if it is one of the store and not of what was asked."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _SQLITE_CORRUPT:
            return corrupt(shown, "its content is damaged, or not that of a database")
        if str(error).startswith(_SQLITE_MISSING):
            return corrupt(shown, "its tables are damaged or missing")
        return _unavailable(_SQLITE.get(code), shown)
    state = getattr(error, "sqlstate", None) or ""
    if state in _POSTGRESQL_CORRUPT:
        return corrupt(shown, "its tables are damaged or missing")
    for beginning, words in _POSTGRESQL.items():
        if state.startswith(beginning):
            return _unavailable(words, shown)
    # Without a state it is the connection that failed; why is said in words alone, in which no password stands.
    if lost or (not state and type(error).__name__ in ("OperationalError", "ConnectionTimeout")):
        refusal = _unavailable(_POSTGRESQL["08"], shown)
        why = _FATAL.search(str(error))
        if refusal is not None and why:
            return DirectoryError(
                refusal.fault, f"{refusal.message}: {visible(why[1])}", refusal.help, retry_after=_BUSY_SECONDS
            )
        return refusal
    return None


def corrupt(shown: str, why: str, help: str = _RESTORE) -> DirectoryError:
    """The refusal of a store whose content is not what we wrote."""
    return DirectoryError(Fault.CORRUPT, f"the store `{shown}` is refused: {why}", help)


def _unavailable(words: tuple[str, str] | None, shown: str) -> DirectoryError | None:
    if words is None:
        return None
    message, help = words
    return DirectoryError(Fault.UNAVAILABLE, message.format(shown), help, retry_after=_BUSY_SECONDS)
