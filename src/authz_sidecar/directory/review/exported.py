"""The identities of a directory as an exported identities file would have them, for comparisons of two bundles.

What stands in the directory has no lines: all places are of the file `directory` as a whole, told apart by a number in
the place of the column.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, or_, select

from authz_sidecar.bundle.definitions import Grant
from authz_sidecar.bundle.identities import DIRECTORY_FILE, HeldRole, IdentitiesFile, IdentityRecord
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, GRANTS, IDENTITIES, SHARES
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import IdentityKind

D = TypeVar("D", bound=Definition)

IMPERSONATE = "impersonate"
_ROWS = 10_000
_KINDS = {kind.value: kind.label for kind in IdentityKind}


def exported_identities(store: Store, now: float | None = None) -> IdentitiesFile:
    """What the identities of `store` hold at `now` (seconds since 1970-01-01 UTC; by default the present): roles, own
    grants, what is shared with them, and flags. An inactive identity may do nothing, and is left out.

    An identity that has grants in several places is there several times. Raises DirectoryError.
    """
    now = time.time() if now is None else now
    with store.read() as connection:
        return IdentitiesFile.model_construct(schema_version=1, identities=list(_Exporter(connection, now).records()))


class _Exporter:
    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._number = count(1).__next__
        self._held_roles: dict[tuple[str, str], HeldRole] = {}

    def records(self) -> Iterator[IdentityRecord]:
        roles, grants = self._roles(), self._grants()
        columns = (IDENTITIES.c.id, IDENTITIES.c.kind, IDENTITIES.c.name, IDENTITIES.c.flags)
        query = select(*columns).where(IDENTITIES.c.active).order_by(IDENTITIES.c.id)
        for id, kind, name, flags in self._rows(query):
            places = grants.get(id, {})
            yield self._record(id, _KINDS[kind], "", name, roles.get(id, []), places.pop("", []), flags or {})
            for company, held in places.items():
                yield self._record(id, _KINDS[kind], company, name, [], held, {})

    def _record(
        self,
        id: str,
        kind: str,
        company: str,
        name: str,
        roles: list[tuple[str, str]],
        grants: list[Grant],
        flags: dict[str, bool],
    ) -> IdentityRecord:
        node = YamlMap(DIRECTORY_FILE, 0, self._number())
        places = node["roles"] = YamlList(DIRECTORY_FILE, 0, node.column)
        places.extend(roles)
        places.places = [(0, self._number()) for _ in roles]
        return _made(
            IdentityRecord,
            node,
            id=id,
            kind=kind,
            company=company,
            name=name,
            roles=[self._held(*role) for role in roles],
            grants=grants,
            flags=flags,
        )

    def _held(self, role: str, company: str) -> HeldRole:
        """The same for all who hold it: where each does is said by the record."""
        found = self._held_roles.get((role, company))
        if found is None:
            node = YamlMap(DIRECTORY_FILE, 0, 0)
            found = self._held_roles[role, company] = _made(HeldRole, node, role=role, company=company)
        return found

    def _roles(self) -> dict[str, list[tuple[str, str]]]:
        """By identity, the roles that it holds now, each with its company, once."""
        table = ASSIGNMENTS
        query = self._in_force(table, select(table.c.identity, table.c.role, table.c.company))
        query = query.where(or_(table.c.begins_at.is_(None), table.c.begins_at <= self._now))
        found: dict[str, dict[tuple[str, str], None]] = {}
        for identity, role, company in self._rows(query):
            found.setdefault(identity, {})[role, company] = None
        return {identity: list(held) for identity, held in found.items()}

    def _grants(self) -> dict[str, dict[str, list[Grant]]]:
        """By identity and company, grants of its own, and what shares come to."""
        found: dict[str, dict[str, list[Grant]]] = {}

        def add(identity: str, company: str, **fields: Any) -> None:
            grant = _made(Grant, YamlMap(DIRECTORY_FILE, 0, self._number()), **fields)
            found.setdefault(identity, {}).setdefault(company, []).append(grant)

        table = GRANTS
        columns = [table.c[name] for name in ("identity", "company", "object_type", "object_id")]
        query = select(*columns, table.c.actions, table.c.scope, table.c.effect, table.c.condition)
        for identity, company, kind, id, actions, scope, effect, when in self._rows(self._in_force(table, query)):
            add(
                identity,
                company,
                object=kind,
                id=id,
                actions=list(actions),
                scope=scope or None,
                effect=effect,
                when=when,
            )
        table = SHARES
        columns = [table.c[name] for name in ("identity", "company", "object_type", "object_id")]
        query = select(*columns, table.c.actions, table.c.impersonation)
        for identity, company, kind, id, actions, impersonation in self._rows(self._in_force(table, query)):
            if actions:
                add(identity, company, object=kind, id=id, actions=list(actions))
            if impersonation and IMPERSONATE not in actions:
                add(identity, company, object=kind, id=id, actions=[IMPERSONATE])
        return found

    def _in_force(self, table: Table, query: Any) -> Any:
        """`query` without what has expired, in the order of the records."""
        expires = table.c.expires_at
        return query.where(or_(expires.is_(None), expires > self._now)).order_by(table.c.identity, table.c.id)

    def _rows(self, query: Any) -> Iterable[Any]:
        return self._connection.execute(query.execution_options(yield_per=_ROWS))


def _made(definition: type[D], node: YamlMap, /, **fields: Any) -> D:
    """A definition that stands at `node`; whoever wrote the store has checked its parts."""
    made = definition.model_construct(**fields)
    made.__dict__["node"] = node
    return made
