"""The store, on both databases: whole changes in one order, the audit inside them, and clear refusals."""

import json
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, event, func, insert, select, text

from authz_sidecar.audit import chain
from authz_sidecar.directory.storage import change as change_module
from authz_sidecar.directory.storage import postgresql, sqlite_file
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, new_id
from authz_sidecar.directory.storage.schema import AUDIT, CHANGES, IDENTITIES, KEYS, STATE
from authz_sidecar.directory.storage.store import Store
from tests.directory.conftest import template
from tests.postgres import PASSWORD, Postgres, shared_postgres
from tests.server.sidecar import until

OPERATOR = Actor("operator:test")
DAY = 86_400.0
_DOUBLED = (
    "INSERT INTO state SELECT 2, epoch, revision, audit_sequence, audit_hash, changes_from, bootstrapped_at,"
    " readable_from FROM state"
)


def identity_row(id: str, revision: int) -> dict[str, object]:
    """A row of `identities`, past all rules."""
    return {
        "id": id,
        "kind": 1,
        "company": "",
        "active": True,
        "name": "",
        "description": "",
        "flags": {},
        "attributes": {},
        "created_by": "",
        "created_at": 0.0,
        "updated_at": 0.0,
        "revision": revision,
    }


def add(store: Store, id: str, now: float = 0.0) -> int:
    """Make an identity, past all rules; the revision that has it."""
    with store.change(OPERATOR, now) as change:
        change.connection.execute(insert(IDENTITIES), identity_row(id, change.revision))
        change.touch("identity", id)
        change.audit("identity.create", subject=id, object_type="sidecar.identity", object_id=id)
    return change.final_revision


def check_whole(store: Store) -> int:
    """Check that the store is whole: revisions and audit records have no gaps, the chain holds, and every identity is
    in the revision that touched it. Gives the revision."""
    with store.read() as connection:
        state = connection.execute(select(STATE)).one()
        revisions = connection.execute(select(CHANGES.c.revision).distinct().order_by(CHANGES.c.revision)).scalars()
        assert list(revisions) == list(range(1, state.revision + 1))
        previous, sequence = chain.GENESIS, 0
        for row in connection.execute(select(AUDIT).order_by(AUDIT.c.sequence)):
            sequence += 1
            link = chain.parse(row.record)
            assert (row.sequence, link.previous, chain.hash_of(row.record)) == (sequence, previous, row.hash)
            assert link.record.sequence == sequence
            previous = row.hash
        assert (state.audit_sequence, state.audit_hash) == (sequence, previous)
        touched = connection.execute(select(CHANGES.c.key, CHANGES.c.revision).where(CHANGES.c.kind == "identity"))
        there = connection.execute(select(IDENTITIES.c.id, IDENTITIES.c.revision))
        assert sorted(map(tuple, touched)) == sorted(map(tuple, there))
    return int(state.revision)


@contextmanager
def refused(fault: Fault, *words: str) -> Iterator[None]:
    """The block is refused with that fault, in words that hold these."""
    with pytest.raises(DirectoryError) as caught:
        yield
    assert caught.value.fault is fault
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert PASSWORD not in f"{caught.value.message}{caught.value.help}{caught.value.details}{caught.value!r}"


@pytest.mark.parametrize("rows", [0, 2])
def test_a_store_that_stands_at_no_one_place_is_refused(store: Store, rows: int) -> None:
    """A store whose row of `state` is missing, or there twice, is neither read nor changed."""
    with store.engine.begin() as connection:
        connection.execute(delete(STATE) if not rows else text(_DOUBLED))
    with refused(Fault.CORRUPT, "which revision"):
        store.state()
    with refused(Fault.CORRUPT, "which revision"):
        add(store, "a")


