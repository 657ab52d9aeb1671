"""Who holds which role in which companies, as the links of a policy say, inherited roles included.

Links that hold at some times only count as held: a gate is about what can be, not about today.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.expression import Token
from authz_sidecar.review.access.holdings import SideRoles
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES
from authz_sidecar.values.texts import ANY, NOTHING, Texts, prefix_of


class RoleDomain(NamedTuple):
    """How a matcher asks for the roles of a subject: in which role definition, and in which domain.

    `fixed` is the domain where that is a constant of the matcher (or "" for definitions without one), None where it is
    the object's company.
    """

    definition: str
    fixed: str | None


def role_domains(snapshot: Snapshot) -> list[RoleDomain]:
    """The ways in which the matchers ask for a subject's roles, each once."""
    found: dict[RoleDomain, None] = {}
    for index in snapshot.sections.values():
        for branch in index.branches:
            for access in branch.plan.subject_roles:
                domain = access.domain
                if isinstance(domain, Token):
                    fixed = None if SOURCES.get(domain.name) == "company" else ""
                else:
                    fixed = "" if domain is None else str(domain.value)
                found[RoleDomain(access.definition, fixed)] = None
    return list(found)


def subject_fields(snapshot: Snapshot, suffix: str) -> list[int]:
    """The fields of a section's rules that are compared with the subject or its roles, by number."""
    index = snapshot.sections[suffix]
    names: dict[str, None] = {}
    for branch in index.branches:
        for access in (*branch.plan.keys, *branch.plan.sets):
            token = access.name if isinstance(access, RoleAccess) else Token(access.token)
            if token == Token("sub"):
                names[access.field] = None
    return [index.section.fields.index(name) for name in names]


def company_fields(snapshot: Snapshot, suffix: str) -> list[int]:
    """The fields of a section's rules that are compared with the object's company, by number."""
    index = snapshot.sections[suffix]
    names = {
        access.field
        for branch in index.branches
        for access in branch.plan.keys
        if SOURCES.get(access.token) == "company"
    }
    return [index.section.fields.index(name) for name in sorted(names)]


class Holdings:
    """The holdings of one policy. Names on the left of a link, or of rules of their own, are its subjects."""

    def __init__(self, bundle: Bundle, snapshot: Snapshot) -> None:
        self._bundle = bundle
        self._snapshot = snapshot
        self._ways = role_domains(snapshot)
        self._sides = SideRoles(snapshot)

    @cached_property
    def roles(self) -> frozenset[str]:
        """The names of roles as rules write them: those of definitions, those on the right of links, and those that
        begin as only roles do."""
        names = {ROLE_PREFIX + name for name in self._bundle.roles}
        for definition in {way.definition for way in self._ways}:
            names.update(self._snapshot.tables[definition].columns[1])
        for suffix, index in self._snapshot.sections.items():
            table = self._snapshot.tables[index.section.ptype]
            for field in subject_fields(self._snapshot, suffix):
                names.update(name for name in set(table.columns[field]) if name.startswith(ROLE_PREFIX))
        return frozenset(names)

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """The names that hold a role and are none, sorted."""
        names: set[str] = set()
        for definition in {way.definition for way in self._ways}:
            names.update(self._snapshot.tables[definition].columns[0])
        return tuple(sorted(names - self.roles))

    def by_role(self, name: str) -> Mapping[str, Texts]:
        """The roles that `name` holds, inherited ones included and itself not, each with the companies in which it
        does: everywhere for a role of the platform. What cannot be told counts as held."""
        found: dict[str, Texts] = {}
        for way in self._ways:
            for role, held in self._sides.by_domain(way.definition, name).items():
                where = held.companies
                if way.fixed is not None:
                    where = ANY if way.fixed in held.companies else NOTHING
                if role != name and where:
                    found[role] = _joined(found.get(role, NOTHING), where)
        for role, where in list(found.items()):
            for parent in self._inherited(role):
                found[parent] = _joined(found.get(parent, NOTHING), where)
        return found

    def above(self, role: str) -> frozenset[str]:
        """The roles that a role inherits from, itself included, wherever."""
        names = {role, *self._inherited(role)}
        return frozenset(names.union(*[self.by_role(name) for name in tuple(names)]))

    def _inherited(self, role: str) -> Iterator[str]:
        """The roles above one, by definitions: in tables inheritance is flattened."""
        seen = {role}
        waiting = [role]
        while waiting:
            definition = self._bundle.roles.get(waiting.pop().removeprefix(ROLE_PREFIX))
            for parent in definition.inherits if definition and self._bundle.form == "yaml" else ():
                written = ROLE_PREFIX + parent
                if written not in seen:
                    seen.add(written)
                    waiting.append(written)
                    yield written


def _joined(one: Texts, other: Texts) -> Texts:
    """Both together: these sets take nothing away, so that this is always a set."""
    joined = one.union(other)
    return prefix_of("") if joined is None else joined
