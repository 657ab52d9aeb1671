"""`authz-sidecar diff`, run as a command, between revisions and directories."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from authz_sidecar.bundle.standard_model import BASIC
from tests.cli.command_line import RBAC_MODEL, RBAC_POLICY, Run, WriteBundle

SCHEMA = Path(__file__).parents[2] / "schemas" / "access-diff.schema.json"
MANIFEST = """\
name: shop
schema_version: 1
object_types:
  case: {actions: [read, update], description: a case}
  salary: {actions: [read], sensitive: true, description: what somebody earns}
"""
ROLES = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: case, actions: [read]}
"""
MORE = ROLES + "      - {object: salary, actions: [read]}\n"
PEOPLE = """\
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
IDENTITIES = (
    '{"id": "ann", "kind": "user", "company": "acme", "roles": ["CLERK"]}\n'
    '{"id": "robot", "kind": "service_account", "company": "globex", "roles": ["CLERK"]}\n'
)


def bundle(roles: str, people: str = PEOPLE) -> dict[str, str | bytes]:
    """A YAML bundle."""
    return {"manifest.yaml": MANIFEST, "model.conf": BASIC, "roles.yaml": roles, "people.yaml": people}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, write_bundle: WriteBundle) -> Path:
    """A repository whose `main` has a bundle in `policies/`, and whose first commit, tagged `nothing`, has none."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message=nothing yet")
    git(tmp_path, "tag", "nothing")
    write_bundle(bundle(ROLES))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first policies")
    return tmp_path


def document(result: subprocess.CompletedProcess[str]) -> Any:
    """The JSON form, which the published schema takes."""
    value = json.loads(result.stdout)
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(value)
    return value


def test_no_access_change_exits_0(run: Run, repository: Path) -> None:
    """The same policies, and those that only read otherwise, change no access."""
    result = run("diff", "main")
    assert (result.returncode, result.stdout, result.stderr) == (0, "no access changes\n", "")
    (repository / "policies" / "roles.yaml").write_text(ROLES.replace("[read]}", "[read], id: '*'}") + "# later\n")
    result = run("diff", "main")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "no access changes")


def test_changes_exit_1_with_their_lines(run: Run, repository: Path) -> None:
    """The working tree is compared with a revision: role, holders and the line that makes the change."""
    (repository / "policies" / "roles.yaml").write_text(MORE)
    result = run("diff", "main")
    assert result.returncode == 1
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "access changes: 1 role, 1 identity",
        "  gained     1 role; 1 identity in acme",
        "  sensitive  gained: object type salary",
        "  rules      1 rule added",
        "",
        "gained",
        "  + CLERK gains salary: read in every company: 1 identity (ann) (sensitive)",
        "      + policies/roles.yaml:6",
    ]


def test_two_revisions_are_compared(run: Run, repository: Path) -> None:
    """With HEAD given, the working tree does not matter; what goes is lost, with the line that is gone."""
    (repository / "policies" / "roles.yaml").write_text(MORE)
    git(repository, "commit", "--quiet", "--all", "--message=salaries")
    (repository / "policies" / "roles.yaml").write_text("broken: [")
    result = run("diff", "main", "main~1")
    assert result.returncode == 1
    assert "  - CLERK loses salary: read in every company: 1 identity (ann) (sensitive)" in result.stdout
    assert "      - policies/roles.yaml:6" in result.stdout


def test_directories_are_compared(run: Run, write_bundle: WriteBundle) -> None:
    """Two directories need no repository; places have the directory of their side."""
    write_bundle(bundle(ROLES), "old")
    write_bundle(bundle(MORE), "new")
    result = run("diff", "./old/", "./new/")
    assert result.returncode == 1
    assert "+ new/roles.yaml:6" in result.stdout
    back = run("diff", "./new/", "./old/")
    assert "- new/roles.yaml:6" in back.stdout