def test_a_change_rests_on_what_was_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that was permitted for an identity as it was at a revision is refused once that identity has changed, or
    where what has changed since is forgotten; changes of others do not matter."""
    monkeypatch.setattr("authz_sidecar.directory.storage.change.KEPT_REVISIONS", 2)
    monkeypatch.setattr("authz_sidecar.directory.storage.change.PRUNE_EVERY", 1)
    for id in ("a", "b"):
        add(store, id)

    def touch(id: str, seen: int) -> None:
        with store.change(Actor("ann", seen=("a", seen)), 0.0) as change:
            change.touch("identity", id)

    touch("b", 1)
    touch("a", 3)
    for seen in (1, 3):
        with refused(Fault.CONFLICT, "`a` is being changed by somebody else"):
            touch("b", seen)
    for _ in range(4):
        touch("b", store.state().revision)
    with refused(Fault.CONFLICT, "`a`"):
        touch("b", 4)
    assert store.state().revision == 8


def test_a_change_is_one_revision_with_what_it_touched_and_its_audit(store: Store) -> None:
    """A change makes one revision, which has everything that it touched once, and one audit record for each."""
    with store.change(Actor("ann", "bob", "key:k1", "203.0.113.9", "call-1"), 12.5) as change:
        change.connection.execute(insert(IDENTITIES), identity_row("a", change.revision))
        change.touch("identity", "a")
        change.touch("identity", "a")
        change.touch("key", "k")
        change.audit("identity.create", subject="a", after={"id": "a"}, justification="why")
        change.audit("key.create", subject="a", on_behalf_of="")
    assert (change.revision, change.final_revision, store.state().revision) == (1, 1, 1)
    with store.read() as connection:
        touched = connection.execute(select(CHANGES)).all()
        assert [tuple(row) for row in touched] == [(1, 0, "identity", "a", 12.5), (1, 1, "key", "k", 12.5)]
        texts = connection.execute(select(AUDIT.c.record).order_by(AUDIT.c.sequence)).scalars().all()
    record = json.loads(texts[0])
    expected = {
        "sequence": 1,
        "time": 12.5,
        "action": "identity.create",
        "actor": "ann",
        "on_behalf_of": "bob",
        "credential": "key:k1",
        "address": "203.0.113.9",
        "call_id": "call-1",
        "subject": "a",
        "after": {"id": "a"},
        "justification": "why",
        "directory_revision": 1,
    }
    assert {name: record[name] for name in expected} == expected
    assert "on_behalf_of" not in json.loads(texts[1])
    assert check_whole_audit(store) == 2


def check_whole_audit(store: Store) -> int:
    """How many audit records there are."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(AUDIT)).scalar_one())


def test_a_change_that_only_audits_keeps_the_revision(store: Store) -> None:
    """What touches nothing that decisions read makes no revision, and its audit is kept all the same."""
    add(store, "a")
    with store.change(OPERATOR, 1.0) as change:
        change.audit("sign_in.failed", subject="a")
    assert change.final_revision == 1
    state = store.state()
    assert (state.revision, state.audit_sequence) == (1, 2)
    with store.change(OPERATOR, 1.0):
        pass
    assert store.state() == state


def test_an_exception_undoes_all_of_a_change(store: Store) -> None:
    """Rows, what was touched, the audit and the revision are undone together, and the next change goes on."""
    before = store.state()

    def fail() -> None:
        with store.change(OPERATOR, 0.0) as change:
            change.connection.execute(insert(IDENTITIES), identity_row("a", change.revision))
            change.touch("identity", "a")
            change.audit("identity.create")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.state() == before
    assert add(store, "b") == 1
    assert check_whole(store) == 1


def test_a_part_of_a_change_is_undone_alone(store: Store) -> None:
    """A part that raises leaves no row, no touch and no audit record; the rest of the change stays."""
    with store.change(OPERATOR, 0.0) as change:
        for id in ("a", "b", "c"):
            try:
                with change.part():
                    change.connection.execute(insert(IDENTITIES), identity_row(id, change.revision))
                    change.touch("identity", id)
                    change.audit("identity.create", subject=id)
                    if id == "b":
                        raise KeyError(id)
            except KeyError:
                continue
    with store.read() as connection:
        assert connection.execute(select(IDENTITIES.c.id)).scalars().all() == ["a", "c"]
    assert check_whole(store) == 1
    assert check_whole_audit(store) == 2


