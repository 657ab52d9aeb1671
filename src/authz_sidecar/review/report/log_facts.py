"""What there is in a log that a report rests on, and what there is not, in sentences."""

from typing import Any

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.identified_requests import LeftOut
from authz_sidecar.review.logged_lines import DirectoryFacts, LogFacts
from authz_sidecar.values.visible import visible

# Versions that a sentence names.
_MOST_NAMED = 3
_LEFT_OUT = {
    LeftOut.NOBODY: "are of credentials that stood for nobody, whatever the policy",
    LeftOut.COMPANY_NOT_HELD: "are about companies that the sidecar did not hold",
    LeftOut.JWT: "are of JWTs, whose groups and claims are not in the log",
    LeftOut.POLICY: "were decided by policies that `--policies` does not lead to",
    LeftOut.GONE: "are of identities that the directory has no longer",
}


def short_time(time: str) -> str:
    """A time of the log without its parts of a second."""
    return f"{time[:19]}Z" if time else ""


def caveats(facts: LogFacts, remedy: str = "") -> list[str]:
    """What is missing in the log, a sentence each without its stop; none if nothing is known to be. `remedy` is what to
    do about lines that rest on a directory ("" for nothing)."""
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
        said.append(
            f"{count} rest on a directory of identities, which is not in the log, and were left out"
            f"{remedy and f': {remedy}'}"
        )
    if facts.directory is not None:
        said += _of_directory(facts.directory)
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
        **({} if facts.directory is None else {"directory": _directory_object(facts.directory)}),
        "outside": facts.outside,
        "first": facts.first or None,
        "last": facts.last or None,
        "days": len(facts.days),
        "sample": facts.least_sample,
        "policy_versions": dict(sorted(facts.versions.items(), key=lambda item: (-item[1], item[0]))),
    }


def _of_directory(facts: DirectoryFacts) -> list[str]:
    """What became of the lines that rest on a directory."""
    said: list[str] = []
    if facts.decisions:
        decisions = counted(facts.decisions, "decision")
        said.append(f"{decisions} were compared by the identities of the directory, now at revision {facts.revision}")
    if facts.changed:
        decisions = counted(facts.changed, "decision")
        said.append(
            f"the directory has changed since {decisions}, which were left out;"
            f" by its identities of now the two policies differ on {facts.changed_differently:,} of them"
        )
    for why, words in _LEFT_OUT.items():
        if count := facts.left_out.get(why, 0):
            named = f": {_versions(facts)}" if why is LeftOut.POLICY else ""
            said.append(f"{counted(count, 'line')} {words}, and were left out{named}")
    return said


def _versions(facts: DirectoryFacts) -> str:
    ordered = sorted(facts.unknown, key=lambda version: (-facts.unknown[version], version))
    more = ["…"] if len(ordered) > _MOST_NAMED else []
    return ", ".join([*(f"`{visible(version)}`" for version in ordered[:_MOST_NAMED]), *more])


def _directory_object(facts: DirectoryFacts) -> dict[str, Any]:
    return {
        "revision": facts.revision,
        "decisions": facts.decisions,
        "changed_since": facts.changed,
        "changed_since_and_decided_differently": facts.changed_differently,
        "left_out": {str(why): facts.left_out.get(why, 0) for why in LeftOut},
        "unknown_policy_versions": dict(sorted(facts.unknown.items(), key=lambda item: (-item[1], item[0]))),
    }
