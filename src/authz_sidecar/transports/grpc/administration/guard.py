"""Who calls a method of administration, and whether the policy lets them: every such call passes here.

The caller is known by the metadata `authorization: Bearer CREDENTIAL` (RFC 6750, section 2.1) and by nothing else. What
it may do is decided by the engine like any check, on objects of the sidecar's own types: `sidecar.identity` and so on.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import msgspec

from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.engine import Asker, Engine, Identities, UnwitnessedError
from authz_sidecar.engine.asking import Audited, decide_as
from authz_sidecar.engine.directory import CredentialReader
from authz_sidecar.transports.grpc.errors import (
    CallError,
    ErrorReason,
    invalid_request,
    permission_denied,
    unwitnessed,
)
from authz_sidecar.transports.grpc.methods import CallFacts, KnownAnswerStreamCall, KnownUnaryCall
from authz_sidecar.values import Reason, Request, build_request
from authz_sidecar.values.filter import FilterKind, FilterRequest, ObjectFilter
from authz_sidecar.values.identity import Authenticated
from authz_sidecar.values.request import EMPTY

KnownCall: TypeAlias = KnownUnaryCall | KnownAnswerStreamCall

SCHEME = "bearer"
# No credential is longer; what is longer is not looked at.
MAX_CREDENTIAL = 16_384
# What such calls change is in the audit by itself; that they were let look is not.
LOOKS = frozenset(("read", "diff", "refresh"))
# Whoever reads the audit would read of that, and of nothing else in the end.
AUDIT = "sidecar.audit"

# When a caller may try again where the directory or the policy is not there.
RETRY_SECONDS = 5.0

NEEDED = "the call needs a valid credential in the metadata `authorization: Bearer CREDENTIAL`"
# Told only to who has the right secret, as the authenticator sees to.
_TOLD: Mapping[Reason, tuple[ErrorReason, str]] = {
    Reason.CREDENTIAL_EXPIRED: (ErrorReason.CREDENTIAL_EXPIRED, "the credential has expired; use a new one"),
    Reason.CREDENTIAL_REVOKED: (ErrorReason.CREDENTIAL_REVOKED, "the credential has been revoked; use a new one"),
    Reason.CREDENTIAL_INACTIVE: (ErrorReason.CREDENTIAL_INACTIVE, "the credential is switched off"),
    Reason.INACTIVE_SUBJECT: (ErrorReason.INACTIVE_CALLER, "the caller's identity is switched off"),
}


class Thing(msgspec.Struct, frozen=True):
    """An object of the sidecar's own, as the policy sees it: `type` is such as `sidecar.identity`, `company` that of
    the record ("" for the platform), `owner` the identity that it concerns."""

    type: str
    id: str = ""
    company: str = ""
    owner: str = ""
    attributes: Mapping[str, Any] = EMPTY

    def in_company(self, company: str) -> "Thing":
        """The same in another company."""
        return msgspec.structs.replace(self, company=company)

    def of_nobody(self) -> "Thing":
        """The same without an owner."""
        return msgspec.structs.replace(self, owner="")

    def with_attributes(self, attributes: Mapping[str, Any]) -> "Thing":
        """The same with these attributes beside its own."""
        return msgspec.structs.replace(self, attributes={**self.attributes, **attributes})


class Guard:
    """Lets callers in and asks the policy for them. Use it on the event loop of the engine.

    `identities` tells and counts who is who, `credentials` does so again without counting: in memory, neither raises
    anything. `clock` gives seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        engine: Engine,
        identities: Identities,
        credentials: CredentialReader,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.identities = identities
        self._credentials = credentials
        self.clock = clock

    def caller(self, call: KnownCall) -> "Caller":
        """Whoever calls; raises CallError, UNAUTHENTICATED for whoever cannot show who they are."""
        facts = call.facts
        credential = read_credential(facts)
        return Caller(self, facts, credential, _required(self.identities.authenticate(credential, self.clock())))

    def authenticated(self, credential: str) -> Authenticated:
        """Whom a credential that was right a moment ago stands for now; raises CallError."""
        return _required(self._credentials.authenticate(credential, self.clock()))


def _required(found: Authenticated | Reason) -> Authenticated:
    if isinstance(found, Reason):
        raise credential_refused(found)
    return found


