"""Puts a report into the one comment of a pull request, which is updated each time. `action.yml` beside it calls it.

The report is somebody's text: it goes to GitHub as the body of a comment, and is neither run nor read. Which pull
request it was is asked from GitHub: the open one that comes from `$HEAD_OWNER:$HEAD_BRANCH` and is at `$HEAD_SHA`.
"""

import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKER = "<!-- authz-sidecar: access review -->"
# Anybody may write the marker; only a comment of a workflow's own is written over.
AUTHOR = "github-actions[bot]"
# A comment holds 65,536 characters.
LONGEST = 65_000
TIMEOUT_SECONDS = 30
PAGE = 100


class GitHub:
    """The part of GitHub's API that a comment takes. Each call raises OSError if GitHub does not answer or refuses."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._root = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}"
        self._token = environment["COMMENT_TOKEN"]

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

    def pull_request(self, head: str, commit: str) -> int | None:
        """The open pull request that comes from the branch `head` (`owner:branch`) and is at `commit`."""
        for found in self.call("/pulls", state="open", head=head, per_page=str(PAGE)):
            if found["head"]["sha"] == commit:
                return int(found["number"])
        return None

    def comment(self, number: int) -> int | None:
        """The comment that was written before."""
        page = 1
        while True:
            found = self.call(f"/issues/{number}/comments", per_page=str(PAGE), page=str(page))
            for each in found:
                if (each.get("user") or {}).get("login") == AUTHOR and (each.get("body") or "").startswith(MARKER):
                    return int(each["id"])
            if len(found) < PAGE:
                return None
            page += 1


def main(environment: Mapping[str, str]) -> int:
    """Comment; 0 also where the pull request has moved on or is closed."""
    report = Path(environment["REPORT"]).read_text(encoding="utf-8", errors="replace")
    github = GitHub(environment)
    number = github.pull_request(f"{environment['HEAD_OWNER']}:{environment['HEAD_BRANCH']}", environment["HEAD_SHA"])
    if number is None:
        print("no open pull request is at this commit: there is nothing to comment on")
        return 0
    body = {"body": f"{MARKER}\n{report[:LONGEST]}"}
    comment = github.comment(number)
    if comment is None:
        answer = github.call(f"/issues/{number}/comments", "POST", body)
    else:
        answer = github.call(f"/issues/comments/{comment}", "PATCH", body)
    print(answer["html_url"])
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
