"""Keeps a copy of the directory on the newest revision of its store: a thread that watches, reads and hands over.

The copy goes from one revision to a later one, never back and never past one in part: what changed is read in one
transaction and taken in one step on the event loop. Where the store cannot be seen the copy stays as it is and grows
stale. After a restore, which has another epoch, everything is read anew.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import Changes, Contents, DirectoryCopy
from authz_sidecar.directory.memory.loading import GapError, HaltedError, changes_since, load
from authz_sidecar.directory.memory.watch import Alarm, Watch, open_watch
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.store import Store

logger = logging.getLogger(__name__)

# After a failure it is tried again after so long, then after twice that, up to the second; each up to a half more, so
# that the sidecars of a fleet do not come all at once.
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
# How long a change may take to get into the copy until its writer is no longer held up.
CATCH_UP_SECONDS = 5.0
CATCH_UP_AGAIN_SECONDS = 0.05
# How long the event loop may take to let a change in.
DELIVERY_SECONDS = 0.1

# Runs something where decisions are made, between them, and returns once it is done; raises StoppedError where it
# cannot, and what that raises.
Deliver = Callable[[Callable[[], None]], None]


class StoppedError(Exception):
    """Nobody decides any more."""


class Follower:
    """Follows `store` for `copy`; `looks` counts looks.

    `deliver` takes a change to where the copy is read. Once `stopping` is set, whatever it is at ends soon. `late` is
    told how long a change took to get here, in seconds. `clock` only goes forward, `calendar` gives seconds since
    1970-01-01 UTC.
    """

    def __init__(
        self,
        store: Store,
        copy: DirectoryCopy,
        deliver: Deliver,
        *,
        stopping: threading.Event | None = None,
        late: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        # Called in some thread when the store has changed, and what is to be known of it is known.
        self.moved: Callable[[], None] = lambda: None
        self._problem = ""
        self.looks = {"ok": 0, "failed": 0}
        self._store = store
        self._copy = copy
        self._deliver = deliver
        self._late = late
        self._clock = clock
        self._calendar = calendar
        self._assembler = Assembler(copy.companies)
        # INVARIANT: whoever changes the copy holds this from the reading of a revision to its delivery.
        self._looking = threading.Lock()
        self._stopping = threading.Event() if stopping is None else stopping
        self._alarm = Alarm()
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """Why the newest look failed ("" if it did not)."""
        thread = self._thread
        if thread is not None and not thread.is_alive() and not self._stopping.is_set():
            return "nothing follows it any more: restart this process"
        return self._problem

    def load(self) -> None:
        """Bring the copy to what the store has now; raises DirectoryError, and StoppedError once it is to stop."""
        with self._looking:
            self._look()

    def start(self) -> None:
        """Follow from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="directory-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no more. Call it where deliveries go on, not from where they are made."""
        self._stopping.set()
        if self._thread is not None:
            self._alarm.set_off()
            self._thread.join()
            self._thread = None
        self._alarm.close()

    def catch_up(self, revision: int) -> None:
        """Return once the copy has a revision that was committed here: for the thread that has written it.

        It raises nothing. Where the store cannot be read, it gives up after a while: what was written is written, and
        reaches the copy once the store is seen again.
        """
        copy, end = self._copy, self._clock() + CATCH_UP_SECONDS
        why = "somebody else is reading the directory"
        while copy.revision < revision and not self._stopping.is_set():
            left = end - self._clock()
            if left <= 0:
                logger.warning("revision %d is written but not read yet: %s", revision, why)
                return
            # Who reads all of it anew takes long.
            if not self._looking.acquire(timeout=left):
                continue
            try:
                if copy.revision < revision:
                    self._look()
            # What was written is not to fail for it, whatever it is: the follower meets it as well, and tells.
            except Exception as error:  # noqa: BLE001 - see above
                why = error.message if isinstance(error, DirectoryError) else type(error).__name__
                self._stopping.wait(CATCH_UP_AGAIN_SECONDS)
            finally:
                self._looking.release()

    def _run(self) -> None:
        watch = open_watch(self._store)
        backoff = FIRST_BACKOFF_SECONDS
        try:
            while not self._stopping.is_set():
                if self._turn(watch):
                    backoff = FIRST_BACKOFF_SECONDS
                else:
                    # The random numbers are for distance, not for secrecy.
                    self._stopping.wait(backoff * (1 + random.random() / 2))  # noqa: S311
                    backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
        finally:
            watch.close()

    def _turn(self, watch: Watch) -> bool:
        """Wait for something to look at, and look; whether the store was seen."""
        try:
            began = self._clock()
            if watch.wait(self._alarm.descriptor) and not self._stopping.is_set():
                with self._looking:
                    self._look()
                watch.settle()
                self.moved()
            else:
                self._saw(began)
        except DirectoryError as error:
            self._miss(f"{error.message}; {error.help}" if error.help else error.message)
        except StoppedError:
            return False
        # It has to live on, whatever it is.
        except Exception as error:
            logger.exception("the directory could not be followed")
            self._miss(type(error).__name__)
        else:
            return True
        # Its connection may be of no use any more.
        with contextlib.suppress(Exception):
            watch.close()
        return False

    def _look(self) -> None:
        """Bring the copy to the newest revision; raises DirectoryError and StoppedError."""
        began = self._clock()
        copy = self._copy
        try:
            changes = changes_since(self._store, copy, self._assembler)
        except GapError as gap:
            if copy.epoch:
                logger.warning("reading the whole directory anew: %s", gap)
            try:
                contents = load(self._store, self._assembler, self._stopping.is_set)
            except HaltedError:
                raise StoppedError("it is to stop") from None
            replaced: list[Contents] = []
            self._deliver(lambda: replaced.append(self._replace(contents, began)))
            _dismantle(replaced.pop())
            self._assembler.let_go(copy.contents.identities.values())
        else:
            if changes is not None:
                taken = changes
                self._deliver(lambda: self._apply(taken, began))
                self._assembler.let_go(copy.contents.identities.values())
        self._saw(began)

    def _replace(self, contents: Contents, began: float) -> Contents:
        self._copy.see(began)
        return self._copy.replace(contents)

    def _apply(self, changes: Changes, began: float) -> None:
        self._copy.apply(changes)
        self._copy.see(began)
        if changes.made_at is not None and self._late is not None:
            # The clock of another machine may be ahead.
            self._late(max(0.0, self._calendar() - changes.made_at))

    def _saw(self, now: float) -> None:
        self._copy.see(now)
        self.looks["ok"] += 1
        if self._problem:
            self._problem = ""
            logger.info("the directory is seen again, at revision %d", self._copy.revision)

    def _miss(self, why: str) -> None:
        self.looks["failed"] += 1
        if why != self._problem:
            self._problem = why
            logger.error("the directory cannot be seen, and what is known of it is used: %s", why)


def on_loop(loop: asyncio.AbstractEventLoop) -> Deliver:
    """Deliveries to what runs on an event loop, for other threads than its own."""

    def deliver(work: Callable[[], None]) -> None:
        done = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                work()
            # It is raised where it is waited for: what was not taken must not count as seen.
            except BaseException as error:  # noqa: BLE001 - see above
                failed.append(error)
            finally:
                done.set()

        try:
            loop.call_soon_threadsafe(run)
        except RuntimeError as error:
            raise StoppedError("the event loop is closed") from error
        while not done.wait(DELIVERY_SECONDS):
            if loop.is_closed() or not loop.is_running():
                raise StoppedError("the event loop has ended")
        if failed:
            raise failed.pop()

    return deliver


def _dismantle(contents: Contents) -> None:
    """Free what nobody reads any more bit by bit: a million records at once would hold up other threads for long."""
    for held in (contents.identities, contents.keys, contents.tokens):
        while held:
            held.popitem()
