"""Which commits a commit contains, against git's own answer."""

import random
import subprocess
from pathlib import Path

import pytest

from authz_sidecar.sources import ancestry
from authz_sidecar.sources.ancestry import contains, read_lineage
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values.lineage import Lineage
from tests.sources.git_server import git


@pytest.fixture(scope="module")
def tangle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of sixty commits with many merges, whose times do not rise from commit to commit."""
    root = tmp_path_factory.mktemp("tangle")
    git(root, "init", "--quiet", "--bare", ".")
    chance = random.Random(7)  # noqa: S311 - any history will do
    lines = []
    for number in range(1, 61):
        parents = (
            sorted({chance.randrange(max(1, number - 8), number) for _ in range(chance.randrange(3))})
            if number > 1
            else []
        )
        when = 1_700_000_000 + chance.randrange(10_000)
        lines += [
            f"commit refs/heads/c{number}",
            f"mark :{number}",
            f"committer t <t@example.org> {when} +0000",
            "data 0",
        ]
        lines += [f"{'merge' if place else 'from'} :{parent}" for place, parent in enumerate(parents)]
        lines += [""]
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input="\n".join(lines), text=True, check=True)
    return root


def test_the_lineage_is_what_git_lists(tangle: Path) -> None:
    """Each commit contains what `git rev-list` lists from it, and nothing else."""
    every = set(git(tangle, "rev-list", "--all").split())
    with Repository.open(tangle) as repository:
        for number in (1, 17, 42, 60):
            tip = git(tangle, "rev-parse", f"c{number}")
            listed = set(git(tangle, "rev-list", tip).split())
            lineage = read_lineage(repository.objects, tip)
            assert (len(lineage), lineage.complete) == (len(listed), True)
            assert {commit for commit in every if lineage.holds(commit)} == listed
            assert {commit for commit in every if contains(repository.objects, tip, commit)} == listed
            assert Lineage.from_bytes(lineage.to_bytes()) == lineage


def test_a_long_history_is_cut_at_its_old_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more commits than are taken the newest are known, and the lineage says that it is not complete."""
    git(tmp_path, "init", "--quiet", ".")
    for number in range(6):
        git(tmp_path, "commit", "--quiet", "--allow-empty", f"--message={number}")
    commits = git(tmp_path, "rev-list", "HEAD").split()
    monkeypatch.setattr(ancestry, "MAX_LINEAGE", 4)
    with Repository.open(tmp_path) as repository:
        lineage = read_lineage(repository.objects, commits[0])
    assert not lineage.complete
    assert [lineage.holds(commit) for commit in commits] == [True] * 4 + [False] * 2


def test_a_shallow_clone_knows_what_it_has(tmp_path: Path) -> None:
    """Beyond the edge of a shallow clone nothing counts as contained, and the lineage says that it is not complete."""
    source = tmp_path / "source"
    git(tmp_path, "init", "--quiet", "source")
    for number in range(3):
        git(source, "commit", "--quiet", "--allow-empty", f"--message={number}")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{source}", "clone")
    newest, *older = git(source, "rev-list", "HEAD").split()
    with Repository.open(tmp_path / "clone") as repository:
        lineage = read_lineage(repository.objects, newest)
    assert (lineage.holds(newest), lineage.complete) == (True, False)
    assert not any(lineage.holds(commit) for commit in older)


def test_no_commit_is_in_no_lineage() -> None:
    """A bundle outside git contains nothing."""
    assert not Lineage()
    assert not Lineage().holds("0" * 40)
    assert Lineage.from_bytes(b"") == Lineage()
