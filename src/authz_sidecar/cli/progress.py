"""Progress of long work: a line on standard error that comes after a second and leaves nothing behind.

It is shown on a terminal only, so that logs and files never hold it. What does not take long never loads rich.
"""

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from authz_sidecar.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

DELAY = 1.0
# Showing every step would cost more than many a step.
STEPS_AT_ONCE = 64


class Progress:
    """A context in which work is done in steps: `step` names the next one, `advance` counts within it.

    `delay` is the time in seconds after which anything is shown.
    """

    def __init__(self, terminal: Terminal, delay: float = DELAY) -> None:
        self._terminal = terminal
        self._timer = threading.Timer(delay, self._show) if terminal.takes_progress else None
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._ended = False
        self._text = ""
        self._total: int | None = None
        self._done = 0

    def __enter__(self) -> "Progress":
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._bar is not None:
                self._bar.stop()

    def step(self, text: str, total: int | None = None) -> None:
        """Begin a step of `total` parts; None where the parts cannot be counted."""
        with self._lock:
            self._text, self._total, self._done = text, total, 0
            if self._bar is not None:
                self._bar.reset(self._bar.task_ids[0], description=text, total=total)

    def advance(self) -> None:
        """One more part of the step is done."""
        self._done += 1
        if self._bar is not None and not self._done % STEPS_AT_ONCE:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def reach(self, done: int) -> None:
        """So many parts of the step are done."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)

    def _show(self) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        with self._lock:
            if self._ended:
                return
            bar = Bar(
                SpinnerColumn("line"),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                console=self._terminal.progress_console(),
                transient=True,
            )
            bar.add_task(self._text, total=self._total, completed=self._done)
            bar.start()
            self._bar = bar
