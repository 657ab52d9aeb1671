"""Decisions that the bundle has audited: every method puts each of them before the audit, or does not answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2, filter_pb2
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.memory.copy import Contents, DirectoryCopy
from authz_sidecar.engine import Answer, Engine, Identities
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.values import Request
from authz_sidecar.values.identity import Identity, IdentityKind, RoleSet
from authz_sidecar.values.limits import Limits
from tests.server.administered import snapshot_of
from tests.server.directory_scene import MANIFEST, ROLES
from tests.server.sidecar import check_of

AUDITED = "identities: {service_accounts: {audited: true}}\n"
IDENTITIES = {
    id: Identity(id, kind, "acme", roles=RoleSet({"acme": ("CLERK",)}))
    for id, kind in (("ann", IdentityKind.USER), ("robot", IdentityKind.SERVICE_ACCOUNT))
}
METHODS = ("check", "batch", "stream", "explain", "filter")


class Serving:
    """The service in this process, with a user and a service account that read folders, and what its witness saw: what
    was asked, for whom, and whether it was allowed. Where there is no `room`, the witness takes nothing."""

    def __init__(self, manifest: str) -> None:
        self.seen: list[tuple[str, str, bool]] = []
        self.observed: list[str] = []
        self.room = True
        self.engine = Engine(lambda _kind, request, *_: self.observed.append(request.subject), self._see)
        self.engine.load(snapshot_of(ROLES, manifest), "version")
        copy = DirectoryCopy()
        copy.replace(Contents("epoch", 7, dict(IDENTITIES)))
        identities = Identities(copy, Authenticator(copy), self.engine.counts)
        self.service = AuthorizationService(self.engine, Limits(), identities=identities)

    def _see(self, kind: str, request: Request, answer: Answer, call_id: str) -> bool:
        if self.room:
            self.seen.append((kind, request.subject, answer.decision.allowed))
        return self.room

    def ask(self, method: str, subjects: Sequence[str], action: str = "read", **more: Any) -> None:
        """Ask by one method about a folder of acme: each of these in a batch or a stream, else one after the other."""

        async def one(check: check_pb2.CheckRequest) -> AsyncIterator[check_pb2.CheckStreamRequest]:
            yield check_pb2.CheckStreamRequest(check=check)

        async def all_of_it() -> None:
            call: Any = SimpleNamespace(id="")
            checks = [check_of(subject=subject, action=action, **more) for subject in subjects]
            if method == "batch":
                await self.service.BatchCheck(check_pb2.BatchCheckRequest(checks=checks), call)
            for check in checks:
                if method == "check":
                    self.service.Check(check, call)
                elif method == "stream":
                    assert [raw async for raw in self.service.CheckStream(one(check), call)]
                elif method == "explain":
                    await self.service.Explain(explain_pb2.ExplainRequest(check=check), call)
                elif method == "filter":
                    asked = filter_pb2.FilterObjectsRequest(
                        subject=check.subject, action=action, object_type="folder", on_behalf_of=check.on_behalf_of
                    )
                    await self.service.FilterObjects(asked, call)

        asyncio.run(all_of_it())

    def close(self) -> None:
        """End its thread."""
        self.service.close()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_decided_for_service_accounts_is_witnessed(method: str) -> None:
    """Each decision for a service account comes before the witness, allowed or not, and once if it is for a user;
    nothing comes there for a user, for somebody unknown, or where the manifest says nothing."""
    kind = method if method in ("explain", "filter") else "check"
    serving = Serving(MANIFEST + AUDITED)
    serving.ask(method, ["ann", "robot", "nobody", "robot"])
    serving.ask(method, ["robot", "ann"], action="delete")
    assert serving.seen == [(kind, "robot", True), (kind, "robot", True), (kind, "robot", False)]
    # Another name of the same policy.
    serving.engine.rename("another")
    serving.ask(method, ["robot"], on_behalf_of="ann")
    serving.ask(method, ["robot"])
    assert serving.seen[3:] == [(kind, "ann", False), (kind, "robot", True)]
    serving.engine.load(snapshot_of(ROLES, MANIFEST), "without")
    serving.ask(method, ["robot", "ann", "nobody"])
    assert len(serving.seen) == 5
    assert len(serving.observed) == 11
    serving.close()


def test_users_may_be_audited_and_service_accounts_not() -> None:
    """Where the manifest says so of users alone, decisions for them come before the witness, and no others."""
    serving = Serving(MANIFEST + AUDITED.replace("service_accounts", "users"))
    serving.ask("batch", ["ann", "robot", "nobody"])
    assert serving.seen == [("check", "ann", True)]
    serving.close()


@pytest.mark.parametrize("method", METHODS)
def test_what_the_audit_has_no_room_for_is_refused(method: str) -> None:
    """While the audit has no room, any call for a service account ends with UNAVAILABLE and is not counted as a
    decision; users are answered."""
    serving = Serving(MANIFEST + AUDITED)
    serving.room = False
    for action in ("read", "delete"):
        with pytest.raises(CallError) as refused:
            serving.ask(method, ["robot"], action)
        assert (refused.value.code, refused.value.reason, refused.value.retry_after) == (
            grpc.StatusCode.UNAVAILABLE,
            ErrorReason.AUDIT_QUEUE_FULL,
            1.0,
        )
        assert "on behalf" not in refused.value.message
    assert serving.observed == []
    assert sum(serving.engine.counts.decisions) == 0
    serving.ask(method, ["ann"])
    assert serving.observed == ["ann"]
    serving.close()
