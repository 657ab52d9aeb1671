"""The decision: a pure function of snapshot and request, and the closures that make it quick.

    decide(snapshot, request) -> Decision

A `Decider` is built from a snapshot once and holds getters, probes and conditions; all it adds to the snapshot
is bounded caches. For each branch of the matcher it probes the branch's tables and collects ranks; the smallest
rank that matches decides, which is what Casbin's effects come to once rules are ranked in the order in
which the effect reads them (see `compile.index`).
"""

from typing import Any

from authz_sidecar.compile.access import PatternAccess, RoleAccess
from authz_sidecar.compile.index import BranchIndex, Shape
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.decide.evaluate import Condition, Evaluator
from authz_sidecar.decide.explain import explain_decision
from authz_sidecar.decide.roles import NO_PROBE, RoleProbe
from authz_sidecar.decide.tokens import SOURCES, read_tokens
from authz_sidecar.model.conf import Effect
from authz_sidecar.model.expression import And, Const, Token
from authz_sidecar.model.semantics import EvaluationError
from authz_sidecar.values import Decision, Explanation, Reason, Request

NO_RANK = 1 << 62
# Conditions kept as closures per branch; a policy may carry a different one in every rule.
MAX_CONDITIONS = 16_384
DENIALS = {reason: Decision(False, reason) for reason in Reason}


