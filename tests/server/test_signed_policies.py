"""Policies from git that must be signed, with keys and signatures of ssh-keygen's own."""

import subprocess
from pathlib import Path

import pytest

from authz_sidecar._proto.authz.v1.policy_service_pb2 import REFRESH_OUTCOME_CURRENT, REFRESH_OUTCOME_REFUSED
from tests.server.test_git_policies import BOB_READS, Policies, refresh, refusal, serving
from tests.sources.git_server import git
from tests.sources.signing import Signer


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """A repository of one's own."""
    return Policies(tmp_path / "repository")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where clones are kept."""
    return tmp_path / "cache"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Somebody who may sign."""
    return Signer(tmp_path / "keys", "alice@example.org")


@pytest.fixture
def required(tmp_path: Path, signer: Signer) -> tuple[str, ...]:
    """The options that want a signature of the signer."""
    file = tmp_path / "allowed_signers"
    file.write_text(signer.allowed('namespaces="git" '))
    return ("--require-signed", "--allowed-signers", str(file))


def test_only_signed_commits_are_served(
    policies: Policies, cache: Path, signer: Signer, required: tuple[str, ...], tmp_path: Path
) -> None:
    """A signed tip is served; one without a signature, or by another key, is refused with the reason, until a signed
    one comes."""
    signed = policies.commit("", *signer.options)
    stranger = Signer(tmp_path / "stranger", "mallory@example.org")
    with serving(policies.url(), cache, *required) as sidecar:
        assert sidecar.policy_version == signed
        for options, why in (((), "it is not signed"), (stranger.options, "is not among the allowed signers")):
            refused = policies.commit(BOB_READS, *options)
            answer = refresh(sidecar)
            assert (answer.outcome, answer.policy_version, answer.found_version) == (
                REFRESH_OUTCOME_REFUSED,
                signed,
                refused,
            )
            assert why in answer.why
        assert sidecar.ready()[1]["refused"]["policy_version"] == refused
        # Whoever signs the newest vouches for what is before it.
        newest = policies.commit("", *signer.options)
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version) == (REFRESH_OUTCOME_CURRENT, newest)


def test_an_unsigned_commit_is_not_served_at_the_start(
    policies: Policies, cache: Path, required: tuple[str, ...]
) -> None:
    """The server starts neither on an unsigned tip nor on what it served before without wanting a signature."""
    said = refusal("--policies", policies.url(), "--git-cache", str(cache), *required)
    assert f"{policies.first} is refused: it is not signed" in said
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == policies.first
    assert "it is not signed" in refusal("--policies", policies.url(), "--git-cache", str(cache), *required)


def test_what_was_signed_is_kept_over_a_restart(
    policies: Policies, cache: Path, signer: Signer, required: tuple[str, ...]
) -> None:
    """A server that starts on an unsigned tip serves the signed commit that it served last."""
    signed = policies.commit("", *signer.options)
    with serving(policies.url(), cache, *required):
        pass
    unsigned = policies.commit(BOB_READS)
    with serving(policies.url(), cache, *required) as sidecar:
        assert sidecar.policy_version == signed
        assert sidecar.ready()[1]["refused"]["policy_version"] == unsigned


def test_the_signers_may_not_come_from_the_repository(policies: Policies, signer: Signer) -> None:
    """Allowed signers inside of the repository, or none at all, are refused before anything is read."""
    inside = policies.root / "allowed_signers"
    inside.write_text(signer.allowed())
    said = refusal("--policies", policies.url(), "--require-signed", "--allowed-signers", str(inside))
    assert "lie in the repository that they are to judge" in said
    assert "says nothing without `--allowed-signers FILE`" in refusal("--policies", policies.url(), "--require-signed")
    said = refusal("--policies", str(policies.root / "policies"), "--require-signed", "--allowed-signers", str(inside))
    assert "is for policies from git" in said


@pytest.mark.parametrize("url", ["repository", "repository/.git", "linked"])
def test_the_signers_may_not_come_from_any_work_tree_of_the_repository(
    tmp_path: Path, policies: Policies, signer: Signer, url: str
) -> None:
    """Allowed signers in the work tree are refused however the repository is named, also through a link."""
    file = policies.root / "signers"
    file.write_text(signer.allowed())
    git(policies.root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    link = tmp_path / "elsewhere"
    link.symlink_to(file)
    said = refusal("--policies", f"git+file://{tmp_path / url}", "--require-signed", "--allowed-signers", str(link))
    assert "lie in the repository that they are to judge" in said


def test_a_pinned_commit_must_be_signed_itself(
    policies: Policies, cache: Path, signer: Signer, required: tuple[str, ...]
) -> None:
    """That a later commit is signed does not make an earlier one something that anybody wanted to be served."""
    policies.commit("", *signer.options)
    said = refusal("--policies", policies.url(), "--git-cache", str(cache), *required, "--at", policies.first)
    assert "it is not signed" in said


def test_a_changed_commit_is_refused(
    policies: Policies, cache: Path, signer: Signer, required: tuple[str, ...]
) -> None:
    """A commit whose text was changed after it was signed, such as one with another tree, is refused."""
    policies.commit("", *signer.options)
    raw = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=policies.root, check=True, capture_output=True
    ).stdout
    tree = git(policies.root, "rev-parse", "HEAD~1^{tree}")
    (policies.root / "policies" / "policy.csv").write_text(BOB_READS)
    git(policies.root, "add", ".")
    other = git(policies.root, "write-tree")
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=policies.root,
        input=raw.replace(tree.encode(), other.encode()),
        check=True,
        capture_output=True,
    ).stdout.decode()
    git(policies.root, "update-ref", "refs/heads/main", forged.strip())
    assert "has a signature that does not hold" in refusal(
        "--policies", policies.url(), "--git-cache", str(cache), *required
    )
