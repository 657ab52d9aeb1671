"""Which commits the policy that is served contains: the one it comes from, and those before it."""

import re
from bisect import bisect_left

import msgspec

ID_BYTES = 20
COMMIT = re.compile(r"[0-9a-f]{40}")


class Lineage(msgspec.Struct, frozen=True, gc=False):
    """The commits that a policy contains, as sorted ids of 20 bytes, one behind the other.

    `complete` says that all of them are here; otherwise the oldest are left out, or the clone does not hold them. A
    policy that comes from no commit contains none.
    """

    ids: bytes = b""
    complete: bool = True

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    def __bool__(self) -> bool:
        return bool(self.ids)

    def holds(self, commit: str) -> bool:
        """Whether the commit (40 hexadecimal digits) is one of them."""
        wanted = bytes.fromhex(commit)
        ids = self.ids
        at = bisect_left(range(len(self)), wanted, key=lambda place: ids[place * ID_BYTES : (place + 1) * ID_BYTES])
        return ids[at * ID_BYTES : (at + 1) * ID_BYTES] == wanted

    def to_bytes(self) -> bytes:
        """This as bytes: a one if it is complete, else a zero, and the ids."""
        return bytes((self.complete,)) + self.ids

    @classmethod
    def from_bytes(cls, data: bytes) -> "Lineage":
        """What `to_bytes` wrote; nothing at all is the lineage of no commit."""
        return cls(data[1:], data[0] == 1) if data else cls()

    @classmethod
    def of(cls, commits: "list[bytes] | set[bytes]", *, complete: bool = True) -> "Lineage":
        """The lineage of these ids, of 20 bytes each, in any order and each once."""
        return cls(b"".join(sorted(commits)), complete)


def is_commit(text: str) -> bool:
    """Whether `text` is the id of a commit in full: 40 hexadecimal digits in lower case."""
    return COMMIT.fullmatch(text) is not None
