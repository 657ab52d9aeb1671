"""`/healthz`, `/readyz` and `/metrics`.

`/healthz` says that the process answers; `/readyz` that checks are answered from a policy, which, and what was refused
since; `/metrics` has the counts in the form of Prometheus.
"""

import time
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz_sidecar.engine import Counts, DirectoryStatus, PolicyStatus
from authz_sidecar.transports.certificates import CertificateWatch
from authz_sidecar.values.instant import time_text

UNAVAILABLE = 503
# Prometheus' text form.
METRICS_TYPE = "text/plain; version=0.0.4"
NO_STORE = {"cache-control": "no-store"}


class SidecarView(Protocol):
    """What the HTTP port shows of a sidecar."""

    @property
    def status(self) -> PolicyStatus:
        """What is served, and what was refused."""

    @property
    def shadow(self) -> PolicyStatus:
        """The same of the candidate beside it."""

    @property
    def accepting(self) -> bool:
        """Whether it wants calls: true once both ports listen, and false for good when it drains."""

    @property
    def workers(self) -> int:
        """How many processes answer checks now."""

    @property
    def restarts(self) -> int:
        """How many of them have died and been replaced."""

    async def counts(self) -> Counts:
        """What all processes have counted."""

    async def directory(self) -> DirectoryStatus | None:
        """How the directory of identities stands; None without one, or while nobody knows."""


def build_app(view: SidecarView, certificates: CertificateWatch | None = None) -> Starlette:
    """The application of the HTTP port; `certificates` are those of the gRPC port, if it speaks TLS."""

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def readyz(_request: Request) -> JSONResponse:
        directory = await view.directory()
        status = view.status
        now = time.time()
        stale = directory is not None and directory.is_stale
        if view.accepting and status.policy_version and view.workers and not status.is_stale(now) and not stale:
            body: dict[str, Any] = {"status": "ready", "policy_version": status.policy_version}
            code = 200
        else:
            body, code = {"status": "not ready", "why": _why_not(view, directory, now)}, UNAVAILABLE
        if directory is not None:
            body["directory"] = _told(directory)
        if status.refused is not None:
            body["refused"] = {
                "policy_version": status.refused.policy_version,
                "why": status.refused.why,
                "since": time_text(status.refused.since),
            }
            body["detail"] = status.sentence
        if status.unseen:
            body["unseen"] = {"why": status.unseen, "staleness_seconds": round(status.staleness(now), 1)}
        if status.waiting:
            body["waiting"] = status.waiting
        return JSONResponse(body, code, headers=NO_STORE)

    async def metrics(_request: Request) -> Response:
        # Loaded by the first scrape: a sidecar that nobody scrapes need not have it in memory.
        from authz_sidecar.transports.http.metrics import metrics_text

        expires = None
        if certificates is not None:
            certificates.look()
            expires = certificates.current.ends
        directory = await view.directory() or DirectoryStatus()
        text = metrics_text(
            await view.counts(), view.status, view.shadow, view.workers, view.restarts, expires, directory=directory
        )
        return Response(text, media_type=METRICS_TYPE, headers=NO_STORE)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _told(directory: DirectoryStatus) -> dict[str, Any]:
    told: dict[str, Any] = {"revision": directory.revision, "staleness_seconds": round(directory.staleness, 1)}
    if directory.problem:
        told["unseen"] = directory.problem
    return told


def _why_not(view: SidecarView, directory: DirectoryStatus | None, now: float) -> str:
    if not view.status.policy_version:
        return "no policy is loaded"
    if view.accepting and view.status.is_stale(now):
        return f"the policies have not been seen for {view.status.staleness(now):.0f} s"
    if view.accepting and view.workers and directory is not None and directory.is_stale:
        return f"the directory has not been seen for {directory.staleness:.0f} s"
    return "the server is starting or stopping" if not view.accepting else "no worker answers"
