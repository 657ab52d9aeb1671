"""The end of a process: the first signal lets it finish, the second ends it at once."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Lifetime:
    """`stop` is set by the first SIGTERM or SIGINT, `stop_now` by the second. Make it inside the event loop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.stop_now = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        logger.info("%s: %s", number.name, "stopping now" if self.stop.is_set() else "finishing accepted calls")
        (self.stop_now if self.stop.is_set() else self.stop).set()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives, or raises; None where the first signal comes before, which cancels it and waits for it."""
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))
        return None if working.cancelled() else await working

    async def until_stop(self, work: "asyncio.Future[None]") -> None:
        """Wait for the first signal, or for the end of `work`, which should go on for good: its error is raised."""
        stopped = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait((stopped, work), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            await work
