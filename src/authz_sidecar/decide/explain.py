"""Why a decision came out as it did: the rule, the role path, and on a deny the nearest misses.

Explaining looks at every rule once, by column: it costs milliseconds per ten thousand rules and is meant for
people, not for the path of a check.
"""

from collections.abc import Callable, Iterable

from authz_sidecar.compile.access import BranchPlan, KeyAccess, RoleAccess
from authz_sidecar.compile.fold import TRUE, specialise
from authz_sidecar.compile.planner import TEXT_TOKENS
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.decide.evaluate import Evaluator
from authz_sidecar.decide.own_rules import OwnRules
from authz_sidecar.decide.roles import held_roles, role_path
from authz_sidecar.model.expression import Eval, Expr, Token
from authz_sidecar.model.semantics import EvaluationError, children, fields_of, write_expression
from authz_sidecar.values import Decision, Explanation, NearMiss, Reason, Request, RuleTable
from authz_sidecar.values.request import SOURCES

MAX_NEAR_MISSES = 5
# Rows whose conditions are evaluated while looking for near misses, beyond those that keys and roles rule out.
MAX_EVALUATED = 10_000


def explain_decision(
    snapshot: Snapshot,
    index: SectionIndex,
    evaluator: Evaluator,
    request: Request,
    decision: Decision,
    own: OwnRules | None = None,
) -> Explanation:
    """The explanation of `decision`, which was made on `request` by this snapshot."""
    table = snapshot.tables[index.section.ptype]
    fields = index.section.fields
    roles = roles_of(snapshot, index, evaluator, request)
    if own is not None and decision.source:
        return Explanation(decision, own.deciding(request, decision), (request.subject,), roles, fields=fields)
    if decision.rule >= 0:
        rule = table.rule(decision.rule)
        path = _path(snapshot, index, evaluator, request, dict(zip(fields, rule.values, strict=True)))
        return Explanation(decision, rule, (*path, *rule.via) if path else (), roles, fields=fields)
    misses: tuple[NearMiss, ...] = ()
    if not decision.allowed and decision.reason not in (Reason.NO_POLICY, Reason.INACTIVE_SUBJECT):
        misses = _near_misses(snapshot, index, evaluator, request, table)
        if own is not None:
            own_misses = list(own.near_misses(request))
            nearest = [miss for is_near, miss in own_misses if is_near]
            others = [miss for is_near, miss in own_misses if not is_near]
            misses = (*nearest, *misses, *others)[:MAX_NEAR_MISSES]
    return Explanation(decision, None, (), roles, misses, fields)


def _subject_accesses(index: SectionIndex) -> list[RoleAccess]:
    accesses: list[RoleAccess] = []
    for branch in index.branches:
        for access in branch.plan.subject_roles:
            if access not in accesses:
                accesses.append(access)
    return accesses


def _domain(access: RoleAccess, request: Request) -> str:
    if isinstance(access.domain, Token):
        domain: str = getattr(request, SOURCES[access.domain.name])
        return domain
    return "" if access.domain is None else str(access.domain.value)


def roles_of(snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator, request: Request) -> tuple[str, ...]:
    """All roles that the subject holds for this request, itself excluded, sorted."""
    held: set[str] = set()
    for access in _subject_accesses(index):
        held |= _held(snapshot, access, evaluator, request, request.subject)
    return tuple(sorted(held - {request.subject}))


def _held(snapshot: Snapshot, access: RoleAccess, evaluator: Evaluator, request: Request, name: str) -> frozenset[str]:
    """All roles of a name in the domain that an access asks about."""
    domain = _domain(access, request)
    more = evaluator.links(access.definition, request, domain)
    return held_roles(snapshot.graphs[access.definition], name, domain, request.time, more)


def _path(
    snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator, request: Request, values: dict[str, str]
) -> tuple[str, ...]:
    for access in _subject_accesses(index):
        graph = snapshot.graphs[access.definition]
        domain = _domain(access, request)
        more = evaluator.links(access.definition, request, domain)
        path = role_path(graph, request.subject, domain, request.time, values[access.field], more)
        if path:
            return path
    return ()


Check = Callable[[int], bool]


def _near_misses(
    snapshot: Snapshot, index: SectionIndex, evaluator: Evaluator, request: Request, table: RuleTable
) -> tuple[NearMiss, ...]:
    """Rules that would have allowed but for one conjunct, the nearest first.

    Nearest is a rule about just this request whose condition fails, such as who the owner is; then come those that
    fail late in the matcher.
    """
    section = index.section
    columns = {name: table.columns[place] for place, name in enumerate(section.fields)}
    allows = columns.get("eft")
    found: dict[int, tuple[int, Expr, BranchPlan]] = {}
    for branch in index.branches:
        plan = branch.plan
        checks = [
            _check(snapshot, index, evaluator, request, plan, position, columns)
            for position in range(len(plan.conjuncts))
        ]
        looked_up = {access.position for access in (*plan.keys, *plan.sets)}
        for row, position in _failing_once(checks, len(table)):
            if allows is not None and allows[row] != "allow":
                continue
            near = position if position in looked_up else position + len(plan.conjuncts)
            if row not in found or near > found[row][0]:
                found[row] = (near, plan.conjuncts[position], plan)
    nearest = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:MAX_NEAR_MISSES]
    return tuple([_describe(table, index, request, row, expr, plan) for row, (_, expr, plan) in nearest])


