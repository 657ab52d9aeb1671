"""The decision: a pure function of snapshot and request, and the closures that make it quick.

    decide(snapshot, request) -> Decision

A `Decider` is built from a snapshot once and holds getters, probes and conditions; all it adds to the snapshot
is bounded caches. For each branch of the matcher it probes the branch's tables and collects ranks; the smallest
rank that matches decides, which is what Casbin's effects come to once rules are ranked in the order in
which the effect reads them (see `compile.index`).
"""

from collections.abc import Callable
from typing import Any

from authz_sidecar.compile.access import PatternAccess, RoleAccess
from authz_sidecar.compile.index import BranchIndex, Shape
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.decide.evaluate import Condition, Evaluator
from authz_sidecar.decide.explain import explain_decision
from authz_sidecar.decide.roles import RoleProbe, anyone
from authz_sidecar.decide.tokens import SOURCES, read_token, read_tokens
from authz_sidecar.model.conf import Effect
from authz_sidecar.model.expression import Token
from authz_sidecar.model.semantics import EvaluationError
from authz_sidecar.values import Decision, Explanation, Reason, Request, Violation
from authz_sidecar.values.request import ROLE_PREFIX, value_problem

Decide = Callable[[Request], Decision]
NO_RANK = 1 << 62
# Conditions kept as closures per branch; a policy may carry a different one in every rule.
MAX_CONDITIONS = 16_384
# Python 3.11 looks a member of an enum up through a descriptor, at several times the cost of a name.
_ALLOWED, _DENIED = Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE
# How a shape's leaves are read: a rank as it is, by the branch's one role set, or by any sets.
NO_SET, ROLE_SET, ANY_SETS = range(3)
DENIALS = {reason: Decision(False, reason) for reason in Reason}


class Decider:
    """Decides and explains requests on one snapshot. Neither raises on any `Request`.

    `decide` gives the decision on a request; an unknown section, or a token that nothing fills, is INVALID_REQUEST.
    """

    decide: Decide

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        evaluator = Evaluator(snapshot.graphs)
        self._sections = {
            suffix: SectionDecider(snapshot, index, evaluator) for suffix, index in snapshot.sections.items()
        }
        # With one section, which is nearly always, there is nothing to select and one call less.
        self.decide = self._sections[""].decide if len(self._sections) == 1 else self._decide_in_section

    def _decide_in_section(self, request: Request) -> Decision:
        section = self._sections.get(request.section)
        return section.decide(request) if section is not None else _refuse(_unknown_section(request))

    def explain(self, request: Request) -> Explanation:
        """The decision with its grounds; slower than deciding, as it may look at every rule."""
        decision = self.decide(request)
        section = self._sections.get(request.section)
        if section is None or decision.reason is Reason.INVALID_REQUEST:
            return Explanation(decision)
        return explain_decision(self.snapshot, section.index, section.evaluator, request, decision)

    def violations(self, request: Request) -> tuple[Violation, ...]:
        """What makes the request invalid for this model: an unknown section, a request token that neither the request
        nor its context fills, or one that the context fills with text that no value of a request may be."""
        section = self._sections.get(request.section)
        if section is None:
            return (_unknown_section(request),)
        return tuple([problem for token in section.context_tokens if (problem := _token_problem(request, token))])


class OrderMattersError(Exception):
    """A candidate's condition may fail, so the candidates must be tried in the order of the rules."""


def _token_problem(request: Request, token: str) -> Violation | None:
    field = f"context.{token}"
    if token not in request.context:
        return Violation(field, f"{field} is not set; the policy's model reads `r.{token}`")
    value = request.context[token]
    problem = value_problem(value) if isinstance(value, str) else ""
    if not problem and isinstance(value, str) and value.startswith(ROLE_PREFIX):
        problem = f"begins with `{ROLE_PREFIX}`, which is kept for roles"
    return Violation(field, f"{field} {problem}") if problem else None


def _unknown_section(request: Request) -> Violation:
    return Violation("section", f"the model has no section `{request.section}`")


