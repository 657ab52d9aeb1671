"""From statements back to the lines that say them: what stands on one side only and makes a difference."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.review.access.boxes import Area, box_of
from authz_sidecar.review.access.change import Box, Cause, Inexact, Kind
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.explore import Behind, bits
from authz_sidecar.review.access.holdings import closure
from authz_sidecar.review.access.lines import Lines
from authz_sidecar.review.access.section_space import SIDES, SectionSpace
from authz_sidecar.review.access.statements import Branch, SectionRules
from authz_sidecar.review.access.views import Holding, View, holdings_of
from authz_sidecar.values import Rule
from authz_sidecar.values.texts import Texts

# Conditions that one sentence names.
_NAMED = 3


def too_many(box: Box, subjects: tuple[str, ...]) -> Inexact:
    """The part of the space that was not gone through as it falls into too many cells."""
    return Inexact(
        why="the rules cut these requests into too many parts to compare each",
        responsible=(),
        added=(),
        removed=(),
        box=box,
        subjects=subjects,
    )


class Way(NamedTuple):
    """A role by which a rule of a branch is reached on a side."""

    side: int
    branch: int
    role: str


class Trace(NamedTuple):
    """Rules that make a difference, which whoever holds the same roles has in common, and the ways to them."""

    causes: tuple[Cause, ...]
    ways: tuple[Way, ...]


class Tracing:
    """Finds the lines behind statements in a section of both sides."""

    def __init__(self, section: SectionSpace) -> None:
        self._section = section
        self._links: dict[str, Lines] = {}
        self._by_name: dict[tuple[str, int], dict[str, list[int]]] = {}

    def links(self, definition: str) -> Lines:
        """The links of a definition that stand on one side only."""
        found = self._links.get(definition)
        if found is None:
            tables = [None if rules is None else rules.snapshot.tables.get(definition) for rules in self._section.sides]
            found = self._links[definition] = Lines(*tables)
        return found

    def trace(self, kind: Kind, asker: Asker, found: Behind, gained: bool) -> Trace:
        """The rules that stand on one side only and make a change, and the ways by which links may."""
        allowing = self._section.settlement.allowing
        wanted = (
            (found.base & ~allowing, found.head & allowing)
            if gained
            else (found.base & allowing, found.head & ~allowing)
        )
        return self._trace(kind, asker, wanted if any(wanted) else (found.base, found.head))

    def _trace(self, kind: Kind, asker: Asker, masks: tuple[int, int]) -> Trace:
        causes: dict[tuple[object, ...], Cause] = {}
        ways: dict[Way, None] = {}
        for side, mask in enumerate(masks):
            rules = self._section.sides[side]
            if rules is None or not mask:
                continue
            only = self._section.lines.only[side]
            others = [
                (branch, access, column)
                for branch in rules.branches
                for access, column in zip(branch.accesses, branch.columns, strict=True)
                if isinstance(access, RoleAccess)
                and (branch.binding is None or access.field != branch.binding.field)
                and self.links(access.definition).only[side]
            ]
            for branch, holding, row in self._rows(kind, asker, side, mask):
                if rules.table.values(row) in only:
                    rule = rules.table.rule(row)
                    causes.setdefault((side, rule.span, rule.via), Cause(SIDES[side], rule))
                if holding is not None and holding.role != asker.name:
                    ways[Way(side, branch.number, holding.role)] = None
                for other, access, column in others:
                    if other is branch:
                        for link in self._leading_to(side, rules, access, column[row]):
                            causes.setdefault((side, link.span, link.ptype), Cause(SIDES[side], link))
        return Trace(tuple(sorted(causes.values(), key=cause_key)), tuple(ways))

    def links_of(self, asker: Asker, ways: Iterable[Way], companies: Texts) -> list[Cause]:
        """The links that stand on one side only and lead a subject on these ways."""
        found: dict[tuple[int, int], Cause] = {}
        for way in ways:
            rules = self._section.sides[way.side]
            if rules is not None:
                branch = rules.branches[way.branch]
                for row in self._leading(way.side, rules, branch, asker.name, way.role, companies):
                    definition = branch.binding.definition if branch.binding is not None else ""
                    link = rules.snapshot.tables[definition].rule(row)
                    found.setdefault((way.side, row), Cause(SIDES[way.side], link))
        return list(found.values())

    def _rows(self, kind: Kind, asker: Asker, side: int, mask: int) -> Iterator[tuple[Branch, Holding | None, int]]:
        """The rules of one side that say one of these statements to who asks."""
        rules = self._section.sides[side]
        if rules is None:
            return
        place = self._section.places[side].get(asker.name) if kind is Kind.ROLE else None
        holdings: list[Holding | None] = [*holdings_of(rules, asker, place)]
        for branch in rules.branches:
            here = [holding for holding in holdings if holding is not None and holding.branch == branch.number]
            for holding in (None, *here):
                name = None if holding is None else holding.role
                if holding is None or not holding.condition:
                    for row in branch.rows(name, mask):
                        yield branch, holding, row
                _, late = branch.mask(name)
                if holding is not None and holding.condition:
                    late = branch.bound.get(holding.role, [])
                for row in late:
                    said = branch.said(row, asker)
                    if branch.statements(row, said, "" if holding is None else holding.condition) & mask:
                        yield branch, holding, row

    def _leading(
        self, side: int, rules: SectionRules, branch: Branch, name: str, role: str, companies: Texts
    ) -> Iterator[int]:
        """The links of one side alone, as rows, on the ways from a name to a role."""
        binding = branch.binding
        if binding is None or not binding.definition:
            return
        by_name = self._changed_by_name(binding.definition, side)
        if not by_name:
            return
        graph = rules.snapshot.graphs[binding.definition]
        columns = rules.snapshot.tables[binding.definition].columns
        if graph.names is not None:
            names = sorted(by_name)
        elif graph.inheriting.isdisjoint(by_name):
            names = [name] if name in by_name else []
        else:
            names = sorted((rules.held_by(name) | {name}) & by_name.keys())
        for one in names:
            for row in by_name[one]:
                domain = columns[2][row] if graph.has_domain else ""
                if graph.has_domain and graph.domains is None:
                    counts = domain in companies if binding.by_company else domain == binding.domain
                    if not counts:
                        continue
                if graph.names is not None or role in closure(graph, columns[1][row], domain):
                    yield row

    def _changed_by_name(self, definition: str, side: int) -> dict[str, list[int]]:
        found = self._by_name.get((definition, side))
        if found is None:
            found = self._by_name[definition, side] = {}
            lines = self.links(definition)
            table = lines.tables[side]
            for row in lines.rows(side):
                if table is not None:
                    found.setdefault(table.columns[0][row], []).append(row)
        return found

    def _leading_to(self, side: int, rules: SectionRules, access: RoleAccess, role: str) -> Iterator[Rule]:
        """The links of one side alone that lead to a role of something else than the subject, such as an object."""
        graph = rules.snapshot.graphs[access.definition]
        table = rules.snapshot.tables[access.definition]
        for rows in self._changed_by_name(access.definition, side).values():
            for row in rows:
                domain = table.columns[2][row] if graph.has_domain else ""
                if role in closure(graph, table.columns[1][row], domain):
                    yield table.rule(row)

    def inexact(
        self, kind: Kind, asker: Asker, view: View, area: Area, found: Behind, subjects: tuple[str, ...]
    ) -> Inexact:
        """What is to be said of requests whose outcome is not known."""
        opened = self._section.settlement.open_in(found.all)
        responsible: dict[Rule, None] = {}
        conditions = {self._section.book.statements[bit].condition: None for bit in bits(opened)}
        trace = self._trace(kind, asker, (found.base, found.head))
        differing = [*trace.causes, *self.links_of(asker, trace.ways, area[0])]
        for side in (0, 1):
            rules = self._section.sides[side]
            if rules is not None:
                mask = (view.base, view.head)[side] & opened
                responsible.update({rules.table.rule(row): None for _, _, row in self._rows(kind, asker, side, mask)})
        return Inexact(
            why=_why(list(conditions)),
            responsible=tuple(sorted(responsible, key=rule_key)),
            added=tuple(sorted({cause.rule for cause in differing if cause.side == "head"}, key=rule_key)),
            removed=tuple(sorted({cause.rule for cause in differing if cause.side == "base"}, key=rule_key)),
            box=box_of(area, self._section.suffix),
            subjects=subjects,
        )


def _why(conditions: Iterable[str]) -> str:
    named = [f"`{text.removesuffix(' at base').removesuffix(' at head')}`" for text in conditions]
    named = list(dict.fromkeys(named))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    verb = "decide" if len(named) > 1 else "decides"
    return f"{', '.join(named[:_NAMED])}{more} {verb} there, which no list of requests can tell"


def rule_key(rule: Rule) -> tuple[object, ...]:
    """Rules by place."""
    return (rule.span, rule.ptype, rule.values, rule.via)


def cause_key(cause: Cause) -> tuple[object, ...]:
    """Causes by place, those of the base before those of the head."""
    return (cause.side, *rule_key(cause.rule))
