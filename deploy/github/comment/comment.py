"""Puts a report into the one comment of a pull request, which is updated each time. `action.yml` beside it calls it.

The report is somebody's text, whoever could change the workflow that made it: it goes to GitHub as the body of a
comment, below a line that says so, and is not run. Which pull request it was is asked from GitHub: an open one that
comes from `$HEAD_OWNER:$HEAD_BRANCH` and is at `$HEAD_SHA`. Only where there are several does the report say which.
"""

import json
import os
import re
import stat
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Anybody may write the marker; only a comment of a workflow's own is written over.
MARKER = "<!-- authz-sidecar: access review -->"
NUMBER = re.compile(r"<!-- pull request (\d{1,9}) -->")
# A comment holds 65,536 characters, of which those beyond the basic plane may count twice.
LONGEST = 65_000
TIMEOUT_SECONDS = 30
PAGE = 100


class GitHub:
    """The part of GitHub's API that a comment takes. Each call raises OSError if GitHub does not answer or refuses."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._root = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}"
        self._token = environment["COMMENT_TOKEN"]
        self._author = environment["COMMENT_AUTHOR"]

    def call(self, path: str, method: str = "GET", body: object = None, **query: str) -> Any:
        """The answer to one call, below the repository."""
        address = f"{self._root}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        request = urllib.request.Request(  # noqa: S310  # the runner's own address of GitHub
            address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  # as above
            return json.load(answer)

    def pull_requests(self, head: str, commit: str) -> list[int]:
        """The open pull requests that come from the branch `head` (`owner:branch`) and are at `commit`."""
        found = self.call("/pulls", state="open", head=head, per_page=str(PAGE))
        return [int(each["number"]) for each in found if each["head"]["sha"] == commit]

    def comment(self, number: int) -> int | None:
        """The comment that was written before."""
        page = 1
        while True:
            found = self.call(f"/issues/{number}/comments", per_page=str(PAGE), page=str(page))
            for each in found:
                author = (each.get("user") or {}).get("login")
                if author == self._author and (each.get("body") or "").startswith(MARKER):
                    return int(each["id"])
            if len(found) < PAGE:
                return None
            page += 1


def read_report(path: Path) -> str:
    """The report, as much of it as a comment holds; raises OSError. What another workflow left is only ever a file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no file")
        text = file.read(4 * LONGEST).decode("utf-8", "replace")
    return text.encode("utf-16-le")[: 2 * LONGEST].decode("utf-16-le", "ignore")


def main(environment: Mapping[str, str]) -> int:
    """Comment; 0 also where the pull request has moved on or is closed."""
    report = read_report(Path(environment["REPORT"]))
    commit = environment["HEAD_SHA"]
    github = GitHub(environment)
    numbers = github.pull_requests(f"{environment['HEAD_OWNER']}:{environment['HEAD_BRANCH']}", commit)
    said = NUMBER.match(report)
    if len(numbers) > 1:
        numbers = [number for number in numbers if said and number == int(said[1])]
    if not numbers:
        print("no open pull request of this report is at this commit: there is nothing to comment on")
        return 0
    number = numbers[0]
    note = (
        f"<sub>Access review of {commit}. The check is what counts: who may change its workflow writes this text.</sub>"
    )
    body = {"body": f"{MARKER}\n{note}\n\n{report}"}
    comment = github.comment(number)
    if comment is None:
        answer = github.call(f"/issues/{number}/comments", "POST", body)
    else:
        answer = github.call(f"/issues/comments/{comment}", "PATCH", body)
    print(answer["html_url"])
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
