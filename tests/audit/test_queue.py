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
    from authz_sidecar.directory.records import Actor

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
