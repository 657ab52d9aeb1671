"""What all operations of administration share: one change each, dry runs, idempotency keys, etags, page tokens."""

import base64
import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Column, Select, delete, insert, select

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, Page
from authz_sidecar.directory.storage.schema import IDEMPOTENCY
from authz_sidecar.directory.storage.secrets import find_id
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Violation
from authz_sidecar.values.request import value_problem

IDEMPOTENCY_SECONDS = 86_400.0
IDEMPOTENCY_KEY_LENGTH = 256
PAGE_SIZE = 100
MOST_PAGE_SIZE = 1_000
PAGE_TOKEN_LENGTH = 4_096

_FORGOTTEN_AT_ONCE = 100

R = TypeVar("R")


class Changed(msgspec.Struct, frozen=True):
    """What came of a change: the record as it is now (None for one that is gone), and the revision that has it.

    A dry run gives the revision that the directory has. `warnings` are sentences about what is permitted, but odd.
    """

    record: Any
    revision: int
    warnings: tuple[str, ...] = ()


class _DryRunError(Exception):
    """Undoes a change that was made only to see what comes of it."""


class Operations:
    """The base of all administration: synchronous operations, for any thread, each one change of `store`.

    `policy` gives the policy in force, `clock` the time in seconds since 1970-01-01 UTC. `after` is called with the
    revision of each change when it is committed and before it is acknowledged; it does not raise.
    """

    def __init__(
        self,
        store: Store,
        policy: Callable[[], PolicyView],
        clock: Callable[[], float] = time.time,
        after: Callable[[int], None] | None = None,
    ) -> None:
        self.store = store
        self.policy = policy
        self.clock = clock
        self.after = after

    def perform(self, actor: Actor, work: Callable[[Change], R], *, dry_run: bool = False) -> tuple[R, int]:
        """Do `work` as one change; give what it gives and the revision that has it. In a dry run it is undone.

        Raises whatever `work` raises, which undoes it, and DirectoryError(UNAVAILABLE).
        """
        given: list[R] = []
        try:
            with self.store.change(actor, self.clock()) as change:
                given.append(work(change))
                if dry_run:
                    # What the audit cannot keep is seen as well.
                    change.finish()
                    raise _DryRunError
        except _DryRunError:
            return given[0], change.state.revision
        revision = change.final_revision
        if self.after is not None:
            self.after(revision)
        return given[0], revision

    def perform_once(
        self,
        actor: Actor,
        operation: str,
        request: Any,
        kind: type[R],
        work: Callable[[Change], R],
        *,
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> tuple[R, int, bool]:
        """As `perform`, but asked again under the same key by the same actor it gives what the first call made, for 24
        hours; the last value says whether it did. `request` is all that was asked (JSON values and structs), `kind` the
        type of what `work` gives, which is kept: it has no secret.

        Raises DirectoryError(INVALID) for a key that is none, CONFLICT for one under which something else was asked.
        """
        if not idempotency_key or dry_run:
            return *self.perform(actor, work, dry_run=dry_run), False
        problem = value_problem(idempotency_key) or ("holds a credential" if find_id(idempotency_key) else "")
        if problem or len(idempotency_key) > IDEMPOTENCY_KEY_LENGTH:
            problem = problem or f"has more than {IDEMPOTENCY_KEY_LENGTH} characters"
            raise invalid("idempotency_key", f"the idempotency key {problem}", "make up a short name for each call")
        digest = _digest((operation, actor.on_behalf_of, request))
        again = False

        def once(change: Change) -> R:
            nonlocal again
            _forget(change)
            row = change.connection.execute(
                select(IDEMPOTENCY).where(IDEMPOTENCY.c.actor == actor.id, IDEMPOTENCY.c.key == idempotency_key)
            ).one_or_none()
            if row is not None and row.at > change.now - IDEMPOTENCY_SECONDS:
                if (row.operation, row.request) != (operation, digest):
                    raise DirectoryError(
                        Fault.CONFLICT,
                        f"something else was asked under the idempotency key {quote(idempotency_key)}",
                        "make up another key for each call, and use it again only to repeat that call",
                        violations=[Violation("idempotency_key", "was used for something else")],
                    )
                again = True
                return msgspec.json.decode(row.result, type=kind)
            if row is not None:
                change.connection.execute(
                    delete(IDEMPOTENCY).where(IDEMPOTENCY.c.actor == actor.id, IDEMPOTENCY.c.key == idempotency_key)
                )
            made = work(change)
            change.connection.execute(
                insert(IDEMPOTENCY),
                {
                    "actor": actor.id,
                    "key": idempotency_key,
                    "operation": operation,
                    "request": digest,
                    "result": msgspec.json.encode(made).decode(),
                    "at": change.now,
                },
            )
            return made

        made, revision = self.perform(actor, once)
        return made, revision, again

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A connection on one snapshot."""
        with self.store.read() as connection:
            yield connection


def invalid(field: str, message: str, help: str = "", **details: str) -> DirectoryError:
    """The refusal of one value: `field` as in the proto."""
    return DirectoryError(Fault.INVALID, message, help, violations=[Violation(field, message)], details=details)


def check_expected(noun: str, id: str, revision: int, expect: int | None) -> None:
    """Refuse a change of a record that has changed since its etag was read. Raises DirectoryError(CONFLICT)."""
    if expect is not None and expect != revision:
        raise DirectoryError(
            Fault.CONFLICT,
            f"the {noun} {quote(id)} has changed since it was read",
            "read it again, and decide anew",
            violations=[Violation("etag", "is not that of the record any more")],
            details={"etag": str(revision)},
        )


def read_page(
    connection: Any,
    query: Select[Any],
    column: "Column[str]",
    build: Callable[[Any], Any],
    *,
    asked: Sequence[Any],
    page_size: int,
    page_token: str,
) -> Page:
    """One page of `query` in the order of `column`. `asked` are the filters of the list: a token is good for the same
    ones only. Raises DirectoryError(INVALID)."""
    if page_size < 0 or page_size > MOST_PAGE_SIZE:
        raise invalid(
            "page_size",
            f"a page has at most {MOST_PAGE_SIZE:,} records, not {page_size:,}",
            f"ask for 1 to {MOST_PAGE_SIZE:,}, or for 0 to get {PAGE_SIZE}",
            limit=str(MOST_PAGE_SIZE),
        )
    size = page_size or PAGE_SIZE
    filters = _digest(list(asked))[:8].hex()
    if page_token:
        query = query.where(column > _last(page_token, filters))
    rows = connection.execute(query.order_by(column).limit(size + 1)).all()
    records = tuple(map(build, rows[:size]))
    if len(rows) <= size:
        return Page(records)
    token = msgspec.json.encode([getattr(rows[size - 1], column.key), filters])
    return Page(records, base64.urlsafe_b64encode(token).decode().rstrip("="))


def check_filters(**filters: str | Collection[str] | None) -> None:
    """Refuse filters of a list that are no values at all, which databases would not take. Raises
    DirectoryError(INVALID)."""
    for name, given in filters.items():
        for value in [given] if isinstance(given, str) else given or ():
            problem = value_problem(value)
            if problem:
                raise invalid(name, f"the filter {problem}", "give a shorter text on one line")


def _last(token: str, filters: str) -> str:
    """The key after which the page of `token` begins."""
    refusal = invalid(
        "page_token", "the page token is not that of this list", "repeat the list's filters, or begin without a token"
    )
    if len(token) > PAGE_TOKEN_LENGTH:
        raise refusal
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        last, of = msgspec.json.decode(text, type=tuple[str, str])
    except ValueError:
        raise refusal from None
    if of != filters or value_problem(last):
        raise refusal
    return last


def _digest(value: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()


def _forget(change: Change) -> None:
    """Remove some of the keys that have had their time."""
    old = (
        select(IDEMPOTENCY.c.actor, IDEMPOTENCY.c.key)
        .where(IDEMPOTENCY.c.at <= change.now - IDEMPOTENCY_SECONDS)
        .order_by(IDEMPOTENCY.c.at)
        .limit(_FORGOTTEN_AT_ONCE)
    )
    for actor, key in change.connection.execute(old).all():
        change.connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.actor == actor, IDEMPOTENCY.c.key == key))
