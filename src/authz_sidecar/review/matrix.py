"""A policy as a table: what each role may do to each type of object, told from the rules of the standard model.

A cell is about somebody who holds that role and no other, so denials of the role itself count and those of others
do not.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.standard_model import ALWAYS
from authz_sidecar.values import RuleTable
from authz_sidecar.values.request import ROLE_PREFIX

ANY = "*"


class Level(enum.StrEnum):
    """How much of a type's objects an action may be done to: all that the role reaches, the subject's own, those that
    an id or a condition picks out, or none."""

    ALL = "all"
    OWN = "own"
    PART = "part"
    NONE = "none"


class Extent(NamedTuple):
    """What a rule is about within a type: objects with that id, or whose ids begin so before `*`; the subject's own
    alone; where the condition holds."""

    id: str
    own: bool
    when: str

    def covers(self, other: "Extent") -> bool:
        """Whether everything of the other is in this one. An id, a beginning or an owner is in several of these only
        where it is in one; a condition is taken for what it says."""
        ids = other.id.startswith(self.id[:-1]) if self.id.endswith(ANY) else other.id == self.id
        return ids and self.own <= other.own and self.when in (ALWAYS, other.when)


EVERYTHING = Extent(ANY, False, ALWAYS)
OWN = Extent(ANY, True, ALWAYS)


class RoleGrants:
    """The rules of one role, by what they are about."""

    def __init__(self) -> None:
        # By type and action, whether the rule denies, and its extent.
        self._rules: dict[tuple[str, str], set[tuple[bool, Extent]]] = {}

    def add(self, fields: Mapping[str, str]) -> None:
        """One more rule."""
        extent = Extent(fields["id"], fields["scope"] == "own", fields.get("when", ALWAYS))
        self._rules.setdefault((fields["type"], fields["act"]), set()).add((fields["eft"] == "deny", extent))

    def level(self, kind: str, action: str) -> Level:
        """How much of a type the action may be done to."""
        keys = ((kind, action), (kind, ANY), (ANY, action), (ANY, ANY))
        rules = set[tuple[bool, Extent]]().union(*[self._rules.get(key, ()) for key in keys])
        denied = [extent for denies, extent in rules if denies]
        allowed = [
            extent for denies, extent in rules if not denies and not any(refused.covers(extent) for refused in denied)
        ]
        if not allowed:
            return Level.NONE
        if denied or any(extent.when != ALWAYS for extent in allowed):
            # Each denial is about something of the type, so it leaves less than all of it, and less than all own. And a
            # condition that cannot be evaluated denies what other rules allow.
            return Level.PART
        if EVERYTHING in allowed:
            return Level.ALL
        return Level.OWN if OWN in allowed and all(OWN.covers(extent) for extent in allowed) else Level.PART


class AccessMatrix(msgspec.Struct, frozen=True):
    """Roles by types of object and their actions, in the order of the bundle; for bundles in YAML."""

    roles: tuple[str, ...]
    types: dict[str, tuple[str, ...]]
    data_domains: dict[str, dict[str, tuple[str, ...]]]
    grants: dict[str, RoleGrants]

    def level(self, role: str, kind: str, action: str) -> Level:
        """How much of a type a role's holder may do the action to."""
        return self.grants[role].level(kind, action)

    def actions(self, role: str, kind: str) -> dict[Level, tuple[str, ...]]:
        """What a role's holder may do to a type: the actions by level, `Level.NONE` left out."""
        found: dict[Level, list[str]] = {}
        for action in self.types.get(kind, ()):
            level = self.level(role, kind, action)
            if level is not Level.NONE:
                found.setdefault(level, []).append(action)
        return {level: tuple(found[level]) for level in Level if level in found}


def access_matrix(bundle: Bundle) -> AccessMatrix:
    """The matrix of a bundle in YAML; raises ValueError for a plain Casbin bundle, which declares no types."""
    if bundle.form != "yaml":
        raise ValueError("a plain Casbin bundle declares no types of object")
    table = bundle.tables["p"]
    # Of the sidecar's own types those that a rule names: a wildcard takes in all of them.
    named = bundle.manifest.object_types.keys() | set(table.columns[bundle.model.sections[""].fields.index("type")])
    types = {name: tuple(kind.actions) for name, kind in bundle.manifest.known_types.items() if name in named}
    covered = {name: tuple(kind.actions) for name, kind in bundle.manifest.known_types.items()}
    return AccessMatrix(
        tuple(bundle.roles),
        types,
        {
            name: {
                kind: tuple([action for action in covered[kind] if not domain.actions or action in domain.actions])
                for kind in domain.objects
            }
            for name, domain in bundle.data_domains.items()
        },
        _role_grants(bundle, table),
    )


def _role_grants(bundle: Bundle, table: RuleTable) -> dict[str, RoleGrants]:
    grants = {name: RoleGrants() for name in bundle.roles}
    fields = bundle.model.sections[""].fields
    for row, subject in enumerate(table.columns[0]):
        role = grants.get(subject.removeprefix(ROLE_PREFIX)) if subject.startswith(ROLE_PREFIX) else None
        if role is not None:
            role.add(dict(zip(fields, table.values(row), strict=True)))
    return grants
