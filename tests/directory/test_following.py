"""Followers: what is committed anywhere is in every copy soon, whole and in order, whatever becomes of the store."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.identity_import import ImportRow
from authz_sidecar.directory.backup.backup import backup, restore
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.follower import Follower, StoppedError, on_loop
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.schema import CHANGES, IDENTITIES, STATE
from authz_sidecar.directory.storage.store import Store
from tests.directory.copied import ACTOR, POLICY, administration, loaded, told
from tests.directory.test_copy import user
from tests.postgres import Postgres, shared_postgres

PATIENCE_SECONDS = 30.0
# What is promised for every sidecar.
PROMISE_SECONDS = 1.0


class Followed:
    """A copy that is followed in a thread; whoever waits for a state of it is woken by each change."""

    def __init__(self, store: Store, max_staleness: float = 0.0) -> None:
        self.copy = DirectoryCopy(max_staleness=max_staleness)
        self.changed = threading.Condition()
        self.lags: list[float] = []
        self.follower = Follower(store, self.copy, self.deliver, late=self.lags.append)
        self.follower.load()

    def deliver(self, work: Callable[[], None]) -> None:
        """Change the copy, and tell."""
        with self.changed:
            work()
            self.changed.notify_all()

    def wait(self, holds: Callable[[DirectoryCopy], object]) -> float:
        """Wait until something holds of the copy; the seconds that it took."""
        began = time.monotonic()
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self.copy), PATIENCE_SECONDS)
        return time.monotonic() - began


@contextmanager
def following(*stores: Store) -> Iterator[list[Followed]]:
    """A follower for each of the stores."""
    with ExitStack() as stack:
        followed = []
        for store in stores:
            one = Followed(store)
            one.follower.start()
            stack.callback(one.follower.stop)
            followed.append(one)
        yield followed


@pytest.fixture
def stores(store_url: str) -> Iterator[tuple[Store, Store, Store]]:
    """One store opened three times, as by three processes."""
    with ExitStack() as stack:
        opened = [Store.open(store_url, check=False) for _ in range(3)]
        for store in opened:
            stack.callback(store.close)
        yield opened[0], opened[1], opened[2]


def until(holds: Callable[[], object]) -> None:
    """Ask until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_revocation_is_everywhere_within_a_second(stores: tuple[Store, Store, Store]) -> None:
    """Two followers see the end of a key less than a second after it was committed by a third process."""
    people, credentials = administration(stores[0])
    people.create_identity(ACTOR, user("ann"))
    key = credentials.create_key(ACTOR, "ann", "key").record.record.id
    with following(stores[1], stores[2]) as followed:
        for one in followed:
            facts = one.copy.key(key)
            assert facts is not None
            assert not facts.revoked
        revision = credentials.revoke_key(ACTOR, key).revision
        for one in followed:
            assert one.wait(lambda copy: copy.revision >= revision) < PROMISE_SECONDS
            facts = one.copy.key(key)
            assert facts is not None
            assert facts.revoked
            assert one.lags[-1] < PROMISE_SECONDS


def test_changes_come_whole_and_in_order(stores: tuple[Store, Store, Store]) -> None:
    """Of two identities that one change makes no moment shows only one; revisions only rise, and nothing is missed."""
    people, _ = administration(stores[0])
    followed = Followed(stores[1])
    seen: list[tuple[int, int]] = []

    def deliver(work: Callable[[], None]) -> None:
        followed.deliver(work)
        seen.append((followed.copy.revision, followed.copy.identities))

    follower = Follower(stores[1], followed.copy, deliver)
    follower.start()
    try:
        for number in range(20):
            rows = [ImportRow(user(f"{letter}{number}")) for letter in "ab"]
            people.import_identities(ACTOR, rows)
        followed.wait(lambda copy: copy.revision >= 20)
    finally:
        follower.stop()
    assert all(count == 2 * revision for revision, count in seen)
    assert [revision for revision, _ in seen] == sorted({revision for revision, _ in seen})
    assert told(followed.copy.contents) == told(loaded(stores[0]).contents)


