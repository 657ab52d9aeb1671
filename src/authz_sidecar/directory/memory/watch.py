"""How a follower learns that a store may have changed, without reading it: a waiting that ends when there is something
to look at.

SQLite tells nobody. `PRAGMA data_version` is another number once any other connection, of this process or another, has
committed; to ask costs some microseconds. PostgreSQL notifies whoever listens, and is looked at now and then all the
same: a notification that was lost with its connection is missed by nobody for long.
"""

import contextlib
import os
import select
from pathlib import Path
from typing import Any, Protocol

from authz_sidecar.directory.storage import sqlite_file
from authz_sidecar.directory.storage.faults import told_by_driver
from authz_sidecar.directory.storage.postgresql import CHANNEL
from authz_sidecar.directory.storage.store import Store

# Seconds between questions to SQLite, and between looks at PostgreSQL where nothing is notified.
ASK_SECONDS = 0.075
NET_SECONDS = 0.5


class Watch(Protocol):
    """Watches one store, for one thread."""

    def wait(self, alarm: int) -> bool:
        """Wait for a moment, or until the file descriptor `alarm` can be read. Whether the store is to be looked at:
        where it is not, it is as it was. Raises DirectoryError where it cannot be told, or where the store is gone."""

    def settle(self) -> None:
        """What the last `wait` told of has been looked at."""

    def close(self) -> None:
        """Give everything back."""


def open_watch(store: Store) -> Watch:
    """What suits the store."""
    return PostgresqlWatch(store) if store.path is None else SqliteWatch(store, store.path)


class SqliteWatch:
    """Asks for the data version on a connection of its own, which is opened anew where the file is another."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._connection: Any = None
        self._file: tuple[int, int] | None = None
        self._asked: object = None
        self._settled: object = None

    def wait(self, alarm: int) -> bool:
        """As the protocol says."""
        _until_readable(ASK_SECONDS, alarm)
        store = self._store
        file = sqlite_file.file_identity(self._path, store.shown)
        with told_by_driver(store.shown):
            if file != self._file:
                self.close()
                self._connection, self._file = store.own_connection(), file
            driver = self._connection.dbapi_connection
            self._asked = (file, driver.execute("PRAGMA data_version").fetchone()[0])
        return self._asked != self._settled

    def settle(self) -> None:
        """As the protocol says."""
        self._settled = self._asked

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection, self._file, self._settled = self._connection, None, None, None
        if connection is not None:
            connection.close()


class PostgresqlWatch:
    """Listens on a connection of its own, which is opened anew where it was lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: Any = None

    def wait(self, alarm: int) -> bool:
        """As the protocol says; there is always something to look at."""
        if self._connection is None:
            # Now is as good as after a notification: one may have been missed.
            self._listen()
            return True
        import psycopg

        driver = self._connection.dbapi_connection
        if driver.fileno() in _until_readable(NET_SECONDS, alarm, driver.fileno()):
            try:
                for _ in driver.notifies(timeout=0):
                    pass
            except psycopg.Error:
                # Whether the database is gone, or the connection alone, the look that follows tells.
                self.close()
        return True

    def settle(self) -> None:
        """As the protocol says."""

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _listen(self) -> None:
        with told_by_driver(self._store.shown):
            connection = self._store.own_connection()
            try:
                driver: Any = connection.dbapi_connection
                driver.autocommit = True
                driver.execute(f"LISTEN {CHANNEL}")
            except BaseException:
                connection.close()
                raise
        self._connection = connection


class Alarm:
    """Something that another thread can set off: a file descriptor that can be read from then on."""

    def __init__(self) -> None:
        self.descriptor, self._end = os.pipe()

    def set_off(self) -> None:
        """Wake whoever waits."""
        os.write(self._end, b"!")

    def close(self) -> None:
        """Give it back."""
        os.close(self.descriptor)
        os.close(self._end)


def _until_readable(seconds: float, *descriptors: int) -> list[int]:
    """Those that can be read, once one can be, or after so long."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(round(seconds * 1000))]
