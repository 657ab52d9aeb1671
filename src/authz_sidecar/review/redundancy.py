"""Rules that no decision depends on, told by the places at which they are written.

One place in YAML makes many rules: a grant, for each object type and action and for each role that inherits it. It is
told once, and only where none of its rules is needed. Of places that stand in for each other one is always kept, so
that everything that is told can be removed together.
"""

import enum
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.model import Effect
from authz_sidecar.review.coverage import Coverage, Group, Shapes
from authz_sidecar.review.reach import BranchRules, Holders, Reach
from authz_sidecar.review.widening import PatternForms
from authz_sidecar.values import RuleTable, Span

Place: TypeAlias = Span | int
_NO_PART_OF_A_SET = frozenset(("eft", "priority"))


class Redundancy(enum.Enum):
    """Why no decision depends on a rule: no request reaches it, it is there twice, there with the other effect, which
    wins, or others cover it."""

    UNREACHABLE = "unreachable"
    DUPLICATE = "duplicate"
    CONTRADICTED = "contradicted"
    SHADOWED = "shadowed"


class Redundant(msgspec.Struct, frozen=True):
    """A place whose rules no decision depends on; `row` is the first of them.

    `by` are the rows that decide instead, one for each place, the first row's first; `why` says in words what keeps
    requests from an unreachable rule. Where only some rules of a place are written twice, or contradicted, `whole` is
    False.
    """

    kind: Redundancy
    section: SectionIndex
    table: RuleTable
    row: int
    by: tuple[int, ...] = ()
    why: str = ""
    whole: bool = True


class Redundancies(msgspec.Struct, frozen=True):
    """The redundant places of all sections, in the order of their rows, and by section every row that no decision
    depends on, those included whose place makes other rows that are needed."""

    places: list[Redundant]
    rows: dict[str, frozenset[int]]


def find_redundant(bundle: Bundle, snapshot: Snapshot) -> Redundancies:
    """What is redundant in a bundle. It takes the links of the bundle for all there are."""
    holders = {name: Holders(graph) for name, graph in snapshot.graphs.items()}
    grants = _grant_places(bundle) if bundle.form == "yaml" else None
    places: list[Redundant] = []
    rows: dict[str, frozenset[int]] = {}
    for suffix, index in snapshot.sections.items():
        found, rows[suffix] = _SectionReview(snapshot, index, holders, grants).find()
        places += found
    return Redundancies(places, rows)


class _Grants(msgspec.Struct, frozen=True):
    """Where grants are written: single ones, and all, those through data domains included."""

    single: frozenset[Span]
    all: frozenset[Span]


def _grant_places(bundle: Bundle) -> _Grants:
    single = {grant.span for role in bundle.roles.values() for grant in role.grants}
    single.update(grant.span for assignment in bundle.assignments for grant in assignment.grants)
    domains = {
        role.value_span("data_domains", number)
        for role in bundle.roles.values()
        for number in range(len(role.data_domains))
    }
    return _Grants(frozenset(single), frozenset(single | domains))


