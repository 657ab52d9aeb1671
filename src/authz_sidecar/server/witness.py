"""Decisions on their way to the audit: those on behalf of others, and those for a kind of identity that the bundle has
audited. They are written behind the answers, in order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from authz_sidecar.audit.queue import AuditQueue
from authz_sidecar.audit.record import SIDECAR, AuditAction
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.engine import Answer
from authz_sidecar.values import Request

# By whether it is asked for another, and whether it is allowed.
_ACTIONS: Final[Mapping[tuple[bool, bool], AuditAction]] = {
    (True, True): "impersonation.allowed",
    (True, False): "impersonation.denied",
    (False, True): "decision.allowed",
    (False, False): "decision.denied",
}


class WitnessedDecision(msgspec.Struct, frozen=True, gc=False):
    """A decision for `actor`, or for whom it acts on behalf of. `kind` is what was asked, as in the decision log."""

    time: float
    actor: Actor
    kind: str
    action: str
    company: str
    object_type: str
    object_id: str
    allowed: bool
    reason: str
    policy_version: str
    decision_id: str


class DecisionWitness:
    """Puts decisions into a queue, and what is queued into the audit of `store`. `calendar` gives seconds since
    1970-01-01 UTC."""

    def __init__(self, store: Store, calendar: Callable[[], float]) -> None:
        self._store = store
        self._calendar = calendar
        self.queue = AuditQueue(self._write, passes=_is_of_store)

    def see(self, kind: str, request: Request, answer: Answer, call_id: str) -> bool:
        """Take a decision; False where there is no room, and what was decided must not be told."""
        asker = answer.asker
        if asker is None:
            return False
        decision = answer.decision
        who, on_behalf_of = (asker.actor, asker.subject) if asker.actor else (asker.subject, "")
        return self.queue.put(
            WitnessedDecision(
                request.time,
                Actor(who, on_behalf_of, asker.credential, call=call_id),
                kind,
                request.action,
                request.company,
                request.type,
                request.id,
                decision.allowed,
                decision.reason.label,
                answer.policy_version,
                answer.decision_id,
            )
        )

    def _write(self, batch: Sequence[WitnessedDecision]) -> None:
        with self._store.change(Actor(SIDECAR), self._calendar()) as change:
            for one in batch:
                change.audit(
                    _ACTIONS[bool(one.actor.on_behalf_of), one.allowed],
                    company=one.company,
                    object_type=one.object_type,
                    object_id=one.object_id,
                    after={"asked": one.kind, "action": one.action, "reason": one.reason},
                    policy_version=one.policy_version,
                    decision_id=one.decision_id,
                    actor=one.actor,
                    time=one.time,
                )


def _is_of_store(error: Exception) -> bool:
    """Whether a record could not be written for what the store is, and not for what is in the record."""
    return isinstance(error, DirectoryError) and error.fault is not Fault.INVALID
