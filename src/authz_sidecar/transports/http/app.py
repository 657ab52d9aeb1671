"""`/healthz` and `/readyz`.

`/healthz` says that the process answers; `/readyz` that checks are answered from a policy, and which.
"""

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from authz_sidecar.engine import Engine

UNAVAILABLE = 503
NO_STORE = {"cache-control": "no-store"}


class Readiness(msgspec.Struct):
    """Whether this process wants calls. It turns true once both ports listen, and false for good when it drains."""

    accepting: bool = False


def build_app(engine: Engine, readiness: Readiness) -> Starlette:
    """The application of the HTTP port."""

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def readyz(_request: Request) -> JSONResponse:
        policy = engine.snapshot_state
        if policy.decider is None:
            why = "no policy is loaded"
        elif not readiness.accepting:
            why = "the server is starting or stopping"
        else:
            return JSONResponse({"status": "ready", "policy_version": policy.policy_version}, headers=NO_STORE)
        return JSONResponse({"status": "not ready", "why": why}, UNAVAILABLE, headers=NO_STORE)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
