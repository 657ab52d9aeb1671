"""Commits of single files, beside other work in progress, with the git program as the judge of what was written."""

import subprocess
from pathlib import Path

import pytest

from authz_sidecar.sources.repository import Repository, RepositoryError
from tests.sources.git_program import IDENTITY, commit, git, init


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two committed files, and a committer in the environment."""
    for name, value in {**IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    root = init(tmp_path / "repository")
    commit(root, "one", {"policies/roles.yaml": "roles: {}\n", "policies/sub/x.csv": "p, a\n", "other": "1\n"})
    return root


def make(
    root: Path,
    changes: dict[str, bytes | None],
    message: str = "Change roles",
    branch: str | None = None,
    author: str | None = None,
) -> str:
    """Commit these files."""
    with Repository.open(root) as repository:
        return repository.commit_files(changes, message, branch, author=author)


def test_a_commit_on_the_current_branch_is_whole(root: Path) -> None:
    """Parent, tree, message and author are as asked, files and index follow, and git finds everything clean."""
    before = git(root, "rev-parse", "HEAD")
    message = "Let clerks read\n\nThey need it.\n\nJustification: audit 7"
    changes: dict[str, bytes | None] = {
        "policies/roles.yaml": b"roles: {A: {}}\n",
        "policies/new/y.csv": b"p, b\n",
        "policies/sub/x.csv": None,
    }
    id = make(root, changes, message, author="Grace <grace@example.org>")
    assert git(root, "rev-parse", "main") == id
    assert git(root, "rev-parse", "HEAD~1") == before
    assert git(root, "log", "-1", "--format=%an <%ae>|%cn|%B").rstrip() == f"Grace <grace@example.org>|Ada|{message}"
    assert git(root, "show", "--name-status", "--format=").split("\n") == [
        "A\tpolicies/new/y.csv",
        "M\tpolicies/roles.yaml",
        "D\tpolicies/sub/x.csv",
    ]
    assert git(root, "status", "--porcelain") == ""
    assert (root / "policies" / "roles.yaml").read_bytes() == b"roles: {A: {}}\n"
    assert git(root, "reflog", "-1", "--format=%gs") == "commit: Let clerks read"
    git(root, "fsck", "--strict", "--no-dangling")
    # git's next commit is built from the index that was written.
    git(root, "commit", "--quiet", "--allow-empty", "--message=next")
    assert git(root, "rev-parse", "HEAD^{tree}") == git(root, "rev-parse", f"{id}^{{tree}}")


def test_other_work_stays_as_it_is(root: Path) -> None:
    """What else is staged, changed or new is neither committed nor lost, also where it lies in the same folder."""
    (root / "other").write_text("2\n")
    git(root, "add", "other")
    (root / "other").write_text("3\n")
    (root / "policies" / "sub" / "x.csv").write_text("p, c\n")
    git(root, "add", "policies/sub/x.csv")
    (root / "policies" / "untracked").write_text("?\n")
    (root / "policies" / "roles.yaml").write_text("roles: {B: {}}\n")
    git(root, "status")
    make(root, {"policies/roles.yaml": b"roles: {B: {}}\n"})
    assert git(root, "show", "--name-only", "--format=") == "policies/roles.yaml"
    assert git(root, "status", "--porcelain").split("\n") == [
        "MM other",
        "M  policies/sub/x.csv",
        "?? policies/untracked",
    ]
    git(root, "commit", "--quiet", "--message=staged")
    assert git(root, "show", "HEAD:other") == "2"
    assert git(root, "show", "HEAD:policies/sub/x.csv") == "p, c"
    assert git(root, "show", "HEAD:policies/roles.yaml") == "roles: {B: {}}"
    git(root, "fsck", "--strict", "--no-dangling")


def test_a_commit_on_a_new_branch_touches_nothing_else(root: Path) -> None:
    """The branch begins at HEAD; work tree, index and the current branch are as before."""
    head, index = git(root, "rev-parse", "HEAD"), (root / ".git" / "index").read_bytes()
    id = make(root, {"policies/roles.yaml": b"roles: {C: {}}\n"}, branch="access/clerks")
    assert git(root, "rev-parse", "access/clerks") == id
    assert git(root, "rev-parse", "access/clerks~1") == head == git(root, "rev-parse", "main")
    assert (root / ".git" / "index").read_bytes() == index
    assert (root / "policies" / "roles.yaml").read_text() == "roles: {}\n"
    assert git(root, "status", "--porcelain") == ""
    git(root, "fsck", "--strict", "--no-dangling")


def test_the_first_commit_and_a_linked_work_tree(root: Path, tmp_path: Path) -> None:
    """A repository without a commit gets its first; in a linked work tree its own branch and index are meant."""
    fresh = init(tmp_path / "fresh")
    id = make(fresh, {"policies/model.conf": b"m\n"})
    assert git(fresh, "rev-list", "HEAD") == id
    assert git(fresh, "status", "--porcelain") == ""
    git(root, "worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    id = make(tmp_path / "linked", {"policies/roles.yaml": b"roles: {D: {}}\n"})
    assert git(root, "rev-parse", "linked") == id
    assert git(tmp_path / "linked", "status", "--porcelain") == ""
    assert git(root, "status", "--porcelain") == ""


def test_modes_line_ends_and_the_form_of_the_index_are_kept(root: Path) -> None:
    """An executable stays one, a file with the platform's line ends is stored with git's, version 4 stays."""
    (root / "policies" / "roles.yaml").chmod(0o755)
    commit(root, "executable")
    git(root, "update-index", "--index-version=4")
    git(root, "config", "core.autocrlf", "true")
    (root / "policies" / "roles.yaml").write_bytes(b"roles: {}\r\nmore: {}\r\n")
    make(root, {"policies/roles.yaml": b"roles: {}\r\nmore: {}\r\n"})
    assert git(root, "ls-tree", "HEAD", "policies/roles.yaml").startswith("100755 blob")
    assert git(root, "cat-file", "blob", "HEAD:policies/roles.yaml") == "roles: {}\nmore: {}"
    assert git(root, "status", "--porcelain") == ""
    assert (root / ".git" / "index").read_bytes()[:8] == b"DIRC\0\0\0\x04"


def refused(root: Path, changes: dict[str, bytes | None], branch: str | None = None) -> RepositoryError:
    """The error, after which nothing has changed."""
    head, state = git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain")
    with pytest.raises(RepositoryError) as caught:
        make(root, changes, branch=branch)
    assert git(root, "rev-parse", "HEAD") == head
    assert git(root, "status", "--porcelain") == state
    return caught.value


NEW = b"roles: {E: {}}\n"


@pytest.mark.parametrize("branch", [None, "topic"])
def test_a_file_with_other_changes_is_refused(root: Path, branch: str | None) -> None:
    """A change that is neither in the last commit nor the one to be made is somebody's work."""
    (root / "policies" / "roles.yaml").write_text("roles: {mine: {}}\n")
    found = refused(root, {"policies/roles.yaml": NEW}, branch=branch)
    assert found.message == "`policies/roles.yaml` has other changes that are not committed"


