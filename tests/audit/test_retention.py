"""Old records go, and what is left can still be proved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from authz_sidecar.audit.checkpoint import CheckpointError, CheckpointFile
from authz_sidecar.audit.checkpoint_writer import BrokenChainError, CheckpointWriter
from authz_sidecar.audit.retention import ACTION, Retention
from authz_sidecar.audit.signing import SigningKey
from authz_sidecar.audit.verification import FindingKind, verify
from authz_sidecar.directory.storage.store import Change
from tests.audit.chains import BEGAN, Chain


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    """A file of checkpoints that is not there yet."""
    return CheckpointFile(tmp_path / "checkpoints.jsonl")


@pytest.fixture
def retention(chain: Chain, file: CheckpointFile, signing_key: SigningKey) -> Retention:
    """Removes records of a store that has 20."""
    chain.fill(20)
    return Retention(
        chain.read, lambda: chain.change(BEGAN + 1300, "operator:olga"), signing_key, file, lambda: BEGAN + 1300
    )


def _minutes(count: int) -> float:
    """The time at which the record with this number was written."""
    return BEGAN + 60 * count


def test_records_go_up_to_the_first_that_stays(
    chain: Chain, retention: Retention, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """What is older goes, the rest is intact from the seal on, and the removal is in the audit, with its reason."""
    plan = retention.plan(_minutes(13))
    assert (plan.sequence, plan.records, plan.left) == (12, 12, 0)
    assert chain.verify().records == 20
    made = retention.remove(plan, justification="a year is enough")
    entries = chain.entries()
    assert [entry.record.sequence for entry in entries] == [*range(13, 22)]
    told = entries[-1].record
    assert (told.action, told.actor, told.justification) == (ACTION, "operator:olga", "a year is enough")
    assert told.after == {"sequence": 12, "hash": plan.hash.hex(), "records": 12}
    assert made is not None
    assert made.sequence == 21
    report = chain.verify(keys=[signing_key.public], lines=file.lines())
    assert report.intact
    assert (report.start, report.records, report.covered) == (12, 9, 21)


def test_a_removal_without_the_seal_is_found(chain: Chain, retention: Retention, signing_key: SigningKey) -> None:
    """What is missing before the seal is missing, once the seal is gone or another stands for it."""
    retention.remove(retention.plan(_minutes(13)))
    for statement in ("DELETE FROM checkpoints", "UPDATE checkpoints SET document = 'x'"):
        with chain.tampered(statement) as connection:
            kinds = {finding.kind for finding in verify(connection, keys=[signing_key.public]).findings}
            assert FindingKind.MISSING in kinds
    with chain.tampered("DELETE FROM audit WHERE sequence = 13") as connection:
        assert [finding.sequence for finding in verify(connection, keys=[signing_key.public]).findings] == [13]
    fake = (
        "INSERT INTO audit SELECT 5, at, action, actor, on_behalf_of, subject, company, revision, record, hash "
        "FROM audit WHERE sequence = 14"
    )
    with chain.tampered(fake) as connection:
        assert not verify(connection, keys=[signing_key.public]).intact


def test_all_records_may_go(chain: Chain, retention: Retention, file: CheckpointFile, signing_key: SigningKey) -> None:
    """Where all are old, what is left is the record that says so."""
    retention.remove(retention.plan(_minutes(1000)))
    assert [entry.record.action for entry in chain.entries()] == [ACTION]
    assert chain.verify(keys=[signing_key.public], lines=file.lines()).intact
    retention.remove(retention.plan(_minutes(21)))
    assert [entry.record.sequence for entry in chain.entries()] == [21]


def test_nothing_old_changes_nothing(chain: Chain, retention: Retention, file: CheckpointFile) -> None:
    """Where no record is so old nothing is signed, removed or audited."""
    plan = retention.plan(_minutes(1))
    assert plan.records == 0
    assert retention.remove(plan) is None
    assert not file.path.exists()
    assert len(chain.entries()) == 20


def test_a_record_behind_a_newer_one_stays(chain: Chain, retention: Retention) -> None:
    """Where a clock was set back, records go only up to the first that is not old, so that no hole is left."""
    chain.append({"time": BEGAN, "action": "a"})
    assert retention.plan(_minutes(13)).sequence == 12


def test_a_broken_audit_is_kept(chain: Chain, retention: Retention, file: CheckpointFile) -> None:
    """No evidence is removed: where anything is wrong nothing goes."""
    with chain.write() as connection:
        connection.execute(text("UPDATE audit SET actor = 'x' WHERE sequence = 18"))
    with pytest.raises(BrokenChainError):
        retention.plan(_minutes(13))
    assert not file.path.exists()


def test_an_audit_that_changed_meanwhile_is_kept(chain: Chain, retention: Retention) -> None:
    """A seal is put into the store only where the record that it stands for is still the one that was verified."""
    plan = retention.plan(_minutes(13))
    with chain.write() as connection:
        connection.execute(text("UPDATE audit SET hash = :hash WHERE sequence = 12"), {"hash": bytes(32)})
    with pytest.raises(CheckpointError, match="changed meanwhile"):
        retention.remove(plan)
    with chain.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar_one() == 20


def test_an_interrupted_removal_is_finished_by_the_next(
    chain: Chain, file: CheckpointFile, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a removal leaves an audit that is whole, and is gone on with; nobody waits for more than a portion of it."""
    monkeypatch.setattr("authz_sidecar.audit.retention.PORTION", 5)
    chain.fill(20)
    changes = 0

    @contextmanager
    def change() -> Iterator[Change]:
        nonlocal changes
        changes += 1
        if changes == 4:
            raise ConnectionError("the store is gone")
        with chain.change(BEGAN + 1300) as opened:
            yield opened

    retention = Retention(chain.read, change, signing_key, file, lambda: BEGAN + 1300)
    with pytest.raises(ConnectionError):
        retention.remove(retention.plan(_minutes(13)))
    assert [entry.record.sequence for entry in chain.entries()] == [11, 12, *range(13, 22)]
    assert chain.verify(keys=[signing_key.public], lines=file.lines()).intact
    with chain.tampered("UPDATE audit SET actor = 'x' WHERE sequence = 11") as connection:
        assert [finding.sequence for finding in verify(connection).findings] == [11]
    plan = retention.plan(_minutes(13))
    assert (plan.sequence, plan.records, plan.left) == (12, 2, 2)
    retention.remove(plan)
    assert [entry.record.sequence for entry in chain.entries()] == [*range(13, 22)]


