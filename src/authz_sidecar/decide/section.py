"""Decisions on one section of the model (`r/p/e/m`, or `r2/p2/e2/m2`).

For each branch of the matcher the branch's tables are probed for ranks; the smallest rank that matches decides,
which is what Casbin's effects come to once rules are ranked in the order in which the effect reads them (see
`compile.index`).
"""

import contextlib
from collections.abc import Callable
from typing import Any

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.decide.branch import NO_SET, ROLE_SET, Branch, OrderMattersError, find_ranks
from authz_sidecar.decide.directory_links import DEFINITION, DirectoryLinks
from authz_sidecar.decide.evaluate import Condition, Evaluator
from authz_sidecar.decide.own_rules import OwnRules
from authz_sidecar.decide.roles import RoleProbe, anyone, closed
from authz_sidecar.decide.subjects import SubjectFacts
from authz_sidecar.model.model import Effect
from authz_sidecar.model.semantics import EvaluationError
from authz_sidecar.values import Decision, Reason, Request, Violation
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES, value_problem

Decide = Callable[[Request], Decision]
NO_RANK = 1 << 62
# Python 3.11 looks a member of an enum up through a descriptor, at several times the cost of a name.
_ALLOWED, _DENIED = Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE
DENIALS = {reason: Decision(False, reason) for reason in Reason}


def token_problem(request: Request, token: str) -> Violation | None:
    """What is wrong with a request token that the context fills, if anything."""
    field = f"context.{token}"
    if token not in request.context:
        return Violation(field, f"{field} is not set; the policy's model reads `r.{token}`")
    value = request.context[token]
    problem = value_problem(value) if isinstance(value, str) else ""
    if not problem and isinstance(value, str) and value.startswith(ROLE_PREFIX):
        problem = f"begins with `{ROLE_PREFIX}`, which is kept for roles"
    return Violation(field, f"{field} {problem}") if problem else None


def unknown_section(request: Request) -> Violation:
    """The model has no section of the request's name."""
    return Violation("section", f"the model has no section `{request.section}`")


def refuse(violation: Violation) -> Decision:
    """The denial of a request that is invalid for this model."""
    return Decision(False, Reason.INVALID_REQUEST, -1, violation.description)


