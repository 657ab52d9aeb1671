"""Backups of a store while it serves, and their restore into a store of either database.

A backup is one snapshot: a file of SQLite (`sqlite`), or lines of JSON (`lines`), which a store of either database is
written to. Either fills a store of either. A restore is one change of the store: it happens as a whole or not at all,
the audit goes on with a record of it, and the store gets another epoch, so that every sidecar that follows it reads all
of it anew. A store that did not exist is there only once it is done: nobody ever takes it for one without identities.

Who has a backup has the digests of all credentials. Files are readable by their owner alone.
"""

import hashlib
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias
from urllib.parse import quote as quote_path

import msgspec
from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, delete, func, insert, select, text, update
from sqlalchemy.engine import MappingResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from authz_sidecar.audit.record import SIDECAR
from authz_sidecar.audit.verification import verify as verify_audit
from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.backup.lines import (
    FORMAT,
    ROWS_AT_ONCE,
    VERSION,
    ChainCheck,
    Head,
    LinesReader,
    RowReader,
    batches,
    write_lines,
)
from authz_sidecar.directory.backup.rows import Row, RowCheck, broken
from authz_sidecar.directory.storage import migration, sqlite_file
from authz_sidecar.directory.storage.change import Change, State, read_state
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.faults import told, told_by_driver
from authz_sidecar.directory.storage.place import POSTGRESQL, SQLITE, parse_place
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import CHANGES, IDENTITIES, METADATA, STATE
from authz_sidecar.directory.storage.store import Store

Form: TypeAlias = Literal["sqlite", "lines"]
Tables: TypeAlias = Iterator[tuple[Table, Iterator[list[Row]]]]
Progress: TypeAlias = Callable[[str, int], None]

_PAGES_AT_ONCE = 4096
# How long a restore into PostgreSQL may read its backup without a word to the database.
_IDLE_SECONDS = 1_800
_MAGIC = b"SQLite format 3\0"
_HERE = Actor(SIDECAR)
_CHANGED = "it was changed while it was read"


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds: the number of rows of each table at `revision` of `epoch`, and the audit up to the record
    `audit_sequence`, which has `audit_hash` (hexadecimal). `made_at` is in seconds since 1970-01-01 UTC; `digest` is
    the SHA-256 of the whole file, which has `size` bytes."""

    form: Form
    schema: int
    made_at: float
    epoch: str
    revision: int
    audit_sequence: int
    audit_hash: str
    rows: dict[str, int]
    size: int
    digest: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did: the `backup` that was taken, and the `epoch` and `revision` that the store now has. Of the
    audit that was there, up to the record `replaced_sequence`, only what the backup has too is left."""

    backup: BackupReport
    epoch: str
    revision: int
    replaced_sequence: int


def backup(
    store: Store, path: Path, *, form: Form | None = None, now: float | None = None, progress: Progress | None = None
) -> BackupReport:
    """Write a backup of `store`, which may be changed meanwhile, to a new file, and verify what was written.

    `form` is by default a file of SQLite for a store in SQLite, and lines otherwise. `progress` is told what is being
    written, and how many rows or pages of it. Raises DirectoryError: ALREADY_EXISTS for a file that is there,
    INVALID for a form that the store does not have, UNAVAILABLE, CORRUPT.
    """
    form = form or ("sqlite" if store.dialect == SQLITE else "lines")
    made_at = time.time() if now is None else now
    source = store.path if form == "sqlite" else None
    if form == "sqlite" and source is None:
        raise DirectoryError(
            Fault.INVALID, "a backup of PostgreSQL is no file of SQLite", "write lines, or use `pg_dump`"
        )
    with _new_file(path) as (made, stream):
        if source is None:
            _write_lines(store, stream, made_at)
        else:
            _copy_file(source, store.shown, made, progress)
        return verify(made)


def verify(path: Path) -> BackupReport:
    """Read a whole backup and tell what it holds. Raises DirectoryError(CORRUPT) where anything of it is not what was
    written, or the chain of its audit is broken, and PRECONDITION for one of a later release."""
    with _stream(path) as stream:
        is_file = stream.read(len(_MAGIC)) == _MAGIC
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
        if not is_file:
            stream.seek(0)
            return _verify_lines(path, stream, size, digest)
    return _verify_file(path, size, digest)