def test_checkpoints_go_on_after_a_removal(
    chain: Chain, retention: Retention, file: CheckpointFile, signing_key: SigningKey
) -> None:
    """Whoever writes checkpoints goes on from the seal where it is newer than the last of them."""
    writer = CheckpointWriter(chain.read, chain.write, signing_key, file, clock=lambda: BEGAN)
    writer.run_once()
    retention.remove(retention.plan(_minutes(1000)))
    chain.fill(3)
    assert writer.run_once(force=True) is not None
    report = chain.verify(keys=[signing_key.public], lines=file.lines())
    assert report.intact
    assert report.covered == report.last


def test_a_new_key_goes_on_where_the_old_one_ended(
    chain: Chain, retention: Retention, tmp_path: Path, signing_keys: list[SigningKey]
) -> None:
    """With the public key of the one before, a new key signs behind its seal in a new file, and removes records."""
    old, new = signing_keys
    retention.remove(retention.plan(_minutes(6)))
    chain.fill(3)
    file = CheckpointFile(tmp_path / "new")
    with pytest.raises(BrokenChainError):
        CheckpointWriter(chain.read, chain.write, new, file).run_once()
    assert CheckpointWriter(chain.read, chain.write, new, file, earlier=[old.public]).run_once() is not None
    chain.fill(1)
    # From then on the file is enough.
    assert CheckpointWriter(chain.read, chain.write, new, file).run_once(force=True) is not None
    assert chain.verify(keys=[new.public, old.public], lines=file.lines()).intact
    with pytest.raises(BrokenChainError):
        Retention(chain.read, chain.change, new, file).plan(_minutes(9))
    renewed = Retention(chain.read, chain.change, new, file, earlier=[old.public])
    renewed.remove(renewed.plan(_minutes(9)))
    assert chain.entries()[0].record.sequence == 9
    assert chain.verify(keys=[new.public, old.public], lines=file.lines()).intact