class _SectionReview:
    """The review of one section."""

    def __init__(
        self, snapshot: Snapshot, index: SectionIndex, holders: dict[str, Holders], grants: _Grants | None
    ) -> None:
        self._snapshot = snapshot
        self._index = index
        self._table = snapshot.tables[index.section.ptype]
        self._grants = grants
        self._forms = PatternForms()
        self._branches = [BranchRules(branch, index, snapshot, self._forms) for branch in index.branches]
        self._reaches = [Reach(rules, holders) for rules in self._branches]
        self._unreachable: dict[int, str] = {}
        self._places: dict[int, Place] = {}

    def find(self) -> tuple[list[Redundant], frozenset[int]]:
        """The redundant places, in the order of their first rows, and all redundant rows."""
        shapes = self._review_reach()
        if self._index.section.effect is Effect.DENY_OVERRIDE and len(self._unreachable) == len(self._table):
            # Without any rule such an effect denies instead of allowing.
            return [], frozenset()
        coverage = Coverage(self._snapshot, self._index, self._branches, shapes, self._forms)
        instead = self._replacements(coverage)
        return list(self._tell(instead)), frozenset([*instead, *self._unreachable])

    def _review_reach(self) -> list[Shapes | None]:
        """The shapes of every row; None for one that no request reaches, which is remembered with the reason."""
        decided = None if self._index.order is None else frozenset(self._index.order)
        shapes: list[Shapes | None] = []
        for row in range(len(self._table)):
            if decided is not None and row not in decided:
                why = f"a deny decides nothing under the effect `{self._index.section.effect}`"
                shapes.append(None)
                self._unreachable[row] = why
                continue
            own = tuple([rules.shape(row) for rules in self._branches])
            why = "its fields and its condition exclude each other"
            for shape, reach in zip(own, self._reaches, strict=True):
                if shape is not None:
                    why = reach.fault(row, shape)
                    if not why:
                        break
            if why:
                self._unreachable[row] = why
            shapes.append(None if why else own)
        return shapes

    def _replacements(self, coverage: Coverage) -> dict[int, int]:
        """For each row that others cover, the row that decides instead and stays."""
        groups = coverage.groups
        above = list(range(len(groups)))

        def root(number: int) -> int:
            while above[number] != number:
                above[number] = above[above[number]]
                number = above[number]
            return number

        for number in range(len(groups)):
            for other in coverage.covering(number):
                # INVARIANT one-is-kept: groups that cover each other lead to one of them, never in a circle.
                if root(other) != number:
                    above[number] = root(other)
                    break
        roots = [root(number) for number in range(len(groups))]
        kept = self._kept_rows(groups, roots, coverage.ordered)
        instead: dict[int, int] = {}
        for number, group in enumerate(groups):
            for row in group.rows:
                if row != kept[roots[number]]:
                    instead[row] = kept[roots[number]]
        return instead

    def _kept_rows(self, groups: Sequence[Group], roots: Sequence[int], ordered: bool) -> dict[int, int]:
        """For each group that no other covers, the row to keep: the first, or where their order is nothing, one whose
        place is needed anyhow."""
        tops = [number for number, top in enumerate(roots) if number == top]
        if ordered or self._grants is None:
            return {number: groups[number].rows[0] for number in tops}
        needed = {self._place(groups[number].rows[0]) for number in tops if len(groups[number].rows) == 1}
        for number in tops:
            if all(self._place(row) not in needed for row in groups[number].rows):
                needed.add(self._place(groups[number].rows[0]))
        return {number: next(row for row in groups[number].rows if self._place(row) in needed) for number in tops}

    def _place(self, row: int) -> Place:
        """Where a row is written; in rows of their own the row itself."""
        if self._grants is None:
            return row
        place = self._places.get(row)
        if place is None:
            place = self._places[row] = self._table.span(row)
        return place

    def _tell(self, instead: dict[int, int]) -> Iterator[Redundant]:
        if not instead and not self._unreachable:
            return
        rows_at: dict[Place, list[int]] = {}
        for row in range(len(self._table)) if self._grants is not None else sorted({*instead, *self._unreachable}):
            rows_at.setdefault(self._place(row), []).append(row)
        for place, rows in rows_at.items():
            if self._grants is not None and place not in self._grants.all:
                continue
            told = self._of_place(place, rows, instead)
            if told is not None:
                yield told

    def _of_place(self, place: Place, rows: list[int], instead: dict[int, int]) -> Redundant | None:
        index, table = self._index, self._table
        if all(row in self._unreachable for row in rows):
            return Redundant(Redundancy.UNREACHABLE, index, table, rows[0], why=self._unreachable[rows[0]])
        covered = [row for row in rows if row in instead]
        if len(covered) + sum(row in self._unreachable for row in rows) == len(rows):
            kinds = {self._relation(row, instead[row]) for row in covered}
            kind = kinds.pop() if len(kinds) == 1 else Redundancy.SHADOWED
            by = {self._place(instead[row]): instead[row] for row in reversed(covered)}
            return Redundant(kind, index, table, covered[0], tuple(reversed(by.values())))
        if self._grants is not None and place in self._grants.single:
            for row in covered:
                other = instead[row]
                kind = self._relation(row, other)
                written = not table.rule(row).via and self._place(other) in self._grants.single
                if kind is not Redundancy.SHADOWED and written:
                    return Redundant(kind, index, table, row, (other,), whole=False)
        return None

    def _relation(self, row: int, other: int) -> Redundancy:
        """What a row is to one that decides instead: the same rule, come by the same way, the same with the other
        effect, or neither."""
        one, two = self._table.rule(row), self._table.rule(other)
        if one.via != two.via:
            return Redundancy.SHADOWED
        if one.values == two.values:
            return Redundancy.DUPLICATE
        differing = {
            field
            for field, mine, its in zip(self._index.section.fields, one.values, two.values, strict=True)
            if mine != its
        }
        # A priority says which of the two wins, and nothing about what they are for.
        return Redundancy.CONTRADICTED if "eft" in differing and differing <= _NO_PART_OF_A_SET else Redundancy.SHADOWED
