"""How many calls are in flight, and the refusal of one too many: at once, before its message is read."""

import grpc

from authz_sidecar.transports.grpc.errors import CallError, ErrorReason

# When a refused caller may try again. Checks take a fraction of a millisecond, so room is made quickly.
RETRY_SECONDS = 0.1


class Gate:
    """Counts the calls of one kind that are in flight, and admits at most `limit` of them.

    `name` is the limit's name in metrics, `what` are the calls in a sentence, `wider` is a gate that these calls
    count at as well.
    """

    __slots__ = ("in_flight", "limit", "name", "refusal", "wider")

    def __init__(self, name: str, limit: int, reason: ErrorReason, what: str, wider: "Gate | None" = None) -> None:
        self.name = name
        self.limit = limit
        self.wider = wider
        self.in_flight = 0
        self.refusal = CallError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{limit} {what} are in flight, which is the limit; try again later",
            reason,
            metadata={"limit": str(limit)},
            retry_after=RETRY_SECONDS,
        )

    def enter(self) -> "Gate | None":
        """Admit one call: None, or the gate that is full."""
        if self.in_flight >= self.limit:
            return self
        if self.wider is not None:
            full = self.wider.enter()
            if full is not None:
                return full
        self.in_flight += 1
        return None

    def leave(self) -> None:
        """One call has ended."""
        self.in_flight -= 1
        if self.wider is not None:
            self.wider.leave()