class Caller:
    """Whoever calls a method of administration, for the length of the call."""

    def __init__(self, guard: Guard, facts: CallFacts, credential: str, known: Authenticated) -> None:
        self.facts = facts
        self._guard = guard
        self._credential = credential
        self._known = known
        self._seen: tuple[str, int] | None = None
        self._audited = Audited.ALL

    def __repr__(self) -> str:
        return f"Caller({self.id!r})"

    @property
    def id(self) -> str:
        """The caller's identity."""
        return self._known.identity.id

    @property
    def actor(self) -> Actor:
        """The caller as the audit names them."""
        return Actor(
            id=self.id,
            credential=self._known.credential,
            address=self.facts.address,
            call=self.facts.id,
            seen=self._seen,
        )

    def saw(self, identity: str, revision: int) -> None:
        """What the caller is let do rests on an identity, and what it holds, at that revision of the directory or a
        later one: changes by `actor` are made only where it is still so, and end in MovedError otherwise."""
        if self._seen is None:
            self._seen = (identity, revision)

    def require(self, action: str, *things: Thing) -> None:
        """Raises CallError, PERMISSION_DENIED, unless the policy allows the action on each of these."""
        for thing in things:
            if not self.may(action, thing):
                raise permission_denied(thing.type, action)

    def may(self, action: str, thing: Thing) -> bool:
        """Whether the policy allows the action now; raises CallError where that cannot be said."""
        asker = self._audited_asker(action, thing.type, thing.company)
        engine = self._guard.engine
        try:
            answer = engine.check(self._request(action, thing), engine.snapshot_state, self.facts.id, asker)
        except UnwitnessedError:
            raise unwitnessed() from None
        decision = answer.decision
        self._settle_audited(allowed=decision.allowed)
        if decision.reason in _UNDECIDED:
            raise _undecided(decision.reason)
        return decision.allowed

    def may_each(self, action: str, things: Iterable[Thing]) -> list[bool]:
        """The same for each of many of which a list is made: they are not counted or logged one by one. What is of a
        company that is not held here is none of them."""
        decider = self._guard.engine.snapshot_state.decider
        if decider is None:
            raise _undecided(Reason.NO_POLICY)
        asker = self._asker(None)
        holds = self._guard.identities.directory.holds
        return [
            holds(thing.company) and decide_as(asker, self._request(action, thing), decider).allowed for thing in things
        ]

    def filter(self, action: str, type: str, company: str | None = None) -> ObjectFilter:
        """Which objects of a type the policy allows the action on, among those of `company` (None: of any). Raises
        CallError, PERMISSION_DENIED, if it is none."""
        asker = self._audited_asker(action, type, company)
        asked = FilterRequest(self._request(action, Thing(type, company=company or "")), company is not None)
        engine = self._guard.engine
        companies = self._guard.identities.directory.companies
        try:
            found = engine.filter(asked, engine.snapshot_state, self.facts.id, asker, companies).filter
        except UnwitnessedError:
            raise unwitnessed() from None
        self._settle_audited(allowed=found.kind is not FilterKind.NONE)
        if found.kind is FilterKind.NONE:
            if found.reason in _UNDECIDED:
                raise _undecided(found.reason)
            raise permission_denied(type, action)
        return found

    def _asker(self, company: str | None) -> Asker:
        """The caller as the engine knows them, for an object of `company` (None: of any)."""
        # Anew: between two questions there may have been a wait, and a revocation.
        self._known = known = self._guard.authenticated(self._credential)
        directory = self._guard.identities.directory
        away = company is not None and not directory.holds(company)
        return Asker(
            known.identity.id,
            known.identity,
            directory.revision,
            Reason.COMPANY_NOT_HELD if away else None,
            named=True,
            credential=known.credential,
            audited=Audited.NOTHING,
        )

    def _audited_asker(self, action: str, type: str, company: str | None) -> Asker:
        """The same, whose decision belongs in the audit if nothing there tells what the call does: where it is refused,
        once, and where it looks at something, by the first that it is asked about."""
        looks = action in LOOKS and type != AUDIT
        audited = min(self._audited, Audited.ALL if looks else Audited.REFUSALS)
        return msgspec.structs.replace(self._asker(company), audited=audited)

    def _settle_audited(self, *, allowed: bool) -> None:
        """What of the rest of the call belongs in the audit, after a decision."""
        self._audited = min(self._audited, Audited.REFUSALS if allowed else Audited.NOTHING)

    def _request(self, action: str, thing: Thing) -> Request:
        request, violations = build_request(
            self.id,
            action,
            type=thing.type,
            id=thing.id,
            company=thing.company,
            owner=thing.owner,
            object_attributes=thing.attributes,
            time=self._guard.clock(),
        )
        if request is None:
            raise invalid_request(violations)
        return msgspec.structs.replace(request, identity=self._known.identity)


def read_credential(facts: CallFacts) -> str:
    """The credential that a call brings; "" where it brings none, or not exactly one."""
    if len(facts.authorization) != 1:
        return ""
    scheme, _, credential = facts.authorization[0].partition(" ")
    credential = credential.strip(" ")
    return credential if scheme.lower() == SCHEME and len(credential) <= MAX_CREDENTIAL else ""


def credential_refused(reason: Reason) -> CallError:
    """The error of a caller whom the authenticator refuses: one for all who have not the right secret."""
    if reason is Reason.STALE_DIRECTORY:
        return _undecided(reason)
    told, message = _TOLD.get(reason, (ErrorReason.INVALID_CREDENTIAL, NEEDED))
    return CallError(grpc.StatusCode.UNAUTHENTICATED, message, told)


_UNDECIDED = frozenset((Reason.NO_POLICY, Reason.STALE_DIRECTORY, Reason.COMPANY_NOT_HELD))


def _undecided(reason: Reason) -> CallError:
    """Nobody can say here whether the caller may."""
    if reason is Reason.COMPANY_NOT_HELD:
        return CallError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "this sidecar does not hold that company; ask one that does",
            ErrorReason.COMPANY_NOT_HELD,
        )
    if reason is Reason.NO_POLICY:
        return CallError(
            grpc.StatusCode.UNAVAILABLE,
            "no policy has been loaded; try again later",
            ErrorReason.NO_POLICY,
            retry_after=RETRY_SECONDS,
        )
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "the directory has not been seen for too long to trust credentials; try again later",
        ErrorReason.STALE_DIRECTORY,
        retry_after=RETRY_SECONDS,
    )
