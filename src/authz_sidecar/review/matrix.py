"""A policy as a table: what each role may do to each type of object, told from the rules of the standard model.

A cell is about somebody who holds that role and no other, so denials of the role itself count and those of others
do not.
"""

import enum
from collections.abc import Mapping

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


class RoleGrants:
    """The rules of one role, by what they are about."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[dict[str, str]]] = {}

    def add(self, fields: dict[str, str]) -> None:
        """One more rule."""
        self._rows.setdefault((fields["type"], fields["act"]), []).append(fields)

    def level(self, kind: str, action: str) -> Level:
        """How much of a type the action may be done to."""
        rows = [
            row for key in ((kind, action), (kind, ANY), (ANY, action), (ANY, ANY)) for row in self._rows.get(key, ())
        ]
        denied = {_extent(row) for row in rows if row["eft"] == "deny"}
        allowed = {_extent(row) for row in rows if row["eft"] != "deny"}
        if not allowed or Level.ALL in denied:
            return Level.NONE
        if denied:
            return Level.NONE if allowed == denied == {Level.OWN} else Level.PART
        for level in (Level.ALL, Level.OWN, Level.PART):
            if level in allowed:
                # Its own objects and some more are neither.
                return Level.PART if level is Level.OWN and Level.PART in allowed else level
        return Level.NONE


def _extent(row: Mapping[str, str]) -> Level:
    if row["id"] != ANY or row.get("when", ALWAYS) != ALWAYS:
        return Level.PART
    return Level.OWN if row["scope"] == "own" else Level.ALL


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
    types = {name: tuple(kind.actions) for name, kind in bundle.manifest.object_types.items()}
    return AccessMatrix(
        tuple(bundle.roles),
        types,
        {
            name: {
                kind: tuple([action for action in types[kind] if not domain.actions or action in domain.actions])
                for kind in domain.objects
            }
            for name, domain in bundle.data_domains.items()
        },
        _role_grants(bundle, bundle.tables["p"]),
    )


def _role_grants(bundle: Bundle, table: RuleTable) -> dict[str, RoleGrants]:
    grants = {name: RoleGrants() for name in bundle.roles}
    fields = bundle.model.sections[""].fields
    for row, subject in enumerate(table.columns[0]):
        role = grants.get(subject.removeprefix(ROLE_PREFIX)) if subject.startswith(ROLE_PREFIX) else None
        if role is not None:
            role.add(dict(zip(fields, table.values(row), strict=True)))
    return grants
