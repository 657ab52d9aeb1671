"""Stores that are not what we wrote, of another release, or on a disk that is full: refused in clear words, and right
again once the cause is gone."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, select, text, update

from authz_sidecar.directory.storage import migration, postgresql, sqlite_file
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.place import parse_place
from authz_sidecar.directory.storage.schema import IDENTITIES, METADATA, OWN_METADATA, STATE
from authz_sidecar.directory.storage.store import Store
from tests.directory.test_store import OPERATOR, add, check_whole, refused
from tests.postgres import shared_postgres


@pytest.fixture(scope="session")
def with_identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 300 identities in it, closed, to copy."""
    path = tmp_path_factory.mktemp("filled") / "directory.db"
    store = Store.open(str(path))
    for number in range(300):
        add(store, f"identity-{number}")
    store.close()
    return path


@pytest.fixture
def path(with_identities: Path, tmp_path: Path) -> Path:
    """A file with 300 identities in it."""
    copy = tmp_path / "directory.db"
    shutil.copyfile(with_identities, copy)
    return copy


def spoil(path: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda path: spoil(path, 0, b"x" * 100), "no database of SQLite", id="header"),
        pytest.param(lambda path: path.write_bytes(b""), "the file is empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"SQLite"), "no database of SQLite", id="short"),
        pytest.param(lambda path: spoil(path, 68, bytes(4)), "a database of another program", id="other-program"),
        pytest.param(lambda path: os.truncate(path, path.stat().st_size // 2), "damaged", id="cut"),
        pytest.param(lambda path: spoil(path, 4096 * 12, b"\x5a" * 4096 * 20), "damaged", id="overwritten"),
        pytest.param(
            lambda path: script(path, "DROP TABLE directory_version"), "a table `assignments`", id="unversioned"
        ),
        pytest.param(
            lambda path: script(path, "UPDATE directory_version SET version_num = 'x'"), "which schema", id="version"
        ),
        pytest.param(lambda path: script(path, "DELETE FROM state"), "which revision", id="no-state"),
        pytest.param(lambda path: script(path, "DROP TABLE state"), "missing", id="no-table"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(path: Path, damage: Callable[[Path], None], words: str) -> None:
    """A file that is damaged, empty or another program's is refused as corrupt, and not one byte of it is changed."""
    damage(path)
    before = path.read_bytes()
    with refused(Fault.CORRUPT, words):
        Store.open(str(path))
    assert path.read_bytes() == before


def script(path: Path, sql: str) -> None:
    """Run SQL on a file, past everything that is tested."""
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


def test_damage_while_serving_is_told_as_damage(path: Path) -> None:
    """A file that is damaged under an open store gives a clear refusal, and no wrong rows."""
    store = Store.open(str(path))
    spoil(path, 4096, b"\xff" * (path.stat().st_size - 4096))
    # What it has in memory is right; what it reads anew is not.
    store.engine.dispose()
    with refused(Fault.CORRUPT, "damaged"), store.read() as connection:
        connection.execute(select(IDENTITIES)).all()
    store.close()


@pytest.mark.parametrize("log", ["-wal", "-journal"])
def test_a_log_without_its_file_is_no_new_directory(tmp_path: Path, log: str) -> None:
    """Where the file is lost and its log is left, nothing is made in its place."""
    path = tmp_path / "directory.db"
    Path(f"{path}{log}").write_bytes(b"left")
    with refused(Fault.CORRUPT, "the file is missing"):
        Store.open(str(path))
    assert not path.exists()


def test_a_file_that_is_gone_is_not_made_again(path: Path, tmp_path: Path) -> None:
    """An open store whose file was removed refuses to write into nowhere; put back, it goes on."""
    store = Store.open(str(path))
    aside = tmp_path / "aside"
    path.rename(aside)
    with refused(Fault.UNAVAILABLE, "is gone"):
        add(store, "a")
    with refused(Fault.UNAVAILABLE, "is gone"):
        store.state()
    assert not path.exists()
    aside.rename(path)
    assert add(store, "a") == 301
    store.close()


def test_a_file_that_was_replaced_is_followed(path: Path, tmp_path: Path) -> None:
    """After a restore puts another file in the place, an open store reads and writes that one, unless it
    is an older release's or no store at all, or the log of the one before was left there."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    store = Store.open(str(path))
    add(store, "lost")
    store.engine.dispose()
    copy.rename(path)
    assert store.state().revision == 300
    assert add(store, "kept") == 301
    again = Store.open(str(path))
    assert check_whole(again) == 301
    older = tmp_path / "older"
    sqlite_file.make_file(older, str(older), Engine.dispose)
    migrated(str(older), "0001")
    older.rename(path)
    with refused(Fault.CORRUPT, "the log `-wal` of the one before is there"):
        store.state()
    for left in ("-wal", "-shm"):
        Path(f"{path}{left}").unlink()
    with refused(Fault.PRECONDITION, "does not have the tables of this release"):
        store.state()
    spare = tmp_path / "spare"
    spare.write_bytes(b"another file that is no database at all")
    spare.rename(path)
    with refused(Fault.CORRUPT, "no database of SQLite"):
        store.state()
    store.close()
    again.close()


@pytest.mark.parametrize("where", ["missing/directory.db", "."])
def test_a_place_that_cannot_hold_a_file_is_told(tmp_path: Path, where: str) -> None:
    """A directory that does not exist, or a directory in the place of the file, is refused in words."""
    with pytest.raises(DirectoryError) as caught:
        Store.open(str(tmp_path / where))
    assert caught.value.fault in (Fault.UNAVAILABLE, Fault.INVALID)
    assert list(tmp_path.iterdir()) == []


def test_two_that_begin_at_once_make_one_directory(tmp_path: Path) -> None:
    """Many that open a store which is not there yet make it once, on both databases, and all of them use it, also where
    a database has its transactions see one snapshot by default."""
    server = shared_postgres()
    database = server.create_database(name="begun")
    with server.connect("postgres") as connection:
        connection.execute("ALTER DATABASE begun SET default_transaction_isolation = 'repeatable read'")
    for url in (str(tmp_path / "directory.db"), database):
        with ThreadPoolExecutor(6) as threads:
            stores = list(threads.map(Store.open, [url] * 6))
        assert len({store.state().epoch for store in stores}) == 1
        for number, store in enumerate(stores):
            add(store, str(number))
        assert check_whole(stores[0]) == 6
        for store in stores:
            store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["directory.db"]
    server.drop_database(database)


def test_a_directory_whose_making_is_killed_is_made_again(tmp_path: Path) -> None:
    """A process that is killed while it makes the file leaves none in its place, and the next one makes it."""
    path = tmp_path / "directory.db"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_make_and_die, args=(str(path),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not path.exists()
    store = Store.open(str(path))
    assert add(store, "a") == 1
    store.close()


def _die_at_link(event: str, _: object) -> None:
    # The last step, which puts the file in its place.
    if event == "os.link":
        os._exit(9)


def _make_and_die(url: str) -> None:
    sys.addaudithook(_die_at_link)
    Store.open(url)


FULL = """
import json, resource, signal, sys
from tests.directory.test_store import add
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(sys.argv[1])
add(store, "first")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
done, refusals = ["first"], []
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
while len(refusals) < 5:
    name = f"{len(done)}-{len(refusals)}"
    try:
        add(store, name)
        done.append(name)
    except DirectoryError as error:
        refusals.append([error.fault, error.message])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
add(store, "last")
print(json.dumps([[*done, "last"], refusals]))
"""


def test_a_full_disk_refuses_changes_and_keeps_what_was_done(tmp_path: Path) -> None:
    """When the file cannot grow, changes are refused as unavailable; what was acknowledged is there, and once there is
    room the same process goes on."""
    path = tmp_path / "directory.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    done, refusals = json.loads(ended.stdout)
    assert len(done) > 10
    assert {fault for fault, _ in refusals} == {"unavailable"}
    store = Store.open(str(path))
    with store.read() as connection:
        assert sorted(connection.execute(select(IDENTITIES.c.id)).scalars()) == sorted(done)
    assert check_whole(store) == len(done)
    store.close()


def test_a_store_at_its_greatest_size_says_that_the_disk_is_full(tmp_path: Path) -> None:
    """SQLite's own report of a full disk is told as such."""
    store = Store.open(str(tmp_path / "directory.db"))
    with refused(Fault.UNAVAILABLE, "the disk is full"), store.change(OPERATOR, 0.0) as change:
        change.connection.exec_driver_sql("PRAGMA max_page_count = 1")
        change.touch("identity", "a")
        change.audit("identity.create", after={"text": "x" * 100_000})
    assert store.state().revision == 0
    store.close()


def migrated(url: str, version: str) -> None:
    """Bring an empty store to an older schema."""
    place = parse_place(url)
    engine = sqlite_file.open_engine(place.path) if place.path else postgresql.open_engine(place)
    with engine.connect().execution_options(**{sqlite_file.IMMEDIATE: True}) as connection, connection.begin():
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migration.SCRIPTS))
        command.upgrade(config, version)
    engine.dispose()


@pytest.fixture
def empty_url(dialect: str, tmp_path: Path) -> str:
    """The URL of a store without any tables."""
    if dialect == "postgresql":
        return shared_postgres().create_database()
    path = tmp_path / "old.db"
    sqlite_file.make_file(path, str(path), Engine.dispose)
    return str(path)


def test_an_older_store_is_brought_forward_with_its_data(empty_url: str) -> None:
    """A store of the first schema with identities in it is brought to this one: nothing is lost, and what the new
    schema adds is filled: all who open it have the same secret for page tokens."""
    migrated(empty_url, "0001")
    place = parse_place(empty_url)
    engine = sqlite_file.open_engine(place.path) if place.path else postgresql.open_engine(place)
    row = (
        "INSERT INTO identities (id, kind, company, active, name, description, flags, attributes, created_by,"
        " created_at, updated_at, revision) VALUES (:id, 1, '', true, :name, '', '{}', '{\"a\": [1]}', 'ann', 1, 2, 1)"
    )
    with engine.connect().execution_options(**{sqlite_file.IMMEDIATE: True}) as connection, connection.begin():
        connection.execute(
            text(row), [{"id": f"i{number:05}", "name": f"Größe ＡBC {number}"} for number in range(2_500)]
        )
        connection.execute(text("UPDATE state SET revision = 7"))
    engine.dispose()
    with refused(Fault.PRECONDITION, "does not have the tables of this release"):
        Store.open(empty_url, migrate=False)
    store = Store.open(empty_url)
    assert (store.state().revision, store.state().readable_from) == (7, 1)
    with store.read() as connection:
        rows = connection.execute(select(IDENTITIES).order_by(IDENTITIES.c.id)).all()
    assert len(rows) == 2_500
    assert {(row.folded_name, row.attributes["a"][0], row.created_by) for row in rows[:1]} == {
        ("grösse abc 0", 1, "ann")
    }
    assert all(row.folded_name for row in rows)
    again = Store.open(empty_url)
    assert len(store.page_secret()) == 32
    assert again.page_secret() == store.page_secret()
    again.close()
    store.close()


def test_the_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    """What the migrations make is what `schema.py` says, and `SCHEMA` is the number of the last one."""
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migration.VERSION_TABLE})
        known = MetaData(naming_convention=METADATA.naming_convention)
        for table in (*METADATA.sorted_tables, *OWN_METADATA.sorted_tables):
            table.to_metadata(known)
        assert compare_metadata(context, known) == []
        inspector = inspect(connection)
        for table in known.tables.values():
            made = {index["name"]: index["column_names"] for index in inspector.get_indexes(table.name)}
            assert made == {index.name: [column.name for column in index.columns] for index in table.indexes}
    config = Config()
    config.set_main_option("script_location", str(migration.SCRIPTS))
    numbers = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert numbers == [f"{number:04}" for number in range(migration.SCHEMA, 0, -1)]


