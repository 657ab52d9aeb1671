"""Reviews the policies of a checked-out change in a GitHub workflow: lint with annotations, tests with coverage, access
changes and gates. `action.yml` calls it.

What it is to do comes as variables REVIEW_…, never as text of a script. It writes the report to
`$RUNNER_TEMP/authz-review/report.md` and to the job's summary, and exits 1 if anything was found.
"""

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMBERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
# What is shown of the tests in a comment: the last lines, each cut.
TEST_LINES, TEST_COLUMNS = 20, 200
TIMEOUT_SECONDS = 30
PAGE = 100


class Review:
    """One run: where it writes, what it compares with, and whether anything was found."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._sidecar = environment["SIDECAR"]
        self._folder = Path(environment["RUNNER_TEMP"]) / "authz-review"
        self._folder.mkdir(parents=True, exist_ok=True)
        policies = environment.get("REVIEW_POLICIES") or "policies"
        # A name that begins with `-` is no option.
        self._policies = f"./{policies}" if policies.startswith("-") else policies
        self._base = environment.get("REVIEW_BASE", "")
        if not self._base and environment.get("REVIEW_BASE_REF"):
            # Where the change left its base: what others did since is not part of it.
            self._base = f"origin/{environment['REVIEW_BASE_REF']}...HEAD"
        self.access = "none"
        self.failed = False

    def run(self) -> None:
        """Do every part, whatever the others found, and write the report."""
        # Annotations are commands to the runner, and lint escapes what it writes into them.
        severity = self._environment.get("REVIEW_FAIL_ON") or "warning"
        lint = ["lint", "--format=github", f"--fail-on={severity}", self._policies]
        self._part("Lint", lint, commands=True)
        self._part("Tests and coverage", self._test_arguments(), keep=self._folder / "tests.txt")
        if self._base:
            code = self._part("Access changes and gates", self._diff_arguments())
            self.access = {0: "kept", 1: "broken"}.get(code, "failed")
        report = self._folder / "report.md"
        report.write_text(self._report(), encoding="utf-8")
        coverage = self._folder / "coverage.md"
        with_coverage = coverage.read_text(encoding="utf-8") if coverage.is_file() else ""
        self._append("GITHUB_STEP_SUMMARY", f"{report.read_text(encoding='utf-8')}\n{with_coverage}")
        self._append("GITHUB_OUTPUT", f"report={report}\naccess={self.access}\n")

    def _part(self, title: str, arguments: list[str], *, commands: bool = False, keep: Path | None = None) -> int:
        """Run the sidecar's command and show what it says. What a policy says cannot become a command to the runner:
        those are switched off meanwhile, unless `commands` are what the part writes. `keep` takes standard output."""
        print(f"::group::{title}", flush=True)
        stop = secrets.token_hex(16)
        if not commands:
            print(f"::stop-commands::{stop}", flush=True)
        # Options come from the arguments alone.
        environment = {name: value for name, value in self._environment.items() if not name.startswith("AUTHZ_")}
        environment.pop("REVIEW_TOKEN", None)
        result = subprocess.run(
            [self._sidecar, *arguments],
            env=environment,
            stdout=None if keep is None else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if keep is not None:
            keep.write_text(result.stdout, encoding="utf-8")
            print(result.stdout, flush=True)
        if not commands:
            print(f"::{stop}::", flush=True)
        print("::endgroup::", flush=True)
        if result.returncode > 1:
            print(f"::error title=authz-sidecar::{title}: no answer, the log says why", flush=True)
        self.failed = self.failed or result.returncode != 0
        return result.returncode

    def _test_arguments(self) -> list[str]:
        arguments = ["test", "--coverage", "--coverage-report", str(self._folder / "coverage.md")]
        if self._base and self._base_has_policies():
            arguments.append(f"--since={self._base}")
        if self._environment.get("REVIEW_FAIL_UNDER"):
            arguments.append(f"--fail-under={self._environment['REVIEW_FAIL_UNDER']}")
        return [*arguments, self._policies]

    def _base_has_policies(self) -> bool:
        """Whether there is anything to compare tests with: a pull request may be the first with policies."""
        commit = self._base
        if "..." in commit:
            parted = subprocess.run(
                ["git", "merge-base", "--end-of-options", *commit.split("...", 1)],
                capture_output=True,
                text=True,
                check=False,
            )
            commit = parted.stdout.strip()
        found = subprocess.run(
            ["git", "cat-file", "-e", "--end-of-options", f"{commit}:./{self._policies}"],
            capture_output=True,
            check=False,
        )
        return found.returncode == 0

    def _diff_arguments(self) -> list[str]:
        environment = self._environment
        arguments = ["diff", "--gate", "--format=markdown", f"--output={self._folder / 'access.md'}"]
        arguments.append(f"--policies={self._policies}")
        if environment.get("REVIEW_IDENTITIES"):
            arguments.append(f"--identities={environment['REVIEW_IDENTITIES']}")
        if environment.get("GITHUB_SERVER_URL"):
            repository = f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
            arguments.append(f"--source-url={repository}/blob/{{commit}}/{{path}}#L{{line}}")
        arguments += [f"--approved-by={name}" for name in self._approvals()]
        return [*arguments, "--", self._base]

    def _approvals(self) -> list[str]:
        """Who approved: whom the workflow names, and reviewers of this very commit who belong to the repository."""
        names = self._environment.get("REVIEW_APPROVED_BY", "").split()
        number = self._environment.get("REVIEW_PULL_REQUEST", "")
        if self._environment.get("REVIEW_REVIEWS") == "true" and number.isdigit():
            names += approved(read_reviews(self._environment, number), self._environment.get("REVIEW_HEAD", ""))
        return list(dict.fromkeys(names))

    def _report(self) -> str:
        access = self._folder / "access.md"
        if access.is_file():
            text = access.read_text(encoding="utf-8")
        else:
            text = (
                "### Access could not be compared\n\nThe log of the check says why.\n"
                if self._base
                else "### Policies\n"
            )
        lines = (self._folder / "tests.txt").read_text(encoding="utf-8").splitlines()[-TEST_LINES:]
        if lines:
            # Indented text is shown as it is, whatever it holds.
            shown = "\n".join(f"    {line[:TEST_COLUMNS]}" for line in lines)
            text += f"\n<details>\n<summary>Tests and coverage</summary>\n\n{shown}\n\n</details>\n"
        return text

    def _append(self, variable: str, text: str) -> None:
        if self._environment.get(variable):
            with Path(self._environment[variable]).open("a", encoding="utf-8") as file:
                file.write(text)


def read_reviews(environment: Mapping[str, str], number: str) -> list[dict[str, Any]]:
    """All reviews of a pull request, oldest first. Raises OSError if GitHub does not answer."""
    reviews: list[dict[str, Any]] = []
    page = 1
    while True:
        address = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}/pulls/{number}/reviews"
        request = urllib.request.Request(  # noqa: S310  # the runner's own address of GitHub
            f"{address}?per_page={PAGE}&page={page}",
            headers={"Accept": "application/vnd.github+json", "Authorization": f"Bearer {environment['REVIEW_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  # as above
            found = json.load(answer)
        reviews += found
        if len(found) < PAGE:
            return reviews
        page += 1


def approved(reviews: list[dict[str, Any]], head: str) -> list[str]:
    """Who approves the commit `head`: whose last word is an approval of it, and who belongs to the repository."""
    last: dict[str, dict[str, Any]] = {}
    for review in reviews:
        if review.get("user") and review["state"] != "COMMENTED":
            last[review["user"]["login"]] = review
    return [
        name
        for name, review in last.items()
        if review["state"] == "APPROVED" and review["commit_id"] == head and review["author_association"] in MEMBERS
    ]


def main() -> int:
    """Review; 1 if anything was found."""
    review = Review(os.environ)
    review.run()
    return int(review.failed)


if __name__ == "__main__":
    sys.exit(main())
