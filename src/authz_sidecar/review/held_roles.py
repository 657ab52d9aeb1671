"""Roles that identities hold in a directory, and those among them that a bundle does not have."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.directory_rules import ROLES
from authz_sidecar.bundle.wording import counted, listed, quote
from authz_sidecar.values import Diagnostic, Severity, Span
from authz_sidecar.values.directory_rules import DirectoryRules

CODE = "orphaned-role"
PRIMARY = "role-primary"
MISPLACED = "misplaced-role"
MOST_ROLES = 3


class HeldRole(msgspec.Struct, frozen=True):
    """A role that `count` identities hold, some of which are `identities`; `place` is `platform`, or `company` where it
    is held in companies."""

    role: str
    place: str
    count: int
    identities: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Who holds it where, for people."""
        where = "on the platform" if self.place == "platform" else "in companies"
        hold = "holds" if self.count == 1 else "hold"
        return f"{counted(self.count, 'identity', 'identities')} {hold} it {where}: {_names(self)}"


class AssignedRole(msgspec.Struct, frozen=True):
    """A role that a bundle assigns to `identity` in `company` ("" on the platform)."""

    identity: str
    role: str
    company: str


class RolesTogether(msgspec.Struct, frozen=True):
    """Roles that `count` identities hold together, some of which are `identities`."""

    roles: tuple[str, ...]
    count: int
    identities: tuple[str, ...] = ()


def _names(held: HeldRole | RolesTogether) -> str:
    more = f" and {held.count - len(held.identities):,} more" if held.count > len(held.identities) else ""
    return ", ".join(map(quote, held.identities)) + more


def primary_findings(found: Iterable[RolesTogether], spans: Mapping[str, Span]) -> list[Diagnostic]:
    """What lint tells of identities that hold several primary roles, at the place of the last of these roles."""
    return [
        Diagnostic(
            spans[together.roles[-1]],
            PRIMARY,
            f"{counted(together.count, 'identity', 'identities')} of the directory"
            f" {'holds' if together.count == 1 else 'hold'} the primary roles"
            f" {listed(together.roles, 'and')} together: {_names(together)}",
            "give an identity one primary role; make one that adds to another `kind: additive`",
            Severity.WARNING,
        )
        for together in found
    ]


def bundle_assignments(bundle: Bundle) -> Iterator[AssignedRole]:
    """The roles that a bundle assigns; the links between roles of a plain Casbin bundle are among them."""
    if bundle.form == "yaml":
        for entry in bundle.assignments:
            for role in entry.roles:
                yield AssignedRole(entry.subject, role, entry.company)
    elif (definition := bundle.model.roles.get(ROLES)) is not None and definition.has_domain:
        for row in zip(*bundle.tables[ROLES].columns[:3], strict=True):
            yield AssignedRole(*row)


def misplaced_findings(found: Iterable[HeldRole], bundle: Bundle) -> list[Diagnostic]:
    """What lint tells of roles that identities hold where they do not belong, at the place of each role, where the
    bundle asks for `own_company_only`."""
    setting = bundle.manifest.identities.key_span("own_company_only")
    return [
        Diagnostic(
            bundle.roles[one.role].span if one.role in bundle.roles else setting,
            MISPLACED,
            _misplaced(one),
            "take it away from them: what is held already is not taken away by itself",
            Severity.WARNING,
        )
        for one in found
    ]


def misplaced_notes(found: Sequence[HeldRole]) -> list[str]:
    """The same as sentences, for the comparison of a bundle that asks for it with another."""
    more = f"{counted(len(found) - MOST_ROLES, 'more role')} held where holders do not belong"
    return [*map(_misplaced, found[:MOST_ROLES]), *([more] if len(found) > MOST_ROLES else [])]


def _misplaced(one: HeldRole) -> str:
    return (
        f"the role {quote(one.role)} is held where its holders do not belong, against `identities.own_company_only`:"
        f" {one.sentence}"
    )


def places_of(rules: DirectoryRules) -> dict[str, str]:
    """Each role of a bundle with the place where it is held: `platform` or `company`."""
    return {name: facts.assigned for name, facts in rules.roles.items()}


def orphaned_roles(held: Iterable[HeldRole], places: Mapping[str, str]) -> Iterator[HeldRole]:
    """Of the roles that are held those that a bundle does not have, or not where they are held."""
    for one in held:
        if places.get(one.role) != one.place:
            yield one


def orphan_findings(
    held: Iterable[HeldRole], rules: DirectoryRules, spans: Mapping[str, Span], file: str
) -> list[Diagnostic]:
    """What lint tells of a bundle that drops roles in use. `spans` are the places of its roles, and `file` is where it
    says which there are."""
    return [
        Diagnostic(
            spans.get(one.role, Span(file)),
            CODE,
            f"the role {quote(one.role)} is in use and {_fault(one, one.role in rules.roles)}: {one.sentence}",
            "keep the role as it is, or take it away from them before it goes",
        )
        for one in orphaned_roles(held, places_of(rules))
    ]


def orphans_problem(orphans: Sequence[HeldRole], places: Mapping[str, str]) -> str:
    """Why a bundle that leaves `orphans` is refused, in one line."""
    told = [
        f"it drops a role in use, {quote(one.role)}: {one.sentence}"
        if one.role not in places
        else f"it moves a role in use, {quote(one.role)}: {one.sentence}"
        for one in orphans[:MOST_ROLES]
    ]
    more = f"; and {len(orphans) - MOST_ROLES:,} more" if len(orphans) > MOST_ROLES else ""
    return f"{'; '.join(told)}{more}"


def _fault(one: HeldRole, defined: bool) -> str:
    if not defined:
        return "not defined"
    return f"can no longer be held there, but only {'in companies' if one.place == 'platform' else 'on the platform'}"
