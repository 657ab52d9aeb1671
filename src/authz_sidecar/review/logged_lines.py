"""Lines of a decision log as values: the decision that one holds, the request that it asks, and what a log comes to."""

from typing import NamedTuple

import msgspec

from authz_sidecar.values import Decision, Request, build_request
from authz_sidecar.values.logged_decision import LoggedDecision
from authz_sidecar.values.request import EMPTY

# The lines of the requests whose decisions are kept may have so many bytes altogether, with what each costs besides.
MAX_KEPT_BYTES = 64 * 1024 * 1024
KEPT_OVERHEAD = 400
MAX_VERSIONS = 100


class DirectoryFacts(msgspec.Struct):
    """What became of lines that rest on a directory of identities, where there is one to decide them by.

    `revision` is the newest that was read of it. `decisions` were decided again, as those of LogFacts, of which they
    are a part. `changed` came out otherwise than the policy that made them would decide now, so that the directory has
    changed since; `changed_differently` of them the two policies decide differently as it is now. `left_out` are
    others by why, and `unknown` the versions of policies that are not to be had, with their lines.
    """

    revision: int = 0
    decisions: int = 0
    changed: int = 0
    changed_differently: int = 0
    left_out: dict[str, int] = msgspec.field(default_factory=dict)
    unknown: dict[str, int] = msgspec.field(default_factory=dict)


class LogFacts(msgspec.Struct):
    """What there is in a log.

    `decisions` were decided again, `requests` times, since the same question is decided once. `masked` lack a part of
    the request that the decision needs, `filters` are questions about lists, `invalid` lines are none of ours, `torn`
    last lines were not written to their end, `unserved` ones were denied since there was no policy yet, which no other
    would have changed, `outside` ones are older than asked for, and `by_directory` ones were decided by what a
    directory of identities said, which is not in a log; with one to ask, `directory` says what became of them.
    `dropped` decisions the log itself knows to be missing. `first` and `last` are the earliest and latest times among
    the lines ("": there are none), `days` the dates, `versions` how many decisions which policy made, and
    `least_sample` is the smallest share that was logged.
    """

    decisions: int = 0
    requests: int = 0
    masked: int = 0
    filters: int = 0
    invalid: int = 0
    torn: int = 0
    dropped: int = 0
    unserved: int = 0
    outside: int = 0
    by_directory: int = 0
    directory: DirectoryFacts | None = None
    first: str = ""
    last: str = ""
    days: set[str] = msgspec.field(default_factory=set)
    versions: dict[str, int] = msgspec.field(default_factory=dict)
    least_sample: float = 1.0


class Replayed(NamedTuple):
    """A logged decision, the request that it was on, and what the policy decides now."""

    logged: LoggedDecision
    request: Request
    decision: Decision


class Line(NamedTuple):
    """A line that was read, its time in seconds since 1970-01-01 UTC, and its length in bytes."""

    logged: LoggedDecision
    seconds: float
    size: int


def hidden_parts(logged: LoggedDecision) -> list[str]:
    """The names of the parts of its request that a line hides."""
    return [name for name in logged.masked if name != "call_id"]


def logged_request(logged: LoggedDecision, seconds: float) -> Request | None:
    """The request of a line, made at `seconds` since 1970-01-01 UTC; None for what no request may be."""
    thing = logged.object
    request, _ = build_request(
        logged.subject,
        logged.action,
        type=thing.type,
        id=thing.id,
        company=thing.company,
        owner=thing.owner,
        subject_attributes=logged.subject_attributes or EMPTY,
        object_attributes=thing.attributes or EMPTY,
        context=logged.context or EMPTY,
        time=seconds,
        section=logged.section,
    )
    return request
