"""`authz.v1.AuditService`: who did what, to those who may read it.

Each record is an object `sidecar.audit` of its company, owned by the identity that it was done to, and shown where the
policy allows its reader the action `read`. What they may not read is left out, and nothing says that there was more.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc
import msgspec
from google.protobuf import struct_pb2
from sqlalchemy import Connection

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as messages
from authz_sidecar.audit.reading import (
    MOST_ACTIONS,
    PAGE_BYTES,
    AuditFilter,
    AuditPage,
    Entry,
    UnreadableRecordError,
    read_end,
    read_epoch,
    read_page,
)
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Page
from authz_sidecar.transports.grpc.administration.conversion import Checked, call_error
from authz_sidecar.transports.grpc.administration.desk import READ, Desk, Narrowed, narrow
from authz_sidecar.transports.grpc.administration.guard import AUDIT, Caller, Thing
from authz_sidecar.transports.grpc.conversion import timestamp
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason, draining
from authz_sidecar.transports.grpc.methods import KnownAnswerStreamCall, KnownUnaryCall
from authz_sidecar.values.request import value_problem

# How long a record may be in the store before those who follow see it.
POLL_SECONDS = 1.0
REST_SECONDS = 0.05
FOLLOW_PAGE = 200

# Streams of one identity at once: there are few in all, and each reads the store.
MOST_STREAMS = 5


class Bell:
    """Wakes streams once the store may have changed. To be made on their event loop; `ring` is for any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """The store may have changed."""
        # An event loop that is closed has no streams.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ring)

    def next(self) -> asyncio.Event:
        """What is set when it rings next: take it before you look, so that no change after that is missed."""
        return self._rung

    def _ring(self) -> None:
        self._rung.set()
        self._rung = asyncio.Event()


