"""Stores for the tests of the directory: each test runs on SQLite and on PostgreSQL, on a fresh one."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.schema import METADATA, STATE
from authz_sidecar.directory.storage.store import Store
from tests.directory.administration_scene import RULES, Clock, Directory
from tests.postgres import shared_postgres


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of SQLite with its tables and nothing in it, to copy."""
    path = tmp_path_factory.mktemp("directory") / "empty.db"
    Store.open(str(path)).close()
    return path


@cache
def template() -> str:
    """The name of a database with the tables and nothing in it, to copy."""
    server = shared_postgres()
    Store.open(server.create_database(name="template")).close()
    return "template"


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The database that a test runs on."""
    return str(request.param)


@pytest.fixture
def store_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh store with its tables."""
    if dialect == "sqlite":
        path = tmp_path / "directory.db"
        shutil.copyfile(request.getfixturevalue("empty_store"), path)
        path.chmod(0o600)
        yield str(path)
        return
    server = shared_postgres()
    url = server.create_database(template())
    yield url
    server.drop_database(url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A fresh store."""
    opened = Store.open(store_url)
    yield opened
    opened.close()


# The row of `state` as a new store has it.
_FIRST_STATE: dict[str, dict[str, object]] = {}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def kept_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store on each database that many tests share, one after the other: see `emptied_store`."""
    if request.param == "sqlite":
        opened = Store.open(str(tmp_path_factory.mktemp("kept") / "directory.db"))
    else:
        opened = Store.open(shared_postgres().create_database(template()))
    with opened.read() as connection:
        _FIRST_STATE[opened.shown] = dict(connection.execute(select(STATE)).one()._mapping)  # noqa: SLF001
    yield opened
    opened.close()


@pytest.fixture
def emptied_store(kept_store: Store) -> Store:
    """A store with nothing in it, for tests that leave its tables as they are; quicker to have than a fresh one."""
    with kept_store.engine.begin() as connection:
        if kept_store.dialect == "postgresql":
            connection.execute(text(f"TRUNCATE {', '.join(table.name for table in METADATA.sorted_tables)}"))
        else:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
        connection.execute(insert(STATE), _FIRST_STATE[kept_store.shown])
    return kept_store


@pytest.fixture
def directory(store: Store) -> Directory:
    """An empty directory under `RULES`."""
    told: list[int] = []
    made = Directory(
        store,
        lambda: PolicyView(made.rules, "v1", lambda identity: made.bundle.get(identity, ())),
        Clock(),
        told.append,
    )
    made.rules, made.bundle, made.told = RULES, {}, told
    return made
