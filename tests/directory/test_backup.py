"""Backups of stores that go on changing, on both databases, and stores that are filled from them."""

import base64
import hashlib
import json
import sqlite3
import stat
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Double, Integer, LargeBinary, Table, insert, select

from authz_sidecar.audit.verification import verify as verify_audit
from authz_sidecar.directory.backup.backup import Form, backup, restore, verify
from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.loading import GapError, changes_since, load
from authz_sidecar.directory.storage import migration, sqlite_file
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import AUDIT, CHANGES, IDENTITIES, METADATA, STATE
from authz_sidecar.directory.storage.store import Store
from tests.postgres import shared_postgres

OPERATOR = Actor("operator:test")
FORMS: tuple[Form, ...] = ("sqlite", "lines")
# Texts that only a careless writer would change.
ODD = 'é "quoted" \\ \u2028 \U0001f600 \t\n'


def filled(store: Store, rows: int = 3) -> None:
    """Put rows into every table, past all rules, each with an audit record."""
    for number in range(rows):
        with store.change(OPERATOR, 100.5 + number) as change:
            for table in METADATA.sorted_tables:
                if table not in (STATE, AUDIT, CHANGES):
                    change.connection.execute(insert(table), row_of(table, number))
            change.touch("identity", f"id{number}")
            change.touch("key", f"id{number}")
            change.audit("identity.update", subject=f"id{number}", after={"text": ODD})


def row_of(table: Table, number: int, **more: Any) -> dict[str, Any]:
    """A row of a table."""
    return {**{column.name: _value(column.name, column.type, number) for column in table.columns}, **more}


def _value(name: str, type: Any, number: int) -> Any:
    if name in ("id", "identity"):
        return f"id{number}"
    if name == "kind" and isinstance(type, Integer):
        return number % 2 + 1
    if name == "document":
        return "{}"
    if isinstance(type, Boolean):
        return number % 2 == 0
    if isinstance(type, Integer):
        return number + 1
    if isinstance(type, Double):
        return 0.1 + number
    if isinstance(type, LargeBinary):
        return bytes([number, 0, 255])
    if name in ("flags", "attributes", "actions"):
        return {"flags": {"on": True}, "attributes": {"n": [1, 2.5, None, {"x": ODD}]}, "actions": ["read", ODD]}[name]
    return f"{ODD}{number}"


