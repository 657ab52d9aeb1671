"""Those who open a store while it is restored where there was none: they find no directory without identities."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from authz_sidecar.directory.backup.backup import backup, restore
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import IDENTITIES
from authz_sidecar.directory.storage.store import Store
from tests.postgres import shared_postgres
from tests.server.sidecar import until

OPERATOR = Actor("operator:test")
MADE = 3


@pytest.fixture(scope="module")
def saved(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with `MADE` identities."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "store.db").write_bytes(empty_store.read_bytes())
    with closing(Store.open(str(folder / "store.db"))) as store:
        with store.change(OPERATOR, 1.0) as change:
            row: dict[str, Any] = dict.fromkeys((column.name for column in IDENTITIES.columns), "")
            row |= {"kind": 1, "active": True, "flags": {}, "attributes": {}, "created_at": 1.0, "updated_at": 1.0}
            rows = [row | {"id": f"id{number}", "revision": 1} for number in range(MADE)]
            change.connection.execute(insert(IDENTITIES), rows)
            for number in range(MADE):
                change.touch("identity", f"id{number}")
            change.audit("identity.update")
        backup(store, folder / "backup", form="lines")
    return folder / "backup"


def identities(url: str, *, migrate: bool = True) -> int:
    """How many identities are in the store that somebody opens who starts now."""
    with closing(Store.open(url, migrate=migrate)) as store, store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(IDENTITIES)).scalar_one())


def test_a_file_is_there_once_it_is_restored(saved: Path, tmp_path: Path) -> None:
    """At every step of a restore there is no file at the path; then there is one with everything, and nothing else."""
    path = tmp_path / "restored" / "store.db"
    path.parent.mkdir()
    found = []

    def look(_table: str, _count: int) -> None:
        with pytest.raises(DirectoryError) as caught:
            identities(str(path), migrate=False)
        found.append((path.exists(), caught.value.fault))

    restore(saved, str(path), progress=look)
    assert len(found) > 1
    assert set(found) == {(False, Fault.UNAVAILABLE)}
    assert identities(str(path), migrate=False) == MADE
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_somebody_makes_meanwhile_is_left_alone(saved: Path, tmp_path: Path) -> None:
    """Where a sidecar that starts during the restore makes a new store, that stays as it is, and the restore is refused
    and leaves nothing behind."""
    path = tmp_path / "restored" / "store.db"
    path.parent.mkdir()

    def begin(_table: str, _count: int) -> None:
        assert identities(str(path)) == 0

    with pytest.raises(DirectoryError, match="was made by another process meanwhile") as caught:
        restore(saved, str(path), progress=begin)
    assert caught.value.fault is Fault.ALREADY_EXISTS
    assert identities(str(path)) == 0
    assert list(path.parent.iterdir()) == [path]


def test_a_database_has_tables_once_it_is_restored(saved: Path) -> None:
    """While a database without tables is restored it has none for others; a sidecar that starts meanwhile, and would
    make them, waits and finds everything. One whose restore fails has none either."""
    server = shared_postgres()
    url = server.create_database()
    name = url.partition("@/")[2].partition("?")[0]
    starting: list[Future[int]] = []
    waiting = (
        "SELECT FROM pg_locks, pg_database WHERE locktype = 'advisory' AND NOT granted AND database = pg_database.oid"
        " AND datname = %s"
    )

    def refused() -> bool:
        with pytest.raises(DirectoryError, match="does not have the tables of this release"):
            identities(url, migrate=False)
        return True

    def fail(_table: str, _count: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        restore(saved, url, progress=fail)
    assert refused()
    with ThreadPoolExecutor(1) as threads, server.connect(name) as connection:

        def start(_table: str, _count: int) -> None:
            assert refused()
            if not starting:
                starting.append(threads.submit(identities, url))
                until(lambda: connection.execute(waiting, (name,)).fetchone() is not None)

        restore(saved, url, progress=start)
        assert starting[0].result(60) == MADE
    server.drop_database(url)
