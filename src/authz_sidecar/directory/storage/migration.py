"""Brings a store to the tables of this release, and refuses one that this release does not understand.

The promise: a store moves forward only, while it serves. A release adds (tables, columns with a default) and fills what
it added; what it no longer uses goes a release later. So sidecars of the release before go on reading and changing a
store that has moved, while they are replaced one by one. `state.readable_from` is the oldest schema whose sidecars may:
a migration that takes something away raises it.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select, text

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.faults import corrupt, told
from authz_sidecar.directory.storage.place import POSTGRESQL
from authz_sidecar.directory.storage.schema import METADATA, OWN_METADATA, STATE
from authz_sidecar.directory.storage.sqlite_file import IMMEDIATE

SCHEMA = 3
"""The schema of this release: the number of the last migration."""

VERSION_TABLE = "directory_version"
SCRIPTS = Path(__file__).parent / "migrations"

# Held while migrating, so that sidecars that start together migrate once. The number is ours alone by chance.
_LOCK = 7_023_462_719_518_342
_LOCK_SECONDS = 300

# What migrations are run on is one for a process: Alembic keeps it in its modules.
_ALEMBIC = threading.Lock()

_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def check_schema(connection: Connection, shown: str) -> int:
    """The schema of the store; 0 where there is none yet. Raises DirectoryError where this release cannot use it."""
    version = _version(connection, shown)
    if version > SCHEMA:
        readable_from = connection.execute(select(STATE.c.readable_from)).scalar_one_or_none()
        check_readable(SCHEMA if readable_from is None else readable_from, shown, version)
    return version


def check_readable(readable_from: int, shown: str, version: int | None = None) -> None:
    """Refuse a store that has moved too far. Raises DirectoryError(PRECONDITION)."""
    if readable_from > SCHEMA:
        found = f"schema {version}, " if version else "a schema "
        raise DirectoryError(
            Fault.PRECONDITION,
            f"the store `{shown}` has {found}readable from schema {readable_from} on; this release knows {SCHEMA}",
            "install the release that migrated the store, or a later one",
            details={"schema": str(version or ""), "readable_from": str(readable_from), "known": str(SCHEMA)},
        )


def bring_forward(engine: Engine, shown: str, first: Callable[[Connection], None] | None = None) -> bool:
    """Bring an empty or an older store to this release's tables, in one transaction; whether there was none.

    `first` is done where there was none, in the same transaction: nobody sees the store before.
    """
    with told(shown):
        with engine.connect() as connection:
            if check_schema(connection, shown) >= SCHEMA:
                return False
        # Each statement reads what was committed before it, whatever the database's default is: who has waited for
        # another process sees what that one did.
        options = {"isolation_level": "READ COMMITTED"} if engine.name == POSTGRESQL else {IMMEDIATE: True}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            if connection.dialect.name == POSTGRESQL:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            # Another process may have been quicker.
            version = check_schema(connection, shown)
            if version < SCHEMA:
                if not version:
                    _refuse_others(connection, shown)
                _upgrade(connection)
            if not version and first is not None:
                first(connection)
            return not version


def _version(connection: Connection, shown: str) -> int:
    if not inspect(connection).has_table(VERSION_TABLE):
        return 0
    found = connection.execute(select(_VERSION.c.version_num)).scalars().all()
    if len(found) != 1 or not found[0].isdecimal():
        raise corrupt(shown, "it does not say which schema it has")
    return int(found[0])


def _refuse_others(connection: Connection, shown: str) -> None:
    """A database that holds tables with our names, but no version of ours, belongs to something else."""
    taken = sorted({*METADATA.tables, *OWN_METADATA.tables}.intersection(inspect(connection).get_table_names()))
    if taken:
        raise corrupt(
            shown,
            f"it has a table `{taken[0]}` of another program",
            "give the directory a database, or a schema, of its own",
        )


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with _ALEMBIC:
        command.upgrade(config, "head")
