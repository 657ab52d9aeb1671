"""What answers checks in one process: the gRPC server, its engine, and the taking of new policies beside calls."""

import asyncio
import contextlib
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.compile.transfer import TransferError, dismantle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.engine import Answer, Counts, DirectoryStatus, Engine, Observer, ServedPolicy
from authz_sidecar.engine.refresh import Refresher
from authz_sidecar.engine.status import StatusReader
from authz_sidecar.server.decision_log import open_log
from authz_sidecar.server.settings import DirectorySettings, ServeSettings, StartError
from authz_sidecar.server.shadow import open_shadow
from authz_sidecar.sources.build import read_built, read_built_lineage
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.grpc.server import GrpcServer
from authz_sidecar.values import Request

if TYPE_CHECKING:
    from authz_sidecar.directory.review.policy_review import PolicyPlace
    from authz_sidecar.server.directory import ServedDirectory
    from authz_sidecar.transports.grpc.administration.services import AdministrationServices

T = TypeVar("T")

logger = logging.getLogger(__name__)

# How long a new policy is read before calls get their turn.
SLICE_SECONDS = 0.001
# Steps of reading between searches for the youngest garbage, and for the next older; steps of freeing between searches.
STEPS_TO_SEARCH = 4
STEPS_TO_SEARCH_LONGER = 32
STEPS_FREED_TO_SEARCH = 20


