"""Looking for changes: what a look tells apart, in real directories and repositories."""

import os
import shutil
from pathlib import Path

import pytest

from authz_sidecar.sources.watch import find_git, look
from tests.sources.test_git import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit that holds `policies/`."""
    policies = tmp_path / "repository" / "policies"
    policies.mkdir(parents=True)
    (policies / "model.conf").write_text("m\n")
    (policies / "rows.csv").write_text("p, a\n")
    git(policies.parent, "init", "--quiet", "--initial-branch=main")
    git(policies.parent, "add", ".")
    git(policies.parent, "commit", "--quiet", "--message=one")
    return policies.parent


def test_two_looks_at_the_same_are_equal(repository: Path) -> None:
    """Nothing changes by looking, nor by what no bundle is made of: hidden files and notes."""
    before = look(repository / "policies")
    (repository / "policies" / ".hidden").write_text("x")
    (repository / "notes").write_text("x")
    assert look(repository / "policies") == before


def test_an_edit_of_the_same_length_and_time_is_seen(repository: Path) -> None:
    """A file with other content is seen although its size and its time of modification are those of before."""
    file = repository / "policies" / "rows.csv"
    facts = file.stat()
    before = look(file.parent)
    file.write_text("p, b\n")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert look(file.parent) != before


@pytest.mark.parametrize("change", ["add", "remove", "rename", "folder"])
def test_a_change_of_names_is_seen(repository: Path, change: str) -> None:
    """A file that comes, goes or moves is seen, and so is one in a new folder."""
    policies = repository / "policies"
    before = look(policies)
    match change:
        case "add":
            (policies / "more.csv").write_text("")
        case "remove":
            (policies / "rows.csv").unlink()
        case "rename":
            (policies / "rows.csv").rename(policies / "other.csv")
        case _:
            (policies / "sub").mkdir()
            (policies / "sub" / "more.csv").write_text("")
    assert look(policies) != before


@pytest.mark.parametrize("packed", [False, True])
def test_a_commit_is_seen(repository: Path, packed: bool) -> None:
    """A commit that changes no file of the bundle is seen, whether branches are packed or not."""
    if packed:
        git(repository, "pack-refs", "--all")
    before = look(repository / "policies")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=two")
    after = look(repository / "policies")
    assert after != before
    git(repository, "pack-refs", "--all")
    git(repository, "switch", "--quiet", "--detach", "HEAD~1")
    assert look(repository / "policies") not in (before, after)


def test_the_lock_of_git_is_seen(repository: Path) -> None:
    """While `index.lock` exists a look names it."""
    lock = repository / ".git" / "index.lock"
    assert look(repository / "policies").locked == ""
    lock.touch()
    assert look(repository / "policies").locked == str(lock)


def test_a_linked_work_tree_has_a_lock_and_a_head_of_its_own(repository: Path, tmp_path: Path) -> None:
    """In a linked work tree its own lock counts and its own commit is seen, and the other's are not."""
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "--quiet", "-b", "side", str(tree))
    place = find_git(tree / "policies")
    assert place is not None
    assert place.common.resolve() == (repository / ".git").resolve()
    (repository / ".git" / "index.lock").touch()
    before = look(tree / "policies")
    assert before.locked == ""
    (place.folder / "index.lock").touch()
    assert look(tree / "policies").locked
    (place.folder / "index.lock").unlink()
    git(tree, "commit", "--quiet", "--allow-empty", "--message=two")
    assert look(tree / "policies") != before


def test_a_directory_that_is_gone_is_a_state_like_others(repository: Path) -> None:
    """A missing directory is told from one that is there, and so is its return."""
    policies = repository / "policies"
    before = look(policies)
    kept = policies.with_name("kept")
    policies.rename(kept)
    gone = look(policies)
    assert gone != before
    assert look(policies) == gone
    kept.rename(policies)
    assert look(policies) != gone


def test_outside_git_there_is_no_head(tmp_path: Path) -> None:
    """A directory outside of any repository is looked at all the same."""
    shutil.copytree(Path(__file__).parents[1] / "server" / "bundle", tmp_path / "bundle")
    sight = look(tmp_path / "bundle")
    assert (sight.head, sight.locked) == (None, "")
    assert sight == look(tmp_path / "bundle")


@pytest.mark.parametrize("name", [".git", ".git/HEAD", ".git/refs/heads/main"])
def test_a_pipe_in_place_of_a_file_of_git_blocks_nobody(repository: Path, name: str) -> None:
    """A named pipe, which would make a reader wait for ever, is passed over."""
    place = repository / name
    place.rename(repository / "moved")
    os.mkfifo(place)
    assert look(repository / "policies") == look(repository / "policies")


@pytest.mark.parametrize("text", [b"ref: refs/heads/ma\0in\n", b"\xff\xfe", b"ref: " + b"a" * 5000])
def test_a_torn_head_is_a_state_like_others(repository: Path, text: bytes) -> None:
    """A HEAD that a crash has left half written is told from a good one, and ends nothing."""
    before = look(repository / "policies")
    (repository / ".git" / "HEAD").write_bytes(text)
    assert look(repository / "policies") != before
    (repository / ".git").rename(repository / "moved")
    (repository / ".git").write_bytes(b"gitdir: \0\n")
    assert look(repository / "policies").locked == ""
