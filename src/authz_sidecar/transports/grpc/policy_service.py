"""`authz.v1.PolicyService`: a client has the policies looked at."""

import asyncio

from authz_sidecar._proto.authz.v1.policy_service_pb2 import RefreshOutcome, RefreshRequest, RefreshResponse
from authz_sidecar.engine.refresh import Refresher
from authz_sidecar.engine.refresh import RefreshOutcome as Outcome
from authz_sidecar.transports.grpc.errors import draining
from authz_sidecar.transports.grpc.methods import Call

_OUTCOMES = {outcome: RefreshOutcome.Value(f"REFRESH_OUTCOME_{outcome.name}") for outcome in Outcome}


class PolicyService:
    """The service; `refresher` looks at the policies."""

    def __init__(self, refresher: Refresher) -> None:
        self._refresher = refresher
        self._draining = asyncio.Event()

    async def Refresh(self, message: RefreshRequest, call: Call) -> RefreshResponse:
        """Look now, and answer once it is known what came of it; raises CallError when the server drains."""
        refreshing = asyncio.ensure_future(self._refresher())
        stopping = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((refreshing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not refreshing.done():
                raise draining()
            refreshed = refreshing.result()
        finally:
            stopping.cancel()
            # Also where the caller has left: the look goes on, and nobody waits for it here.
            refreshing.cancel()
        return RefreshResponse(
            outcome=_OUTCOMES[refreshed.outcome],
            policy_version=refreshed.policy_version,
            found_version=refreshed.found_version,
            why=refreshed.why,
        )

    def drain(self) -> None:
        """End the calls that wait."""
        self._draining.set()
