"""From the bundle's directory to whoever answers: see a change, compile it beside them, hand it over or refuse it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.engine import PolicyStatus
from authz_sidecar.server.early import EarlyBuild
from authz_sidecar.server.settings import StartError
from authz_sidecar.sources.build import Build, BuildError, BuildReport
from authz_sidecar.sources.watch import Sight, look
from authz_sidecar.values import Severity

logger = logging.getLogger(__name__)

# After a failure that is not the bundle's: try again, also where nothing changes.
RETRY_SECONDS = 5.0
# A git that takes longer than this was probably killed and left its lock behind.
LOCK_PATIENCE_SECONDS = 30.0
START_LOCK_SECONDS = 5.0
# Between the looks that somebody asked for.
ASKED_SECONDS = 0.05
# Looking takes at most this share of the time, however large the directory is.
LOOKING_SHARE = 0.02
LOGGED_FINDINGS = 5


class PolicyTaker(Protocol):
    """Whoever answers checks: one process, or several."""

    async def load(self, fd: int, policy_version: str) -> None:
        """Take the policy that was compiled into the file `fd`; raises TransferError."""

    async def rename(self, policy_version: str) -> None:
        """Serve the same policy under another version."""


class PolicyFeed:
    """Keeps `taker` on the policy in the directory `path`, and `status` true."""

    def __init__(
        self,
        path: Path,
        interval: float,
        taker: PolicyTaker,
        status: PolicyStatus,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._interval = interval
        self._taker = taker
        self._status = status
        self._clock = clock
        self._digest = ""
        # What was seen when the newest build began; None: whatever is there is to be built.
        self._built: Sight | None = None
        self._retry_at = 0.0
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Look now, and build what is there also if it looks unchanged."""
        self._retry_at = 0.0
        self._asked.set()

    async def first(self, early: EarlyBuild | None = None) -> BuildReport:
        """Load what is there, and return what came of it; one that is not `built` is not logged yet.

        Raises StartError while git holds its lock, BuildError and TransferError.
        """
        if early is not None:
            return await self._take(early.sight, early.build)
        began = time.monotonic()
        while (sight := look(self._path)).locked:
            if time.monotonic() - began > START_LOCK_SECONDS:
                raise StartError(
                    f"git is writing the work tree: `{sight.locked}` exists",
                    "wait for git to end; if no git runs there, it was interrupted: remove the file",
                )
            await asyncio.sleep(0.05)
        return await self._take(sight, await asyncio.to_thread(Build, self._path))

    def log_refusal(self, report: BuildReport) -> None:
        """Say what is served instead of a bundle, and why."""
        errors = [found for found in report.diagnostics if found.severity is Severity.ERROR]
        findings = [f"{found.span}: {found.message}; {found.help}" for found in errors[:LOGGED_FINDINGS]]
        logger.error("%s", self._status.sentence, extra={"findings": findings})

    async def run(self) -> None:
        """Follow the directory for good."""
        before: Sight | None = self._built
        locked_since: float | None = None
        pause = self._interval
        while True:
            await self._wait(pause)
            began = time.monotonic()
            try:
                sight = await asyncio.to_thread(look, self._path)
                # Work on a large directory must not take the processor from checks.
                pause = max(self._interval, (time.monotonic() - began) / LOOKING_SHARE) if self._interval else 0.0
                if sight.locked:
                    # Nothing is read while git writes.
                    locked_since = locked_since or began
                    self._tell_of_lock(sight.locked, began - locked_since)
                    continue
                locked_since, self._status.waiting = None, ""
                # INVARIANT: a change is read when two looks have found the same, so that a writer between two files
                # is left to finish.
                settled, before = sight == before, sight
                wanted = self._asked.is_set() or (sight != self._built and time.monotonic() >= self._retry_at)
                if settled and wanted:
                    self._asked.clear()
                    await self._rebuild(sight)
            # A sidecar that has a policy does not die of a fault in following it.
            except Exception as error:
                expected = isinstance(error, BuildError | TransferError)
                self._built = None
                self._retry_at = time.monotonic() + RETRY_SECONDS
                self._status.refuse("", str(error) or type(error).__name__, self._clock(), failed=True)
                logger.error(
                    "%s; trying again in %d s",
                    self._status.sentence,
                    RETRY_SECONDS,
                    exc_info=None if expected else error,
                )

    def _tell_of_lock(self, lock: str, seconds: float) -> None:
        if seconds > LOCK_PATIENCE_SECONDS and not self._status.waiting:
            self._status.waiting = f"git's lock `{lock}` exists"
            logger.warning("%s; nothing is loaded while %s", self._status.sentence, self._status.waiting)

    async def _wait(self, seconds: float) -> None:
        """Wait for the next look: `seconds`, or 0 for until somebody asks."""
        if self._asked.is_set():
            # Whoever asked waits for a look that finds what the one before found.
            await asyncio.sleep(min(seconds, ASKED_SECONDS) or ASKED_SECONDS)
        elif not seconds:
            await self._asked.wait()
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), seconds)

    async def _rebuild(self, sight: Sight) -> None:
        build = await asyncio.to_thread(Build, self._path, self._digest, background=True)
        report = await self._take(sight, build)
        if not (report.built or report.unchanged):
            self.log_refusal(report)

    async def _take(self, sight: Sight, build: Build) -> BuildReport:
        began = time.monotonic()
        waiting = asyncio.ensure_future(asyncio.to_thread(build.result))
        try:
            report = await asyncio.shield(waiting)
            if report.built:
                await self._taker.load(build.fd, report.policy_version)
        finally:
            # The thread that waits for the process gives its pipes back, and only then may its file be closed.
            build.kill()
            await asyncio.wait((waiting,))
            # Its error was raised above, or nobody waits for it any more.
            waiting.exception()
            build.close()
        self._built = sight
        self._status.seconds = time.monotonic() - began
        await self._tell(report)
        return report

    async def _tell(self, report: BuildReport) -> None:
        status = self._status
        if report.built:
            self._digest = report.digest
            status.take(report.policy_version, self._clock())
            logger.info(
                "%s",
                status.sentence,
                extra={"rules": report.rules, "warnings": report.warnings, "seconds": round(status.seconds, 3)},
            )
        elif not report.unchanged:
            status.refuse(report.policy_version, report.why, self._clock())
        elif report.policy_version != status.policy_version:
            await self._taker.rename(report.policy_version)
            status.take(report.policy_version, self._clock(), renamed=True)
            logger.info("%s: the content is the same", status.sentence)
        elif status.refused is not None:
            status.refused = None
            logger.info("%s again: the bundle is what it was", status.sentence)
        else:
            logger.info("%s: nothing has changed", status.sentence)