class SectionDecider:
    """Decides on one section of the model with `decide`."""

    def __init__(
        self,
        snapshot: Snapshot,
        index: SectionIndex,
        evaluator: Evaluator,
        directory: DirectoryLinks | None = None,
    ) -> None:
        self.index = index
        self.evaluator = evaluator
        self.directory = directory
        # Plain Casbin bundles know no rules of identities in a directory.
        in_yaml = snapshot.directory_rules.form != "casbin"
        self.own = OwnRules(snapshot, index, evaluator, directory) if in_yaml else None
        self.context_tokens = tuple([token for token in index.section.tokens if token not in SOURCES])
        self._table = snapshot.tables[index.section.ptype]
        self._action_fields = {
            access.field
            for branch in index.branches
            for access in (*branch.plan.keys, *branch.plan.sets)
            if not isinstance(access, RoleAccess) and access.token == "act"
        }
        probes: dict[RoleAccess, RoleProbe] = {}
        self._branches: list[Branch] = []
        for branch in index.branches:
            branch_probes: list[RoleProbe | None] = []
            for access in branch.plan.sets:
                if not isinstance(access, RoleAccess):
                    branch_probes.append(None)
                    continue
                if access not in probes:
                    graph, named = snapshot.graphs[access.definition], index.names[access.field]
                    probes[access] = RoleProbe(
                        graph, access, named, directory if access.definition == DEFINITION else None
                    )
                branch_probes.append(probes[access])
            self._branches.append(Branch(branch, evaluator, branch_probes))
        self._subjects = SubjectFacts(index, probes, self.own)
        # What a subject gets whom the policy knows and no rule matches.
        self._no_match = DENIALS[Reason.NO_MATCHING_RULE]
        if index.section.effect is Effect.DENY_OVERRIDE and len(self._table):
            self._no_match = Decision(True, Reason.ALLOWED_WITHOUT_RULE)
        by_policy, known = self._by_policy(known=False), self._known_decide(self._by_policy(known=True))

        def decide(request: Request) -> Decision:
            return by_policy(request) if request.identity is None else known(request)

        self.decide: Decide = decide

    def _by_policy(self, *, known: bool) -> Decide:
        """What the policy's own rules decide, for subjects whom a directory knows or for those whom none does."""
        plainly = self._one_table_decide(known=known) or self._plain_decide(known=known)

        def in_order_if_need_be(request: Request) -> Decision:
            try:
                return plainly(request)
            except OrderMattersError:
                return self._decide_in_order(request)

        fallible = any(branch.fallible for branch in self._branches)
        return in_order_if_need_be if fallible else plainly

    def _known_decide(self, by_policy: Decide) -> Decide:
        """The decision for an identity: that of the policy's rules and of its own together."""
        inactive, own = DENIALS[Reason.INACTIVE_SUBJECT], self.own
        everybody = own is not None and own.concern_everybody

        def decide(request: Request) -> Decision:
            identity = request.identity
            if identity is None or not identity.active:
                return inactive
            decision = by_policy(request)
            # What `concern` says, without its call: this is done for every check.
            if own is not None and (everybody or identity.rules or identity.flags):
                return own.decide(request, decision)
            return decision

        return decide

    def close(self) -> list[dict[Any, Any]]:
        """Cut the circles among the closures, so that all of them go with their last user; gives the caches. Deciding
        raises from now on."""
        self.decide = closed
        probes = {probe for branch in self._branches for probe in branch.probes if probe is not None}
        caches = [cache for probe in probes for cache in probe.close()]
        caches += [branch.conditions for branch in self._branches]
        return caches if self.own is None else [*caches, *self.own.close()]

    def _one_table_decide(self, *, known: bool) -> Decide | None:
        """`_plain_decide` without its loops, for the RBAC families: one branch with one table, the subject's roles, and
        nothing left to evaluate. None for any other matcher."""
        branch = self._branches[0] if len(self._branches) == 1 else None
        if branch is None or len(branch.shapes) != 1 or branch.residual_of or branch.guard or self.context_tokens:
            return None
        by_company, key, get, access, shape = branch.shapes[0]
        if access != ROLE_SET or not branch.of_subject or branch.only_probe is None:
            return None
        roles = branch.only_probe.known if known else branch.only_probe.roles
        suffix, no_match = self.index.section.suffix, self._no_match
        by_rank, without_rule, only_table = self._by_rank, self._without_rule, shape.table

        def decide(request: Request) -> Decision:
            if request.section != suffix:
                return refuse(unknown_section(request))
            held = roles(request)
            if not held:
                return without_rule(request)
            table = get(request.company) if by_company else only_table
            leaf = None if table is None else table.get(key(request))
            if leaf is None:
                return no_match
            best = NO_RANK
            if leaf.__class__ is tuple:
                for at in range(0, len(leaf), 2):
                    if leaf[at] in held and leaf[at + 1] < best:
                        best = leaf[at + 1]
            else:
                best = min(find_ranks(leaf, [held]), default=NO_RANK)
            return no_match if best == NO_RANK else by_rank(best)

        return decide

    def _plain_decide(self, *, known: bool) -> Decide:
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
                anyone if (probe := branch.only_probe) is None else probe.known if known else probe.roles,
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
                return refuse(unknown_section(request))
            if context_tokens:
                for token in context_tokens:
                    problem = token_problem(request, token)
                    if problem is not None:
                        return refuse(problem)
            best = NO_RANK
            is_known = False
            for roles, decisive, of_subject, guard, shapes, residual_of, condition, set_values in branches:
                held = roles(request)
                if (decisive and not held) or (guard is not None and not guard(request)):
                    continue
                is_known = is_known or (decisive and of_subject)
                for by_company, key, get, access, shape in shapes:
                    if by_company:
                        table = get(request.company)
                        leaf = None if table is None else table.get(key(request))
                    else:
                        leaf = get(key(request))
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
                        for rank in find_ranks(leaf, set_values(shape, request)):
                            best = _better(rank, best, request, residual_of, condition)
            if best != NO_RANK:
                row = best if order is None else order[best]
                if best < denials or (effects is not None and effects[best]):
                    return Decision(False, denied, row)
                return Decision(True, allowed, row)
            return no_match if is_known else without_rule(request)

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
        branch: Branch,
        number: int,
        pending: list[tuple[int, int]],
        found: list[tuple[int, int]],
    ) -> None:
        """Collect a branch's candidates as (rank, number of the branch): those that match as they are into `found`,
        those with a condition left into `pending`."""
        residual_of = branch.residual_of
        for by_company, key, get, _, shape in branch.shapes:
            table = get(request.company, {}) if by_company else shape.table
            leaf = table.get(key(request))
            if leaf is not None:
                for rank in find_ranks(leaf, branch.set_values(shape, request)):
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

    def matching(self, request: Request) -> list[int]:
        """The rows of the rules that match, in deciding order; of rules that ask the same of a request only the first.
        A rule whose condition cannot be evaluated does not match."""
        if request.identity is not None and not request.identity.active:
            return []
        pending: list[tuple[int, int]] = []
        found: list[tuple[int, int]] = []
        for number, branch in enumerate(self._branches):
            if branch.guard is None or branch.guard(request):
                self._gather(request, branch, number, pending, found)
        ranks = {rank for rank, _ in found}
        for rank, number in pending:
            branch = self._branches[number]
            with contextlib.suppress(EvaluationError):
                if branch.condition(branch.residual_of[rank])(request):
                    ranks.add(rank)
        return [self.index.row(rank) for rank in sorted(ranks)]

    def names_action(self, row: int, action: str) -> bool:
        """Whether a rule allows and names an action, rather than any: a field that the matcher compares with the action
        says just that."""
        fields = self.index.section.fields
        if "eft" in fields and self._table.columns[fields.index("eft")][row] != "allow":
            return False
        return any(self._table.columns[fields.index(field)][row] == action for field in self._action_fields)

    def _by_rank(self, rank: int) -> Decision:
        index = self.index
        row = rank if index.order is None else index.order[rank]
        if rank < index.denials or (index.effects is not None and index.effects[rank]):
            return Decision(False, _DENIED, row)
        return Decision(True, _ALLOWED, row)

    def reason_without_rule(self, request: Request) -> Reason:
        """The reason of a denial that no rule made."""
        return self._subjects.reason(request)

    def _without_rule(self, request: Request) -> Decision:
        if self._no_match.allowed:
            return self._no_match
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