class AuditService:
    """The service. `read` opens a connection that sees one snapshot of the store; `bell` is rung when it may have
    changed, and streams look now and then all the same."""

    def __init__(
        self,
        desk: Desk,
        read: Callable[[], AbstractContextManager[Connection]],
        bell: Bell,
    ) -> None:
        self._desk = desk
        self._guard = desk.guard
        self._read = read
        self._bell = bell
        self._streams: Counter[str] = Counter()
        self._draining = asyncio.Event()

    async def ListAuditRecords(
        self, message: messages.ListAuditRecordsRequest, call: KnownUnaryCall
    ) -> messages.ListAuditRecordsResponse:
        """A page of the records that the caller may read."""
        caller = self._guard.caller(call)
        checked = Checked()
        size = checked.page_size(message.page_size)
        asked = _filter(checked, message.filter)
        checked.done()
        held = 0

        def fetch(narrowed: Narrowed, size: int, place: str) -> Page:
            nonlocal held
            page = self._page(_narrowed(asked, narrowed), int(place or 0), size)
            held += sum(len(entry.text) for entry in page.entries)
            return Page(page.entries, str(page.reached) if page.more else "")

        of = message.filter.SerializeToString(deterministic=True).hex()
        records, token = await self._desk.page(
            caller,
            AUDIT,
            asked.company,
            of,
            fetch,
            _thing,
            size,
            message.page_token,
            is_full=lambda: held >= PAGE_BYTES // 2,
        )
        return messages.ListAuditRecordsResponse(records=map(record_message, records), next_page_token=token)

    async def FollowAuditRecords(
        self, message: messages.FollowAuditRecordsRequest, call: KnownAnswerStreamCall
    ) -> AsyncIterator[messages.FollowAuditRecordsResponse]:
        """Each record that the caller may read, from a place on. Ends when the caller may not any more."""
        caller = self._guard.caller(call)
        checked = Checked()
        asked = _filter(checked, message.filter)
        checked.done()
        if self._streams[caller.id] >= MOST_STREAMS:
            what = f"the caller follows the audit {MOST_STREAMS} times already; end one of these streams"
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, what, ErrorReason.TOO_MANY_STREAMS)
        self._streams[caller.id] += 1
        try:
            async with contextlib.aclosing(self._followed(caller, asked, message)) as followed:
                async for answer in followed:
                    yield answer
        finally:
            self._streams[caller.id] -= 1
            if not self._streams[caller.id]:
                del self._streams[caller.id]

    async def _followed(
        self, caller: Caller, asked: AuditFilter, message: messages.FollowAuditRecordsRequest
    ) -> AsyncGenerator[messages.FollowAuditRecordsResponse]:
        narrowed = narrow(caller.filter(READ, AUDIT, asked.company), asked.company)
        end, epoch = await self._desk.run(caller, self._end)
        place = message.after_sequence if message.HasField("after_sequence") else end
        if place > end:
            raise _set_back()
        while True:
            wanted = _narrowed(asked, narrowed)
            rung = self._bell.next()
            page = await self._desk.run(caller, lambda: self._page(wanted, place, FOLLOW_PAGE))  # noqa: B023 - awaited here
            if page.epoch != epoch:
                raise _set_back()
            for entry in page.entries:
                # One by one: whoever reads slowly may have lost the right since the page was read.
                if caller.may_each(READ, [_thing(entry)])[0]:
                    yield messages.FollowAuditRecordsResponse(record=record_message(entry))
            place = page.reached
            if not page.more:
                await self._wait(rung)
            # What may be read changes, and so does whether the credential is good.
            narrowed = narrow(caller.filter(READ, AUDIT, asked.company), asked.company)

    def drain(self) -> None:
        """End the streams: each is told to come again."""
        self._draining.set()

    async def _wait(self, rung: asyncio.Event) -> None:
        """Wait until there may be more; raises CallError when the server drains."""
        # However often the store changes, it is not read more often than this for a stream.
        await asyncio.sleep(REST_SECONDS)
        waiting = [asyncio.ensure_future(event.wait()) for event in (rung, self._draining)]
        try:
            await asyncio.wait(waiting, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._draining.is_set():
                raise draining()
        finally:
            for one in waiting:
                one.cancel()

    def _page(self, filter: AuditFilter, place: int, size: int) -> AuditPage:
        try:
            with self._read() as connection:
                return read_page(connection, filter, after=place, size=size)
        except UnreadableRecordError as error:
            help = "run `authz-sidecar audit verify`: it says what is wrong"
            raise DirectoryError(Fault.CORRUPT, str(error), help) from error

    def _end(self) -> tuple[int, str]:
        with self._read() as connection:
            return read_end(connection), read_epoch(connection)


def record_message(entry: Entry) -> messages.AuditRecord:
    """A record as a message. Numbers of a Struct are doubles; `text` has them as they are."""
    record = entry.record
    return messages.AuditRecord(
        sequence=record.sequence,
        time=timestamp(record.time),
        action=record.action,
        actor=record.actor,
        on_behalf_of=record.on_behalf_of,
        credential=record.credential,
        subject=record.subject,
        company=record.company,
        object_type=record.object_type,
        object_id=record.object_id,
        before=_struct(record.before),
        after=_struct(record.after),
        justification=record.justification,
        address=record.address,
        call_id=record.call_id,
        directory_revision=record.directory_revision,
        policy_version=record.policy_version,
        decision_id=record.decision_id,
        hash=entry.hash.hex(),
        text=entry.text,
    )


def _struct(values: Any) -> struct_pb2.Struct | None:
    if values is None:
        return None
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _filter(checked: Checked, message: messages.AuditFilter) -> AuditFilter:
    for name in ("actor", "subject", "identity", "company"):
        _require_value(checked, f"filter.{name}", getattr(message, name))
    if len(message.actions) > MOST_ACTIONS:
        checked.refuse("filter.actions", f"filter.actions names more than {MOST_ACTIONS} actions")
    for action in message.actions[:MOST_ACTIONS]:
        _require_value(checked, "filter.actions", checked.needed("filter.actions", action))
    begins = checked.time("filter.start_time", message, "start_time")
    ends = checked.time("filter.end_time", message, "end_time")
    return AuditFilter(
        actor=message.actor,
        subject=message.subject,
        identity=message.identity,
        company=message.company if message.HasField("company") else None,
        actions=tuple(message.actions),
        begins=begins,
        ends=ends,
    )


def _require_value(checked: Checked, field: str, value: str) -> None:
    problem = value_problem(value)
    if problem:
        checked.refuse(field, f"{field} {problem}")


def _set_back() -> CallError:
    what = "the audit does not reach that place: the store was set back to a backup"
    return call_error(DirectoryError(Fault.PRECONDITION, what, "follow again from a record that is there"))


def _narrowed(asked: AuditFilter, narrowed: Narrowed) -> AuditFilter:
    """What is asked, less what the caller may not read anyway."""
    companies = narrowed.companies
    if narrowed.owner and asked.subject and asked.subject != narrowed.owner:
        companies = frozenset()
    return msgspec.structs.replace(asked, subject=asked.subject or narrowed.owner, companies=companies)


def _thing(entry: Entry) -> Thing:
    return Thing(AUDIT, company=entry.record.company, owner=entry.record.subject)
