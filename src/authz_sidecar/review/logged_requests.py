"""What a decision log asks: its lines read and checked, each different request decided once.

A log may be huge, damaged or made up. Lines are checked as requests of the wire are, and what is kept is bounded: of
decisions that were made a limited number, of the rest numbers.
"""

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec

from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.identified_requests import IdentifiedRequests
from authz_sidecar.review.logged_lines import (
    KEPT_OVERHEAD,
    MAX_KEPT_BYTES,
    MAX_VERSIONS,
    Line,
    LogFacts,
    Replayed,
    hidden_parts,
    logged_request,
)
from authz_sidecar.review.policy_inputs import depends_on_time, reads_asker, reads_whole_context
from authz_sidecar.values import Decision, Reason, Request
from authz_sidecar.values.logged_decision import ATTRIBUTES, LoggedDecision, Masked

MAX_SECONDS = 4096
MAX_DAYS = 10_000
# No line of ours has as much outside of its request.
MAX_TEXT = 4096
_NO_POLICY = Reason.NO_POLICY.label
_OF_ASKER = (Masked.SUBJECT_ATTRIBUTES, Masked.CONTEXT)

_decode = msgspec.json.Decoder(LoggedDecision).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class LogReader:
    """Decides the requests of a log's lines anew; `facts` counts.

    Lines before `since` (RFC 3339 with microseconds in UTC, "" for none) are counted as `outside` and not decided.
    Those that rest on a directory are decided by `identified`; without it they are counted alone.
    """

    def __init__(self, decider: Decider, since: str = "", identified: IdentifiedRequests | None = None) -> None:
        self.facts = LogFacts(directory=None if identified is None else identified.facts)
        self._decide = decider.decide
        self._since = since
        self._identified = identified
        self._timed = depends_on_time(decider.snapshot)
        self._reads_context = reads_whole_context(decider.snapshot)
        self._reads_asker = reads_asker(decider.snapshot)
        self._kept: dict[tuple[object, ...], tuple[Request, Decision] | None] = {}
        self._bytes = 0
        # Seconds at the beginning of each second that was met lately, by its text.
        self._seconds_at: dict[str, float] = {}

    def read(self, lines: Sequence[bytes], *, torn: bool = False) -> Iterator[Replayed]:
        """What the lines come to; with `torn` the last one may be a part of a line."""
        facts, since, timed, kept, seconds_at = self.facts, self._since, self._timed, self._kept, self._seconds_at
        first, last, versions, least = facts.first, facts.last, facts.versions, facts.least_sample
        decided = 0
        identified: list[Line] = []
        for number, line in enumerate(lines, 1):
            try:
                logged = _decode(line)
                time = logged.time
                seconds = seconds_at.get(time[:19])
                if seconds is None:
                    seconds = self._begin_second(time)
                micros = time[20:26]
                if (
                    len(time) != 27
                    or time[19] != "."
                    or time[26] != "Z"
                    or not micros.isdecimal()
                    or not time.isascii()
                ):
                    raise ValueError(time)
            # Too deep a map is one of the ways to be no line of ours.
            except (msgspec.MsgspecError, ValueError, RecursionError):
                if torn and number == len(lines):
                    facts.torn += 1
                elif line and not line.isspace():
                    facts.invalid += 1
                continue
            if len(line) > MAX_TEXT and _is_stuffed(logged):
                facts.invalid += 1
                continue
            if logged.dropped:
                facts.dropped += logged.dropped
            if time < since:
                facts.outside += 1
                continue
            if logged.reason == _NO_POLICY:
                facts.unserved += 1
                continue
            if logged.directory_revision and self._identified is None:
                facts.by_directory += 1
                continue
            if not first or time < first:
                first = time
            last = max(last, time)
            least = min(least, logged.sample)
            version = logged.policy_version
            if version in versions or len(versions) < MAX_VERSIONS:
                versions[version] = versions.get(version, 0) + 1
            if logged.directory_revision:
                identified.append(Line(logged, seconds + int(micros) / 1e6, len(line)))
                continue
            thing = logged.object
            if timed:
                seconds += int(micros) / 1e6
            key: tuple[object, ...] = (
                logged.subject,
                logged.action,
                thing.type,
                thing.id,
                thing.company,
                thing.owner,
                logged.section,
                seconds if timed else 0.0,
            )
            if logged.context or thing.attributes or logged.subject_attributes or logged.masked:
                given = (logged.subject_attributes, thing.attributes, logged.context, logged.masked)
                key = (*key, logged.kind == "filter", _encode(given))
            try:
                found = kept[key]
            except KeyError:
                found = self._build(logged, seconds)
                self._keep(key, found, len(line))
            filtered = logged.kind == "filter"
            if filtered:
                facts.filters += 1
            if found is not None:
                decided += not filtered
                yield Replayed(logged, *found)
            elif logged.masked:
                facts.masked += 1
            else:
                facts.invalid += 1
        facts.first, facts.last, facts.least_sample = first, last, least
        facts.decisions += decided
        if identified and self._identified is not None:
            yield from self._identified.decide(identified, facts)

    def _keep(self, key: tuple[object, ...], found: tuple[Request, Decision] | None, size: int) -> None:
        """Keep what a request of a line of `size` bytes came to."""
        self.facts.requests += found is not None
        self._bytes += size + KEPT_OVERHEAD
        if self._bytes > MAX_KEPT_BYTES:
            # What comes again is decided again.
            self._kept.clear()
            self._bytes = size + KEPT_OVERHEAD
        self._kept[key] = found

    def _begin_second(self, time: str) -> float:
        """The seconds at the beginning of the second of a time as ours are written; raises ValueError for another.
        Dates are noted."""
        second = time[:19]
        found = dt.datetime.strptime(second, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=dt.UTC).timestamp()
        if len(self._seconds_at) >= MAX_SECONDS:
            self._seconds_at.clear()
        self._seconds_at[second] = found
        if time >= self._since and len(self.facts.days) < MAX_DAYS:
            self.facts.days.add(second[:10])
        return found

    def _build(self, logged: LoggedDecision, seconds: float) -> tuple[Request, Decision] | None:
        hidden = hidden_parts(logged)
        if not all(name.startswith(ATTRIBUTES) for name in hidden):
            return None
        if self._reads_context and any(name.startswith(Masked.CONTEXT) for name in hidden):
            return None
        # A list rests on rules that no decision about its type alone comes to.
        if logged.kind == "filter" and self._reads_asker and any(name.startswith(_OF_ASKER) for name in hidden):
            return None
        request = logged_request(logged, seconds)
        if request is None:
            return None
        decision = self._decide(request)
        # Whoever reads an attribute that is not there fails: no other decision depends on what is hidden.
        if hidden and decision.reason in (Reason.EVALUATION_ERROR, Reason.INVALID_REQUEST):
            return None
        return request, decision


def _is_stuffed(logged: LoggedDecision) -> bool:
    """Whether more stands in a line beside its request than any line of ours has."""
    return len(logged.role) + len(logged.rule) + len(logged.reason) + len(logged.policy_version) > MAX_TEXT
