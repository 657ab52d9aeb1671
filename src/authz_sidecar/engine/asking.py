"""For whom a request is decided where there is a directory, and the decision for them."""

from collections.abc import Sequence

import msgspec

from authz_sidecar.decide.clauses import kind_of, simplify
from authz_sidecar.decide.decider import Decider
from authz_sidecar.decide.impersonation import as_caller, decide_for, may_be_impersonated
from authz_sidecar.engine.counts import AUTHENTICATED, Counts
from authz_sidecar.engine.directory import CredentialReader, DirectoryView
from authz_sidecar.values import Decision, Explanation, Reason, Request
from authz_sidecar.values.filter import Clause, FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import PLATFORM, Authenticated, Identity, IdentityKind
from authz_sidecar.values.texts import values_of

IMPERSONATION = "whether one may act for the other there is decided for each object"
# Pairs of clauses beyond which two filters are not made one.
MAX_PAIRS = 1000
_NO_POLICY = Decision(False, Reason.NO_POLICY)


class Asker(msgspec.Struct, frozen=True, gc=False):
    """For whom a request is decided, as the directory knows it at `revision`.

    `subject` is the identity that is decided for: whom the credential stands for, or the user who is impersonated; ""
    where a credential stands for nobody. `credential` names the credential without its secret. With `actor` a service
    account acts for the subject: `actor_identity` is what is known of it. `denied` is why the answer is a deny whatever
    else is asked. `named` says that the request named the subject by a credential, or as somebody to act for.
    """

    subject: str
    identity: Identity | None
    revision: int
    denied: Reason | None = None
    named: bool = False
    credential: str = ""
    actor: str = ""
    actor_identity: Identity | None = None


class Identities:
    """Tells for whom a request is to be decided, by a directory in memory, and counts authentications."""

    def __init__(self, directory: DirectoryView, credentials: CredentialReader, counts: Counts) -> None:
        self.directory = directory
        self._credentials = credentials
        self._authentications = counts.authentications

    def asker(self, subject: str, credential: str, on_behalf_of: str, company: str | None, time: float) -> Asker:
        """For whom to decide about an object of `company` (None: of any) at `time`, seconds since 1970-01-01 UTC.

        Exactly one of `subject` and `credential` is set.
        """
        directory = self.directory
        away = company is not None and not directory.holds(company)
        denied = Reason.COMPANY_NOT_HELD if away else None
        revision = directory.revision
        if not credential and not on_behalf_of:
            return Asker(subject, directory.identity(subject), revision, denied)
        name = ""
        if credential:
            found = self.authenticate(credential, time)
            if isinstance(found, Reason):
                return Asker("", None, revision, found, named=True)
            identity: Identity | None = found.identity
            subject, name = found.identity.id, found.credential
        else:
            identity = directory.identity(subject)
        if not on_behalf_of:
            return Asker(subject, identity, revision, denied, True, name)
        user = directory.identity(on_behalf_of)
        return Asker(on_behalf_of, user, revision, denied, True, name, subject, identity)

    def authenticate(self, credential: str, time: float) -> Authenticated | Reason:
        """Whom a credential stands for at `time`, or why it stands for nobody."""
        found = self._credentials.authenticate(credential, time)
        outcome = found.label if isinstance(found, Reason) else AUTHENTICATED
        self._authentications[outcome] = self._authentications.get(outcome, 0) + 1
        return found


def decide_as(asker: Asker, request: Request, decider: Decider | None) -> Decision:
    """The decision on a request of the asker's."""
    if asker.denied is not None:
        return Decision(False, asker.denied)
    if decider is None:
        return _NO_POLICY
    if not asker.actor:
        return decider.decide(request)
    return _decide_for(asker, request, decider)


