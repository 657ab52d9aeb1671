"""Which roles an identity may hold together: the rules of the kinds of role, of counts, and of the default role.

A role is held for a period, so what goes together is asked of periods that meet. Roles that the bundle itself assigns
count as held for ever. Nothing here reads the store.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from authz_sidecar.bundle.wording import counted, listed, quote, suggest
from authz_sidecar.directory.administration.field_checks import check_value
from authz_sidecar.directory.administration.operation import invalid
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import AssignmentRecord
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules, RoleFacts
from authz_sidecar.values.identity import FOREVER

IN_BUNDLE = "bundle"
OWN_COMPANY_ONLY = "identities.own_company_only"
_UNKNOWN = RoleFacts("", kind="additive")


class Holding(msgspec.Struct, frozen=True):
    """A role that is held in `company` ("" on the platform) from `begins` until just before `ends`."""

    role: str
    company: str
    source: str
    begins: float = 0.0
    ends: float = FOREVER
    break_glass: bool = False

    def meets(self, other: "Holding") -> bool:
        """Whether both are held at some time."""
        return self.begins < other.ends and other.begins < self.ends


class Period(msgspec.Struct, frozen=True):
    """A time from `begins` until just before `ends`."""

    begins: float
    ends: float


def holding_of(record: AssignmentRecord) -> Holding:
    """The holding that an assignment is."""
    ends = FOREVER if record.expires_at is None else record.expires_at
    return Holding(record.role, record.company, record.source, record.begins_at or 0.0, ends, record.break_glass)


def in_bundle(held: Iterable[tuple[str, str]]) -> list[Holding]:
    """The roles that the bundle assigns."""
    return [Holding(role, company, IN_BUNDLE) for role, company in held]


def check_role(rules: DirectoryRules, role: str, company: str, role_field: str, company_field: str) -> None:
    """A role that the policy has, in a place where it may be held. Raises DirectoryError(INVALID)."""
    check_value(role, role_field, "the role")
    if not role or (role not in rules.roles and (rules.roles or rules.form != "casbin")):
        known = sorted(rules.roles)
        raise invalid(
            role_field,
            f"unknown role {quote(role)}",
            suggest(role, known, f"the policy defines {listed(known, 'and')}"),
        )
    place = _place(rules, role)
    if place == "company" and not company:
        raise invalid(
            company_field,
            f"the company role {quote(role)} is assigned without a company",
            "name the company in which it is held",
        )
    if place == "platform" and company:
        raise invalid(
            company_field,
            f"the platform role {quote(role)} is assigned in the company {quote(company)}",
            f"leave the company empty; {quote(role)} belongs to no company and holds everywhere",
        )


def check_home(rules: DirectoryRules, who: str, home: str, held: Holding, field: str) -> None:
    """A role in the company to which `who` belongs, or on the platform for one that belongs to none (`home` is ""),
    where the policy asks for that. Raises DirectoryError(PRECONDITION)."""
    if rules.may_hold_in(held.company, home):
        return
    role, setting = quote(held.role), quote(OWN_COMPANY_ONLY)
    there = f"in the company {quote(held.company)}" if held.company else "on the platform"
    if home:
        message = f"an identity holds roles in its own company alone; {quote(who)} belongs to {quote(home)}"
    else:
        message = f"an identity without a company holds platform roles alone; {quote(who)} belongs to none"
    another = f"one of {quote(held.company)}" if held.company else "one without a company"
    remedy = f"give it a role {f'in {quote(home)}' if home else 'of the platform'}, or give {role} to {another}"
    if held.source == IN_BUNDLE:
        remedy = f"take {role} away in the bundle, which assigns it, or make {another}"
    raise DirectoryError(
        Fault.PRECONDITION,
        f"{message} and would hold {role} {there}",
        f"{remedy}; the manifest says {setting}",
        violations=[Violation(field, "is not where the identity belongs")],
        details={"limit_name": OWN_COMPANY_ONLY, "role": held.role, "company": held.company, "home": home},
    )


def company_of(rules: DirectoryRules, role: str, home: str) -> str:
    """The company in which somebody of the company `home` is given `role` where none is named."""
    return home if _place(rules, role) == "company" else ""


def _place(rules: DirectoryRules, role: str) -> str:
    """`company` or `platform`: as the role says, or as all roles of a plain Casbin bundle are held."""
    facts = rules.roles.get(role)
    if facts is not None and facts.assigned:
        return facts.assigned
    return "company" if rules.domains else "platform"


def check_added(rules: DirectoryRules, who: str, kept: Sequence[Holding], added: Holding) -> list[str]:
    """Check that `who` may hold `added` beside what it keeps; the default role, which is lifted, is not among that.

    Gives warnings. Raises DirectoryError: PRECONDITION for roles that do not go together, LIMIT for too many.
    """
    meeting = [other for other in kept if other.meets(added)]
    others = {other.role: other for other in meeting if other.role != added.role}
    facts = rules.roles.get(added.role, _UNKNOWN)
    if facts.kind == "sole" and others:
        raise _refusal(
            f"{quote(who)} would have the role {quote(added.role)}, which stands alone, together with"
            f" {listed(list(others), 'and')}",
            _remedy(f"take {'it' if len(others) == 1 else 'them'} away first, or replace", others.values()),
            role=added.role,
        )
    for other in others.values():
        if rules.roles.get(other.role, _UNKNOWN).kind == "sole":
            raise _refusal(
                f"{quote(who)} would have the role {quote(added.role)} together with {quote(other.role)}, which stands"
                " alone",
                _remedy("take it away first, or replace it", [other]),
                role=added.role,
                other=other.role,
            )
    # An emergency comes on top of what is held.
    if not added.break_glass:
        counting = [other for other in meeting if not other.break_glass]
        _check_count(
            rules.roles_per_identity, "role", "roles", "limits.roles_per_identity", who, counting, added, _role
        )
        _check_count(
            rules.companies_per_identity,
            "company",
            "companies",
            "limits.companies_per_identity",
            who,
            [other for other in counting if other.company],
            added if added.company else None,
            _company,
        )
    return _second_primary(rules, who, meeting, added)


def _role(holding: Holding) -> tuple[str, str]:
    return holding.role, holding.company


def _company(holding: Holding) -> str:
    return holding.company


def _check_count(
    most: int,
    noun: str,
    nouns: str,
    limit: str,
    who: str,
    meeting: list[Holding],
    added: Holding | None,
    key: Callable[[Holding], object],
) -> None:
    if not most or added is None:
        return
    # What is held at once is most just when something begins.
    for moment in {added.begins, *(other.begins for other in meeting if other.begins > added.begins)}:
        at_once = {key(other) for other in meeting if other.begins <= moment < other.ends} | {key(added)}
        if len(at_once) > most:
            held = sorted({other.role for other in meeting if other.begins <= moment < other.ends})
            raise DirectoryError(
                Fault.LIMIT,
                f"an identity has roles in at most {counted(most, noun, nouns)}; {quote(who)} would in {len(at_once)}"
                if noun == "company"
                else f"an identity has at most {counted(most, noun, nouns)}; {quote(who)} has {listed(held, 'and')}",
                _remedy("take one away first, or replace what it has", meeting),
                violations=[Violation("assignment.role", f"would make {len(at_once)} {nouns} of at most {most}")],
                details={"limit_name": limit, "limit": str(most), "count": str(len(at_once))},
            )


def _second_primary(rules: DirectoryRules, who: str, meeting: Iterable[Holding], added: Holding) -> list[str]:
    """A second primary role is permitted, as in a bundle, and pointed out; plain Casbin bundles have no kinds."""
    if rules.form == "casbin" or rules.roles.get(added.role, _UNKNOWN).kind != "primary":
        return []
    for other in meeting:
        # A platform role counts in every company; primary roles of two companies do not meet.
        together = not other.company or not added.company or other.company == added.company
        if together and other.role != added.role and rules.roles.get(other.role, _UNKNOWN).kind == "primary":
            return [f"{quote(who)} has a second primary role, {quote(added.role)} beside {quote(other.role)}"]
    return []


def _remedy(words: str, others: Iterable[Holding]) -> str:
    fixed = [other.role for other in others if other.source == IN_BUNDLE]
    return (
        f"{words}; the bundle itself assigns {listed(fixed, 'and')}, which only a change of it takes away"
        if fixed
        else words
    )


def _refusal(message: str, help: str, **details: str) -> DirectoryError:
    return DirectoryError(
        Fault.PRECONDITION,
        message,
        help,
        violations=[Violation("assignment.role", "does not go together with what is held")],
        details=details,
    )


def uncovered(holdings: Iterable[Holding], now: float) -> list[Period]:
    """The times from `now` on at which none of `holdings` is held, in order."""
    gaps = []
    free_from = now
    for holding in sorted(holdings, key=lambda holding: holding.begins):
        if holding.begins > free_from:
            gaps.append(Period(free_from, holding.begins))
        free_from = max(free_from, holding.ends)
    if free_from < FOREVER:
        gaps.append(Period(free_from, FOREVER))
    return gaps


def check_always_held(who: str, before: Sequence[Period], after: Sequence[Period]) -> None:
    """Where every identity has a role, refuse a change that leaves a time without one that had one."""
    for gap in after:
        if not any(old.begins <= gap.begins and gap.ends <= old.ends for old in before):
            raise DirectoryError(
                Fault.PRECONDITION,
                f"every identity has a role; {quote(who)} would be left without one",
                "give it a role, or replace the one that it has by another in one step",
                details={"limit_name": "identities.role_required"},
            )
