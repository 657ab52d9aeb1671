"""`blame`, and the commit in an explanation: the real command in real repositories."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import Run
from tests.sources.git_program import commit, git, init

MODEL = (Path(__file__).parents[2] / "policies" / "model.conf").read_text()
MANIFEST = "name: test\nschema_version: 1\nobject_types:\n  folder: {actions: [read, update, delete]}\n"
ROLES = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: folder, actions: [read]}
      - object: folder
        actions:
          - update
  LEAD:
    assigned: company
    inherits: [CLERK]
    grants:
      - {object: folder, actions: [delete]}
assignments:
  - {subject: ann, roles: [LEAD], company: acme}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose second commit, from a pull request, changes the last line of a grant of three."""
    root = init(tmp_path)
    files = {"policies/model.conf": MODEL, "policies/manifest.yaml": MANIFEST, "policies/roles.yaml": ROLES}
    commit(root, "One", files, at=1_700_000_000)
    changed = ROLES.replace("- update", "- update\n          - delete")
    commit(root, "Let clerks delete (#7)", {"policies/roles.yaml": changed}, at=1_710_000_000)
    return root


def test_every_grant_has_its_commit(root: Path, call: Run) -> None:
    """Commit, day, author, pull request, the grant and its place; a grant is as new as its newest line."""
    first, second = git(root, "rev-parse", "HEAD~1")[:12], git(root, "rev-parse", "HEAD")[:12]
    result = call("blame")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split("\n") == [
        "CLERK",
        f"  {first}  2023-11-14  Ada      folder: read  policies/roles.yaml:5:9",
        f"  {second}  2024-03-09  Ada  #7  folder: update, delete  policies/roles.yaml:6:9",
        "",
        "LEAD",
        f"  {first}  2023-11-14  Ada    folder: delete  policies/roles.yaml:14:9",
        "",
    ]


@pytest.mark.usefixtures("root")
def test_a_role_is_shown_with_what_it_inherits(call: Run) -> None:
    """`--role` takes what the role has through others too, and says so; a misspelt role is an error."""
    found = json.loads(call("blame", "--role", "LEAD", "--format", "json").stdout)["grants"]
    assert [(grant["grant"], grant["via"]) for grant in found] == [
        ("folder: delete", []),
        ("folder: read", ["role:CLERK"]),
        ("folder: update, delete", ["role:CLERK"]),
    ]
    result = call("blame", "--role", "LAED")
    assert result.returncode == 2
    assert result.stderr == "error: no grant is written for `LAED`\n  help: did you mean `LEAD`?\n"


def test_what_is_not_committed_says_so(root: Path, call: Run) -> None:
    """A changed line is not committed, the others keep their commits; an older revision knows nothing of it."""
    path = root / "policies" / "roles.yaml"
    path.write_text(path.read_text().replace("actions: [read]", "actions: [read, update]"))
    statuses = [grant["origin"]["status"] for grant in json.loads(call("blame", "--format", "json").stdout)["grants"]]
    assert statuses == ["not_committed", "committed", "committed"]
    assert "not committed" in call("blame").stdout
    before = json.loads(call("blame", "--at", "HEAD~1", "--format", "json").stdout)
    assert before["policy_version"] == git(root, "rev-parse", "HEAD~1")
    assert {grant["origin"]["subject"] for grant in before["grants"]} == {"One"}


def test_a_shallow_clone_is_honest(root: Path, call: Run) -> None:
    """A grant from before the edge is older than the clone."""
    git(root, "clone", "--quiet", "--depth=1", f"file://{root}", "clone")
    result = call("blame", "clone/policies", "--role", "CLERK")
    assert "older than the clone" in result.stdout
    (found, _) = json.loads(call("blame", "clone/policies", "--role", "CLERK", "--format", "json").stdout)["grants"]
    assert found["origin"]["status"] == "older_than_clone"


@pytest.mark.usefixtures("rbac")
def test_outside_of_git_there_is_no_blame(call: Run) -> None:
    """The error says that the directory is in no repository."""
    result = call("blame")
    assert (result.returncode, result.stdout) == (2, "")
    assert "is not in a git repository" in result.stderr


def test_names_cannot_act_on_the_terminal(root: Path, call: Run) -> None:
    """An author with control and direction characters is shown with them escaped."""
    hostile = {"GIT_AUTHOR_NAME": "Eve\x1b[2J\u202e"}
    (root / "policies" / "roles.yaml").write_text(ROLES.replace("[read]", "[read, delete]"))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=x\u202e", env=hostile)
    for result in (call("blame"), call("check", "ann", "folder:1", "read", "--company", "acme", "--explain")):
        assert "\\x1b[2J\\u202e" in result.stdout
        assert "\x1b" not in result.stdout
        assert "\u202e" not in result.stdout


def test_an_explanation_names_the_commit(root: Path, call: Run) -> None:
    """`check --explain` shows the commit behind the deciding rule, in JSON too; without it nothing is looked up."""
    asked = ("check", "ann", "folder:1", "update", "--company", "acme")
    commit_id = git(root, "rev-parse", "HEAD")
    lines = call(*asked, "--explain").stdout.split("\n")
    place = next(number for number, line in enumerate(lines) if "policies/roles.yaml:6:9" in line)
    assert lines[place + 2].strip() == f"{commit_id[:12]} 2024-03-09 Ada #7 Let clerks delete (#7)"
    origin = json.loads(call(*asked, "--explain", "--format", "json").stdout)["explanation"]["rule"]["origin"]
    assert origin == {
        "status": "committed",
        "commit": commit_id,
        "author": "Ada",
        "email": "ada@example.org",
        "when": "2024-03-09T16:00:00Z",
        "subject": "Let clerks delete (#7)",
        "pull_request": 7,
        "justifications": [],
    }
    assert "origin" not in call(*asked, "--format", "json").stdout


@pytest.mark.usefixtures("rbac")
def test_an_explanation_outside_of_git_has_no_commit(call: Run) -> None:
    """A decision does not depend on its history being known."""
    result = call("check", "alice", "folder:1", "read", "--explain", "--format", "json")
    assert result.returncode == 0
    assert "origin" not in result.stdout