def _refuse(violation: Violation) -> Decision:
    return Decision(False, Reason.INVALID_REQUEST, -1, violation.description)


class _Branch:
    """A branch of the matcher with its closures: what `SectionDecider` walks for each request."""

    __slots__ = (
        "conditions",
        "decisive",
        "evaluator",
        "fallible",
        "guard",
        "index",
        "of_subject",
        "only_probe",
        "probes",
        "residual_of",
        "safe_conditions",
        "shapes",
        "tokens",
    )

    def __init__(self, index: BranchIndex, evaluator: Evaluator, probes: list[RoleProbe | None]) -> None:
        self.index = index
        self.evaluator = evaluator
        guards = index.plan.guards
        self.guard: Condition | None = evaluator.guard(guards) if guards else None
        self.probes = probes
        # The loop reads it once for all shapes.
        self.only_probe = found[0] if len(found := [probe for probe in probes if probe is not None]) == 1 else None
        # Whether what is held tells that the subject is known: an object's roles do not.
        self.of_subject = any(
            isinstance(access, RoleAccess) and access.name == Token("sub") for access in index.plan.sets
        )
        # For a pattern set, the part of the request that is matched.
        self.tokens = [SOURCES[access.token] if isinstance(access, PatternAccess) else "" for access in index.plan.sets]
        self.residual_of = index.residual_of
        self.fallible = frozenset(number for number, residual in enumerate(index.residuals) if may_fail(residual))
        self.conditions: dict[int, Condition] = {}
        self.safe_conditions: dict[int, Condition] = {}
        self.shapes = [
            (
                read_token(shape.domain) if shape.domain else None,
                read_tokens(shape.keys),
                shape.table.get,
                self._access_of(shape),
                shape,
            )
            for shape in index.shapes
        ]
        # The probe whose empty answer rules the whole branch out: one that every rule here is found through. A rule
        # for anybody (`p.sub == "*"`) is also for who holds no role.
        self.decisive = next(
            (
                probe
                for at, probe in enumerate(probes)
                if probe is not None and all(at in shape.sets for shape in index.shapes)
            ),
            None,
        )

    def _access_of(self, shape: Shape) -> int:
        if not shape.sets:
            return NO_SET
        only_set = self.probes[shape.sets[0]] if len(shape.sets) == 1 else None
        return ROLE_SET if only_set is not None and only_set is self.only_probe else ANY_SETS

    def condition(self, number: int) -> Condition:
        """The condition of that number, whether or not it may fail."""
        found = self.conditions.get(number)
        if found is None:
            if len(self.conditions) >= MAX_CONDITIONS:
                self.conditions.clear()
            found = self.conditions[number] = self.evaluator.condition(self.index.residuals[number])
        return found

    def safe_condition(self, number: int) -> Condition:
        """The condition of that number; raises OrderMattersError for one that may fail."""
        found = self.safe_conditions.get(number)
        if found is None:
            if number in self.fallible:
                raise OrderMattersError
            found = self.condition(number)
            if len(self.safe_conditions) < MAX_CONDITIONS:
                self.safe_conditions[number] = found
        return found

    def set_values(self, shape: Shape, request: Request) -> list[frozenset[str]]:
        """For each set of the shape, the names to look for in a leaf."""
        values: list[frozenset[str]] = []
        for place, at in enumerate(shape.sets):
            probe = self.probes[at]
            if probe is not None:
                values.append(probe.roles(request))
                continue
            text: str = getattr(request, self.tokens[at])
            size = len(text)
            names = ["^" + text[:length] for length in shape.lengths[place] if length <= size]
            values.append(frozenset(["=" + text, *names]))
        return values


