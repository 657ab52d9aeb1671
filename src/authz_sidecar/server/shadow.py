"""A candidate policy beside the one that answers: it decides the same requests, and what differs is counted and told.

INVARIANT: nothing here has a say in an answer. A request is put aside once its answer is made, and decided by the
candidate later, in portions between which calls go on. What finds no room to wait is not decided, and counted.

All of it is done on the event loop. A thread would take the processor from it for longer at a time than a portion does.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from authz_sidecar.decide.decider import Decider
from authz_sidecar.engine import Answer, ServedPolicy
from authz_sidecar.engine.asking import decide_as
from authz_sidecar.engine.counts import SHADOW_OUTCOMES
from authz_sidecar.server.log_mask import Mask
from authz_sidecar.server.rule_places import RulePlaces
from authz_sidecar.server.settings import ServeSettings
from authz_sidecar.values import Decision, Reason, Request

logger = logging.getLogger(__name__)

# Requests that wait, and among how many one with attributes, which may be large, finds room.
MAX_WAITING = 8192
MAX_WAITING_ATTRIBUTES = 1024
# They wait so long for company, and so many are decided before calls get their turn.
LINGER_SECONDS = 0.01
TURN = 64
# Differences of one kind are told once for each candidate, and of so many kinds.
MAX_TOLD = 100
_UNDECIDED = frozenset((Reason.INVALID_REQUEST, Reason.EVALUATION_ERROR))
SAME, NEWLY_ALLOWED, NEWLY_DENIED, ERROR = SHADOW_OUTCOMES
_WORDS = {NEWLY_ALLOWED: "allow what is denied", NEWLY_DENIED: "deny what is allowed", ERROR: "fail"}


class Shadow:
    """Decides by a candidate, once it has one. Make it inside the event loop.

    `outcomes` counts decisions by what became of them, `dropped` those that found no room. `sample` is the share that
    is decided, and `mask` hides of requests what the decision log hides, too.
    """

    def __init__(self, sample: float, mask: Mask, chance: Callable[[], float] = random.random) -> None:
        self.outcomes = dict.fromkeys(SHADOW_OUTCOMES, 0)
        self.dropped = 0
        self._sample = sample
        self._chance = chance
        self._mask = mask
        self._decider: Decider | None = None
        self._version = ""
        self._waiting: deque[tuple[Request, Answer, ServedPolicy, str]] = deque()
        self._awaited = False
        self._loop = asyncio.get_running_loop()
        self._places = RulePlaces()
        self._candidate_places = RulePlaces()
        self._told: set[tuple[object, ...]] = set()

    def take(self, decider: Decider | None, version: str) -> Decider | None:
        """Decide by this candidate from now on, or with None by none; gives the one before, which is used no more."""
        before, self._decider = self._decider, decider
        self._version = version
        self._told.clear()
        self._candidate_places = RulePlaces()
        if decider is None:
            self._waiting.clear()
        return before

    def rename(self, version: str) -> None:
        """The same candidate has another version."""
        self._version = version

    def observe(self, kind: str, request: Request, answer: Answer, policy: ServedPolicy, call_id: str) -> None:
        """Put a request and its answer aside; a filter is no decision."""
        if self._decider is None or kind == "filter" or (self._sample < 1.0 and self._chance() >= self._sample):
            return
        waiting = self._waiting
        number = len(waiting)
        if number >= MAX_WAITING_ATTRIBUTES and (
            number >= MAX_WAITING or request.context or request.object_attributes or request.subject_attributes
        ):
            self.dropped += 1
            return
        waiting.append((request, answer, policy, call_id))
        if not self._awaited:
            self._awaited = True
            self._loop.call_later(LINGER_SECONDS, self._decide_some)

    def _decide_some(self) -> None:
        """Decide a portion of what waits, and come again for the rest."""
        waiting, decider = self._waiting, self._decider
        if decider is not None:
            decide, outcomes = decider.decide, self.outcomes
            same = 0
            for _ in range(min(TURN, len(waiting))):
                request, answer, policy, call_id = waiting.popleft()
                theirs = answer.decision
                try:
                    asker = answer.asker
                    decision = decide(request) if asker is None else decide_as(asker, request, decider)
                # It is a candidate: that it fails is worth telling, and nothing else.
                except Exception as error:  # noqa: BLE001 - see above
                    outcomes[ERROR] += 1
                    self._tell(ERROR, request, answer, policy, call_id, Decision(False, Reason.EVALUATION_ERROR), error)
                    continue
                if decision.allowed is theirs.allowed:
                    if decision.reason in _UNDECIDED and decision.reason is not theirs.reason:
                        outcomes[ERROR] += 1
                        self._tell(ERROR, request, answer, policy, call_id, decision)
                    else:
                        same += 1
                    continue
                outcome = NEWLY_ALLOWED if decision.allowed else NEWLY_DENIED
                outcomes[outcome] += 1
                self._tell(outcome, request, answer, policy, call_id, decision)
            outcomes[SAME] += same
        if waiting:
            self._loop.call_soon(self._decide_some)
        else:
            self._awaited = False

    def _tell(
        self,
        outcome: str,
        request: Request,
        answer: Answer,
        policy: ServedPolicy,
        call_id: str,
        decision: Decision,
        error: Exception | None = None,
    ) -> None:
        """Log the first difference of its kind: of one action, type, pair of rules and pair of reasons."""
        theirs = answer.decision
        key = (outcome, request.action, request.type, theirs.rule, theirs.reason, decision.rule, decision.reason)
        if key in self._told or len(self._told) > MAX_TOLD:
            return
        self._told.add(key)
        if len(self._told) > MAX_TOLD:
            logger.warning("the shadow %s differs in many ways; further ones are only counted", self._version)
            return
        rule, role = self._places.of(request.section, theirs.rule, policy.decider)
        shadow_rule, shadow_role = self._candidate_places.of(request.section, decision.rule, self._decider)
        shown = self._mask.fields_of(request, call_id, "")
        thing = shown["object"]
        fields: dict[str, Any] = {
            "outcome": outcome,
            "subject": shown["subject"],
            "action": shown["action"],
            "type": thing.type,
            "id": thing.id,
            "company": thing.company,
            "owner": thing.owner,
            "reason": theirs.reason.label,
            "rule": rule,
            "role": self._mask.role(role, request.subject),
            "shadow_version": self._version,
            "shadow_reason": decision.reason.label,
            "shadow_rule": shadow_rule,
            "shadow_role": self._mask.role(shadow_role, request.subject),
            "decision_id": answer.decision_id,
            "request_id": shown["call_id"],
        }
        # What a decider says of a fault may repeat what is masked.
        problem = "" if error is None else f": {type(error).__name__}"
        logger.warning(
            "the shadow would %s%s",
            _WORDS[outcome],
            problem,
            extra={name: value for name, value in fields.items() if value},
        )


def open_shadow(settings: ServeSettings) -> Shadow | None:
    """What a candidate is to decide by; None where none was asked for."""
    if not settings.shadow.text:
        return None
    log = settings.decision_log
    return Shadow(settings.shadow.sample, Mask(log.mask, attributes=False, key=log.mask_key))
