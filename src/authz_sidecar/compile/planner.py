"""The planner: splits a matcher into branches and conjuncts and gives each conjunct an access path.

A conjunct becomes a part of the hash key, a probe of a role closure, a probe of pattern prefixes, a guard on the
request, a filter on the rule, or, if nothing better is known, a residual that is evaluated on candidates only.
Whatever may fail while deciding (attributes, order, addresses) is residual: a condition is evaluated only
where the other fields match.
"""

from itertools import product

from authz_sidecar.compile.access import BranchPlan, KeyAccess, PatternAccess, PlanLine, RoleAccess, SetAccess
from authz_sidecar.compile.fold import FALSE, TRUE
from authz_sidecar.model.expression import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Const,
    Expr,
    Field,
    In,
    Negate,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)
from authz_sidecar.model.model import Section
from authz_sidecar.model.semantics import children, fields_of, reads_request, write_expression
from authz_sidecar.values.request import SOURCES

# A disjunction that would make more branches than this stays residual.
MAX_BRANCHES = 16
# Tokens that the request itself fills, always with text; any other comes from the context.
TEXT_TOKENS = frozenset(SOURCES) - {"context"}
PATTERN_FUNCTIONS = frozenset(
    ("keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "regexMatch", "globMatch")
)


def may_fail(expr: Expr) -> bool:
    """Whether evaluating `expr` on some request can fail."""
    match expr:
        case Attribute() | Arithmetic() | Negate():
            return True
        case Compare(op, _, _) if op not in ("==", "!="):
            return True
        case In(_, container) if not isinstance(container, Sequence):
            return True
        case Call(function, _) if function in ("ipMatch", "timeMatch"):
            return True
        case Token(name) if name not in TEXT_TOKENS:
            return True
    return any(may_fail(part) for part in children(expr))


def plan_section(section: Section) -> tuple[BranchPlan, ...]:
    """The branches of a section's matcher, in the order in which Casbin would try them."""
    return tuple([_plan_branch(conjuncts) for conjuncts in _split(section.matcher) if FALSE not in conjuncts])


def _split(expr: Expr) -> list[tuple[Expr, ...]]:
    """The matcher as a disjunction of conjunctions, splitting only disjunctions that hide an access path."""
    if isinstance(expr, Or) and not _is_one_conjunct(expr):
        branches: list[tuple[Expr, ...]] = []
        for place, operand in enumerate(expr.operands):
            # Python asks an alternative only where those before it do not hold: one that may fail must not be asked
            # elsewhere, or it would fail where Casbin does not.
            earlier = [Not(before) for before in expr.operands[:place]] if may_fail(operand) else []
            branches += [(*earlier, *branch) for branch in _split(operand)]
        return branches if len(branches) <= MAX_BRANCHES else [(expr,)]
    if isinstance(expr, And):
        parts = [_split(operand) for operand in expr.operands]
        count = 1
        for part in parts:
            count *= len(part)
        if count > MAX_BRANCHES:
            return [expr.operands]
        return [tuple([conjunct for piece in choice for conjunct in piece]) for choice in product(*parts)]
    return [(expr,)] if expr != TRUE else [()]


def _is_one_conjunct(expr: Or) -> bool:
    """A disjunction is answered whole unless one of its alternatives has an access path of its own that the
    others lack: then it is split into branches."""
    mixed = [part for part in expr.operands if fields_of(part) and reads_request(part)]
    if not mixed:
        # Alternatives on the rule alone fold away, rule by rule; those on the request alone need no rule.
        return True
    others = [part for part in expr.operands if part not in mixed]
    if len(mixed) == 1 and all(not reads_request(part) for part in others) and _access(mixed[0], None, 0):
        return True
    return not any(_has_access(part) for part in mixed)


def _has_access(expr: Expr) -> bool:
    parts = expr.operands if isinstance(expr, And | Or) else (expr,)
    return any(
        _access(part, None, 0) is not None or (isinstance(part, And | Or) and _has_access(part)) for part in parts
    )


def _side(expr: Expr) -> Token | Const | None:
    """An argument of `g` that the request fills with text, or a constant."""
    if isinstance(expr, Const) or (isinstance(expr, Token) and expr.name in TEXT_TOKENS):
        return expr
    return None


def _access(expr: Expr, free_when: Expr | None, position: int) -> KeyAccess | SetAccess | None:
    match expr:
        case Compare("==", Token(token), Field(field)) | Compare("==", Field(field), Token(token)) if (
            token in TEXT_TOKENS
        ):
            return KeyAccess(token, field, position, free_when)
        case RoleCall(definition, (first, Field(field), *rest)):
            name = _side(first)
            domain = _side(rest[0]) if rest else None
            if name is not None and (domain is not None or not rest):
                return RoleAccess(definition, name, domain, field, position, free_when)
        case Call(function, (Token(token), Field(field))) if function in PATTERN_FUNCTIONS and token in TEXT_TOKENS:
            return PatternAccess(function, token, field, position, free_when)
    return None


def _with_freedom(expr: Expr, position: int) -> KeyAccess | SetAccess | None:
    """The access path of a conjunct, also of `p.x == "*" || r.x == p.x`."""
    if not isinstance(expr, Or):
        return _access(expr, None, position)
    mixed = [part for part in expr.operands if reads_request(part)]
    free = tuple([part for part in expr.operands if not reads_request(part)])
    if len(mixed) != 1 or not free or any(may_fail(part) for part in free):
        return None
    return _access(mixed[0], free[0] if len(free) == 1 else Or(free), position)


def _same_domain(conjunct: Expr, conjuncts: tuple[Expr, ...]) -> Expr:
    """`g(r.sub, p.sub, p.dom)` beside `r.dom == p.dom` asks for the request's domain."""
    if isinstance(conjunct, RoleCall) and len(conjunct.arguments) == 3 and isinstance(conjunct.arguments[2], Field):
        for other in conjuncts:
            access = _access(other, None, 0)
            if isinstance(access, KeyAccess) and access.field == conjunct.arguments[2].name:
                return RoleCall(conjunct.definition, (*conjunct.arguments[:2], Token(access.token)))
    return conjunct


def _plan_branch(conjuncts: tuple[Expr, ...]) -> BranchPlan:
    keys: list[KeyAccess] = []
    sets: list[SetAccess] = []
    guards: list[Expr] = []
    statics: list[Expr] = []
    residual: list[Expr] = []
    for position, written in enumerate(conjuncts):
        conjunct = _same_domain(written, conjuncts)
        access = _with_freedom(conjunct, position)
        if isinstance(access, KeyAccess):
            keys.append(access)
        elif access is not None:
            sets.append(access)
        elif may_fail(conjunct):
            residual.append(conjunct)
        elif not fields_of(conjunct):
            guards.append(conjunct)
        elif not reads_request(conjunct):
            statics.append(conjunct)
        else:
            residual.append(conjunct)
    return BranchPlan(tuple(keys), tuple(sets), tuple(guards), tuple(statics), tuple(residual), conjuncts)


def describe_branch(plan: BranchPlan, suffix: str = "") -> list[PlanLine]:
    """The lines that tell what each conjunct of a branch became, in the order of the matcher."""
    lines: list[PlanLine] = []
    accesses = {access.position: access for access in (*plan.keys, *plan.sets)}
    for position, conjunct in enumerate(plan.conjuncts):
        text = write_expression(conjunct, suffix)
        access = accesses.get(position)
        if access is not None:
            free = access.free_when
            wildcard = f", free where {write_expression(free, suffix)}" if free is not None else ""
        if isinstance(access, KeyAccess):
            lines.append(PlanLine(text, f"hash key on p{suffix}.{access.field}{wildcard}", "one probe"))
        elif isinstance(access, RoleAccess):
            lines.append(
                PlanLine(
                    text,
                    f"role closure of {access.definition} on p{suffix}.{access.field}{wildcard}",
                    "one probe per role held",
                )
            )
        elif isinstance(access, PatternAccess):
            lines.append(
                PlanLine(
                    text,
                    f"pattern prefixes on p{suffix}.{access.field}{wildcard}",
                    "one probe per prefix length, then the patterns of that prefix",
                )
            )
        elif conjunct in plan.guards:
            lines.append(PlanLine(text, "guard on the request", "once per request"))
        elif conjunct in plan.statics:
            lines.append(PlanLine(text, "filter on the rule", "when compiling"))
        else:
            lines.append(PlanLine(text, "residual", "once per candidate, where it does not fold away for the rule"))
    return lines
