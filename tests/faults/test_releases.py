"""Stores of an earlier and of a later release, while sidecars start on them and while they serve."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import grpc
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, Table, text, update

from authz_sidecar.directory.storage import migration, postgresql, sqlite_file
from authz_sidecar.directory.storage.place import parse_place
from authz_sidecar.directory.storage.schema import METADATA, STATE
from tests.faults.scene import Scene, ask, check_whole, reason, refused_start
from tests.postgres import shared_postgres
from tests.server.sidecar import Sidecar, failure_of, until

PEOPLE = [f"p{number}" for number in range(8)]
LATER = migration.SCHEMA + 1


@contextmanager
def beneath(url: str) -> Iterator[Connection]:
    """A transaction on the database itself, past everything that looks at its schema."""
    place = parse_place(url)
    engine = postgresql.open_engine(place) if place.path is None else sqlite_file.open_engine(place.path)
    with engine.connect().execution_options(**{sqlite_file.IMMEDIATE: True}) as connection, connection.begin():
        yield connection
    engine.dispose()


def set_back(url: str, older: str) -> None:
    """Give a database without tables those of the first schema, and of the store at `url` all that these can hold."""
    with beneath(url) as source, beneath(older) as target:
        config = Config(attributes={"connection": target})
        config.set_main_option("script_location", str(migration.SCRIPTS))
        command.upgrade(config, "0001")
        target.execute(text("DELETE FROM state"))
        for known in METADATA.sorted_tables:
            # Its columns as they were.
            table = Table(known.name, MetaData(), autoload_with=target)
            rows = source.execute(table.select()).mappings().all()
            if rows:
                target.execute(table.insert(), [dict(row) for row in rows])


@pytest.fixture
def older() -> Iterator[str]:
    """A database without tables."""
    url = shared_postgres().create_database()
    yield url
    shared_postgres().drop_database(url)


def knows(sidecar: Sidecar) -> bool:
    """Whether a sidecar has followed both."""
    return bool(ask(sidecar, "bea").allowed and ask(sidecar, "cem").allowed)


def test_a_store_of_an_earlier_release(postgresql_scene: Scene, older: str) -> None:
    """Two sidecars that start at once on an older store bring it forward once, with all that is in it: who was allowed
    is, by name and by key, and both go on changing it."""
    with postgresql_scene.served() as (_, root):
        for id in PEOPLE:
            root.create(id, "CLERK")
        keys = [root.create_key(id).secret for id in PEOPLE]
    set_back(postgresql_scene.url, older)
    postgresql_scene.url = older
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        starting = [postgresql_scene.served() for _ in range(2)]
        served = list(threads.map(lambda one: one.__enter__(), starting))
        for one in starting:
            stack.push(one)
        for sidecar, root in served:
            assert all(ask(sidecar, id).allowed for id in PEOPLE)
            assert all(ask(sidecar, credential=key).allowed for key in keys)
            assert sorted(root.identities()) == sorted([*PEOPLE, "root"])
        for number, (_, root) in enumerate(served):
            root.create(f"late{number}", "CLERK")
    assert check_whole(older) == {*PEOPLE, "root", "late0", "late1"}


def test_a_store_that_a_later_release_moves_on(file_scene: Scene) -> None:
    """A sidecar goes on reading and changing a store that a later release has added to, and so does one that starts.
    Once the store says that this release may not any more, administration is refused with a remedy and checks go on by
    what is known until that is stale; a sidecar that starts is refused."""
    with file_scene.served("--max-staleness", "2") as (sidecar, root):
        root.create("ann", "CLERK")
        key = root.create_key("ann").secret
        with beneath(file_scene.url) as connection:
            connection.execute(text("CREATE TABLE of_a_later_release (id integer)"))
            connection.execute(text("ALTER TABLE identities ADD COLUMN later integer NOT NULL DEFAULT 7"))
            connection.execute(text(f"UPDATE {migration.VERSION_TABLE} SET version_num = '{LATER:04}'"))  # noqa: S608
        with file_scene.served() as (other, its_root):
            its_root.create("bea", "CLERK")
            root.create("cem", "CLERK")
            until(partial(knows, sidecar))
            until(partial(knows, other))
        with beneath(file_scene.url) as connection:
            connection.execute(update(STATE).values(readable_from=LATER))
        failure = failure_of(lambda: root.create("dan", "CLERK"))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_POSSIBLE_NOW")
        assert f"this release knows {migration.SCHEMA}" in failure.message
        assert "install the release that migrated the store" in failure.message
        assert ask(sidecar, "cem").allowed
        said = refused_start(file_scene)
        assert "install the release that migrated the store" in said
        until(lambda: sidecar.ready()[0] == 503)
        assert "this release knows" in sidecar.ready()[1]["directory"]["unseen"]
        assert ask(sidecar, "cem").allowed
        assert ask(sidecar, credential=key).reason == reason("STALE_DIRECTORY")
        with beneath(file_scene.url) as connection:
            connection.execute(update(STATE).values(readable_from=1))
        until(lambda: sidecar.ready()[0] == 200)
        root.create("dan", "CLERK")
    assert check_whole(file_scene.url) == {"root", "ann", "bea", "cem", "dan"}
