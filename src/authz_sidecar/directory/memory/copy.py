"""What decisions need of the directory, in memory at one revision: plain lookups, no I/O.

INVARIANT: on the event loop that decides, a copy changes by `replace` and `apply` alone, which are called there between
calls: whoever looks several things up without yielding sees all of them at one revision.
"""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import msgspec

from authz_sidecar.values.identity import FOREVER, Identity

T = TypeVar("T")

# What a change touched first, and when; None for a revision that the store knows no change of.
Mark: TypeAlias = tuple[str, str, float] | None


class KeyFacts(msgspec.Struct, frozen=True, gc=False):
    """An API key: SHA-256 of its secret, whose it is, and whether it may be used until just before `expires` (seconds
    since 1970-01-01 UTC)."""

    hash: bytes
    identity: str
    active: bool = True
    expires: float = FOREVER
    revoked: bool = False


class TokenFacts(msgspec.Struct, frozen=True, gc=False):
    """An access token: SHA-256 of its secret and whose it is. It holds until just before `expires`; use extends that by
    `sliding_seconds` (0: not), never past `ends`."""

    hash: bytes
    identity: str
    expires: float
    sliding_seconds: float = 0.0
    ends: float = FOREVER
    revoked: bool = False


class Contents(msgspec.Struct):
    """All of a directory at one revision: identities, keys and tokens by their ids. `elsewhere` are the ids of the
    identities that are not held, since they have to do with other companies. `mark` tells the change that made the
    revision from any other that may have its number."""

    epoch: str = ""
    revision: int = 0
    identities: dict[str, Identity] = {}
    keys: dict[str, KeyFacts] = {}
    tokens: dict[str, TokenFacts] = {}
    elsewhere: set[str] = set()
    mark: Mark = None


class Changes(msgspec.Struct):
    """What is otherwise at `revision` than at the one before: None for what is gone or not held, and of identities that
    are not held `elsewhere` has the ids. `made_at` is when the oldest of
    these changes was made, by the clock of whoever made it (seconds since 1970-01-01 UTC)."""

    revision: int
    identities: Mapping[str, Identity | None] = {}
    keys: Mapping[str, KeyFacts | None] = {}
    tokens: Mapping[str, TokenFacts | None] = {}
    made_at: float | None = None
    elsewhere: frozenset[str] = frozenset()
    mark: Mark = None


class DirectoryCopy:
    """The directory as this process has it. `companies` are those that it holds identities of (None: all of them).

    `seen_at` is when the store was last seen to be at `revision`, in seconds of a clock that only goes forward (not
    that of the calendar, which may be set back). `max_staleness` is the longest that may be ago for credentials to be
    trusted (0: any time).
    """

    def __init__(self, companies: frozenset[str] | None = None, max_staleness: float = 0.0) -> None:
        self.companies = companies
        self.max_staleness = max_staleness
        self.seen_at = float("-inf")
        self._contents = Contents()
        self._identities = self._contents.identities
        self.revision = 0

    @property
    def epoch(self) -> str:
        """Which history `revision` counts in: a store that was restored has another one. "" before the first load."""
        return self._contents.epoch

    @property
    def contents(self) -> Contents:
        """All that it holds, to be read only."""
        return self._contents

    @property
    def credentials(self) -> int:
        """How many API keys and access tokens it holds."""
        return len(self._contents.keys) + len(self._contents.tokens)

    @property
    def identities(self) -> int:
        """How many identities it holds."""
        return len(self._identities)

    def identity(self, id: str) -> Identity | None:
        """The identity of this id; None where there is none, or none that is held here."""
        return self._identities.get(id)

    def is_elsewhere(self, id: str) -> bool:
        """Whether there is an identity of this id that is not held here, as it has to do with other companies alone."""
        return id in self._contents.elsewhere

    def key(self, id: str) -> KeyFacts | None:
        """The API key of this id."""
        return self._contents.keys.get(id)

    def token(self, id: str) -> TokenFacts | None:
        """The access token of this id."""
        return self._contents.tokens.get(id)

    def holds(self, company: str) -> bool:
        """Whether it holds all identities that may have to do with a company, or with the platform ("")."""
        return self.companies is None or not company or company in self.companies

    def staleness(self, now: float) -> float:
        """Seconds since the store was last seen, at `now` of the clock of `seen_at`; infinite before it was."""
        return max(0.0, now - self.seen_at)

    def is_stale(self, now: float) -> bool:
        """Whether that is longer ago than credentials are trusted for."""
        return bool(self.max_staleness) and now - self.seen_at > self.max_staleness

    def see(self, now: float) -> None:
        """The store was seen, and is at `revision`."""
        self.seen_at = now

    def replace(self, contents: Contents) -> Contents:
        """Hold other contents altogether, and give those that were held."""
        replaced, self._contents = self._contents, contents
        self._identities = contents.identities
        self.revision = contents.revision
        return replaced

    def apply(self, changes: Changes) -> None:
        """Take changes to what is held, up to their revision."""
        contents = self._contents
        _take(contents.identities, changes.identities)
        contents.elsewhere.difference_update(changes.identities)
        contents.elsewhere.update(changes.elsewhere)
        _take(contents.keys, changes.keys)
        _take(contents.tokens, changes.tokens)
        contents.revision = self.revision = changes.revision
        contents.mark = changes.mark


def _take(held: dict[str, T], changed: Mapping[str, T | None]) -> None:
    for id, record in changed.items():
        if record is None:
            held.pop(id, None)
        else:
            held[id] = record
