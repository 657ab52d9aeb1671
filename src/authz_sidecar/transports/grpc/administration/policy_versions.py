"""What clients with a credential may ask about the policies: which is served, which there were, and what differs."""

import asyncio
import base64
import binascii
import subprocess
import sys

import grpc
import msgspec
from google.protobuf import timestamp_pb2

from authz_sidecar._proto.authz.v1 import policy_service_pb2 as messages
from authz_sidecar.directory.review.policy_review import (
    MODULE,
    Answer,
    Difference,
    DiffOrder,
    Order,
    PolicyPlace,
    Refused,
    Version,
    Versions,
    VersionsOrder,
)
from authz_sidecar.engine import PolicyStatus
from authz_sidecar.engine.status import StatusReader
from authz_sidecar.transports.grpc.administration.conversion import MAX_MESSAGE, Checked
from authz_sidecar.transports.grpc.administration.guard import Caller, Guard, KnownCall, Thing
from authz_sidecar.transports.grpc.conversion import timestamp
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason, answer_too_large, draining, invalid_request
from authz_sidecar.values import Violation
from authz_sidecar.values.lineage import is_commit
from authz_sidecar.values.visible import visible

POLICY = "sidecar.policy"
DEFAULT_PAGE, MAX_PAGE = 50, 500
MAX_REVISION = 256
# A comparison takes that long at most, whatever the deadline of the call.
REVIEW_SECONDS = 60.0


