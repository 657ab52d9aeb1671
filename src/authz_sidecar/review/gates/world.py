"""Policies as they would be without some roles, or with somebody who holds one role and nothing else.

A gate that lets some roles do a thing asks whether anybody could do it without them. The policy is compiled again
without the links of those roles, and the same exact questions are asked of it.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.gates.holdings import Holdings, company_fields, role_domains, subject_fields
from authz_sidecar.review.material import Material
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.rule import RuleTable
from authz_sidecar.values.texts import ANY, Texts, texts


class Probes(msgspec.Struct, frozen=True):
    """A policy in which for each role somebody holds it and nothing else: in the company `home`, or on the platform.

    `roles` maps the name of each such identity to the role, `on_platform` are those that hold it there.
    """

    material: Material
    home: str
    roles: Mapping[str, str]
    on_platform: frozenset[str]


class World:
    """One side of a change, with the variants of it that gates ask for."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.holdings = Holdings(material.bundle, material.snapshot)
        self._without: dict[frozenset[str], Material] = {}

    @property
    def bundle(self) -> Bundle:
        """The bundle as it is."""
        return self.material.bundle

    def without(self, roles: frozenset[str]) -> Material:
        """The policy in which no identity holds one of `roles`. A role that inherits from one of them keeps what that
        gives it, since it is another role."""
        if not roles:
            return self.material
        if roles not in self._without:
            self._without[roles] = self._compile_without(roles)
        return self._without[roles]

    def holdings_without(self, roles: frozenset[str]) -> Holdings:
        """The holdings of the policy in which no identity holds one of `roles`."""
        if not roles:
            return self.holdings
        left = self.without(roles)
        return Holdings(left.bundle, left.snapshot)

    def holders(self, roles: frozenset[str]) -> frozenset[str]:
        """The identities that a link gives one of `roles`."""
        snapshot = self.material.snapshot
        found: set[str] = set()
        for definition in {way.definition for way in role_domains(snapshot)}:
            names, held = snapshot.tables[definition].columns[:2]
            found.update(name for name, role in zip(names, held, strict=True) if role in roles)
        return frozenset(found - self.holdings.roles)

    def _compile_without(self, roles: frozenset[str]) -> Material:
        snapshot, known = self.material.snapshot, self.holdings.roles
        tables = dict(self.bundle.tables)
        inherited: set[str] = set()
        for definition in {way.definition for way in role_domains(snapshot)}:
            names, held = tables[definition].columns[:2]
            inherited.update(role for name, role in zip(names, held, strict=True) if name in known)
            kept = [not (role in roles and name not in known) for name, role in zip(names, held, strict=True)]
            tables[definition] = _filtered(tables[definition], kept)
        # What only these roles say is left out too, so that a rule of theirs that cannot be compared is not asked of
        # everybody else. A role that another inherits from by a link is still needed.
        gone = roles - inherited
        for suffix, index in snapshot.sections.items():
            ptype = index.section.ptype
            columns = [tables[ptype].columns[field] for field in subject_fields(snapshot, suffix)]
            if columns and gone:
                kept = [not all(value in gone for value in row) for row in zip(*columns, strict=True)]
                tables[ptype] = _filtered(tables[ptype], kept)
        return _compiled(self.bundle, tables) or self.material

    @cached_property
    def probes(self) -> Probes | None:
        """The policy with a probe for each role; None where no matcher asks in which company a role is held."""
        snapshot = self.material.snapshot
        ways = role_domains(snapshot)
        by_company = [way for way in ways if way.fixed is None]
        if not by_company:
            return None
        taken = {text for table in self.bundle.tables.values() for column in table.columns for text in set(column)}
        prefix, home = _free("probe-", taken), _free("home-company", taken)
        tables = dict(self.bundle.tables)
        fresh: dict[str, str] = {}
        on_platform: set[str] = set()
        for definition in {way.definition for way in by_company}:
            tables[definition] = _filtered(tables[definition], [True] * len(tables[definition]))

        def link(definition: str, role: str, domain: str) -> str:
            name = f"{prefix}{len(fresh):06}"
            table = tables[definition]
            values = [name, role, domain, *(["_"] * (table.width - 3))]
            table.append(values, table.file_number("gates.yaml"), 0)
            fresh[name] = role
            return name

        for role in sorted(self.holdings.roles):
            defined = self.bundle.roles.get(role.removeprefix(ROLE_PREFIX)) if self.bundle.form == "yaml" else None
            if defined is None or defined.assigned == "company":
                for way in by_company:
                    link(way.definition, role, home)
            for way in ways:
                if way.fixed and self._held_in(way.definition, role, way.fixed, defined is not None):
                    on_platform.add(link(way.definition, role, way.fixed))
        material = _compiled(self.bundle, tables)
        return None if material is None else Probes(material, home, fresh, frozenset(on_platform))

    def _held_in(self, definition: str, role: str, domain: str, defined: bool) -> bool:
        """Whether the role can be held in a domain that stands for every company: where its definition says so, or
        where a link gives it there."""
        if defined:
            return self.bundle.roles[role.removeprefix(ROLE_PREFIX)].assigned == "platform"
        links = self.material.snapshot.graphs[definition].links.get(domain, {})
        return any(role == held or (not isinstance(held, str) and role in held) for held in links.values())

    def homes(self, name: str) -> Texts:
        """The companies in which an identity holds something: a role, or a grant of its own. A link that counts for
        every company is none in particular."""
        held = [where for where in self.holdings.by_role(name).values() if where != ANY]
        values = self._homes.get(name, frozenset[str]()).union(*[where.values for where in held])
        return texts(values, [prefix for where in held for prefix in where.prefixes])

    @cached_property
    def _homes(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        snapshot = self.material.snapshot
        for suffix, index in snapshot.sections.items():
            table = snapshot.tables[index.section.ptype]
            companies = [table.columns[field] for field in company_fields(snapshot, suffix)]
            for field in subject_fields(snapshot, suffix):
                subjects = table.columns[field]
                for values in companies:
                    for subject, company in zip(subjects, values, strict=True):
                        if company not in ("*", "") and subject not in self.holdings.roles:
                            found.setdefault(subject, set()).add(company)
        return {name: frozenset(places) for name, places in found.items()}


def _free(prefix: str, taken: Iterable[str]) -> str:
    """A name that nothing in the policy has or begins with."""
    names = tuple(taken)
    while any(name.startswith(prefix) for name in names):
        prefix = f"x{prefix}"
    return prefix


def _filtered(table: RuleTable, kept: list[bool]) -> RuleTable:
    """The rows of a table that are kept, in their order."""
    found = RuleTable(table.ptype, table.width)
    for row, keep in enumerate(kept):
        if keep:
            rule = table.rule(row)
            span = rule.span
            found.append(rule.values, found.file_number(span.file), span.line, span.column, rule.via)
    return found


def _compiled(bundle: Bundle, tables: dict[str, RuleTable]) -> Material | None:
    changed = msgspec.structs.replace(bundle, tables=tables)
    snapshot, _ = compile_bundle(changed, searches=False)
    return None if snapshot is None else Material(changed, snapshot)
