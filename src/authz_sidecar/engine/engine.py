"""The engine: the current policy, and answers from it."""

import itertools
import secrets
from collections.abc import Callable

import msgspec

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.decider import Decider
from authz_sidecar.engine.asking import Asker, Audited, decide_as, explain_as, filter_as
from authz_sidecar.engine.counts import Counts
from authz_sidecar.values import Decision, Explanation, Reason, Request
from authz_sidecar.values.filter import FilterKind, FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.lineage import Lineage

# Without a directory of identities; its revisions count from 1.
NO_DIRECTORY = 0


class Lease:
    """Lives as long as anybody holds a policy with this decider: its end may be watched with `weakref.finalize`."""

    __slots__ = ("__weakref__",)


class ServedPolicy(msgspec.Struct, frozen=True, gc=False):
    """A policy that answers: the decider (None: no policy has been loaded), the version that its answers name, the
    commits that it contains, and the kinds of identity whose decisions it wants audited."""

    decider: Decider | None
    policy_version: str
    lease: Lease
    lineage: Lineage = Lineage()
    audited: tuple[IdentityKind, ...] = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A decision and what it came from. `decision_id` is unique to it, over all processes and restarts; `asker` is for
    whom it was decided (None without a directory)."""

    decision: Decision
    policy_version: str
    directory_revision: int
    decision_id: str
    asker: Asker | None = None


class FilterAnswer(msgspec.Struct, frozen=True):
    """A filter and what it came from, as in Answer."""

    filter: ObjectFilter
    policy_version: str
    directory_revision: int
    decision_id: str
    asker: Asker | None = None


# Called with what was asked (`check`, `explain` or `filter`), the request and its answer, the policy, and the caller's
# id of the call ("" for none). It raises nothing and returns at once.
Observer = Callable[[str, Request, Answer, ServedPolicy, str], None]
# Called with a request whose decision belongs in the audit, before its answer is given: whether it is there. It raises
# nothing and returns at once.
Witness = Callable[[str, Request, Answer, str], bool]

_NO_POLICY = Decision(False, Reason.NO_POLICY)


class UnwitnessedError(Exception):
    """A decision that belongs in the audit cannot be audited now, and so is not told."""


class Engine:
    """Answers requests from the policy that is current, and counts the answers.

    An answer comes wholly from the policy before a `load` or wholly from the one after. Nothing here catches an error
    of a decider: whoever asked must refuse, never allow. `observer` is told every answer to a valid request, and
    `witness` first those that belong in the audit: to what one identity asks for another, and what identities ask
    for themselves whose kind the policy wants audited.
    """

    def __init__(self, observer: Observer | None = None, witness: Witness | None = None) -> None:
        self._policy = ServedPolicy(None, "", Lease())
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._observer = observer
        self._witness = witness
        self.counts = Counts()
        self._decisions = self.counts.decisions

    @property
    def snapshot_state(self) -> ServedPolicy:
        """The policy that is current. Whoever asks several questions at once asks them all of one."""
        return self._policy

    def load(self, snapshot: Snapshot, policy_version: str, lineage: Lineage = Lineage()) -> ServedPolicy:  # noqa: B008
        """Make `snapshot` current, in one assignment once everything it needs is built, and return what it replaces."""
        audited = snapshot.directory_rules.audited
        policy = ServedPolicy(Decider(snapshot), policy_version, Lease(), lineage, audited)
        # INVARIANT: only here and in `rename` is `_policy` written after construction, so that no request sees half
        # a policy.
        replaced, self._policy = self._policy, policy
        return replaced

    def rename(self, policy_version: str, lineage: Lineage = Lineage()) -> None:  # noqa: B008 - it is frozen
        """Name the current policy by another version: a commit that changed nothing in it."""
        self._policy = msgspec.structs.replace(self._policy, policy_version=policy_version, lineage=lineage)

    def check(
        self, request: Request, policy: ServedPolicy | None = None, call_id: str = "", asker: Asker | None = None
    ) -> Answer:
        """Decide one request on `policy`, by default the current one. Without a decider the answer is a deny.

        `asker` is for whom it is decided; None without a directory. Raises UnwitnessedError.
        """
        if policy is None:
            policy = self._policy
        decider = policy.decider
        if asker is not None:
            return self._answer_as("check", asker, request, decide_as(asker, request, decider), policy, call_id)
        decision = _NO_POLICY if decider is None else decider.decide(request)
        # `answer`, without its calls: this is done for every check.
        self._decisions[decision.reason] += 1
        answer = Answer(decision, policy.policy_version, NO_DIRECTORY, f"{self._prefix}{next(self._numbers):x}")
        if self._observer is not None:
            self._observer("check", request, answer, policy, call_id)
        return answer

    def explain(self, request: Request, policy: ServedPolicy, asker: Asker | None = None) -> Explanation:
        """The decision on one request and why, from any thread; `explained` names and counts it."""
        if policy.decider is None:
            return Explanation(_NO_POLICY)
        return policy.decider.explain(request) if asker is None else explain_as(asker, request, policy.decider)

    def explained(
        self,
        request: Request,
        decision: Decision,
        policy: ServedPolicy,
        call_id: str = "",
        asker: Asker | None = None,
    ) -> Answer:
        """Name and count a decision that `explain` came to. Raises UnwitnessedError."""
        if asker is not None:
            return self._answer_as("explain", asker, request, decision, policy, call_id)
        answer = self.answer(decision, policy)
        if self._observer is not None:
            self._observer("explain", request, answer, policy, call_id)
        return answer

    def filter(
        self,
        asked: FilterRequest,
        policy: ServedPolicy | None = None,
        call_id: str = "",
        asker: Asker | None = None,
        companies: frozenset[str] | None = None,
    ) -> FilterAnswer:
        """Which objects a subject may act on, by `policy`, by default the current one; none without a decider.

        With `companies` no objects pass but those of these companies and of the platform. Raises UnwitnessedError.
        """
        if policy is None:
            policy = self._policy
        decider = policy.decider
        if decider is None:
            found = no_objects(Reason.NO_POLICY)
        elif asker is None:
            found = decider.filter(asked)
        else:
            found = filter_as(asker, asked, decider, companies)
        revision = NO_DIRECTORY if asker is None else asker.revision
        answer = FilterAnswer(found, policy.policy_version, revision, self._next_id(), asker)
        # As a decision: whether any object may pass.
        passes = Decision(found.kind is not FilterKind.NONE, found.reason)
        told = Answer(passes, answer.policy_version, revision, answer.decision_id, asker)
        if asker is not None and (asker.actor or (policy.audited and _is_audited(asker, policy, passes))):
            self._be_witnessed("filter", asked.request, told, call_id)
        if self._observer is not None:
            self._observer("filter", asked.request, told, policy, call_id)
        return answer

    def refuse(self, detail: str, policy: ServedPolicy | None = None, revision: int = NO_DIRECTORY) -> Answer:
        """The answer to something that is no valid request: a deny that is named like any other."""
        decision = Decision(False, Reason.INVALID_REQUEST, detail=detail)
        return self.answer(decision, self._policy if policy is None else policy, revision)

    def answer(self, decision: Decision, policy: ServedPolicy, revision: int = NO_DIRECTORY) -> Answer:
        """Name and count a decision that `policy` made."""
        self._decisions[decision.reason] += 1
        return Answer(decision, policy.policy_version, revision, self._next_id())

    def _answer_as(
        self, kind: str, asker: Asker, request: Request, decision: Decision, policy: ServedPolicy, call_id: str
    ) -> Answer:
        answer = Answer(
            decision, policy.policy_version, asker.revision, f"{self._prefix}{next(self._numbers):x}", asker
        )
        if asker.actor or (policy.audited and _is_audited(asker, policy, decision)):
            self._be_witnessed(kind, request, answer, call_id)
        self._decisions[decision.reason] += 1
        if self._observer is not None:
            self._observer(kind, request, answer, policy, call_id)
        return answer

    def _be_witnessed(self, kind: str, request: Request, answer: Answer, call_id: str) -> None:
        if self._witness is not None and not self._witness(kind, request, answer, call_id):
            raise UnwitnessedError

    def _next_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"


def _is_audited(asker: Asker, policy: ServedPolicy, decision: Decision) -> bool:
    """Whether the policy wants what is decided for somebody, asked by nobody else, in the audit."""
    identity = asker.identity
    if identity is None or identity.kind not in policy.audited:
        return False
    return asker.audited is Audited.ALL or (asker.audited is Audited.REFUSALS and not decision.allowed)
