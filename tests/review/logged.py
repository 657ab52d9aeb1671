"""Lines of a decision log for tests, as a server would write them."""

from typing import Any

import msgspec

from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.logged_lines import Replayed
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.values.logged_decision import LoggedDecision, LoggedObject

NOON = "2026-01-31T12:00:00.000000Z"


def log_line(
    subject: str = "carol",
    action: str = "read",
    type: str = "case",
    *,
    allowed: bool = True,
    time: str = NOON,
    reason: str = "",
    object: LoggedObject | None = None,
    **more: Any,
) -> bytes:
    """A line without its line break; about an object of acme unless `object` says otherwise."""
    logged = LoggedDecision(
        time=time,
        decision_id=more.pop("decision_id", "0f"),
        subject=subject,
        action=action,
        object=object or LoggedObject(type, "1", "acme", "carol"),
        allowed=allowed,
        reason=reason or ("allowed_by_rule" if allowed else "no_matching_rule"),
        policy_version=more.pop("policy_version", "base"),
        **more,
    )
    return msgspec.json.encode(logged)


def read_lines(
    decider: Decider, lines: list[bytes], *, torn: bool = False, since: str = ""
) -> tuple[LogReader, list[Replayed]]:
    """What a reader makes of the lines."""
    reader = LogReader(decider, since)
    return reader, list(reader.read(lines, torn=torn))