def test_plain_casbin_bundles_are_compared(run: Run, write_bundle: WriteBundle) -> None:
    """Rows of a plain Casbin bundle work the same."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": RBAC_POLICY}, "old")
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": RBAC_POLICY + "p, author, folder:2, share\n"}, "new")
    result = run("diff", "./old", "./new", "--format", "json")
    assert result.returncode == 1
    gained = [change for change in document(result)["identities"] if "alice" in change["subjects"]]
    assert [(change["action"]["values"], change["causes"][0]["line"]) for change in gained] == [(["share"], 7)]


@pytest.mark.usefixtures("repository")
def test_a_base_without_policies_has_none(run: Run) -> None:
    """The pull request that adds the policies is compared with no policy at all, and it is said so."""
    result = run("diff", "nothing", "main")
    assert result.returncode == 1
    assert "  note       `nothing` has no policies in `policies`: everything in them is new" in result.stdout
    assert "  + CLERK (new role) gains case: read in every company: 1 identity (ann)" in result.stdout


@pytest.mark.parametrize("broken", ["base", "head"])
def test_a_side_that_does_not_load_exits_2(run: Run, repository: Path, broken: str) -> None:
    """The errors of that side are shown with their places, and nothing is answered."""
    good = repository / "policies" / "roles.yaml"
    good.write_text(ROLES.replace("object: case", "object: cases"))
    if broken == "base":
        git(repository, "commit", "--quiet", "--all", "--message=broken")
        good.write_text(ROLES)
    result = run("diff", "main")
    assert (result.returncode, result.stdout) == (2, "")
    assert "policies/roles.yaml:5:18 error[unknown-object-type] unknown object type `cases`" in result.stderr
    assert "does not load: 1 error" in result.stderr
    # They look like those of the files that are there.
    assert ("help: the places are those of `main`; name a revision that loads" in result.stderr) == (broken == "base")


@pytest.mark.usefixtures("repository")
def test_an_unknown_revision_exits_2(run: Run) -> None:
    """A revision that the repository does not have is named."""
    result = run("diff", "mian")
    assert (result.returncode, result.stdout) == (2, "")
    assert "`mian`" in result.stderr


def test_json_names_both_versions(run: Run, repository: Path) -> None:
    """The JSON form has the commit of a revision and says that the working tree differs from its own."""
    (repository / "policies" / "roles.yaml").write_text(MORE)
    value = document(run("diff", "main", "--format", "json"))
    commit = git(repository, "rev-parse", "main")
    assert value["base"] == {"name": "main", "policy_version": commit}
    assert re.fullmatch(commit + r"\+dirty\.[0-9a-f]{12}", value["head"]["policy_version"])
    assert value["summary"]["gained"]["identities"] == 1
    assert value["roles"][0]["holders"] == ["ann"]


def test_lines_of_commits_are_linked(run: Run, repository: Path) -> None:
    """With an address to fill in, markdown and HTML link the lines of both sides' commits."""
    (repository / "policies" / "roles.yaml").write_text(MORE)
    git(repository, "commit", "--quiet", "--all", "--message=salaries")
    commit = git(repository, "rev-parse", "HEAD")
    template = "https://git.example/shop/blob/{commit}/{path}#L{line}"
    link = f"https://git.example/shop/blob/{commit}/policies/roles.yaml#L6"
    result = run("diff", "HEAD~1", "--format", "markdown", "--source-url", template)
    assert f"[`policies/roles.yaml:6`](<{link}>)" in result.stdout
    page = run("diff", "HEAD~1", "HEAD", "--format", "html", "--source-url", template).stdout
    assert f'<a href="{link}">' in page


