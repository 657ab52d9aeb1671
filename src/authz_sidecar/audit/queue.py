"""Records that arise on the serving path, where nothing waits for a store: kept in memory and written behind it.

For impersonated decisions, which belong in the audit as well as in the decision log. The queue is bounded, and whoever
finds it full refuses what it was about to do: nothing is done that the audit would not have.
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
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class AuditQueue(Generic[Item]):
    """Writes what is put, in order, many at a time.

    `write` makes a batch durable in one transaction and raises where it cannot: then the batch is kept and tried again.
    What can never be written is tried for ever, and then nothing more is taken: that is for whoever runs it to see, in
    the log and by `failing`. `start` begins, `close` writes what is left and ends. `put` may be called from any thread,
    and does not wait.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], None], *, most: int = MOST_WAITING, at_once: int = MOST_AT_ONCE
    ) -> None:
        self._write = write
        self._most = most
        self._at_once = at_once
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="audit-queue", daemon=True)

    @property
    def waiting(self) -> int:
        """How many are not written yet."""
        return len(self._waiting)

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failures > 0

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
                batch = [self._waiting[at] for at in range(min(self._at_once, len(self._waiting)))]
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 - whatever keeps the store from writing may pass
                self._fail(error)
                continue
            with self._changed:
                self._failures = 0
                for _ in batch:
                    self._waiting.popleft()
                if not self._waiting:
                    self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        if not self._failures:
            logger.error("the audit cannot be written, and is tried again: %s", error)
        seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        with self._changed:
            if self._closing:
                # Nothing is put any more that would wake it: what is left is tried for as long as `close` waits.
                self._changed.wait(RETRY_SECONDS[0])
            else:
                self._changed.wait_for(lambda: self._closing, seconds)