def test_the_writing_process_has_it_at_once(stores: tuple[Store, Store, Store]) -> None:
    """An operation returns when the copy of its own process has the change, without waiting for any look."""
    followed = Followed(stores[0])
    people = IdentityAdministration(stores[0], lambda: POLICY, after=followed.follower.catch_up)
    for number in range(5):
        revision = people.create_identity(ACTOR, user(f"user-{number}")).revision
        assert followed.copy.revision == revision
        assert followed.copy.identity(f"user-{number}") is not None
    followed.follower.stop()


def test_writers_of_several_threads_catch_up(stores: tuple[Store, Store, Store]) -> None:
    """Changes of many threads at once are each in the copy when they are acknowledged, beside a follower that looks."""
    with following(stores[0]) as (followed,):
        people = IdentityAdministration(stores[0], lambda: POLICY, after=followed.follower.catch_up)

        def create(number: int) -> bool:
            id = f"user-{number}"
            return (
                people.create_identity(ACTOR, user(id)).revision <= followed.copy.revision
                and followed.copy.identity(id) is not None
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(create, range(20)))


def test_a_restored_store_is_read_anew(stores: tuple[Store, Store, Store], tmp_path: Path, store_url: str) -> None:
    """After a backup is restored the copy holds what is in it, and follows what comes after."""
    people, _ = administration(stores[0])
    people.create_identity(ACTOR, user("ann"))
    backup(stores[0], tmp_path / "backup", form="lines")
    people.create_identity(ACTOR, user("bob"))
    with following(stores[1]) as (followed,):
        epoch = followed.copy.epoch
        assert followed.copy.identity("bob") is not None
        restore(tmp_path / "backup", store_url, replace=True, justification="a test")
        followed.wait(lambda copy: copy.epoch != epoch and copy.identity("bob") is None)
        assert followed.copy.identity("ann") is not None
        revision = people.create_identity(ACTOR, user("cleo")).revision
        followed.wait(lambda copy: copy.revision >= revision)
        assert told(followed.copy.contents) == told(loaded(stores[0]).contents)


def test_another_change_under_a_known_number_is_read_anew(stores: tuple[Store, Store, Store]) -> None:
    """Where a database lost its last change, as in a failover, and another has its number, the copy has the other."""
    people, _ = administration(stores[0])
    people.create_identity(ACTOR, user("ann"))
    followed = Followed(stores[1])
    lost = people.create_identity(ACTOR, user("bob")).revision
    followed.follower.load()
    contents = followed.copy.contents
    followed.follower.load()
    assert followed.copy.contents is contents
    with stores[0].engine.begin() as connection:
        connection.execute(delete(CHANGES).where(CHANGES.c.revision == lost))
        connection.execute(delete(IDENTITIES).where(IDENTITIES.c.id == "bob"))
        connection.execute(update(STATE).values(revision=lost - 1))
    assert people.create_identity(ACTOR, user("cleo")).revision == lost
    followed.follower.load()
    assert told(followed.copy.contents) == told(loaded(stores[0]).contents)
    followed.follower.stop()


def test_what_is_forgotten_is_read_anew(stores: tuple[Store, Store, Store]) -> None:
    """A follower that was away for longer than changes are kept reads everything, and lacks nothing."""
    people, _ = administration(stores[0])
    followed = Followed(stores[1])
    for id in ("ann", "bob"):
        people.create_identity(ACTOR, user(id))
    with stores[0].engine.begin() as connection:
        connection.execute(delete(CHANGES).where(CHANGES.c.revision < 2))
        connection.execute(update(STATE).values(changes_from=2))
    followed.follower.start()
    try:
        followed.wait(lambda copy: copy.revision == 2)
        assert followed.copy.identities == 2
    finally:
        followed.follower.stop()


def test_a_file_that_is_gone_and_back(tmp_path: Path, empty_store: Path) -> None:
    """While the file is gone the copy stays as it is and its problem says so; once it is back, it is followed."""
    path = tmp_path / "directory.db"
    shutil.copyfile(empty_store, path)
    writing, read = Store.open(str(path)), Store.open(str(path))
    people, _ = administration(writing)
    people.create_identity(ACTOR, user("ann"))
    with following(read) as (followed,):
        until(lambda: followed.follower.looks["ok"] > 1)
        away = tmp_path / "away.db"
        writing.close()
        path.rename(away)
        until(lambda: "is gone" in followed.follower.problem)
        assert followed.copy.identity("ann") is not None
        assert followed.follower.looks["failed"] > 0
        away.rename(path)
        people.create_identity(ACTOR, user("bob"))
        followed.wait(lambda copy: copy.identity("bob") is not None)
        until(lambda: not followed.follower.problem)
    writing.close()
    read.close()


