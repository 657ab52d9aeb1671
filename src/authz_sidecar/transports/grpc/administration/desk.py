"""What the services of administration share: threads for the store, lookups that tell nobody what they may not know,
and lists that leave it out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, TypeVar

import grpc
import msgspec

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.storage.change import MovedError
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import DEFAULT, AssignmentRecord, IdentityRecord, Page
from authz_sidecar.transports.grpc.administration.conversion import call_error, invalid
from authz_sidecar.transports.grpc.administration.guard import Caller, Guard, Thing
from authz_sidecar.transports.grpc.administration.page_tokens import PageTokens
from authz_sidecar.transports.grpc.errors import CallError, ErrorReason, deadline_passed, permission_denied
from authz_sidecar.transports.grpc.methods import CallFacts
from authz_sidecar.values.filter import ObjectFilter
from authz_sidecar.values.identity import ANY, PLATFORM

T = TypeVar("T")

IDENTITY, ASSIGNMENT, GRANT, SHARE = "sidecar.identity", "sidecar.assignment", "sidecar.grant", "sidecar.share"
CREDENTIAL, TOKEN = "sidecar.credential", "sidecar.token"
READ = "read"

# Operations that wait for the store at once.
THREADS = 8
# Records that are decided on before other calls get their turn.
TURN = 64
# A page that few records of may be read is short rather than late.
MAX_SCANNED = 5000
# So often a change is decided on whose identity others change at the same time.
ATTEMPTS = 5
# All that one identity holds is looked through in pages of this size.
HOLDINGS_PAGE = 500


def decided_anew(method: Callable[..., Awaitable[T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    """A method of a service that is begun again where what it was permitted for has changed before it was done."""

    @wraps(method)
    async def decided(*arguments: Any) -> T:
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(MovedError):
                return await method(*arguments)
        try:
            return await method(*arguments)
        except MovedError as error:
            raise call_error(error) from None

    return decided


class Threads:
    """Runs operations that wait for the store, or for a password's hash, beside the event loop."""

    def __init__(self, size: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(size, name)

    async def run(self, facts: CallFacts, work: Callable[[], T]) -> T:
        """What `work` gives; raises CallError for what the directory refuses. What has not begun by the deadline of the
        call, or when its caller leaves, never begins."""

        def begin() -> T:
            if facts.is_over:
                raise deadline_passed()
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begin)
        except MovedError:
            raise
        except DirectoryError as error:
            raise call_error(error) from None

    def close(self) -> None:
        """Give the threads back; what they are at is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Desk:
    """The guard, the directory's operations and the threads that they run in."""

    def __init__(self, guard: Guard, identities: IdentityAdministration, threads: Threads) -> None:
        self.guard = guard
        self.identities = identities
        self.threads = threads

    async def run(self, caller: Caller, work: Callable[[], T]) -> T:
        """As `Threads.run`."""
        return await self.threads.run(caller.facts, work)

    # --- one record

    async def look(self, caller: Caller, read: Callable[[], T], whose: Callable[[T], str] | None = None) -> T | None:
        """What `read` finds; None where it is DirectoryError(NOT_FOUND).

        With `whose`, which names the identity that it is about, the caller's change is made only where that identity
        and what it holds are still as they were: methods that look so are `decided_anew`.
        """

        def find() -> tuple[T | None, int]:
            # Before anything is read, so that no change after it is missed.
            revision = 0 if whose is None else self.identities.store.state().revision
            try:
                return read(), revision
            except DirectoryError as error:
                if error.fault is Fault.NOT_FOUND:
                    return None, revision
                raise

        found, revision = await self.run(caller, find)
        if found is not None and whose is not None:
            caller.saw(whose(found), revision)
        return found

    def require_known(self, caller: Caller, action: str, thing: Thing | None, absent: Thing, *more: Thing) -> None:
        """Raises CallError unless there is such a thing (not None) and the policy allows the action on it, and on all
        of `more`.

        Whoever may not read it gets the answer that they would get if there were none: what the policy says of
        `absent`, which lies in no company and is nobody's.
        """
        if thing is not None and all(caller.may(action, each) for each in (thing, *more)):
            return
        if thing is not None and (action == READ or not caller.may(READ, thing)):
            thing = None
        if thing is not None:
            raise permission_denied(thing.type, action)
        caller.require(action, absent)
        raise not_found(absent.type)

    async def identity(
        self, caller: Caller, id: str, action: str, type: str = IDENTITY, *, elsewhere: bool = False
    ) -> IdentityRecord:
        """The identity of this id, if the policy allows the action on what of that type concerns it.

        With `elsewhere` it has to allow that wherever the identity holds anything, unless that is the caller: what is
        handed out is then all that the identity may do.
        """
        record = await self.look(
            caller, lambda: self.identities.get_identity(id), None if action == READ else lambda _found: id
        )
        absent = Thing(type, id if type == IDENTITY else "")
        if record is None:
            self.require_known(caller, action, None, absent)
            raise not_found(type)
        thing = thing_of_identity(record, type)
        more: tuple[Thing, ...] = ()
        if elsewhere and record.id != caller.id:
            places = await self.run(caller, lambda: self.places(record))
            more = tuple(thing.in_company(place) for place in sorted(places))
        self.require_known(caller, action, thing, absent, *more)
        return record

    def places(self, record: IdentityRecord) -> set[str]:
        """Where beside its own company the identity holds roles, grants or shares, now or later: companies, and "" for
        the platform. Waits for the store."""
        found = self.given(record.id)
        now = self.guard.clock()
        for listed in (self.identities.list_assignments, self.identities.list_grants, self.identities.list_shares):
            for one in every(partial(_holdings, listed, record.id)):
                # Whoever is made holds the default role, so that it hands out nothing.
                by_default = isinstance(one, AssignmentRecord) and one.source == DEFAULT
                if not by_default and (one.expires_at is None or one.expires_at > now):
                    found.add(PLATFORM if one.company == ANY else one.company)
        return found - {record.company}

    def given(self, id: str) -> set[str]:
        """Where the policy itself gives something to this id, whether there is such an identity or not: companies, and
        "" for the platform."""
        return {PLATFORM if place == ANY else place for place in self.identities.policy().places(id)}

    async def recipient(self, caller: Caller, id: str, company: str) -> None:
        """Raises CallError unless the caller may know that there is such an identity to give something in `company`:
        it belongs there, or they may read it."""
        record = await self.look(caller, lambda: self.identities.get_identity(id), lambda _found: id)
        if record is not None and record.company == company:
            return
        thing = None if record is None else thing_of_identity(record, IDENTITY)
        self.require_known(caller, READ, thing, Thing(IDENTITY, id))

    # --- lists

    async def page(
        self,
        caller: Caller,
        type: str,
        company: str | None,
        of: str,
        fetch: Callable[["Narrowed", int, str], Page],
        thing: Callable[[Any], Thing | None],
        size: int,
        token: str,
        *,
        is_full: Callable[[], bool] = lambda: False,
    ) -> tuple[list[Any], str]:
        """A page of the records of a list that the caller may read, and the token of the next.

        `company` is the one that is asked for (None: any), `of` describes the list, `fetch(narrowed, size, token)` gets
        a page from the store, and `thing` is how the policy sees a record (None: not at all). A page that `is_full`
        says is one gets no more records, however many were asked for.
        """
        narrowed = narrow(caller.filter(READ, type, company), company)
        of = f"{type}\0{caller.id}\0{of}"
        place = (await self._page_tokens(caller)).open(token, of) if token else ""
        if place is None:
            raise invalid("page_token", "page_token is not of this list; list anew")
        kept: list[Any] = []
        scanned = 0
        # A short page is a page: its end is where there is no next token.
        while True:
            wanted = size - len(kept)
            page = await self.run(caller, lambda: fetch(narrowed, wanted, place or ""))  # noqa: B023 - awaited here
            kept += await self._readable(caller, page.records, thing)
            scanned += len(page.records)
            place = page.next_page_token
            if not place or 2 * len(kept) >= size or scanned >= MAX_SCANNED or is_full():
                return kept, (await self._page_tokens(caller)).seal(place, of) if place else ""

    async def _page_tokens(self, caller: Caller) -> PageTokens:
        """By the secret of the store as it is now: it may have been replaced."""
        return PageTokens(await self.run(caller, self.identities.store.page_secret))

    async def _readable(
        self, caller: Caller, records: Sequence[Any], thing: Callable[[Any], Thing | None]
    ) -> list[Any]:
        kept: list[Any] = []
        for start in range(0, len(records), TURN):
            seen = [(record, found) for record in records[start : start + TURN] if (found := thing(record)) is not None]
            allowed = caller.may_each(READ, [found for _, found in seen])
            kept += [record for (record, _), yes in zip(seen, allowed, strict=True) if yes]
            await asyncio.sleep(0)
        return kept