def restore(
    path: Path,
    url: str,
    *,
    actor: Actor = _HERE,
    replace: bool = False,
    justification: str = "",
    now: float | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Fill the store at `url` with a backup, as one change by `actor`; the store is made where it does not exist.

    Raises DirectoryError: CORRUPT for a backup that is not what was written, PRECONDITION for one of a later release,
    or for a store that is not empty unless it is to be replaced, UNAVAILABLE. The store is then as it was.
    """
    found = verify(path)
    shown, now = parse_place(url).shown, time.time() if now is None else now
    done: list[Restored] = []
    with _opened(path, found) as tables:

        def fill(change: Change) -> None:
            with _as_written(path):
                before = _fill(shown, change, tables, path, found, replace=replace, progress=progress)
            if _digest(path) != found.digest:
                raise broken(path, _CHANGED)
            after = change.state
            change.audit(
                "directory.restore",
                before=_named(before.epoch, before.revision, before.audit_sequence, before.audit_hash.hex()),
                after={
                    **_named(after.epoch, after.revision, after.audit_sequence, after.audit_hash.hex()),
                    "backup": {
                        **_named(found.epoch, found.revision, found.audit_sequence, found.audit_hash),
                        "made_at": found.made_at,
                        "sha256": found.digest,
                    },
                },
                justification=justification,
            )
            done.append(
                Restored(
                    backup=found, epoch=after.epoch, revision=after.revision, replaced_sequence=before.audit_sequence
                )
            )

        if not Store.make(url, actor, now, fill):
            with closing(Store.open(url)) as store, store.change(actor, now) as change:
                fill(change)
    return done[0]


def _named(epoch: str, revision: int, audit_sequence: int, audit_hash: str) -> dict[str, Any]:
    return {"epoch": epoch, "revision": revision, "audit_sequence": audit_sequence, "audit_hash": audit_hash}


# --- writing ---------------------------------------------------------------------------------------------------


@contextmanager
def _new_file(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file beside `path` that is put there, durable and whole, when the block ends well, and removed otherwise."""
    try:
        if path.is_symlink() or path.exists():
            raise _exists(path)
        with sqlite_file.beside(path) as made, made.open("wb") as stream:
            yield made, stream
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        cause = (error.strerror or "the system refuses it").lower()
        raise DirectoryError(
            Fault.UNAVAILABLE,
            f"the backup {quote(path)} cannot be written: {cause}",
            "name a file that this user may make",
        ) from error


def _exists(path: Path) -> DirectoryError:
    return DirectoryError(Fault.ALREADY_EXISTS, f"{quote(path)} exists", "name a new file; backups replace nothing")


def _write_lines(store: Store, stream: IO[bytes], made_at: float) -> None:
    with store.read() as connection, told_by_driver(store.shown):
        read_state(connection, store.shown)
        if store.dialect == POSTGRESQL:
            # One fetch of many rows, not a statement of one operation.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        head = Head(format=FORMAT, version=VERSION, schema=migration.SCHEMA, made_at=made_at, dialect=store.dialect)
        write_lines(connection, stream, head)
    stream.flush()


def _copy_file(path: Path, shown: str, made: Path, progress: Progress | None) -> None:
    """Copy a store of SQLite by its online backup."""

    def tell(_: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress("pages", total - remaining)

    uri = f"file:{quote_path(str(path.absolute()))}?mode=ro"
    with told(shown):
        source = sqlite3.connect(uri, uri=True, timeout=sqlite_file.BUSY_SECONDS, isolation_level=None)
        target = sqlite3.connect(made, isolation_level=None)
        try:
            # Held while it is copied: the copy of a store that others change would begin anew each time.
            source.execute("BEGIN")
            source.execute("SELECT revision FROM state").fetchone()
            source.backup(target, pages=_PAGES_AT_ONCE, progress=tell)
            # One file, without a log beside it.
            target.execute("PRAGMA journal_mode = DELETE").fetchone()
            # The store keeps its secret for itself: no page and no journal of the copy has it either.
            target.execute("PRAGMA journal_mode = MEMORY").fetchone()
            target.execute("PRAGMA secure_delete = ON").fetchone()
            target.execute("UPDATE page_secret SET secret = ?", (secrets.token_bytes(32),))
        finally:
            target.close()
            source.close()


# --- verifying -------------------------------------------------------------------------------------------------


@contextmanager
def _stream(path: Path) -> Iterator[BufferedReader]:
    try:
        stream = path.open("rb")
    except OSError as error:
        cause = (error.strerror or "the system refuses it").lower()
        raise DirectoryError(
            Fault.UNAVAILABLE,
            f"the backup {quote(path)} cannot be read: {cause}",
            "name a file that this user may read",
        ) from error
    with stream:
        yield stream


def _digest(path: Path) -> str:
    with _stream(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify_lines(path: Path, stream: IO[bytes], size: int, digest: str) -> BackupReport:
    reader = LinesReader(path, stream)
    _check_schema(path, reader.head.schema)
    state: dict[str, Any] = {}
    end: tuple[int | None, bytes] = (None, b"")
    for name, columns, rows in reader.tables():
        if name == "audit":
            if not {"sequence", "record", "hash"} <= set(columns):
                raise broken(path, "its audit has not the columns of one")
            chain = ChainCheck(path, columns)
            for values in rows:
                chain.check(values)
            end = chain.sequence, chain.hash
            continue
        table = METADATA.tables.get(name)
        checked = None
        if table is not None and reader.head.schema == migration.SCHEMA:
            checked = RowReader(table, columns, path)
        for values in rows:
            if name == "state":
                state = dict(zip(columns, values, strict=True))
            if checked is not None:
                checked.read(values)
    if reader.head.schema == migration.SCHEMA and list(reader.rows) != [one.name for one in METADATA.sorted_tables]:
        raise broken(path, "it has not the tables of a store, or not in their order")
    _check_one_state(path, reader.rows.get("state", 0))
    found = _state(path, state)
    if end[0] is not None and end != (found.audit_sequence, found.audit_hash):
        raise broken(path, "its audit does not end where it says")
    return _report("lines", reader.head.schema, reader.head.made_at, found, reader.rows, size, digest)


def _check_one_state(path: Path, count: int) -> None:
    if count != 1:
        raise broken(path, "it does not say once which revision it has")


def _state(path: Path, values: dict[str, Any]) -> State:
    """The row of `state` of a backup, of an older schema too."""
    known = {name: values[name] for name in State.__struct_fields__ if name in values}
    known.setdefault("readable_from", 1)
    try:
        return msgspec.convert(known, State)
    except msgspec.ValidationError:
        raise broken(path, "it does not say which revision it has") from None


def _verify_file(path: Path, size: int, digest: str) -> BackupReport:
    sqlite_file.check_header(path, str(path))
    if Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists():
        raise DirectoryError(
            Fault.INVALID,
            f"{quote(path)} is a store that is in use, or was not closed",
            "open it as a directory, and make a backup of that",
        )
    engine = _open_backup(path)
    try:
        with told(str(path)), engine.connect() as connection:
            schema = migration.check_schema(connection, str(path))
            _check_schema(path, schema)
            problems = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
            strays = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if problems != "ok" or strays is not None:
                raise broken(path, "the file is damaged")
            states = connection.execute(text("SELECT * FROM state LIMIT 2")).mappings().all()
            _check_one_state(path, len(states))
            found = _state(path, dict(states[0]))
            audit = verify_audit(connection)
            if not audit.intact:
                raise broken(path, f"its audit is not intact: {audit.findings[0].message}")
            rows = {
                str(name): connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in METADATA.tables.items()
            }
    finally:
        engine.dispose()
    return _report("sqlite", schema, path.stat().st_mtime, found, rows, size, digest)


def _report(
    form: Form, schema: int, made_at: float, state: State, rows: dict[str, int], size: int, digest: str
) -> BackupReport:
    return BackupReport(
        form=form,
        schema=schema,
        made_at=made_at,
        epoch=state.epoch,
        revision=state.revision,
        audit_sequence=state.audit_sequence,
        audit_hash=state.audit_hash.hex(),
        rows=rows,
        size=size,
        digest=digest,
    )


def _check_schema(path: Path, schema: int) -> None:
    if not 0 < schema <= migration.SCHEMA:
        raise DirectoryError(
            Fault.PRECONDITION,
            f"the backup {quote(path)} has schema {schema}; this release knows {migration.SCHEMA}",
            "restore it with the release that made it, or a later one",
        )


def _open_backup(path: Path) -> Engine:
    """The engine on a file that nobody writes."""
    uri = f"file:{quote_path(str(path.absolute()))}?mode=ro&immutable=1"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, check_same_thread=False),
        poolclass=NullPool,
        hide_parameters=True,
        json_deserializer=msgspec.json.decode,
    )


# --- restoring -------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, found: BackupReport) -> Iterator[Tables]:
    """What is in a backup, in the tables of this release. One of an older schema is brought forward in a copy."""
    if found.schema == migration.SCHEMA and found.form == "lines":
        with _stream(path) as stream:
            yield _lines(path, LinesReader(path, stream), METADATA)
    elif found.schema == migration.SCHEMA:
        with _file(path) as tables:
            yield tables
    else:
        with tempfile.TemporaryDirectory(prefix="authz-restore-") as folder:
            copy = Path(folder) / "store.db"
            if found.form == "lines":
                _fill_older(path, copy, found.schema)
            else:
                shutil.copyfile(path, copy)
            Store.open(str(copy)).close()
            with _file(copy) as tables:
                yield tables


@contextmanager
def _file(path: Path) -> Iterator[Tables]:
    engine = _open_backup(path)
    try:
        with told(str(path)), engine.connect() as connection, told_by_driver(str(path)):
            yield _rows(path, connection)
    finally:
        engine.dispose()


def _rows(path: Path, connection: Connection) -> Tables:
    for table in METADATA.sorted_tables:
        query = select(table).order_by(*table.primary_key.columns)
        rows = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE).execute(query)
        yield table, batches(_checked(path, table, rows.mappings()))


