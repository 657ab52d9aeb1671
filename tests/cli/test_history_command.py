"""`history`: when and why access changed, by the real command in real repositories."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import RBAC_MODEL, Run
from tests.sources.git_program import at_time, commit, git, init

MODEL = (Path(__file__).parents[2] / "policies" / "model.conf").read_text()
MANIFEST = "name: test\nschema_version: 1\nobject_types:\n  folder: {actions: [read, update, delete]}\n"
ROLES = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: folder, actions: [read]}
  LEAD:
    assigned: company
    grants:
      - {object: folder, actions: [delete]}
"""
DAY = 86_400
START = 1_700_000_000


def roles(clerk: str, lead: str = "delete") -> dict[str, str | None]:
    """The policy file with these actions."""
    return {
        "policies/roles.yaml": ROLES.replace("[read]", f"[{clerk}]").replace("[delete]", f"[{lead}]"),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A history of six versions: the first, two that change CLERK, one LEAD, one only the text, one only tests."""
    root = init(tmp_path)
    files = {"policies/model.conf": MODEL, "policies/manifest.yaml": MANIFEST, "policies/roles.yaml": ROLES}
    commit(root, "First policies", files, at=START)
    message = "Let clerks update (#7)\n\nThey asked.\n\nJustification: audit 12\n"
    commit(root, message, roles("read, update"), at=START + DAY)
    commit(root, "Leads read", roles("read, update", "delete, read"), at=START + 2 * DAY)
    commit(root, "The same in other words", roles("update, read", "delete, read"), at=START + 3 * DAY)
    commit(root, "Take reading from clerks", roles("update", "delete, read"), at=START + 4 * DAY)
    tests = {"policies/tests/t.yaml": "tests: []\n"}
    commit(root, "A test", {"policies/manifest.yaml": MANIFEST + "# x\n", **tests}, at=START + 5 * DAY)
    return root


def changes(call: Run, *arguments: str) -> list[tuple[str | None, list[str], list[str]]]:
    """Subject of the commit, what was gained and what was lost."""
    found = document(call, *arguments)["changes"]
    return [
        (one.get("subject"), [line["text"] for line in one["gained"]], [line["text"] for line in one["lost"]])
        for one in found
    ]


def document(call: Run, *arguments: str) -> dict[str, Any]:
    """The JSON form."""
    result = call("history", *arguments, "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.mark.usefixtures("root")
def test_only_versions_that_change_the_role_are_shown(call: Run) -> None:
    """Each with what was gained and lost; other roles, other words and tests leave a version out."""
    assert changes(call, "CLERK") == [
        ("Take reading from clerks", [], ["folder: read in every company"]),
        ("Let clerks update (#7)", ["folder: update in every company"], []),
        ("First policies", ["folder: read in every company"], []),
    ]
    assert [subject for subject, _, _ in changes(call, "LEAD")] == ["Leads read", "First policies"]


def test_a_version_says_who_when_and_why(root: Path, call: Run) -> None:
    """Commit, day, author, pull request, subject, justification, access and lines, in text as in JSON."""
    id = git(root, "rev-parse", "HEAD~4")
    result = call("history", "CLERK", "--at", "HEAD~4", "--limit", "1")
    assert result.stdout.split("\n")[:4] == [
        f"{id[:12]}  2023-11-15  Ada  #7",
        "  subject: Let clerks update (#7)",
        "  justification: audit 12",
        "  + folder: update in every company  + policies/roles.yaml:5:9",
    ]
    (found,) = document(call, "CLERK", "--at", "HEAD~4", "--limit", "1")["changes"]
    assert {name: found[name] for name in ("status", "commit", "author", "when", "pull_request", "justifications")} == {
        "status": "committed",
        "commit": id,
        "author": "Ada",
        "when": "2023-11-15T22:13:20Z",
        "pull_request": 7,
        "justifications": ["audit 12"],
    }
    assert found["gained"][0]["lines"] == [{"side": "head", "file": "policies/roles.yaml", "line": 5}]


@pytest.mark.usefixtures("root")
def test_a_grant_may_be_asked_for(call: Run) -> None:
    """One action of one role, or of everybody; three words or an error."""
    assert [subject for subject, _, _ in changes(call, "--grant", "CLERK update folder")] == ["Let clerks update (#7)"]
    found = document(call, "--grant", "* read folder:1")["changes"]
    assert [(one["subject"], [line["subject"] for line in one["gained"] + one["lost"]]) for one in found] == [
        ("Take reading from clerks", ["role:CLERK"]),
        ("Leads read", ["role:LEAD"]),
        ("First policies", ["role:CLERK"]),
    ]
    text = call("history", "--grant", "* read folder").stdout
    assert "  + LEAD: folder: read in every company" in text
    for wrong in (("history",), ("history", "CLERK", "--grant", "a b c"), ("history", "--grant", "CLERK read")):
        result = call(*wrong)
        assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.usefixtures("root")
def test_limit_and_since_end_it(call: Run) -> None:
    """At most so many changes, with a word that there are more; none from before a day, but compared with it."""
    result = call("history", "CLERK", "--limit", "2")
    assert result.stdout.count("Ada") == 2
    assert result.stderr == "the history goes on: `--limit` shows more of it\n"
    assert document(call, "CLERK", "--limit", "2")["complete"] is False
    assert document(call, "CLERK", "--limit", "3")["complete"] is True
    assert [subject for subject, _, _ in changes(call, "CLERK", "--since", "2023-11-15")] == [
        "Take reading from clerks",
        "Let clerks update (#7)",
    ]
    assert call("history", "CLERK", "--since", "yesterday").returncode == 2


def test_what_is_not_committed_comes_first(root: Path, call: Run) -> None:
    """The work tree is a version of its own, unless a revision is asked for."""
    (root / "policies" / "roles.yaml").write_text(ROLES.replace("[read]", "[update, delete]"))
    assert changes(call, "CLERK")[0] == (None, ["folder: delete in every company"], [])
    assert call("history", "CLERK").stdout.startswith("not committed\n  + folder: delete")
    assert changes(call, "CLERK", "--at", "HEAD")[0][0] == "Take reading from clerks"


def test_a_merge_stands_for_what_it_merged(root: Path, call: Run) -> None:
    """Its own pull request, with the commits and their reasons; they are not told twice."""
    git(root, "checkout", "--quiet", "-b", "topic")
    commit(
        root, "Clerks delete\n\nJustification: case 9\n", roles("update, delete", "delete, read"), at=START + 6 * DAY
    )
    git(root, "checkout", "--quiet", "main")
    message = "Merge pull request #8 from acme/topic\n\nClerks delete"
    git(root, "merge", "--quiet", "--no-ff", "-m", message, "topic", env=at_time(START + 7 * DAY))
    found = document(call, "CLERK")["changes"]
    assert [one["pull_request"] for one in found] == [8, None, 7, None]
    assert found[0]["justifications"] == ["case 9"]
    assert [one["subject"] for one in found[0]["merges"]] == ["Clerks delete"]
    assert "Ada: Clerks delete" in call("history", "CLERK", "--limit", "1").stdout


def test_a_version_that_does_not_load_is_left_out(root: Path, call: Run) -> None:
    """It was never served: the change is told where it is first served, and the version is named."""
    broken = commit(root, "Broken", {"policies/roles.yaml": "roles: ["}, at=START + 6 * DAY)
    commit(root, "Mended", roles("update, delete", "delete, read"), at=START + 7 * DAY)
    result = call("history", "CLERK", "--limit", "1")
    assert "Mended" in result.stdout
    assert changes(call, "CLERK")[:2] == [
        ("Mended", ["folder: delete in every company"], []),
        ("Take reading from clerks", [], ["folder: read in every company"]),
    ]
    assert [one["commit"] for one in document(call, "CLERK")["left_out"]] == [broken]
    assert f"left out, since it does not load: {broken[:12]}" in call("history", "CLERK").stderr


def test_a_shallow_clone_says_where_it_ends(root: Path, call: Run) -> None:
    """What changed up to the edge is not known, and is not told as if the role had begun there."""
    git(root, "clone", "--quiet", "--depth=3", f"file://{root}", "clone")
    result = call("history", "CLERK", "--policies", "clone/policies")
    assert result.stdout.count("Ada") == 1
    assert f"the clone ends at {git(root, 'rev-parse', 'HEAD~2')[:12]}" in result.stderr
    assert document(call, "CLERK", "--policies", "clone/policies")["complete"] is False


def test_markdown_is_escaped(root: Path, call: Run) -> None:
    """What others wrote does not act in a comment of a pull request."""
    message = "<img src=x> [link](https://example.org) @team\n\nJustification: `x` | <b>\n"
    commit(root, message, roles("update, delete", "delete, read"), at=START + 6 * DAY)
    text = call("history", "CLERK", "--format", "markdown").stdout
    assert text.startswith("## History of CLERK\n")
    assert "- **gains** `folder`: `delete` in every company\n" in text
    for active in ("<img", "<b>", "[link]("):
        assert active not in text


def test_a_commit_does_not_forge_a_line_of_access(root: Path, call: Run) -> None:
    """A subject that looks like access lost stands behind its label, and gaps in it do not make it another line."""
    fake = "- folder: delete in every company  - policies/roles.yaml:5:9"
    message = f"{fake}{' ' * 200}{fake}\n\nJustification: none{' ' * 200}{fake}\n"
    commit(root, message, roles("update, delete", "delete, read"), at=START + 6 * DAY)
    lines = call("history", "CLERK", "--limit", "1").stdout.splitlines()
    assert [line for line in lines if line.startswith("  -")] == []
    single = fake.replace("  ", " ")
    assert lines[1:3] == [f"  subject: {single} {single}", f"  justification: none {single}"]


def test_a_bare_repository_is_read(
    root: Path, call: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder stands behind its name; the policies as they are now are those of HEAD."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    git(elsewhere, "clone", "--quiet", "--bare", str(root), "bare.git")
    expected = changes(call, "CLERK")
    monkeypatch.chdir(elsewhere)
    assert changes(call, "CLERK", "--policies", "bare.git/policies") == expected


def test_a_folder_that_was_never_committed_is_an_error(root: Path, call: Run) -> None:
    """A misspelt folder is no role without a history; what looks like a repository inside of a work tree is none."""
    git(root, "clone", "--quiet", "--bare", ".", "bare.git")
    for folder in ("polices", "bare.git/policies"):
        result = call("history", "CLERK", "--policies", folder)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: no commit up to HEAD has the folder `{folder}`\n")


def test_the_history_of_an_identity_has_its_assignments(root: Path, call: Run) -> None:
    """Who was made a clerk gained what clerks may do."""
    commit(root, "Ann", {"policies/ann.yaml": "assignments: [{subject: ann, roles: [CLERK], company: acme}]\n"})
    assert changes(call, "ann") == [("Ann", ["folder: update in acme"], [])]


def test_a_role_of_a_plain_model(tmp_path: Path, call: Run) -> None:
    """In plain Casbin a role is named as its rules name it."""
    root = init(tmp_path)
    policy = "p, editor, folder:1, read\ng, alice, editor\n"
    commit(root, "one", {"policies/model.conf": RBAC_MODEL, "policies/policy.csv": policy})
    commit(root, "two", {"policies/policy.csv": policy + "p, editor, folder:1, write\n"})
    assert [subject for subject, _, _ in changes(call, "editor")] == ["two", "one"]


def test_a_role_that_never_was_is_an_error(root: Path, call: Run) -> None:
    """With what is nearest; a role that is gone is still known to the versions that had it."""
    result = call("history", "CLERC")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: no version of the policies names `CLERC`\n  help: did you mean `CLERK`?\n"
    text = "roles:\n  LEAD: {assigned: company, grants: [{object: folder, actions: [delete, read]}]}\n"
    commit(root, "No clerks", {"policies/roles.yaml": text}, at=START + 6 * DAY)
    assert changes(call, "CLERK")[0] == ("No clerks", [], ["folder: update in every company"])


@pytest.mark.usefixtures("rbac")
def test_outside_of_git_there_is_no_history(call: Run) -> None:
    """The error says that the directory is in no repository."""
    result = call("history", "editor")
    assert (result.returncode, result.stdout) == (2, "")
    assert "is not in a git repository" in result.stderr
