"""How far differences reach: the lines that stand on one side only, and the names that come by them."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.model.expression import Expr, RoleCall, Token
from authz_sidecar.model.semantics import children
from authz_sidecar.values import RuleTable

if TYPE_CHECKING:
    from authz_sidecar.review.access.space import SectionSpace
    from authz_sidecar.review.access.statements import SectionRules


class Lines:
    """The rows of two tables that stand in one of them only."""

    def __init__(self, base: RuleTable | None, head: RuleTable | None) -> None:
        contents = [set[tuple[str, ...]]() if table is None else set(_rows_of(table)) for table in (base, head)]
        self._distinct = [len(content) for content in contents]
        self.only = (contents[0] - contents[1], contents[1] - contents[0])
        self.tables = (base, head)

    def rows(self, side: int) -> Iterator[int]:
        """The rows of a side that do not stand on the other, the first of each that says the same."""
        only, table = self.only[side], self.tables[side]
        if not only or table is None:
            return
        seen: set[tuple[str, ...]] = set()
        for row, values in enumerate(_rows_of(table)):
            if values in only and values not in seen:
                seen.add(values)
                yield row

    def count(self, side: int) -> int:
        """How many rows of a side do not stand on the other, or not as often."""
        again = [Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()]
        for table, counts, distinct in zip(self.tables, again, self._distinct, strict=True):
            if table is not None and len(table) != distinct:
                seen: set[tuple[str, ...]] = set()
                for values in _rows_of(table):
                    if values in seen:
                        counts[values] += 1
                    seen.add(values)
        return len(self.only[side]) + (again[side] - again[1 - side]).total()


def touched_names(section: "SectionSpace") -> frozenset[str] | None:
    """The roles and identities for which a section of two sides may differ that are comparable; None if anybody.

    A name is touched if a rule for it stands on one side only, if a link of its own does, or if it is linked to a name
    that is touched.
    """
    sides = [rules for rules in section.sides if rules is not None]
    base, head = sides
    if base.index.section.matcher != head.index.section.matcher:
        return None
    touched: set[str] = set()
    for number, rules in enumerate(sides):
        for row in section.lines.rows(number):
            for branch in rules.branches:
                if branch.is_open(row):
                    return None
                if branch.binding is not None:
                    touched.add(branch.columns[branch.binding.place][row])
    places = section.places
    touched.update([role for role in {*places[0], *places[1]} if places[0].get(role) != places[1].get(role)])
    for definition in section.definitions:
        graphs = [rules.snapshot.graphs[definition] for rules in sides]
        differ = definition not in section.shared
        if differ and any(_looks_up_others(rules, definition) for rules in sides):
            return None
        if any(not _is_plain(graph) for graph in graphs):
            return None
        if differ:
            tables = [rules.snapshot.tables[definition] for rules in sides]
            lines = Lines(*tables)
            for side, table in enumerate(tables):
                touched.update([table.columns[0][row] for row in lines.rows(side)])
    _spread(touched, [rules.snapshot.graphs[definition] for rules in sides for definition in section.definitions])
    return frozenset(touched)


def _spread(touched: set[str], graphs: list[RoleGraph]) -> None:
    """Add every name that links lead from to one that is touched."""
    waiting = True
    while waiting:
        waiting = False
        for graph in graphs:
            for held in graph.links.values():
                for name, roles in held.items():
                    if name in touched:
                        continue
                    if roles in touched if roles.__class__ is str else not touched.isdisjoint(roles):
                        touched.add(name)
                        # Only who holds a role of its own hands it on.
                        waiting = waiting or name in graph.inheriting


def _is_plain(graph: RoleGraph) -> bool:
    return graph.names is None and graph.domains is None and not graph.members


def _looks_up_others(rules: "SectionRules", definition: str) -> bool:
    """Whether a definition is asked about anything else than the subject."""
    for branch in rules.branches:
        for access in branch.accesses:
            if isinstance(access, RoleAccess) and access.definition == definition and access.name != Token("sub"):
                return True
    conditions = [parsed for texts in rules.index.conditions.values() for parsed in texts.values()]
    return any(
        call.definition == definition and call.arguments[0] != Token("sub")
        for expr in (rules.index.section.matcher, *conditions)
        for call in role_calls(expr)
    )


def role_calls(expr: Expr) -> Iterator[RoleCall]:
    """The look-ups of roles in an expression."""
    if isinstance(expr, RoleCall):
        yield expr
    for part in children(expr):
        yield from role_calls(part)


def _rows_of(table: RuleTable) -> Iterator[tuple[str, ...]]:
    return zip(*table.columns, strict=True)