def test_a_store_of_a_later_release_is_used_only_as_far_as_it_permits(store: Store, store_url: str) -> None:
    """A store that a later release brought forward is used where it says that this one still may, and refused in clear
    words where not: when it is opened, and by those who have it open."""
    later = migration.SCHEMA + 1

    def move(readable_from: int) -> None:
        engine = store.engine
        with engine.connect().execution_options(**{sqlite_file.IMMEDIATE: True}) as connection, connection.begin():
            connection.execute(text("UPDATE directory_version SET version_num = :later"), {"later": f"{later:04}"})
            connection.execute(update(STATE).values(readable_from=readable_from))

    move(readable_from=migration.SCHEMA)
    again = Store.open(store_url)
    assert add(again, "a") == 1
    move(readable_from=later)
    with refused(Fault.PRECONDITION, f"readable from schema {later} on; this release knows {migration.SCHEMA}"):
        Store.open(store_url)
    with refused(Fault.PRECONDITION, f"this release knows {migration.SCHEMA}"):
        add(again, "b")
    again.close()


def test_a_database_of_another_program_is_refused() -> None:
    """A database of PostgreSQL that has tables called like ours, but not ours, is left alone."""
    server = shared_postgres()
    url = server.create_database()
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE grants (id int)")
    with refused(Fault.CORRUPT, "a table `grants` of another program"):
        Store.open(url)
    with server.connect(name) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (1,)
    server.drop_database(url)