def test_a_file_of_which_something_else_is_staged_is_refused(root: Path) -> None:
    """Also where the work tree has been put back."""
    (root / "policies" / "roles.yaml").write_text("roles: {mine: {}}\n")
    git(root, "add", "--all")
    (root / "policies" / "roles.yaml").write_text("roles: {}\n")
    assert "that are staged" in refused(root, {"policies/roles.yaml": NEW}).message


def test_a_merge_under_way_is_refused(root: Path) -> None:
    """What is half merged is not committed over."""
    git(root, "checkout", "--quiet", "-b", "side")
    commit(root, "side", {"other": "s\n"})
    git(root, "checkout", "--quiet", "main")
    commit(root, "main", {"other": "m\n"})
    with pytest.raises(AssertionError):
        git(root, "merge", "side")
    assert refused(root, {"policies/roles.yaml": NEW}).message == "a merge is under way in this repository"


@pytest.mark.parametrize(
    ("changes", "branch", "message"),
    [
        ({"policies/roles.yaml": b"roles: {}\n"}, None, "there is nothing to commit: the last commit has these files"),
        ({"policies/none": None}, None, "`policies/none` cannot be removed: the last commit does not have it"),
        ({"../outside": b"x"}, None, "`../outside` is no path of a repository"),
        ({".git/config": b"x"}, None, "`.git/config` is no path of a repository"),
        ({"policies": b"x"}, None, "`policies` is no plain file in the last commit"),
        ({"other/below": b"x"}, None, "`other/below` is no plain file in the last commit"),
        ({"policies/roles.yaml": NEW}, "a..b", "`a..b` is no name for a branch"),
        ({"policies/roles.yaml": NEW}, "-x", "`-x` is no name for a branch"),
        ({"policies/roles.yaml": NEW}, "taken", "there is a branch `taken` already"),
    ],
)
def test_what_cannot_be_committed_says_why(
    root: Path, changes: dict[str, bytes | None], branch: str | None, message: str
) -> None:
    """Nothing new, nothing to remove, a path out of the repository or through a file, a branch that cannot be."""
    git(root, "branch", "taken")
    assert refused(root, changes, branch=branch).message == message


