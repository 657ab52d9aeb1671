"""Policy versions: which commit holds exactly the files that were read, in real repositories."""

import re
import subprocess
from pathlib import Path

import pytest

from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.git import bundle_digest, policy_version

COMMIT = re.compile(r"[0-9a-f]{40}")


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's settings."""
    result = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()


def version(path: Path) -> str:
    """The version of the directory as it is now."""
    files, _ = read_directory(path)
    assert files is not None
    return policy_version(path, files, bundle_digest(files))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit that holds `policies/`."""
    policies = tmp_path / "repository" / "policies"
    policies.mkdir(parents=True)
    (policies / "model.conf").write_text("m\n")
    (policies / "sub").mkdir()
    (policies / "sub" / "rows.csv").write_text("p, a\n")
    root = policies.parent
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    return root


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    """Files as committed are the commit, from the directory or below it, packed or not."""
    head = git(repository, "rev-parse", "HEAD")
    assert version(repository / "policies") == head
    assert version(repository / "policies" / "sub") == head
    git(repository, "gc", "--quiet", "--aggressive", "--prune=now")
    assert version(repository / "policies") == head


def test_changes_elsewhere_do_not_matter(repository: Path) -> None:
    """Neither other folders of the repository nor notes and hidden files of the bundle make it dirty."""
    head = git(repository, "rev-parse", "HEAD")
    (repository / "other.txt").write_text("x")
    (repository / "policies" / "README.md").write_text("x")
    (repository / "policies" / ".swp").write_text("x")
    assert version(repository / "policies") == head


@pytest.mark.parametrize("change", ["edited", "added", "staged", "removed"])
def test_uncommitted_changes_are_named_by_their_content(repository: Path, change: str) -> None:
    """The commit, and the beginning of the digest of what is really served."""
    policies = repository / "policies"
    match change:
        case "edited":
            (policies / "sub" / "rows.csv").write_text("p, b\n")
        case "added":
            (policies / "more.csv").write_text("p, c\n")
        case "staged":
            (policies / "model.conf").write_text("n\n")
            git(repository, "add", ".")
        case "removed":
            (policies / "sub" / "rows.csv").unlink()
    files, _ = read_directory(policies)
    assert files is not None
    head = git(repository, "rev-parse", "HEAD")
    assert version(policies) == f"{head}+dirty.{bundle_digest(files)[:12]}"


def test_a_new_commit_is_a_new_version(repository: Path) -> None:
    """Committing what was dirty makes it clean; going back makes it the old commit again."""
    policies = repository / "policies"
    first = version(policies)
    (policies / "model.conf").write_text("n\n")
    git(repository, "commit", "--quiet", "--all", "--message=two")
    second = version(policies)
    assert COMMIT.fullmatch(second)
    assert second != first
    git(repository, "checkout", "--quiet", "--detach", "HEAD~1")
    assert version(policies) == first


def test_line_ends_of_the_platform_are_the_same_policies(repository: Path) -> None:
    """Git may check files out with other line ends than it keeps."""
    policies = repository / "policies"
    head = version(policies)
    (policies / "model.conf").write_bytes(b"m\r\n")
    assert version(policies) == head


def test_outside_git_the_content_is_the_version(tmp_path: Path) -> None:
    """Equal files in two places have one version; another name or content has another."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.conf").write_text("m\n")
    first = version(tmp_path / "one")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first)
    assert version(tmp_path / "two") == first
    (tmp_path / "two" / "model.conf").write_text("n\n")
    assert version(tmp_path / "two") != first


def test_the_digest_cannot_be_shifted_between_name_and_content() -> None:
    """Names and contents are told apart by their lengths."""
    assert bundle_digest({"a": b"b"}) != bundle_digest({"ab": b""})
    assert bundle_digest({"a": b"", "b": b""}) != bundle_digest({"a": b"1 0\nb"})


def test_a_repository_without_commits(tmp_path: Path) -> None:
    """There is nothing to name yet."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "model.conf").write_text("m\n")
    assert version(tmp_path).startswith("sha256:")


def test_an_untracked_directory_of_a_repository(repository: Path) -> None:
    """A commit that does not hold the directory says nothing about it."""
    (repository / "new").mkdir()
    (repository / "new" / "model.conf").write_text("m\n")
    assert version(repository / "new").startswith("sha256:")


def test_a_worktree_has_a_commit_of_its_own(repository: Path) -> None:
    """A second working tree of one repository is at its own commit."""
    git(repository, "worktree", "add", "--quiet", "-b", "side", "../side")
    side = repository.parent / "side"
    (side / "policies" / "model.conf").write_text("side\n")
    git(side, "commit", "--quiet", "--all", "--message=side")
    assert version(side / "policies") == git(side, "rev-parse", "HEAD")
    assert version(repository / "policies") == git(repository, "rev-parse", "HEAD")


def test_a_submodule_is_versioned_by_itself(repository: Path, tmp_path: Path) -> None:
    """Policies kept in a submodule have the submodule's commit."""
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "inner")
    git(outer, "commit", "--quiet", "--message=outer")
    assert version(outer / "inner" / "policies") == git(repository, "rev-parse", "HEAD")


def test_links_are_compared_as_they_were_read(repository: Path) -> None:
    """A committed link inside the bundle is clean; one that leads elsewhere than committed is not."""
    policies = repository / "policies"
    (policies / "also.csv").symlink_to("sub/rows.csv")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=link")
    head = git(repository, "rev-parse", "HEAD")
    assert version(policies) == head
    (policies / "also.csv").unlink()
    (policies / "also.csv").symlink_to("model.conf")
    assert version(policies).startswith(f"{head}+dirty.")


@pytest.mark.parametrize("damage", ["HEAD", "objects", "config"])
def test_a_damaged_repository_does_not_stop_the_policies(repository: Path, damage: str) -> None:
    """What git cannot tell, the content does."""
    path = repository / ".git" / damage
    if damage == "objects":
        for item in sorted(path.rglob("*"), reverse=True):
            item.unlink() if item.is_file() else item.rmdir()
    else:
        path.write_bytes(b"\x00\xff nonsense [")
    assert version(repository / "policies").startswith("sha256:")
