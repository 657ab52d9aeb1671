"""Goes through the requests of one subject, part by part, and keeps together what is decided alike.

At each part (company, type, id, action, owner) the texts are cut into the classes that the statements in question tell
apart, and each class goes on with the statements that hold it. Classes that come to the same are one again on the way
back. What no statement tells apart is never cut, and where both sides are left with the same statements nothing
can differ.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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
    """A box with its outcome, and one of its requests as texts."""

    area: Area
    outcome: Hashable
    sample: tuple[str, ...]


class Behind(NamedTuple):
    """Statements that hold some requests of an area: those on one side only (where they are the same on both, those of
    each), and others with them."""

    base: int
    head: int
    all: int


class Mark(NamedTuple):
    """An area in which outcomes are to be told apart, by the numbers of its texts, and what they are told."""

    name: Hashable
    area: tuple[int, ...]


_Sample = tuple[str, ...]
# Rows, and one request of each.
_Node = tuple[tuple[Row, ...], tuple[_Sample, ...]]
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


# What requests come to that some statements hold on either side: an example as texts, statements of base and of head
# that stand for them, and the names of the marks that hold the requests.
Settle: TypeAlias = Callable[[_Sample, int, int, tuple[Hashable, ...]], Hashable | None]


class _Level:
    """Statements and marks as they are told apart from one part on: for each its texts there, and what it is after.

    What differs in the parts before alone is one, so that its requests are gone through once.
    """

    __slots__ = ("after", "keys", "texts")

    def __init__(self, keys: list[tuple[int, tuple[int, ...]]]) -> None:
        self.keys = keys
        self.texts = [tail[0] for _, tail in keys] if keys and keys[0][1] else []
        self.after: list[int] = []

    def next(self) -> "_Level":
        """The level of the next part."""
        numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self.after = [1 << numbers.setdefault((tag, tail[1:]), len(numbers)) for tag, tail in self.keys]
        return _Level(list(numbers))


class Exploration:
    """The requests of one subject within some area.

    `settle` gives the outcome of some requests, of which it gets one; None leaves them out. With `skips_same` it is not
    asked where the statements are the same on both sides. `subject` is who asks, by name.
    """

    def __init__(
        self, book: Book, cuts: Cuts, settle: Settle, budget: Budget, subject: str, skips_same: bool, by_name: bool
    ) -> None:
        self._subject = subject
        self._book = book
        self._cuts = cuts
        self._settle = settle
        self._budget = budget
        self._skips_same = skips_same
        self._by_name = by_name

    def find(self, within: Area, base: int, head: int, marks: Sequence[Mark] = ()) -> list[Found]:
        """The boxes of `within`, disjoint."""
        self._base, self._head = base, head
        self._holding: _Holding | None = None
        statements = self._book.statements
        numbers = list(bits(base | head))
        if self._skips_same:
            numbers = self._beside(numbers, base ^ head)
            kept = mask_of(numbers)
            base, head = base & kept, head & kept
        tags: dict[Hashable, int] = {}
        keys: list[tuple[int, tuple[int, ...]]] = []
        # For each tag the statement, or the mark, that stands for it.
        self._standing: list[int | Mark] = []
        for number in numbers:
            statement = statements[number]
            tag = tags.setdefault(statement[1:], len(tags))
            if tag == len(self._standing):
                self._standing.append(number)
            keys.append((tag, statement.area))
        for mark in marks:
            tag = tags.setdefault(("mark", mark.name), len(tags))
            if tag == len(self._standing):
                self._standing.append(mark)
            keys.append((tag, mark.area))
        levels = [_Level(keys)]
        for _ in PARTS:
            levels.append(levels[-1].next())
        self._levels = levels
        self._within = within
        # Parts that nothing cuts.
        everything = self._book.text(ANY)
        self._uncut = [
            within[place] is ANY and all(number == everything for number in levels[place].texts)
            for place in range(len(PARTS))
        ]
        self._memo: dict[tuple[int, int, int, int, bool], _Node] = {}
        local = {number: 1 << at for at, number in enumerate(numbers)}
        masks = [sum([local[bit] for bit in bits(mask)]) for mask in (base, head)]
        marked = (1 << len(keys)) - (1 << len(numbers))
        rows, samples = self._node(0, masks[0], masks[1], marked, (), False)
        if not rows:
            return []
        found: list[Found] = []
        for row, sample in zip(rows, samples, strict=True):
            company, type, id, action, owner = row.tail
            found.append(Found((company, type, id, action, owner), row.outcome, sample))
        return found

    def _beside(self, numbers: list[int], differing: int) -> list[int]:
        """Those of the statements that may hold, with one that stands on one side only, the same type of object."""
        texts, statements = self._book.texts, self._book.statements
        place = PARTS.index("type")
        types = {statements[number].area[place] for number in bits(differing)}
        if not all(texts[at].finite for at in types):
            return numbers
        values = frozenset[str]().union(*[texts[at].values for at in types])
        near = {
            at
            for at in {statements[number].area[place] for number in numbers}
            if not texts[at].finite or not values.isdisjoint(texts[at].values)
        }
        return [number for number in numbers if statements[number].area[place] in near]

    def behind(self, area: Area, opened: int = 0) -> Behind:
        """The statements that hold a request of an area: those that stand on one side only, or, where there are none,
        all; and those of `opened` besides."""
        if self._holding is None:
            differing = self._base ^ self._head
            self._holding = _Holding(self._book, (differing or self._base) | opened)
        there = self._holding.mask(area)
        base, head = self._base & there, self._head & there
        if base == head:
            return Behind(base, head, base)
        return Behind(base & ~head, head & ~base, base | head)

    def _node(self, place: int, base: int, head: int, marked: int, before: _Sample, unnamed: bool) -> _Node:
        if self._skips_same and base == head:
            return _NOTHING
        key = (place, base, head, marked, unnamed)
        found = self._memo.get(key)
        if found is None:
            if place == len(PARTS):
                found = self._leaf(base, head, marked, before)
            else:
                found = self._cut(place, base, head, marked, before, unnamed)
            self._memo[key] = found
        return found

    def _leaf(self, base: int, head: int, marked: int, sample: _Sample) -> _Node:
        self._budget.spend(1)
        keys, standing = self._levels[-1].keys, self._standing
        sides = [0, 0]
        for side, mask in enumerate((base, head)):
            for bit in bits(mask):
                number = standing[keys[bit][0]]
                if isinstance(number, int):
                    sides[side] |= 1 << number
        marks = [standing[keys[bit][0]] for bit in bits(marked)]
        outcome = self._settle(
            sample, sides[0], sides[1], tuple([mark.name for mark in marks if isinstance(mark, Mark)])
        )
        return _NOTHING if outcome is None else ((Row((), outcome),), ((),))

    def _cut(self, place: int, base: int, head: int, marked: int, before: _Sample, unnamed: bool) -> _Node:
        level = self._levels[place]
        after = level.after
        if self._uncut[place] and not unnamed:
            masks = [0, 0, 0]
            for at, mask in enumerate((base, head, marked)):
                for bit in bits(mask):
                    masks[at] |= after[bit]
            rows, samples = self._node(place + 1, masks[0], masks[1], masks[2], (*before, _SAMPLE), unnamed)
            return (
                tuple([Row((ANY, *row.tail), row.outcome) for row in rows]),
                tuple([(_SAMPLE, *sample) for sample in samples]),
            )
        by_texts: dict[int, list[int]] = {}
        texts_of = level.texts
        for at, mask in enumerate((base, head, marked)):
            for bit in bits(mask):
                number = texts_of[bit]
                if number not in by_texts:
                    by_texts[number] = [0, 0, 0]
                by_texts[number][at] |= after[bit]
        within = self._within[place]
        if unnamed and PARTS[place] == "id":
            within = within.intersect(_NO_TEXT)
        classes, groups = self._cuts.cut(place, frozenset(by_texts), within)
        self._budget.spend(len(groups))
        children: dict[tuple[Row, ...], tuple[list[Atom], tuple[_Sample, ...], str]] = {}
        for numbers, atoms in groups:
            one = other = marks = 0
            for number in numbers:
                these = by_texts[number]
                one, other, marks = one | these[0], other | these[1], marks | these[2]
            if self._skips_same and one == other:
                continue
            sample = atoms[0].sample
            without_name = unnamed
            if PARTS[place] == "owner" and sample == self._subject:
                # The subject's own objects are those of `SELF`; other owners that begin alike stay.
                if len(atoms) > 1:
                    sample = atoms[1].sample
                elif not atoms[0].open:
                    continue
            if self._by_name and PARTS[place] == "type":
                named = [atom for atom in atoms if atom.sample]
                without_name = not named
                sample = named[0].sample if named else ""
            rows, samples = self._node(place + 1, one, other, marks, (*before, sample), without_name)
            if not rows:
                continue
            if rows in children:
                children[rows][0].extend(atoms)
            else:
                children[rows] = (list(atoms), samples, sample)
        found: list[Row] = []
        beside: list[_Sample] = []
        for rows, (atoms, samples, first) in children.items():
            for texts in classes.join(atoms):
                sample = first if first in texts else next(atom.sample for atom in atoms if atom.sample in texts)
                found += [Row((texts, *row.tail), row.outcome) for row in rows]
                beside += [(sample, *rest) for rest in samples]
        self._budget.spend(len(found))
        return tuple(found), tuple(beside)


class _Holding:
    """Finds the statements that hold a request of an area."""

    def __init__(self, book: Book, mask: int) -> None:
        by_texts: list[dict[int, list[int]]] = [{} for _ in PARTS]
        for number in bits(mask):
            for of_part, at in zip(by_texts, book.statements[number].area, strict=True):
                of_part.setdefault(at, []).append(number)
        # By part: statements by each value of sets that can be listed, and by other sets.
        self._values: list[dict[str, int]] = []
        self._open: list[list[tuple[Texts, int]]] = []
        for of_part in by_texts:
            values: dict[str, int] = {}
            opened: list[tuple[Texts, int]] = []
            for at, statements in of_part.items():
                texts, those = book.texts[at], mask_of(statements)
                if texts.finite:
                    for value in texts.values:
                        values[value] = values.get(value, 0) | those
                else:
                    opened.append((texts, those))
            self._values.append(values)
            self._open.append(opened)
        self._all = mask
        self._held: dict[tuple[int, Texts], int] = {}

    def mask(self, area: Area) -> int:
        """The statements, as bits."""
        found = self._all
        for place, texts in enumerate(area):
            if texts is ANY:
                continue
            held = self._held.get((place, texts))
            if held is None:
                values = self._values[place]
                named = texts.values if texts.finite else [value for value in values if value in texts]
                held = 0
                for value in named:
                    held |= values.get(value, 0)
                for opened, those in self._open[place]:
                    if opened is ANY or opened.intersect(texts):
                        held |= those
                self._held[place, texts] = held
            found &= held
        return found


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


def mask_of(numbers: Iterable[int]) -> int:
    """The integer with these bits."""
    held = bytearray()
    for number in numbers:
        if number >> 3 >= len(held):
            held.extend(bytes((number >> 3) + 1 - len(held)))
        held[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(held, "little")
