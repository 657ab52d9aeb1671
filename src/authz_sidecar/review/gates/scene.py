"""What gates look at: the two policies, what changes between them, and questions about whole sets of requests."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.gates import Gate, Requests
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.review.access.boxes import intersect, merge
from authz_sidecar.review.access.change import AccessDiff, Box, Change, Inexact, Kind, Side
from authz_sidecar.review.access.diff import diff_access, diff_space
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.review.gates.example import find_example, lines_of
from authz_sidecar.review.gates.names import boxes_by_name, boxes_of, role_namer
from authz_sidecar.review.gates.violation import Example, Line, ReviewFacts
from authz_sidecar.review.gates.world import World
from authz_sidecar.review.material import Material
from authz_sidecar.values.texts import ANY, Texts

P = TypeVar("P", bound=Definition)


EVERYBODY = Region()


class Piece(msgspec.Struct, frozen=True):
    """Requests that each of `subjects` is allowed at the head; without `exact`, perhaps only some of them.

    `subjects` are roles as rules write them, identities, or empty for anyone else, whose name is then one of `names`;
    of an inexact piece they may be empty too, for anybody at all. `why` says what makes a piece inexact, and `lines`
    are what makes it. `roles` are the roles that an identity holds and that are allowed the same.
    """

    kind: Kind
    subjects: tuple[str, ...]
    box: Box
    exact: bool = True
    why: str = ""
    lines: tuple[Line, ...] = ()
    names: Texts = ANY
    roles: tuple[str, ...] = ()


class Scene:
    """A change under review. `base` is None where there was no policy, or where the policies are judged as they are."""

    def __init__(
        self, base: Material | None, head: Material, facts: ReviewFacts | None, diff: AccessDiff | None = None
    ) -> None:
        self.base = World(base) if base is not None else None
        self.head = World(head)
        self.facts = facts or ReviewFacts()
        self._diff = diff
        self._spaces: dict[tuple[frozenset[str], bool], AccessSpace] = {}
        self._access: dict[tuple[Region, frozenset[str], bool], AccessDiff] = {}

    @property
    def diff(self) -> AccessDiff:
        """All access that changes."""
        if self._diff is None:
            self._diff = diff_access(self.base.material if self.base else None, self.head.material)
        return self._diff

    @cached_property
    def turned(self) -> frozenset[str]:
        """The names that are roles at the head and were identities at the base. In rows one link makes a role of an
        identity: whoever asks by that name is still judged as before."""
        if self.base is None or self.head.bundle.form != "casbin":
            return frozenset()
        before = AccessSpace(None, self.base.material).identities
        return frozenset(before).intersection(self.space.roles)

    @property
    def space(self) -> AccessSpace:
        """All that is asked of the head alone."""
        return self._space(frozenset(), False)

    def _space(self, without: frozenset[str], only_gained: bool) -> AccessSpace:
        found = self._spaces.get((without, only_gained))
        if found is None:
            base = self.base.without(without) if only_gained and self.base else None
            found = self._spaces[without, only_gained] = AccessSpace(base, self.head.without(without))
        return found

    def access(self, region: Region, without: frozenset[str] = frozenset(), only_gained: bool = False) -> AccessDiff:
        """What is allowed at the head within a region (all of it "gained"); with `only_gained` what the change adds.
        `without` are roles that nobody is taken to hold."""
        key = (region, without, only_gained and self.base is not None)
        found = self._access.get(key)
        if found is None:
            found = diff_space(self._space(without, key[2]), region)
            found = self._access[key] = _of_section(found, region.box.section)
        return found


class Asked:
    """One gate as it is asked: `side` says whose `gates.yaml` it is from, `bundles` give the meaning of its names."""

    def __init__(self, scene: Scene, gate: Gate, side: Side, bundle: Bundle) -> None:
        self.scene = scene
        self.gate = gate
        self.side = side
        # The other side's meaning counts too for a gate of the base: the head must not take it away.
        other = scene.head.bundle if side == "base" else None
        self.bundles: tuple[Bundle, ...] = (bundle,) if other is None else (bundle, other)
        self.written: Callable[[str], str] = role_namer(bundle)

    def predicate(self, kind: type[P]) -> P:
        """What the gate demands, which is of this kind; raises TypeError if it is of another."""
        predicate = self.gate.predicate
        if not isinstance(predicate, kind):
            raise TypeError(f"a gate of kind {self.gate.kind} was asked as {kind.__name__}")
        return predicate

    def boxes(self, part: Requests) -> tuple[Box, ...]:
        """The requests that a part of the gate is about."""
        sections = self.scene.space.sections
        found: dict[Box, None] = {}
        for box in boxes_of(part, self.bundles):
            section = sections.get(box.section)
            found[box] = None
            if section is not None and section.by_name:
                found.update(dict.fromkeys(boxes_by_name(box)))
        return tuple(found)

    def pieces(
        self,
        boxes: Iterable[Box],
        without: frozenset[str] = frozenset(),
        only_gained: bool = False,
        whom: Region = EVERYBODY,
    ) -> Iterator[Piece]:
        """What is allowed at the head within `boxes`, to whom, apart from what identities are allowed only because they
        hold one of the roles in `without`. Of `whom` the subjects and kinds count."""
        holders = self.scene.head.holders(without) if without else frozenset[str]()
        for box in boxes:
            region = msgspec.structs.replace(whom, box=box)
            found = self.scene.access(region, without, only_gained)
            for change in _changes(found):
                if change.gained:
                    yield from self._pieces_of(change, region, holders)
            for inexact in found.inexact:
                piece = inexact_piece(inexact)
                roles = tuple([name for name in piece.subjects if name in self.scene.space.roles])
                others = tuple([name for name in piece.subjects if name not in roles])
                if roles:
                    yield msgspec.structs.replace(piece, kind=Kind.ROLE, subjects=roles)
                if others or not roles:
                    yield msgspec.structs.replace(piece, subjects=others)

    def _pieces_of(self, change: Change, region: Region, holders: frozenset[str]) -> Iterator[Piece]:
        """A change as a piece; of holders of left-out roles only as far as they are allowed it in fact."""
        lines = tuple([Line(cause.side, cause.rule) for cause in change.causes])
        if change.kind is not Kind.IDENTITY or holders.isdisjoint(change.subjects):
            yield Piece(change.kind, change.subjects, change.box, lines=lines, names=change.names, roles=change.roles)
            return
        plain = tuple([name for name in change.subjects if name not in holders])
        if plain:
            yield Piece(change.kind, plain, change.box, lines=lines, roles=change.roles)
        fact = self.scene.access(region)
        for name in change.subjects:
            if name in holders:
                yield from _within_fact(change, name, fact, lines)


def _within_fact(change: Change, name: str, fact: AccessDiff, lines: tuple[Line, ...]) -> Iterator[Piece]:
    theirs = [
        intersect(change.box, allowed.box)
        for allowed in fact.identities
        if allowed.gained and allowed.kind is Kind.IDENTITY and name in allowed.subjects
    ]
    for box in merge([both for both in theirs if both is not None]):
        yield Piece(Kind.IDENTITY, (name,), box, lines=lines)
    for inexact in fact.inexact:
        if not inexact.subjects or name in inexact.subjects:
            both = intersect(change.box, inexact.box)
            if both is not None:
                piece = inexact_piece(inexact)
                yield msgspec.structs.replace(piece, kind=Kind.IDENTITY, subjects=(name,), box=both)


def _of_section(diff: AccessDiff, section: str) -> AccessDiff:
    """The part of one section: a region without a number is all of them."""
    return msgspec.structs.replace(
        diff,
        roles=tuple([change for change in diff.roles if change.box.section == section]),
        identities=tuple([change for change in diff.identities if change.box.section == section]),
        inexact=tuple([inexact for inexact in diff.inexact if inexact.box.section == section]),
    )


def _changes(diff: AccessDiff) -> Sequence[Change]:
    return (*diff.roles, *diff.identities)


def _stranger(scene: Scene, names: Texts) -> str:
    """Somebody whom the policy does not name."""
    return next((one.sample for one in scene.space.strangers if one.sample in names), "")


def inexact_piece(inexact: Inexact) -> Piece:
    """A part that cannot be compared, as a piece that may hold anything."""
    rules = inexact.responsible or inexact.added or inexact.removed
    lines = tuple([Line("head", rule) for rule in rules])
    return Piece(Kind.IDENTITY, inexact.subjects, inexact.box, exact=False, why=inexact.why, lines=lines)


def shown(
    scene: Scene, kind: Kind, subject: str, box: Box, lines: Sequence[Line], names: Texts = ANY
) -> tuple[tuple[Example, ...], tuple[Line, ...]]:
    """An example of requests that the head allows, and the lines that make it: those given, else what decides.
    `subject` is "" for anyone whose name is among `names`."""
    example = find_example(box, kind, subject or _stranger(scene, names), True, "head", scene.head.material)
    if example is None:
        return (), tuple(lines)
    return (example,), tuple(lines) or lines_of(example, scene.head)