class Answering:
    """Answers on `address`. Make it inside the event loop that it shall run on.

    `shared` says that the port is shared with other processes, whose parent has taken it; `worker` is the number of
    this one among them. `refresher` looks at the policies when a client asks for it; `policies` says what is known of
    them.
    """

    def __init__(
        self,
        settings: ServeSettings,
        address: Address,
        refresher: Refresher,
        policies: StatusReader,
        *,
        worker: int = 0,
        shared: bool = False,
    ) -> None:
        self._log = open_log(settings.decision_log, worker)
        self._shadow = open_shadow(settings)
        observers = [*([self._log.record] if self._log else []), *([self._shadow.observe] if self._shadow else [])]
        self.engine = Engine(_all_of(observers), self._witness)
        self._settings = settings
        self._address = address
        self._refresher = refresher
        self._policies = policies
        self._worker = worker
        self._shared = shared
        self._directory: ServedDirectory | None = None
        self._server: GrpcServer | None = None
        self._loop = asyncio.get_running_loop()
        self._loading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError, TlsError, and StartError
        where there is no directory to be had."""
        settings = self._settings
        administration = None
        if settings.directory is not None:
            # A large one takes a while, and its databases and cryptography no less.
            directory = await self._open(settings.directory)
            administration = self._administer(directory, settings.directory.url)
        self._server = GrpcServer(
            self.engine,
            settings.limits,
            self._address,
            settings.access,
            shared=self._shared,
            tls=settings.tls,
            refresher=self._refresher if settings.refresh else None,
            identities=None if self._directory is None else self._directory.identities,
            administration=administration,
        )
        # Until the first policy is there connections wait, so that no client is denied since a server starts. Where
        # there may be none for long, health says so.
        return await self._server.start(accept=settings.wait_for_policies)

    async def load(self, fd: int, lineage_fd: int, policy_version: str) -> None:
        """Take the policy that was compiled into the file `fd`, and the commits that it contains from `lineage_fd`,
        while calls go on; raises TransferError.

        Python would search all that is read for garbage, again and again. So only what is young is searched meanwhile;
        then what was read is put out of sight, where it stays until the policy is replaced and taken apart.
        """
        lineage = read_built_lineage(lineage_fd)
        replaced = await self._receive(fd, lambda snapshot: self.engine.load(snapshot, policy_version, lineage))
        if self._server is not None:
            self._server.health.set_serving(True)
            await self._server.accept()
        if replaced.decider is not None:
            # Calls that hold the replaced policy, such as a batch, finish on it.
            weakref.finalize(replaced.lease, self._retire, replaced.decider).atexit = False

    async def _receive(self, fd: int, use: Callable[[Snapshot], T]) -> T:
        """Read the snapshot in the file `fd` and give what `use` makes of it; raises TransferError."""
        async with self._loading:
            collecting = gc.isenabled()
            gc.disable()
            try:
                used = use(await _read(fd))
                gc.collect(1)
                gc.freeze()
            finally:
                if collecting:
                    gc.enable()
        return used

    async def load_shadow(self, fd: int, policy_version: str) -> None:
        """Take the candidate that was compiled into the file `fd`, while calls go on; raises TransferError."""
        shadow = self._shadow
        if shadow is None:
            raise TransferError("there is no shadow here")
        replaced = await self._receive(fd, lambda snapshot: shadow.take(Decider(snapshot), policy_version))
        if replaced is not None:
            # Only the shadow used it, and on this loop.
            self._begin_to_take_apart(replaced)

    def rename_shadow(self, policy_version: str) -> None:
        """The same candidate has another version."""
        if self._shadow is not None:
            self._shadow.rename(policy_version)

    def rename(self, lineage_fd: int, policy_version: str) -> None:
        """Serve the same policy under another version."""
        self.engine.rename(policy_version, read_built_lineage(lineage_fd))

    def counts(self) -> Counts:
        """What this process has counted until now."""
        counts = self.engine.counts
        counts.in_flight = 0 if self._server is None else self._server.in_flight
        if self._log is not None:
            counts.logged, counts.log_dropped = self._log.written, self._log.dropped
        if self._shadow is not None:
            counts.shadow, counts.shadow_dropped = self._shadow.outcomes, self._shadow.dropped
        if self._directory is not None:
            self._directory.count(counts)
        return counts

    async def stop(self, stop_now: asyncio.Event) -> None:
        """Stop within the grace period, or as soon as `stop_now` is set."""
        if self._server is not None:
            stopping = asyncio.create_task(self._server.stop(self._settings.grace))
            hurrying = asyncio.create_task(stop_now.wait())
            await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
            hurrying.cancel()
            if not stopping.done():
                await self._server.stop(0)
            await stopping
        if self._directory is not None:
            await asyncio.to_thread(self._directory.close)
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    def directory(self) -> DirectoryStatus | None:
        """How the directory stands; None where there is none."""
        return None if self._directory is None else self._directory.status()

    async def _open(self, settings: DirectorySettings) -> "ServedDirectory":
        stopping = threading.Event()
        opening = asyncio.ensure_future(asyncio.to_thread(self._open_directory, settings, stopping))
        try:
            self._directory = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A thread cannot be cancelled.
            stopping.set()
            with contextlib.suppress(StartError):
                self._directory = await opening
            raise
        return self._directory

    def _open_directory(self, settings: DirectorySettings, stopping: threading.Event) -> "ServedDirectory":
        from authz_sidecar.directory.memory.follower import on_loop
        from authz_sidecar.server.directory import ServedDirectory

        deliver = on_loop(self._loop)
        directory = ServedDirectory(settings, self.engine, deliver, stopping, first=self._worker == 0)
        directory.begin()
        return directory

    def _administer(self, directory: "ServedDirectory", url: str) -> "AdministrationServices":
        from authz_sidecar.transports.grpc.administration.guard import Guard
        from authz_sidecar.transports.grpc.administration.services import AdministrationServices

        settings = self._settings
        services = AdministrationServices(
            Guard(self.engine, directory.identities, directory.authenticator),
            directory.administration,
            directory.credentials,
            place=_place_of_policies(settings),
            store=url,
            status=self._policies,
            message_bytes=settings.limits.message_bytes,
        )
        directory.tell(services.bell.ring)
        return services

    def _witness(self, kind: str, request: Request, answer: Answer, call_id: str) -> bool:
        return self._directory is not None and self._directory.witness(kind, request, answer, call_id)

    def _retire(self, decider: Decider) -> None:
        """Nobody uses the policy any more: free it bit by bit, since freeing a large one at once is a long pause."""
        # The last call to hold it may have been explained in a thread.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin_to_take_apart, decider)

    def _begin_to_take_apart(self, decider: Decider) -> None:
        task = self._loop.create_task(_take_apart(decider))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _place_of_policies(settings: ServeSettings) -> "PolicyPlace | None":
    """Where the versions of the policies can be read; None where that is not known."""
    from authz_sidecar.directory.review.policy_review import PolicyPlace
    from authz_sidecar.sources.source import find_clone

    if settings.git is None:
        return PolicyPlace(str(Path(settings.policies).absolute()))
    clone = find_clone(settings.git)
    return None if clone is None else PolicyPlace(str(clone), settings.git.remote.folder)


def _all_of(observers: Sequence[Observer]) -> Observer | None:
    """One observer that is all of these; None for none."""
    if len(observers) < 2:
        return next(iter(observers), None)

    def observe(kind: str, request: Request, answer: Answer, policy: ServedPolicy, call_id: str) -> None:
        for observer in observers:
            observer(kind, request, answer, policy, call_id)

    return observe


async def _read(fd: int) -> Snapshot:
    """Read a snapshot, a millisecond's work at a time."""
    reading = read_built(fd)
    steps = 0
    while True:
        until = time.perf_counter() + SLICE_SECONDS
        while time.perf_counter() < until:
            try:
                next(reading)
            except StopIteration as end:
                snapshot: Snapshot = end.value
                return snapshot
            steps += 1
            # What calls leave behind meanwhile is found while it is young, and what was read ages past the search.
            if not steps % STEPS_TO_SEARCH:
                gc.collect(int(not steps % STEPS_TO_SEARCH_LONGER))
        await asyncio.sleep(0)


async def _take_apart(decider: Decider) -> None:
    """Free a policy, a little at a time."""
    snapshot = decider.snapshot
    for step, _ in enumerate(dismantle(snapshot, *decider.close()), 1):
        # What is freed hides what calls allocate from Python, which would then search for long at once.
        if not step % STEPS_FREED_TO_SEARCH:
            gc.collect(0)
        await asyncio.sleep(0)
