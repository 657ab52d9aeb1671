"""The engine: the current policy, and answers from it."""

import gc
import itertools
import secrets

import msgspec

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Decision, Explanation, Reason, Request

# There is no directory of identities yet; its revisions count from 1.
NO_DIRECTORY = 0


class ServedPolicy(msgspec.Struct, frozen=True, gc=False):
    """A policy that answers: the decider (None: no policy has been loaded) and the version that its answers name."""

    decider: Decider | None
    policy_version: str


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A decision and what it came from. `decision_id` is unique to it, over all processes and restarts."""

    decision: Decision
    policy_version: str
    directory_revision: int
    decision_id: str


_NO_POLICY = Decision(False, Reason.NO_POLICY)


class Engine:
    """Answers requests from the policy that is current.

    `load` may be called from any thread: an answer comes wholly from the policy before it or wholly from the one
    after. Nothing here catches an error of a decider: whoever asked must refuse, never allow.
    """

    def __init__(self) -> None:
        self._policy = ServedPolicy(None, "")
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    @property
    def snapshot_state(self) -> ServedPolicy:
        """The policy that is current. Whoever asks several questions at once asks them all of one."""
        return self._policy

    def load(self, snapshot: Snapshot, policy_version: str) -> None:
        """Make `snapshot` current, in one assignment once everything it needs is built."""
        policy = ServedPolicy(Decider(snapshot), policy_version)
        # INVARIANT: the only write to `_policy` after construction, so that no request sees half a policy.
        self._policy = policy
        # The snapshot lives as long as it is current: out of the collector's sight it costs no pauses. The
        # replaced one must come back into sight first, or it would never be collected.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def check(self, request: Request, policy: ServedPolicy | None = None) -> Answer:
        """Decide one request on `policy`, by default the current one. Without a decider the answer is a deny."""
        if policy is None:
            policy = self._policy
        decider = policy.decider
        return self._answer(_NO_POLICY if decider is None else decider.decide(request), policy)

    def explain(self, request: Request, policy: ServedPolicy | None = None) -> tuple[Answer, Explanation]:
        """Decide one request and say why."""
        if policy is None:
            policy = self._policy
        decider = policy.decider
        explanation = Explanation(_NO_POLICY) if decider is None else decider.explain(request)
        return self._answer(explanation.decision, policy), explanation

    def refuse(self, detail: str, policy: ServedPolicy | None = None) -> Answer:
        """The answer to something that is no valid request: a deny that is named like any other."""
        decision = Decision(False, Reason.INVALID_REQUEST, detail=detail)
        return self._answer(decision, self._policy if policy is None else policy)

    def _answer(self, decision: Decision, policy: ServedPolicy) -> Answer:
        return Answer(decision, policy.policy_version, NO_DIRECTORY, f"{self._prefix}{next(self._numbers):x}")
