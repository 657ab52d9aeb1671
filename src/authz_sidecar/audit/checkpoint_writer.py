"""Writes checkpoints while a sidecar runs: every so often, and when it ends.

Nothing is signed unseen: what was written since the last checkpoint is walked first, so that a store that somebody has
changed is refused a signature, and is found within minutes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Connection, text

from authz_sidecar.audit.chain import GENESIS
from authz_sidecar.audit.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointFile,
    SignedCheckpoint,
)
from authz_sidecar.audit.signing import PublicKey, SigningKey
from authz_sidecar.audit.verification import Report, State, find_seal, read_state, verify

EVERY_SECONDS: Final = 600.0
EVERY_RECORDS: Final = 1000

Opened = Callable[[], AbstractContextManager[Connection]]


class BrokenChainError(CheckpointError):
    """The audit is not what was signed for last; `report` says where. Nothing was signed."""

    def __init__(self, report: Report) -> None:
        message = f"the audit is broken, and no checkpoint was signed: {report.findings[0].message}"
        super().__init__(message, "run `authz-sidecar audit verify`, and see docs/audit.md")
        self.report = report


class CheckpointWriter:
    """Signs checkpoints of one store with one key.

    `read` opens a connection that sees one snapshot of the store, `write` one whose changes are committed when it is
    left. Every `run_once` that finds `every_records` new records, or new records and the last checkpoint
    `every_seconds` old, writes one. Several may share a file. `earlier` are the keys before this one, whose checkpoints
    and seals are in the store still. Synchronous, and for one thread at a time.
    """

    def __init__(
        self,
        read: Opened,
        write: Opened,
        key: SigningKey,
        file: CheckpointFile,
        *,
        earlier: Sequence[PublicKey] = (),
        every_seconds: float = EVERY_SECONDS,
        every_records: int = EVERY_RECORDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._write = write
        self._key = key
        self._keys = (key.public, *earlier)
        self._file = file
        self._every_seconds = every_seconds
        self._every_records = every_records
        self._clock = clock

    def run_once(self, *, force: bool = False) -> Checkpoint | None:
        """Write a checkpoint if one is due, or with `force` if there is any record that none covers; None where not.

        Raises BrokenChainError, CheckpointError, and what the database raises.
        """
        last = self.find_last()
        now = self._clock()
        with self._read() as connection:
            state = read_state(connection)
            # A clock that was set back makes the next one early, not late.
            due = force or last is None or abs(now - last.time) >= self._every_seconds
            if state is not None and not self._wanted(state, last, due=due):
                return None
            report = verify(connection, since=self._trusted(connection, last))
        if not report.intact:
            raise BrokenChainError(report)
        return self._sign(Checkpoint(sequence=report.last, hash=report.hash, time=now, epoch=report.epoch))

    def restart(self) -> tuple[Checkpoint, Report]:
        """Sign for a store that was set back to a backup: earlier checkpoints of what was lost hold no longer.

        The audit as it is must be whole. Raises BrokenChainError, CheckpointError, and what the database raises.
        """
        # Of the file nothing but its end is trusted here; and it is to be one of this key's.
        self.find_last()
        with self._read() as connection:
            alone = verify(connection, keys=self._keys)
            if not alone.intact:
                raise BrokenChainError(alone)
            compared = verify(connection, keys=self._keys, lines=self._file.lines())
        made = Checkpoint(
            sequence=alone.last,
            hash=alone.hash,
            time=self._clock(),
            epoch=alone.epoch,
            restored_from=compared.agreed,
        )
        return self._sign(made), compared

    def _wanted(self, state: State, last: Checkpoint | None, *, due: bool) -> bool:
        """Whether to walk and sign. INVARIANT: fewer records than were signed for, or others, are walked at once."""
        new = state.sequence - (0 if last is None else last.sequence)
        if new == 0:
            return state.hash != (GENESIS if last is None else last.hash)
        return new < 0 or due or new >= self._every_records

    def find_last(self) -> Checkpoint | None:
        """The last checkpoint of the file, None for none; raises CheckpointError where it is not one of this key's."""
        signed = self._file.last()
        if signed is None:
            return None
        if not signed.is_signed_by((self._key.public,)):
            help = "begin a new file with a new key, and keep the old one with its public key"
            raise CheckpointError(f"the last line of `{self._file.path}` is not signed with this key", help)
        return signed.checkpoint

    def _trusted(self, connection: Connection, last: Checkpoint | None) -> Checkpoint:
        """Where the next walk begins: at the last checkpoint, a later seal, or the beginning.

        INVARIANT: a seal stands for what was signed for before only if the file has it. Whoever writes the store can
        put any seal there that was ever signed: of another store, or of a time before a restore.
        """
        seal = find_seal(connection, self._keys)
        if last is None:
            return Checkpoint(sequence=0, hash=GENESIS, time=0.0) if seal is None else seal.checkpoint
        if seal is None or seal.checkpoint.sequence < last.sequence or not self._file.holds(seal):
            return last
        return seal.checkpoint

    def _sign(self, checkpoint: Checkpoint) -> Checkpoint:
        signed = self._file.append(checkpoint, self._key)
        with self._write() as connection:
            keep_checkpoint(connection, signed)
        return signed.checkpoint


def keep_checkpoint(connection: Connection, signed: SignedCheckpoint) -> None:
    """Put a checkpoint into the store's table. One that stands at its place stays, unless it is no seal and this is."""
    row = checkpoint_row(signed)
    there = connection.execute(text("SELECT sealed FROM checkpoints WHERE sequence = :sequence"), row).first()
    if there is None:
        connection.execute(text(_INSERT), row)
    elif row["sealed"] and not there[0]:
        connection.execute(text("DELETE FROM checkpoints WHERE sequence = :sequence"), row)
        connection.execute(text(_INSERT), row)


def checkpoint_row(signed: SignedCheckpoint) -> Mapping[str, Any]:
    """The row of the table `checkpoints` for a checkpoint."""
    made = signed.checkpoint
    return {
        "sequence": made.sequence,
        "at": made.time,
        "hash": made.hash,
        "sealed": made.sealed,
        "document": signed.document,
    }


_INSERT: Final = (
    "INSERT INTO checkpoints (sequence, at, hash, sealed, document) VALUES (:sequence, :at, :hash, :sealed, :document) "
    "ON CONFLICT (sequence) DO NOTHING"
)
