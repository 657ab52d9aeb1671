"""Reviews that know the directory: `diff`, `lint`, `who-can` and `what-can` with `--directory`."""

import json
import shutil
from pathlib import Path

import pytest

from authz_sidecar.directory.storage.records import AssignmentRecord, GrantRecord
from authz_sidecar.directory.storage.store import Store
from tests.cli.command_line import Run
from tests.directory.people import OPERATOR, ROLES, WITHOUT_CHIEF, add, people, write_policies

SECRET = "a-very-secret-password"


def fill(url: str, folder: Path) -> None:
    """Ann and a program are chiefs of acme, the program may read one folder of globex too. In `folder` there is a
    bundle `old`, and `new` without chiefs."""
    store = Store.open(url)
    made = people(store, write_policies(folder / "old"))
    add(made, "ann", "CHIEF")
    add(made, "robot", "CHIEF", program=True)
    add(made, "bob", "CLERK")
    grant = GrantRecord(identity="robot", company="globex", object_type="folder", object_id="7", actions=("read",))
    made.create_grant(OPERATOR, grant)
    store.close()
    write_policies(folder / "new", WITHOUT_CHIEF)


@pytest.fixture
def directory(call: Run, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands for which `AUTHZ_DIRECTORY` names a directory, of either database."""
    fill(store_url, tmp_path)
    monkeypatch.setenv("AUTHZ_DIRECTORY", store_url)
    return call


@pytest.fixture
def file(empty_store: Path, tmp_path: Path) -> tuple[str, str]:
    """The option that names a directory in a file."""
    path = tmp_path / "directory.db"
    shutil.copyfile(empty_store, path)
    path.chmod(0o600)
    fill(str(path), tmp_path)
    return ("--directory", str(path))


def test_a_diff_names_those_who_are_reached(directory: Run) -> None:
    """People and programs of the directory gain and lose as if the bundles held their roles, on either database."""
    result = directory("diff", "./old/", "./new/")
    assert result.returncode == 1, result.stderr
    assert "- CHIEF (removed role) loses folder: update in every company: 1 person, 1 service account (ann, robot)" in (
        result.stdout
    )
    assert "2 exported entries left out of head: there is no role `CHIEF`" in result.stdout
    lost = json.loads(directory("diff", "./old/", "./new/", "--format", "json").stdout)["summary"]["lost"]
    assert (lost["people"], lost["service_accounts"], lost["companies"]) == (1, 1, ["acme"])


def test_lint_tells_roles_in_use_that_are_gone(call: Run, file: tuple[str, str]) -> None:
    """A role that the directory holds and the bundle lacks is an error with its holders, which nothing silences; a role
    that only the directory assigns is not unused."""
    result = call("lint", "new", "--select", "unused-role", *file)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "new/manifest.yaml error[orphaned-role] the role `CHIEF` is in use and not defined: 2 identities hold it in"
        " companies: `ann`, `robot`"
    )
    assert lines[1] == "  help: keep the role as it is, or take it away from them before it goes"
    assert lines[-1] == "1 error, 1 warning"
    result = call("lint", "old", "--select", "unused-role", *file)
    assert result.stdout.splitlines()[0].endswith("warning[unused-role] nobody holds the role `BOSS`")
    assert result.stdout.splitlines()[-1] == "1 warning"
    assert call("lint", "old", "--select", "unused-role").stdout == "no findings\n"


def test_lint_tells_who_holds_several_primary_roles(call: Run, file: tuple[str, str]) -> None:
    """Two primary roles of one company are a warning that names their holder, at the place of the last; the same roles
    in two companies are none."""
    store = Store.open(file[1])
    made = people(store, Path("old"))
    add(made, "cleo", "CHIEF", "CLERK")
    made.create_assignment(OPERATOR, AssignmentRecord(identity="bob", role="CHIEF", company="globex"))
    store.close()
    result = call("lint", "old", "--select", "role-primary", *file)
    assert result.returncode == 1
    assert (
        "warning[role-primary] 1 identity of the directory holds the primary roles `CHIEF` and `CLERK` together: `cleo`"
    ) in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[-1] == "1 warning"


def test_roles_outside_of_ones_company_are_told_once_the_bundle_refuses_them(
    call: Run, file: tuple[str, str], tmp_path: Path
) -> None:
    """A bundle that is new to `own_company_only` is warned, by `lint` and by `diff`, of each role that is held
    elsewhere, with its holders; what the bundle itself assigns counts. Comments on it are of use beside a directory
    alone, and without one nobody complains of them."""
    store = Store.open(file[1])
    made = people(store, Path("old"))
    add(made, "cleo", "BOSS")
    made.create_assignment(OPERATOR, AssignmentRecord(identity="bob", role="CHIEF", company="globex"))
    store.close()
    assert "misplaced-role" not in call("lint", "old", *file).stdout
    write_policies(tmp_path / "new", f"{ROLES}assignments:\n  - {{subject: ann, roles: [CHIEF], company: beta}}\n")
    with (tmp_path / "new" / "manifest.yaml").open("a") as manifest:
        manifest.write("identities: {own_company_only: true}\n")
    boss = (
        "the role `BOSS` is held where its holders do not belong, against `identities.own_company_only`: 1 identity"
        " holds it on the platform: `cleo`"
    )
    chiefs = (
        "the role `CHIEF` is held where its holders do not belong, against `identities.own_company_only`: 2 identities"
        " hold it in companies: `ann`, `bob`"
    )
    result = call("lint", "new", "--select", "misplaced-role", *file)
    assert result.returncode == 1
    assert [line for line in result.stdout.splitlines() if "warning" in line] == [
        f"new/roles.yaml:5:3 warning[misplaced-role] {boss}",
        f"new/roles.yaml:8:3 warning[misplaced-role] {chiefs}",
        "2 warnings",
    ]
    notes = json.loads(call("diff", "old/", "new/", "--format", "json", *file).stdout)["notes"]
    assert notes[:2] == [boss, chiefs]
    assert not any(
        "own_company_only" in note
        for note in json.loads(call("diff", "new/", "old/", "--format", "json", *file).stdout)["notes"]
    )
    roles = tmp_path / "new" / "roles.yaml"
    roles.write_text(roles.read_text().replace("  BOSS:", "  BOSS: # authz: ignore[misplaced-role] until May"))
    silenced = call("lint", "new", "--select", "misplaced-role,unused-ignore", *file).stdout.splitlines()
    assert [line.partition(" ")[2] for line in silenced if "warning" in line] == [
        f"warning[misplaced-role] {chiefs}",
        "warning (1 ignored)",
    ]
    assert call("lint", "new", "--select", "misplaced-role,unused-ignore").stdout == "no findings\n"


def test_a_role_that_moves_is_told_at_its_place(call: Run, file: tuple[str, str], tmp_path: Path) -> None:
    """A role in use that can no longer be held where it is held is an orphan as well."""
    moved = ROLES.replace("  CHIEF:\n    assigned: company", "  CHIEF:\n    assigned: platform")
    write_policies(tmp_path / "new", moved)
    result = call("lint", "new", "--select", "unused-role", *file)
    assert "new/roles.yaml:8:3 error[orphaned-role] the role `CHIEF` is in use and can no longer be held there" in (
        result.stdout
    )


def test_standing_access_counts_the_directory(call: Run, file: tuple[str, str]) -> None:
    """Who may do something, and what somebody may do, includes what the directory says, which is the place of it."""
    result = call("who-can", "update", "folder", "--policies", "old", "--company", "acme", *file)
    assert result.stdout.splitlines()[-2:] == [
        "2 identities: ann, robot",
        "  folder: update in acme  directory, old/roles.yaml:10:14",
    ]
    result = call("what-can", "robot", "--policies", "old", "--company", "globex", *file)
    assert result.stdout == "  folder 7: read in globex  directory\n"
    assert call("what-can", "robot", "--policies", "old").stdout == "nothing\n"


@pytest.mark.parametrize("url", [f"postgresql://me:{SECRET}@127.0.0.1:1/x", f"postgresql://h/x?password={SECRET}"])
def test_a_password_is_taken_from_the_environment_only(
    call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """On the command line it is refused and not repeated, wherever in the URL it stands."""
    write_policies(tmp_path / "policies")
    result = call("lint", "--directory", url)
    assert (result.returncode, result.stdout) == (2, "")
    assert "`--directory`: there is a password in it, which every user of this machine could read" in result.stderr
    assert "AUTHZ_DIRECTORY" in result.stderr
    assert SECRET not in result.stderr
    monkeypatch.setenv("AUTHZ_DIRECTORY", url)
    result = call("lint")
    assert result.returncode == 2
    assert "there is a password in it" not in result.stderr
    assert SECRET not in result.stderr


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "it is empty or no text"),
        ("mysql://localhost/x", "it begins with `mysql://`"),
        ("sqlite://relative.db", "it names no file"),
        ("sqlite:///", "it names no file"),
        ("postgresql://[::1/x", "it is no URL"),
        ("missing.db", "there is no directory `missing.db`"),
        ("sqlite:///missing.db", "there is no directory `missing.db`"),
    ],
)
def test_what_names_no_directory_is_told(call: Run, tmp_path: Path, url: str, problem: str) -> None:
    """Each has its own words; nothing is made where nothing is."""
    write_policies(tmp_path / "policies")
    result = call("lint", "--directory", url)
    assert (result.returncode, result.stdout) == (2, "")
    assert problem in result.stderr
    assert not (tmp_path / "missing.db").exists()
