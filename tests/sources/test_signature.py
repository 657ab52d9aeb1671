"""Who signed a commit, judged by ssh-keygen on commits that git signed."""

import os
import subprocess
from pathlib import Path

import pytest

from authz_sidecar.sources.signature import SignatureError, split_signature, verify_commit
from tests.sources.git_server import git
from tests.sources.signing import Signer


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Somebody who signs."""
    return Signer(tmp_path / "alice", "alice@example.org")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository without a commit."""
    git(tmp_path, "init", "--quiet", "repository")
    return tmp_path / "repository"


def commit(repository: Path, *options: str, message: str = "one") -> bytes:
    """Make a commit; its text."""
    git(repository, *options, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return raw(repository)


def raw(repository: Path) -> bytes:
    """The text of the newest commit, byte for byte."""
    return subprocess.run(["git", "cat-file", "commit", "HEAD"], cwd=repository, check=True, capture_output=True).stdout


def allow(folder: Path, *lines: str) -> Path:
    """An allowed-signers file."""
    file = folder / "allowed"
    file.write_text("".join(lines))
    return file


def why(text: bytes, allowed: Path) -> str:
    """Why a commit does not count as signed."""
    with pytest.raises(SignatureError) as caught:
        verify_commit(text, allowed)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signed_commit_has_its_principal(tmp_path: Path, repository: Path, kind: str) -> None:
    """Keys of all kinds that ssh-keygen makes are understood, and their holder is named."""
    signer = Signer(tmp_path / "keys", "alice@example.org", kind)
    text = commit(repository, *signer.options)
    assert verify_commit(text, allow(tmp_path, signer.allowed())) == "alice@example.org"


def test_git_agrees(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """What is verified here `git verify-commit` verifies, too, and what was signed is what git hands to ssh-keygen."""
    text = commit(repository, *signer.options, message="one\n\nWith a body.\ngpgsig not a header\n")
    allowed = allow(tmp_path, signer.allowed())
    git(repository, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", "HEAD")
    assert verify_commit(text, allowed)
    payload, signature = split_signature(text)
    assert b"gpgsig not a header" in payload
    assert signature.startswith(b"-----BEGIN SSH SIGNATURE-----\n")
    assert signature.endswith(b"-----END SSH SIGNATURE-----\n")


def test_a_commit_without_a_signature(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """It is said that there is none; what looks like one in the message is none."""
    message = "one\n\ngpgsig -----BEGIN SSH SIGNATURE-----"
    assert why(commit(repository, message=message), allow(tmp_path, signer.allowed())) == "is not signed"


def test_a_key_that_is_not_allowed(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """A signature by a key that nobody has allowed does not count, whatever name is in the commit."""
    other = Signer(tmp_path / "mallory", "alice@example.org")
    text = commit(repository, *other.options)
    assert why(text, allow(tmp_path, signer.allowed())).startswith("is signed by a key that is not among")


def test_a_key_that_is_allowed_for_something_else(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """A key that may sign files only may not sign commits."""
    text = commit(repository, *signer.options)
    assert "does not hold" in why(text, allow(tmp_path, signer.allowed('namespaces="file" ')))


def test_a_signature_of_another_namespace(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """What the key has signed as a file is no signature of a commit, though its bytes are the same."""
    payload, signature = split_signature(commit(repository, *signer.options))
    file = tmp_path / "payload"
    file.write_bytes(payload)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(signer.key), "-n", "file", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    other = (tmp_path / "payload.sig").read_bytes()
    text = raw(repository).replace(signature.replace(b"\n", b"\n ").strip(), other.replace(b"\n", b"\n ").strip())
    assert split_signature(text) == (payload, other)
    assert "does not hold" in why(text, allow(tmp_path, signer.allowed()))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"tree 4", b"tree 5"), (b"\n\none", b"\n\ntwo"), (b"committer t", b"committer u"), (b"\n\n", b"\nparent x\n\n")],
)
def test_a_changed_commit(tmp_path: Path, repository: Path, signer: Signer, old: bytes, new: bytes) -> None:
    """Any change of what was signed is noticed."""
    text = commit(repository, *signer.options)
    changed = text.replace(old, new, 1)
    assert changed != text
    assert "does not hold" in why(changed, allow(tmp_path, signer.allowed()))


def test_two_signatures_are_none(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """A second header of that name does not stand in for the first, or the other way round."""
    text = commit(repository, *signer.options)
    head, _, body = text.partition(b"\n\n")
    start = head.index(b"gpgsig ")
    doubled = head + b"\n" + head[start:] + b"\n\n" + body
    assert why(doubled, allow(tmp_path, signer.allowed())).startswith("has more than one signature")


def test_a_key_whose_time_is_over(tmp_path: Path, repository: Path, signer: Signer) -> None:
    """As git does it, a key counts if it was valid when the commit says that it was made."""
    allowed = allow(tmp_path, signer.allowed('valid-before="20200101Z" '))
    text = commit(repository, *signer.options)
    assert why(text, allowed)
    earlier = {"GIT_COMMITTER_DATE": "2019-06-01T00:00:00Z", **os.environ}
    git(
        repository,
        *signer.options,
        "commit",
        "--quiet",
        "--allow-empty",
        "--message=earlier",
        environment=earlier,
    )
    assert verify_commit(raw(repository), allowed) == "alice@example.org"


def test_signers_that_cannot_be_read(repository: Path, signer: Signer) -> None:
    """Without the file nothing counts as signed, and the file is named."""
    text = commit(repository, *signer.options)
    assert "`/nowhere/allowed` cannot be read" in why(text, Path("/nowhere/allowed"))


def test_no_program_no_signature(
    tmp_path: Path, repository: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no ssh-keygen nothing counts as signed, and it is said what is missing."""
    text = commit(repository, *signer.options)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no `ssh-keygen` here" in why(text, allow(tmp_path, signer.allowed()))