def test_a_file_that_is_replaced_is_followed(tmp_path: Path, empty_store: Path) -> None:
    """Another file in the place of the one that was opened is noticed, though nobody wrote to the old one, and so is
    what another process changes in it then."""
    path, other = tmp_path / "directory.db", tmp_path / "other.db"
    for file in (path, other):
        shutil.copyfile(empty_store, file)
    with ExitStack() as stack:
        read, replacing = Store.open(str(path)), Store.open(str(other))
        stack.callback(read.close)
        administration(replacing)[0].create_identity(ACTOR, user("ann"))
        replacing.close()
        (followed,) = stack.enter_context(following(read))
        until(lambda: followed.follower.looks["ok"] > 1)
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink()
        other.replace(path)
        followed.wait(lambda copy: copy.identity("ann") is not None)
        changing = Store.open(str(path))
        stack.callback(changing.close)
        administration(changing)[0].create_identity(ACTOR, user("bob"))
        assert followed.wait(lambda copy: copy.identity("bob") is not None) < PROMISE_SECONDS


def test_a_database_that_is_gone_and_back() -> None:
    """While PostgreSQL is down the copy grows stale and goes on; once it is up again, changes come as before."""
    server = Postgres()
    try:
        store = Store.open(server.create_database())
        people, _ = administration(store)
        people.create_identity(ACTOR, user("ann"))
        with following(store) as (followed,):
            server.stop()
            until(lambda: followed.follower.problem)
            seen = followed.copy.seen_at
            failed = followed.follower.looks["failed"]
            until(lambda: followed.follower.looks["failed"] > failed)
            assert followed.copy.seen_at == seen
            assert followed.copy.identity("ann") is not None
            with pytest.raises(DirectoryError):
                people.create_identity(ACTOR, user("bob"))
            server.start()
            until(lambda: not followed.follower.problem)
            revision = people.create_identity(ACTOR, user("bob")).revision
            assert followed.wait(lambda copy: copy.revision >= revision) < PROMISE_SECONDS
        store.close()
    finally:
        server.close()


def test_connections_that_are_cut_hold_nothing_up() -> None:
    """Whenever a database ends all connections, the one that listens as well, the next change is followed in time."""
    url = shared_postgres().create_database()
    store, other = Store.open(url), Store.open(url)
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    people, _ = administration(other)
    try:
        with following(store) as (followed,):
            for number in range(5):
                with other.engine.connect() as connection:
                    connection.execute(cut)
                revision = people.create_identity(ACTOR, user(f"user-{number}")).revision
                assert followed.wait(lambda copy: copy.revision >= revision) < PROMISE_SECONDS  # noqa: B023
    finally:
        store.close()
        other.close()
        shared_postgres().drop_database(url)


def test_a_notification_that_never_comes_is_missed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that hears nothing, and is not told that it does not, sees each change within a second too."""
    monkeypatch.setattr("authz_sidecar.directory.memory.watch.CHANNEL", "nobody_notifies")
    url = shared_postgres().create_database()
    store, other = Store.open(url), Store.open(url)
    people, _ = administration(other)
    try:
        with following(store) as (followed,):
            for number in range(3):
                revision = people.create_identity(ACTOR, user(f"user-{number}")).revision
                assert followed.wait(lambda copy: copy.revision >= revision) < PROMISE_SECONDS  # noqa: B023
    finally:
        store.close()
        other.close()
        shared_postgres().drop_database(url)


def test_a_writer_is_not_held_up_for_good(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store cannot be read after a change was committed, its writer goes on after a while."""
    monkeypatch.setattr("authz_sidecar.directory.memory.follower.CATCH_UP_SECONDS", 0.1)
    path = tmp_path / "directory.db"
    shutil.copyfile(empty_store, path)
    store = Store.open(str(path))
    followed = Followed(store)
    path.unlink()
    followed.follower.catch_up(5)
    assert followed.copy.revision == 0
    followed.follower.stop()
    store.close()


