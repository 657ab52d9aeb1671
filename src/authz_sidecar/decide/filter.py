"""Which objects may a subject act on? Answered from the index, as a filter, without trying objects.

The rules that can apply to some object are found (`candidates`), the conditions that they keep are followed along
every way through them (`question`), and each way that ends in a match becomes a clause, in the order in which the
effect reads rules: the first clause that an object matches decides, as the first rule does. A way that ends in an error
is a clause that denies. What cannot be told without the object stays as the condition of a clause; the filter is then
not exact and passes more, never less (`clauses`).
"""

from collections.abc import Collection, Iterator

from authz_sidecar.compile.fold import TRUE
from authz_sidecar.compile.index import BranchIndex
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.candidates import Candidates
from authz_sidecar.decide.clauses import kind_of, simplify
from authz_sidecar.decide.holdings import Holdings, TooManyError
from authz_sidecar.decide.path import EVERYTHING, Path, Paths
from authz_sidecar.decide.question import Question, TooManyPathsError
from authz_sidecar.decide.section import SectionDecider, token_problem
from authz_sidecar.model.expression import And, Expr
from authz_sidecar.model.model import Effect
from authz_sidecar.model.semantics import write_expression
from authz_sidecar.values import Reason
from authz_sidecar.values.filter import Clause, FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import ANY as EVERY
from authz_sidecar.values.identity import OwnRule
from authz_sidecar.values.texts import prefix_of, values_of

# What exploring a condition for a path costs, in rules that are only compared.
CONDITION_COST = 15

_NOT_NAMED = "a rule names the action"

# Clauses with the place at which they count: 0 for denials and errors before 1, or rank and branch.
_Ordered = list[tuple[tuple[int, int], Clause]]


