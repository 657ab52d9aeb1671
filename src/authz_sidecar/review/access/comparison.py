"""What differs for one subject in a section of both sides.

Subjects who see the same statements through the same roles have the same differences, so that these are worked out
once however many hold a role: only their companies, and the links that made them holders, are their own.
"""

from collections.abc import Hashable
from typing import NamedTuple

from authz_sidecar.review.access.boxes import Area, box_of, joined, meet
from authz_sidecar.review.access.change import Cause, Inexact, Kind
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.explore import Budget, Found, Mark, TooManyCellsError
from authz_sidecar.review.access.section_space import SectionSpace
from authz_sidecar.review.access.tracing import Trace, Tracing, too_many
from authz_sidecar.review.access.views import View
from authz_sidecar.values.texts import Texts

_UNKNOWN = "unknown"


class Difference(NamedTuple):
    """Requests of a subject that come out differently: gained or lost, the roles that have the same, and the rules and
    links that make it."""

    area: Area
    gained: bool
    roles: tuple[str, ...]
    rules: tuple[Cause, ...]
    links: tuple[Cause, ...]


class _Piece(NamedTuple):
    """A difference in one view."""

    area: Area
    gained: bool
    roles: tuple[str, ...]
    trace: Trace


class _RoleChange(NamedTuple):
    """What marks where a role has changes."""

    role: str
    gained: bool


_Pieces = tuple[list[_Piece], list[Inexact]]


class Comparison:
    """Compares subjects within an area; roles before identities, which may have their changes."""

    def __init__(self, section: SectionSpace, within: Area) -> None:
        self._section = section
        self._within = within
        self._tracing = Tracing(section)
        self._known: dict[tuple[object, ...], _Pieces] = {}
        # Where roles have changes.
        self._of_roles: dict[tuple[str, bool], list[Area]] = {}

    def compare(self, kind: Kind, asker: Asker) -> tuple[list[Difference], list[Inexact]]:
        """The differences of a subject, disjoint, and what is not known, without subjects."""
        section = self._section
        pieces: list[_Piece] = []
        unknown: list[Inexact] = []
        budget = Budget()
        seen = 0
        try:
            for view in section.views(kind, asker):
                companies = view.companies.intersect(self._within[0])
                if companies and not (section.comparable and view.base == view.head):
                    found, open_ = self._in_view(kind, asker, view, companies, budget)
                    seen += bool(found)
                    pieces += found
                    unknown += open_
        except TooManyCellsError:
            return [], [too_many(box_of(self._within, section.suffix), ())]
        if not pieces:
            return [], unknown
        differences = [self._difference(asker, [piece], piece.area) for piece in pieces] if seen == 1 else []
        if seen > 1:
            groups: dict[tuple[bool, tuple[str, ...]], list[_Piece]] = {}
            for piece in pieces:
                groups.setdefault((piece.gained, piece.roles), []).append(piece)
            for same in groups.values():
                for area in joined([piece.area for piece in same]):
                    inside = [piece for piece in same if meet(piece.area, area) is not None]
                    differences.append(self._difference(asker, inside, area))
        if kind is Kind.ROLE:
            for one in differences:
                self._of_roles.setdefault((asker.name, one.gained), []).append(one.area)
        return differences, unknown

    def _difference(self, asker: Asker, pieces: list[_Piece], area: Area) -> Difference:
        first = pieces[0]
        rules, ways = first.trace
        if len(pieces) > 1:
            rules = tuple(dict.fromkeys([cause for piece in pieces for cause in piece.trace.causes]))
            ways = tuple(dict.fromkeys([way for piece in pieces for way in piece.trace.ways]))
        links = tuple(self._tracing.links_of(asker, ways, area[0])) if ways else ()
        return Difference(area, first.gained, first.roles, rules, links)

    def _in_view(self, kind: Kind, asker: Asker, view: View, companies: Texts, budget: Budget) -> _Pieces:
        section = self._section
        places = section.places_of(view.base | view.head, companies)
        key = (kind, view.base, view.head, view.base_roles, view.head_roles, companies if places is None else places)
        # Who reaches rules by its own name shares them with nobody, and links say who holds what when nothing is known.
        alone = asker.name in view.base_roles or asker.name in view.head_roles
        found = None if alone else self._known.get(key)
        if found is None:
            found = self._work_out(kind, asker, view, companies, budget)
            if not alone and not found[1]:
                self._known[key] = found
            return found
        if places is None:
            return found
        return [piece._replace(area=(companies, *piece.area[1:])) for piece in found[0]], found[1]

    def _work_out(self, kind: Kind, asker: Asker, view: View, companies: Texts, budget: Budget) -> _Pieces:
        section, tracing = self._section, self._tracing
        groups: dict[tuple[bool, tuple[str, ...]], list[Found]] = {}
        unknown: list[Inexact] = []

        def settle(sample: tuple[str, ...], base: int, head: int, marks: tuple[Hashable, ...]) -> object:
            return self._settle(kind, asker, sample, base, head, marks)

        area = (companies, *self._within[1:])
        marks = self._marks(view) if kind is Kind.IDENTITY else []
        opened = section.settlement.open_in(view.base | view.head)
        exploration = section.exploration(asker, settle, budget, section.comparable)
        for one in exploration.find(area, view.base, view.head, marks):
            if one.outcome == _UNKNOWN:
                unknown.append(tracing.inexact(kind, asker, view, one.area, exploration.behind(one.area, opened), ()))
            else:
                groups.setdefault(one.outcome, []).append(one)  # type: ignore[arg-type]  # what `settle` gives
        pieces: list[_Piece] = []
        for (gained, roles), same in groups.items():
            for area in joined([one.area for one in same]):
                trace = tracing.trace(kind, asker, exploration.behind(area, opened), gained)
                pieces.append(_Piece(area, gained, roles, trace))
        return pieces, unknown

    def _marks(self, view: View) -> list[Mark]:
        """Where the roles that a subject holds have changes."""
        book = self._section.book
        held = ((view.base_roles, False), (view.head_roles, True))
        return [
            Mark(_RoleChange(role, gained), tuple([book.text(texts) for texts in area]))
            for roles, gained in held
            for role in sorted(roles)
            for area in self._of_roles.get((role, gained), ())
        ]

    def _settle(
        self, kind: Kind, asker: Asker, sample: tuple[str, ...], base: int, head: int, marks: tuple[Hashable, ...]
    ) -> tuple[bool, tuple[str, ...]] | str | None:
        settled = self._section.settled(kind, asker, sample, base, head)
        differing = [pair for pair in settled if pair[0] != pair[1]]
        if not differing:
            return None
        if len(settled) > 1:
            return _UNKNOWN
        gained = differing[0][1]
        return gained, tuple(
            sorted([mark.role for mark in marks if isinstance(mark, _RoleChange) and mark.gained is gained])
        )
