"""What there is in a log that a report rests on, and what there is not, in sentences."""

from typing import Any

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.logged_requests import LogFacts


def short_time(time: str) -> str:
    """A time of the log without its parts of a second."""
    return f"{time[:19]}Z" if time else ""


def caveats(facts: LogFacts) -> list[str]:
    """What is missing in the log, a sentence each without its stop; none if nothing is known to be."""
    said: list[str] = []
    if facts.masked:
        said.append(f"{counted(facts.masked, 'line')} could not be decided: what they lack is masked")
    if facts.invalid:
        said.append(f"{counted(facts.invalid, 'line')} are no lines of a decision log, or no valid requests")
    if facts.torn:
        said.append(f"{counted(facts.torn, 'file')} ended within a line, which was left out")
    if facts.dropped:
        said.append(f"{counted(facts.dropped, 'decision')} were not logged, since the log could not keep up")
    if facts.by_directory:
        count = counted(facts.by_directory, "line")
        said.append(f"{count} rest on a directory of identities, which is not in the log, and were left out")
    if facts.unserved:
        said.append(f"{counted(facts.unserved, 'line')} are of a time without a policy, and were left out")
    if facts.least_sample < 1:
        said.append(f"the log is sampled: as little as {facts.least_sample:g} of what was allowed is in it")
    return said


def facts_object(facts: LogFacts) -> dict[str, Any]:
    """The same for programs."""
    return {
        "decisions": facts.decisions,
        "requests": facts.requests,
        "lists": facts.filters,
        "masked": facts.masked,
        "invalid": facts.invalid,
        "torn": facts.torn,
        "dropped": facts.dropped,
        "unserved": facts.unserved,
        "by_directory": facts.by_directory,
        "outside": facts.outside,
        "first": facts.first or None,
        "last": facts.last or None,
        "days": len(facts.days),
        "sample": facts.least_sample,
        "policy_versions": dict(sorted(facts.versions.items(), key=lambda item: (-item[1], item[0]))),
    }
