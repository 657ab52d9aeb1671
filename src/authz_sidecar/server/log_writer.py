"""The queue between those who answer and the decision log's file, and the thread that empties it.

Whoever answers only appends: no call ever waits for the disk. What does not fit is counted. INVARIANT: of the numbers
below each is written by one thread alone, `_taken` and `dropped` by the one that answers, the others by the writer.
"""

import logging
import threading
from collections import deque

from authz_sidecar.server.log_sink import LogSink

logger = logging.getLogger(__name__)

# Lines that wait are held in memory up to this size.
QUEUE_BYTES = 8 * 1024 * 1024
# So long they wait for company, unless there is enough for a write.
LINGER_SECONDS = 0.1
WAKE_BYTES = 1 << 16
# After a failure.
RETRY_SECONDS = 0.5
# At the end.
FLUSH_SECONDS = 1.5


class LogWriter:
    """Writes lines to `sink` in a thread of its own. `dropped` counts the lines that found no room."""

    def __init__(self, sink: LogSink, queue_bytes: int = QUEUE_BYTES) -> None:
        self.written = 0
        self.dropped = 0
        self._sink = sink
        self._limit = queue_bytes
        self._lines: deque[bytes] = deque()
        # Taken from the queue, and given to the sink until it has written them.
        self._held: list[bytes] = []
        self._taken = 0
        self._given = 0
        self._wake = threading.Event()
        self._end = threading.Event()
        self._failing = False
        self._dropped_before = 0
        # One that hangs in a write must not keep the process.
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether there is no room for another line."""
        return self._taken - self._given >= self._limit

    def put(self, line: bytes) -> None:
        """Queue a line, which ends in a line break. Whoever calls has looked whether it is `full`."""
        self._lines.append(line)
        self._taken = taken = self._taken + len(line)
        if taken - self._given >= WAKE_BYTES and not self._wake.is_set():
            self._wake.set()

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Write what waits, for so long at most, and end; what is left then counts as dropped."""
        self._end.set()
        self._wake.set()
        self._thread.join(seconds)
        left = len(self._lines) + len(self._held)
        if left:
            self.dropped += left
            logger.error("%d decisions could not be written to the decision log before the end", left)

    def _run(self) -> None:
        while True:
            ending = self._end.is_set()
            self._wake.wait(0 if ending else LINGER_SECONDS)
            self._wake.clear()
            written = self._write_all()
            if ending:
                break
            try:
                self._sink.tend()
            # Whatever it is, checks go on, and so do lines.
            except Exception as error:  # noqa: BLE001 - see above
                self._tell(error)
            if not written:
                self._end.wait(RETRY_SECONDS)
        self._sink.close()

    def _write_all(self) -> bool:
        """Write all that waits; False if that failed, and then what was not written still waits."""
        while self._held or self._lines:
            if not self._held:
                self._hold()
            try:
                self._sink.write(b"".join(self._held))
            except Exception as error:  # noqa: BLE001 - as above
                self._tell(error)
                return False
            self._given += sum(map(len, self._held))
            self.written += len(self._held)
            self._held = []
            self._tell(None)
        return True

    def _hold(self) -> None:
        """Take the next lines in hand, as many as are to be written at once and one at least."""
        lines, held = self._lines, self._held
        room = self._sink.room()
        while lines and (not held or len(lines[0]) <= room):
            line = lines.popleft()
            room -= len(line)
            held.append(line)

    def _tell(self, error: Exception | None) -> None:
        """Say once that writing fails, and once that it goes on."""
        if error is not None and not self._failing:
            self._failing = True
            self._dropped_before = self.dropped
            logger.error(
                "the decision log cannot be written: %s; decisions wait for it, and are dropped when too many wait",
                getattr(error, "strerror", None) or str(error) or type(error).__name__,
            )
        elif error is None and self._failing:
            self._failing = False
            dropped = self.dropped - self._dropped_before
            logger.info("the decision log is written again; %d decisions were dropped meanwhile", dropped)
