"""From settings to a sidecar that serves, and to the end of its drain: one process or several alike."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.engine.refresh import Refresher
from authz_sidecar.server.early import EarlyBuild
from authz_sidecar.server.feed import ORPHANS_HELP, PolicyFeed, PolicyTaker
from authz_sidecar.server.lifetime import Lifetime
from authz_sidecar.server.settings import RefusedBundleError, ServeSettings, StartError
from authz_sidecar.server.shadow_feed import ShadowFollower
from authz_sidecar.sources.build import BuildError
from authz_sidecar.sources.cache import CacheError
from authz_sidecar.sources.credentials import Credentials, take_credentials
from authz_sidecar.sources.source import DirectorySource, GitSource, PolicySource
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.certificates import CertificateWatch, log_warnings
from authz_sidecar.transports.http.app import SidecarView, build_app
from authz_sidecar.transports.http.server import HttpServer

logger = logging.getLogger(__name__)


class Answerers(PolicyTaker, SidecarView, Protocol):
    """Whoever answers checks: this process (`alone`), or a pool of workers (`supervisor`)."""

    accepting: bool
    refresher: Refresher

    async def load_shadow(self, fd: int, policy_version: str) -> None:
        """Take the candidate that was compiled into the file `fd`; raises TransferError."""

    async def rename_shadow(self, policy_version: str) -> None:
        """The same candidate has another version."""

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError, TlsError and StartError."""

    async def stop(self, stop_now: asyncio.Event) -> None:
        """Stop within the grace period, or as soon as `stop_now` is set."""


async def serve(settings: ServeSettings, early: EarlyBuild | None, say: Callable[[str], None]) -> None:
    """Serve until a signal says stop, at first the policy that is being built; `say` gets the ready line.

    Raises AddressError, TlsError, StartError, and RefusedBundleError if the bundle does not load.
    """
    lifetime = Lifetime()
    watch = _watch_certificates(settings)
    # They leave the environment before any process starts.
    credentials = take_credentials(os.environ)
    source = _source(settings, credentials)
    answerers = _answerers(settings)
    answerers.status.max_staleness = settings.max_staleness
    feed = PolicyFeed(source, answerers, answerers.status, orphans=_orphans(settings))
    answerers.refresher = feed.refresh
    shadow = ShadowFollower(settings, credentials, answerers)

    def ask() -> None:
        feed.ask()
        shadow.ask()

    # As administrators expect, SIGHUP reads the policies anew.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ask)
    http = HttpServer(build_app(answerers, watch), settings.http, settings.grace, settings.access)
    http_address = await http.start()
    try:
        try:
            # To read a large directory takes a while.
            grpc_address = await lifetime.unless_stopped(answerers.start())
            if grpc_address is not None and await _first_policy(feed, early, settings, lifetime):
                answerers.accepting = True
                version = answerers.status.policy_version or "none"
                say(f"ready grpc={grpc_address} http={http_address} policy_version={version}")
                shadow.start()
                await _follow(feed, lifetime)
        finally:
            answerers.accepting = False
            await shadow.stop()
            await answerers.stop(lifetime.stop_now)
    finally:
        source.close()
        # Last, so that `/readyz` says what is going on while calls finish.
        await http.stop()


def _watch_certificates(settings: ServeSettings) -> CertificateWatch | None:
    """What metrics tell of the certificate; raises TlsError. It warns here, once for all workers, and is quiet then:
    whoever shows the certificate says when it changes."""
    if settings.tls is None:
        return None
    watch = CertificateWatch(settings.tls, quiet=True)
    log_warnings(watch.current)
    return watch


def _source(settings: ServeSettings, credentials: Credentials | None) -> PolicySource:
    """Where the policies come from; raises StartError."""
    if settings.git is None:
        return DirectorySource(Path(settings.policies), settings.watch_interval)
    try:
        return GitSource(settings.git, credentials)
    except CacheError as error:
        raise StartError(error.message, error.help) from error


def _orphans(settings: ServeSettings) -> Callable[[Mapping[str, str]], str] | None:
    """What tells which roles in use a bundle drops; None where it may drop them."""
    directory = settings.directory
    if directory is None or directory.allow_orphans:
        return None
    # A directory brings its databases with it.
    from authz_sidecar.directory.review.orphans import OrphanCheck

    return OrphanCheck(directory.url)


def _answerers(settings: ServeSettings) -> Answerers:
    # A supervisor has no use for gRPC, which takes time and memory.
    if settings.workers > 1:
        from authz_sidecar.server.supervisor import WorkerPool

        return WorkerPool(settings)
    from authz_sidecar.server.alone import Alone

    return Alone(settings)


async def _first_policy(
    feed: PolicyFeed, early: EarlyBuild | None, settings: ServeSettings, lifetime: Lifetime
) -> bool:
    """Load the first policy; False if a signal came first. Where there is none, raises StartError or
    RefusedBundleError, or goes on without if that is what was asked."""
    try:
        report = await lifetime.unless_stopped(feed.first(early))
    except (BuildError, TransferError, StartError) as error:
        if not settings.wait_for_policies:
            raise error if isinstance(error, StartError) else StartError(str(error)) from error
        logger.error("%s; waiting for policies", error)
        return True
    if report is None:
        return False
    if not report.built:
        if not settings.wait_for_policies:
            if report.orphans:
                raise StartError(f"the policies {report.policy_version} are refused: {report.orphans}", ORPHANS_HELP)
            raise RefusedBundleError(report)
        feed.log_refusal(report)
    return True


async def _follow(feed: PolicyFeed, lifetime: Lifetime) -> None:
    """Follow the policies until a signal says stop."""
    following = asyncio.ensure_future(feed.run())
    try:
        await lifetime.until_stop(following)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