class SectionDecider:
    """Decides on one section of the model with `decide`."""

    def __init__(self, snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator) -> None:
        self.index = index
        self.evaluator = evaluator
        self.context_tokens = tuple([token for token in index.section.tokens if token not in SOURCES])
        self._table = snapshot.tables[index.section.ptype]
        fields = index.section.fields
        probes: dict[RoleAccess, RoleProbe] = {}
        self._branches: list[_Branch] = []
        for branch in index.branches:
            branch_probes: list[RoleProbe | None] = []
            for access in branch.plan.sets:
                if not isinstance(access, RoleAccess):
                    branch_probes.append(None)
                    continue
                if access not in probes:
                    named = frozenset(self._table.columns[fields.index(access.field)])
                    probes[access] = RoleProbe(snapshot.graphs[access.definition], access, named)
                branch_probes.append(probes[access])
            self._branches.append(_Branch(branch, evaluator, branch_probes))
        self._subjects = _SubjectFacts(snapshot, index, probes)
        # What a subject gets whom the policy knows and no rule matches.
        self._no_match = DENIALS[Reason.NO_MATCHING_RULE]
        if index.section.effect is Effect.DENY_OVERRIDE and len(self._table):
            self._no_match = Decision(True, Reason.ALLOWED_WITHOUT_RULE)
        plainly = self._one_table_decide() or self._plain_decide()

        def in_order_if_need_be(request: Request) -> Decision:
            try:
                return plainly(request)
            except OrderMattersError:
                return self._decide_in_order(request)

        fallible = any(branch.fallible for branch in self._branches)
        self.decide: Decide = in_order_if_need_be if fallible else plainly

    def _one_table_decide(self) -> Decide | None:
        """`_plain_decide` without its loops, for the RBAC families: one branch with one table, the subject's roles, and
        nothing left to evaluate. None for any other matcher."""
        branch = self._branches[0] if len(self._branches) == 1 else None
        if branch is None or len(branch.shapes) != 1 or branch.residual_of or branch.guard or self.context_tokens:
            return None
        domain, key, get, access, shape = branch.shapes[0]
        if access != ROLE_SET or not branch.of_subject or branch.only_probe is None:
            return None
        suffix, roles, no_match = self.index.section.suffix, branch.only_probe.roles, self._no_match
        by_rank, without_rule, only_table = self._by_rank, self._without_rule, shape.table

        def decide(request: Request) -> Decision:
            if request.section != suffix:
                return _refuse(_unknown_section(request))
            held = roles(request)
            if not held:
                return without_rule(request)
            table = only_table if domain is None else get(domain(request))
            leaf = None if table is None else table.get(key(request))
            if leaf is None:
                return no_match
            best = NO_RANK
            if leaf.__class__ is tuple:
                for at in range(0, len(leaf), 2):
                    if leaf[at] in held and leaf[at + 1] < best:
                        best = leaf[at + 1]
            else:
                best = min(_ranks(leaf, [held]), default=NO_RANK)
            return no_match if best == NO_RANK else by_rank(best)

        return decide

    def _plain_decide(self) -> Decide:
        """The decision in one pass, candidates tried as they are found: no lists, and no calls but look-ups.

        It raises OrderMattersError on a candidate whose condition may fail.
        """
        suffix = self.index.section.suffix
        order, denials, effects = self.index.order, self.index.denials, self.index.effects
        without_rule = self._without_rule
        context_tokens = self.context_tokens
        allowed, denied = _ALLOWED, _DENIED
        no_match = self._no_match
        branches = [
            (
                probe.roles if (probe := branch.only_probe) is not None else anyone,
                branch.decisive is not None and branch.decisive is probe,
                branch.of_subject,
                branch.guard,
                branch.shapes,
                branch.residual_of,
                branch.safe_condition,
                branch.set_values,
            )
            for branch in self._branches
        ]

        def decide(request: Request) -> Decision:
            if request.section != suffix:
                return _refuse(_unknown_section(request))
            if context_tokens:
                for token in context_tokens:
                    problem = _token_problem(request, token)
                    if problem is not None:
                        return _refuse(problem)
            best = NO_RANK
            known = False
            for roles, decisive, of_subject, guard, shapes, residual_of, condition, set_values in branches:
                held = roles(request)
                if (decisive and not held) or (guard is not None and not guard(request)):
                    continue
                known = known or (decisive and of_subject)
                for domain, key, get, access, shape in shapes:
                    if domain is None:
                        leaf = get(key(request))
                    else:
                        table = get(domain(request))
                        leaf = None if table is None else table.get(key(request))
                    if leaf is None:
                        continue
                    if access == ROLE_SET and leaf.__class__ is tuple:
                        entries = iter(leaf)
                        for name in entries:
                            rank = next(entries)
                            if name in held:
                                if rank in residual_of or rank.__class__ is tuple:
                                    best = _better(rank, best, request, residual_of, condition)
                                elif rank < best:
                                    best = rank
                    elif access == ROLE_SET and len(held) <= len(leaf):
                        for name in held:
                            rank = leaf.get(name)
                            if rank is None:
                                continue
                            if rank in residual_of or rank.__class__ is tuple:
                                best = _better(rank, best, request, residual_of, condition)
                            elif rank < best:
                                best = rank
                    elif access == NO_SET:
                        best = _better(leaf, best, request, residual_of, condition)
                    else:
                        for rank in _ranks(leaf, set_values(shape, request)):
                            best = _better(rank, best, request, residual_of, condition)
            if best != NO_RANK:
                row = best if order is None else order[best]
                if best < denials or (effects is not None and effects[best]):
                    return Decision(False, denied, row)
                return Decision(True, allowed, row)
            return no_match if known else without_rule(request)

        return decide

    def _decide_in_order(self, request: Request) -> Decision:
        """The same where a candidate's condition may fail: candidates are collected first, and their conditions
        then tried in the order of the rules."""
        pending: list[tuple[int, int]] = []
        found: list[tuple[int, int]] = []
        for number, branch in enumerate(self._branches):
            if branch.guard is None or branch.guard(request):
                self._gather(request, branch, number, pending, found)
        best = min(found)[0] if found else NO_RANK
        return self._settle(request, best, pending, found)

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
        for domain, key, get, _, shape in branch.shapes:
            table = shape.table if domain is None else get(domain(request), {})
            leaf = table.get(key(request))
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
        index = self.index
        row = rank if index.order is None else index.order[rank]
        if rank < index.denials or (index.effects is not None and index.effects[rank]):
            return Decision(False, _DENIED, row)
        return Decision(True, _ALLOWED, row)

    def _without_rule(self, request: Request) -> Decision:
        if self.index.section.effect is Effect.DENY_OVERRIDE and len(self._table):
            return Decision(True, Reason.ALLOWED_WITHOUT_RULE)
        return DENIALS[self._subjects.reason(request)]


