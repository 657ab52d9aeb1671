"""Lines of a log that rest on a directory of identities, decided anew by what it has of them now.

A line names the policy that decided and whom it was for, and not what the directory had of them then. So each is
decided twice with the identities of now: by the policy that the line names, and by the other one. Where the first comes
to what was logged, the second is compared with it, and what differs differs by the policy alone. Where it does not, the
directory has changed since, and nobody knows what the other policy would have decided then.
"""

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from authz_sidecar.decide.decider import Decider
from authz_sidecar.decide.impersonation import decide_for
from authz_sidecar.review.logged_lines import (
    KEPT_OVERHEAD,
    MAX_KEPT_BYTES,
    MAX_VERSIONS,
    DirectoryFacts,
    Line,
    LogFacts,
    Replayed,
    hidden_parts,
    logged_request,
)
from authz_sidecar.review.policy_inputs import depends_on_time, reads_whole_context
from authz_sidecar.review.replay import rule_place
from authz_sidecar.values import Decision, Reason, Request
from authz_sidecar.values.identity import FOREVER, Identity
from authz_sidecar.values.logged_decision import ATTRIBUTES, LoggedDecision, Masked
from authz_sidecar.values.request import value_problem

_JWT = "jwt:"
_NOT_HELD = Reason.COMPANY_NOT_HELD.label
_REFUSED = Decision(False, Reason.IMPERSONATION_NOT_ALLOWED)
# Whoever reads an attribute that is not there fails.
_UNREADABLE = frozenset((Reason.EVALUATION_ERROR, Reason.INVALID_REQUEST))

_encode = msgspec.json.Encoder(order="sorted").encode


class LeftOut(enum.StrEnum):
    """Why a line is not decided again."""

    NOBODY = "nobody"
    """Its credential stood for nobody: no policy was asked."""
    COMPANY_NOT_HELD = "company_not_held"
    """The sidecar did not hold the company: no policy was asked."""
    JWT = "jwt"
    """Its credential was a JWT, whose groups and claims are not in the log."""
    POLICY = "policy"
    """The policy that decided is not to be had."""
    GONE = "gone"
    """The directory has no longer whom it was about."""


class LoggedPolicy(NamedTuple):
    """A policy that decided what was logged, and what its decisions may depend on."""

    decider: Decider
    timed: bool
    reads_context: bool

    @classmethod
    def of(cls, decider: Decider) -> "LoggedPolicy":
        """That of a decider."""
        return cls(decider, depends_on_time(decider.snapshot), reads_whole_context(decider.snapshot))


# Gives the policy of a version; None for one that is not to be had.
Policies = Callable[[str], LoggedPolicy | None]
# Gives the revision of a directory and the identities of these ids that it has.
Identities = Callable[[Collection[str]], tuple[int, Mapping[str, Identity]]]


class _Outcome(NamedTuple):
    """What a request comes to by both policies. `rule` and `role` are those of the rule by which the logged one
    decides; `known` says whether the directory has everybody whom it is about."""

    request: Request
    logged: Decision
    other: Decision
    rule: str
    role: str
    known: bool


