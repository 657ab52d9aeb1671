"""For whom a request is decided where there is a directory, and the decision for them."""

import enum

import msgspec

from authz_sidecar.decide.clauses import kind_of, simplify
from authz_sidecar.decide.decider import Decider
from authz_sidecar.decide.impersonation import decide_for, filter_for
from authz_sidecar.engine.counts import AUTHENTICATED, Counts
from authz_sidecar.engine.directory import CredentialReader, DirectoryView
from authz_sidecar.values import Decision, Explanation, Reason, Request
from authz_sidecar.values.filter import FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import PLATFORM, Authenticated, Identity
from authz_sidecar.values.texts import values_of

_NO_POLICY = Decision(False, Reason.NO_POLICY)


class Audited(enum.IntEnum):
    """Which decisions are for the audit, where the policy has those for the asker's kind of identity there: all; or,
    of what the sidecar asks for a call of its administration, those that nothing else in the audit tells."""

    NOTHING = 0
    REFUSALS = 1
    ALL = 2


class Asker(msgspec.Struct, frozen=True, gc=False):
    """For whom a request is decided, as the directory knows it at `revision`.

    `subject` is the identity that is decided for: whom the credential stands for, or the user who is impersonated; ""
    where a credential stands for nobody. `credential` names the credential without its secret. With `actor` a service
    account acts for the subject: `actor_identity` is what is known of it. `denied` is why the answer is a deny whatever
    else is asked. `named` says that the request named the subject by a credential, or as somebody to act for.
    `audited` says what of it is for the audit, where the policy wants that at all.
    """

    subject: str
    identity: Identity | None
    revision: int
    denied: Reason | None = None
    named: bool = False
    credential: str = ""
    actor: str = ""
    actor_identity: Identity | None = None
    audited: Audited = Audited.ALL


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
        revision = directory.revision
        denied = None
        if directory.companies is not None and not (company is None or directory.holds(company)):
            denied = Reason.COMPANY_NOT_HELD
        if not credential and not on_behalf_of:
            identity = directory.identity(subject)
            if identity is None and directory.is_elsewhere(subject):
                # What is not held of it, such as that it is switched off, might deny.
                denied = Reason.COMPANY_NOT_HELD
            return Asker(subject, identity, revision, denied)
        name = ""
        if credential:
            found = self.authenticate(credential, time)
            if isinstance(found, Reason):
                return Asker("", None, revision, found, named=True)
            identity = found.identity
            subject, name = found.identity.id, found.credential
        else:
            identity = directory.identity(subject)
        if not on_behalf_of:
            return Asker(subject, identity, revision, denied, True, name)
        user = directory.identity(on_behalf_of)
        if (user is None and directory.is_elsewhere(on_behalf_of)) or (
            identity is None and directory.is_elsewhere(subject)
        ):
            denied = Reason.COMPANY_NOT_HELD
        return Asker(on_behalf_of, user, revision, denied, True, name, subject, identity)

    def authenticate(self, credential: str, time: float) -> Authenticated | Reason:
        """Whom a credential stands for at `time`, or why it stands for nobody."""
        found = self._credentials.authenticate(credential, time)
        directory = self.directory
        if (
            directory.companies is not None
            and found.__class__ is Authenticated
            and directory.is_elsewhere(found.identity.id)
        ):
            # An identity provider speaks for somebody of whom too little is held here.
            found = Reason.INVALID_CREDENTIAL
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
    if not asker.actor:
        found = decider.filter(asked)
    elif asker.actor_identity is None:
        return no_objects(Reason.IMPERSONATION_NOT_ALLOWED)
    else:
        found = filter_for(decider, asked, asker.actor_identity)
    if companies is None or not found.clauses:
        return found
    held = values_of((*companies, PLATFORM))
    kept = [
        msgspec.structs.replace(clause, company=company)
        for clause in found.clauses
        if (company := clause.company.intersect(held))
    ]
    clauses, exact, left_out = simplify(kept)
    return ObjectFilter(
        kind_of(clauses, asked.request.subject),
        tuple(clauses),
        exact and found.exact,
        found.reason if clauses else Reason.COMPANY_NOT_HELD,
        (*found.left_out, *left_out),
    )


def _decide_for(asker: Asker, request: Request, decider: Decider) -> Decision:
    if asker.actor_identity is None:
        return Decision(False, Reason.IMPERSONATION_NOT_ALLOWED)
    return decide_for(decider, request, asker.actor_identity)