def _better(
    entry: Any, best: int, request: Request, residual_of: dict[int, int], condition: Callable[[int], Condition]
) -> int:
    """The smaller of `best` and the smallest rank of `entry` whose condition, if it keeps one, holds."""
    for rank in entry if entry.__class__ is tuple else (entry,):
        number = residual_of.get(rank)
        if number is None:
            best = min(rank, best)
            continue
        # The condition is asked for even where the rank comes too late to decide: one that may fail changes how the
        # request is decided, whatever its rank.
        holds = condition(number)
        if rank < best and holds(request):
            best = rank
    return best


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
        probes: dict[RoleAccess, RoleProbe],
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
            for key in by_key:
                self._named.update(table.columns[fields.index(key.field)])
            for access in by_role:
                self._named.update(table.columns[fields.index(access.field)])
                probe = probes[access]
                if probe.graph.names is not None:
                    self._tells = False
                if probe not in self._probes:
                    self._probes.append(probe)

    def reason(self, request: Request) -> Reason:
        """The reason of a denial that no rule made."""
        if not self._tells:
            return Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if len(probe.all_roles(request)) > 1:
                return Reason.NO_MATCHING_RULE
        subject = request.subject
        if subject in self._named:
            return Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if subject in probe.graph.subjects:
                return Reason.NO_ROLE_IN_COMPANY if probe.graph.has_domain else Reason.NO_MATCHING_RULE
        return Reason.UNKNOWN_SUBJECT
