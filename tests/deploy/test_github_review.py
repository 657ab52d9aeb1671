"""The scripts of the GitHub actions, run in a repository and against an address that answers as GitHub does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from authz_sidecar.bundle.standard_model import BASIC
from deploy.github.review import SUMMARY_BYTES, Review, approved

SCRIPTS = Path(__file__).parents[2] / "deploy" / "github"
MANIFEST = """\
name: shop
schema_version: 1
object_types:
  case: {actions: [read, update], description: a case}
"""
ROLES = """\
roles:
  CLERK:
    description: works on cases
    assigned: company
    grants:
      - {object: case, actions: [read]}
  BOSS:
    description: may do everything
    assigned: platform
    grants:
      - {object: case, actions: [read, update]}
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
  - {subject: joe, roles: [BOSS]}
"""
TESTS = """\
tests:
  - {name: clerks read, subject: ann, object: "case:1", company: acme, action: read, expect: allow}
  - {name: bosses read, subject: joe, object: "case:1", action: read, expect: allow}
  - {name: bosses update, subject: joe, object: "case:1", action: update, expect: allow}
"""
GATES = """\
gates:
  - id: no-updates
    message: no clerk updates cases
    must_stay_denied: {roles: [CLERK], objects: [case], actions: [update]}
"""


class GitHub:
    """A place that answers as GitHub's API does, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, str, dict[str, list[str]], Any, str]] = []
        there = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                query = parse_qs(parts.query)
                there.calls.append((self.command, parts.path, query, body, self.headers["Authorization"]))
                found = there.answers.get(f"{self.command} {parts.path}", {"html_url": "https://github.example/c/1"})
                if isinstance(found, list):
                    size, page = int(query["per_page"][0]), int(query.get("page", ["1"])[0])
                    found = found[size * (page - 1) : size * page]
                data = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815  # the base class looks for these names

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def github() -> Iterator[GitHub]:
    """GitHub, for one test."""
    there = GitHub()
    thread = threading.Thread(target=there.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield there
    there.server.shutdown()
    thread.join()
    there.server.server_close()


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


class Checkout:
    """A change that a workflow has checked out: `origin/main` and the change on top of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.temp = folder / "temp"
        self.temp.mkdir()
        policies = self.root / "policies"
        (policies / "tests").mkdir(parents=True)
        git(self.root, "init", "--quiet", "--initial-branch=main")
        self.write("manifest.yaml", MANIFEST)
        self.write("model.conf", BASIC)
        self.write("roles.yaml", ROLES)
        self.write("tests/cases.yaml", TESTS)
        self.commit("first policies")
        git(self.root, "update-ref", "refs/remotes/origin/main", "HEAD")
        # The command as it is installed by the action.
        self.sidecar = folder / "authz-sidecar"
        self.sidecar.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m authz_sidecar "$@"\n', encoding="utf-8")
        self.sidecar.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        """Write a file of the bundle."""
        (self.root / "policies" / name).write_text(text, encoding="utf-8")

    def commit(self, message: str) -> str:
        """Commit everything."""
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", f"--message={message}")
        return git(self.root, "rev-parse", "HEAD")

    def review(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the review as the action does."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AUTHZ_", "GITHUB_", "REVIEW_"))
        }
        environment = {
            "SIDECAR": str(self.sidecar),
            "RUNNER_TEMP": str(self.temp),
            "REVIEW_BASE_REF": "main",
            "GITHUB_OUTPUT": str(self.temp / "output"),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "shop/policies",
        }
        return subprocess.run(
            [sys.executable, SCRIPTS / "review.py"],
            cwd=self.root,
            env=kept | environment | variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    @property
    def report(self) -> str:
        """The report that the comment will hold."""
        return (self.temp / "authz-review" / "report.md").read_text(encoding="utf-8")

    @property
    def output(self) -> dict[str, str]:
        """What the step hands on."""
        lines = (self.temp / "output").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A change, for one test."""
    return Checkout(tmp_path)


def test_a_clean_change_passes(checkout: Checkout) -> None:
    """Lint, tests and gates pass; the report has the access that changes, with links into the commit."""
    checkout.write("more.yaml", "assignments:\n  - {subject: bob, roles: [CLERK], company: acme}\n")
    commit = checkout.commit("bob is a clerk")
    result = checkout.review()
    assert result.returncode == 0, result.stdout + result.stderr
    assert checkout.output == {"report": str(checkout.temp / "authz-review" / "report.md"), "access": "kept"}
    assert checkout.report.startswith("### Access changes: 1 identity\n")
    assert "`bob` gains what `CLERK` allows in `acme` (assigned)" in checkout.report
    assert f"https://github.example/shop/policies/blob/{commit}/policies/more.yaml#L2" in checkout.report
    assert "    3 passed, 0 failed" in checkout.report
    assert (checkout.temp / "summary").read_text(encoding="utf-8").startswith(checkout.report)


def test_findings_failures_and_gates_fail_it(checkout: Checkout) -> None:
    """A finding of lint becomes an annotation; an untested grant and a broken gate fail the check."""
    checkout.write("gates.yaml", GATES)
    checkout.commit("gates")
    git(checkout.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    checkout.write("roles.yaml", ROLES.replace("actions: [read]}", "actions: [read, update, update]}"))
    checkout.commit("clerks update")
    result = checkout.review(REVIEW_FAIL_UNDER="100")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "::warning file=policies/roles.yaml,line=6" in result.stdout
    assert checkout.output["access"] == "broken"
    assert "`no-updates`" in checkout.report
    assert "`CLERK` gains `case`: `update` in every company" in checkout.report
    assert "coverage 0 % is under the 100 % asked for" in checkout.report
    assert "**Lint:** " in checkout.report


def test_a_bundle_that_does_not_load_is_said(checkout: Checkout) -> None:
    """What cannot be compared fails the check, and the report says that there is no answer."""
    checkout.write("roles.yaml", ROLES.replace("object: case", "object: cases"))
    checkout.commit("a mistake")
    result = checkout.review()
    assert result.returncode == 1
    assert checkout.output["access"] == "failed"
    assert "### Access could not be compared" in checkout.report
    assert "::error file=policies/roles.yaml,line=6,col=18,title=unknown-object-type::" in result.stdout


def test_policies_cannot_give_the_runner_commands(checkout: Checkout) -> None:
    """What the sidecar prints is between lines that switch the runner's commands off; annotations come after them."""
    tests = TESTS.replace("clerks read", "'::set-output name=x::y'").replace("allow", "deny")
    checkout.write("tests/cases.yaml", tests)
    checkout.commit("a command in a name")
    lines = checkout.review().stdout.splitlines()
    heeded: list[str] = []
    unheeded: list[str] = []
    stop = ""
    for line in lines:
        if line.startswith("::stop-commands::"):
            assert not stop
            stop = f"::{line.removeprefix('::stop-commands::')}::"
        elif line == stop:
            stop = ""
        else:
            (unheeded if stop else heeded).append(line)
    assert not stop
    assert any("::set-output" in line for line in unheeded)
    assert not any("set-output" in line for line in heeded)


def test_what_is_compared_is_the_commit(checkout: Checkout) -> None:
    """Files that `.gitattributes` checks out otherwise than they were committed fail the check, and are not told."""
    attributes = checkout.root / ".gitattributes"
    attributes.write_text("policies/more.yaml working-tree-encoding=ISO646-GB\n", encoding="utf-8")
    # In that encoding the byte of `#` is the pound sign, which is what git stores.
    checkout.write("more.yaml", "assignments:\n  - {subject: bob#, roles: [CLERK], company: acme}\n")
    checkout.commit("bob is a clerk")
    assert git(checkout.root, "status", "--short") == ""
    result = checkout.review()
    assert result.returncode == 1
    assert "the checked out files give other access than their commit" in checkout.report
    assert "`bob£` gains what `CLERK` allows" in checkout.report.replace("<code>bob£</code>", "`bob£`")
    assert "bob#" not in checkout.report


def test_what_is_checked_out_is_the_pull_request(checkout: Checkout) -> None:
    """Its commit or a merge of it: the merge that GitHub made of an older commit, after a conflict, is neither."""
    first = git(checkout.root, "rev-parse", "HEAD")
    git(checkout.root, "checkout", "--quiet", "-b", "change")
    checkout.write("README.md", "one\n")
    head = checkout.commit("one")
    git(checkout.root, "checkout", "--quiet", "--detach", "main")
    git(checkout.root, "merge", "--quiet", "--no-ff", "--message=merge", "change")
    assert checkout.review(REVIEW_HEAD=head).returncode == 0
    git(checkout.root, "checkout", "--quiet", first)
    result = checkout.review(REVIEW_HEAD=head)
    assert result.returncode == 1
    assert f"what is checked out is not {head}" in checkout.report


def test_inputs_are_no_options_and_no_commands(checkout: Checkout) -> None:
    """A base or directory that looks like an option or a command is a name that does not exist."""
    for variables in ({"REVIEW_BASE": "--help; $(touch ran)"}, {"REVIEW_POLICIES": "--help"}):
        result = checkout.review(**variables)
        assert result.returncode == 1
        assert "Usage:" not in result.stdout
        assert checkout.output["access"] == "failed"
    assert not (checkout.root / "ran").exists()


def test_the_first_policies_are_compared_with_none(checkout: Checkout) -> None:
    """The pull request that adds the policies passes, and everything is new."""
    git(checkout.root, "checkout", "--quiet", "--orphan", "bare")
    git(checkout.root, "rm", "-r", "--quiet", "--cached", ".")
    git(checkout.root, "commit", "--quiet", "--allow-empty", "--message=nothing")
    git(checkout.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    checkout.commit("first policies")
    result = checkout.review()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "everything in them is new" in checkout.report


def review_of(name: str, state: str, commit: str = "c1", association: str = "MEMBER") -> dict[str, Any]:
    """A review as GitHub lists it."""
    return {"user": {"login": name}, "state": state, "commit_id": commit, "author_association": association}


@pytest.mark.parametrize(
    ("reviews", "names"),
    [
        ([review_of("zoe", "APPROVED")], ["zoe"]),
        ([review_of("zoe", "APPROVED", "c0")], []),
        ([review_of("zoe", "APPROVED", association="CONTRIBUTOR")], []),
        ([review_of("zoe", "APPROVED"), review_of("zoe", "CHANGES_REQUESTED")], []),
        ([review_of("zoe", "APPROVED"), review_of("zoe", "DISMISSED")], []),
        ([review_of("zoe", "CHANGES_REQUESTED"), review_of("zoe", "APPROVED"), review_of("zoe", "COMMENTED")], ["zoe"]),
        ([{**review_of("zoe", "APPROVED"), "user": None}], []),
    ],
)
def test_only_members_approve_and_only_this_commit(reviews: list[dict[str, Any]], names: list[str]) -> None:
    """Who approves the commit that is reviewed and belongs to the repository counts, by the last word of each."""
    assert approved(reviews, "c1") == names


def test_approvals_come_from_github(checkout: Checkout, github: GitHub) -> None:
    """A gate that needs an approval is kept by one that GitHub lists, on whatever page."""
    gate = """\
gates:
  - id: two-eyes
    message: who updates cases is approved
    needs_approval: {objects: [case], approval: {by: [zoe]}}
"""
    checkout.write("gates.yaml", gate)
    checkout.commit("gates")
    git(checkout.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    checkout.write("roles.yaml", ROLES.replace("actions: [read]}", "actions: [read, update]}"))
    checkout.commit("clerks update")
    head = git(checkout.root, "rev-parse", "HEAD")
    variables = {
        "REVIEW_REVIEWS": "true",
        "REVIEW_PULL_REQUEST": "7",
        "REVIEW_HEAD": head,
        "REVIEW_TOKEN": "secret",
        "GITHUB_API_URL": github.address,
    }
    zoe = [review_of("zoe", "APPROVED", head), review_of("zoe", "COMMENTED", head)]
    reviews = [*[review_of("max", "COMMENTED")] * 100, *zoe]
    github.answers["GET /repos/shop/policies/pulls/7/reviews"] = reviews
    assert checkout.review(REVIEW_APPROVED_BY="max").returncode == 1
    assert checkout.output["access"] == "broken"
    (checkout.temp / "output").unlink()
    result = checkout.review(**variables)
    assert checkout.output["access"] == "kept", result.stdout + result.stderr
    assert "secret" not in result.stdout + result.stderr
    assert {call[4] for call in github.calls} == {"Bearer secret"}
    assert checkout.report.startswith("<!-- pull request 7 -->\n")


def test_reviews_that_cannot_be_read_are_none(checkout: Checkout) -> None:
    """The check fails and says what to do; everything else is still reviewed and reported."""
    variables = {"REVIEW_TOKEN": "secret", "GITHUB_API_URL": "http://127.0.0.1:1"}
    result = checkout.review(REVIEW_REVIEWS="true", REVIEW_PULL_REQUEST="7", **variables)
    assert result.returncode == 1
    assert "the reviews cannot be read" in checkout.report
    assert "give the job `pull-requests: read`" in checkout.report
    assert checkout.output["access"] == "kept"
    assert "### No access changes" in checkout.report


def test_a_summary_that_is_too_large_leaves_out_the_matrix(tmp_path: Path) -> None:
    """GitHub takes a mebibyte and otherwise nothing; an earlier review's files are no part of it."""
    (tmp_path / "authz-review").mkdir()
    (tmp_path / "authz-review" / "access.md").write_text("of another step", encoding="utf-8")
    review = Review({"SIDECAR": "", "RUNNER_TEMP": str(tmp_path)})
    assert not (tmp_path / "authz-review" / "access.md").exists()
    (tmp_path / "authz-review" / "report.md").write_text("report\n", encoding="utf-8")
    matrix = tmp_path / "authz-review" / "coverage.md"
    matrix.write_text("| matrix |\n", encoding="utf-8")
    assert review.summary() == "report\n\n| matrix |\n"
    matrix.write_text("ä" * (SUMMARY_BYTES // 2), encoding="utf-8")
    assert "too large" in review.summary()
    assert len(review.summary().encode()) < SUMMARY_BYTES


class Commenting:
    """The comment's script with its variables."""

    def __init__(self, folder: Path, github: GitHub) -> None:
        self.report = folder / "report.md"
        self.report.write_text("### Access changes: 1 role\n", encoding="utf-8")
        self.github = github
        self.root = "/repos/shop/policies"
        github.answers[f"GET {self.root}/pulls"] = [
            {"number": 8, "head": {"sha": "old"}},
            {"number": 9, "head": {"sha": "c1"}},
        ]
        github.answers[f"GET {self.root}/issues/9/comments"] = []

    def run(self, commit: str = "c1", code: int = 0) -> list[tuple[str, str, dict[str, list[str]], Any, str]]:
        """Run it; the calls that change something."""
        self.github.calls.clear()
        environment = {
            "REPORT": str(self.report),
            "HEAD_OWNER": "fork",
            "HEAD_BRANCH": "a&b $(x)",
            "HEAD_SHA": commit,
            "COMMENT_AUTHOR": "github-actions[bot]",
            "COMMENT_TOKEN": "secret",
            "GITHUB_API_URL": self.github.address,
            "GITHUB_REPOSITORY": "shop/policies",
        }
        result = subprocess.run(
            [sys.executable, SCRIPTS / "comment" / "comment.py"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == code, result.stderr
        return [call for call in self.github.calls if call[0] != "GET"]


@pytest.fixture
def commenting(tmp_path: Path, github: GitHub) -> Commenting:
    """A pull request to comment on."""
    return Commenting(tmp_path, github)


def test_the_first_report_is_a_new_comment(commenting: Commenting) -> None:
    """The open pull request at the reviewed commit gets a comment that begins with the marker."""
    ((method, path, _, body, token),) = commenting.run()
    assert (method, path, token) == ("POST", "/repos/shop/policies/issues/9/comments", "Bearer secret")
    marker, note, _, *report = body["body"].split("\n")
    assert marker == "<!-- authz-sidecar: access review -->"
    # What follows is the word of whoever can change the workflow.
    assert note.startswith("<sub>Access review of c1. The check is what counts")
    assert report == ["### Access changes: 1 role", ""]
    assert commenting.github.calls[0][2]["head"] == ["fork:a&b $(x)"]


def test_later_reports_update_it(commenting: Commenting) -> None:
    """The comment of the workflow itself is written over, on whatever page it stands; one by somebody else is not."""
    marker = "<!-- authz-sidecar: access review -->\nold"
    others = [{"id": number, "user": {"login": "eve"}, "body": marker} for number in range(130)]
    own = {"id": 777, "user": {"login": "github-actions[bot]"}, "body": marker}
    commenting.github.answers["GET /repos/shop/policies/issues/9/comments"] = [*others, own]
    ((method, path, _, _, _),) = commenting.run()
    assert (method, path) == ("PATCH", "/repos/shop/policies/issues/comments/777")


def test_a_pull_request_that_moved_on_gets_none(commenting: Commenting) -> None:
    """A report of a commit that no open pull request is at any more is not shown."""
    assert commenting.run("gone") == []


def test_long_reports_fit(commenting: Commenting) -> None:
    """A report of any size becomes a comment that GitHub takes."""
    for letter in ("x", "\N{GRINNING FACE}"):
        commenting.report.write_text(letter * 200_000, encoding="utf-8")
        ((_, _, _, body, _),) = commenting.run()
        assert len(body["body"].encode("utf-16-le")) <= 2 * 65_536


def test_of_two_pull_requests_of_one_commit_the_report_names_its_own(commenting: Commenting) -> None:
    """They are for different branches; without a name among them, none gets the comment."""
    commenting.github.answers[f"GET {commenting.root}/pulls"] = [
        {"number": number, "head": {"sha": "c1"}} for number in (8, 9)
    ]
    for said, paths in (("9", [f"{commenting.root}/issues/9/comments"]), ("7", []), ("", [])):
        commenting.report.write_text(f"<!-- pull request {said} -->\n### Access changes\n", encoding="utf-8")
        assert [call[1] for call in commenting.run()] == paths


def test_a_report_that_is_no_file_is_not_read(commenting: Commenting) -> None:
    """What another workflow left could be a link to what only this one may see."""
    commenting.report.unlink()
    commenting.report.symlink_to("/proc/self/environ")
    assert commenting.run(code=1) == []
