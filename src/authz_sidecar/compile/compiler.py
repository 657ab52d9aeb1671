"""From a bundle to a snapshot: role graphs, rule order, conditions, indexes; or every reason why not."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from authz_sidecar.bundle.directory_rules import directory_rules
from authz_sidecar.compile.access import BranchPlan, KeyAccess, RoleAccess
from authz_sidecar.compile.index import MAX_CONDITIONS_IN_LEAF, LeafLimitError, build_branch
from authz_sidecar.compile.names import NameSet, name_set
from authz_sidecar.compile.planner import plan_section
from authz_sidecar.compile.roles import RoleGraph, build_graph, pattern_diagnostic
from authz_sidecar.compile.search import LinkSearch, build_link_search, build_section_search
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.compile.subjects import rank_by_hierarchy
from authz_sidecar.model.expression import Call, Const, Eval, Expr, Field
from authz_sidecar.model.grammar import ExpressionError, parse_expression
from authz_sidecar.model.model import Effect, Section
from authz_sidecar.model.patterns import PatternError, compile_pattern
from authz_sidecar.model.semantics import children
from authz_sidecar.values import Diagnostic, RuleTable, Severity

if TYPE_CHECKING:
    # A serving process loads what was compiled, and need not have what reads bundles.
    from authz_sidecar.bundle.bundle import Bundle

# A bundle with thousands of faults is one fault; the rest is counted.
MAX_DIAGNOSTICS = 1000


def compile_bundle(bundle: "Bundle", *, searches: bool = True) -> tuple[Snapshot | None, list[Diagnostic]]:
    """The snapshot of a bundle, and what is wrong with its rules.

    The snapshot is None when any diagnostic is an error. Diagnostics are sorted by place. Without `searches`, which are
    a fifth of the work, it answers no questions about many objects; `with_searches` adds them.
    """
    diagnostics: list[Diagnostic] = []
    plans = {suffix: plan_section(section) for suffix, section in bundle.model.sections.items()}
    graphs: dict[str, RoleGraph] = {}
    for name, definition in bundle.model.roles.items():
        probed: dict[str, None] = {}
        if bundle.role_matching.get(name):
            for suffix, branches in plans.items():
                table = bundle.tables[bundle.model.sections[suffix].ptype]
                for access in (access for branch in branches for access in branch.sets):
                    if isinstance(access, RoleAccess) and access.definition == name:
                        place = bundle.model.sections[suffix].fields.index(access.field)
                        probed.update(dict.fromkeys(table.columns[place]))
        graphs[name], found = build_graph(
            definition,
            bundle.tables[name],
            bundle.role_matching.get(name, ""),
            bundle.domain_matching.get(name, ""),
            bundle.link_conditions.get(name, ""),
            probed,
        )
        diagnostics += found
    sections: dict[str, SectionIndex] = {}
    for suffix, section in bundle.model.sections.items():
        table = bundle.tables[section.ptype]
        conditions, found = _read_conditions(section, table)
        found += _check_patterns(section, table)
        diagnostics += found
        if found:
            continue
        order = _order(section, table, bundle)
        rows, denials, effects = _by_effect(section, table, order)
        try:
            indexes = [build_branch(plan, table, section.fields, rows, conditions) for plan in plans[suffix]]
        except LeafLimitError as error:
            diagnostics.append(_too_many(table, error.row))
            continue
        sections[suffix] = SectionIndex(
            section,
            tuple(indexes),
            None if isinstance(rows, range) else array("I", rows),
            denials,
            effects,
            conditions,
            _names(section, table, plans[suffix]),
        )
    diagnostics.sort(key=lambda diagnostic: diagnostic.sort_key)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics):
        return None, diagnostics[:MAX_DIAGNOSTICS]
    snapshot = Snapshot(bundle.name, bundle.model, bundle.tables, graphs, sections, {}, {}, directory_rules(bundle))
    if searches:
        return with_searches(snapshot), diagnostics[:MAX_DIAGNOSTICS]
    # Where names or domains of links are patterns, who holds what is found by search alone.
    patterned = [
        name for name, graph in graphs.items() if graph.names is not None or graph.domains is not None or graph.members
    ]
    return (
        msgspec.structs.replace(snapshot, link_searches=_link_searches(snapshot, patterned)),
        diagnostics[:MAX_DIAGNOSTICS],
    )


def with_searches(snapshot: Snapshot) -> Snapshot:
    """The snapshot with what finds rules and links for questions about many objects."""
    tables, sections = snapshot.tables, snapshot.sections
    return msgspec.structs.replace(
        snapshot,
        searches={
            suffix: build_section_search(index.section, index.branches, tables[index.section.ptype], index.order)
            for suffix, index in sections.items()
        },
        link_searches=_link_searches(snapshot, snapshot.graphs),
    )


def _link_searches(snapshot: Snapshot, names: Iterable[str]) -> dict[str, LinkSearch]:
    """The searches of the links of these role definitions."""
    asking = [(index.section, index.conditions) for index in snapshot.sections.values()]
    return {name: build_link_search(snapshot.graphs[name], snapshot.tables[name], asking) for name in names}


def _too_many(table: RuleTable, row: int) -> Diagnostic:
    return Diagnostic(
        table.span(row),
        "rule-conditions",
        f"one request would try the conditions of more than {MAX_CONDITIONS_IN_LEAF:,} rules",
        "compare more fields of the rule with the request in the matcher, such as `r.obj == p.obj`",
    )


def walk(expr: Expr) -> Iterator[Expr]:
    """An expression and all its parts."""
    yield expr
    for part in children(expr):
        yield from walk(part)


def _read_conditions(section: Section, table: RuleTable) -> tuple[dict[str, dict[str, Expr]], list[Diagnostic]]:
    """The parsed conditions that rules carry, by field and text; each text is parsed once."""
    conditions: dict[str, dict[str, Expr]] = {}
    diagnostics: list[Diagnostic] = []
    for field in sorted({part.field for part in walk(section.matcher) if isinstance(part, Eval)}):
        parsed = conditions.setdefault(field, {})
        refused: set[str] = set()
        for row, text in enumerate(table.columns[section.fields.index(field)]):
            if text in parsed or text in refused:
                continue
            try:
                expr = parse_expression(text, section.names)
            except ExpressionError as error:
                refused.add(text)
                diagnostics.append(
                    Diagnostic(
                        table.span(row), error.code, f"the condition `{_short(text)}`: {error.message}", error.help
                    )
                )
                continue
            parsed[text] = expr
            for function, pattern in _constant_patterns(expr):
                try:
                    compile_pattern(function, pattern)
                except PatternError as error:
                    diagnostics.append(pattern_diagnostic(table, row, error))
    return conditions, diagnostics


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


def _constant_patterns(expr: Expr) -> list[tuple[str, str]]:
    return [
        (part.function, part.arguments[1].value)
        for part in walk(expr)
        if isinstance(part, Call)
        and part.function != "timeMatch"
        and isinstance(part.arguments[1], Const)
        and isinstance(part.arguments[1].value, str)
    ]


def _check_patterns(section: Section, table: RuleTable) -> list[Diagnostic]:
    """A diagnostic for every pattern, in the matcher or in a rule, that its function cannot take."""
    diagnostics: list[Diagnostic] = []
    for function, pattern in _constant_patterns(section.matcher):
        try:
            compile_pattern(function, pattern)
        except PatternError as error:
            diagnostics.append(Diagnostic(section.span, "pattern-syntax", error.message, error.help))
    checked: set[tuple[str, str]] = set()
    for part in walk(section.matcher):
        if not isinstance(part, Call) or part.function == "timeMatch" or not isinstance(part.arguments[1], Field):
            continue
        column = table.columns[section.fields.index(part.arguments[1].name)]
        for row, text in enumerate(column):
            if (part.function, text) in checked:
                continue
            checked.add((part.function, text))
            try:
                compile_pattern(part.function, text)
            except PatternError as error:
                diagnostics.append(pattern_diagnostic(table, row, error))
    return diagnostics


def _names(section: Section, table: RuleTable, plans: Sequence[BranchPlan]) -> dict[str, NameSet]:
    """The names in each field that is compared with the subject, or with the roles of anything."""
    accesses = [access for plan in plans for access in (*plan.keys, *plan.sets)]
    fields = {
        access.field
        for access in accesses
        if isinstance(access, RoleAccess) or (isinstance(access, KeyAccess) and access.token == "sub")
    }
    return {field: name_set(table.columns[section.fields.index(field)]) for field in sorted(fields)}


def _order(section: Section, table: RuleTable, bundle: "Bundle") -> list[int] | range:
    """The rows in the order in which the effect reads them (source: pycasbin's load_policy)."""
    order: list[int] | range = range(len(table))
    if section.effect is Effect.SUBJECT_PRIORITY:
        order = rank_by_hierarchy(section, table, bundle.tables["g"])
    if "priority" in section.fields:
        column = table.columns[section.fields.index("priority")]
        order = sorted(order, key=lambda row: int(column[row]))
    return order


def _by_effect(
    section: Section, table: RuleTable, order: list[int] | range
) -> tuple[list[int] | range, int, bytes | None]:
    """The rows that can decide, in deciding order; how many of the first ones deny; or each one's effect."""
    if "eft" not in section.fields:
        return order, 0, None
    effects = table.columns[section.fields.index("eft")]
    if section.effect in (Effect.PRIORITY, Effect.SUBJECT_PRIORITY):
        return order, 0, bytes([effects[row] == "deny" for row in order])
    denying = [row for row in order if effects[row] == "deny"]
    allowing = [row for row in order if effects[row] == "allow"]
    if section.effect is Effect.ALLOW_OVERRIDE:
        return (order if not denying else allowing), 0, None
    return (order if not denying else denying + allowing), len(denying), None
