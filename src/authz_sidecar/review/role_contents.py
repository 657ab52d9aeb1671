"""What each role says, as sets that can be compared at once.

In YAML a role says its rules, those that it inherits included; in plain Casbin the rows that name it and the roles that
it is linked to. Equal parts of two roles have the same number.
"""

from collections.abc import Iterator, Mapping

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.model import Effect
from authz_sidecar.values import Span
from authz_sidecar.values.request import ROLE_PREFIX

_ORDERED = (Effect.PRIORITY, Effect.SUBJECT_PRIORITY)


class RoleContent(msgspec.Struct, frozen=True):
    """A role with the numbers of what it says. Only roles with the same `use` can stand in for each other: how they are
    assigned and combined, and which flags their holders have."""

    name: str
    span: Span
    parts: frozenset[int]
    use: tuple[object, ...] = ()


def role_contents(bundle: Bundle, snapshot: Snapshot) -> tuple[RoleContent, ...]:
    """The roles that say something, in the order in which they are defined, or first named by a row.

    There are none where the order of rules, or patterns among roles, decide what a role says.
    """
    return tuple(_defined(bundle) if bundle.form == "yaml" else _named(snapshot))


def _defined(bundle: Bundle) -> Iterator[RoleContent]:
    subjects, *fields = bundle.tables["p"].columns
    numbers: dict[tuple[str, ...], int] = {}
    parts: dict[str, list[int]] = {}
    for subject, *values in zip(subjects, *fields, strict=True):
        parts.setdefault(subject, []).append(numbers.setdefault(tuple(values), len(numbers)))
    flags: dict[str, list[str]] = {}
    for flag_name, flag in bundle.flags.items():
        for role in flag.roles:
            flags.setdefault(role, []).append(flag_name)
    for name, role_definition in bundle.roles.items():
        said = parts.get(ROLE_PREFIX + name)
        if said:
            use = (role_definition.kind, role_definition.assigned, tuple(flags.get(name, ())))
            yield RoleContent(name, role_definition.span, frozenset(said), use)


def subject_roles(snapshot: Snapshot, index: SectionIndex) -> Mapping[str, str]:
    """The field of a section's rules that names a role of the subject, by the definition that tells who holds it;
    without those in which patterns do."""
    return {
        access.definition: access.field
        for branch in index.branches
        for access in branch.plan.subject_roles
        if snapshot.graphs[access.definition].names is None and not snapshot.graphs[access.definition].members
    }


def _named(snapshot: Snapshot) -> Iterator[RoleContent]:
    if len(snapshot.sections) != 1:
        return
    (index,) = snapshot.sections.values()
    if index.section.effect in _ORDERED:
        return
    table = snapshot.tables[index.section.ptype]
    for definition, field in subject_roles(snapshot, index).items():
        links = snapshot.tables[definition]
        roles = set(links.columns[1])
        numbers: dict[tuple[str, ...], int] = {}
        parts: dict[str, list[int]] = {}
        first: dict[str, int] = {}
        at = index.section.fields.index(field)
        others = [column for number, column in enumerate(table.columns) if number != at]
        for row, (name, *values) in enumerate(zip(table.columns[at], *others, strict=True)):
            if name in roles:
                first.setdefault(name, row)
                parts.setdefault(name, []).append(numbers.setdefault(("p", *values), len(numbers)))
        for name, *values in zip(*links.columns, strict=True):
            if name in parts:
                parts[name].append(numbers.setdefault(("g", *values), len(numbers)))
        for name, row in first.items():
            yield RoleContent(name, table.span(row), frozenset(parts[name]))
