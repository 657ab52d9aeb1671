"""Records that arise on the serving path, where nothing waits for a store: kept in memory and written behind it.

For decisions that belong in the audit as well as in the decision log. The queue is bounded, and whoever finds it full
refuses what it was about to do: nothing is done that the audit would not have.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

MOST_WAITING = 10_000
MOST_AT_ONCE = 500
MOST_REFUSALS = 3
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class AuditQueue(Generic[Item]):
    """Writes what is put, in order, many at a time.

    `write` makes a batch durable in one transaction and raises where it cannot: then it is kept and tried again, fewer
    at a time. One that alone cannot be written while another can, `MOST_REFUSALS` times over, is left out: it is the
    record and not the store, and it would keep all others from the audit, and in the end every request. The log then
    has it, as an error, and `left_out` counts it. Errors of which `passes` says that they are the store's leave nothing
    out. `start` begins, `close` writes what is left and ends. `put` may
    be called from any thread, and does not wait.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], None],
        *,
        most: int = MOST_WAITING,
        at_once: int = MOST_AT_ONCE,
        passes: Callable[[Exception], bool] = lambda _error: False,
    ) -> None:
        self._write = write
        self._passes = passes
        self._most = most
        self._at_once = at_once
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failures = 0
        # How many are tried at once; how often the first was refused while another was not; how many were left out.
        self._size = at_once
        self._refusals = 0
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="audit-queue", daemon=True)

    @property
    def waiting(self) -> int:
        """How many are not written yet."""
        return len(self._waiting)

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failures > 0

    @property
    def left_out(self) -> int:
        """How many could never be written, and are in the log alone."""
        return self._left_out

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Take `item`, to be written soon. False where there is no room, or it is closed: then it is not taken."""
        with self._changed:
            if self._closing or len(self._waiting) >= self._most:
                return False
            self._waiting.append(item)
            if len(self._waiting) == 1:
                self._changed.notify_all()
        return True

    def flush(self, seconds: float) -> bool:
        """Wait until nothing is left to write, for `seconds` at most; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self, seconds: float) -> int:
        """Take no more, write what is left for `seconds` at most, and end; how many could not be written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        left = len(self._waiting)
        if left:
            logger.error("%d records could not be written to the audit", left)
        return left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch = [self._waiting[at] for at in range(min(self._size, len(self._waiting)))]
            error = self._try(batch)
            if error is None:
                self._failures = self._refusals = 0
                self._size = min(self._at_once, 2 * self._size)
                self._remove(len(batch))
                continue
            self._size = max(1, len(batch) // 4)
            if len(batch) > 1 or not self._leave_out(error):
                self._fail(error)

    def _try(self, batch: Sequence[Item]) -> Exception | None:
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001 - whatever keeps the store from writing may pass
            return error
        return None

    def _remove(self, count: int, at: int = 0) -> None:
        with self._changed:
            for _ in range(count):
                del self._waiting[at]
            if not self._waiting:
                self._changed.notify_all()

    def _leave_out(self, error: Exception) -> bool:
        """Whether the store takes another one, but not the first, which is then left out in the end."""
        others = len(self._waiting) - 1
        if not others or self._passes(error):
            return False
        # Each time another: there may be several of the kind.
        other = 1 + self._failures % others
        if self._try([self._waiting[other]]) is not None:
            return False
        self._remove(1, at=other)
        self._refusals += 1
        if self._refusals >= MOST_REFUSALS:
            logger.error(
                "a record can never be written to the audit, and is here alone: %.2000r: %s",
                self._waiting[0],
                _first_line(error),
            )
            self._left_out += 1
            self._failures = self._refusals = 0
            self._remove(1)
        return True

    def _fail(self, error: Exception) -> None:
        if not self._failures:
            logger.error("the audit cannot be written, and is tried again: %s", _first_line(error))
        seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        with self._changed:
            if self._closing:
                # Nothing is put any more that would wake it: what is left is tried for as long as `close` waits.
                self._changed.wait(RETRY_SECONDS[0])
            else:
                self._changed.wait_for(lambda: self._closing, seconds)


def _first_line(error: Exception) -> str:
    """What a driver says, without the statement that follows."""
    return str(error).partition("\n")[0]
