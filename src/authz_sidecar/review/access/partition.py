"""Sets of texts cut into classes: texts of one class are in the same ones of some sets.

The sets name finitely many values and beginnings, so the classes are finitely many too: one for each value that is
named, one for what begins as some beginning says and in no closer way, and one for any other text; those that the same
sets hold are one class.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from authz_sidecar.review.access.change import SELF
from authz_sidecar.values.request import value_problem
from authz_sidecar.values.texts import Texts, texts, values_of

# What fresh texts end in, the first that is not named.
_ENDINGS = ("other", "another", "something", "unnamed", "zz")


class Atom(NamedTuple):
    """A text that is named (`value`), or the texts that begin with `value` and in no closer way; `sample` is one."""

    value: str
    open: bool
    sample: str


class Classes:
    """The atoms of some sets, and the sets of texts that atoms make up.

    Texts that no request holds in the `part` of a box (any, if "") are none of the atoms, and make no difference.
    """

    def __init__(self, sets: Iterable[Texts], part: str = "") -> None:
        values: set[str] = set()
        prefixes: set[str] = {""}
        for one in sets:
            values |= one.values
            values |= one.except_values
            prefixes.update(one.prefixes)
            prefixes.update(one.except_prefixes)
        self._values = values = {value for value in values if _is_held(value, part)}
        self._prefixes = sorted(prefixes)
        self.atoms: list[Atom] = []
        self.atoms += [Atom(value, False, value) for value in sorted(values)]
        for prefix in self._prefixes:
            sample = self._fresh(prefix)
            if _is_held(sample, part):
                self.atoms.append(Atom(prefix, True, sample))

    def _fresh(self, prefix: str) -> str:
        """A text that begins with `prefix`, with no longer one of the prefixes, and is none of the values."""
        longer = [
            other[len(prefix)] for other in self._prefixes if len(other) > len(prefix) and other.startswith(prefix)
        ]
        begun = set(longer)
        for ending in _ENDINGS:
            if ending[0] not in begun and prefix + ending not in self._values:
                return prefix + ending
        first = next(letter for code in range(97, 0x10000) if (letter := chr(code)).isalnum() and letter not in begun)
        number = 0
        while f"{prefix}{first}{number}" in self._values:
            number += 1
        return f"{prefix}{first}{number}"

    def join(self, atoms: Sequence[Atom]) -> list[Texts]:
        """The texts of these atoms, in as few sets as is simple, disjoint."""
        values = {atom.value for atom in atoms if not atom.open}
        opened = {atom.value for atom in atoms if atom.open}
        if not opened:
            return [values_of(values)]
        roots = [prefix for prefix in sorted(opened) if self._above(prefix) not in opened]
        joined = self._less(roots, opened, values)
        if not any(_under(text, joined.except_prefixes) for text in (*roots, *values)):
            return [texts(values, joined.prefixes, joined.except_values, joined.except_prefixes)]
        # A set cannot take away a beginning and hold something that begins so.
        parts = [self._less([root], self._component(root, opened), values) for root in roots]
        apart = [value for value in values if not any(value in part for part in parts)]
        return [*parts, *([values_of(apart)] if apart else [])]

    def _above(self, prefix: str) -> str | None:
        """The longest of the prefixes that begins `prefix`, other than itself."""
        best: str | None = None
        for other in self._prefixes:
            if other != prefix and prefix.startswith(other) and (best is None or len(other) > len(best)):
                best = other
        return best

    def _component(self, root: str, opened: set[str]) -> set[str]:
        """The opened prefixes that lead from `root` on without a gap."""
        found = {root}
        for prefix in sorted(opened):
            if self._above(prefix) in found:
                found.add(prefix)
        return found

    def _less(self, roots: list[str], opened: set[str], values: set[str]) -> Texts:
        """What begins with the roots, less the atoms that are not among these."""
        begun = tuple(roots)
        less = [value for value in self._values if value not in values and value.startswith(begun)]
        closer = [prefix for prefix in self._prefixes if prefix not in opened and prefix.startswith(begun)]
        return texts((), roots, less, closer)


def _is_held(value: str, part: str) -> bool:
    """Whether some request holds a text in a part, as `build_request` has it; `SELF` stands for one that does."""
    if (part == "action" and not value) or (part == "type" and ":" in value):
        return False
    return value == SELF or not value_problem(value)


def _under(text: str, prefixes: tuple[str, ...]) -> bool:
    return text.startswith(prefixes) if prefixes else False


def complement(one: Texts) -> list[Texts]:
    """The texts that are not in a set, as disjoint sets."""
    whole = one.complement()
    if whole is not None:
        return [whole] if whole else []
    without = texts((), ("",), one.values, one.prefixes)
    # All that it takes away it would hold otherwise.
    back = texts(one.except_values, one.except_prefixes)
    return [part for part in (without, back) if part]
