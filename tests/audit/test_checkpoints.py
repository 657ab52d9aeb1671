"""Checkpoints: what the chain alone cannot know, and who may say it."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from authz_sidecar.audit.checkpoint import Checkpoint, CheckpointError, CheckpointFile, read_checkpoint, sign_checkpoint
from authz_sidecar.audit.checkpoint_writer import BrokenChainError, CheckpointWriter, keep_checkpoint
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.audit.signing import KeyFileError, PublicKey, SigningKey, create_key
from authz_sidecar.audit.verification import FindingKind, verify
from tests.audit.chains import BEGAN, Chain, rewrite


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A time that a test sets."""
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    """A file of checkpoints that is not there yet."""
    return CheckpointFile(tmp_path / "checkpoints.jsonl")


@pytest.fixture
def writer(chain: Chain, file: CheckpointFile, signing_key: SigningKey, clock: Clock) -> CheckpointWriter:
    """Writes checkpoints every 10 minutes or 100 records."""
    return CheckpointWriter(
        chain.read, chain.write, signing_key, file, every_seconds=600, every_records=100, clock=clock
    )


def _found(chain: Chain, file: CheckpointFile, key: SigningKey, *statements: str) -> set[FindingKind]:
    with chain.tampered(*statements) as connection:
        report = verify(connection, keys=[key.public], lines=file.lines())
        return {finding.kind for finding in report.findings}


def test_a_checkpoint_is_due_by_time_and_by_number(chain: Chain, writer: CheckpointWriter, clock: Clock) -> None:
    """The first comes at once, the next after so long or so many records, one at the end, none without a record."""
    assert writer.run_once() is None
    chain.fill(1)
    first = writer.run_once()
    assert first is not None
    assert (first.sequence, first.time) == (1, BEGAN)
    chain.fill(99)
    clock.now += 599
    assert writer.run_once() is None
    chain.fill(1)
    by_number = writer.run_once()
    assert by_number is not None
    assert by_number.sequence == 101
    clock.now += 600
    assert writer.run_once() is None
    chain.fill(1)
    assert writer.run_once() is not None
    chain.fill(1)
    assert writer.run_once() is None
    at_the_end = writer.run_once(force=True)
    assert at_the_end is not None
    assert at_the_end.sequence == 103