def test_output_is_written_to_a_file(run: Run, repository: Path) -> None:
    """`--output` writes the file whole and keeps standard output empty; the exit code stays the answer."""
    (repository / "policies" / "roles.yaml").write_text(MORE)
    result = run("diff", "main", "--format", "html", "--output", "out.html")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "wrote out.html\n")
    assert (repository / "out.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in repository.iterdir()) == [".git", "out.html", "policies"]
    assert (repository / "out.html").stat().st_mode == (repository / "policies" / "roles.yaml").stat().st_mode
    result = run("diff", "main", "--output", "missing/out.txt")
    assert result.returncode == 2
    assert "cannot write to `missing/out.txt`" in result.stderr


def test_output_replaces_plain_files_only(run: Run, repository: Path) -> None:
    """A device stays one, and a link that a change brought along leads the result nowhere."""
    (repository / "elsewhere").write_text("kept")
    (repository / "out.html").symlink_to("elsewhere")
    os.mkfifo(repository / "pipe")
    for name in ("out.html", "pipe"):
        result = run("diff", "main", "--format", "html", "--output", name)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"`{name}` is no plain file" in result.stderr
    assert (repository / "elsewhere").read_text() == "kept"
    assert (repository / "pipe").is_fifo()


@pytest.mark.usefixtures("repository")
def test_identities_without_end_are_refused(run: Run) -> None:
    """What has no size is read no further than the largest file may be."""
    result = run("diff", "main", "--identities", "/dev/zero")
    assert (result.returncode, result.stdout) == (2, "")
    assert "`/dev/zero` is larger than 256,000,000 bytes" in result.stderr


def test_exported_identities_say_who_is_reached(run: Run, repository: Path) -> None:
    """Where the bundle assigns nobody, an exported file tells holders and their kinds."""
    policies = repository / "policies"
    (policies / "people.yaml").unlink()
    git(repository, "commit", "--quiet", "--all", "--message=people are elsewhere")
    (policies / "roles.yaml").write_text(MORE)
    (repository / "ids.jsonl").write_text(IDENTITIES)
    bare = run("diff", "main")
    assert "`--directory` and `--identities` tell whom a change reaches" in bare.stdout
    assert "  + CLERK gains salary: read in every company (sensitive)" in bare.stdout
    result = run("diff", "main", "--identities", "ids.jsonl")
    assert result.returncode == 1
    assert (
        "  + CLERK gains salary: read in every company: 1 person, 1 service account (ann, robot) (sensitive)"
        in result.stdout
    )
    value = document(run("diff", "main", "--identities", "ids.jsonl", "--format", "json"))
    assert (value["summary"]["gained"]["people"], value["summary"]["gained"]["service_accounts"]) == (1, 1)
    assert value["summary"]["gained"]["companies"] == ["acme", "globex"]


def test_faulty_identities_exit_2(run: Run, repository: Path) -> None:
    """What is wrong with the file is shown with its line, and nothing is answered."""
    (repository / "ids.jsonl").write_text(IDENTITIES + '{"id": "eve", "kind": "user", "roles": ["CLARK"]}\n')
    result = run("diff", "main", "--identities", "ids.jsonl")
    assert (result.returncode, result.stdout) == (2, "")
    assert "ids.jsonl:3:1 error[unknown-role] unknown role `CLARK`" in result.stderr
    assert "help: did you mean `CLERK`?" in result.stderr
    missing = run("diff", "main", "--identities", "nowhere.json")
    assert missing.returncode == 2
    assert "cannot read `nowhere.json`: no such file or directory" in missing.stderr


def test_a_role_that_head_brings_is_noted(run: Run, repository: Path) -> None:
    """Identities may hold what only head defines: base does without, and the report says so."""
    (repository / "policies" / "roles.yaml").write_text(
        ROLES + "  AUDIT: {assigned: company, grants: [{object: case, actions: [read]}]}\n"
    )
    (repository / "ids.jsonl").write_text('{"id": "bob", "kind": "user", "company": "acme", "roles": ["AUDIT"]}\n')
    result = run("diff", "main", "--identities", "ids.jsonl")
    assert "1 exported entry left out of base: there is no role `AUDIT`" in result.stdout
    assert "AUDIT (new role) gains case: read in every company: 1 person (bob)" in result.stdout


def test_a_new_name_of_a_role_changes_nothing(run: Run, repository: Path) -> None:
    """A role and its assignments under another name say "no access changes"."""
    for name in ("roles.yaml", "people.yaml"):
        path = repository / "policies" / name
        path.write_text(path.read_text().replace("CLERK", "AGENT"))
    result = run("diff", "main")
    assert result.returncode == 0
    assert result.stdout.splitlines()[:2] == [
        "no access changes",
        "  roles      role CLERK is now called AGENT, with the same access and holders",
    ]


def test_grants_moved_into_an_inherited_role_change_nothing_for_anybody(run: Run, repository: Path) -> None:
    """A refactoring that changes no decision is no change of the role that it was made in."""
    (repository / "policies" / "roles.yaml").write_text(
        ROLES.replace("    grants:\n", "    inherits: [READER]\n    grants: []\n", 1).partition("      - ")[0]
        + "  READER: {assigned: company, grants: [{object: case, actions: [read]}]}\n"
    )
    value = document(run("diff", "main", "--format", "json"))
    assert value["identities"] == []
    assert [change["subjects"] for change in value["roles"]] == [["role:READER"]]
