"""Removes old records, so that what is left can still be verified: up to a seal, which is a signed checkpoint.

The seal stands for the records up to it: it has the hash that the first record left follows. It is in the file of
checkpoints before it is in the store, and in the store before any record goes. Records go in portions, the oldest
first, each in a transaction of its own, so that nobody waits long; what an interruption leaves goes next time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import Connection, text

from authz_sidecar.audit.checkpoint import Checkpoint, CheckpointError, CheckpointFile
from authz_sidecar.audit.checkpoint_writer import BrokenChainError, CheckpointWriter, Opened, keep_checkpoint
from authz_sidecar.audit.record import AuditAction
from authz_sidecar.audit.signing import PublicKey, SigningKey
from authz_sidecar.audit.verification import find_seal, verify

ACTION: Final[AuditAction] = "audit.prune"
PORTION: Final = 5000


class Change(Protocol):
    """A transaction of the store: what `Store.change` gives."""

    @property
    def connection(self) -> Connection:
        """Where it writes."""

    def audit(self, action: AuditAction, *, object_type: str, after: dict[str, Any], justification: str) -> None:
        """Add a record to the audit, in the same transaction."""


class Plan(msgspec.Struct, frozen=True):
    """What would be removed: records up to `sequence`, which has `hash`, of them `records`; none where that is 0.

    `left` of these are what an earlier removal could not finish. `epoch` is the store's.
    """

    sequence: int
    hash: bytes
    records: int
    left: int = 0
    epoch: str = ""


class Retention:
    """Removes records of one store. `read` and `change` open transactions of it, and `earlier` are the keys before this
    one, as for `CheckpointWriter`."""

    def __init__(
        self,
        read: Opened,
        change: Callable[[], AbstractContextManager[Change]],
        key: SigningKey,
        file: CheckpointFile,
        clock: Callable[[], float] = time.time,
        earlier: Sequence[PublicKey] = (),
    ) -> None:
        self._read = read
        self._change = change
        self._key = key
        self._file = file
        self._clock = clock
        self._earlier = earlier

    def plan(self, before: float, progress: Callable[[int, int], None] | None = None) -> Plan:
        """What is older than `before` (seconds since 1970-01-01 UTC), after walking all of the audit.

        Records go from the beginning, up to the first that is not older. Raises BrokenChainError for an audit that is
        not whole: nothing is removed that might show what was done.
        """
        with self._read() as connection:
            keys = (self._key.public, *self._earlier)
            report = verify(connection, keys=keys, lines=self._file.lines(), progress=progress)
            if not report.intact:
                raise BrokenChainError(report)
            seal = find_seal(connection, keys)
            sealed = Checkpoint(sequence=0, hash=b"", time=0.0) if seal is None else seal.checkpoint
            query = "SELECT min(sequence) FROM audit WHERE at >= :before AND sequence > :sealed"
            first = connection.execute(text(query), {"before": before, "sealed": sealed.sequence}).scalar_one()
            last = report.last if first is None else first - 1
            count = text("SELECT count(*) FROM audit WHERE sequence <= :last")
            left = connection.execute(count, {"last": sealed.sequence}).scalar_one()
            if last <= sealed.sequence:
                return Plan(sealed.sequence, sealed.hash, left, left, report.epoch)
            query = "SELECT hash FROM audit WHERE sequence = :last"
            hash = bytes(connection.execute(text(query), {"last": last}).scalar_one())
            return Plan(last, hash, connection.execute(count, {"last": last}).scalar_one(), left, report.epoch)

    def remove(
        self, plan: Plan, *, justification: str = "", progress: Callable[[int, int], None] | None = None
    ) -> Checkpoint | None:
        """Do what `plan` says; the checkpoint that was signed at the end, None where there was nothing to do.

        Raises CheckpointError, and what the store raises: what is removed by then is behind the seal.
        """
        if not plan.records:
            return None
        if plan.records > plan.left:
            self._seal(plan, justification)
        for removed in self._portions(plan.sequence):
            if progress is not None:
                progress(min(removed, plan.records), plan.records)
        # The file ends with the newest place, so that the next to write has no more to walk than before.
        writer = CheckpointWriter(
            self._read, self._write, self._key, self._file, earlier=self._earlier, clock=self._clock
        )
        return writer.run_once(force=True)

    def _seal(self, plan: Plan, justification: str) -> None:
        made = Checkpoint(sequence=plan.sequence, hash=plan.hash, time=self._clock(), epoch=plan.epoch, sealed=True)
        signed = self._file.append(made, self._key)
        with self._change() as change:
            query = "SELECT hash FROM audit WHERE sequence = :last"
            hash = change.connection.execute(text(query), {"last": plan.sequence}).scalar_one_or_none()
            if hash is None or bytes(hash) != plan.hash:
                raise CheckpointError("the audit has changed meanwhile, and nothing was removed", "try again")
            # Those before it have nothing left to say. All of them are in the file.
            change.connection.execute(
                text("DELETE FROM checkpoints WHERE sequence < :sequence"), {"sequence": plan.sequence}
            )
            keep_checkpoint(change.connection, signed)
            after = {"sequence": plan.sequence, "hash": plan.hash.hex(), "records": plan.records - plan.left}
            change.audit(ACTION, object_type="audit", after=after, justification=justification)

    def _portions(self, last: int) -> Iterator[int]:
        removed = 0
        while True:
            with self._change() as change:
                query = text("SELECT min(sequence) FROM audit WHERE sequence <= :last")
                first = change.connection.execute(query, {"last": last}).scalar_one()
                if first is None:
                    return
                gone = text("DELETE FROM audit WHERE sequence <= :until")
                removed += change.connection.execute(gone, {"until": min(first + PORTION - 1, last)}).rowcount
            yield removed

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._change() as change:
            yield change.connection