def test_what_the_audit_cannot_keep_is_not_done(store: Store) -> None:
    """A change whose audit record is too large is refused and undone."""
    with refused(Fault.INVALID, "the audit cannot keep this"), store.change(OPERATOR, 0.0) as change:
        change.touch("identity", "a")
        change.audit("identity.create", after={"text": "x" * (1 << 21)})
    assert store.state().revision == 0


def test_a_reader_sees_one_revision_whatever_is_written_meanwhile(store: Store) -> None:
    """A read that has begun sees the directory as it was, to its end, and writers do not wait for it."""
    add(store, "a")
    with store.read() as connection:
        assert connection.execute(select(STATE.c.revision)).scalar_one() == 1
        add(store, "b")
        assert connection.execute(select(STATE.c.revision)).scalar_one() == 1
        assert connection.execute(select(IDENTITIES.c.id)).scalars().all() == ["a"]
    assert store.state().revision == 2


def test_threads_and_stores_write_one_after_the_other(store: Store, store_url: str) -> None:
    """Changes of many threads through two stores follow each other: no revision is given twice or left out."""
    other = Store.open(store_url)
    begin = threading.Barrier(6)

    def write(number: int) -> list[int]:
        begin.wait()
        return [add(store if number % 2 else other, f"{number}-{count}") for count in range(15)]

    with ThreadPoolExecutor(6) as threads:
        given = [revision for revisions in threads.map(write, range(6)) for revision in revisions]
    other.close()
    assert sorted(given) == list(range(1, 91))
    assert check_whole(store) == 90


def test_deleting_an_identity_takes_what_hangs_on_it(store: Store) -> None:
    """Rows that name an identity go with it: foreign keys hold on both databases."""
    add(store, "a")
    key = {
        "id": "k",
        "identity": "a",
        "name": "",
        "hash": b"",
        "active": True,
        "rotated_from": "",
        "created_by": "",
        "created_at": 0.0,
        "revision": 1,
    }
    with store.change(OPERATOR, 0.0) as change:
        change.connection.execute(insert(KEYS), key)
        change.connection.execute(IDENTITIES.delete())
    with store.read() as connection:
        assert connection.execute(select(KEYS.c.id)).all() == []
    with pytest.raises(Exception, match=r"(?i)foreign key"), store.change(OPERATOR, 0.0) as change:
        change.connection.execute(insert(KEYS), key)


