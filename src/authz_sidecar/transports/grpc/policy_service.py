"""`authz.v1.PolicyService`: clients have the policies looked at, and ask which there are."""

import asyncio
from typing import TYPE_CHECKING

import grpc

from authz_sidecar._proto.authz.v1 import policy_service_pb2 as messages
from authz_sidecar._proto.authz.v1.policy_service_pb2 import RefreshOutcome, RefreshRequest, RefreshResponse
from authz_sidecar.engine.refresh import Refresher
from authz_sidecar.engine.refresh import RefreshOutcome as Outcome
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason, draining
from authz_sidecar.transports.grpc.methods import KnownUnaryCall

if TYPE_CHECKING:
    # Only where there is a directory.
    from authz_sidecar.transports.grpc.administration.policy_versions import PolicyAdministration

_OUTCOMES = {outcome: RefreshOutcome.Value(f"REFRESH_OUTCOME_{outcome.name}") for outcome in Outcome}


class PolicyService:
    """The service; `refresher` looks at the policies (None: clients may not have it look).

    With `administration` every method needs a credential and is decided by the policy; without it there is Refresh
    alone, for everybody.
    """

    def __init__(self, refresher: Refresher | None, administration: "PolicyAdministration | None" = None) -> None:
        self._refresher = refresher
        self._administration = administration
        self._draining = asyncio.Event()

    async def Refresh(self, message: RefreshRequest, call: KnownUnaryCall) -> RefreshResponse:
        """Look now, and answer once it is known what came of it; raises CallError when the server drains."""
        if self._administration is not None:
            self._administration.permit(call, "refresh")
        if self._refresher is None:
            raise CallError(
                grpc.StatusCode.UNIMPLEMENTED,
                "this server is set not to look at its policies when clients ask",
                ErrorReason.REFRESH_SWITCHED_OFF,
            )
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

    async def GetActivePolicy(
        self, message: messages.GetActivePolicyRequest, call: KnownUnaryCall
    ) -> messages.GetActivePolicyResponse:
        """Say which policy is served."""
        administration = self._permit(call, "read")
        return await administration.active()

    async def ListPolicyVersions(
        self, message: messages.ListPolicyVersionsRequest, call: KnownUnaryCall
    ) -> messages.ListPolicyVersionsResponse:
        """List the commits that changed the policies."""
        administration = self._permit(call, "read")
        return await administration.versions(message)

    async def DiffPolicyVersions(
        self, message: messages.DiffPolicyVersionsRequest, call: KnownUnaryCall
    ) -> messages.DiffPolicyVersionsResponse:
        """Say who gains and loses what between two versions."""
        administration = self._permit(call, "diff")
        return await administration.differences(message)

    def drain(self) -> None:
        """End the calls that wait."""
        self._draining.set()
        if self._administration is not None:
            self._administration.drain()

    def _permit(self, call: KnownUnaryCall, action: str) -> "PolicyAdministration":
        """What answers this caller; raises CallError."""
        if self._administration is None:
            raise CallError(
                grpc.StatusCode.UNIMPLEMENTED,
                "there is no directory of identities here, so that nobody can show who they are",
                ErrorReason.NO_DIRECTORY,
            )
        self._administration.permit(call, action)
        return self._administration
