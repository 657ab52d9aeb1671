"""Reviews the policies of a checked-out change in a GitHub workflow: lint with annotations, tests with coverage, access
changes and gates. `action.yml` calls it.

What it is to do comes as variables REVIEW_…, never as text of a script. It writes the report to
`$RUNNER_TEMP/authz-review/report.md` and to the job's summary, and exits 1 if anything was found.

Access is compared between commits, as git has them: how files are checked out is up to the `.gitattributes` of whoever
proposes the change. That lint and tests, which read the files, see the same is made sure of.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMBERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
# What is shown of the tests in a comment: the last lines, each cut.
TEST_LINES, TEST_COLUMNS = 20, 200
# What GitHub takes: a job's summary of so many bytes, a little less than a mebibyte.
SUMMARY_BYTES = 1_000_000
ANNOTATIONS = 10
TIMEOUT_SECONDS = 30
PAGE = 100


class Review:
    """One run: where it writes, what it compares with, and whether anything was found."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._sidecar = environment["SIDECAR"]
        self._folder = Path(environment["RUNNER_TEMP"]) / "authz-review"
        # What an earlier step reviewed is no answer of this one.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        policies = environment.get("REVIEW_POLICIES") or "policies"
        # A name that begins with `-` is no option.
        self._policies = f"./{policies}" if policies.startswith("-") else policies
        self._base = environment.get("REVIEW_BASE", "")
        if not self._base and environment.get("REVIEW_BASE_REF"):
            # Where the change left its base: what others did since is not part of it. Tags may be called `origin/main`.
            self._base = f"refs/remotes/origin/{environment['REVIEW_BASE_REF']}...HEAD"
        self.access = "none"
        self.failed = False
        self._problems: list[str] = []
        self._findings: list[str] = []

    def run(self) -> None:
        """Do every part, whatever the others found, and write the report."""
        self._check_commit()
        severity = self._environment.get("REVIEW_FAIL_ON") or "warning"
        lint = ["lint", "--format=github", f"--fail-on={severity}", self._policies]
        self._part("Lint", lint, keep="lint.txt")
        self._annotate()
        self._part("Tests and coverage", self._test_arguments(), keep="tests.txt")
        if self._base:
            code = self._part("Access changes and gates", self._diff_arguments())
            self.access = {0: "kept", 1: "broken"}.get(code, "failed")
        report = self._folder / "report.md"
        report.write_text(self._report(), encoding="utf-8")
        self._append("GITHUB_STEP_SUMMARY", self.summary())
        self._append("GITHUB_OUTPUT", f"report={report}\naccess={self.access}\n")

    def _check_commit(self) -> None:
        """That what is checked out is the pull request's commit, or a merge of it, and the files are those of it."""
        head = self._environment.get("REVIEW_HEAD", "")
        if head:
            command = ["git", "-C", self._parent, "merge-base", "--is-ancestor", "--end-of-options", head, "HEAD"]
            if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
                self._fail(f"what is checked out is not {head}: check the pull request out with `fetch-depth: 0`")
        same = ["diff", f"--policies={self._policies}", "--", "HEAD"]
        if self._base and self._part("Files and commit", same, keep="files.txt") == 1:
            self._fail("the checked out files give other access than their commit, as `.gitattributes` can do")

    @property
    def _parent(self) -> str:
        """The directory in which the bundle's stands."""
        return str(Path(self._policies).parent)

    def _part(self, title: str, arguments: list[str], *, keep: str = "") -> int:
        """Run the sidecar's command and show what it says. What a policy says cannot become a command to the runner:
        those are switched off meanwhile. `keep` names a file for what goes to standard output."""
        print(f"::group::{title}", flush=True)
        stop = secrets.token_hex(16)
        print(f"::stop-commands::{stop}", flush=True)
        # Options come from the arguments alone.
        environment = {name: value for name, value in self._environment.items() if not name.startswith("AUTHZ_")}
        environment.pop("REVIEW_TOKEN", None)
        # One stream for all that is shown, so that nothing comes after what switches the commands on again.
        result = subprocess.run(
            [self._sidecar, *arguments],
            env=environment,
            stdout=subprocess.PIPE if keep else None,
            stderr=sys.stdout,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if keep:
            (self._folder / keep).write_text(result.stdout, encoding="utf-8")
            print(result.stdout, flush=True)
        print(f"::{stop}::", flush=True)
        print("::endgroup::", flush=True)
        if result.returncode > 1:
            print(f"::error title=authz-sidecar::{title}: no answer, the log says why", flush=True)
        self.failed = self.failed or result.returncode != 0
        return result.returncode

    def _fail(self, problem: str) -> None:
        """Tell a problem of ours in the log and in the report."""
        problem = " ".join(problem.split())
        print(f"::error title=authz-sidecar::{problem}", flush=True)
        self._problems.append(problem)
        self.failed = True

    def _annotate(self) -> None:
        """Give the findings of lint to the runner: they are commands, and lint escapes what it writes into them."""
        self._findings = [
            line
            for line in (self._folder / "lint.txt").read_text(encoding="utf-8").split("\n")
            if line.startswith(("::error ", "::warning "))
        ]
        print("\n".join(self._findings), flush=True)

    def _test_arguments(self) -> list[str]:
        arguments = ["test", "--coverage", "--coverage-report", str(self._folder / "coverage.md")]
        if self._base:
            arguments.append(f"--since={self._base}")
        if self._environment.get("REVIEW_FAIL_UNDER"):
            arguments.append(f"--fail-under={self._environment['REVIEW_FAIL_UNDER']}")
        return [*arguments, self._policies]

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
        return [*arguments, "--", self._base, "HEAD"]

    def _approvals(self) -> list[str]:
        """Who approved: whom the workflow names, and reviewers of this very commit who belong to the repository."""
        names = self._environment.get("REVIEW_APPROVED_BY", "").split()
        number = self._environment.get("REVIEW_PULL_REQUEST", "")
        if self._environment.get("REVIEW_REVIEWS") == "true" and number.isdigit():
            try:
                reviews = read_reviews(self._environment, number)
            except (OSError, ValueError) as error:
                self._fail(f"the reviews cannot be read ({error}): give the job `pull-requests: read`")
            else:
                names += approved(reviews, self._environment.get("REVIEW_HEAD", ""))
        return list(dict.fromkeys(names))

    def _report(self) -> str:
        access = self._folder / "access.md"
        if access.is_file():
            text = access.read_text(encoding="utf-8")
        elif self._base:
            text = "### Access could not be compared\n\nThe log of the check says why.\n"
        else:
            text = "### Policies\n"
        number = self._environment.get("REVIEW_PULL_REQUEST", "")
        head = f"<!-- pull request {number} -->\n" if number.isdigit() else ""
        problems = "".join(f"❌ **{problem}**\n\n" for problem in self._problems)
        text = f"{head}{problems}{text}{self._lint_sentence()}"
        lines = (self._folder / "tests.txt").read_text(encoding="utf-8").splitlines()[-TEST_LINES:]
        if lines:
            # Indented text is shown as it is, whatever it holds.
            shown = "\n".join(f"    {line[:TEST_COLUMNS]}" for line in lines)
            text += f"\n<details>\n<summary>Tests and coverage</summary>\n\n{shown}\n\n</details>\n"
        return text

    def _lint_sentence(self) -> str:
        """How much lint found: GitHub shows ten errors and ten warnings of a step at their lines, no more."""
        counts = [sum(line.startswith(f"::{kind} ") for line in self._findings) for kind in ("error", "warning")]
        words = [
            f"{count:,} {kind}{'' if count == 1 else 's'}"
            for count, kind in zip(counts, ("error", "warning"), strict=True)
            if count
        ]
        if not words:
            return ""
        rest = "; the log of the check has those that are not shown at their lines" if max(counts) > ANNOTATIONS else ""
        return f"\n**Lint:** {', '.join(words)}{rest}\n"

    def summary(self) -> str:
        """The report, and the matrix of coverage below it as long as GitHub takes both."""
        report = (self._folder / "report.md").read_text(encoding="utf-8")
        coverage = self._folder / "coverage.md"
        text = f"{report}\n{coverage.read_text(encoding='utf-8')}" if coverage.is_file() else report
        if len(text.encode()) <= SUMMARY_BYTES:
            return text
        return f"{report}\nThe matrix of coverage is too large for this summary: `test --coverage-report` writes it.\n"

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
