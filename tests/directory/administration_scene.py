"""Administration of a directory whose policy and time a test sets; what is common to its tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import (
    Actor,
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    ShareRecord,
)
from authz_sidecar.directory.storage.schema import AUDIT, CHANGES
from authz_sidecar.values.directory_rules import DirectoryRules, FlagFacts, GroupFacts, RoleFacts
from authz_sidecar.values.identity import IdentityKind

ADMIN = Actor("root", credential="key:k", address="203.0.113.1", call="c-1")
HOUR, DAY = 3_600.0, 86_400.0
NOW = 1_800_000_000.0
USER, SERVICE = IdentityKind.USER, IdentityKind.SERVICE_ACCOUNT

RULES = DirectoryRules(
    form="extended",
    roles={
        "ADMIN": RoleFacts("platform", sensitive=True),
        "OPERATOR": RoleFacts("platform"),
        "CLIENT": RoleFacts("company"),
        "CLIENT_ADMIN": RoleFacts("company"),
        "EXTRA": RoleFacts("company", kind="additive"),
        "AUDITOR": RoleFacts("platform", kind="additive"),
        "NO_ACCESS": RoleFacts("platform", kind="sole"),
    },
    object_types={
        "folder": ("create", "read", "update", "delete"),
        "person": ("read",),
        "sidecar.identity": ("create", "read"),
    },
    justified=frozenset({"person"}),
    flags={"can_start": FlagFacts(("CLIENT",), "folder", ("create",))},
    groups=(
        GroupFacts("operators", ("OPERATOR",)),
        GroupFacts("auditors", ("AUDITOR",)),
        GroupFacts("acme", ("CLIENT", "EXTRA"), "acme"),
    ),
)


GRANT = GrantRecord(identity="ann", company="acme", object_type="folder", actions=("read",))
SHARE = ShareRecord(identity="bot", company="acme", object_type="folder", object_id="42", actions=("read",))


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


class Directory(IdentityAdministration):
    """Administration whose policy and time a test sets."""

    clock: Clock
    rules: DirectoryRules
    bundle: dict[str, tuple[tuple[str, str], ...]]
    told: list[int]

    def rule(self, **rules: Any) -> None:
        """Change the rules."""
        self.rules = msgspec.structs.replace(self.rules, **rules)

    def user(self, id: str, *roles: str, **fields: Any) -> IdentityRecord:
        """Make a user."""
        made = self.create_identity(ADMIN, IdentityRecord(id=id, kind=USER, **fields), roles, justification="needed")
        record = made.record
        assert isinstance(record, IdentityRecord)
        return record

    def service(self, id: str, *roles: str, **fields: Any) -> IdentityRecord:
        """Make a service account."""
        made = self.create_identity(ADMIN, IdentityRecord(id=id, kind=SERVICE, **fields), roles)
        record = made.record
        assert isinstance(record, IdentityRecord)
        return record

    def assign(self, identity: str, role: str, company: str = "", **fields: Any) -> AssignmentRecord:
        """Assign a role."""
        replace = fields.pop("replace", False)
        given = AssignmentRecord(identity=identity, role=role, company=company, **fields)
        record = self.create_assignment(ADMIN, given, replace=replace).record
        assert isinstance(record, AssignmentRecord)
        return record

    def held(self, identity: str) -> set[tuple[str, str, str]]:
        """The roles that an identity holds now, with company and source."""
        now = self.clock()
        return {
            (record.role, record.company, record.source)
            for record in self.list_assignments(identity=identity).records
            if (record.begins_at or 0.0) <= now < (record.expires_at or 1e12)
        }

    def audit(self) -> list[dict[str, Any]]:
        """The audit."""
        with self.store.read() as connection:
            texts = connection.execute(select(AUDIT.c.record).order_by(AUDIT.c.sequence)).scalars()
            return [json.loads(text) for text in texts]

    def touched(self, revision: int) -> set[tuple[str, str]]:
        """What a revision touched."""
        with self.store.read() as connection:
            rows = connection.execute(select(CHANGES.c.kind, CHANGES.c.key).where(CHANGES.c.revision == revision))
            return {(kind, key) for kind, key in rows}


@contextmanager
def refused(fault: Fault, *words: str, field: str = "", **details: str) -> Iterator[None]:
    """The block is refused with that fault, in words that hold these, at that field."""
    with pytest.raises(DirectoryError) as caught:
        yield
    error = caught.value
    assert error.fault is fault, error.message
    for word in words:
        assert word in f"{error.message}; {error.help}", (error.message, error.help)
    if field:
        assert field in [violation.field for violation in error.violations]
    assert {name: error.details.get(name) for name in details} == details
