"""`role`, `assign`, `fmt` and `lint --fix`: files that commands change, in place."""

import subprocess
from pathlib import Path

import pytest

from authz_sidecar.bundle.standard_model import BASIC
from tests.bundle.test_policy_edit import FILES
from tests.cli.command_line import Run, WriteBundle
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
def repository(small: Path, tmp_path: Path) -> Path:
    """The directory of the bundle's repository, with one commit."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "Ann")
    git(tmp_path, "config", "user.email", "ann@example.com")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Policies")
    return tmp_path


def test_an_edit_shows_access_and_text(run: Run, small: Path) -> None:
    """Before anything is written, the access that changes and the lines that do are shown; `--dry-run` ends there."""
    before = texts(small)
    done = run("role", "grant", "CLERK", "export", "report", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "CLERK" in done.stdout
    assert "report: export" in done.stdout
    assert "+      - {object: report, actions: [export]}" in done.stdout
    assert texts(small) == before


def test_an_edit_is_written_when_it_is_confirmed(run: Run, small: Path) -> None:
    """Without anybody to ask nothing is written; with `--yes` it is, and that file alone."""
    before = texts(small)
    refused = run("role", "toggle", "CHIEF", "PAPERS")
    assert refused.returncode == 2
    assert "nobody is there to confirm the change" in refused.stderr
    assert texts(small) == before
    done = run("role", "toggle", "CHIEF", "PAPERS", "--yes")
    assert done.returncode == 0, done.stderr
    after = texts(small)
    assert {name for name in after if after[name] != before[name]} == {"roles.yaml"}
    again = run("role", "toggle", "CHIEF", "PAPERS", "--yes")
    assert again.returncode == 0
    assert texts(small) == before


def test_nothing_to_do(run: Run, small: Path) -> None:
    """An edit that the policies have already says so and is no failure."""
    done = run("assign", "dan", "CHIEF", "--company", "acme", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing changes" in done.stderr


def test_what_cannot_be_edited(run: Run, small: Path) -> None:
    """An edit that cannot be made in place is an error with what to do instead."""
    refused = run("role", "revoke", "ROOT", "read", "case", "--yes")
    assert refused.returncode == 2
    assert "has it from a wildcard" in refused.stderr


def test_an_edit_that_breaks_the_bundle(run: Run, small: Path) -> None:
    """An edit that would leave a bundle with errors shows them and writes nothing."""
    manifest = small / "manifest.yaml"
    manifest.write_text(manifest.read_text() + "limits: {roles_per_identity: 1}\n")
    (small / "people.yaml").write_text("assignments:\n  - {subject: carol, roles: [CLERK], company: acme}\n")
    before = texts(small)
    refused = run("assign", "carol", "CHIEF", "--company", "acme", "--yes")
    assert refused.returncode == 2
    assert "would leave a bundle with 1 error" in refused.stderr
    assert texts(small) == before


def test_a_commit_keeps_why(run: Run, repository: Path) -> None:
    """`--commit` commits just the change, with the justification as a trailer, and the work tree is what it says."""
    other = repository / "policies" / "notes.md"
    other.write_text("not finished")
    done = run("assign", "erin", "ROOT", "--commit", "--justification", "on call\nin May", "--yes")
    assert done.returncode == 0, done.stderr
    assert git(repository, "log", "-1", "--format=%s|%(trailers)").strip() == (
        "Assign ROOT to erin|Justification: on call in May"
    )
    assert git(repository, "show", "--stat", "--format=").split()[0] == "policies/people.yaml"
    assert git(repository, "status", "--short").strip() == "?? policies/notes.md"


def test_a_commit_on_a_new_branch(run: Run, repository: Path) -> None:
    """With `--branch` the files stay as they are and the commit is on that branch."""
    before = texts(repository / "policies")
    done = run(
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
def test_options_that_need_each_other(run: Run, small: Path, arguments: list[str], message: str) -> None:
    """A commit has its reason, and its options make no sense without it."""
    refused = run("assign", "erin", "ROOT", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr


UNTIDY = "roles:\n    CLERK:\n        assigned:   company   # why\n"
TIDY = "roles:\n  CLERK:\n    assigned: company  # why\n"


def test_fmt_lays_out_files(run: Run, write_bundle: WriteBundle) -> None:
    """`--check` names the files and `--diff` shows the lines, both exit 1 and change nothing; then they are laid out."""
    root = write_bundle({"model.conf": BASIC, "manifest.yaml": MANIFEST, "roles.yaml": UNTIDY})
    checked = run("fmt", "--check")
    assert (checked.returncode, checked.stdout) == (1, "policies/roles.yaml is not laid out the canonical way\n")
    shown = run("fmt", "--diff")
    assert shown.returncode == 1
    assert "+    assigned: company  # why" in shown.stdout
    assert (root / "roles.yaml").read_text() == UNTIDY
    (root / "roles.yaml").chmod(0o640)
    assert run("fmt").returncode == 0
    assert (root / "roles.yaml").read_text() == TIDY
    assert (root / "roles.yaml").stat().st_mode & 0o777 == 0o640
    assert run("fmt", "--check").returncode == 0


def test_fmt_refuses_what_it_cannot_lay_out(run: Run, write_bundle: WriteBundle) -> None:
    """A file that is not valid is an error, and the others are laid out."""
    root = write_bundle({"model.conf": BASIC, "broken.yaml": "a: [", "roles.yaml": UNTIDY})
    done = run("fmt")
    assert done.returncode == 2
    assert "`policies/broken.yaml` cannot be laid out: it is not valid" in done.stderr
    assert (root / "roles.yaml").read_text() == TIDY


TWICE = """\
roles:
  CLERK:
    description: Works on cases.
    assigned: company
    grants:
      # reading
      - {object: case, actions: [read, read, update]}
assignments:
  - {subject: carol, roles: [CLERK], company: acme}
"""


def test_lint_fixes_what_is_safe(run: Run, write_bundle: WriteBundle) -> None:
    """`--diff` shows the fixes and changes nothing; `--fix` makes them, and what is left is told."""
    root = write_bundle({"model.conf": BASIC, "manifest.yaml": MANIFEST, "roles.yaml": TWICE})
    assert "repeated-item" in run("lint").stdout
    shown = run("lint", "--diff")
    assert shown.returncode == 0, shown.stderr
    assert "-      - {object: case, actions: [read, read, update]}" in shown.stdout
    assert "+      - {object: case, actions: [read, update]}" in shown.stdout
    assert (root / "roles.yaml").read_text() == TWICE
    fixed = run("lint", "--fix")
    assert "made 1 edit in 1 file" in fixed.stderr
    assert (root / "roles.yaml").read_text() == TWICE.replace("[read, read, update]", "[read, update]")
    assert "repeated-item" not in fixed.stdout
