"""How far differences reach: the names that come by the lines that stand on one side only."""

from collections.abc import Iterable, Mapping, Sequence, Set

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.model.expression import Token
from authz_sidecar.review.access.lines import Lines, role_calls
from authz_sidecar.review.access.statements import SectionRules
from authz_sidecar.review.access.views import RolePlace


def touched_names(
    base: SectionRules,
    head: SectionRules,
    changed: Lines,
    places: Sequence[Mapping[str, RolePlace]],
    definitions: Iterable[str],
    shared: Set[str],
) -> frozenset[str] | None:
    """The roles and identities for which a section of two comparable sides may differ; None if anybody.

    A name is touched if a rule for it is among the `changed`, if it is a role with another place, if a link of its own
    stands on one side only, or if it is linked to a name that is touched. Of the section's role `definitions` those in
    `shared` are the same on both sides.
    """
    sides = (base, head)
    if base.index.section.matcher != head.index.section.matcher:
        return None
    touched: set[str] = set()
    for number, rules in enumerate(sides):
        for row in changed.rows(number):
            for branch in rules.branches:
                if branch.is_open(row):
                    return None
                if branch.binding is not None:
                    touched.add(branch.columns[branch.binding.place][row])
    touched.update([role for role in {*places[0], *places[1]} if places[0].get(role) != places[1].get(role)])
    for definition in definitions:
        graphs = [rules.snapshot.graphs[definition] for rules in sides]
        differ = definition not in shared
        if differ and any(_looks_up_others(rules, definition) for rules in sides):
            return None
        if any(not _is_plain(graph) for graph in graphs):
            return None
        if differ:
            tables = [rules.snapshot.tables[definition] for rules in sides]
            lines = Lines(*tables)
            for side, table in enumerate(tables):
                touched.update([table.columns[0][row] for row in lines.rows(side)])
    _spread(touched, [rules.snapshot.graphs[definition] for rules in sides for definition in definitions])
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


def _looks_up_others(rules: SectionRules, definition: str) -> bool:
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
