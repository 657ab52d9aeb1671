"""What a side of a comparison names: a revision, a directory, and never one that stands in for the other."""

from pathlib import Path

import pytest

from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.side import load_side
from tests.cli.command_line import RBAC_MODEL, RBAC_POLICY
from tests.sources.git_program import commit, git, init


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose first commit has four rules and links more than its second, and a changed work tree."""
    root = init(tmp_path / "repository")
    commit(root, "one", {"policies/model.conf": RBAC_MODEL, "policies/policy.csv": RBAC_POLICY})
    commit(root, "two", {"policies/policy.csv": "p, alice, folder:1, read\n"})
    (root / "policies" / "policy.csv").write_text("p, alice, folder:1, read\np, bob, folder:1, read\n")
    return root


def rules(text: str | None, policies: Path) -> tuple[int, str]:
    """How many rows that side has, and its version."""
    loaded = load_side(text, policies)
    assert loaded.bundle is not None
    return loaded.bundle.rule_count, loaded.policy_version


def test_a_revision_is_the_same_folder_in_that_commit(root: Path) -> None:
    """Its version is the commit, also where the work tree has changed; None is the work tree."""
    head, first = git(root, "rev-parse", "HEAD"), git(root, "rev-parse", "HEAD~1")
    assert rules("HEAD", root / "policies") == (1, head)
    assert rules("HEAD~1", root / "policies") == (6, first)
    count, version = rules(None, root / "policies")
    assert (count, version.partition(".")[0]) == (2, f"{head}+dirty")


def test_a_bare_repository_has_its_folder_behind_its_name(root: Path, tmp_path: Path) -> None:
    """`policies.git/policies` is that folder; without a work tree, None is HEAD."""
    git(tmp_path, "clone", "--quiet", "--bare", str(root), "bare.git")
    policies = tmp_path / "bare.git" / "policies"
    assert rules("HEAD~1", policies) == (6, git(root, "rev-parse", "HEAD~1"))
    assert rules(None, policies) == (1, git(root, "rev-parse", "HEAD"))


def test_a_directory_is_written_as_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `./`, `/` or a final `/` it is a directory, in git or not."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.conf").write_text(RBAC_MODEL)
    monkeypatch.chdir(tmp_path)
    for text in ("./old", "old/", str(tmp_path / "old")):
        assert rules(text, root / "policies")[0] == 0


def test_a_directory_does_not_stand_in_for_a_revision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory called `origin/main` is not read where that branch was not fetched: the error says how to mean
    it."""
    fake = root / "origin" / "main"
    fake.mkdir(parents=True)
    (fake / "model.conf").write_text(RBAC_MODEL)
    monkeypatch.chdir(root)
    with pytest.raises(RepositoryError, match="there is no revision `origin/main`") as caught:
        load_side("origin/main", root / "policies")
    assert caught.value.help == "for the directory of that name write `./origin/main`"


def test_outside_of_git_there_are_only_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain name is then a directory, or an error that there is no repository."""
    for name, policy in (("one", RBAC_POLICY), ("two", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.conf").write_text(RBAC_MODEL)
        (tmp_path / name / "policy.csv").write_text(policy)
    monkeypatch.chdir(tmp_path)
    assert rules("one", tmp_path / "two")[0] == 6
    with pytest.raises(RepositoryError, match="is not in a git repository"):
        load_side("three", tmp_path / "two")


def test_a_revision_without_the_folder_is_a_finding(root: Path) -> None:
    """The bundle is None, and the finding names commit and folder: the caller may take it as no policy."""
    first = commit(root, "moved", {"config/model.conf": RBAC_MODEL})
    loaded = load_side(f"{first}~1", root / "config")
    assert loaded.bundle is None
    assert [found.code for found in loaded.diagnostics] == ["bundle-missing"]


def test_a_link_does_not_choose_what_it_is_compared_with(root: Path, tmp_path: Path) -> None:
    """Where a change puts a link to another folder in the bundle's place, a revision is still the bundle's folder."""
    commit(root, "beside", {"copy/model.conf": RBAC_MODEL, "copy/policy.csv": "p, eve, folder:1, read\n"})
    before = git(root, "rev-parse", "HEAD")
    git(root, "rm", "-r", "--quiet", "policies")
    (root / "policies").symlink_to("copy")
    changed = commit(root, "a link")
    assert rules(before, root / "policies") == (2, before)
    assert rules(changed, root / "policies") == (1, changed)
    # A link outside of the repository is the reader's own.
    (tmp_path / "here").symlink_to(root)
    assert rules(before, tmp_path / "here" / "policies") == (2, before)
    assert rules(before, root / "copy" / ".." / "policies") == (2, before)


def test_a_link_does_not_choose_the_repository(root: Path, tmp_path: Path) -> None:
    """Where the bundle is a link into another repository, revisions are those of the repository that has the link."""
    other = init(tmp_path / "other")
    commit(other, "theirs", {"theirs/model.conf": RBAC_MODEL, "theirs/policy.csv": RBAC_POLICY})
    git(root, "rm", "-r", "--quiet", "--force", "policies")
    (root / "policies").symlink_to(other / "theirs")
    id = git(root, "rev-parse", "main")
    assert rules("main", root / "policies") == (1, id)
