"""Goes through the requests of one subject, part by part, and keeps together what is decided alike.

At each part (company, type, id, action, owner) the texts are cut into the classes that the statements in question tell
apart, and each class goes on with the statements that hold it. Classes that come to the same are one again on the way
back. What no statement tells apart is never cut, and where both sides are left with the same statements nothing
can differ.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, TypeAlias

from authz_sidecar.review.access.boxes import PARTS, Area
from authz_sidecar.review.access.partition import Atom, Classes
from authz_sidecar.review.access.statements import Book
from authz_sidecar.values.texts import ANY, Texts

# The steps that one question may take: some ten seconds.
MAX_STEPS = 2_000_000


class TooManyCellsError(Exception):
    """The requests fall into more parts than can be gone through."""


class Row(NamedTuple):
    """Requests that come out alike: their texts from some part on."""

    tail: tuple[Texts, ...]
    outcome: Hashable


class Found(NamedTuple):
    """A box with its outcome, one of its requests as texts, the statements that hold some of its requests on one side
    only (where they are the same on both, those of each), and all that hold any."""

    area: Area
    outcome: Hashable
    sample: tuple[str, ...]
    base: int
    head: int
    all: int


class _Side(NamedTuple):
    """What goes with a row and does not tell rows apart."""

    sample: tuple[str, ...]
    base: int
    head: int
    all: int


_Node = tuple[tuple[Row, ...], tuple[_Side, ...]]
_NOTHING: _Node = ((), ())


class Budget:
    """Counts steps. Raises TooManyCellsError past the limit."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Count some steps."""
        self.left -= steps
        if self.left < 0:
            raise TooManyCellsError


