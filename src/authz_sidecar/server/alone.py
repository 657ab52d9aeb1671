"""One process that answers by itself."""

import asyncio

from authz_sidecar.engine import Counts, DirectoryStatus, PolicyStatus
from authz_sidecar.engine.refresh import Refreshed, Refresher, nobody_refreshes
from authz_sidecar.engine.status import shadow_status
from authz_sidecar.server.answering import Answering
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.transports.address import Address


class Alone:
    """This process as the only one that answers. Make it inside the event loop."""

    restarts = 0

    def __init__(self, settings: ServeSettings) -> None:
        self.status = PolicyStatus()
        self.shadow = shadow_status()
        self.accepting = False
        self.refresher: Refresher = nobody_refreshes
        self._answering = Answering(settings, settings.grpc, self._refresh, self._status)

    @property
    def workers(self) -> int:
        """One, once it answers from a policy."""
        return int(bool(self.status.policy_version))

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError, TlsError and StartError."""
        return await self._answering.start()

    async def load(self, fd: int, lineage_fd: int, policy_version: str) -> None:
        """Take the policy that was compiled into the file `fd`, and what it contains from `lineage_fd`; raises
        TransferError."""
        await self._answering.load(fd, lineage_fd, policy_version)

    async def rename(self, lineage_fd: int, policy_version: str) -> None:
        """Serve the same policy under another version."""
        self._answering.rename(lineage_fd, policy_version)

    async def load_shadow(self, fd: int, policy_version: str) -> None:
        """Take the candidate that was compiled into the file `fd`; raises TransferError."""
        await self._answering.load_shadow(fd, policy_version)

    async def rename_shadow(self, policy_version: str) -> None:
        """The same candidate has another version."""
        self._answering.rename_shadow(policy_version)

    async def _refresh(self) -> Refreshed:
        # Who does it is known only later.
        return await self.refresher()

    async def _status(self) -> PolicyStatus:
        return self.status

    async def counts(self) -> Counts:
        """What this process has counted."""
        return self._answering.counts()

    async def directory(self) -> DirectoryStatus | None:
        """How the directory stands."""
        return self._answering.directory()

    async def stop(self, stop_now: asyncio.Event) -> None:
        """Stop within the grace period, or as soon as `stop_now` is set."""
        await self._answering.stop(stop_now)
