"""What a set of statements decides, without a request: also where some conditions are not known.

What is not known is tried both ways, and where it may fail in a third. A condition of one text comes out alike on both
sides, so that what rests on it alike on both sides does not differ.
"""

from collections.abc import Iterator, Mapping
from itertools import product

from authz_sidecar.model.model import Effect
from authz_sidecar.review.access.explore import bits, mask_of
from authz_sidecar.review.access.statements import Book, SectionRules

# With more conditions than this in one place, not every combination is tried.
MAX_OPEN = 6
_FAILS = None
Known = Mapping[str, bool | None]


class Settlement:
    """Decides sets of statements of both sides of a section, by their effects."""

    def __init__(self, book: Book, sides: tuple[SectionRules | None, SectionRules | None], ordered: bool) -> None:
        self._book = book
        self._sides = sides
        self._ordered = ordered
        self._open = 0
        self._allowing = 0
        self._seen = 0
        self._ranks: dict[tuple[int, tuple[str, ...]], int] | None = None

    def _learn(self) -> None:
        """Look at the statements that were added to the book since."""
        statements = self._book.statements
        opened, allowing = [], []
        for number in range(self._seen, len(statements)):
            if statements[number].condition:
                opened.append(number)
            if statements[number].allows:
                allowing.append(number)
        self._open |= mask_of(opened)
        self._allowing |= mask_of(allowing)
        self._seen = len(statements)

    @property
    def allowing(self) -> int:
        """The statements that allow."""
        if self._seen != len(self._book.statements):
            self._learn()
        return self._allowing

    def open_in(self, mask: int) -> int:
        """The statements among these whose condition is not known."""
        if self._seen != len(self._book.statements):
            self._learn()
        return mask & self._open

    def settled(self, base: int, head: int) -> frozenset[tuple[bool, bool]]:
        """All that both sides may decide of a request that these statements hold."""
        opened = self.open_in(base | head)
        conditions: dict[str, bool] = {}
        for bit in bits(opened):
            statement = self._book.statements[bit]
            conditions[statement.condition] = conditions.get(statement.condition, False) or statement.fails
        if len(conditions) > MAX_OPEN:
            return frozenset((base, head) for base in (False, True) for head in (False, True))
        found = {(self.decide(0, base, known), self.decide(1, head, known)) for known in _combinations(conditions)}
        return frozenset(found)

    def decide(self, side: int, mask: int, known: Known) -> bool:
        """What a side decides, given what its conditions come to."""
        rules = self._sides[side]
        if rules is None:
            return False
        if self._ordered:
            return self._decide_in_order(side, rules, mask, known)
        held, fails = mask & ~self._open, False
        for bit in bits(self.open_in(mask)):
            statement = self._book.statements[bit]
            value = known[statement.condition]
            if value is True:
                held |= 1 << bit
            elif value is _FAILS:
                # Where nothing of it can fail here, it merely does not hold.
                fails = fails or statement.fails
        effect = rules.index.section.effect
        if effect is Effect.ALLOW_OVERRIDE:
            return bool(held & self.allowing)
        if held & ~self.allowing or fails:
            return False
        return rules.allows_by_default if effect is Effect.DENY_OVERRIDE else bool(held)

    def _decide_in_order(self, side: int, rules: SectionRules, mask: int, known: Known) -> bool:
        effect = rules.index.section.effect
        strict = effect in (Effect.ALLOW_AND_DENY, Effect.DENY_OVERRIDE)
        allowed = rules.allows_by_default
        fails = False
        ordered = sorted([(self._rank(side, rules, bit), bit) for bit in bits(mask)])
        for _, bit in ordered:
            statement = self._book.statements[bit]
            value = known[statement.condition] if statement.condition else True
            if value is _FAILS and statement.fails:
                if not strict:
                    return False
                fails = True
            elif value is True:
                if not strict:
                    return statement.allows
                if not statement.allows:
                    return False
                allowed = True
        return allowed and not fails

    def _rank(self, side: int, rules: SectionRules, bit: int) -> tuple[int, int]:
        if self._ranks is None:
            self._ranks = {}
            for number, one in enumerate(self._sides):
                for row in one.rows if one is not None else ():
                    self._ranks.setdefault((number, one.table.values(row)), one.rank(row))  # type: ignore[union-attr]
        values, branch = self._book.statements[bit].place
        return self._ranks[side, values], branch  # type: ignore[index,return-value]


def _combinations(conditions: Mapping[str, bool]) -> Iterator[Known]:
    values = [(True, False, _FAILS) if fails else (True, False) for fails in conditions.values()]
    for chosen in product(*values):
        yield dict(zip(conditions, chosen, strict=True))
