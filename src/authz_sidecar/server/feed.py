"""From the bundle's directory to whoever answers: see a change, compile it beside them, hand it over or refuse it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.engine import PolicyStatus
from authz_sidecar.engine.refresh import Refreshed, RefreshOutcome
from authz_sidecar.server.early import EarlyBuild
from authz_sidecar.server.settings import StartError
from authz_sidecar.sources.build import Build, BuildError, BuildReport
from authz_sidecar.sources.source import LookError, PolicySource
from authz_sidecar.sources.watch import Sight
from authz_sidecar.values import Severity

logger = logging.getLogger(__name__)

# After a failure that is not the bundle's: try again, also where nothing changes.
RETRY_SECONDS = 5.0
# A git that takes longer than this was probably killed and left its lock behind.
LOCK_PATIENCE_SECONDS = 30.0
START_LOCK_SECONDS = 5.0
# Between the looks that somebody asked for, here and at another machine.
ASKED_SECONDS = 0.05
ASKED_REMOTE_SECONDS = 1.0
# Looking takes at most this share of the time, however large the directory is.
LOOKING_SHARE = 0.02
LOGGED_FINDINGS = 5
ORPHANS_HELP = "take the role away from them or keep it in the bundle, or serve with `--allow-orphans`"
# How often a bundle that was refused for roles in use is looked at again, although it is what it was.
ORPHANS_SECONDS = 5.0
REFUSED_HELP = "serve another ref or commit, or see what was done to the repository"


class PolicyTaker(Protocol):
    """Whoever answers checks: one process, or several."""

    async def load(self, fd: int, lineage_fd: int, policy_version: str) -> None:
        """Take the policy that was compiled into the file `fd`, and what it contains from `lineage_fd`; raises
        TransferError."""

    async def rename(self, lineage_fd: int, policy_version: str) -> None:
        """Serve the same policy under another version."""


class PolicyFeed:
    """Keeps `taker` on the policy of `source`, and `status` true.

    `orphans` is asked, in a thread, before a policy is taken: given its roles, each with the place where it is held, it
    says which that are in use the policy drops ("" for none). What it raises says that this cannot be known, and the
    policy is then not taken. None where no directory is in use, or where roles may be dropped.
    """

    def __init__(
        self,
        source: PolicySource,
        taker: PolicyTaker,
        status: PolicyStatus,
        clock: Callable[[], float] = time.time,
        *,
        orphans: Callable[[Mapping[str, str]], str] | None = None,
    ) -> None:
        self._orphans = orphans
        # The roles of what is refused for those that it drops, and when they are to be asked about again.
        self._refused_roles: Mapping[str, str] | None = None
        self._ask_orphans_at = 0.0
        self._source = source
        self._taker = taker
        self._status = status
        self._clock = clock
        self._digest = ""
        # What was seen when the newest build began; None: whatever is there is to be built.
        self._built: Sight | None = None
        self._retry_at = 0.0
        self._asked = asyncio.Event()
        # Whoever waits for what the next look comes to; and when a look began last.
        self._asking: set[asyncio.Future[Refreshed]] = set()
        self._looked = float("-inf")

    async def refresh(self) -> Refreshed:
        """Look now, and say what came of it. All that ask before a look begins are answered by that one look."""
        answer: asyncio.Future[Refreshed] = asyncio.get_running_loop().create_future()
        self._asking.add(answer)
        self.ask()
        try:
            return await answer
        finally:
            # Also where whoever asked has left.
            self._asking.discard(answer)

    def ask(self) -> None:
        """Look now, and build what is there also if it looks unchanged."""
        self._retry_at = 0.0
        self._asked.set()

    async def first(self, early: EarlyBuild | None = None) -> BuildReport:
        """Load what is there, and return what came of it; one that is not `built` is not logged yet.

        Raises StartError while git holds its lock or where there is nothing to look at, BuildError and TransferError.
        """
        if early is not None:
            self._status.see(self._clock())
            return await self._take(early.sight, early.build)
        sight = await self._first_sight()
        if not sight.refused:
            return await self._first_build(sight)
        kept = self._source.kept()
        self._status.refuse(sight.version, sight.refused, self._clock())
        if kept is None:
            raise StartError(f"{sight.version} is refused: {sight.refused}", REFUSED_HELP)
        refusal = self._status.refused
        report = await self._first_build(kept)
        # It stands beside what is served instead.
        self._built, self._status.refused = sight, refusal
        logger.error("%s", self._status.sentence)
        return report

    async def _first_build(self, sight: Sight) -> BuildReport:
        report = await self._take(sight, await asyncio.to_thread(self._source.build, sight))
        self._untrusted(report)
        return report

    async def _first_sight(self) -> Sight:
        """What is there, or what was served last where that cannot be said."""
        began = time.monotonic()
        while True:
            try:
                sight = await self._look()
            except LookError as error:
                kept = self._source.kept()
                if kept is None:
                    raise StartError(error.message, error.help) from error
                self._status.looked_at = self._source.looked_at
                logger.warning("starting with what was served last, %s", kept.version)
                return kept
            if not sight.locked:
                return sight
            if time.monotonic() - began > START_LOCK_SECONDS:
                raise StartError(
                    f"git is writing the work tree: `{sight.locked}` exists",
                    "wait for git to end; if no git runs there, it was interrupted: remove the file",
                )
            await asyncio.sleep(0.05)

    async def _look(self) -> Sight:
        """See what is there, and tell the status; raises LookError."""
        self._looked = time.monotonic()
        try:
            sight = await asyncio.to_thread(self._source.look)
        except LookError as error:
            told = f"{error.message}; {error.help}" if error.help else error.message
            if self._status.unseen != told:
                logger.error("%s cannot be looked at: %s", self._status.what, told)
            self._status.miss(told)
            raise
        if self._status.unseen:
            logger.info("%s can be looked at again", self._status.what)
        self._status.see(self._clock())
        return sight

    def log_refusal(self, report: BuildReport) -> None:
        """Say what is served instead of a bundle, and why."""
        errors = [found for found in report.diagnostics if found.severity is Severity.ERROR]
        if report.orphans:
            logger.error("%s; %s", self._status.sentence, ORPHANS_HELP)
            return
        findings = [f"{found.span}: {found.message}; {found.help}" for found in errors[:LOGGED_FINDINGS]]
        logger.error("%s", self._status.sentence, extra={"findings": findings})

    async def run(self) -> None:
        """Follow the source for good."""
        before: Sight | None = self._built
        locked_since: float | None = None
        pause = self._source.pause()
        while True:
            await self._wait(pause)
            began = time.monotonic()
            # Who asks from now on did not ask for this look.
            asked, wanted = list(self._asking), self._asked.is_set()
            self._asked.clear()
            try:
                sight = await self._look()
                # Work on a large directory must not take the processor from checks.
                pause = self._source.pause()
                if pause and not self._source.remote:
                    pause = max(pause, (time.monotonic() - began) / LOOKING_SHARE)
                if sight.locked:
                    # Nothing is read while git writes.
                    locked_since = locked_since or began
                    self._tell_of_lock(sight.locked, began - locked_since)
                    self._ask_again(wanted)
                    continue
                locked_since, self._status.waiting = None, ""
                # INVARIANT: a change is read when two looks have found the same, so that a writer between two files
                # is left to finish.
                settled, before = sight.settled or sight == before, sight
                if not settled:
                    self._ask_again(wanted)
                    continue
                wanted = wanted or await self._adopted()
                if wanted or (sight != self._built and time.monotonic() >= self._retry_at):
                    await self._follow(sight)
                self._answer(asked, sight)
            except LookError:
                pause = self._source.pause()
                self._answer(asked, None)
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
                self._answer(asked, None)
                if self._source.remote:
                    pause = min(pause, RETRY_SECONDS) or RETRY_SECONDS

    async def _adopted(self) -> bool:
        """Whether the roles in use that a policy was refused for are in use no more."""
        if self._refused_roles is None or time.monotonic() < self._ask_orphans_at:
            return False
        self._ask_orphans_at = time.monotonic() + ORPHANS_SECONDS
        try:
            return not await self._find_orphans(self._refused_roles)
        except BuildError:
            # It stays refused for what was known last.
            return False

    async def _find_orphans(self, roles: Mapping[str, str]) -> str:
        """Which roles in use a policy drops; raises BuildError where that cannot be known."""
        if self._orphans is None:
            return ""
        try:
            return await asyncio.to_thread(self._orphans, roles)
        except Exception as error:
            raise BuildError(f"it is not known which roles are in use: {error}") from error

    def _ask_again(self, wanted: bool) -> None:
        """Whoever asked has not been answered by this look."""
        if wanted:
            self._asked.set()

    async def _follow(self, sight: Sight) -> None:
        """Build what was seen, or say why it must not be served."""
        if not sight.refused:
            await self._rebuild(sight)
            return
        self._built = sight
        known = self._status.refused
        if known is None or (known.policy_version, known.why) != (sight.version, sight.refused):
            self._status.refuse(sight.version, sight.refused, self._clock())
            logger.error("%s", self._status.sentence)

    def _answer(self, asked: "list[asyncio.Future[Refreshed]]", sight: Sight | None) -> None:
        """Tell those who asked what came of the look; None: nothing could be seen or read."""
        status = self._status
        outcome, why = RefreshOutcome.CURRENT, ""
        if status.refused is not None:
            outcome, why = RefreshOutcome.REFUSED, status.refused.why
        if sight is None:
            outcome, why = RefreshOutcome.FAILED, status.unseen or why
        found = "" if sight is None else sight.version or self._found(status)
        for answer in asked:
            self._asking.discard(answer)
            if not answer.done():
                answer.set_result(Refreshed(outcome, status.policy_version, found, why))

    @staticmethod
    def _found(status: PolicyStatus) -> str:
        return status.policy_version if status.refused is None else status.refused.policy_version

    def _tell_of_lock(self, lock: str, seconds: float) -> None:
        if seconds > LOCK_PATIENCE_SECONDS and not self._status.waiting:
            self._status.waiting = f"git's lock `{lock}` exists"
            logger.warning("%s; nothing is loaded while %s", self._status.sentence, self._status.waiting)

    async def _wait(self, seconds: float) -> None:
        """Wait for the next look: `seconds`, or 0 for until somebody asks."""
        if self._asked.is_set():
            # Whoever asked waits for a look that finds what the one before found. Asking another machine has bounds.
            least = min(seconds, ASKED_SECONDS) or ASKED_SECONDS
            if self._source.remote:
                least = max(0.0, self._looked + ASKED_REMOTE_SECONDS - time.monotonic())
            await asyncio.sleep(least)
        elif not seconds:
            await self._asked.wait()
            if self._source.remote:
                await self._wait(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), seconds)
            if self._asked.is_set() and self._source.remote:
                await self._wait(seconds)

    async def _rebuild(self, sight: Sight) -> None:
        build = await asyncio.to_thread(self._source.build, sight, self._digest, background=True)
        report = await self._take(sight, build)
        self._untrusted(report)
        if not (report.built or report.unchanged):
            self.log_refusal(report)

    def _untrusted(self, report: BuildReport) -> None:
        """Where the clone did not give what it should, have another one made; raises BuildError."""
        if report.unreadable:
            self._source.distrust()
            raise BuildError(report.unreadable)

    async def _take(self, sight: Sight, build: Build) -> BuildReport:
        began = time.monotonic()
        waiting = asyncio.ensure_future(asyncio.to_thread(build.result))
        try:
            report = await asyncio.shield(waiting)
            if report.built:
                report.orphans = await self._find_orphans(report.roles)
                report.built = not report.orphans
            if report.built:
                await self._taker.load(build.fd, build.lineage_fd, report.policy_version)
            elif report.unchanged and report.policy_version != self._status.policy_version:
                await self._taker.rename(build.lineage_fd, report.policy_version)
        finally:
            # The thread that waits for the process gives its pipes back, and only then may its file be closed.
            build.kill()
            await asyncio.wait((waiting,))
            # Its error was raised above, or nobody waits for it any more.
            waiting.exception()
            build.close()
        self._built = sight
        self._refused_roles = report.roles if report.orphans else None
        self._ask_orphans_at = time.monotonic() + ORPHANS_SECONDS
        self._status.seconds = time.monotonic() - began
        if not report.unreadable:
            self._tell(report)
            if report.built or report.unchanged:
                await asyncio.to_thread(self._source.took, report.policy_version)
        return report

    def _tell(self, report: BuildReport) -> None:
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
            status.take(report.policy_version, self._clock(), renamed=True)
            logger.info("%s: the content is the same", status.sentence)
        elif status.refused is not None:
            status.refused = None
            logger.info("%s again: the bundle is what it was", status.sentence)
        else:
            logger.info("%s: nothing has changed", status.sentence)
