"""One change of the directory: everything that one operation does, in one transaction with its audit records.

The row of `state` is held from the beginning to the end, so that changes follow each other: revisions and audit records
have no gaps, and what a change reads stays true until it ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from authz_sidecar.audit import chain
from authz_sidecar.audit.record import AuditAction, AuditRecord
from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.faults import corrupt
from authz_sidecar.directory.storage.migration import check_readable
from authz_sidecar.directory.storage.place import POSTGRESQL
from authz_sidecar.directory.storage.postgresql import CHANNEL
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import AUDIT, CHANGES, STATE

Touched: TypeAlias = Literal["identity", "key", "token"]

KEPT_REVISIONS = 100_000
KEPT_SECONDS = 7 * 86_400.0
PRUNE_EVERY = 100
PRUNED_ROWS = 10_000
"""So many revisions, and for so long, `changes` is kept; so often some go; and so many rows at once, about."""

_ROWS_AT_ONCE = 1_000


class State(msgspec.Struct, frozen=True):
    """The row of `state`."""

    epoch: str
    revision: int
    audit_sequence: int
    audit_hash: bytes
    changes_from: int
    bootstrapped_at: float | None
    readable_from: int


_STATE = select(*(STATE.c[name] for name in State.__struct_fields__))


def read_state(connection: Connection, shown: str, *, hold: bool = False) -> State:
    """The row of `state`; with `hold` nobody else changes the directory until the transaction ends.

    Raises DirectoryError: CORRUPT where it is not there just once, PRECONDITION where a later release has moved the
    store too far.
    """
    rows = connection.execute(_STATE.with_for_update() if hold else _STATE).all()
    if len(rows) != 1:
        raise corrupt(shown, "it does not say which revision it has")
    state = State(*rows[0])
    check_readable(state.readable_from, shown)
    return state


class MovedError(DirectoryError):
    """What somebody was let do rests on an identity that has changed since: whether they may is to be decided anew."""

    def __init__(self, identity: str) -> None:
        super().__init__(
            Fault.CONFLICT, f"the identity {quote(identity)} is being changed by somebody else", "try again"
        )


class Change:
    """A change that is being made: use `connection`, and say what is touched and what the audit is to keep.

    `revision` is the one that it makes: rows that it writes have it. `now` is its time (seconds since 1970-01-01 UTC).
    """

    def __init__(self, connection: Connection, shown: str, actor: Actor, now: float) -> None:
        self.connection = connection
        self.actor = actor
        self.now = now
        self.state = read_state(connection, shown, hold=True)
        self.revision = self.state.revision + 1
        self._touched: dict[tuple[str, str], None] = {}
        self._audit: list[dict[str, Any]] = []
        if actor.seen is not None:
            self._require_unmoved(*actor.seen)

    def _require_unmoved(self, identity: str, revision: int) -> None:
        """Raises MovedError where the identity, or what it holds, is not as it was at that revision."""
        moved = select(CHANGES.c.number).where(
            CHANGES.c.revision > revision, CHANGES.c.kind == "identity", CHANGES.c.key == identity
        )
        forgotten = revision < self.state.changes_from - 1
        if forgotten or self.connection.execute(moved.limit(1)).first() is not None:
            raise MovedError(identity)

    @property
    def final_revision(self) -> int:
        """The directory's revision once this is committed: its own, or the one before where it touches nothing."""
        return self.revision if self._touched else self.state.revision

    def touch(self, kind: Touched, key: str) -> None:
        """Say that what decisions read of an identity, a key or a token is otherwise than before, or gone."""
        self._touched[kind, key] = None

    def audit(
        self,
        action: AuditAction,
        *,
        subject: str = "",
        company: str = "",
        object_type: str = "",
        object_id: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        justification: str = "",
        policy_version: str = "",
        decision_id: str = "",
        on_behalf_of: str | None = None,
        actor: Actor | None = None,
        time: float | None = None,
    ) -> None:
        """Add a record to the audit, by the actor of the change, or by `actor` at `time` for what happened earlier; see
        `AuditRecord`. `before` and `after` have no secrets."""
        by = actor or self.actor
        self._audit.append(
            {
                "action": action,
                "subject": subject,
                "company": company,
                "object_type": object_type,
                "object_id": object_id,
                "before": before,
                "after": after,
                "justification": justification,
                "policy_version": policy_version,
                "decision_id": decision_id,
                "on_behalf_of": by.on_behalf_of if on_behalf_of is None else on_behalf_of,
                "time": self.now if time is None else time,
                "actor": by.id,
                "credential": by.credential,
                "address": by.address,
                "call_id": by.call,
            }
        )

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part that is undone alone where it raises: rows, what was touched, and the audit."""
        touched, audited = self._touched.copy(), len(self._audit)
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            self._touched = touched
            del self._audit[audited:]
            raise

    def finish(self) -> int:
        """Write what was touched, the audit and the new state; give the revision that the directory now has. The caller
        commits."""
        if not self._touched and not self._audit:
            return self.state.revision
        revision = self.final_revision
        changed: dict[str, Any] = {"revision": revision}
        if self._touched:
            rows = [
                {"revision": revision, "number": number, "kind": kind, "key": key, "at": self.now}
                for number, (kind, key) in enumerate(self._touched)
            ]
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                self.connection.execute(insert(CHANGES), rows[begin : begin + _ROWS_AT_ONCE])
            if revision % PRUNE_EVERY == 0:
                changed["changes_from"] = self._prune()
        if self._audit:
            changed["audit_sequence"], changed["audit_hash"] = self._write_audit(revision)
        self.connection.execute(update(STATE), changed)
        if self.connection.dialect.name == POSTGRESQL:
            self.connection.execute(select(func.pg_notify(CHANNEL, str(revision))))
        return revision

    def _write_audit(self, revision: int) -> tuple[int, bytes]:
        sequence, hash = self.state.audit_sequence, self.state.audit_hash
        rows = []
        for fields in self._audit:
            sequence += 1
            record = AuditRecord(
                sequence=sequence,
                directory_revision=revision,
                **fields,
            )
            try:
                row = chain.row(hash, record)
            except chain.ChainError as error:
                raise DirectoryError(
                    Fault.INVALID, f"the audit cannot keep this: {error}", "make what is changed at once smaller"
                ) from error
            rows.append(row)
            hash = row["hash"]
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            self.connection.execute(insert(AUDIT), rows[begin : begin + _ROWS_AT_ONCE])
        return sequence, hash

    def _prune(self) -> int:
        """Forget the oldest revisions, some at a time; give the first that is left in full."""
        first = self.state.changes_from
        # Those who follow have long read these; who has not reads everything anew.
        recent = select(func.min(CHANGES.c.revision)).where(
            CHANGES.c.revision >= first, CHANGES.c.revision < bindparam("some"), CHANGES.c.at >= bindparam("since")
        )
        some = min(first + 10 * PRUNE_EVERY, self.revision)
        kept = self.connection.execute(recent, {"some": some, "since": self.now - KEPT_SECONDS}).scalar_one_or_none()
        until = max(some if kept is None else kept, min(self.revision - KEPT_REVISIONS + 1, some))
        over = self.connection.execute(
            select(CHANGES.c.revision)
            .where(CHANGES.c.revision < until)
            .order_by(CHANGES.c.revision, CHANGES.c.number)
            .offset(PRUNED_ROWS)
            .limit(1)
        ).scalar_one_or_none()
        if over is not None:
            until = max(over, first + 1)
        if until > first:
            self.connection.execute(delete(CHANGES).where(CHANGES.c.revision < until))
        return max(until, first)
