"""A directory in a database of PostgreSQL: connections whose every wait has an end."""

from typing import Any

import msgspec
from sqlalchemy import Engine, create_engine, event

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.place import Place
from authz_sidecar.directory.storage.sqlite_file import write_json

CHANNEL = "authz_directory"
"""Where each change is notified, with its revision."""

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 60
IDLE_SECONDS = 30

# A server that is gone is noticed in seconds, not after the fifteen minutes that TCP would take.
CONNECTION = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "authz-sidecar",
}


def open_engine(place: Place) -> Engine:
    """The engine on the database at `place`. Raises DirectoryError(INVALID) where the driver is not installed."""
    try:
        import psycopg  # noqa: F401 - an extra of the package
    except ImportError as error:
        raise DirectoryError(
            Fault.INVALID,
            "directories in PostgreSQL need the driver `psycopg`",
            "install `authz-sidecar[postgresql]`",
        ) from error
    url = place.url
    if url is None:
        raise AssertionError("a place of another database")
    engine = create_engine(
        url,
        connect_args={name: value for name, value in CONNECTION.items() if name not in url.query},
        pool_size=8,
        max_overflow=8,
        pool_timeout=CONNECT_SECONDS,
        pool_use_lifo=True,
        # The server may have been restarted since a connection was used.
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=write_json,
        json_deserializer=msgspec.json.decode,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # Not as options of the connection: poolers between refuse those.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET lock_timeout = '{LOCK_SECONDS}s'; SET statement_timeout = '{STATEMENT_SECONDS}s';"
                f" SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
            )
            # What is acknowledged is durable, whatever the database's default is.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        connection.autocommit = False

    return engine
