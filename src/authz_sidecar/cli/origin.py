"""Where a line of policy comes from, in words: the commit that last touched it."""

from typing import TYPE_CHECKING, Any

from authz_sidecar.values.instant import date_text, time_text

if TYPE_CHECKING:
    from authz_sidecar.sources.blame import Origin
    from authz_sidecar.sources.commit import Commit

SHORT = 12
_OLDER = {"clone": "or before: the clone ends there", "search": "or before: the search ended there"}
_STATUS = {"": "committed", "clone": "older_than_clone", "search": "older_than_search"}
JUSTIFICATION = "Justification"


def number_text(commit: "Commit") -> str:
    """`#123`, or "" where the message gives no pull request."""
    return "" if commit.pull_request is None else f"#{commit.pull_request}"


def origin_text(origin: "Origin") -> str:
    """`9f0c1d3a4b5c 2026-01-31 Ada #123 let clients delete their folders`; text of other people is not escaped, but has
    no gap that would let the rest of it begin a line of the terminal."""
    commit = origin.commit
    if commit is None:
        return "not committed"
    parts = [commit.id[:SHORT], date_text(commit.when), commit.author, number_text(commit), commit.subject]
    return " ".join(" ".join((*parts, origin.older and f"({_OLDER[origin.older]})")).split())


def commit_object(commit: "Commit") -> dict[str, Any]:
    """The JSON form of a commit."""
    return {
        "commit": commit.id,
        "author": commit.author,
        "email": commit.email,
        "when": time_text(commit.when),
        "subject": commit.subject,
        "pull_request": commit.pull_request,
        "justifications": list(commit.trailer(JUSTIFICATION)),
    }


def origin_object(origin: "Origin") -> dict[str, Any]:
    """The JSON form of an origin; the names of a commit are there for one that is committed."""
    if origin.commit is None:
        return {"status": "not_committed"}
    return {"status": _STATUS[origin.older]} | commit_object(origin.commit)