def content(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables but those that a restore is to change."""
    with store.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns)).all()
            ]
            for table in METADATA.sorted_tables
            if table not in (STATE, CHANGES, AUDIT)
        }


def audit_of(store: Store) -> list[tuple[Any, ...]]:
    """The audit."""
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(select(AUDIT).order_by(AUDIT.c.sequence))]


@contextmanager
def emptied(store: Store) -> Iterator[None]:
    """The block has a store whose table of checkpoints is empty, as `filled` puts no real ones there."""
    with store.change(OPERATOR, 0.0) as change:
        change.connection.execute(METADATA.tables["checkpoints"].delete())
    yield


@pytest.fixture
def source(store: Store) -> Store:
    """A store with rows in every table."""
    filled(store)
    with emptied(store):
        return store


def forms_of(store: Store) -> tuple[Form, ...]:
    """The forms of backups that a store has."""
    return FORMS if store.dialect == "sqlite" else ("lines",)


@contextmanager
def fresh(dialect: str, folder: Path) -> Iterator[str]:
    """The URL of a store that does not exist, or of a database without tables."""
    if dialect == "sqlite":
        yield str(folder / "restored.db")
        return
    url = shared_postgres().create_database()
    yield url
    shared_postgres().drop_database(url)


@contextmanager
def refused(fault: Fault, *words: str) -> Iterator[None]:
    """The block is refused with that fault, in words that hold these."""
    with pytest.raises(DirectoryError) as caught:
        yield
    assert caught.value.fault is fault, caught.value.message
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.help


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_restored_store_is_the_one_that_was_backed_up(source: Store, into: str, tmp_path: Path) -> None:
    """Every row of every table is there again, from either form and in either database; the audit goes on with a record
    of the restore, and the store has another epoch, a later revision and a page secret of its own."""
    secret = source.page_secret()
    for form in forms_of(source):
        path = tmp_path / f"backup.{form}"
        report = backup(source, path, form=form, now=500.0)
        assert verify(path) == report
        assert not [text for text in (secret, base64.b64encode(secret)) if text in path.read_bytes()]
        state = source.state()
        assert (report.revision, report.epoch) == (state.revision, state.epoch)
        assert (report.audit_sequence, report.audit_hash) == (state.audit_sequence, state.audit_hash.hex())
        folder = tmp_path / form
        folder.mkdir()
        with fresh(into, folder) as url:
            done = restore(path, url, actor=OPERATOR, justification="a test", now=900.0)
            restored = Store.open(url)
            assert content(restored) == content(source)
            now = restored.state()
            assert (now.epoch, now.revision) == (done.epoch, done.revision)
            assert now.epoch != state.epoch
            assert restored.page_secret() != secret
            assert now.revision == state.revision + 1
            audit = audit_of(restored)
            assert audit[:-1] == audit_of(source)
            told = json.loads(audit[-1][AUDIT.columns.keys().index("record")])
            assert (told["action"], told["actor"], told["time"]) == ("directory.restore", "operator:test", 900.0)
            assert told["justification"] == "a test"
            assert told["after"]["backup"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            with restored.read() as connection:
                assert verify_audit(connection).intact
            filled_after(restored)
            restored.close()


def filled_after(store: Store) -> None:
    """A restored store is changed like any other."""
    before = store.state()
    with store.change(OPERATOR, 1000.0) as change:
        change.touch("identity", "id0")
        change.audit("identity.update")
    with store.read() as connection:
        assert verify_audit(connection).intact
    assert store.state().revision == before.revision + 1


def test_backups_of_a_busy_store_are_whole(store: Store, tmp_path: Path) -> None:
    """While another thread changes a store, each backup is one revision of it: as many identities as the revision says,
    and an audit that ends there. Changes go on."""
    stopped = threading.Event()
    made = threading.Semaphore(0)
    failures: list[Exception] = []

    def write() -> None:
        number = 0
        try:
            while not stopped.is_set():
                with store.change(OPERATOR, 1.0) as change:
                    row = row_of(IDENTITIES, 0, id=f"id{number}", description="x" * 5000)
                    change.connection.execute(insert(IDENTITIES), row)
                    change.touch("identity", f"id{number}")
                    change.audit("identity.update", subject=f"id{number}")
                number += 1
                made.release()
        except Exception as error:  # noqa: BLE001  # told below
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for number in range(3):
            for form in forms_of(store):
                for _ in range(20):
                    assert made.acquire(timeout=30)
                report = backup(store, tmp_path / f"{number}.{form}", form=form)
                assert report.rows["identities"] == report.revision == report.audit_sequence
                seen.append(report.revision)
        assert made.acquire(timeout=30)
    finally:
        stopped.set()
        writer.join(30)
    assert not failures
    assert seen == sorted(set(seen))
    assert store.state().revision > seen[-1]


def test_a_store_that_is_not_empty_is_replaced_only_when_told(source: Store, store_url: str, tmp_path: Path) -> None:
    """A store with anything in it is left alone, unless it is to be replaced; then what it had is gone, its revisions
    go on, and what was replaced is in the audit."""
    path = tmp_path / "backup.lines"
    before = content(source)
    backup(source, path, form="lines")
    filled_more(source)
    changed, state = content(source), source.state()
    with refused(Fault.PRECONDITION, "is not empty"):
        restore(path, store_url)
    assert (content(source), source.state()) == (changed, state)
    done = restore(path, store_url, replace=True)
    assert content(source) == before
    assert source.state().revision == state.revision + 1 == done.revision
    assert done.replaced_sequence == state.audit_sequence
    told = json.loads(audit_of(source)[-1][AUDIT.columns.keys().index("record")])
    assert told["before"]["audit_hash"] == state.audit_hash.hex()
    filled_after(source)


def filled_more(store: Store) -> None:
    """Changes after a backup."""
    for number in range(2):
        with store.change(OPERATOR, 2000.0) as change:
            change.connection.execute(insert(IDENTITIES), row_of(IDENTITIES, 7, id=f"more{number}"))
            change.touch("identity", f"more{number}")
            change.audit("identity.update")


def test_those_who_follow_read_a_restored_store_anew(source: Store, store_url: str, tmp_path: Path) -> None:
    """A copy in memory of the store before sees that it has another history, also where the revisions meet."""
    backup(source, tmp_path / "b", form="lines")
    copy = DirectoryCopy()
    copy.replace(load(source, Assembler()))
    restore(tmp_path / "b", store_url, replace=True)
    with pytest.raises(GapError):
        changes_since(source, copy, Assembler())
    copy.replace(load(source, Assembler()))
    assert changes_since(source, copy, Assembler()) is None
    filled_after(source)
    assert changes_since(source, copy, Assembler()) is not None


def test_a_restore_that_fails_leaves_the_store(source: Store, store_url: str, tmp_path: Path) -> None:
    """A restore that fails after it has begun to write leaves the store as it was."""
    path = tmp_path / "backup.lines"
    backup(source, path, form="lines")
    state, before = source.state(), content(source)

    def fail(table: str, count: int) -> None:
        if table == "tokens":
            raise RuntimeError(f"{table} {count}")

    with pytest.raises(RuntimeError):
        restore(path, store_url, replace=True, progress=fail)
    assert (source.state(), content(source)) == (state, before)


def test_backups_are_new_files_of_their_owner(source: Store, tmp_path: Path) -> None:
    """A backup can be read by its owner alone, replaces nothing, and leaves nothing behind where it cannot be made."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for form in forms_of(source):
        path = folder / form
        backup(source, path, form=form)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with refused(Fault.ALREADY_EXISTS, "exists"):
            backup(source, path, form=form)
    link = folder / "link"
    link.symlink_to(folder / "nowhere")
    with refused(Fault.ALREADY_EXISTS, "exists"):
        backup(source, link, form="lines")
    with refused(Fault.UNAVAILABLE, "no such file or directory"):
        backup(source, folder / "missing" / "backup", form="lines")
    assert {one.name for one in folder.iterdir()} == {*forms_of(source), "link"}
    if source.dialect == "postgresql":
        with refused(Fault.INVALID, "no file of SQLite"):
            backup(source, folder / "x", form="sqlite")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a backup."""
    folder = tmp_path_factory.mktemp("lines")
    store = Store.open(str(folder / "store.db"))
    filled(store)
    with emptied(store):
        backup(store, folder / "backup", form="lines")
    store.close()
    return (folder / "backup").read_bytes().splitlines(keepends=True)


def sealed(lines: list[bytes]) -> bytes:
    """Lines with a last one that fits them, as whoever changes them on purpose would write it."""
    counts: dict[str, int] = {}
    table = ""
    for line in lines[1:-1]:
        if line.startswith(b"{"):
            table = json.loads(line)["table"]
            counts[table] = 0
        else:
            counts[table] += 1
    tail = {"rows": counts, "sha256": hashlib.sha256(b"".join(lines[:-1])).hexdigest()}
    return b"".join(lines[:-1]) + json.dumps(tail).encode() + b"\n"


def test_every_change_of_the_lines_is_found(lines: list[bytes], tmp_path: Path) -> None:
    """A line that is missing, doubled, moved, changed or cut refuses the backup, and nothing is made of it."""
    path, url = tmp_path / "backup", tmp_path / "store.db"
    whole = b"".join(lines)
    path.write_bytes(whole)
    verify(path)
    broken = [whole[:-1], whole + b"x", whole + lines[-1], b"", whole[: len(whole) // 2]]
    for number, line in enumerate(lines):
        before, after = lines[:number], lines[number + 1 :]
        broken.append(b"".join([*before, *after]))
        broken.append(b"".join([*before, line, line, *after]))
        middle = len(line) // 2
        broken.append(b"".join([*before, line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :], *after]))
        if number:
            broken.append(b"".join([*lines[: number - 1], line, lines[number - 1], *after]))
    for text in broken:
        path.write_bytes(text)
        with refused(Fault.CORRUPT, "is refused"):
            verify(path)
    with refused(Fault.CORRUPT, "is refused"):
        restore(path, str(url))
    assert not url.exists()


def _index(lines: list[bytes], table: str) -> int:
    return next(number for number, line in enumerate(lines) if line.startswith(b'{"table":"%s"' % table.encode()))


def _edited(lines: list[bytes], table: str, column: str, value: Any, row: int = 0) -> list[bytes]:
    at = _index(lines, table)
    place = json.loads(lines[at])["columns"].index(column)
    values = json.loads(lines[at + 1 + row])
    values[place] = value
    return [*lines[: at + 1 + row], json.dumps(values).encode() + b"\n", *lines[at + 2 + row :]]


def test_lines_that_are_changed_on_purpose_are_refused(lines: list[bytes], tmp_path: Path) -> None:
    """With a digest that fits, the audit's chain and the types of all values are still checked."""
    path = tmp_path / "backup"
    audit = _index(lines, "audit")
    states = [
        _edited(lines, "identities", "active", 1),
        _edited(lines, "identities", "active", "yes"),
        _edited(lines, "identities", "kind", True),
        _edited(lines, "identities", "id", None),
        _edited(lines, "identities", "created_at", "now"),
        _edited(lines, "keys", "hash", "!"),
        _edited(lines, "identities", "flags", "x"),
        _edited(lines, "audit", "hash", base64.b64encode(bytes(32)).decode()),
        _edited(lines, "audit", "record", "{}", 1),
        _edited(lines, "state", "audit_sequence", 2),
        _edited(lines, "state", "audit_hash", base64.b64encode(bytes(32)).decode()),
        _edited(lines, "state", "revision", "x"),
        [*lines[: audit + 2], *lines[audit + 3 :]],
        [*lines[: audit + 1], lines[audit + 2], lines[audit + 1], *lines[audit + 3 :]],
        [*lines[: audit + 3], *lines[audit + 4 :]],
        [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
        [line.replace(b'"folded_name"', b'"unknown"') for line in lines],
        [line for line in lines if not line.startswith(b'{"table":"shares"')],
    ]
    path.write_bytes(sealed(lines))
    verify(path)
    for state in states:
        path.write_bytes(sealed(state))
        with refused(Fault.CORRUPT, "is refused"):
            verify(path)
    orphan = _edited(lines, "keys", "identity", "nobody")
    path.write_bytes(sealed(orphan))
    with refused(Fault.CORRUPT, "contradict"):
        restore(path, str(tmp_path / "store.db"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A backup of SQLite with a byte changed in a page, cut short, or that is something else is refused."""
    store = Store.open(str(tmp_path / "store.db"))
    filled(store, 40)
    with emptied(store):
        backup(store, tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    path = tmp_path / "bad"
    text = good.find(b'"action":"identity.update"')
    for wrong in (
        good[: len(good) // 2],
        good[:text] + b'"action":"identity.UPDATE"' + good[text + 26 :],
        good[:4096] + bytes(4096) + good[8192:],
        good[:68] + b"xxxx" + good[72:],
    ):
        path.write_bytes(wrong)
        with refused(Fault.CORRUPT):
            verify(path)
    with refused(Fault.INVALID, "is in use"):
        verify(tmp_path / "store.db")
    with refused(Fault.UNAVAILABLE, "no such file"):
        verify(tmp_path / "missing")
    store.close()


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_backup_can_take_the_place_of_a_file(dialect: Form, tmp_path: Path) -> None:
    """A backup that is a file of SQLite is a store where it is put, although it was written without a log."""
    store = Store.open(str(tmp_path / "store.db"))
    backup(store, tmp_path / "backup", form=dialect)
    store.close()
    placed = Store.open(str(tmp_path / "backup"))
    for revision in (1, 2):
        with placed.change(OPERATOR, 200.0) as change:
            change.touch("identity", "id0")
            change.audit("identity.update", subject="id0")
        assert placed.state().revision == revision
    placed.close()


def older(path: Path) -> None:
    """Make a store of SQLite as the first release had it, with an identity."""
    from alembic import command
    from alembic.config import Config

    def fill(engine: Any) -> None:
        with engine.connect() as connection, connection.begin():
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(migration.SCRIPTS))
            command.upgrade(config, "0001")
            connection.exec_driver_sql(
                "INSERT INTO identities VALUES ('ann', 1, 'acme', 1, 'ÄNN', '', '{}', '{}', 'x', 1.0, 1.0, 1)"
            )
            connection.exec_driver_sql("UPDATE state SET revision = 1")

    sqlite_file.make_file(path, str(path), fill)


@pytest.mark.parametrize("form", FORMS)
def test_backups_of_an_older_release_are_brought_forward(form: str, dialect: str, tmp_path: Path) -> None:
    """A backup with the tables of an older schema fills a store of this one, with what its migrations fill."""
    path = tmp_path / "old"
    older(path)
    if form == "lines":
        path = tmp_path / "old.lines"
        path.write_bytes(_older_lines(tmp_path / "old"))
    else:
        # As the online backup writes it, which has no log.
        sqlite3.connect(path).execute("PRAGMA journal_mode = DELETE").connection.close()
    assert verify(path).schema == 1
    with fresh(dialect, tmp_path) as url:
        restore(path, url)
        store = Store.open(url)
        with store.read() as connection:
            found = connection.execute(select(IDENTITIES.c.id, IDENTITIES.c.name, IDENTITIES.c.folded_name)).all()
        assert [tuple(row) for row in found] == [("ann", "ÄNN", "änn")]
        store.close()


def _older_lines(path: Path) -> bytes:
    head = {"format": "authz-sidecar directory backup", "version": 1, "schema": 1, "made_at": 1.0, "dialect": "sqlite"}
    made = [json.dumps(head).encode() + b"\n"]
    connection = sqlite3.connect(path)
    kinds: dict[str, Callable[[Any], Any]] = {
        "active": bool,
        "break_glass": bool,
        "flags": json.loads,
        "attributes": json.loads,
    }
    names = [table.name for table in METADATA.sorted_tables]
    for name in names:
        rows = connection.execute(f"SELECT * FROM {name}")  # noqa: S608
        columns = [column[0] for column in rows.description]
        made.append(json.dumps({"table": name, "columns": columns}, separators=(",", ":")).encode() + b"\n")
        for row in rows:
            values = [kinds.get(column, lambda value: value)(value) for column, value in zip(columns, row, strict=True)]
            values = [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in values]
            made.append(json.dumps(values).encode() + b"\n")
    connection.close()
    return sealed([*made, b""])


def test_backups_of_a_later_release_are_refused(lines: list[bytes], tmp_path: Path) -> None:
    """A backup of a schema that this release does not know is refused, with what to do."""
    path = tmp_path / "later"
    path.write_bytes(sealed([lines[0].replace(b'"schema":%d' % migration.SCHEMA, b'"schema":99'), *lines[1:]]))
    with refused(Fault.PRECONDITION, "has schema 99"):
        verify(path)
    with refused(Fault.PRECONDITION, "has schema 99"):
        restore(path, str(tmp_path / "store.db"))


def test_memory_does_not_grow_with_the_store(store: Store, store_url: str, tmp_path: Path) -> None:
    """Backup, verification and restore hold some rows at a time, not the store."""
    rows = [row_of(IDENTITIES, 0, id=f"id{number}", description="x" * 8000) for number in range(1_500)]
    with store.change(OPERATOR, 1.0) as change:
        for begin in range(0, len(rows), 1000):
            change.connection.execute(insert(IDENTITIES), rows[begin : begin + 1000])
        change.touch("identity", "id0")
        change.audit("identity.update")
    del rows
    path = tmp_path / "backup.lines"
    tracemalloc.start()
    try:
        backup(store, path, form="lines")
        restore(path, store_url, replace=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 12_000_000
    assert peak < 9_000_000


CROOKED_LINES: tuple[tuple[str, str, Any], ...] = (
    ("identities", "kind", 7),
    ("identities", "kind", 2**70),
    ("identities", "flags", [1]),
    ("identities", "flags", {"on": "yes"}),
    ("identities", "attributes", [1]),
    ("identities", "attributes", {"a": {"b": "\0"}}),
    ("identities", "id", "role:ADMIN"),
    ("identities", "id", "*"),
    ("identities", "name", "a\0b"),
    ("grants", "actions", {"read": 1}),
    ("shares", "actions", [1]),
    ("state", "revision", 2**63 - 1),
    ("state", "revision", 2**70),
    ("state", "id", 2),
)


@pytest.mark.parametrize(("table", "column", "value"), CROOKED_LINES, ids=lambda value: str(value)[:20])
def test_values_that_no_store_has_are_refused(
    lines: list[bytes], tmp_path: Path, table: str, column: str, value: Any
) -> None:
    """A backup that was made up with values that no sidecar could read is refused, not restored and served."""
    path = tmp_path / "backup"
    path.write_bytes(sealed(_edited(lines, table, column, value)))
    for look in (lambda: verify(path), lambda: restore(path, str(tmp_path / "store.db"))):
        with refused(Fault.CORRUPT, "is refused"):
            look()


def test_a_backup_says_once_where_it_stands(lines: list[bytes], tmp_path: Path) -> None:
    """A backup whose state stands twice or not at all is refused."""
    path, at = tmp_path / "backup", _index(lines, "state")
    for some in ([*lines[: at + 2], lines[at + 1], *lines[at + 2 :]], [*lines[: at + 1], *lines[at + 2 :]]):
        path.write_bytes(sealed(some))
        with refused(Fault.CORRUPT, "which revision it has"):
            verify(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE identities SET kind = 7",
        "UPDATE identities SET kind = 'x'",
        "UPDATE identities SET flags = '[1]'",
        "UPDATE identities SET flags = '{no'",
        "UPDATE identities SET id = x'00ff' WHERE id = 'id9'",
        "UPDATE keys SET hash = 'text'",
        "UPDATE keys SET expires_at = 'never'",
        "UPDATE keys SET expires_at = 9e999",
        "DELETE FROM state",
        "INSERT INTO state SELECT 2, epoch, revision, audit_sequence, audit_hash, changes_from, 0, 1 FROM state",
    ],
)
def test_a_file_with_values_that_no_store_has_is_refused(tmp_path: Path, statement: str) -> None:
    """SQLite keeps values of any type anywhere: a file with one that no sidecar could read fills no store."""
    store = Store.open(str(tmp_path / "store.db"))
    filled(store, 10)
    with emptied(store):
        backup(store, tmp_path / "backup")
    store.close()
    connection = sqlite3.connect(tmp_path / "backup")
    connection.execute(statement)
    connection.commit()
    connection.close()
    target = Store.open(str(tmp_path / "target.db"))
    before = target.state()
    with refused(Fault.CORRUPT, "is refused"):
        restore(tmp_path / "backup", str(tmp_path / "target.db"))
    assert target.state() == before
    target.close()


def test_a_backup_that_changes_while_it_is_read_is_refused(source: Store, store_url: str, tmp_path: Path) -> None:
    """What was verified is what is restored, and what the audit names: another file that is put in its place
    meanwhile, sound as it is, is not."""
    for form in forms_of(source):
        path, other = tmp_path / form, tmp_path / f"other-{form}"
        backup(source, path, form=form)
        with source.change(OPERATOR, 0.0) as change:
            change.connection.execute(insert(IDENTITIES), row_of(IDENTITIES, 9, id=f"intruder-{form}"))
            change.touch("identity", f"intruder-{form}")
        backup(source, other, form=form)
        state = source.state()

        def swap(_table: str, _count: int, path: Path = path, other: Path = other) -> None:
            if other.exists():
                other.replace(path)

        with refused(Fault.CORRUPT, "it was changed while it was read"):
            restore(path, store_url, replace=True, progress=swap)
        assert source.state() == state
