"""The commits that a change brings, as `git log BASE..HEAD` lists them."""

from pathlib import Path

import pytest

from authz_sidecar.sources.commit_range import commits_between
from authz_sidecar.sources.repository import Repository
from tests.sources.git_program import git, init


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with two branches that part, meet once, and go on."""
    root = init(tmp_path / "work")
    when = 1_700_000_000

    def commit(message: str, *command: str) -> None:
        nonlocal when
        when += 60
        moment = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
        git(root, *(command or ("commit", "--quiet", "--allow-empty")), "--message", message, env=moment)

    commit("one")
    commit("two")
    git(root, "checkout", "--quiet", "-b", "topic")
    commit("three")
    git(root, "checkout", "--quiet", "main")
    commit("four")
    git(root, "checkout", "--quiet", "topic")
    commit("meet", "merge", "--quiet", "--no-ff", "main")
    commit("five")
    git(root, "checkout", "--quiet", "main")
    commit("six")
    return root


@pytest.mark.parametrize(
    ("base", "head"), [("main", "topic"), ("topic", "main"), ("main~2", "main"), ("main", "main"), ("topic~1", "topic")]
)
def test_as_git_lists_them(folder: Path, base: str, head: str) -> None:
    """The same commits in the same order as git."""
    with Repository.open(folder) as repository:
        found = [one.id for one in commits_between(repository, repository.resolve(base), repository.resolve(head))]
    assert found == git(folder, "log", "--format=%H", f"{base}..{head}").split()


def test_commits_of_one_second(tmp_path: Path) -> None:
    """Where times do not tell which commit came first, those of the base are none of the change's all the same."""
    moment = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    for number in range(8):
        root = init(tmp_path / f"work{number}")
        for message, branch in (("a", ""), (f"b{number}", ""), ("c", "topic"), ("d", "")):
            if branch:
                git(root, "checkout", "--quiet", "-b", branch)
            git(root, "commit", "--quiet", "--allow-empty", "--message", message, env=moment)
        git(root, "checkout", "--quiet", "main")
        git(root, "commit", "--quiet", "--allow-empty", "--message", f"e{number}", env=moment)
        with Repository.open(root) as repository:
            found = commits_between(repository, repository.resolve("main"), repository.resolve("topic"))
        assert {one.subject for one in found} == {"c", "d"}


def test_unrelated_histories(folder: Path) -> None:
    """Without a common commit all of the head's are its own."""
    git(folder, "checkout", "--quiet", "--orphan", "other")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "alone")
    with Repository.open(folder) as repository:
        found = commits_between(repository, repository.resolve("main"), repository.resolve("other"))
    assert [one.subject for one in found] == ["alone"]


def test_at_the_edge_of_a_shallow_clone(folder: Path, tmp_path: Path) -> None:
    """Where the clone ends, so does the list."""
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--no-single-branch", f"file://{folder}", "shallow")
    with Repository.open(tmp_path / "shallow") as repository:
        base, head = repository.resolve("origin/main"), repository.resolve("origin/topic")
        assert [one.subject for one in commits_between(repository, base, head)] == ["five"]
