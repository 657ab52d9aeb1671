"""From the candidate's source to whoever answers beside the policy, for as long as the server runs.

INVARIANT: nothing that happens here keeps the server from starting, answering, reloading or stopping. What goes wrong
is told, counted and tried again.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from authz_sidecar.engine import PolicyStatus
from authz_sidecar.server.feed import PolicyFeed
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.sources.cache import CacheError
from authz_sidecar.sources.credentials import Credentials
from authz_sidecar.sources.source import GitSource, PolicySource

logger = logging.getLogger(__name__)


class ShadowTaker(Protocol):
    """Whoever answers checks, and has a candidate beside."""

    @property
    def shadow(self) -> PolicyStatus:
        """Which candidate there is, and which was refused."""

    async def load_shadow(self, fd: int, policy_version: str) -> None:
        """Take the candidate that was compiled into the file `fd`; raises TransferError."""

    async def rename_shadow(self, policy_version: str) -> None:
        """The same candidate has another version."""


class ShadowFollower:
    """Keeps `taker` on the candidate that `settings` name, if they name one. Make it inside the event loop."""

    def __init__(self, settings: ServeSettings, credentials: Credentials | None, taker: ShadowTaker) -> None:
        self._source = _source(settings, credentials) if settings.shadow.text else None
        self._feed = None if self._source is None else PolicyFeed(self._source, _Beside(taker), taker.shadow)
        self._following: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Look now."""
        if self._feed is not None:
            self._feed.ask()

    def start(self) -> None:
        """Follow it from now on, at first what is there."""
        if self._feed is not None:
            self._feed.ask()
            self._following = asyncio.create_task(self._follow(self._feed))

    async def stop(self) -> None:
        """Follow it no more."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._source is not None:
            await asyncio.to_thread(self._source.close)

    @staticmethod
    async def _follow(feed: PolicyFeed) -> None:
        try:
            await feed.run()
        # It goes on by itself after what can be expected.
        except Exception:
            logger.exception("the shadow is not followed any more")


class _Beside:
    """Takes candidates as the feed hands policies over; what commits they contain interests nobody."""

    def __init__(self, taker: ShadowTaker) -> None:
        self._taker = taker

    async def load(self, fd: int, lineage_fd: int, policy_version: str) -> None:
        """Take the candidate in the file `fd`; raises TransferError."""
        await self._taker.load_shadow(fd, policy_version)

    async def rename(self, lineage_fd: int, policy_version: str) -> None:
        """The same candidate has another version."""
        await self._taker.rename_shadow(policy_version)


def _source(settings: ServeSettings, credentials: Credentials | None) -> PolicySource | None:
    """Where the candidate comes from; None, told, where that cannot be."""
    # Few servers have a candidate.
    from authz_sidecar.sources.candidate import CandidateSource

    shadow = settings.shadow
    if shadow.git is None:
        return CandidateSource(shadow.text, Path(settings.policies), settings.watch_interval)
    try:
        return GitSource(shadow.git, credentials)
    except CacheError as error:
        logger.error("there is no shadow: %s; %s", error.message, error.help)
        return None