def _checked(path: Path, table: Table, rows: MappingResult) -> Iterator[Row]:
    """Rows of a file of SQLite, which has values of any type anywhere."""
    looking = RowCheck(table, path)
    try:
        for row in rows:
            yield looking.check(dict(row))
    except (ValueError, TypeError, msgspec.DecodeError):
        raise looking.another_type() from None


def _lines(path: Path, reader: LinesReader, known: MetaData) -> Tables:
    for name, columns, rows in reader.tables():
        table = known.tables.get(name)
        if table is None:
            raise broken(path, f"there is no table {quote(name)}")
        yield table, batches(map(RowReader(table, columns, path).read, rows))


def _fill_older(path: Path, copy: Path, schema: int) -> None:
    """Make a store of SQLite with the tables of an older schema, and the rows of a backup of it."""
    from alembic import command
    from alembic.config import Config

    def fill(engine: Engine) -> None:
        with engine.connect().execution_options(**{sqlite_file.IMMEDIATE: True}) as connection, connection.begin():
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(migration.SCRIPTS).replace("%", "%%"))
            command.upgrade(config, f"{schema:04d}")
            known = MetaData()
            known.reflect(connection)
            connection.execute(delete(known.tables["state"]))
            with _stream(path) as stream:
                for table, some in _lines(path, LinesReader(path, stream), known):
                    for rows in some:
                        connection.execute(insert(table), rows)

    with _as_written(path):
        sqlite_file.make_file(copy, str(copy), fill)


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """Rows that contradict each other are those of no backup."""
    try:
        yield
    except IntegrityError as error:
        raise broken(path, "its rows contradict each other") from error


