"""The queue between the serving path and the audit."""

import threading
from collections.abc import Sequence

import pytest

from authz_sidecar.audit.queue import AuditQueue
from tests.audit.chains import Chain


class Disk:
    """Takes batches while it is there."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.asked = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, batch: Sequence[int]) -> None:
        """Write a batch, or raise."""
        self.asked.set()
        if not self.there.is_set():
            raise ConnectionError("it is gone")
        self.batches.append(list(batch))


def test_records_are_written_in_order_and_many_at_a_time() -> None:
    """What was put is written once, in order, in batches that are bounded."""
    disk = Disk()
    disk.there.set()
    queue = AuditQueue(disk, at_once=3)
    assert [queue.put(number) for number in range(7)] == [True] * 7
    queue.start()
    assert queue.flush(10)
    assert disk.batches == [[0, 1, 2], [3, 4, 5], [6]]
    assert queue.close(10) == 0


def test_a_full_queue_takes_nothing() -> None:
    """Where there is no room the caller is told, and what was refused is never written."""
    disk = Disk()
    disk.there.set()
    queue = AuditQueue(disk, most=2)
    assert [queue.put(number) for number in range(3)] == [True, True, False]
    assert queue.waiting == 2
    queue.start()
    assert queue.close(10) == 0
    assert disk.batches == [[0, 1]]
    assert not queue.put(9)


def test_what_cannot_be_written_waits(caplog: pytest.LogCaptureFixture) -> None:
    """While the store is gone records are kept, one line of the log says so, and once it is back they are written."""
    disk = Disk()
    queue = AuditQueue(disk)
    queue.start()
    queue.put(1)
    assert disk.asked.wait(10)
    queue.put(2)
    disk.there.set()
    assert queue.flush(10)
    assert [number for batch in disk.batches for number in batch] == [1, 2]
    assert queue.close(10) == 0
    assert len(caplog.records) == 1


def test_what_is_lost_at_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits no longer than it is told, and says how many records are lost."""
    disk = Disk()
    queue = AuditQueue(disk)
    queue.start()
    queue.put(1)
    assert disk.asked.wait(10)
    assert queue.close(0.01) == 1
    assert "1 records could not be written to the audit" in caplog.text
    disk.there.set()


def test_batches_become_records_of_several_actors(chain: Chain) -> None:
    """A batch is one transaction, in which each record has its own actor and time."""
    from authz_sidecar.directory.storage.records import Actor

    def write(batch: Sequence[int]) -> None:
        with chain.change() as change:
            for number in batch:
                change.audit(
                    "impersonation.allowed", actor=Actor(f"sa-{number}"), time=float(number), on_behalf_of="carol"
                )

    queue = AuditQueue(write)
    for number in range(3):
        assert queue.put(number)
    queue.start()
    assert queue.close(10) == 0
    found = [(entry.record.actor, entry.record.time, entry.record.on_behalf_of) for entry in chain.entries()]
    assert found == [("sa-0", 0.0, "carol"), ("sa-1", 1.0, "carol"), ("sa-2", 2.0, "carol")]
    assert chain.verify().intact


class Picky:
    """Takes everything but some."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.written: list[int] = []

    def __call__(self, batch: Sequence[int]) -> None:
        """Write a batch, or raise for what is in it."""
        if any(number in self.refused for number in batch):
            raise ValueError("it is not to be written\nSTATEMENT")
        self.written += batch


@pytest.mark.parametrize("refused", [(0,), (7,), (3, 4, 5)])
def test_one_that_can_never_be_written_holds_nobody_up(
    refused: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out once the store takes others, the log has it, and everything else is written once."""
    monkeypatch.setattr("authz_sidecar.audit.queue.RETRY_SECONDS", (0.001,))
    disk = Picky(*refused)
    queue = AuditQueue(disk, at_once=8)
    for number in range(30):
        assert queue.put(number)
    queue.start()
    assert queue.flush(10)
    assert sorted(disk.written) == [number for number in range(30) if number not in refused]
    assert queue.left_out == len(refused)
    assert not queue.failing
    assert queue.close(10) == 0
    told = [record.getMessage() for record in caplog.records if "never be written" in record.getMessage()]
    assert len(told) == len(refused)
    assert "STATEMENT" not in caplog.text


def test_nothing_is_left_out_for_what_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the store, however they come and go, cost no record."""
    monkeypatch.setattr("authz_sidecar.audit.queue.RETRY_SECONDS", (0.001,))
    written: list[int] = []
    calls = 0

    def write(batch: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        # The first of them finds a store that is busy, again and again, and the others do not.
        if 0 in batch and calls < 40:
            raise ConnectionError("it is busy")
        written.extend(batch)

    queue = AuditQueue(write, at_once=4, passes=lambda error: isinstance(error, ConnectionError))
    for number in range(20):
        queue.put(number)
    queue.start()
    assert queue.flush(10)
    assert written == list(range(20))
    assert queue.left_out == 0
    assert queue.close(10) == 0
