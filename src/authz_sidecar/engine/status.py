"""What is served, and what was refused: the facts behind `/readyz`, the policy's metrics and the log."""

import msgspec

OUTCOMES = ("loaded", "renamed", "refused", "failed")


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
    errors) and `failed` (it could not be compiled). `seconds` is how long the last one took.
    """

    policy_version: str = ""
    loaded_at: float = 0.0
    refused: Refusal | None = None
    waiting: str = ""
    reloads: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: float = 0.0

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
        serving = f"serving {self.policy_version}" if self.policy_version else "serving no policy"
        if self.refused is None:
            return serving
        refused = self.refused.policy_version or "a bundle that cannot be read"
        return f"{serving}, refused {refused} because {self.refused.why}"
