"""Which rules a request can reach at all.

A rule that no request matches is known by what it wants of one: a value that no request may hold, two values for one
token, a condition that its own fields rule out, a role that nobody holds where the rule asks for it. What cannot be
told from the policy alone is taken to be reachable.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.access import KeyAccess, PatternAccess, RoleAccess, SetAccess
from authz_sidecar.compile.fold import FALSE, specialise
from authz_sidecar.compile.index import BranchIndex, classify, deciding_fields
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.expression import And, Const, Expr, Token
from authz_sidecar.model.semantics import children, rebuild, write_expression
from authz_sidecar.review.widening import PatternForms
from authz_sidecar.values import build_request
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES


def value_fault(source: str, value: str) -> str:
    """Why no request holds `value` in the part `source` (a value of `SOURCES`), in words; "" if one does."""
    if source == "object":
        kind, colon, id = value.partition(":")
        alone = _faults(id=value)
        # `a:b` is an id as it stands, or the type `a` with the id `b`.
        return alone if not (colon and kind and id) or not alone else _faults(type=kind, id=id)
    return _faults(**{source: value}) if source != "context" else ""


def _faults(subject: str = "someone", action: str = "act", **values: str) -> str:
    _, violations = build_request(subject, action, **values)  # type: ignore[arg-type]  # only texts are passed
    return violations[0].description if violations else ""


class RuleShape(NamedTuple):
    """What rules with the same deciding fields share in a branch: which accesses they leave free (a bit for each) and
    which not (by number), the condition left to them, as an expression and as text, and what of it their own fields
    may rule out."""

    free: int
    bound: tuple[int, ...]
    residual: Expr
    text: str
    checks: tuple[Expr, ...]


class BranchRules:
    """The rules of a section as one branch of its matcher sees them."""

    def __init__(self, branch: BranchIndex, section: SectionIndex, snapshot: Snapshot, forms: PatternForms) -> None:
        table = snapshot.tables[section.section.ptype]
        fields = section.section.fields
        self.plan = branch.plan
        self.accesses = (*branch.plan.keys, *branch.plan.sets)
        self.columns = [table.columns[fields.index(access.field)] for access in self.accesses]
        self._conditions = section.conditions
        self._deciding = deciding_fields(branch.plan)
        self._deciding_columns = [table.columns[fields.index(name)] for name in self._deciding]
        self._shapes: dict[tuple[str, ...], RuleShape | None] = {}
        self.forms = forms
        self._patterns = [
            (place, access.function) for place, access in enumerate(self.accesses) if isinstance(access, PatternAccess)
        ]
        self._interned: dict[tuple[int, str], RuleShape] = {}

    def shape(self, row: int) -> RuleShape | None:
        """The shape of one rule; None if its fields or its condition rule out that it ever matches here."""
        values = tuple([column[row] for column in self._deciding_columns])
        if values not in self._shapes:
            self._shapes[values] = self._classify(dict(zip(self._deciding, values, strict=True)))
        shape = self._shapes[values]
        if shape is None or not self._patterns:
            return shape
        free = shape.free
        for place, function in self._patterns:
            if self.forms.form(function, self.columns[place][row]) == ("prefix", ""):
                free |= 1 << place
        return shape if free == shape.free else self._intern(free, shape.residual, shape.text)

    def _classify(self, values: Mapping[str, str]) -> RuleShape | None:
        found = classify(self.plan, values, self._conditions)
        return None if found is None else self._intern(*found, write_expression(found[1]))

    def _intern(self, free: int, residual: Expr, text: str) -> RuleShape:
        shape = self._interned.get((free, text))
        if shape is None:
            bound = tuple([place for place in range(len(self.accesses)) if not free >> place & 1])
            shape = RuleShape(free, bound, residual, text, tuple(self._checks(free, residual)))
            self._interned[free, text] = shape
        return shape

    def _checks(self, free: int, residual: Expr) -> Iterator[Expr]:
        """Conditions that a matching request meets and that tell the tokens that keys fix. What stands behind a part
        that may fail is left out: the failure is seen, whether or not the rest could ever hold."""
        fixed = {SOURCES[access.token] for place, access in enumerate(self.plan.keys) if not free >> place & 1}
        for part in (*self.plan.guards, *(residual.operands if isinstance(residual, And) else (residual,))):
            if may_fail(part):
                return
            if not fixed.isdisjoint(_sources(part)):
                yield part


def _sources(expr: Expr) -> Iterator[str]:
    if isinstance(expr, Token) and expr.name in SOURCES:
        yield SOURCES[expr.name]
    for part in children(expr):
        yield from _sources(part)


def filled(expr: Expr, values: Mapping[str, str]) -> Expr:
    """`expr` with the tokens that are known from `values` (source to value), folded."""
    if isinstance(expr, Token):
        value = values.get(SOURCES.get(expr.name, ""))
        return expr if value is None else Const(value)
    return specialise(rebuild(expr, lambda part: filled(part, values)), {}, {})


class Holders:
    """Who can hold which role: what is reached from names that a request may give."""

    def __init__(self, graph: RoleGraph) -> None:
        self._graph = graph
        # Where names, roles or domains are patterns, what is held is not told by the links alone.
        self.tells = graph.names is None and graph.domains is None and not graph.members
        self._reached: dict[tuple[str, str], frozenset[str]] = {}
        self._anywhere: dict[str, frozenset[str]] = {}

    def in_domain(self, domain: str, source: str) -> frozenset[str]:
        """The roles that some value of `source` holds in `domain`."""
        key = (domain, source)
        if key not in self._reached:
            links = self._graph.links.get(domain, {})
            waiting = [name for name in links if not value_fault(source, name)]
            found: set[str] = set()
            while waiting:
                held = links.get(waiting.pop(), ())
                for role in (held,) if isinstance(held, str) else held:
                    if role not in found:
                        found.add(role)
                        waiting.append(role)
            self._reached[key] = frozenset(found)
        return self._reached[key]

    def anywhere(self, source: str) -> frozenset[str]:
        """The roles that some value of `source` holds in any domain."""
        if source not in self._anywhere:
            self._anywhere[source] = frozenset[str]().union(
                *[self.in_domain(domain, source) for domain in self._graph.links]
            )
        return self._anywhere[source]


class Reach:
    """Tells for each rule of a section why no request reaches it through one branch."""

    def __init__(self, rules: BranchRules, holders: Mapping[str, Holders]) -> None:
        self._rules = rules
        self._holders = holders
        self._faults: list[dict[str, str]] = [{} for _ in rules.accesses]
        self._checked: dict[tuple[object, ...], str] = {}
        keys = [(place, SOURCES[access.token]) for place, access in enumerate(rules.plan.keys)]
        self._keys = keys
        self._twins = [(one, other) for one, source in keys for other, again in keys if one < other and source == again]

    def fault(self, row: int, shape: RuleShape) -> str:
        """Why no request reaches the rule, in words; "" if one may."""
        rules = self._rules
        for place in shape.bound:
            value = rules.columns[place][row]
            access = rules.accesses[place]
            faults = self._faults[place]
            problem = faults.get(value)
            if problem is None:
                problem = faults[value] = self._value_fault(access, value)
            if problem and isinstance(access, RoleAccess):
                problem = self._role_fault(access, value, problem, row, shape)
            if problem:
                return problem
        for one, other in self._twins:
            if not (shape.free >> one | shape.free >> other) & 1:
                first, second = rules.columns[one][row], rules.columns[other][row]
                if first != second:
                    return f"`r.{rules.plan.keys[one].token}` would be both {quote(first)} and {quote(second)}"
        return self._condition_fault(row, shape) if shape.checks else ""

    def _value_fault(self, access: KeyAccess | SetAccess, value: str) -> str:
        if isinstance(access, RoleAccess):
            return value_fault(SOURCES[access.name.name], value) if isinstance(access.name, Token) else ""
        source = SOURCES[access.token]
        if isinstance(access, KeyAccess):
            return value_fault(source, value)
        kind, literal = self._rules.forms.form(access.function, value)
        # Whatever follows the beginning of a pattern, neither of the two becomes a value of a request.
        if (
            kind == "exact"
            or (source == "subject" and literal.startswith(ROLE_PREFIX))
            or (source == "type" and ":" in literal)
        ):
            return value_fault(source, literal)
        return ""

    def _role_fault(self, access: RoleAccess, value: str, problem: str, row: int, shape: RuleShape) -> str:
        """Why nobody comes by a role that no request names itself, which is its `problem`; "" if somebody may."""
        holders = self._holders[access.definition]
        if not isinstance(access.name, Token) or not holders.tells:
            return ""
        source = SOURCES[access.name.name]
        if value not in holders.anywhere(source):
            # A role that nobody holds anywhere is told once, at the role.
            return "" if value.startswith(ROLE_PREFIX) else problem
        domain = domain_of(access, self._rules, row, shape)
        if domain is None or value in holders.in_domain(domain, source):
            return ""
        place = "on the platform" if domain == "*" else f"in {quote(domain)}"
        return f"nobody holds {quote(value)} {place}"

    def _condition_fault(self, row: int, shape: RuleShape) -> str:
        rules = self._rules
        values = {source: rules.columns[place][row] for place, source in self._keys if not shape.free >> place & 1}
        key = (shape.text, *values.items())
        found = self._checked.get(key)
        if found is None:
            found = next(
                (
                    f"`{write_expression(check)}` cannot hold beside its other fields"
                    for check in shape.checks
                    if filled(check, values) == FALSE
                ),
                "",
            )
            self._checked[key] = found
        return found


def domain_of(access: RoleAccess, rules: BranchRules, row: int, shape: RuleShape) -> str | None:
    """The domain in which a rule asks for its role: "" where the definition has none, None where it is the request's
    and the rule leaves it open."""
    if access.domain is None:
        return ""
    if isinstance(access.domain, Const):
        return str(access.domain.value)
    for place, key in enumerate(rules.plan.keys):
        if SOURCES[key.token] == SOURCES[access.domain.name] and not shape.free >> place & 1:
            return rules.columns[place][row]
    return None
