"""One section of two policies: what the rules of either side say, and what each decides.

A section is cut for one subject at a time, by what the rules of either side say to that subject; every box on which all
of that is the same is decided once on each side, by the deciders that serve requests.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.model.expression import Expr
from authz_sidecar.review.access.change import SELF, Kind, Side
from authz_sidecar.review.access.conditions import Asker, normal, tokens_of
from authz_sidecar.review.access.explore import Budget, Cuts, Exploration, Settle, mask_of
from authz_sidecar.review.access.lines import Lines, role_calls
from authz_sidecar.review.access.outcomes import Settlement
from authz_sidecar.review.access.reach import touched_names
from authz_sidecar.review.access.statements import Book, SectionRules, is_ordered
from authz_sidecar.review.access.views import RolePlace, View, views_of
from authz_sidecar.review.material import Material
from authz_sidecar.values import Request
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES
from authz_sidecar.values.texts import ANY, Texts

SIDES: tuple[Side, Side] = ("base", "head")
# What fills a token that only the context fills, where no rule looks at it.
_IN_CONTEXT = "other"


class SectionSpace:
    """One section of both sides: statements, and how to decide."""

    def __init__(
        self, suffix: str, base: Material | None, head: Material | None, names: Callable[[], frozenset[str]]
    ) -> None:
        self.suffix = suffix
        self._names = names
        self.materials = tuple(
            [
                material if material is not None and suffix in material.snapshot.sections else None
                for material in (base, head)
            ]
        )
        indexes = [material.snapshot.sections[suffix] for material in self.materials if material is not None]
        self.by_name = not any({"type", "id"} & _tokens(index) for index in indexes)
        self.ordered = any(is_ordered(index) for index in indexes)
        self.book = Book()
        self.cuts = Cuts(self.book)
        self.shared = _shared_definitions(base, head)
        self.definitions = sorted(
            {call.definition for index in indexes for expr in _expressions(index) for call in role_calls(expr)}
        )
        self.sides: tuple[SectionRules | None, SectionRules | None] = (None, None)
        self.sides = tuple(
            [
                None
                if material is None
                else SectionRules(material.snapshot, suffix, self.book, self.by_name, self.ordered, side, self.shared)
                for side, material in zip(SIDES, self.materials, strict=True)
            ]
        )  # type: ignore[assignment]  # two, as there are two sides
        self.settlement = Settlement(self.book, self.sides, self.ordered)
        # Statements by what they say of companies, as far as they have been looked at.
        self._by_place: dict[int, int] = {}
        self._placed = 0
        self.ptype = indexes[0].section.ptype
        self.comparable = self._is_comparable()
        self._context = {
            token: _IN_CONTEXT for index in indexes for token in index.section.tokens if token not in SOURCES
        }
        self.places: tuple[Mapping[str, RolePlace], ...] = tuple(
            [{} if material is None else _role_places(material) for material in self.materials]
        )

    def _is_comparable(self) -> bool:
        """Whether two sides that come to the same statements decide the same."""
        base, head = self.sides
        if base is None or head is None:
            return False
        if (
            base.index.section.effect is not head.index.section.effect
            or base.allows_by_default != head.allows_by_default
        ):
            return False
        return not self.ordered or _in_same_order(base, head)

    @cached_property
    def lines(self) -> Lines:
        """The rules that stand on one side only."""
        base, head = self.sides
        return Lines(None if base is None else base.table, None if head is None else head.table)

    def touched(self, asker: Asker) -> bool:
        """Whether anything may differ for a subject: told at a glance, so that most are not gone through."""
        touched = self._touched
        return touched is None or (asker.named and asker.name in touched)

    @cached_property
    def _touched(self) -> frozenset[str] | None:
        """The names that a difference may reach; None if it may reach any."""
        base, head = self.sides
        if not self.comparable or base is None or head is None:
            return None
        return touched_names(base, head, self.lines, self.places, self.definitions, self.shared)

    def request(self, subject: str, sample: tuple[str, ...]) -> Request:
        """The request of a subject that texts of a box make."""
        company, type, id, action, owner = sample
        if owner == subject:
            # An example of another owner, which happens to be called like the subject.
            while owner == subject or owner in self._names():
                owner += "-2"
        name = f"{type}:{id}" if type and id else type or id
        return Request(
            subject,
            action,
            type,
            id,
            company,
            subject if owner == SELF else owner,
            name,
            context=self._context,
            section=self.suffix,
        )

    def decide(self, side: int, request: Request) -> bool:
        """What a side decides; where there is no policy everything is denied."""
        material = self.materials[side]
        return material is not None and material.decider.decide(request).allowed

    def views(self, kind: Kind, asker: Asker) -> list[View]:
        """The companies in which a subject sees the same statements."""
        places = [places.get(asker.name) if kind is Kind.ROLE else None for places in self.places]
        return views_of(self.sides, asker, places)

    def settled(
        self, kind: Kind, asker: Asker, sample: tuple[str, ...], base: int, head: int
    ) -> frozenset[tuple[bool, bool]]:
        """All that both sides may decide of requests that these statements hold: one pair unless it is not known."""
        # What the holders of an assigned role see, no request of the role itself tells.
        assigned = kind is Kind.ROLE and any(asker.name in places for places in self.places)
        if assigned or self.settlement.open_in(base | head):
            return self.settlement.settled(base, head)
        request = self.request(asker.name, sample)
        return frozenset(((self.decide(0, request), self.decide(1, request)),))

    def places_of(self, mask: int, companies: Texts) -> tuple[tuple[int, bool], ...] | None:
        """Which of the sets of companies in these statements hold `companies`; None where one holds only some."""
        statements = self.book.statements
        if self._placed < len(statements):
            by_number: dict[int, list[int]] = {}
            for at in range(self._placed, len(statements)):
                by_number.setdefault(statements[at].area[0], []).append(at)
            for number, bits in by_number.items():
                self._by_place[number] = self._by_place.get(number, 0) | mask_of(bits)
            self._placed = len(statements)
        found: list[tuple[int, bool]] = []
        for number, those in self._by_place.items():
            texts = self.book.texts[number]
            if texts is ANY or not mask & those:
                continue
            if companies.within(texts):
                found.append((number, True))
            elif not companies.intersect(texts):
                found.append((number, False))
            else:
                return None
        return tuple(found)

    def exploration(self, asker: Asker, settle: Settle, budget: Budget, skips_same: bool = False) -> Exploration:
        """What goes through the requests of a view."""
        return Exploration(self.book, self.cuts, settle, budget, asker.name, skips_same, self.by_name)


def _in_same_order(base: SectionRules, head: SectionRules) -> bool:
    """Whether the rules that both sides have follow each other alike."""
    orders = [dict.fromkeys([rules.table.values(row) for row in rules.rows]) for rules in (base, head)]
    common = [[values for values in order if values in other] for order, other in (orders, orders[::-1])]
    return common[0] == common[1]


def _tokens(index: SectionIndex) -> set[str]:
    """The tokens that the rules of a section read."""
    return {token for expr in _expressions(index) for token in tokens_of(normal(expr))}


def _expressions(index: SectionIndex) -> list[Expr]:
    """The matcher of a section and the conditions of its rules."""
    return [index.section.matcher, *[parsed for texts in index.conditions.values() for parsed in texts.values()]]


def _shared_definitions(base: Material | None, head: Material | None) -> frozenset[str]:
    """The role definitions whose links, and how they are read, are the same on both sides."""
    if base is None or head is None:
        return frozenset(() if base is None and head is None else (base or head).snapshot.graphs)  # type: ignore[union-attr]
    graphs = head.snapshot.graphs
    return frozenset([name for name, graph in base.snapshot.graphs.items() if name in graphs and graph == graphs[name]])


def _role_places(material: Material) -> dict[str, RolePlace]:
    """Where the roles of a YAML bundle are assigned."""
    return {ROLE_PREFIX + name: role.assigned for name, role in material.bundle.roles.items()}