def test_a_writer_does_not_wait_for_somebody_elses_reading(
    stores: tuple[Store, Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another thread is reading and does not end, a writer goes on after a while, without an error."""
    monkeypatch.setattr("authz_sidecar.directory.memory.follower.CATCH_UP_SECONDS", 0.1)
    people, _ = administration(stores[0])
    reading, end = threading.Event(), threading.Event()

    def deliver(work: Callable[[], None]) -> None:
        reading.set()
        assert end.wait(PATIENCE_SECONDS)
        work()

    copy = DirectoryCopy()
    follower = Follower(stores[0], copy, deliver)
    reader = threading.Thread(target=follower.load)
    reader.start()
    assert reading.wait(PATIENCE_SECONDS)
    follower.catch_up(people.create_identity(ACTOR, user("ann")).revision)
    assert copy.revision == 0
    end.set()
    reader.join()
    follower.stop()


def test_a_change_that_could_not_be_taken_does_not_count_as_seen(stores: tuple[Store, Store, Store]) -> None:
    """Where a delivery fails the copy is not said to be new, and takes the change once it can."""
    people, _ = administration(stores[0])
    copy, failing = DirectoryCopy(), threading.Event()

    def deliver(work: Callable[[], None]) -> None:
        if failing.is_set():
            raise RuntimeError("not now")
        work()

    follower = Follower(stores[1], copy, deliver)
    follower.load()
    follower.start()
    try:
        failing.set()
        revision = people.create_identity(ACTOR, user("ann")).revision
        until(lambda: follower.looks["failed"] >= 2)
        seen = copy.seen_at
        assert follower.problem == "RuntimeError"
        assert copy.identity("ann") is None
        # Nor does the thread that has written it fail for it.
        until(lambda: follower.looks["failed"] >= 3)
        assert copy.seen_at == seen
        failing.clear()
        until(lambda: copy.revision >= revision)
        until(lambda: not follower.problem)
        assert copy.identity("ann") is not None
    finally:
        failing.clear()
        follower.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_follower_that_has_ended_is_told_of(stores: tuple[Store, Store, Store]) -> None:
    """Where nothing follows the store any more, whatever the cause, that is the problem that is told."""
    ending = threading.Event()

    def clock() -> float:
        if ending.is_set() and threading.current_thread() is not threading.main_thread():
            raise SystemExit
        return time.monotonic()

    copy = DirectoryCopy()
    follower = Follower(stores[0], copy, lambda work: work(), clock=clock)
    follower.load()
    follower.start()
    assert not follower.problem
    ending.set()
    until(lambda: follower.problem)
    assert "nothing follows it" in follower.problem
    follower.stop()


def test_a_follower_that_is_to_stop_reads_no_more(stores: tuple[Store, Store, Store]) -> None:
    """The first reading of a store ends when its reader is told to stop, and the copy stays empty."""
    stopping = threading.Event()
    copy = DirectoryCopy()
    follower = Follower(stores[0], copy, lambda work: work(), stopping=stopping)
    stopping.set()
    with pytest.raises(StoppedError):
        follower.load()
    assert copy.epoch == ""
    follower.stop()


async def _deliveries() -> tuple[int, int]:
    """Deliver from a thread to this event loop; the threads of the deliverer and of what it delivered."""
    deliver = on_loop(asyncio.get_running_loop())
    ran: list[int] = []

    def work() -> int:
        deliver(lambda: ran.append(threading.get_ident()))
        return threading.get_ident()

    return await asyncio.to_thread(work), ran[0]


def test_a_delivery_is_made_on_the_event_loop() -> None:
    """What a thread delivers runs on the loop's own thread, and is done when `deliver` returns."""
    delivering, running = asyncio.run(_deliveries())
    assert running == threading.get_ident()
    assert delivering != running


async def _failing_delivery() -> None:
    deliver = on_loop(asyncio.get_running_loop())

    def work() -> None:
        raise LookupError("of the delivery")

    await asyncio.to_thread(deliver, work)


def test_a_delivery_that_fails_fails_where_it_was_made() -> None:
    """What goes wrong on the loop is raised in the thread that delivers, and nowhere else."""
    with pytest.raises(LookupError, match="of the delivery"):
        asyncio.run(_failing_delivery())


def test_nothing_is_delivered_to_a_loop_that_has_ended() -> None:
    """A delivery to a closed loop is refused, rather than waited for."""
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(StoppedError):
        on_loop(loop)(lambda: None)
