"""What a serving process counts: plain numbers, cheap to add to on every call, and to add up over processes."""

from bisect import bisect_left

import msgspec

from authz_sidecar.values import Reason

# Upper bounds of the buckets. Seconds from the acceptance of a call to its answer:
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
# Checks in a batch:
CHECKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
# From a change of the directory to the moment at which decisions are made by it, in seconds:
LAG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
# What became of a decision when a candidate policy made it, too:
SHADOW_OUTCOMES = ("same", "newly_allowed", "newly_denied", "error")
# What became of a credential:
AUTHENTICATED = "authenticated"
AUTHENTICATIONS = (
    AUTHENTICATED,
    *(
        reason.label
        for reason in (
            Reason.INACTIVE_SUBJECT,
            Reason.INVALID_CREDENTIAL,
            Reason.CREDENTIAL_EXPIRED,
            Reason.CREDENTIAL_REVOKED,
            Reason.CREDENTIAL_INACTIVE,
            Reason.STALE_DIRECTORY,
        )
    ),
)


class Histogram(msgspec.Struct):
    """How many observations fell into each bucket: `buckets[n]` those up to `bounds[n]` and above the bound before,
    the last those above all bounds. `total` is the sum of what was observed."""

    bounds: tuple[float, ...]
    buckets: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> "Histogram":
        """An empty one."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: "Histogram") -> None:
        """Add what another process observed."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total


class MethodCounts(msgspec.Struct):
    """One method: ended calls by the name of their status code, and how long they took in seconds."""

    codes: dict[str, int] = msgspec.field(default_factory=dict)
    seconds: Histogram = msgspec.field(default_factory=lambda: Histogram.of(SECONDS))

    def end(self, code: str, seconds: float) -> None:
        """Count a call that ended."""
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1
        # `observe`, without its call: this is done for every check.
        histogram = self.seconds
        histogram.buckets[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def add(self, other: "MethodCounts") -> None:
        """Add what another process counted."""
        for code, number in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + number
        self.seconds.add(other.seconds)


class Counts(msgspec.Struct):
    """Everything one process counts. Methods and limits are names of ours, so that their number is bounded.

    `decisions[reason]` are answers by reason; `refused[limit]` calls refused at a limit; `in_flight` is the number of
    accepted calls that have not ended. `logged` and `log_dropped` are decisions that were written to the decision log,
    and that should have been; `authentications[outcome]` are credentials by what they were found to be, and
    `directory_lag` is how long changes of the directory took to get here. `key_looks[issuer][outcome]` are looks at the
    keys of identity providers, which the operator names; `audit_left_out` are decisions that could never be
    written to the audit. `shadow` are decisions of the candidate by
    how they compare, and `shadow_dropped` those that it had no time for.
    """

    decisions: list[int] = msgspec.field(default_factory=lambda: [0] * (max(Reason) + 1))
    methods: dict[str, MethodCounts] = msgspec.field(default_factory=dict)
    batches: Histogram = msgspec.field(default_factory=lambda: Histogram.of(CHECKS))
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    in_flight: int = 0
    logged: int = 0
    log_dropped: int = 0
    authentications: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(AUTHENTICATIONS, 0))
    directory_lag: Histogram = msgspec.field(default_factory=lambda: Histogram.of(LAG_SECONDS))
    key_looks: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    audit_left_out: int = 0
    shadow: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(SHADOW_OUTCOMES, 0))
    shadow_dropped: int = 0

    def method(self, name: str) -> MethodCounts:
        """The counts of one method."""
        return self.methods.setdefault(name, MethodCounts())

    def refuse(self, limit: str) -> None:
        """Count a call that a limit refused."""
        self.refused[limit] = self.refused.get(limit, 0) + 1

    def add(self, other: "Counts") -> None:
        """Add what another process counted."""
        self.decisions = [mine + theirs for mine, theirs in zip(self.decisions, other.decisions, strict=True)]
        for name, counts in other.methods.items():
            self.method(name).add(counts)
        self.batches.add(other.batches)
        for limit, number in other.refused.items():
            self.refused[limit] = self.refused.get(limit, 0) + number
        self.in_flight += other.in_flight
        self.logged += other.logged
        self.log_dropped += other.log_dropped
        for outcome, number in other.authentications.items():
            self.authentications[outcome] = self.authentications.get(outcome, 0) + number
        self.directory_lag.add(other.directory_lag)
        for issuer, looks in other.key_looks.items():
            mine = self.key_looks.setdefault(issuer, {})
            for outcome, number in looks.items():
                mine[outcome] = mine.get(outcome, 0) + number
        self.audit_left_out += other.audit_left_out
        for outcome, number in other.shadow.items():
            self.shadow[outcome] = self.shadow.get(outcome, 0) + number
        self.shadow_dropped += other.shadow_dropped