def _fill(
    shown: str,
    change: Change,
    tables: Tables,
    path: Path,
    found: BackupReport,
    *,
    replace: bool,
    progress: Progress | None,
) -> State:
    """Put a backup's rows in the place of those of a store; gives the state before."""
    connection, before = change.connection, change.state
    identities = connection.execute(select(IDENTITIES.c.id).limit(1)).first()
    if not replace and (before.revision or before.audit_sequence or identities is not None):
        raise DirectoryError(
            Fault.PRECONDITION,
            f"the store `{shown}` is not empty: it is at revision {before.revision}",
            "name a store that does not exist yet, or replace this one: `--replace`",
        )
    if connection.dialect.name == POSTGRESQL:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # The backup is read between two statements, and a big one at the end once more.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'"))
    for table in reversed(METADATA.sorted_tables):
        if table is not STATE:
            connection.execute(delete(table))
    state: Row = {}
    for table, some in tables:
        count = 0
        for rows in some:
            if table is STATE:
                state = rows[0]
            # What each revision touched is of no use to those who read everything anew.
            elif table is not CHANGES:
                connection.execute(insert(table), rows)
            count += len(rows)
            if progress is not None:
                progress(table.name, count)
    if (state.get("audit_sequence"), state.get("audit_hash")) != (
        found.audit_sequence,
        bytes.fromhex(found.audit_hash),
    ):
        raise broken(path, _CHANGED)
    # INVARIANT revisions-go-forward: what somebody was promised of a revision of this store still holds.
    revision = max(before.revision, found.revision) + 1
    connection.execute(
        update(STATE),
        {
            "epoch": secrets.token_hex(8),
            "revision": revision,
            "changes_from": revision + 1,
            "audit_sequence": state["audit_sequence"],
            "audit_hash": state["audit_hash"],
            "bootstrapped_at": state["bootstrapped_at"],
        },
    )
    change.state = read_state(connection, shown)
    audit = verify_audit(connection)
    if not audit.intact:
        raise broken(path, f"its audit is not intact: {audit.findings[0].message}")
    return before