class PolicyAdministration:
    """Answers for `PolicyService` where there is a directory.

    `place` is where the policies are (None: their versions cannot be told here), `store` the URL of the directory, and
    `report_bytes` the most that a report may have.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        place: PolicyPlace | None,
        store: str,
        report_bytes: int,
        status: StatusReader,
    ) -> None:
        self._guard = guard
        self._engine = guard.engine
        self._place = place
        self._store = store
        self._report_bytes = report_bytes
        self._status = status
        # A comparison may need all of a processor: one at a time.
        self._reviewing = asyncio.Lock()
        self._draining = asyncio.Event()

    def permit(self, call: KnownCall, action: str) -> Caller:
        """Whoever calls, if they may do this; raises CallError."""
        caller = self._guard.caller(call)
        caller.require(action, Thing(POLICY))
        return caller

    async def active(self) -> messages.GetActivePolicyResponse:
        """Which policy is served: by the sidecar as a whole, as `/readyz` has it."""
        status = await self._status()
        policy = self._engine.snapshot_state
        # For a moment of a reload this process serves another one than all of them, whose content it does not have.
        decider = policy.decider if policy.policy_version == status.policy_version else None
        snapshot = None if decider is None else decider.snapshot
        return messages.GetActivePolicyResponse(
            policy_version=status.policy_version,
            load_time=timestamp(status.loaded_at) if status.loaded_at else None,
            bundle="" if snapshot is None else snapshot.name,
            rules=0 if snapshot is None else sum(len(table) for table in snapshot.tables.values()),
            refused_version="" if status.refused is None else status.refused.policy_version,
            refused_why="" if status.refused is None else visible(status.refused.why)[:MAX_MESSAGE],
            directory_revision=self._guard.identities.directory.revision,
        )

    async def versions(self, message: messages.ListPolicyVersionsRequest) -> messages.ListPolicyVersionsResponse:
        """A page of versions."""
        checked = Checked()
        if not 0 <= message.page_size <= MAX_PAGE:
            checked.refuse("page_size", f"page_size is not between 0 and {MAX_PAGE}")
        after = _read_token(message.page_token)
        if after is None:
            checked.refuse("page_token", "page_token is none that was given here")
        checked.done()
        served = self._engine.snapshot_state.policy_version
        if not served:
            return messages.ListPolicyVersionsResponse()
        known = self._place is not None and is_commit(served.partition("+")[0])
        # What is not committed is a version too; and where no history is known there is the one that is served.
        first = (
            [_served_version(served, await self._status())] if not after and not (known and is_commit(served)) else []
        )
        if not known or self._place is None:
            return messages.ListPolicyVersionsResponse(versions=first)
        status = await self._status()
        refused = "" if status.refused is None else status.refused.policy_version
        tips = tuple(tip for tip in (refused, served) if is_commit(tip))
        limit = (message.page_size or DEFAULT_PAGE) - len(first)
        found = await self._review(VersionsOrder(self._place, served, tips, after or "", limit))
        if not isinstance(found, Versions):
            raise TypeError("a list of versions was asked for")
        return messages.ListPolicyVersionsResponse(
            versions=[*first, *map(_version_message, found.versions)],
            next_page_token=_write_token(found.after),
        )

    async def differences(self, message: messages.DiffPolicyVersionsRequest) -> messages.DiffPolicyVersionsResponse:
        """What differs between two versions."""
        checked = Checked()
        checked.needed("base", message.base)
        checked.bounded("base", message.base, MAX_REVISION)
        checked.bounded("head", message.head, MAX_REVISION)
        checked.done()
        served = self._engine.snapshot_state.policy_version
        if self._place is None or not served:
            raise CallError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the versions of the policies are not known here",
                ErrorReason.NO_VERSIONS,
            )
        if not is_commit(served.partition("+")[0]):
            raise CallError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the policies are not in git; there is one version of them, the one that is served",
                ErrorReason.NO_VERSIONS,
            )
        order = DiffOrder(self._place, served, message.base, message.head, self._store, self._report_bytes)
        found = await self._review(order)
        if not isinstance(found, Difference):
            raise TypeError("a comparison was asked for")
        if found.json is None:
            raise answer_too_large(self._report_bytes)
        return messages.DiffPolicyVersionsResponse(
            base_version=found.base,
            head_version=found.head,
            access_changes=found.changed,
            report_json=found.json,
            report_text=found.text,
        )

    def drain(self) -> None:
        """End what goes on."""
        self._draining.set()

    async def _review(self, order: Order) -> Answer:
        """Have a process answer, which ends with the call; raises CallError."""
        async with self._reviewing:
            answer = await self._run(msgspec.json.encode(order))
        found: Answer = msgspec.json.decode(answer, type=Answer)
        if isinstance(found, Refused):
            text = visible(f"{found.message}; {found.help}" if found.help else found.message)[:MAX_MESSAGE]
            if found.field:
                raise invalid_request([Violation(found.field, text)])
            raise CallError(grpc.StatusCode.FAILED_PRECONDITION, text, ErrorReason.NO_VERSIONS)
        return found

    async def _run(self, order: bytes) -> bytes:
        process = _reviewer()
        answering = asyncio.ensure_future(asyncio.to_thread(process.communicate, order))
        stopping = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((answering, stopping), timeout=REVIEW_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answer, said = answering.result()
            elif self._draining.is_set():
                raise draining()
            else:
                raise CallError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the comparison takes longer than {REVIEW_SECONDS:.0f} s",
                    ErrorReason.REVIEW_TOO_LONG,
                )
        finally:
            stopping.cancel()
            if not answering.done():
                # Killed, it ends at once; nobody waits for it any more where the caller has left.
                process.kill()
                answering.add_done_callback(lambda done: done.cancelled() or done.exception())
        if process.returncode:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"the reviewing process ended with {process.returncode}: {last}")
        return answer


def _reviewer() -> "subprocess.Popen[bytes]":
    # Not by the event loop, which forks: what gRPC has running can end the copy before it is another program.
    return subprocess.Popen(  # noqa: S603 - our own module
        # -P: see `sources.build`.
        (sys.executable, "-P", "-m", MODULE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A key that interrupts the terminal's group is the server's to handle.
        process_group=0,
    )


def _served_version(served: str, status: PolicyStatus) -> messages.PolicyVersion:
    known = status.policy_version == served and status.loaded_at
    return messages.PolicyVersion(
        policy_version=served, time=timestamp(status.loaded_at) if known else None, active=True
    )


def _version_message(version: Version) -> messages.PolicyVersion:
    return messages.PolicyVersion(
        policy_version=version.policy_version,
        time=timestamp_pb2.Timestamp(seconds=version.time),
        author=version.author,
        subject=version.subject,
        justification=version.justification,
        active=version.active,
    )


def _write_token(after: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(after)).decode() if after else ""


def _read_token(token: str) -> str | None:
    """The commit that a page token names, "" for an empty token; None for what is no token."""
    if not token:
        return ""
    try:
        commit = base64.b64decode(token, altchars=b"-_", validate=True).hex()
    except (binascii.Error, ValueError):
        return None
    return commit if is_commit(commit) else None
