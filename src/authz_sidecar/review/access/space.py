"""The requests that two policies are asked about, and what each decides.

The space is cut for one subject at a time, by what the rules of either side say to that subject; every box on which all
of that is the same is decided once on each side, by the deciders that serve requests.
"""

from functools import cached_property

import msgspec

from authz_sidecar.review.access.boxes import area_of, box_of, union
from authz_sidecar.review.access.change import EVERYTHING, Box, Inexact, Kind, Side
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.explore import Budget, Found, TooManyCellsError
from authz_sidecar.review.access.names import Names, Stranger
from authz_sidecar.review.access.section_space import SIDES, SectionSpace
from authz_sidecar.review.access.tracing import Tracing, too_many
from authz_sidecar.review.material import Material
from authz_sidecar.values import Request

# What stands for an outcome that is not known.
UNKNOWN = "unknown"


class Cell(msgspec.Struct, frozen=True):
    """Requests of one subject that are all decided as `example`: at base, and at head."""

    box: Box
    base: bool
    head: bool
    example: Request


class Cells(msgspec.Struct, frozen=True):
    """A partition of a part of the space for one subject: cells, and what is not known exactly."""

    cells: tuple[Cell, ...]
    inexact: tuple[Inexact, ...]


class AccessSpace:
    """The requests of all subjects that `base` and `head` tell apart. None stands for no policy: all is denied."""

    def __init__(self, base: Material | None, head: Material | None) -> None:
        self.base = base
        self.head = head
        suffixes = {suffix: None for side in (base, head) if side is not None for suffix in side.snapshot.sections}
        self.sections = {suffix: SectionSpace(suffix, base, head, lambda: self._known) for suffix in sorted(suffixes)}

    @cached_property
    def _names(self) -> Names:
        names = Names()
        for section in self.sections.values():
            for rules, material in zip(section.sides, section.materials, strict=True):
                if rules is not None and material is not None:
                    names.add(rules, material.bundle)
        return names

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset((*self.roles, *self.identities))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """All roles of either side, as rules write them, sorted."""
        return self._names.roles

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """All identities that either side names, sorted."""
        return self._names.identities

    @cached_property
    def strangers(self) -> tuple[Stranger, ...]:
        """Those that neither side names; the first has any name that no pattern takes in."""
        return tuple(self._names.strangers)

    def canonical(self, request: Request) -> Request:
        """The request as boxes tell it. Where neither side looks at an object's type or id, but at its name alone, an
        object without type is the one of its name: the id `a:b` alone is the type `a` with the id `b`."""
        section = self.sections.get(request.section)
        if section is None or not section.by_name or request.type or not request.id:
            return request
        kind, _, rest = request.id.partition(":")
        type, id = (kind, rest) if kind and rest else (request.id, "")
        return msgspec.structs.replace(request, type=type, id=id)

    def _asker(self, kind: Kind, subject: str) -> Asker:
        if kind is not Kind.ANYONE:
            return Asker(subject)
        return Asker(next(one.sample for one in self.strangers if not subject or subject in one.names), named=False)

    def cells(self, kind: Kind, subject: str, within: Box = EVERYTHING) -> Cells:
        """`within` in cells; with `Kind.ANYONE` the subject is "" for any that no rule names.

        Objects of models that look at their names alone are told by name: see `canonical`.
        """
        section = self.sections.get(within.section)
        if section is None:
            return Cells((), ())
        asker = self._asker(kind, subject)

        def settle(sample: tuple[str, ...], base: int, head: int, _: object) -> tuple[bool, bool] | str:
            settled = section.settled(kind, asker, sample, base, head)
            return next(iter(settled)) if len(settled) == 1 else UNKNOWN

        found: dict[tuple[object, ...], list[Found]] = {}
        tracing = Tracing(section)
        inexact: list[Inexact] = []
        try:
            budget = Budget()
            for view in section.views(kind, asker):
                companies = view.companies.intersect(within.company)
                area = (companies, *area_of(within)[1:])
                exploration = section.exploration(asker, settle, budget)
                for one in exploration.find(area, view.base, view.head) if companies else ():
                    if one.outcome == UNKNOWN:
                        subjects = (subject,) if subject else ()
                        opened = section.settlement.open_in(view.base | view.head)
                        behind = exploration.behind(one.area, opened)
                        inexact.append(tracing.inexact(kind, asker, view, one.area, behind, subjects))
                    else:
                        found.setdefault((one.outcome, *one.area[1:]), []).append(one)
        except TooManyCellsError:
            return Cells((), (too_many(within, (subject,) if subject else ()),))
        cells: list[Cell] = []
        for same in found.values():
            for companies in union([one.area[0] for one in same]):
                first = next(one for one in same if one.sample[0] in companies)
                decisions: tuple[bool, bool] = first.outcome  # type: ignore[assignment]  # what `settle` gives
                area = (companies, *first.area[1:])
                example = section.request(asker.name, first.sample)
                cells.append(Cell(box_of(area, within.section), *decisions, example))
        return Cells(tuple(cells), tuple(inexact))

    def holders(self, role: str, side: Side) -> tuple[str, ...]:
        """The identities that hold a role anywhere on a side, at whatever time, sorted."""
        return self._holders[SIDES.index(side)].get(role, ())

    @cached_property
    def _holders(self) -> tuple[dict[str, tuple[str, ...]], ...]:
        roles = set(self.roles)
        held: tuple[dict[str, dict[str, None]], ...] = ({}, {})
        for section in self.sections.values():
            for rules, by_role in zip(section.sides, held, strict=True):
                if rules is None:
                    continue
                for identity in self.identities:
                    for role in rules.held_by(identity):
                        if role in roles:
                            by_role.setdefault(role, {})[identity] = None
        return tuple([{role: tuple(sorted(names)) for role, names in by_role.items()} for by_role in held])
