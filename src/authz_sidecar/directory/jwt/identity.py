"""From a verified token to the identity that a decision asks for.

The directory says what an identity is; the token adds the roles that its groups give: those that the bundle's
`group_mappings` name, that the issuer may give, in companies that the issuer may speak of.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from authz_sidecar.directory.administration.role_changes import kind_rules
from authz_sidecar.directory.jwt.verification import JwtIdentity, JwtVerifier
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import (
    FOREVER,
    NO_ROLES,
    PLATFORM,
    Authenticated,
    Identity,
    RoleSet,
    TimedRole,
)

MAX_ROLE_SETS = 4096

# A role and its company ("" on the platform), sorted.
Holdings = tuple[tuple[str, str], ...]


class KnownIdentities(Protocol):
    """What is read of a directory in memory: `DirectoryCopy` is one."""

    companies: frozenset[str] | None

    def identity(self, id: str) -> Identity | None:
        """The identity of this id."""

    def holds(self, company: str) -> bool:
        """Whether all identities of a company are here."""


class RoleSets:
    """Unions of roles, each made once, so that what decisions work out for a set serves all who hold it."""

    def __init__(self, most: int = MAX_ROLE_SETS) -> None:
        self._most = most
        self._made: dict[tuple[RoleSet, Holdings, str], RoleSet] = {}

    def union(self, base: RoleSet, extra: Holdings, lifted: str) -> RoleSet:
        """`base` without the role `lifted`, and `extra`."""
        key = (base, extra, lifted)
        made = self._made.get(key)
        if made is None:
            roles = {company: {*held} - {lifted} for company, held in base.by_company.items()}
            for role, company in extra:
                roles.setdefault(company, set()).add(role)
            made = RoleSet({company: tuple(sorted(held)) for company, held in sorted(roles.items()) if held})
            if len(self._made) >= self._most:
                self._made.clear()
            self._made[key] = made
        return made


_SHARED = RoleSets()


def group_roles(found: JwtIdentity, rules: DirectoryRules, home: str) -> Holdings:
    """The roles that the groups of a token give to somebody of the company `home` ("" for who belongs to none).

    A token that says a company gives roles in that company alone, and one of the platform on the platform alone: who
    names groups in one company must not reach into another by the name of a group.
    """
    issuer = found.issuer
    if not found.groups or not issuer.roles or not kind_rules(rules, found.kind).roles:
        return ()
    groups = frozenset(found.groups)
    held: set[tuple[str, str]] = set()
    for mapping in rules.groups:
        if mapping.group not in groups or not issuer.speaks_of(mapping.company):
            continue
        if found.company is not None and mapping.company != found.company:
            continue
        for role in mapping.roles:
            facts = rules.roles.get(role)
            place = "company" if mapping.company else "platform"
            if role in issuer.roles and (facts is None or facts.assigned == place):
                held.add((role, mapping.company))
    alone = rules.sole(role for role, _ in held)
    # One that stands alone keeps the others away also where it may not be held itself.
    return tuple(sorted(pair for pair in held if (not alone or pair[0] == alone) and rules.may_hold_in(pair[1], home)))


def jwt_identity(
    found: JwtIdentity, copy: KnownIdentities | None, rules: DirectoryRules, role_sets: RoleSets = _SHARED
) -> Identity | Reason:
    """The identity that a token stands for, or INVALID_CREDENTIAL: the directory does not have it and the issuer's
    identities must be there, or it is another's than the token says.

    The default role is held until another one is granted, by a group too. A role that stands alone and was assigned is
    held without those of the groups: who was suspended stays so. Where the roles of the groups would be more than the
    bundle lets one identity hold, none of them is given, or not while another one is held for a time.
    """
    known = None if copy is None else copy.identity(found.id)
    if known is None:
        return _unknown(found, copy, rules, role_sets)
    if known.kind is not found.kind or not found.issuer.speaks_of(known.company):
        return Reason.INVALID_CREDENTIAL
    if found.company is not None and known.company != found.company:
        return Reason.INVALID_CREDENTIAL
    extra = group_roles(found, rules, known.company)
    roles, timed = known.roles, known.timed
    if extra and not _stands_alone(roles, rules):
        together = role_sets.union(roles, extra, rules.default_role if roles.by_default else "")
        held = _pairs(together)
        alone = [
            one
            for one in timed
            if not one.by_default
            and (rules.sole((one.role,)) or not _is_within(held | {(one.role, one.company)}, rules))
        ]
        if not _is_within(held, rules):
            pass
        elif alone:
            free = [*_outside(alone)]
            timed = (*timed, *(TimedRole(*pair, ends, begins) for pair in extra for begins, ends in free))
        else:
            roles = together
    if roles is known.roles and timed is known.timed and not found.attributes:
        return known
    attributes = {**found.attributes, **known.attributes} if found.attributes else known.attributes
    return msgspec.structs.replace(known, roles=roles, timed=timed, attributes=attributes)


def _stands_alone(roles: RoleSet, rules: DirectoryRules) -> bool:
    """Whether a role that stands alone was assigned."""
    return not roles.by_default and bool(rules.sole(role for held in roles.by_company.values() for role in held))


def _outside(periods: Iterable[TimedRole]) -> Iterator[tuple[float, float]]:
    """The times that `periods` leave, each with its beginning and its end."""
    free_from = 0.0
    for one in sorted(periods, key=lambda one: one.begins):
        if one.begins > free_from:
            yield free_from, one.begins
        free_from = max(free_from, one.ends)
    if free_from < FOREVER:
        yield free_from, FOREVER


def _unknown(
    found: JwtIdentity, copy: KnownIdentities | None, rules: DirectoryRules, role_sets: RoleSets
) -> Identity | Reason:
    if found.issuer.identities != "any":
        return Reason.INVALID_CREDENTIAL
    company = found.company
    if company is None and not found.issuer.speaks_of(PLATFORM):
        return Reason.INVALID_CREDENTIAL
    # Where not every company is held, somebody who is not here may be switched off elsewhere: but for those whose
    # issuer has one company, which is held.
    if copy is not None and copy.companies is not None:
        only = found.issuer.company
        if not only or not copy.holds(only):
            return Reason.INVALID_CREDENTIAL
    # In a plain Casbin bundle roles and subjects are names of one kind: who is called like a role has its rights.
    if rules.form == "casbin" and found.id in rules.roles:
        return Reason.INVALID_CREDENTIAL
    extra = group_roles(found, rules, company or PLATFORM)
    roles = role_sets.union(NO_ROLES, extra, "") if extra and _is_within({*extra}, rules) else NO_ROLES
    return Identity(found.id, found.kind, company or PLATFORM, roles=roles, attributes=found.attributes)


def _pairs(roles: RoleSet) -> set[tuple[str, str]]:
    return {(role, company) for company, held in roles.by_company.items() for role in held}


def _is_within(held: AbstractSet[tuple[str, str]], rules: DirectoryRules) -> bool:
    """Whether roles, each with its company, keep the numbers that the bundle sets for one identity."""
    if rules.roles_per_identity and len(held) > rules.roles_per_identity:
        return False
    companies = {company for _, company in held if company}
    return not rules.companies_per_identity or len(companies) <= rules.companies_per_identity


class _Answer(msgspec.Struct):
    """Whom a token stood for, of these rules and this identity of the directory."""

    rules: DirectoryRules
    known: Identity | None
    companies: frozenset[str] | None
    answer: Authenticated | Reason


class JwtCredentials:
    """JWTs as credentials: `authenticate` does all of it, and again only when token, identity or bundle are others."""

    def __init__(self, verifier: JwtVerifier, most: int = 10_000) -> None:
        self._verifier = verifier
        self._most = most
        self._role_sets = RoleSets()
        # By the verified token, which is the same object for as long as the verifier keeps it.
        self._answers: dict[int, tuple[JwtIdentity, _Answer]] = {}

    def authenticate(
        self, token: str, now: float, copy: KnownIdentities | None, rules: DirectoryRules
    ) -> Authenticated | Reason:
        """Whom a token stands for at `now` (seconds since 1970-01-01 UTC), or why for nobody. Raises nothing."""
        found = self._verifier.verify(token, now)
        if isinstance(found, Reason):
            return found
        known = None if copy is None else copy.identity(found.id)
        companies = None if copy is None else copy.companies
        kept = self._answers.get(id(found))
        if kept is not None and kept[0] is found:
            answer = kept[1]
            if answer.rules is rules and answer.known is known and answer.companies is companies:
                return answer.answer
        identity = jwt_identity(found, copy, rules, self._role_sets)
        made: Authenticated | Reason = Reason.INVALID_CREDENTIAL
        if isinstance(identity, Identity):
            made = Authenticated(identity, found.credential, found.expires)
            if not identity.active:
                made = Reason.INACTIVE_SUBJECT
        if len(self._answers) >= self._most:
            self._answers.clear()
        self._answers[id(found)] = (found, _Answer(rules, known, companies, made))
        return made
