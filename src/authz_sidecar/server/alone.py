"""One process that answers by itself."""

import asyncio

from authz_sidecar.engine import Counts, PolicyStatus
from authz_sidecar.server.answering import Answering
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.transports.address import Address


class Alone:
    """This process as the only one that answers. Make it inside the event loop."""

    restarts = 0

    def __init__(self, settings: ServeSettings) -> None:
        self.status = PolicyStatus()
        self.accepting = False
        self._answering = Answering(settings, settings.grpc)

    @property
    def workers(self) -> int:
        """One, once it answers from a policy."""
        return int(bool(self.status.policy_version))

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError and TlsError."""
        return await self._answering.start()

    async def load(self, fd: int, policy_version: str) -> None:
        """Take the policy that was compiled into the file `fd`; raises TransferError."""
        await self._answering.load(fd, policy_version)

    async def rename(self, policy_version: str) -> None:
        """Serve the same policy under another version."""
        self._answering.rename(policy_version)

    async def counts(self) -> Counts:
        """What this process has counted."""
        return self._answering.counts()

    async def stop(self, stop_now: asyncio.Event) -> None:
        """Stop within the grace period, or as soon as `stop_now` is set."""
        await self._answering.stop(stop_now)
