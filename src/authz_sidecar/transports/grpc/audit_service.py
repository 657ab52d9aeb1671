"""`authz.v1.AuditService`: who did what, to those who may read it.

Each record is an object `sidecar.audit` of its company, owned by the identity that it was done to, and shown where the
policy allows its reader the action `read`. What they may not read is left out, and nothing says that there was more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

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
    read_page,
)
from authz_sidecar.directory.errors import DirectoryError, Fault
from authz_sidecar.directory.records import Page
from authz_sidecar.transports.grpc.administration_conversion import Checked
from authz_sidecar.transports.grpc.administration_desk import READ, Desk, Narrowed, narrow
from authz_sidecar.transports.grpc.errors import draining
from authz_sidecar.transports.grpc.guard import Thing
from authz_sidecar.transports.grpc.methods import KnownAnswerStreamCall, KnownUnaryCall
from authz_sidecar.transports.grpc.record_messages import timestamp
from authz_sidecar.values.request import MAX_VALUE_BYTES

AUDIT = "sidecar.audit"
# How long a record may be in the store before those who follow see it.
POLL_SECONDS = 1.0
FOLLOW_PAGE = 200

Wait = Callable[[float], Awaitable[object]]


class AuditService:
    """The service. `read` opens a connection that sees one snapshot of the store.

    `changed` waits until the store may have changed, for so many seconds at most; by default it only waits.
    """

    def __init__(
        self,
        desk: Desk,
        read: Callable[[], AbstractContextManager[Connection]],
        changed: Wait = asyncio.sleep,
    ) -> None:
        self._desk = desk
        self._guard = desk.guard
        self._read = read
        self._changed = changed
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
        narrowed = narrow(caller.filter(READ, AUDIT, asked.company), asked.company)
        place = message.after_sequence
        if not message.HasField("after_sequence"):
            place = await self._desk.run(caller, self._end)
        while True:
            wanted = _narrowed(asked, narrowed)
            page = await self._desk.run(caller, lambda: self._page(wanted, place, FOLLOW_PAGE))  # noqa: B023 - awaited here
            allowed = caller.may_each(READ, [_thing(entry) for entry in page.entries])
            for entry, yes in zip(page.entries, allowed, strict=True):
                if yes:
                    yield messages.FollowAuditRecordsResponse(record=record_message(entry))
            place = page.reached
            if not page.more:
                await self._wait()
            # What may be read changes, and so does whether the credential is good.
            narrowed = narrow(caller.filter(READ, AUDIT, asked.company), asked.company)

    def drain(self) -> None:
        """End the streams: each is told to come again."""
        self._draining.set()

    async def _wait(self) -> None:
        """Wait until there may be more; raises CallError when the server drains."""
        changed = asyncio.ensure_future(self._changed(POLL_SECONDS))
        stopping = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((changed, stopping), return_when=asyncio.FIRST_COMPLETED)
            if self._draining.is_set():
                raise draining()
            await changed
        finally:
            changed.cancel()
            stopping.cancel()

    def _page(self, filter: AuditFilter, place: int, size: int) -> AuditPage:
        try:
            with self._read() as connection:
                return read_page(connection, filter, after=place, size=size)
        except UnreadableRecordError as error:
            help = "run `authz-sidecar audit verify`: it says what is wrong"
            raise DirectoryError(Fault.CORRUPT, str(error), help) from error

    def _end(self) -> int:
        with self._read() as connection:
            return read_end(connection)


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
        checked.bounded(f"filter.{name}", getattr(message, name), MAX_VALUE_BYTES)
    if len(message.actions) > MOST_ACTIONS:
        checked.refuse("filter.actions", f"filter.actions names more than {MOST_ACTIONS} actions")
    for action in message.actions[:MOST_ACTIONS]:
        checked.bounded("filter.actions", checked.needed("filter.actions", action), MAX_VALUE_BYTES)
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


def _narrowed(asked: AuditFilter, narrowed: Narrowed) -> AuditFilter:
    """What is asked, less what the caller may not read anyway."""
    companies = narrowed.companies
    if narrowed.owner and asked.subject and asked.subject != narrowed.owner:
        companies = frozenset()
    return msgspec.structs.replace(asked, subject=asked.subject or narrowed.owner, companies=companies)


def _thing(entry: Entry) -> Thing:
    return Thing(AUDIT, company=entry.record.company, owner=entry.record.subject)
