"""`role`, `assign`, `fmt` and `lint --fix`: files that commands change, in place."""

import subprocess
from pathlib import Path

import pytest

from authz_sidecar.bundle.standard_model import BASIC
from tests.bundle.test_policy_edit import FILES
from tests.cli.command_line import RBAC_MODEL, Run, WriteBundle
from tests.review.small_bundle import MANIFEST


@pytest.fixture
def small(write_bundle: WriteBundle) -> Path:
    """The bundle of the tests of edits, as `policies/`."""
    return write_bundle(FILES)


def texts(root: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {path.name: path.read_bytes() for path in root.iterdir()}


def git(folder: Path, *arguments: str) -> str:
    """What git prints there."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(small: Path, tmp_path: Path) -> Path:  # noqa: ARG001 - it is in the repository
    """The directory of the bundle's repository, with one commit."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "Ann")
    git(tmp_path, "config", "user.email", "ann@example.com")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Policies")
    return tmp_path


def test_an_edit_shows_access_and_text(call: Run, small: Path) -> None:
    """Before anything is written, the access that changes and the lines that do are shown; `--dry-run` ends there."""
    before = texts(small)
    done = call("role", "grant", "CLERK", "export", "report", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "CLERK" in done.stdout
    assert "report: export" in done.stdout
    assert "+      - {object: report, actions: [export]}" in done.stdout
    assert texts(small) == before


def test_an_edit_is_written_when_it_is_confirmed(call: Run, small: Path) -> None:
    """Without anybody to ask nothing is written; with `--yes` it is, and that file alone."""
    before = texts(small)
    refused = call("role", "toggle", "CHIEF", "PAPERS")
    assert refused.returncode == 2
    assert "nobody is there to confirm the change" in refused.stderr
    assert texts(small) == before
    done = call("role", "toggle", "CHIEF", "PAPERS", "--yes")
    assert done.returncode == 0, done.stderr
    after = texts(small)
    assert {name for name in after if after[name] != before[name]} == {"roles.yaml"}
    again = call("role", "toggle", "CHIEF", "PAPERS", "--yes")
    assert again.returncode == 0
    assert texts(small) == before


@pytest.mark.usefixtures("small")
def test_nothing_to_do(call: Run) -> None:
    """An edit that the policies have already says so and is no failure."""
    done = call("assign", "dan", "CHIEF", "--company", "acme", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing changes" in done.stderr


@pytest.mark.usefixtures("small")
def test_what_cannot_be_edited(call: Run) -> None:
    """An edit that cannot be made in place is an error with what to do instead."""
    refused = call("role", "revoke", "ROOT", "read", "case", "--yes")
    assert refused.returncode == 2
    assert "has it from a wildcard" in refused.stderr


def test_an_edit_that_breaks_the_bundle(call: Run, small: Path) -> None:
    """An edit that would leave a bundle with errors shows them and writes nothing."""
    manifest = small / "manifest.yaml"
    manifest.write_text(manifest.read_text() + "limits: {roles_per_identity: 1}\n")
    (small / "people.yaml").write_text("assignments:\n  - {subject: carol, roles: [CLERK], company: acme}\n")
    before = texts(small)
    refused = call("assign", "carol", "CHIEF", "--company", "acme", "--yes")
    assert refused.returncode == 2
    assert "would leave a bundle with 1 error" in refused.stderr
    assert texts(small) == before


def test_a_commit_keeps_why(call: Run, repository: Path) -> None:
    """`--commit` commits just the change, with the justification as a trailer, and the work tree is what it says."""
    other = repository / "policies" / "notes.md"
    other.write_text("not finished")
    done = call("assign", "erin", "ROOT", "--commit", "--justification", "on call\nin May", "--yes")
    assert done.returncode == 0, done.stderr
    assert git(repository, "log", "-1", "--format=%s|%(trailers)").strip() == (
        "Assign ROOT to erin|Justification: on call in May"
    )
    assert git(repository, "show", "--stat", "--format=").split()[0] == "policies/people.yaml"
    assert git(repository, "status", "--short").strip() == "?? policies/notes.md"


def test_a_commit_on_a_new_branch(call: Run, repository: Path) -> None:
    """With `--branch` the files stay as they are and the commit is on that branch."""
    before = texts(repository / "policies")
    done = call(
        "role", "revoke", "CLERK", "delete", "report", "--commit", "--justification", "x", "--branch", "less", "--yes"
    )
    assert done.returncode == 0, done.stderr
    assert texts(repository / "policies") == before
    assert git(repository, "log", "--format=%s", "main..less").strip() == "Take delete of report from CLERK"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--commit"], "`--commit` needs `--justification TEXT`"),
        (["--justification", "x"], "`--justification` is about a commit"),
        (["--branch", "x"], "`--branch` is about a commit"),
    ],
)
@pytest.mark.usefixtures("small")
def test_options_that_need_each_other(call: Run, arguments: list[str], message: str) -> None:
    """A commit has its reason, and its options make no sense without it."""
    refused = call("assign", "erin", "ROOT", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr


UNTIDY = "roles:\n    CLERK:\n        assigned:   company   # why\n"
TIDY = "roles:\n  CLERK:\n    assigned: company  # why\n"


def test_fmt_lays_out_files(call: Run, write_bundle: WriteBundle) -> None:
    """`--check` names the files, `--diff` shows the lines, both exit 1 and change nothing; then they are laid out."""
    root = write_bundle({"model.conf": BASIC, "manifest.yaml": MANIFEST, "roles.yaml": UNTIDY})
    checked = call("fmt", "--check")
    assert (checked.returncode, checked.stdout) == (1, "policies/roles.yaml is not laid out the canonical way\n")
    shown = call("fmt", "--diff")
    assert shown.returncode == 1
    assert "+    assigned: company  # why" in shown.stdout
    assert (root / "roles.yaml").read_text() == UNTIDY
    (root / "roles.yaml").chmod(0o640)
    assert call("fmt").returncode == 0
    assert (root / "roles.yaml").read_text() == TIDY
    assert (root / "roles.yaml").stat().st_mode & 0o777 == 0o640
    assert call("fmt", "--check").returncode == 0


def test_fmt_refuses_what_it_cannot_lay_out(call: Run, write_bundle: WriteBundle) -> None:
    """A file that is not valid is an error, and the others are laid out."""
    root = write_bundle({"model.conf": BASIC, "broken.yaml": "a: [", "roles.yaml": UNTIDY})
    done = call("fmt")
    assert done.returncode == 2
    assert "`policies/broken.yaml` cannot be laid out: it is not valid" in done.stderr
    assert (root / "roles.yaml").read_text() == TIDY


def test_fmt_wants_a_bundle(call: Run, write_bundle: WriteBundle) -> None:
    """A directory without a model is no bundle, and the YAML in it is somebody else's."""
    root = write_bundle({"compose.yaml": UNTIDY}, "elsewhere")
    done = call("fmt", "elsewhere")
    assert done.returncode == 2
    assert "`elsewhere` holds no bundle: it has no `model.conf`" in done.stderr
    assert (root / "compose.yaml").read_text() == UNTIDY


def test_fmt_says_nothing_on_standard_output_when_it_fails(call: Run, write_bundle: WriteBundle) -> None:
    """Where a file cannot be laid out, what the others would be goes to standard error."""
    write_bundle({"model.conf": BASIC, "broken.yaml": "a: [", "roles.yaml": UNTIDY, "x.csv": b"p, \xff"})
    for option in ("--check", "--diff"):
        done = call("fmt", option)
        assert (done.returncode, done.stdout) == (2, "")
        assert "roles.yaml" in done.stderr
        assert "`policies/x.csv` cannot be laid out: it is not valid" in done.stderr


TWICE = """\
data_domains:
  CASES: {objects: [case, case]}
  # authz: ignore[repeated-item] the paper list has it twice as well
  PAPERS: {objects: [report, report]}
roles:
  CLERK:
    description: Works on cases.
    assigned: company
    # cases and papers
    data_domains: [CASES, PAPERS]
  CHIEF:
    assigned: company
    inherits: [CLERK, CLERK]
assignments:
  - {subject: carol, roles: [CLERK], company: acme}
"""
ONCE = TWICE.replace("[case, case]", "[case]").replace("[CLERK, CLERK]", "[CLERK]")


@pytest.fixture
def twice(write_bundle: WriteBundle) -> Path:
    """A bundle with items that stand twice, one of them for a reason."""
    return write_bundle({"model.conf": BASIC, "manifest.yaml": MANIFEST, "roles.yaml": TWICE})


def test_lint_fixes_what_is_safe(call: Run, twice: Path) -> None:
    """`--diff` shows the fixes, exits 1 and changes nothing; `--fix` makes them, and what is left is told."""
    assert "repeated-item" in call("lint").stdout
    shown = call("lint", "--diff")
    assert shown.returncode == 1, shown.stderr
    assert "-  CASES: {objects: [case, case]}" in shown.stdout
    assert "+  CASES: {objects: [case]}" in shown.stdout
    assert (twice / "roles.yaml").read_text() == TWICE
    fixed = call("lint", "--fix")
    assert "made 2 edits in 1 file" in fixed.stderr
    assert (twice / "roles.yaml").read_text() == ONCE
    assert "repeated-item" not in fixed.stdout
    again = call("lint", "--diff")
    assert (again.returncode, again.stdout) == (0, "")
    assert "there is nothing to fix" in call("lint", "--fix").stderr


def test_lint_fixes_nothing_that_is_silenced(call: Run, twice: Path) -> None:
    """What a comment, the baseline or the choice of rules silences stays as it is."""
    call("lint", "--fix", "--ignore", "repeated-item")
    assert (twice / "roles.yaml").read_text() == TWICE
    call("lint", "--write-baseline")
    call("lint", "--fix")
    assert (twice / "roles.yaml").read_text() == TWICE


@pytest.mark.usefixtures("twice")
def test_lint_shows_fixes_as_lines_alone(call: Run) -> None:
    """There is no other form of a diff, and asking for one is a mistake that is told."""
    refused = call("lint", "--diff", "--format", "json")
    assert refused.returncode == 2
    assert "`--diff` shows lines alone" in refused.stderr


def test_lint_fixes_rows(call: Run, write_bundle: WriteBundle) -> None:
    """In a file of rows a row goes with its line, and the others keep their line ends."""
    rows = "p, clerk, case, read\r\n# who\r\ng, ann, clerk\r\ng, ann, clerk\r\ng, bob, clerk\r\n"
    root = write_bundle({"model.conf": RBAC_MODEL, "policy.csv": rows})
    assert "made 1 edit in 1 file" in call("lint", "--fix").stderr
    assert (root / "policy.csv").read_bytes().decode() == rows.replace("g, ann, clerk\r\n", "", 1)


def test_what_an_edit_brings_about_is_told(call: Run, small: Path) -> None:
    """Warnings that the bundle has only after the edit are shown with it, and tests that will fail are counted."""
    (small / "tests").mkdir()
    (small / "tests" / "cases.yaml").write_text(
        "tests:\n  - {name: no, subject: carol, object: report:1, company: acme, action: export, expect: deny}\n"
    )
    shown = call("assign", "carol", "CHIEF", "--company", "acme", "--dry-run").stdout
    assert "warning[role-primary] `carol` has a second primary role" in shown
    assert "warning: 1 policy test will fail" in shown
    assert "role-primary" not in call("role", "grant", "CLERK", "export", "report", "--dry-run").stdout


@pytest.mark.usefixtures("small")
def test_places_in_errors_can_be_found(call: Run) -> None:
    """An error that names a line names the file as it lies from here."""
    assert "at policies/roles.yaml:16:14" in call("role", "revoke", "ROOT", "read", "case", "--yes").stderr


@pytest.mark.usefixtures("small")
def test_an_edit_that_is_made_is_shown_beside_the_result(call: Run) -> None:
    """With `--yes` the change goes to standard error, so that a command that fails has said nothing else."""
    done = call("role", "grant", "CLERK", "export", "report", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "+      - {object: report, actions: [export]}" in done.stderr
    assert "changed policies/roles.yaml" in done.stderr


def test_a_commit_of_a_file_with_other_work_is_refused(call: Run, repository: Path) -> None:
    """Where the file has been edited otherwise since the last commit, nothing is committed and nothing written."""
    people = repository / "policies" / "people.yaml"
    people.write_text(people.read_text() + "# not finished\n")
    before = people.read_text()
    refused = call("assign", "erin", "ROOT", "--commit", "--justification", "x", "--yes")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "has other changes that are not committed" in refused.stderr
    assert people.read_text() == before
    assert git(repository, "log", "--format=%s").strip() == "Policies"


def test_a_commit_on_a_branch_that_exists_is_refused(call: Run, repository: Path) -> None:
    """A branch that is there already is not moved."""
    git(repository, "branch", "old")
    refused = call("assign", "erin", "ROOT", "--commit", "--justification", "x", "--branch", "old", "--yes")
    assert refused.returncode == 2
    assert "there is a branch `old` already" in refused.stderr


def test_a_commit_outside_of_git_is_refused(call: Run, small: Path) -> None:
    """Without a repository there is nothing to commit to, and the files stay as they are."""
    before = texts(small)
    refused = call("assign", "erin", "ROOT", "--commit", "--justification", "x", "--yes")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert texts(small) == before


@pytest.mark.usefixtures("rbac")
def test_plain_bundles_are_not_edited(call: Run) -> None:
    """Rows are edited as rows; the error says so."""
    refused = call("role", "grant", "CLERK", "read", "case", "--yes")
    assert refused.returncode == 2
    assert "a plain Casbin bundle has no definitions to edit" in refused.stderr