def every(fetch: Callable[[str], Page]) -> list[Any]:
    """All records of a list that `fetch` gets page by page."""
    records: list[Any] = []
    token = ""
    while True:
        page = fetch(token)
        records += page.records
        token = page.next_page_token
        if not token:
            return records


def _holdings(listed: Callable[..., Page], identity: str, token: str) -> Page:
    return listed(identity=identity, page_size=HOLDINGS_PAGE, page_token=token)


def thing_of_identity(record: IdentityRecord, type: str, id: str | None = None) -> Thing:
    """What of a type concerns an identity, as the policy sees it; `id` is by default that of the identity itself, or
    none for another type."""
    if id is None:
        id = record.id if type == IDENTITY else ""
    return Thing(type, id, record.company, record.id, {"kind": record.kind.label})


def thing_of_holding(type: str, id: str, record: Any) -> Thing:
    """An assignment, grant or share as the policy sees it."""
    return Thing(type, id, PLATFORM if record.company == ANY else record.company, record.identity)


class Narrowed(msgspec.Struct, frozen=True):
    """Where alone a list has to be looked for: in `company` (None: in any) which is one of `companies` (None: there are
    no bounds), and with the identity `owner` ("": with anybody)."""

    company: str | None = None
    companies: frozenset[str] | None = None
    owner: str = ""

    @property
    def only_company(self) -> str | None:
        """The one company that it can be in; None where there may be several."""
        if self.company is not None or self.companies is None or len(self.companies) != 1:
            return self.company
        return next(iter(self.companies))


def narrow(found: ObjectFilter, company: str | None) -> Narrowed:
    """Where the objects of a filter are that was asked about `company`."""
    allowing = [clause for clause in found.clauses if clause.allows]
    companies: frozenset[str] | None = None
    if company is None and all(clause.company.finite for clause in allowing):
        companies = frozenset[str]().union(*[clause.company.values for clause in allowing])
    owners = {clause.owner.only for clause in allowing}
    return Narrowed(company, companies, (owners.pop() or "") if len(owners) == 1 else "")


# Keys and tokens are looked up by the identity, too, and it is not told which of both is missing.
_NAMES = {
    IDENTITY: "identity",
    ASSIGNMENT: "assignment",
    GRANT: "grant",
    SHARE: "share",
    CREDENTIAL: "API key or identity",
    TOKEN: "access token or identity",
}


def not_found(type: str) -> CallError:
    """There is nothing of that name, or nothing that the caller may know of."""
    return CallError(
        grpc.StatusCode.NOT_FOUND,
        f"there is no such {_NAMES.get(type, 'record')}",
        ErrorReason.RECORD_NOT_FOUND,
        metadata={"object_type": type},
    )