class SectionFilter:
    """Filters of one section of the model."""

    def __init__(self, snapshot: Snapshot, section: SectionDecider) -> None:
        self._snapshot = snapshot
        self._section = section
        self._index = section.index
        searches = snapshot.searches[section.index.section.suffix].branches
        self._table = snapshot.tables[section.index.section.ptype]
        effect = section.index.section.effect
        # Effects in which any rule may deny read all rules, and an error in any of them denies.
        self._strict = effect in (Effect.ALLOW_AND_DENY, Effect.DENY_OVERRIDE)
        self._allows_without_rule = effect is Effect.DENY_OVERRIDE and len(self._table) > 0
        index = section.index
        self._branches = [
            (
                And(branch.plan.guards) if branch.plan.guards else None,
                Candidates(branch, found, index.section.fields, self._table, index.order),
                branch,
            )
            for branch, found in zip(index.branches, searches, strict=True)
        ]

    def filter(self, asked: FilterRequest, *, named: bool = False) -> ObjectFilter:
        """The filter of the objects that the question is about. With `named` only rules that name the action allow."""
        request = asked.request
        if request.identity is not None and not request.identity.active:
            return no_objects(Reason.INACTIVE_SUBJECT)
        for token in self._section.context_tokens:
            problem = token_problem(request, token)
            if problem is not None:
                return no_objects(Reason.INVALID_REQUEST, problem.description)
        company = request.company if asked.narrowed else None
        start = EVERYTHING if company is None else Path(company=values_of((company,)))
        try:
            ordered, denied, _ = self._clauses(asked, start, named=named)
        except TooManyError as error:
            clause = Clause(True, start.company, conditions=(str(error),))
            return ObjectFilter(kind_of([clause], request.subject), (clause,), False, Reason.ALLOWED_BY_RULE)
        ordered.sort(key=lambda item: item[0])
        found = [clause for _, clause in ordered]
        if self._allows_without_rule and not named:
            found.append(Clause(True, start.company))
        clauses, exact, left_out = simplify(found)
        kind = kind_of(clauses, request.subject)
        reason = self._reason(asked, found, clauses, denied)
        return ObjectFilter(kind, tuple(clauses), exact, reason, left_out)

    def rows(self, asked: FilterRequest) -> list[int] | None:
        """The rules that can match some object that the question is about, or fail on one; None where they are too
        many to follow. None at all in an invalid request."""
        request = asked.request
        if any(token_problem(request, token) is not None for token in self._section.context_tokens):
            return []
        if request.identity is not None and not request.identity.active:
            return []
        start = Path(company=values_of((request.company,))) if asked.narrowed else EVERYTHING
        try:
            _, _, ranks = self._clauses(asked, start)
        except TooManyError:
            return None
        return [self._index.row(rank) for rank in sorted(ranks)]

    def _clauses(
        self, asked: FilterRequest, start: Path, *, named: bool = False
    ) -> tuple[_Ordered, bool, Collection[int]]:
        """A clause for each way in which some rule can match some object, or fail; whether any rule denies; and the
        ranks of the rules that can do either."""
        snapshot, index = self._snapshot, self._index
        request = asked.request
        company = request.company if asked.narrowed else None
        holdings = Holdings(
            snapshot.graphs,
            snapshot.tables,
            snapshot.link_searches,
            request.time,
            company,
            request.identity,
            self._section.directory,
        )
        question = Question(request, self._section.evaluator, holdings, index.section.suffix)
        ordered: _Ordered = []
        denied = False
        matched: dict[int, int] = {}
        failing: set[int] = set()
        effects, denials, strict = index.effects, index.denials, self._strict
        for number, (guard, candidates, branch) in enumerate(self._branches):
            conditions = _Conditions(branch, question)
            residual_of = branch.residual_of
            for begin in [start] if guard is None else question.holds(guard, start):
                for rank, path in candidates.find(question, begin):
                    denies = rank < denials or (effects is not None and effects[rank] != 0)
                    condition = residual_of.get(rank)
                    held, failed = ((path,), ()) if condition is None else conditions.explore(condition, path)
                    unnamed = named and not denies and not self._section.names_action(index.row(rank), request.action)
                    for one in held:
                        place = (int(not denies), 0) if strict else (rank, number)
                        if not unnamed:
                            ordered.append((place, Clause(not denies, *one)))
                        elif not strict:
                            # Where the order of rules decides, it may stand before one that names the action.
                            ordered.append((place, Clause(True, *one.given(_NOT_NAMED))))
                        matched.setdefault(rank, number)
                        denied = denied or denies
                    if failed:
                        failing.add(rank)
                    for one in failed:
                        if strict and matched.get(rank, number) < number:
                            # Where an earlier alternative of the rule matches, this one is not asked.
                            one = one.given("the rule matches in no other way")  # noqa: PLW2901 - the same path
                        ordered.append(((0, 0) if strict else (rank, number), Clause(False, *one)))
        for rule, held, failed in self._own_rules(question, start):
            if named and rule.allow and rule.action != request.action:
                held = []  # noqa: PLW2901 - what allows any action allows none by name
            denied = denied or (bool(held) and not rule.allow)
            ordered += [((int(rule.allow), 0), Clause(rule.allow, *one)) for one in held]
            ordered += [((0, 0), Clause(False, *one)) for one in failed]
        return ordered, denied, failing.union(matched)

    def _own_rules(self, question: Question, start: Path) -> Iterator[tuple[OwnRule, Paths, Paths]]:
        """The rules of the identity alone that are about the type and the action: for which objects each holds, and for
        which it fails."""
        request, own = question.request, self._section.own
        identity = request.identity
        if own is None or identity is None or not own.concern(identity):
            return
        for entry in own.of(identity).entries:
            rule = entry.rule
            if rule.type not in (EVERY, request.type) or rule.action not in (EVERY, request.action):
                continue
            if not entry.counts(request.time):
                continue
            question.spend(1)
            ids = values_of((rule.id,)) if entry.begin is None else prefix_of(entry.begin)
            wanted = question.part_texts(False, "id", ids)
            path: Path | None = start.narrowed("id", wanted) if wanted else None
            if path is not None and rule.company != EVERY:
                path = path.narrowed("company", values_of((rule.company,)))
            if path is not None and rule.scope == "own":
                path = path.narrowed("owner", values_of((request.subject,)))
            if path is None:
                continue
            expr = own.reading(rule.when).expr if rule.when else TRUE
            if expr is None:
                yield rule, [], [path]
            elif expr == TRUE:
                yield rule, [path], []
            else:
                yield rule, *_explore(question, expr, may_fail(expr), path)

    def _reason(self, asked: FilterRequest, found: list[Clause], clauses: list[Clause], denied: bool) -> Reason:
        """Why the filter is as it is: why something passes, or why nothing does."""
        if clauses:
            only_default = self._allows_without_rule and not any(clause.allows for clause in found[:-1])
            return Reason.ALLOWED_WITHOUT_RULE if only_default else Reason.ALLOWED_BY_RULE
        if found:
            return Reason.DENIED_BY_RULE if denied else Reason.EVALUATION_ERROR
        reason = self._section.reason_without_rule(asked.request)
        if reason is Reason.NO_ROLE_IN_COMPANY and not asked.narrowed:
            return Reason.NO_MATCHING_RULE
        return reason


class _Conditions:
    """The conditions that a branch's rules keep, explored once for each path that leads to them."""

    def __init__(self, branch: BranchIndex, question: Question) -> None:
        self._residuals: tuple[Expr, ...] = branch.residuals
        self._fallible = branch.fallible
        self._question = question
        self._explored: dict[tuple[int, Path], tuple[Paths, Paths]] = {}

    def explore(self, number: int, path: Path) -> tuple[Paths, Paths]:
        """On which of the path's objects the condition holds, and on which it fails."""
        found = self._explored.get((number, path))
        if found is None:
            found = _explore(self._question, self._residuals[number], number in self._fallible, path)
            self._explored[number, path] = found
        return found


def _explore(question: Question, expr: Expr, fallible: bool, path: Path) -> tuple[Paths, Paths]:
    """On which of a path's objects a condition holds, and on which it fails."""
    question.spend(CONDITION_COST)
    try:
        failed = question.fails(expr, path) if fallible else []
        return question.holds(expr, path), failed
    except TooManyPathsError:
        text = write_expression(expr)
        failed = [path.given(f"`{text}` cannot be evaluated")] if fallible else []
        return [path.given(text)], failed
