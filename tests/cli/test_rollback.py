"""`authz-sidecar rollback`: an earlier state of the policies as a new commit."""

from pathlib import Path

import pytest

from tests.cli.command_line import RBAC_MODEL, RBAC_POLICY, Run
from tests.sources.git_server import git

WHO = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose second commit gives mallory a right, by a file of its own, and changes another file."""
    root = tmp_path / "repository"
    policies = root / "policies"
    policies.mkdir(parents=True)
    (policies / "model.conf").write_text(RBAC_MODEL)
    (policies / "policy.csv").write_text(RBAC_POLICY)
    (root / "README").write_text("one")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    (policies / "more.csv").write_text("p, mallory, folder:1, delete\n")
    (policies / "policy.csv").write_text(RBAC_POLICY.replace("p, bob, folder:2, write\n", ""))
    (root / "README").write_text("two")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=two")
    return root


def test_the_policies_go_back_by_a_new_commit(run: Run, repository: Path) -> None:
    """The folder is as it was, the rest as it is, the commit says why, and the access that changes was shown."""
    options = ("rollback", "HEAD~1", "--policies", str(repository / "policies"))
    before = git(repository, "rev-parse", "HEAD")
    looked = run(*options, "--dry-run", env=WHO)
    assert looked.returncode == 0, looked.stderr
    assert "mallory" in looked.stdout
    assert git(repository, "rev-parse", "HEAD") == before
    made = run(*options, "--justification", "INC-42", "--yes", env=WHO)
    assert (made.returncode, made.stdout) == (0, looked.stdout), made.stderr
    assert git(repository, "rev-parse", "HEAD~1") == before
    assert git(repository, "rev-parse", "HEAD:policies") == git(repository, "rev-parse", "HEAD~2:policies")
    assert git(repository, "show", "HEAD:README") == "two"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "-1", "--format=%s|%(trailers:key=Justification,valueonly)").startswith(
        f"Roll back policies to {git(repository, 'rev-parse', 'HEAD~2')[:12]}|INC-42"
    )
    again = run(*options, "--justification", "INC-42", "--yes", env=WHO)
    assert again.returncode == 0
    # HEAD~1 is now the commit that was rolled back.
    assert git(repository, "rev-parse", "HEAD:policies") == git(repository, "rev-parse", f"{before}:policies")


def test_policies_that_do_not_load_can_be_left(run: Run, repository: Path) -> None:
    """What is broken now is no hindrance; what was broken then is."""
    (repository / "policies" / "policy.csv").write_text("nonsense\n")
    git(repository, "commit", "--quiet", "--all", "--message=broken")
    options = ("rollback", "--policies", str(repository / "policies"), "--justification", "INC-43", "--yes")
    made = run(*options, "HEAD~2", env=WHO)
    assert made.returncode == 0, made.stderr
    assert "the policies do not load now" in made.stderr
    assert git(repository, "rev-parse", "HEAD:policies") == git(repository, "rev-parse", "HEAD~3:policies")
    back = run(*options, "HEAD~1", env=WHO)
    assert (back.returncode, "does not load" in back.stderr) == (2, True)


def test_what_it_needs_is_said(run: Run, repository: Path) -> None:
    """A justification, somebody to confirm, a commit that exists and has the policies; without them nothing happens."""
    head = git(repository, "rev-parse", "HEAD")
    options = ("rollback", "--policies", str(repository / "policies"))
    for arguments, said in (
        (("HEAD~1", "--yes"), "a roll-back needs `--justification TEXT`"),
        (("HEAD~1", "--justification", "x"), "nobody is there to confirm"),
        (("nowhere", "--justification", "x", "--yes"), "there is no revision `nowhere`"),
    ):
        ran = run(*options, *arguments, env=WHO)
        assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    assert "nothing changes" in run(*options, "HEAD", "--justification", "x", env=WHO).stderr
    assert git(repository, "rev-parse", "HEAD") == head
