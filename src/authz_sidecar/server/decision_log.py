"""The decision log: each decision of this process as a line, masked as the operator wants it, and queued.

A line is made at once, of bytes: what is masked never waits anywhere, and nothing that a decision refers to is kept.
The rest is for the writer's thread. It costs a check some microseconds (docs/benchmarks.md).
"""

import logging
import math
import random
from collections.abc import Callable

import msgspec

from authz_sidecar.engine import Answer, ServedPolicy
from authz_sidecar.server.log_mask import Mask, without_secrets
from authz_sidecar.server.log_sink import open_sink
from authz_sidecar.server.log_writer import LogWriter
from authz_sidecar.server.rule_places import RulePlaces
from authz_sidecar.server.settings import DecisionLogSettings
from authz_sidecar.values import Reason, Request
from authz_sidecar.values.instant import time_text
from authz_sidecar.values.logged_decision import WHOLE, LoggedDecision, LoggedObject, Masked

logger = logging.getLogger(__name__)

LABELS = {reason: reason.label for reason in Reason}

_encode = msgspec.json.Encoder().encode


class DecisionLog:
    """Writes decisions; `written` and `dropped` count them. `worker` is the number of this process among its like."""

    def __init__(
        self, settings: DecisionLogSettings, worker: int = 0, chance: Callable[[], float] = random.random
    ) -> None:
        self._writer = LogWriter(open_sink(settings.path, worker, settings.rotation))
        self._sample = settings.sample
        self._chance = chance
        self._mask = Mask(settings.mask, settings.attributes, settings.mask_key)
        # Masking anything that nearly every request has takes the longer way.
        self._plain = not self._mask.hides
        self._places = RulePlaces()
        self._times = Timestamps()
        # Dropped since the last line: the next one tells.
        self._untold = 0
        self._failed = False

    @property
    def written(self) -> int:
        """How many lines have been written."""
        return self._writer.written

    @property
    def dropped(self) -> int:
        """How many lines could not be."""
        return self._writer.dropped

    def record(self, kind: str, request: Request, answer: Answer, policy: ServedPolicy, call_id: str) -> None:
        """Log a decision. It raises nothing: an answer is not lost to its log."""
        decision = answer.decision
        sample = WHOLE
        # What is denied is always logged.
        if decision.allowed and self._sample < 1.0:
            if self._chance() >= self._sample:
                return
            sample = self._sample
        writer = self._writer
        if writer.full:
            writer.dropped += 1
            self._untold += 1
            return
        asker = answer.asker
        actor, credential = ("", "") if asker is None else (asker.actor, asker.credential)
        try:
            rule, role = self._places.of(request.section, decision.rule, policy.decider)
            if self._plain and not (request.context or request.object_attributes or request.subject_attributes):
                line = LoggedDecision(
                    time=self._times.text(request.time),
                    decision_id=answer.decision_id,
                    subject=request.subject,
                    action=request.action,
                    object=LoggedObject(request.type, request.id, request.company, request.owner),
                    allowed=decision.allowed,
                    reason=LABELS[decision.reason],
                    kind=kind,  # type: ignore[arg-type]  # one of the kinds of the engine
                    policy_version=answer.policy_version,
                    directory_revision=answer.directory_revision,
                    rule=rule,
                    role=role,
                    source=decision.source,
                    actor=actor,
                    credential=credential,
                    call_id=call_id,
                    section=request.section,
                    sample=sample,
                    dropped=self._untold,
                )
            else:
                fields = self._mask.fields_of(request, call_id, role)
                line = LoggedDecision(
                    time=self._times.text(request.time),
                    decision_id=answer.decision_id,
                    allowed=decision.allowed,
                    reason=LABELS[decision.reason],
                    kind=kind,  # type: ignore[arg-type]  # as above
                    policy_version=answer.policy_version,
                    directory_revision=answer.directory_revision,
                    rule=rule,
                    source=decision.source,
                    # They name the subject, or whoever acts for it.
                    actor=self._mask.text(Masked.SUBJECT, actor),
                    credential=self._mask.text(Masked.SUBJECT, credential),
                    section=request.section,
                    sample=sample,
                    dropped=self._untold,
                    **fields,
                )
            writer.put(without_secrets(_encode(line)) + b"\n")
            self._untold = 0
        except Exception:
            writer.dropped += 1
            self._untold += 1
            if not self._failed:
                self._failed = True
                logger.exception("a decision could not be logged; further ones that cannot are only counted")

    def close(self) -> None:
        """Write what waits, for a moment at most, and end."""
        self._writer.close()


class Timestamps:
    """Seconds since 1970-01-01 UTC as RFC 3339 with microseconds; the part that lasts a second is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, seconds: float) -> str:
        """The time as text."""
        # Never up: a condition on time that holds until a moment does not hold at it.
        micros = math.floor(seconds * 1e6)
        second, rest = divmod(micros, 1_000_000)
        if second != self._second:
            self._text = time_text(second).removesuffix("Z")
            self._second = second
        return f"{self._text}.{rest:06}Z"


def open_log(settings: DecisionLogSettings, worker: int) -> DecisionLog | None:
    """The decision log that was asked for; None if none was."""
    return DecisionLog(settings, worker) if settings.path else None
