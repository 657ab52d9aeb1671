"""Where a directory is kept: a file of SQLite, or a database of PostgreSQL, from what users write."""

from pathlib import Path

import msgspec
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.directory.storage.errors import DirectoryError, Fault

SQLITE, POSTGRESQL = "sqlite", "postgresql"

_SQLITE_PREFIX = "sqlite:///"
_POSTGRESQL_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_EXAMPLES = "write a path, `sqlite:///PATH`, or `postgresql://USER@HOST/DATABASE`"
_HEADER_LENGTH = 80


class Place(msgspec.Struct, frozen=True):
    """A place: `path` for SQLite, `url` for PostgreSQL. `shown` is how it is named, without any password."""

    dialect: str
    shown: str
    path: Path | None = None
    url: URL | None = None

    def __repr__(self) -> str:
        return f"Place({self.shown!r})"


def parse_place(text: str) -> Place:
    """The place that `text` names. Raises DirectoryError(INVALID), without the URL: it may have a password in it."""
    scheme, separator, _ = text.partition("://")
    if not separator:
        return _file(text)
    if scheme == SQLITE:
        if not text.startswith(_SQLITE_PREFIX):
            raise DirectoryError(
                Fault.INVALID, "a URL of SQLite names no host", "write three slashes: `sqlite:///directory.db`"
            )
        return _file(text.removeprefix(_SQLITE_PREFIX))
    if scheme not in _POSTGRESQL_SCHEMES:
        shown = quote(scheme[:_HEADER_LENGTH])
        help = suggest(scheme, (SQLITE, *_POSTGRESQL_SCHEMES), _EXAMPLES)
        raise DirectoryError(Fault.INVALID, f"a directory cannot be kept at a URL that begins with {shown}", help)
    try:
        url = make_url(text).set(drivername="postgresql+psycopg")
        port = url.port
    except (ArgumentError, ValueError):
        raise DirectoryError(Fault.INVALID, "the URL of the directory cannot be read", _EXAMPLES) from None
    if not url.database:
        raise DirectoryError(
            Fault.INVALID, "the URL of the directory names no database", "write `postgresql://USER@HOST/DATABASE`"
        )
    # Passwords may stand in the query too; what else is there says nothing that whoever reads it needs.
    host = url.host or str(url.query.get("host", ""))
    where = f"{host}:{port}" if port else host
    user = f"{url.username}@" if url.username else ""
    return Place(POSTGRESQL, f"postgresql://{user}{where}/{url.database}", url=url)


def _file(text: str) -> Place:
    if not text or text == ":memory:" or "\0" in text or text.startswith("file:"):
        raise DirectoryError(Fault.INVALID, "a directory is kept in a file", _EXAMPLES)
    return Place(SQLITE, text, path=Path(text))
