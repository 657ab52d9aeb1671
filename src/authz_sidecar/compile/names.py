"""Sets of names that may have a million members and still be built and emptied without a pause."""

from collections.abc import Iterable, Iterator
from zlib import crc32

import msgspec

# A set that outgrows its table is hashed anew in one go: two milliseconds for this many, fifty for a million.
LARGEST_PART = 65_536


class NameSet(msgspec.Struct, frozen=True):
    """Names in one set, or spread over a power of two of sets by the bits of their checksum that `mask` has.

    Python's own hash of a text differs from process to process.
    """

    parts: tuple[set[str], ...]
    mask: int

    def __contains__(self, name: str) -> bool:
        return name in self.parts[crc32(name.encode()) & self.mask]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from part

    @property
    def quickest(self) -> "set[str] | NameSet":
        """What to ask for a name on the path of a check: the set itself where there is but one."""
        return self.parts[0] if len(self.parts) == 1 else self


def name_set(names: Iterable[str]) -> NameSet:
    """The distinct `names`."""
    distinct = set(names)
    if len(distinct) <= LARGEST_PART:
        return NameSet((distinct,), 0)
    mask = (1 << ((len(distinct) - 1) // LARGEST_PART).bit_length()) - 1
    parts: tuple[set[str], ...] = tuple([set() for _ in range(mask + 1)])
    for name in distinct:
        parts[crc32(name.encode()) & mask].add(name)
    return NameSet(parts, mask)