def test_checkpoints_vouch_for_what_they_cover(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """With the public key it is told up to which record somebody signed; those of the file and the table agree."""
    chain.fill(7)
    writer.run_once()
    chain.fill(3)
    report = chain.verify(keys=[signing_key.public], lines=file.lines())
    assert report.intact
    assert (report.covered, report.last, report.checkpoints, report.signatures) == (7, 10, 1, True)


def test_a_truncated_audit_is_found(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """An end that was cut off with all that the store says of it is found against the file, and not without it."""
    chain.fill(10)
    with chain.read() as connection:
        hash = connection.execute(text("SELECT hash FROM audit WHERE sequence = 6")).scalar_one()
    writer.run_once()
    cut = [
        "DELETE FROM audit WHERE sequence > 6",
        _ending(chain, 6, bytes(hash)),
        "DELETE FROM checkpoints",
    ]
    with chain.tampered(*cut) as connection:
        assert verify(connection).intact
    assert _found(chain, file, signing_key, *cut) == {FindingKind.CHECKPOINT}


def _ending(chain: Chain, sequence: int, hash: bytes) -> str:
    """Says in the state of the store that its audit ends there."""
    value = f"x'{hash.hex()}'" if chain.store.dialect == "sqlite" else f"'\\x{hash.hex()}'::bytea"
    return f"UPDATE state SET audit_sequence = {sequence}, audit_hash = {value}, epoch = 'second'"  # noqa: S608


def test_an_audit_that_was_made_up_is_found(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """Another audit, whole in itself, in the place of the one that was signed for is found."""
    chain.fill(10)
    writer.run_once()
    with chain.tampered("DELETE FROM checkpoints") as connection:
        made_up = [AuditRecord(sequence=number, time=1.0, action="a", actor="b") for number in range(1, 13)]
        rewrite(connection, made_up)
        assert verify(connection).intact
        (finding,) = verify(connection, keys=[signing_key.public], lines=file.lines()).findings
    assert (finding.kind, finding.sequence) == (FindingKind.CHECKPOINT, 10)


def test_what_is_not_signed_by_the_key_is_found(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_keys: list[SigningKey]
) -> None:
    """Checkpoints of another key, with another signature, or that are none, are findings, in the file and the table."""
    ours, theirs = signing_keys
    chain.fill(3)
    made = writer.run_once()
    assert made is not None
    document = json.loads(file.path.read_text())
    forged = json.dumps(document | {"checkpoint": document["checkpoint"].replace('"sequence":3', '"sequence":2')})
    other = sign_checkpoint(made, theirs).document
    for line in (forged, other, "{}", "", document["checkpoint"]):
        found = [(1, line.encode())]
        report = chain.verify(keys=[ours.public], lines=found)
        assert [finding.kind for finding in report.findings] == [FindingKind.SIGNATURE], line
        with chain.tampered("UPDATE checkpoints SET document = :line", line=line) as connection:
            assert not verify(connection, keys=[ours.public]).intact, line
    assert chain.verify(keys=[theirs.public, ours.public], lines=[(1, other.encode())]).intact


@pytest.mark.parametrize(
    "change", ["sequence = 2", "at = at + 1", "sealed = :sealed", "hash = :hash", "document = 'x'"]
)
def test_a_changed_row_of_the_table_of_checkpoints_is_found(
    chain: Chain, writer: CheckpointWriter, change: str
) -> None:
    """The columns of a checkpoint are what was signed, or it is told, even without a key."""
    chain.fill(3)
    writer.run_once()
    with chain.tampered(f"UPDATE checkpoints SET {change}", sealed=True, hash=bytes(32)) as connection:  # noqa: S608
        assert not verify(connection).intact


def test_a_seal_needs_a_signature(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_keys: list[SigningKey]
) -> None:
    """Whoever removes records cannot hide it behind a checkpoint that is no seal, or a seal of their own key."""
    ours, theirs = signing_keys
    chain.fill(6)
    made = writer.run_once()
    assert made is not None
    chain.fill(6)
    gone = "DELETE FROM audit WHERE sequence <= 6"
    assert FindingKind.MISSING in _found(chain, file, ours, gone)
    assert FindingKind.MISSING in _found(chain, file, ours, gone, "UPDATE checkpoints SET sealed = (1 = 1)")
    seal = Checkpoint(sequence=6, hash=made.hash, time=made.time, sealed=True)
    with chain.tampered(gone, "DELETE FROM checkpoints") as connection:
        insert = "INSERT INTO checkpoints VALUES (6, :at, :hash, :sealed, :document)"
        document = sign_checkpoint(seal, theirs).document
        values = {"at": made.time, "hash": made.hash, "sealed": True, "document": document}
        connection.execute(text(insert), values)
        kinds = {finding.kind for finding in verify(connection, keys=[ours.public], lines=file.lines()).findings}
        assert kinds >= {FindingKind.MISSING, FindingKind.SIGNATURE}


def test_nothing_is_signed_unseen(chain: Chain, writer: CheckpointWriter, file: CheckpointFile) -> None:
    """A store that was changed since the last checkpoint, cut off, or rewritten at its length gets no signature."""
    chain.fill(5)
    writer.run_once()
    signed = file.path.read_bytes()
    chain.fill(5)
    hash = chain.entries()[2].hash
    for statement in (
        "UPDATE audit SET record = replace(record, 'because', 'becausE') WHERE sequence = 8",
        "UPDATE audit SET actor = 'x' WHERE sequence = 5",
        "DELETE FROM audit WHERE sequence = 7",
        _ending(chain, 3, hash),
        _ending(chain, 5, hash),
        "DELETE FROM audit WHERE sequence >= 5",
    ):
        with chain.tampered(statement) as connection:
            from contextlib import nullcontext

            seen = CheckpointWriter(
                lambda: nullcontext(connection),
                chain.write,
                writer._key,  # noqa: SLF001 - the same one
                file,
            )
            with pytest.raises(BrokenChainError) as caught:
                seen.run_once(force=True)
            assert caught.value.report.findings, statement
    assert file.path.read_bytes() == signed
    assert writer.run_once(force=True) is not None


def test_the_file_of_another_key_is_left_alone(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_keys: list[SigningKey]
) -> None:
    """A writer whose key did not sign the file's last line writes nothing into it."""
    chain.fill(1)
    writer.run_once()
    before = file.path.read_bytes()
    chain.fill(1)
    other = CheckpointWriter(chain.read, chain.write, signing_keys[1], file)
    with pytest.raises(CheckpointError, match="not signed with this key"):
        other.run_once(force=True)
    assert file.path.read_bytes() == before


def test_a_restored_store_goes_on_with_its_chain(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """A store that was set back is not what was signed for, until its operators sign that it was set back."""
    chain.fill(4)
    writer.run_once()
    chain.fill(2)
    hash = chain.entries()[4].hash
    writer.run_once(force=True)
    # As a backup made after record 5 has it.
    with chain.write() as connection:
        for statement in (
            "DELETE FROM audit WHERE sequence > 5",
            "DELETE FROM checkpoints WHERE sequence > 5",
            _ending(chain, 5, hash),
        ):
            connection.execute(text(statement))
    chain.fill(3)
    assert not chain.verify(keys=[signing_key.public], lines=file.lines()).intact
    with pytest.raises(BrokenChainError):
        writer.run_once(force=True)
    made, _ = writer.restart()
    assert (made.sequence, made.restored_from, made.epoch) == (8, 4, "second")
    report = chain.verify(keys=[signing_key.public], lines=file.lines())
    assert report.intact
    assert (report.set_aside, report.covered) == (1, 8)
    chain.fill(1)
    assert writer.run_once(force=True) is not None
    # What the restore left as it was is held to the earlier checkpoints all the same.
    with chain.tampered("DELETE FROM checkpoints") as connection:
        made_up = [AuditRecord(sequence=number, time=1.0, action="a", actor="b") for number in range(1, 10)]
        rewrite(connection, made_up)
        places = {
            finding.sequence for finding in verify(connection, keys=[signing_key.public], lines=file.lines()).findings
        }
    assert places == {4, 8, 9}


def test_a_torn_last_line_is_removed(chain: Chain, writer: CheckpointWriter, file: CheckpointFile) -> None:
    """What a loss of power has left of a line does not count, and the next checkpoint takes its place."""
    chain.fill(1)
    writer.run_once()
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + whole[:50])
    chain.fill(1)
    writer.run_once(force=True)
    lines = file.path.read_bytes().splitlines()
    assert len(lines) == 2
    assert [read_checkpoint(line).checkpoint.sequence for line in lines] == [1, 2]


def test_what_cannot_be_written_is_told(chain: Chain, signing_key: SigningKey, tmp_path: Path) -> None:
    """A file that cannot be written is an error, and the store holds no checkpoint that the file does not."""
    chain.fill(1)
    writer = CheckpointWriter(chain.read, chain.write, signing_key, CheckpointFile(tmp_path / "none" / "file"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        writer.run_once()
    with chain.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM checkpoints")).scalar_one() == 0


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    """A key is readable by its owner alone, never made over another file, and refused once others may read it."""
    path = tmp_path / "key"
    public, beside = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public.id == public.id == PublicKey.load(beside).id
    with pytest.raises(KeyFileError, match="exists already"):
        create_key(path)
    for mode in (0o640, 0o604, 0o620, 0o660):
        path.chmod(mode)
        with pytest.raises(KeyFileError) as caught:
            SigningKey.load(path)
        assert caught.value.help == f"run `chmod 600 {path}`"
    assert "PRIVATE" not in repr(SigningKey.load(_made(tmp_path / "other")))


def _made(path: Path) -> Path:
    create_key(path)
    return path


def test_other_files_are_no_keys(tmp_path: Path) -> None:
    """A file that is no key, or the wrong one of the two, is told with what to do."""
    create_key(tmp_path / "key")
    (tmp_path / "text").write_text("text")
    (tmp_path / "text").chmod(0o600)
    os.chmod(tmp_path / "key.pub", 0o600)  # noqa: PTH101 - as above
    for path in (tmp_path / "text", tmp_path / "key.pub", tmp_path, tmp_path / "none"):
        with pytest.raises(KeyFileError) as caught:
            SigningKey.load(path)
        assert caught.value.help
    with pytest.raises(KeyFileError, match="not a public key"):
        PublicKey.load(tmp_path / "key")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_checks_a_signature(tmp_path: Path, signing_key: SigningKey) -> None:
    """A checkpoint's signature can be checked without this program."""
    signed = sign_checkpoint(Checkpoint(sequence=1, hash=bytes(32), time=1.5), signing_key)
    document = json.loads(signed.document)
    (tmp_path / "text").write_text(document["checkpoint"])
    (tmp_path / "signature").write_bytes(base64.b64decode(document["signature"]))
    (tmp_path / "key.pub").write_bytes(signing_key.public.pem())
    subprocess.run(
        [
            "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.pub", "-rawin",
            "-in", tmp_path / "text", "-sigfile", tmp_path / "signature",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def test_a_restore_cannot_be_declared_again(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """What voids checkpoints counts where it was signed: repeated or moved behind later ones it hides no truncation."""
    chain.fill(2)
    writer.run_once(force=True)
    hash = chain.entries()[1].hash
    writer.restart()
    chain.fill(8)
    writer.run_once(force=True)
    lines = file.path.read_bytes().splitlines()
    assert [read_checkpoint(line).checkpoint.restored_from for line in lines] == [None, 2, None]
    cut = ["DELETE FROM audit WHERE sequence > 2", _ending(chain, 2, hash), "DELETE FROM checkpoints"]
    for order in ((0, 1, 2, 1), (0, 2, 1), (2, 0, 1), (0, 1, 2, 0, 1)):
        file.path.write_bytes(b"".join(lines[at] + b"\n" for at in order))
        assert _found(chain, file, signing_key, *cut) >= {FindingKind.CHECKPOINT}, order


def test_the_seal_of_another_store_stands_for_nothing(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """A seal with a good signature that the file does not have hides no removal, and nothing is signed behind it."""
    chain.fill(4)
    writer.run_once()
    signed = file.path.read_bytes()
    seal = sign_checkpoint(Checkpoint(sequence=9, hash=bytes(32), time=BEGAN, sealed=True), signing_key)
    with chain.write() as connection:
        connection.execute(text("DELETE FROM audit"))
        connection.execute(text("DELETE FROM checkpoints"))
        keep_checkpoint(connection, seal)
        hash = f"x'{bytes(32).hex()}'" if chain.store.dialect == "sqlite" else f"'\\x{bytes(32).hex()}'::bytea"
        connection.execute(text(f"UPDATE state SET audit_sequence = 9, audit_hash = {hash}"))  # noqa: S608
    (finding,) = chain.verify(keys=[signing_key.public], lines=file.lines()).findings
    assert (finding.kind, finding.sequence) == (FindingKind.CHECKPOINT, 9)
    with pytest.raises(BrokenChainError):
        writer.run_once(force=True)
    assert file.path.read_bytes() == signed
    # Of a file that has it, it is the beginning; until a restore makes it void.
    other = CheckpointFile(file.path.with_name("other"))
    other.path.write_bytes(signed + seal.document.encode() + b"\n")
    assert other.holds(seal)
    assert chain.verify(keys=[signing_key.public], lines=other.lines()).intact
    other.append(Checkpoint(sequence=5, hash=bytes(32), time=BEGAN, restored_from=4), signing_key)
    assert not other.holds(seal)
    assert not chain.verify(keys=[signing_key.public], lines=other.lines()).intact


@pytest.mark.parametrize("content", [b"a secret without a line's end", b"line\nanother"])
def test_a_file_of_something_else_is_left_alone(
    chain: Chain, writer: CheckpointWriter, file: CheckpointFile, content: bytes
) -> None:
    """A file that is named by mistake is not cut off at its last line, nor written to."""
    file.path.write_bytes(content)
    chain.fill(1)
    for sign in (writer.run_once, writer.restart):
        with pytest.raises(CheckpointError):
            sign()
        assert file.path.read_bytes() == content