class Decider:
    """Decides and explains requests on one snapshot. Neither raises on any `Request`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        evaluator = Evaluator(snapshot.graphs)
        self._sections = {
            suffix: SectionDecider(snapshot, index, evaluator) for suffix, index in snapshot.sections.items()
        }

    def decide(self, request: Request) -> Decision:
        """The decision on `request`; an unknown section or a token that nothing fills is INVALID_REQUEST."""
        section = self._sections.get(request.section)
        if section is None:
            return Decision(False, Reason.INVALID_REQUEST, -1, f"the model has no section `{request.section}`")
        return section.decide(request)

    def explain(self, request: Request) -> Explanation:
        """The decision with its grounds; slower than deciding, as it may look at every rule."""
        decision = self.decide(request)
        section = self._sections.get(request.section)
        if section is None or decision.reason is Reason.INVALID_REQUEST:
            return Explanation(decision)
        return explain_decision(self.snapshot, section.index, section.evaluator, request, decision)

    def missing_tokens(self, request: Request) -> tuple[str, ...]:
        """The request tokens of the selected section that neither the request nor its context fills."""
        section = self._sections.get(request.section)
        if section is None:
            return ()
        return tuple([token for token in section.context_tokens if token not in request.context])


class _Branch:
    """A branch of the matcher with its closures: what `SectionDecider` walks for each request."""

    __slots__ = ("conditions", "evaluator", "guard", "index", "plain", "probes", "residual_of", "shapes")

    def __init__(self, index: BranchIndex, evaluator: Evaluator, probes: list[RoleProbe | None]) -> None:
        self.index = index
        self.evaluator = evaluator
        guards = index.plan.guards
        self.guard: Condition | None = evaluator.condition(And(guards)) if guards else None
        self.probes = probes
        self.residual_of = index.residual_of
        self.conditions: dict[int, Condition] = {}
        self.shapes = [
            (read_tokens(shape.keys), shape.table.get, bool(shape.sets), shape) for shape in index.shapes
        ]
        # At most one set, that one a role set, and no condition that may fail: candidates can be tried as
        # they are found, in any order.
        self.plain = (
            len(index.plan.sets) <= 1
            and None not in probes
            and not any(may_fail(residual) for residual in index.residuals)
        )

    def condition(self, number: int) -> Condition:
        found = self.conditions.get(number)
        if found is None:
            if len(self.conditions) >= MAX_CONDITIONS:
                self.conditions.clear()
            found = self.conditions[number] = self.evaluator.condition(self.index.residuals[number])
        return found

    def set_values(self, shape: Shape, request: Request) -> list[frozenset[str]]:
        """For each set of the shape, the names to look for in a leaf."""
        values: list[frozenset[str]] = []
        for place, at in enumerate(shape.sets):
            probe = self.probes[at]
            if probe is not None:
                values.append(probe.roles(request))
                continue
            access = self.index.plan.sets[at]
            assert isinstance(access, PatternAccess)
            text: str = getattr(request, SOURCES[access.token])
            size = len(text)
            names = ["^" + text[:length] for length in shape.lengths[place] if length <= size]
            values.append(frozenset(["=" + text, *names]))
        return values


class SectionDecider:
    """Decides on one section of the model."""

    def __init__(self, snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator) -> None:
        self.index = index
        self.evaluator = evaluator
        self.context_tokens = tuple([token for token in index.section.tokens if token not in SOURCES])
        probes: dict[tuple[str, Token | Const, Token | Const | None], RoleProbe] = {}
        self._branches: list[_Branch] = []
        for branch in index.branches:
            branch_probes: list[RoleProbe | None] = []
            for access in branch.plan.sets:
                if not isinstance(access, RoleAccess):
                    branch_probes.append(None)
                    continue
                key = (access.definition, access.name, access.domain)
                if key not in probes:
                    graph = snapshot.graphs[access.definition]
                    probes[key] = RoleProbe(graph, access.name, access.domain)
                branch_probes.append(probes[key])
            self._branches.append(_Branch(branch, evaluator, branch_probes))
        self._plain = [
            (
                branch.guard,
                *(branch.probes[0].parts if branch.probes and branch.probes[0] else NO_PROBE),
                branch.shapes,
                branch.residual_of,
                branch.condition,
            )
            for branch in self._branches
            if branch.plain
        ]
        self._general = [(number, branch) for number, branch in enumerate(self._branches) if not branch.plain]
        self._table = snapshot.tables[index.section.ptype]
        self._allows_all = index.order is None and index.effects is None and not index.denials
        self._subjects = _SubjectFacts(snapshot, index, probes)

    def decide(self, request: Request) -> Decision:
        """The decision of this section on `request`."""
        if self.context_tokens:
            for token in self.context_tokens:
                if token not in request.context:
                    return Decision(False, Reason.INVALID_REQUEST, -1, f"nothing fills the request token `{token}`")
        if self._general:
            return self._decide_general(request)
        best = NO_RANK
        for guard, held_by, cached, find, shapes, residual_of, condition in self._plain:
            if guard is not None and not guard(request):
                continue
            held = None
            for key, get, has_set, _ in shapes:
                leaf = get(key(request))
                if leaf is None:
                    continue
                if has_set:
                    if held is None:
                        # The cache is read here, not behind a call: a call costs as much as the look-up.
                        held = cached(held_by(request))
                        if held is None:
                            held = find(request)
                    if leaf.__class__ is tuple:
                        if len(leaf) == 2:
                            ranks = leaf[1:] if leaf[0] in held else ()
                        else:
                            ranks = [leaf[at + 1] for at in range(0, len(leaf), 2) if leaf[at] in held]
                    elif len(leaf) < len(held):
                        ranks = [rank for name, rank in leaf.items() if name in held]
                    else:
                        ranks = [leaf[name] for name in held if name in leaf]
                else:
                    ranks = (leaf,)
                for rank in ranks:
                    if rank.__class__ is tuple:
                        for one in rank:
                            if one < best and (one not in residual_of or condition(residual_of[one])(request)):
                                best = one
                    elif rank < best and (
                        not residual_of or rank not in residual_of or condition(residual_of[rank])(request)
                    ):
                        best = rank
        if best != NO_RANK:
            if self._allows_all:
                return Decision(True, Reason.ALLOWED_BY_RULE, best)
            return self._by_rank(best)
        return self._without_rule(request)

    def _decide_general(self, request: Request) -> Decision:
        """The same for matchers with patterns, several role sets or conditions that may fail: candidates are
        collected first, and their conditions then tried in the order of the rules."""
        pending: list[tuple[int, int]] = []
        found: list[tuple[int, int]] = []
        for number, branch in enumerate(self._branches):
            if branch.guard is None or branch.guard(request):
                self._gather(request, branch, number, pending, found)
        best = min(found)[0] if found else NO_RANK
        if pending:
            return self._settle(request, best, pending, found)
        return self._by_rank(best) if found else self._without_rule(request)

    @staticmethod
    def _gather(
        request: Request,
        branch: _Branch,
        number: int,
        pending: list[tuple[int, int]],
        found: list[tuple[int, int]],
    ) -> None:
        """Collect a branch's candidates as (rank, number of the branch): those that match as they are into `found`,
        those with a condition left into `pending`."""
        residual_of = branch.residual_of
        for key, get, _, shape in branch.shapes:
            leaf = get(key(request))
            if leaf is not None:
                for rank in _ranks(leaf, branch.set_values(shape, request)):
                    (pending if rank in residual_of else found).append((rank, number))

    def _settle(
        self, request: Request, best: int, pending: list[tuple[int, int]], found: list[tuple[int, int]]
    ) -> Decision:
        """Evaluate what is left of the candidates' conditions, in the order in which Casbin reads rules.

        An error counts when Casbin would reach it: before the deciding rule, and where any rule may deny, so that
        every rule is read, anywhere unless one denies.
        """
        strict = self.index.section.effect in (Effect.ALLOW_AND_DENY, Effect.DENY_OVERRIDE)
        denials = self.index.denials
        settled = dict(sorted(found, reverse=True))
        error: tuple[int, str] | None = None
        for rank, number in sorted(pending):
            if rank > best and (not strict or best < denials):
                break
            if settled.get(rank, number + 1) <= number:
                continue
            branch = self._branches[number]
            try:
                holds = branch.condition(branch.residual_of[rank])(request)
            except EvaluationError as problem:
                if error is None:
                    error = (rank, str(problem))
                if not strict:
                    break
                continue
            if holds:
                settled[rank] = number
                best = min(best, rank)
        if error is not None and not (strict and best < denials):
            place = self._table.span(self.index.row(error[0]))
            return Decision(
                False, Reason.EVALUATION_ERROR, self.index.row(error[0]), f"{error[1]} (the rule at {place})"
            )
        if best != NO_RANK:
            return self._by_rank(best)
        return self._without_rule(request)

    def _by_rank(self, rank: int) -> Decision:
        if self.index.denies(rank):
            return Decision(False, Reason.DENIED_BY_RULE, self.index.row(rank))
        return Decision(True, Reason.ALLOWED_BY_RULE, self.index.row(rank))

    def _without_rule(self, request: Request) -> Decision:
        if self.index.section.effect is Effect.DENY_OVERRIDE and len(self._table):
            return Decision(True, Reason.ALLOWED_WITHOUT_RULE)
        return DENIALS[self._subjects.reason(request)]


def _ranks(leaf: Any, values: list[frozenset[str]]) -> list[int]:
    """The ranks in a leaf, below the given names, level by level."""
    level = [leaf]
    for names in values:
        below: list[Any] = []
        for entry in level:
            if isinstance(entry, tuple):
                below += [entry[at + 1] for at in range(0, len(entry), 2) if entry[at] in names]
            elif len(entry) < len(names):
                below += [child for name, child in entry.items() if name in names]
            else:
                below += [entry[name] for name in names if name in entry]
        level = below
    ranks: list[int] = []
    for entry in level:
        if isinstance(entry, tuple):
            ranks += entry
        else:
            ranks.append(entry)
    return ranks


class _SubjectFacts:
    """Tells why no rule matched: the subject is unknown, has no role in this company, or lacks the grant.

    Facts hold only where the matcher compares the subject with rules; with patterns among names, or in a model that
    does not look at the subject, nobody is unknown.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        index: SectionIndex,
        probes: dict[tuple[str, Token | Const, Token | Const | None], RoleProbe],
    ) -> None:
        fields = index.section.fields
        table = snapshot.tables[index.section.ptype]
        self._probes: list[RoleProbe] = []
        self._named: set[str] = set()
        self._tells = bool(index.branches)
        for branch in index.branches:
            by_key = [access for access in branch.plan.keys if access.token == "sub"]
            by_role = [
                access for access in branch.plan.sets if isinstance(access, RoleAccess) and access.name == Token("sub")
            ]
            if not by_key and not by_role:
                self._tells = False
            for access in (*by_key, *by_role):
                self._named.update(table.columns[fields.index(access.field)])
            for access in by_role:
                probe = probes[access.definition, access.name, access.domain]
                if probe.graph.names is not None:
                    self._tells = False
                if probe not in self._probes:
                    self._probes.append(probe)

    def reason(self, request: Request) -> Reason:
        """The reason of a denial that no rule made."""
        if not self._tells:
            return Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if len(probe.roles(request)) > 1:
                return Reason.NO_MATCHING_RULE
        subject = request.subject
        if subject in self._named:
            return Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if subject in probe.graph.subjects:
                return Reason.NO_ROLE_IN_COMPANY if probe.graph.has_domain else Reason.NO_MATCHING_RULE
        return Reason.UNKNOWN_SUBJECT