def test_changes_are_forgotten_by_number_and_by_age(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`changes` keeps so many revisions and none that is older than a week, forgets a bounded number of rows at once,
    and `changes_from` always says from where it is whole."""
    monkeypatch.setattr(change_module, "PRUNE_EVERY", 5)
    monkeypatch.setattr(change_module, "KEPT_REVISIONS", 12)

    def kept() -> list[int]:
        with store.read() as connection:
            rows = connection.execute(select(CHANGES.c.revision).distinct().order_by(CHANGES.c.revision)).scalars()
            found = list(rows)
        state = store.state()
        assert found == list(range(state.changes_from, state.revision + 1))
        return found

    for number in range(20):
        add(store, f"a{number}", now=100.0)
    assert kept()[0] == 9
    monkeypatch.setattr(change_module, "PRUNED_ROWS", 2)
    for number in range(5):
        add(store, f"b{number}", now=100.0 + 8 * DAY)
    # All before revision 25 is a week old, and two rows go at once.
    assert kept()[0] == 11
    monkeypatch.setattr(change_module, "PRUNED_ROWS", 10_000)
    for number in range(5):
        add(store, f"c{number}", now=100.0 + 8 * DAY)
    assert kept()[0] == 21
    monkeypatch.setattr(change_module, "KEPT_REVISIONS", 100_000)
    for number in range(5):
        add(store, f"d{number}", now=100.0 + 8 * DAY)
    assert kept()[0] == 21


def test_a_change_waits_its_turn_and_then_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that another of its process holds up for too long is refused as unavailable, and changes nothing."""
    monkeypatch.setattr("authz_sidecar.directory.storage.store.CHANGE_SECONDS", 0.05)
    with store.change(OPERATOR, 0.0) as change:
        change.touch("identity", "a")
        with ThreadPoolExecutor(1) as thread:
            error = thread.submit(add, store, "b").exception()
    assert isinstance(error, DirectoryError)
    assert error.fault is Fault.UNAVAILABLE
    assert error.retry_after == 1.0
    assert store.state().revision == 1


def test_a_change_of_another_process_is_waited_for_and_then_told(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the directory a change waits, and is refused as unavailable when that takes too
    long; readers do not wait."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(postgresql, "LOCK_SECONDS", 0.05)
    other = Store.open(store_url)
    with store.change(OPERATOR, 0.0) as change:
        change.touch("identity", "a")
        with refused(Fault.UNAVAILABLE, "another process has been changing the store"):
            add(other, "b")
        assert other.state().revision == 0
    assert add(other, "b") == 2
    other.close()


def _write_until_killed(url: str, prefix: str, acknowledged: "multiprocessing.connection.Connection") -> None:
    store = Store.open(url)
    for number in range(1_000):
        add(store, f"{prefix}{number}")
        acknowledged.send(number)


def test_a_writer_that_is_killed_loses_nothing_acknowledged(store: Store, store_url: str) -> None:
    """Killed with -9 in the middle of 1,000 writes, beside another writer: what was acknowledged is there, nothing is
    half there, and who is left goes on."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for prefix in ("killed", "other"):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_write_until_killed, args=(store_url, prefix, sending), daemon=True)
        process.start()
        sending.close()
        pipes[prefix] = (process, receiving)
    process, receiving = pipes["killed"]
    last = -1
    while last < 25:
        last = receiving.recv()
    process.kill()
    process.join()
    while receiving.poll():
        try:
            last = receiving.recv()
        except EOFError:
            break
    other, from_other = pipes["other"]
    # The other one is not held up by what the killed one held.
    last_of_other = from_other.recv()
    while last_of_other < 40:
        last_of_other = from_other.recv()
    other.kill()
    other.join()
    revision = check_whole(store)
    with store.read() as connection:
        ids = set(connection.execute(select(IDENTITIES.c.id)).scalars())
    assert {f"killed{number}" for number in range(last + 1)} <= ids
    assert {f"other{number}" for number in range(last_of_other + 1)} <= ids
    assert add(store, "after") == revision + 1


def test_ids_of_records_are_in_the_order_of_time() -> None:
    """Ids made later are greater, as the database compares them, and no two are alike."""
    times = [0.0, 1.0, 1.5, 1_800_000_000.0, 253_402_300_799.0]
    ids = [new_id(time) for time in times]
    assert ids == sorted(ids)
    assert len({new_id(1.0) for _ in range(1_000)}) == 1_000
    assert {len(id) for id in ids} == {18}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "kept in a file"),
        (":memory:", "kept in a file"),
        ("mysql://root:hunter2@host/db", "begins with `mysql`"),
        ("sqlite://directory.db", "names no host"),
        ("postgresql://ann:hunter2@host:port/db", "cannot be read"),
        ("postgresql://ann:hunter2@host", "names no database"),
    ],
)
def test_what_names_no_store_is_refused_without_its_password(url: str, words: str) -> None:
    """A URL that names no store is refused in words that do not repeat it."""
    with pytest.raises(DirectoryError) as caught:
        Store.open(url)
    assert caught.value.fault is Fault.INVALID
    assert words in caught.value.message
    assert "hunter2" not in f"{caught.value.message}{caught.value.help}{caught.value!r}"


def test_a_store_is_shown_without_its_password(store: Store, dialect: str) -> None:
    """Neither `shown` nor the representation of a store or its engine has the password of its URL."""
    if dialect == "postgresql":
        assert store.shown.startswith("postgresql://authz@/")
    assert PASSWORD not in f"{store.shown}{store!r}{store.engine!r}"


def test_a_path_and_a_url_name_the_same_file(tmp_path: Path) -> None:
    """A path, `sqlite:///PATH` and a relative path are the same; the file is for its owner alone."""
    path = tmp_path / "a%20 b?c.db"
    store = Store.open(str(path))
    add(store, "a")
    again = Store.open(f"sqlite:///{path}")
    assert again.state().revision == 1
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    store.close()
    again.close()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_postgresql_gone_and_back() -> None:
    """While the server is away reads and changes are refused as unavailable; once it is back they go on by themselves,
    with everything that was acknowledged, though it was killed."""
    server = Postgres()
    try:
        store = Store.open(server.create_database(name="gone"))
        add(store, "a")
        server.stop(kill=True)
        with refused(Fault.UNAVAILABLE, "cannot be reached"):
            add(store, "b")
        with refused(Fault.UNAVAILABLE, "cannot be reached"):
            store.state()
        server.start()
        assert add(store, "c") == 2
        with store.change(OPERATOR, 0.0) as change:
            change.touch("identity", "a")
            assert store.state().revision == 2
        # A connection that is cut in the middle of a change undoes it.
        with refused(Fault.UNAVAILABLE), store.change(OPERATOR, 0.0) as change:
            change.touch("identity", "a")
            server.stop(kill=True)
        server.start()
        assert store.state().revision == 3
        store.close()
    finally:
        server.close()


def test_a_connection_that_is_lost_while_it_commits_leaves_it_open() -> None:
    """Where the connection goes after the last statement and before the database has said that it has committed, it is
    told that the change may have been made."""
    server = shared_postgres()
    url = server.create_database(template())
    store = Store.open(url)

    def cut(connection: Connection) -> None:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with server.connect("postgres") as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (backend,))

    event.listen(store.engine, "commit", cut)
    with refused(Fault.UNAVAILABLE, "it may have been made"):
        add(store, "a")
    event.remove(store.engine, "commit", cut)
    assert add(store, "b") == 1
    store.close()
    server.drop_database(url)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_changes_follow_each_other_whatever_a_database_isolates(isolation: str) -> None:
    """Where a database has its transactions see one snapshot by default, a change that waited for another still sees
    what that one did, and is made."""
    server = shared_postgres()
    url = server.create_database(template())
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    first, second = Store.open(url), Store.open(url)
    with ThreadPoolExecutor(1) as pool:
        with first.change(OPERATOR, 0.0) as change:
            change.touch("identity", "a")
            waiting = pool.submit(add, second, "b")
            with server.connect("postgres") as other:
                held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
                until(lambda: other.execute(held, (name,)).fetchone() == (1,))
        assert waiting.result() == 2
    first.close()
    second.close()
    server.drop_database(url)


def test_each_change_is_notified_on_postgresql() -> None:
    """Whoever listens is told the revision of a change once it is committed, and of none that was undone."""
    server = shared_postgres()
    url = server.create_database()
    store = Store.open(url)
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect(name) as listener:
        listener.execute("LISTEN authz_directory")
        with refused(Fault.INVALID), store.change(OPERATOR, 0.0) as change:
            change.touch("identity", "a")
            change.audit("identity.create", after={"text": "x" * (1 << 21)})
        add(store, "a")
        add(store, "b")
        told = [note.payload for note in listener.notifies(timeout=10, stop_after=2)]
    assert told == ["1", "2"]
    store.close()
    server.drop_database(url)


def test_postgresql_that_does_not_let_in_is_told_without_the_password() -> None:
    """No server, no such database, and a database that is read only are each refused in words that say which."""
    server = shared_postgres()
    with refused(Fault.UNAVAILABLE, "does not exist"):
        Store.open(server.url("absent"))
    with refused(Fault.UNAVAILABLE, "cannot be reached"):
        Store.open(f"postgresql://authz:{PASSWORD}@/test?host={server.directory}/nowhere&password={PASSWORD}")
    url = server.create_database()
    store = Store.open(url)
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.close()
    with refused(Fault.UNAVAILABLE, "cannot be written"):
        add(store, "a")
    store.close()
    server.drop_database(url)
