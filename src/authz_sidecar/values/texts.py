"""Sets of texts that a database can test: values, beginnings, and what is taken away from them.

They are closed under intersection, and the complement of what a single comparison or pattern says is one of them.
"""

from bisect import bisect_right
from collections.abc import Iterable

import msgspec

_NO_VALUES: frozenset[str] = frozenset()


class Texts(msgspec.Struct, frozen=True):
    """The texts among `values` or with one of `prefixes`, less `except_values` and those with one of `except_prefixes`.

    The prefix "" stands for every text; without values and prefixes the set is empty. Make one with `texts`,
    `values_of` or `prefix_of`, which keep this INVARIANT: nothing in it is redundant, and every text is `ANY` itself.
    """

    values: frozenset[str] = _NO_VALUES
    prefixes: tuple[str, ...] = ()
    except_values: frozenset[str] = _NO_VALUES
    except_prefixes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.values or self.prefixes)

    def __contains__(self, text: str) -> bool:
        if text not in self.values and not _begun(text, self.prefixes):
            return False
        return text not in self.except_values and not _begun(text, self.except_prefixes)

    @property
    def finite(self) -> bool:
        """Whether its texts can be listed: they are then `values`."""
        return not self.prefixes

    @property
    def only(self) -> str | None:
        """Its one text, if it has just one."""
        if self.prefixes or len(self.values) != 1:
            return None
        (text,) = self.values
        return text

    def intersect(self, other: "Texts") -> "Texts":
        """The texts that are in both."""
        if self is ANY or self is other:
            return other
        if other is ANY:
            return self
        if self.finite:
            return values_of([text for text in self.values if text in other])
        if other.finite:
            return values_of([text for text in other.values if text in self])
        # A text of both has a prefix in each, or is a value in one: the longer prefix says both.
        prefixes = [prefix for prefix in self.prefixes if _begun(prefix, other.prefixes)]
        prefixes += [prefix for prefix in other.prefixes if _begun(prefix, self.prefixes)]
        values = [text for text in self.values if text in other]
        values += [text for text in other.values if text in self]
        return texts(
            values,
            prefixes,
            self.except_values | other.except_values,
            (*self.except_prefixes, *other.except_prefixes),
        )

    def complement(self) -> "Texts | None":
        """The texts that are not in it; None where that is no such set."""
        if not self.except_values and not self.except_prefixes:
            return texts((), ("",), self.values, self.prefixes)
        if self.prefixes == ("",) and not self.values:
            return texts(self.except_values, self.except_prefixes)
        return None

    def union(self, other: "Texts") -> "Texts | None":
        """The texts that are in either; None where that is no such set, or none that is found at a glance."""
        if self == other or other is ANY:
            return other
        if self is ANY:
            return self
        if (self.except_values, self.except_prefixes) != (other.except_values, other.except_prefixes):
            return None
        joined = unite([self, other])
        return joined[0] if len(joined) == 1 else None

    def within(self, other: "Texts") -> bool:
        """Whether every one of its texts is in `other`; False also where that is not seen at a glance."""
        if other is ANY or self is other:
            return True
        if not all(text in other for text in self.values):
            return False
        for prefix in self.prefixes:
            if not _begun(prefix, other.prefixes):
                return False
            for taken in other.except_values:
                if taken.startswith(prefix) and taken in self:
                    return False
            for taken in other.except_prefixes:
                if prefix.startswith(taken):
                    return False
                if taken.startswith(prefix) and not _begun(taken, self.except_prefixes):
                    return False
        return True


def unite(sets: list[Texts]) -> list[Texts]:
    """The same texts in as few sets as is seen at a glance. All of `sets` take away the same."""
    values = frozenset[str]().union(*[one.values for one in sets])
    prefixes = [prefix for one in sets for prefix in one.prefixes]
    # What one takes away it would take from the others' values too, unless those never hold it.
    joined = texts(values, prefixes, sets[0].except_values, sets[0].except_prefixes)
    taken = sets[0].except_values or sets[0].except_prefixes
    return [joined] if not taken or values <= joined.values else list(dict.fromkeys(sets))


def texts(
    values: Iterable[str] = (),
    prefixes: Iterable[str] = (),
    except_values: Iterable[str] = (),
    except_prefixes: Iterable[str] = (),
) -> Texts:
    """The set that these say, without what is redundant."""
    taken = _shortest(except_prefixes)
    begun = tuple([prefix for prefix in _shortest(prefixes) if not _begun(prefix, taken)])
    less = frozenset(except_values)
    kept = frozenset(
        [text for text in values if text not in less and not _begun(text, taken) and not _begun(text, begun)]
    )
    if not begun:
        return Texts(kept)
    if begun == ("",) and not less and not taken:
        return ANY
    return Texts(
        kept,
        begun,
        frozenset([text for text in less if _begun(text, begun) and not _begun(text, taken)]),
        tuple([prefix for prefix in taken if _begun(prefix, begun)]),
    )


def values_of(values: Iterable[str]) -> Texts:
    """Just these texts."""
    return Texts(frozenset(values))


def prefix_of(prefix: str) -> Texts:
    """The texts that begin with `prefix`."""
    return Texts(prefixes=(prefix,)) if prefix else ANY


def _shortest(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The prefixes that no other one begins, sorted."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        # What begins with an earlier one comes right after it.
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _begun(text: str, prefixes: tuple[str, ...]) -> bool:
    """Whether one of `prefixes`, which `_shortest` made, begins `text`: only the last that is not greater may."""
    at = bisect_right(prefixes, text)
    return at > 0 and text.startswith(prefixes[at - 1])


ANY = Texts(prefixes=("",))
NOTHING = Texts()
