"""Directories for the tests of faults, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.postgres import Postgres, shared_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """A fresh directory on each database."""
    made = request.getfixturevalue("file_scene" if request.param == "sqlite" else "postgresql_scene")
    assert isinstance(made, Scene)
    return made


@pytest.fixture
def postgresql_scene(tmp_path: Path) -> Iterator[Scene]:
    """A fresh directory in a database of PostgreSQL."""
    server = shared_postgres()
    url = server.create_database()
    yield Scene(tmp_path, url)
    server.drop_database(url)


@pytest.fixture
def file_scene(tmp_path: Path) -> Scene:
    """A fresh directory in a file."""
    return Scene(tmp_path)


@pytest.fixture(scope="module")
def stoppable() -> Iterator[Postgres]:
    """A PostgreSQL that nobody else uses."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def own_postgres(stoppable: Postgres) -> Postgres:
    """A PostgreSQL that a test may stop, which runs, whatever the test before did to it."""
    if not stoppable.runs:
        stoppable.start()
    return stoppable
