"""What is served, and what was refused: the facts behind `/readyz`, the policy's metrics and the log."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

OUTCOMES = ("loaded", "renamed", "refused", "failed")
LOOKS = ("ok", "failed")


class Refusal(msgspec.Struct, frozen=True):
    """A policy that was not taken: its version ("" if it could not be read), why, and since when (seconds since
    1970-01-01 UTC)."""

    policy_version: str
    why: str
    since: float


class PolicyStatus(msgspec.Struct):
    """The policy of this sidecar as a whole, all workers together.

    `policy_version` is "" until one is loaded, at `loaded_at` (seconds since 1970-01-01 UTC); `refused` is the newest
    state of the directory if it was refused; `waiting` says what holds a reload up ("" for nothing). `reloads` counts
    what became of each change: `loaded`, `renamed` (another commit with the same content), `refused` (the bundle has
    errors, or must not be served) and `failed` (it could not be compiled). `seconds` is how long the last one took.

    `looked_at` is when the source of the policies was last seen (seconds since 1970-01-01 UTC; 0: never), `unseen` why
    the newest look at it failed ("" if it did not), and `looks` counts them. Past `max_staleness` seconds without a
    look the sidecar is not ready (0: it stays so). `deed` and `what` say what is done with which policies.
    """

    policy_version: str = ""
    loaded_at: float = 0.0
    refused: Refusal | None = None
    waiting: str = ""
    reloads: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: float = 0.0
    looked_at: float = 0.0
    unseen: str = ""
    looks: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(LOOKS, 0))
    max_staleness: float = 0.0
    deed: str = "serving"
    what: str = "the policies"

    def see(self, now: float) -> None:
        """The source was looked at, and is what it is."""
        self.looked_at, self.unseen = now, ""
        self.looks["ok"] += 1

    def miss(self, why: str) -> None:
        """The source could not be looked at."""
        self.unseen = why
        self.looks["failed"] += 1

    def staleness(self, now: float) -> float:
        """Seconds since the source was last seen; 0 before anything is served."""
        return max(0.0, now - self.looked_at) if self.policy_version and self.looked_at else 0.0

    def is_stale(self, now: float) -> bool:
        """Whether that is longer than allowed. What was never seen, as far as anybody knows, is."""
        if not (self.max_staleness and self.policy_version):
            return False
        return not self.looked_at or self.staleness(now) > self.max_staleness

    def take(self, policy_version: str, now: float, *, renamed: bool = False) -> None:
        """A policy is served from now on."""
        self.policy_version = policy_version
        self.loaded_at = now
        self.refused = None
        self.reloads["renamed" if renamed else "loaded"] += 1

    def refuse(self, policy_version: str, why: str, now: float, *, failed: bool = False) -> None:
        """A policy was not taken; what was served before goes on."""
        self.refused = Refusal(policy_version, why, now)
        self.reloads["failed" if failed else "refused"] += 1

    @property
    def sentence(self) -> str:
        """What is going on, for people."""
        serving = f"{self.deed} {self.policy_version or 'no policy'}"
        if self.refused is None:
            return serving
        refused = self.refused.policy_version or "a bundle that cannot be read"
        return f"{serving}, refused {refused} because {self.refused.why}"


class IssuerStatus(msgspec.Struct, frozen=True):
    """The keys of one identity provider: how many there are, and for how many seconds they have not been seen."""

    issuer: str
    keys: int
    staleness: float


class DirectoryStatus(msgspec.Struct):
    """The directory of identities that decisions know: of one process, or of the one that lags most.

    `staleness` is for how many seconds its store has not been seen, past `max_staleness` of which the sidecar is not
    ready (0: it stays so); `problem` is why the newest look failed ("" if it did not). `identities` and `credentials`
    are how many are held, `waiting` records that are still to be written to the audit, and `audit_failing` says that
    the last attempt to write some failed. `checkpoint_age` is how many seconds ago the audit was last signed for (None:
    never, or by nobody here), `checkpoint_failing` that it could not be since, and `issuers` has the keys of identity
    providers.
    """

    revision: int = 0
    staleness: float = 0.0
    max_staleness: float = 0.0
    problem: str = ""
    identities: int = 0
    credentials: int = 0
    waiting: int = 0
    audit_failing: bool = False
    checkpoint_age: float | None = None
    checkpoint_failing: bool = False
    issuers: tuple[IssuerStatus, ...] = ()

    @property
    def is_stale(self) -> bool:
        """Whether the store has not been seen for too long."""
        return bool(self.max_staleness) and self.staleness > self.max_staleness

    def worse(self, other: "DirectoryStatus", seconds: float = 0.0) -> "DirectoryStatus":
        """What is true of both processes, of which the other spoke so many seconds ago."""
        return DirectoryStatus(
            min(self.revision, other.revision),
            max(self.staleness, other.staleness + seconds),
            self.max_staleness,
            self.problem or other.problem,
            max(self.identities, other.identities),
            max(self.credentials, other.credentials),
            self.waiting + other.waiting,
            self.audit_failing or other.audit_failing,
            # One of them signs.
            self.checkpoint_age if other.checkpoint_age is None else other.checkpoint_age + seconds,
            self.checkpoint_failing or other.checkpoint_failing,
            _worst_keys(self.issuers, other.issuers, seconds),
        )


def _worst_keys(
    ours: tuple[IssuerStatus, ...], theirs: tuple[IssuerStatus, ...], seconds: float
) -> tuple[IssuerStatus, ...]:
    """The keys of each provider where there are fewest, and where they have not been seen for longest."""
    found = {one.issuer: one for one in ours}
    for other in theirs:
        mine = found.get(other.issuer, other)
        staleness = max(mine.staleness, other.staleness + seconds)
        found[other.issuer] = IssuerStatus(other.issuer, min(mine.keys, other.keys), staleness)
    return tuple(found.values())


# Says what is known of the policies of the sidecar as a whole.
StatusReader: TypeAlias = Callable[[], Awaitable[PolicyStatus]]


def shadow_status() -> PolicyStatus:
    """The status of a candidate that answers nobody."""
    return PolicyStatus(deed="shadowing with", what="the shadow's policies")
