"""Several processes on one port: the supervisor follows the policies for all of them and replaces those that die."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time

import msgspec

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.engine import Counts, DirectoryStatus, PolicyStatus
from authz_sidecar.engine.refresh import Refreshed, Refresher, nobody_refreshes
from authz_sidecar.engine.status import shadow_status
from authz_sidecar.server.control import (
    Answered,
    Ask,
    Channel,
    Counted,
    Listening,
    Load,
    Loaded,
    LoadShadow,
    Refresh,
    Rename,
    RenameShadow,
    Report,
    Start,
    Told,
)
from authz_sidecar.server.log_sink import STREAMS
from authz_sidecar.server.settings import ServeSettings, StartError
from authz_sidecar.transports.address import Address, AddressError, reserve_port

logger = logging.getLogger(__name__)

MODULE = "authz_sidecar.server.worker"
# A worker that dies again and again is started less and less often.
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
# One that has lived so long begins anew with the first.
SETTLED_SECONDS = 30.0
COUNT_SECONDS = 1.0
# A worker that does not take a policy for so long is replaced.
LOAD_SECONDS = 120.0
# What a worker gets beyond the grace period before it is killed.
END_SECONDS = 2.0


class WorkerGoneError(Exception):
    """A worker ended, or says nothing."""


class Worker:
    """One process that answers, with its number. Make it inside the event loop. `refresher` looks at the policies when
    a client of it asks for that, and `policies` is what is known of them."""

    def __init__(
        self, settings: ServeSettings, address: Address, number: int, refresher: Refresher, policies: PolicyStatus
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # In a group of its own: a key that interrupts the terminal's group is the supervisor's to handle.
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: see `sources.build`.
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                # The decision log may go there, and nothing else.
                stdout=None if settings.decision_log.path in STREAMS else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        self.counts = Counts()
        # How its directory stood, and when it said so.
        self.directory: DirectoryStatus | None = None
        self._counted_at = time.monotonic()
        # Which of the supervisor's policies it answers from (0: none), and under which version.
        self.policy = 0
        self.policy_version = ""
        # The same of the candidate, which it may refuse.
        self.shadow = 0
        self.shadow_version = ""
        self.listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        self._channel = Channel(ours)
        self._channel.send(Start(settings, address, number))
        # One question at a time: its answer is awaited before the next is put.
        self.asking = asyncio.Lock()
        self._answer: asyncio.Future[None] | None = None
        self._counted = asyncio.Event()
        self._refresher = refresher
        self._policies = policies
        self._refreshing: set[asyncio.Task[None]] = set()
        self.gone = asyncio.ensure_future(self._listen())

    async def ask(self, message: Load | Rename | LoadShadow | RenameShadow, *files: int) -> None:
        """Let it take a policy, or another version for the one it has, and wait until it has; raises TransferError
        and WorkerGoneError. Hold `asking` meanwhile."""
        answer = self._answer = asyncio.get_running_loop().create_future()
        try:
            if self.gone.done():
                raise WorkerGoneError("it has ended")
            self._channel.send(message, files)
            await asyncio.wait_for(answer, LOAD_SECONDS)
        except (OSError, TimeoutError) as error:
            raise WorkerGoneError(str(error) or "it does not answer") from error
        finally:
            self._answer = None

    async def count(self) -> Counts:
        """What it has counted; what it had counted before, where it does not say in time."""
        self._counted.clear()
        with contextlib.suppress(OSError, TimeoutError):
            self._channel.send(Report())
            await asyncio.wait_for(self._counted.wait(), COUNT_SECONDS)
        return self.counts

    @property
    def silence(self) -> float:
        """For how many seconds it has not said how it stands."""
        return time.monotonic() - self._counted_at

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    async def end(self) -> int:
        """Wait for its end and give back what it used; the exit code."""
        code = await asyncio.to_thread(self.process.wait)
        await self.gone
        for task in self._refreshing:
            task.cancel()
        self._channel.close()
        return code

    async def _refresh(self, number: int) -> None:
        refreshed = await self._refresher()
        # It may have ended meanwhile, and its client with it.
        with contextlib.suppress(OSError):
            self._channel.send(Answered(number, refreshed))

    async def _listen(self) -> None:
        while True:
            try:
                message, _ = await self._channel.receive()
            except EOFError:
                break
            match message:
                case Counted():
                    self.counts, self.directory = message.counts, message.directory
                    self._counted_at = time.monotonic()
                    self._counted.set()
                case Loaded():
                    if self._answer is None or self._answer.done():
                        continue
                    if message.problem:
                        self._answer.set_exception(TransferError(message.problem))
                    else:
                        self._answer.set_result(None)
                case Refresh():
                    task = asyncio.create_task(self._refresh(message.number))
                    self._refreshing.add(task)
                    task.add_done_callback(self._refreshing.discard)
                case Ask():
                    with contextlib.suppress(OSError):
                        self._channel.send(Told(message.number, self._policies))
                case Listening():
                    self.listening.set_result(message)
        gone = WorkerGoneError("it has ended")
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(gone)
        if not self.listening.done():
            self.listening.set_exception(gone)


class WorkerPool:
    """The workers: what the HTTP port shows of them, and the policy that all of them take."""

    def __init__(self, settings: ServeSettings) -> None:
        self.status = PolicyStatus()
        self.shadow = shadow_status()
        self.accepting = False
        self.restarts = 0
        self.refresher: Refresher = nobody_refreshes
        self._settings = settings
        self._address = settings.grpc
        self._holder: socket.socket | None = None
        self._running: dict[int, Worker] = {}
        self._lost = Counts()
        # The current policy: its number (0: none yet), its file, and the file of its lineage with its version.
        self._policy = 0
        self._file = -1
        self._lineage_file = -1
        self._policy_version = ""
        # The same of the candidate.
        self._shadow = 0
        self._shadow_file = -1
        self._shadow_version = ""
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def workers(self) -> int:
        """How many workers answer from a policy."""
        return sum(bool(worker.policy) for worker in self._running.values())

    async def counts(self) -> Counts:
        """What all workers have counted, those that have died included."""
        total = Counts()
        total.add(self._lost)
        for counts in await asyncio.gather(*(worker.count() for worker in self._running.values())):
            total.add(counts)
        return total

    async def directory(self) -> DirectoryStatus | None:
        """How the directory stands where it stands worst; None without one, or while nobody knows."""
        if self._settings.directory is None:
            return None
        workers = list(self._running.values())
        await asyncio.gather(*(worker.count() for worker in workers))
        worst: DirectoryStatus | None = None
        for worker in workers:
            if worker.directory is not None:
                # The first is compared with itself, for its silence, but its records wait once.
                before = worst or msgspec.structs.replace(worker.directory, waiting=0)
                worst = before.worse(worker.directory, worker.silence)
        return worst

    async def start(self) -> Address:
        """Take the port, start all workers and wait until they listen; raises AddressError and StartError."""
        self._holder, self._address = reserve_port(self._settings.grpc)
        started: list[asyncio.Future[None]] = []
        for number in range(self._settings.workers):
            first = asyncio.get_running_loop().create_future()
            started.append(first)
            self._keepers.append(asyncio.create_task(self._keep(number, first)))
        await asyncio.gather(*started)
        return self._address

    async def load(self, fd: int, lineage_fd: int, policy_version: str) -> None:
        """Let every worker take the policy in the file `fd`, and what it contains from `lineage_fd`. Both are kept for
        workers that start later."""
        self._file = _replace(self._file, fd)
        self._lineage_file = _replace(self._lineage_file, lineage_fd)
        self._policy, self._policy_version = self._policy + 1, policy_version
        await self._bring_all()

    async def rename(self, lineage_fd: int, policy_version: str) -> None:
        """Let every worker serve the same policy under another version."""
        self._lineage_file = _replace(self._lineage_file, lineage_fd)
        self._policy_version = policy_version
        await self._bring_all()

    async def load_shadow(self, fd: int, policy_version: str) -> None:
        """Let every worker take the candidate in the file `fd`, which is kept for those that start later."""
        self._shadow_file = _replace(self._shadow_file, fd)
        self._shadow, self._shadow_version = self._shadow + 1, policy_version
        await self._bring_shadows()

    async def rename_shadow(self, policy_version: str) -> None:
        """The same candidate has another version."""
        self._shadow_version = policy_version
        await self._bring_shadows()

    async def stop(self, stop_now: asyncio.Event) -> None:
        """End all workers: accepted calls finish within the grace period, or until `stop_now` is set."""
        self._stopping.set()
        for worker in self._running.values():
            worker.signal(signal.SIGTERM)
        keepers = asyncio.gather(*self._keepers, return_exceptions=True)
        hurrying = asyncio.ensure_future(stop_now.wait())
        allowed = self._settings.grace + END_SECONDS
        await asyncio.wait((keepers, hurrying), timeout=allowed, return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done():
            for worker in self._running.values():
                worker.signal(signal.SIGTERM)
            await asyncio.wait((keepers,), timeout=END_SECONDS)
        hurrying.cancel()
        for worker in self._running.values():
            worker.signal(signal.SIGKILL)
        await keepers
        if self._holder is not None:
            self._holder.close()

    async def _refresh(self) -> Refreshed:
        # Who does it is known only later.
        return await self.refresher()

    async def _keep(self, number: int, first: "asyncio.Future[None]") -> None:
        """Keep the worker of one number running, until the pool stops."""
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            code: int | None = None
            try:
                worker = Worker(self._settings, self._address, number, self._refresh, self.status)
            except OSError as error:
                if not first.done():
                    first.set_exception(StartError(f"a worker cannot be started: {error.strerror}"))
                    return
                logger.error("worker %d cannot be started: %s", number, error.strerror)
            else:
                self._running[number] = worker
                try:
                    await self._accompany(number, worker, first)
                finally:
                    code = await worker.end()
                    del self._running[number]
                    worker.counts.in_flight = 0
                    self._lost.add(worker.counts)
            if self._stopping.is_set():
                return
            self.restarts += 1
            if time.monotonic() - began > SETTLED_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            if code is not None:
                logger.error("worker %d ended with %d; starting another in %.1f s", number, code, backoff)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    async def _accompany(self, number: int, worker: Worker, first: "asyncio.Future[None]") -> None:
        """From the start of a worker to its end."""
        try:
            said = await worker.listening
            if said.problem:
                raise AddressError(said.problem, said.help)
            if not first.done():
                first.set_result(None)
            await self._bring(worker)
            await self._bring_shadow(worker)
            await worker.gone
        except (AddressError, WorkerGoneError) as error:
            worker.signal(signal.SIGKILL)
            if not first.done():
                first.set_exception(_start_error(error))
                self._stopping.set()
            elif isinstance(error, AddressError):
                logger.error("worker %d cannot serve: %s; %s", number, error.message, error.help)

    async def _bring_all(self) -> None:
        # One that does not listen yet is brought to what is current once it does.
        listening = [worker for worker in self._running.values() if worker.listening.done()]
        await asyncio.gather(*(self._bring(worker) for worker in listening))

    async def _bring(self, worker: Worker) -> None:
        """Bring a worker to the policy that is current; one that cannot take it is ended, and so replaced."""
        try:
            async with worker.asking:
                # Another one may become current meanwhile.
                while (worker.policy, worker.policy_version) != (self._policy, self._policy_version):
                    policy, version = self._policy, self._policy_version
                    if worker.policy != policy:
                        await worker.ask(Load(version), self._file, self._lineage_file)
                    else:
                        await worker.ask(Rename(version), self._lineage_file)
                    worker.policy, worker.policy_version = policy, version
        except (TransferError, WorkerGoneError) as error:
            logger.error("a worker did not take the policy: %s", error)
            worker.signal(signal.SIGKILL)

    async def _bring_shadows(self) -> None:
        listening = [worker for worker in self._running.values() if worker.listening.done()]
        await asyncio.gather(*(self._bring_shadow(worker) for worker in listening))

    async def _bring_shadow(self, worker: Worker) -> None:
        """Bring a worker to the candidate that is current; one that cannot take it answers all the same."""
        if worker.policy == 0:
            # It is about to be ended.
            return
        async with worker.asking:
            while (worker.shadow, worker.shadow_version) != (self._shadow, self._shadow_version):
                shadow, version = self._shadow, self._shadow_version
                try:
                    if worker.shadow != shadow:
                        await worker.ask(LoadShadow(version), self._shadow_file)
                    else:
                        await worker.ask(RenameShadow(version))
                except (TransferError, WorkerGoneError) as error:
                    logger.error("a worker did not take the shadow: %s", error)
                worker.shadow, worker.shadow_version = shadow, version


def _replace(kept: int, fd: int) -> int:
    """A file of our own in the place of the one that was kept (-1: none)."""
    copied = os.dup(fd)
    if kept >= 0:
        os.close(kept)
    return copied


def _start_error(error: Exception) -> Exception:
    if isinstance(error, AddressError):
        return error
    return StartError("a worker ended before it listened", "what it wrote before this line says why")