def _failing_once(checks: list[tuple[bool, Iterable[bool] | Check]], rows: int) -> list[tuple[int, int]]:
    """The rows on which exactly one check fails, with that check's place.

    A check is (cheap, results by row) or (costly, a function of the row); costly ones run only on rows that have
    failed at most once before, and on a bounded number of them.
    """
    failures = bytearray(rows)
    place_of = [0] * rows
    for place, (cheap, results) in enumerate(checks):
        if cheap and not callable(results):
            for row, holds in enumerate(results):
                if not holds and failures[row] < 2:
                    failures[row] += 1
                    place_of[row] = place
    candidates = [row for row in range(rows) if failures[row] < 2][:MAX_EVALUATED]
    misses: list[tuple[int, int]] = []
    for row in candidates:
        for place, (_, check) in enumerate(checks):
            if callable(check) and not check(row):
                failures[row] += 1
                place_of[row] = place
                if failures[row] > 1:
                    break
        if failures[row] == 1:
            misses.append((row, place_of[row]))
    return misses


def _check(
    snapshot: Snapshot,
    index: SectionIndex,
    evaluator: Evaluator,
    request: Request,
    plan: BranchPlan,
    position: int,
    columns: dict[str, list[str]],
) -> tuple[bool, Iterable[bool] | Check]:
    """How one conjunct is checked on all rows: a list of results where that is cheap, else a function."""
    conjunct = plan.conjuncts[position]
    access = next((access for access in (*plan.keys, *plan.sets) if access.position == position), None)
    if access is not None and access.free_when is None:
        if isinstance(access, KeyAccess):
            wanted = getattr(request, SOURCES[access.token])
            return True, [value == wanted for value in columns[access.field]]
        if isinstance(access, RoleAccess) and isinstance(access.name, Token):
            name = getattr(request, SOURCES[access.name.name])
            held = _held(snapshot, access, evaluator, request, name)
            return True, [value in held for value in columns[access.field]]
    names = sorted(fields_of(conjunct))
    parsed = index.conditions
    results: dict[tuple[str, ...], bool] = {}

    def holds(row: int) -> bool:
        values = tuple([columns[name][row] for name in names])
        if values not in results:
            filled = dict(zip(names, values, strict=True))
            conditions = {name: parsed[name][filled[name]] for name in names if name in parsed}
            expr = specialise(conjunct, filled, conditions)
            try:
                results[values] = expr == TRUE or evaluator.condition(expr)(request)
            except EvaluationError:
                results[values] = False
        return results[values]

    if len(names) <= 1 and not any(isinstance(part, Eval) for part in (conjunct, *children(conjunct))):
        # One field: few distinct values, each evaluated once.
        rows = len(next(iter(columns.values())))
        return True, [holds(row) for row in range(rows)]
    return False, holds


def _describe(
    table: RuleTable, index: SectionIndex, request: Request, row: int, expr: Expr, plan: BranchPlan
) -> NearMiss:
    """A near miss in words."""
    rule = table.rule(row)
    values = dict(zip(index.section.fields, rule.values, strict=True))
    access = next((access for access in (*plan.keys, *plan.sets) if plan.conjuncts[access.position] == expr), None)
    if isinstance(access, RoleAccess) and isinstance(access.name, Token):
        wanted = values[access.field]
        name = getattr(request, SOURCES[access.name.name])
        domain = _domain(access, request)
        place = f" in `{domain}`" if domain and domain != "*" else ""
        return NearMiss(rule, access.field, wanted, name, f"`{name}` does not hold `{wanted}`{place}")
    if access is not None:
        token = access.token if not isinstance(access, RoleAccess) else str(access.definition)
        got = getattr(request, SOURCES[token]) if token in SOURCES else ""
        wanted = values[access.field]
        return NearMiss(
            rule, access.field, wanted, got, f"`{access.field}` is `{got}` in the request, `{wanted}` in the rule"
        )
    text = write_expression(specialise(expr, values, _conditions(index, values)), index.section.suffix)
    got = _told(request, expr)
    return NearMiss(rule, text, "true", got or "false", f"`{text}` does not hold" + (f" ({got})" if got else ""))


def _conditions(index: SectionIndex, values: dict[str, str]) -> dict[str, Expr]:
    return {field: parsed[values[field]] for field, parsed in index.conditions.items()}


def _told(request: Request, expr: Expr) -> str:
    """The request's values that a condition reads: `r.owner` is `bob`, …"""
    told: dict[str, str] = {}

    def visit(part: Expr) -> None:
        if isinstance(part, Token) and part.name in TEXT_TOKENS:
            told[part.name] = getattr(request, SOURCES[part.name])
        for child in children(part):
            visit(child)

    visit(expr)
    return ", ".join([f"`r.{name}` is `{value}`" for name, value in told.items()])