class IdentifiedRequests:
    """Decides lines that rest on a directory by the policy that they name and by `decider`; `facts` counts."""

    def __init__(self, decider: Decider, policies: Policies, identities: Identities) -> None:
        self.facts = DirectoryFacts()
        self._other = LoggedPolicy.of(decider)
        self._policies = policies
        self._identities = identities
        self._kept: dict[tuple[object, ...], _Outcome | None] = {}
        self._bytes = 0

    def decide(self, lines: Sequence[Line], facts: LogFacts) -> Iterator[Replayed]:
        """What the lines come to, as if the policy that they name had decided them now; those that it would decide
        otherwise are counted alone. All that is not decided is counted in `facts`."""
        asked: list[tuple[Line, Request]] = []
        for line in lines:
            request = self._request(line, facts)
            if request is not None:
                asked.append((line, request))
        revision, known = self._identities({name for line, _ in asked for name in _names(line.logged)})
        self.facts.revision = max(self.facts.revision, revision)
        for line, request in asked:
            logged = line.logged
            policy = self._policies(logged.policy_version)
            if policy is None:
                self._leave_out(LeftOut.POLICY)
                self._note_unknown(logged.policy_version)
                continue
            outcome = self._outcome(line, request, policy, known, facts)
            if outcome is None:
                facts.masked += 1
            elif self._is_as_logged(logged, outcome):
                facts.decisions += 1
                self.facts.decisions += 1
                if (logged.rule, logged.role) != (outcome.rule, outcome.role):
                    logged = msgspec.structs.replace(logged, rule=outcome.rule, role=outcome.role)
                yield Replayed(logged, outcome.request, outcome.other)

    def _request(self, line: Line, facts: LogFacts) -> Request | None:
        """What a line asks, without what is known of its subject; None for what cannot be decided, which is counted."""
        logged = line.logged
        if logged.kind == "filter":
            # A list is no decision.
            facts.filters += 1
            return None
        if not all(name.startswith(ATTRIBUTES) for name in hidden_parts(logged)):
            facts.masked += 1
            return None
        if not logged.subject:
            self._leave_out(LeftOut.NOBODY)
            return None
        if logged.reason == _NOT_HELD:
            self._leave_out(LeftOut.COMPANY_NOT_HELD)
            return None
        if logged.credential.startswith(_JWT):
            self._leave_out(LeftOut.JWT)
            return None
        request = None if value_problem(logged.actor) else logged_request(logged, line.seconds)
        facts.invalid += request is None
        return request

    def _outcome(
        self, line: Line, request: Request, policy: LoggedPolicy, known: Mapping[str, Identity], facts: LogFacts
    ) -> _Outcome | None:
        """What a request comes to; None where that depends on what its line hides."""
        logged = line.logged
        identity, actor = known.get(logged.subject), known.get(logged.actor)
        timed = policy.timed or self._other.timed or _is_timed(identity) or _is_timed(actor)
        given = (logged.subject_attributes, logged.object.attributes, logged.context, logged.masked)
        key: tuple[object, ...] = (
            logged.policy_version,
            logged.actor,
            logged.subject,
            logged.action,
            logged.object.type,
            logged.object.id,
            logged.object.company,
            logged.object.owner,
            logged.section,
            line.seconds if timed else 0.0,
            _encode(given) if any(given) else b"",
        )
        try:
            return self._kept[key]
        except KeyError:
            pass
        outcome = self._decide(logged, request, policy, identity, actor)
        facts.requests += outcome is not None
        self._bytes += line.size + KEPT_OVERHEAD
        if self._bytes > MAX_KEPT_BYTES:
            # What comes again is decided again.
            self._kept.clear()
            self._bytes = line.size + KEPT_OVERHEAD
        self._kept[key] = outcome
        return outcome

    def _decide(
        self,
        logged: LoggedDecision,
        request: Request,
        policy: LoggedPolicy,
        identity: Identity | None,
        actor: Identity | None,
    ) -> _Outcome | None:
        hidden = hidden_parts(logged)
        if any(name.startswith(Masked.CONTEXT) for name in hidden) and (
            policy.reads_context or self._other.reads_context or _has_conditions(identity) or _has_conditions(actor)
        ):
            return None
        request = msgspec.structs.replace(request, identity=_without(identity, hidden))
        then, now = (
            _decide_as(decider, request, logged.actor, actor) for decider in (policy.decider, self._other.decider)
        )
        if hidden and not _UNREADABLE.isdisjoint((then.reason, now.reason)):
            return None
        # What could not be read for the question whether somebody may act for another is not told apart.
        if hidden and logged.actor and Reason.IMPERSONATION_NOT_ALLOWED in (then.reason, now.reason):
            return None
        rule, role = rule_place(policy.decider.snapshot, request.section, then.rule)
        known = identity is not None and (actor is not None or not logged.actor)
        return _Outcome(request, then, now, rule, role, known)

    def _is_as_logged(self, logged: LoggedDecision, outcome: _Outcome) -> bool:
        """Whether the policy that made a decision makes it now, which is counted where it does not."""
        then = outcome.logged
        same = then.allowed == logged.allowed and then.reason.label == logged.reason
        # Credentials are of, and others act by and for, those alone whom the directory knows.
        if not outcome.known and (not same or logged.credential or logged.actor):
            self._leave_out(LeftOut.GONE)
            return False
        if not same:
            self.facts.changed += 1
            self.facts.changed_differently += outcome.other.allowed != then.allowed
        return same

    def _leave_out(self, why: LeftOut) -> None:
        self.facts.left_out[why] = self.facts.left_out.get(why, 0) + 1

    def _note_unknown(self, version: str) -> None:
        unknown = self.facts.unknown
        if version in unknown or len(unknown) < MAX_VERSIONS:
            unknown[version] = unknown.get(version, 0) + 1


def _names(logged: LoggedDecision) -> tuple[str, ...]:
    """Whom the directory is asked for."""
    return (logged.subject, logged.actor) if logged.actor else (logged.subject,)


def _decide_as(decider: Decider, request: Request, name: str, actor: Identity | None) -> Decision:
    """The decision on a request that somebody called `name` ("" for nobody else) makes for its subject."""
    if not name:
        return decider.decide(request)
    return _REFUSED if actor is None else decide_for(decider, request, actor)


def _is_timed(identity: Identity | None) -> bool:
    """Whether what an identity may do may depend on when it asks."""
    return identity is not None and bool(
        identity.timed or identity.flags or any(rule.when or rule.ends != FOREVER for rule in identity.rules)
    )


def _has_conditions(identity: Identity | None) -> bool:
    return identity is not None and any(rule.when for rule in identity.rules)


def _without(identity: Identity | None, hidden: Collection[str]) -> Identity | None:
    """An identity without the attributes that the request may have given otherwise, and that its line hides."""
    if identity is None or not identity.attributes:
        return identity
    if Masked.SUBJECT_ATTRIBUTES in hidden:
        return msgspec.structs.replace(identity, attributes={})
    begin = f"{Masked.SUBJECT_ATTRIBUTES}."
    names = {name.removeprefix(begin) for name in hidden if name.startswith(begin)}
    if names.isdisjoint(identity.attributes):
        return identity
    kept = {name: value for name, value in identity.attributes.items() if name not in names}
    return msgspec.structs.replace(identity, attributes=kept)