def explain_as(asker: Asker, request: Request, decider: Decider) -> Explanation:
    """The same decision and why: where somebody else acts for the subject, why the subject itself may or may not."""
    if asker.denied is not None:
        return Explanation(Decision(False, asker.denied))
    explanation = decider.explain(request)
    if not asker.actor:
        return explanation
    decision = _decide_for(asker, request, decider)
    if decision.reason is not explanation.decision.reason:
        # What the subject itself may do is not what decided.
        return Explanation(decision, roles=explanation.roles)
    return msgspec.structs.replace(explanation, decision=decision)


def filter_as(asker: Asker, asked: FilterRequest, decider: Decider, companies: frozenset[str] | None) -> ObjectFilter:
    """Which objects pass for the asker, of `companies` and the platform alone (None: of any company)."""
    if asker.denied is not None:
        return no_objects(asker.denied)
    found = decider.filter(asked)
    if asker.actor:
        found = _filter_for(asker, asked, found, decider)
    if companies is None or not found.clauses:
        return found
    held = values_of((*companies, PLATFORM))
    kept = [
        msgspec.structs.replace(clause, company=company)
        for clause in found.clauses
        if (company := clause.company.intersect(held))
    ]
    return _filter_of(kept, found, asked.request.subject, Reason.COMPANY_NOT_HELD)


def _decide_for(asker: Asker, request: Request, decider: Decider) -> Decision:
    if asker.actor_identity is None:
        return Decision(False, Reason.IMPERSONATION_NOT_ALLOWED)
    return decide_for(decider, request, asker.actor_identity)


def _filter_of(clauses: list[Clause], found: ObjectFilter, subject: str, otherwise: Reason) -> ObjectFilter:
    """A filter of these clauses, which come from `found`; `otherwise` is why nothing passes where nothing does."""
    kept, exact, left_out = simplify(clauses)
    return ObjectFilter(
        kind_of(kept, subject),
        tuple(kept),
        exact and found.exact,
        found.reason if kept else otherwise,
        (*found.left_out, *left_out),
    )


def _filter_for(asker: Asker, asked: FilterRequest, found: ObjectFilter, decider: Decider) -> ObjectFilter:
    """The objects on which the actor may do it for the subject, and some more: whether impersonation is granted by name
    is for the check of each."""
    caller, user = asker.actor_identity, asker.identity
    if (
        caller is None
        or user is None
        or caller.kind is not IdentityKind.SERVICE_ACCOUNT
        or user.kind is not IdentityKind.USER
        or not may_be_impersonated(decider, user, asked.request.time)
    ):
        return no_objects(Reason.IMPERSONATION_NOT_ALLOWED)
    if not caller.active:
        return no_objects(Reason.INACTIVE_SUBJECT)
    if not found.clauses:
        return found
    request = as_caller(asked.request, caller)
    theirs = decider.filter(msgspec.structs.replace(asked, request=request))
    clauses = _both(found.clauses, theirs.clauses)
    if clauses is None:
        return msgspec.structs.replace(found, exact=False, left_out=(*found.left_out, IMPERSONATION))
    met = _filter_of(clauses, found, asked.request.subject, Reason.IMPERSONATION_NOT_ALLOWED)
    if not met.clauses:
        return met
    return msgspec.structs.replace(met, exact=False, left_out=(*met.left_out, *theirs.left_out, IMPERSONATION))


def _both(ours: Sequence[Clause], theirs: Sequence[Clause]) -> list[Clause] | None:
    """Clauses by which an object passes that passes by either list; None where they are too many.

    An object's first clause among the pairs, ordered by ours and then by theirs, is that of its first in each.
    """
    # What matches no clause is denied, in each.
    if len(ours) * len(theirs) > MAX_PAIRS:
        return None
    return [
        Clause(
            mine.allows and other.allows,
            company,
            id,
            owner,
            tuple(dict.fromkeys((*mine.conditions, *other.conditions))),
        )
        for mine in ours
        for other in theirs
        if (company := mine.company.intersect(other.company))
        and (id := mine.id.intersect(other.id))
        and (owner := mine.owner.intersect(other.owner))
    ]