class Cuts:
    """The classes of sets of texts, by their numbers in a book; remembered, as many subjects need the same."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._found: dict[
            tuple[int, frozenset[int], Texts], tuple[Classes, list[tuple[tuple[int, ...], list[Atom]]]]
        ] = {}

    def cut(
        self, place: int, numbers: frozenset[int], within: Texts
    ) -> tuple[Classes, list[tuple[tuple[int, ...], list[Atom]]]]:
        """The classes of a part: which of the sets hold the class, and its atoms."""
        key = (place, numbers, within)
        found = self._found.get(key)
        if found is None:
            texts = self._book.texts
            ordered = sorted(numbers)
            sets = [texts[number] for number in ordered]
            classes = Classes([*sets, within], PARTS[place])
            # Sets of values are found by value; only the others are asked about each atom.
            named: dict[str, list[int]] = {}
            opened: list[tuple[int, Texts]] = []
            for number, one in zip(ordered, sets, strict=True):
                if one.finite:
                    for value in one.values:
                        named.setdefault(value, []).append(number)
                else:
                    opened.append((number, one))
            groups: dict[tuple[int, ...], list[Atom]] = {}
            for atom in classes.atoms:
                sample = atom.sample
                if within is ANY or sample in within:
                    held = [number for number, one in opened if one is ANY or sample in one]
                    groups.setdefault((*held, *named.get(sample, ())), []).append(atom)
            found = self._found[key] = (classes, list(groups.items()))
        return found


# What requests come to that some statements hold on either side: an example as texts, the statements of base and head.
Settle: TypeAlias = Callable[[tuple[str, ...], int, int], Hashable | None]


class Exploration:
    """The requests of one subject within some area.

    `settle(sample, base, head)` gives the outcome of the requests that these statements hold on either side, one of
    which is `sample`; None leaves them out. With `same` None statements that are the same on both sides are settled
    too; otherwise they are left out.
    """

    def __init__(
        self,
        book: Book,
        cuts: Cuts,
        settle: Settle,
        budget: Budget,
        skips_same: bool,
        by_name: bool,
    ) -> None:
        self._book = book
        self._cuts = cuts
        self._settle = settle
        self._budget = budget
        self._skips_same = skips_same
        self._by_name = by_name

    def find(self, within: Area, base: int, head: int) -> list[Found]:
        """The boxes of `within`, disjoint."""
        # The statements in question, numbered anew: sets of few are small numbers.
        numbers = list(bits(base | head))
        local = {number: at for at, number in enumerate(numbers)}
        self._areas = [self._book.statements[number].area for number in numbers]
        self._numbers = numbers
        self._within = within
        # Parts that no statement cuts.
        everything = self._book.text(ANY)
        self._uncut = [
            within[place] is ANY and all(area[place] == everything for area in self._areas)
            for place in range(len(PARTS))
        ]
        self._memo: dict[tuple[int, int, int, bool], _Node] = {}
        node = self._node(
            0, sum(1 << local[bit] for bit in bits(base)), sum(1 << local[bit] for bit in bits(head)), (), False
        )
        found: list[Found] = []
        for row, side in zip(*node, strict=True):
            company, type, id, action, owner = row.tail
            found.append(
                Found(
                    (company, type, id, action, owner),
                    row.outcome,
                    side.sample,
                    self._global(side.base),
                    self._global(side.head),
                    self._global(side.all),
                )
            )
        return found

    def _global(self, mask: int) -> int:
        whole = 0
        for bit in bits(mask):
            whole |= 1 << self._numbers[bit]
        return whole

    def _node(self, place: int, base: int, head: int, before: tuple[str, ...], unnamed: bool) -> _Node:
        if self._skips_same and base == head:
            return _NOTHING
        key = (place, base, head, unnamed)
        found = self._memo.get(key)
        if found is None:
            found = (
                self._leaf(base, head, before) if place == len(PARTS) else self._cut(place, base, head, before, unnamed)
            )
            self._memo[key] = found
        return found

    def _leaf(self, base: int, head: int, sample: tuple[str, ...]) -> _Node:
        self._budget.spend(1)
        outcome = self._settle(sample, self._global(base), self._global(head))
        if outcome is None:
            return _NOTHING
        beside = _Side((), base, head, base) if base == head else _Side((), base & ~head, head & ~base, base | head)
        return (Row((), outcome),), (beside,)

    def _cut(self, place: int, base: int, head: int, before: tuple[str, ...], unnamed: bool) -> _Node:
        if self._uncut[place] and not unnamed:
            rows, beside = self._node(place + 1, base, head, (*before, _SAMPLE), unnamed)
            return (
                tuple([Row((ANY, *row.tail), row.outcome) for row in rows]),
                tuple([_Side((_SAMPLE, *side.sample), side.base, side.head, side.all) for side in beside]),
            )
        by_texts: dict[int, int] = {}
        areas = self._areas
        for bit in bits(base | head):
            number = areas[bit][place]
            by_texts[number] = by_texts.get(number, 0) | 1 << bit
        within = self._within[place]
        if unnamed and PARTS[place] == "id":
            within = within.intersect(_NO_TEXT)
        classes, groups = self._cuts.cut(place, frozenset(by_texts), within)
        self._budget.spend(len(groups))
        children: dict[tuple[Row, ...], tuple[list[Atom], list[_Side], str]] = {}
        for numbers, atoms in groups:
            mask = 0
            for number in numbers:
                mask |= by_texts[number]
            one, other = base & mask, head & mask
            if self._skips_same and one == other:
                continue
            sample = atoms[0].sample
            without_name = unnamed
            if self._by_name and PARTS[place] == "type":
                named = [atom for atom in atoms if atom.sample]
                if not named:
                    without_name = True
                else:
                    sample = named[0].sample
            rows, sides = self._node(place + 1, one, other, (*before, sample), without_name)
            if not rows:
                continue
            joined = children.get(rows)
            if joined is None:
                children[rows] = (list(atoms), list(sides), sample)
            else:
                joined[0].extend(atoms)
                for at, side in enumerate(sides):
                    kept = joined[1][at]
                    joined[1][at] = _Side(
                        kept.sample, kept.base | side.base, kept.head | side.head, kept.all | side.all
                    )
        found: list[Row] = []
        their: list[_Side] = []
        for rows, (atoms, joined_sides, first) in children.items():
            for texts in classes.join(atoms):
                sample = first if first in texts else next(atom.sample for atom in atoms if atom.sample in texts)
                found += [Row((texts, *row.tail), row.outcome) for row in rows]
                their += [_Side((sample, *side.sample), side.base, side.head, side.all) for side in joined_sides]
        self._budget.spend(len(found))
        return tuple(found), tuple(their)


# What stands for any text at all.
_SAMPLE = "other"
_NO_TEXT = Texts(frozenset(("",)))


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, ascending."""
    if mask.bit_length() > 512:
        text = bin(mask)
        last = len(text) - 1
        at = text.rfind("1")
        while at > 1:
            yield last - at
            at = text.rfind("1", 0, at)
        return
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