def test_a_link_out_of_the_repository_is_not_followed(root: Path, tmp_path: Path) -> None:
    """A folder that is a link to elsewhere is no place to write to."""
    (tmp_path / "elsewhere").mkdir()
    (root / "policies" / "link").symlink_to(tmp_path / "elsewhere")
    assert "leads out of the repository" in refused(root, {"policies/link/x": b"x"}).message
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_lock_of_another_program_is_kept(root: Path) -> None:
    """Git's lock of the index refuses us, and stays."""
    lock = root / ".git" / "index.lock"
    lock.touch()
    found = refused(root, {"policies/roles.yaml": NEW})
    assert found.message == "another program is writing the index of this repository"
    assert lock.exists()


def test_no_lock_is_left_behind(root: Path) -> None:
    """After a commit and after a refusal git can write again."""
    make(root, {"policies/roles.yaml": NEW})
    refused(root, {"policies/roles.yaml": NEW})
    assert list((root / ".git").glob("*.lock")) == []


def test_a_committer_is_needed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the remedy is told; git's configuration of the repository is enough."""
    for name in IDENTITY:
        monkeypatch.delenv(name)
    assert "git config user.name" in refused(root, {"policies/roles.yaml": NEW}).help
    git(root, "config", "user.name", "Edsger")
    git(root, "config", "user.email", "edsger@example.org")
    make(root, {"policies/roles.yaml": NEW})
    assert git(root, "log", "-1", "--format=%an <%ae> %cn") == "Edsger <edsger@example.org> Edsger"


def test_signed_commits_and_a_detached_head_are_left_to_git(root: Path) -> None:
    """Where commits are to be signed, or no branch is there to move, the error says what to do."""
    git(root, "checkout", "--quiet", "--detach")
    assert refused(root, {"policies/roles.yaml": NEW}).message == "no branch is checked out"
    git(root, "config", "commit.gpgsign", "true")
    assert "commit.gpgsign" in refused(root, {"policies/roles.yaml": NEW}, branch="topic").message


def test_a_split_index_is_left_to_git(root: Path) -> None:
    """An index that only git can write is not written."""
    git(root, "update-index", "--split-index")
    assert "split or sparse" in refused(root, {"policies/roles.yaml": NEW}).message


def test_hooks_are_not_run(root: Path) -> None:
    """A hook of the repository is a program of somebody else's."""
    hook = root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    make(root, {"policies/roles.yaml": NEW})
    assert not (root / "ran").exists()
    assert subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD"], check=False).returncode == 0
