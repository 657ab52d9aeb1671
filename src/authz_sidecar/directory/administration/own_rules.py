"""What grants and shares of an identity's own have in common: how they are made, listed, taken away and audited, how
many there may be, and beside which roles."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Table, func, insert, select

from authz_sidecar.audit.record import AuditAction
from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.field_checks import check_expiry, check_justification, need_justification
from authz_sidecar.directory.administration.holdings import Holding, holding_of, in_bundle
from authz_sidecar.directory.administration.operation import (
    Changed,
    Operations,
    check_expected,
    check_filters,
    read_page,
)
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, GrantRecord, IdentityRecord, Page, ShareRecord, new_id
from authz_sidecar.directory.storage.rows import audited, columns, delete_row, find_assignments, find_identity
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import ANY, FOREVER

MOST_OWN_RULES = 10_000
"""Grants, and shares, that one identity may have."""

OwnRule: TypeAlias = GrantRecord | ShareRecord
R = TypeVar("R", GrantRecord, ShareRecord)


class OwnRuleOperations(Operations):
    """What is done with grants and with shares alike; `table` is theirs."""

    def _create(
        self,
        actor: Actor,
        view: PolicyView,
        table: Table,
        record: R,
        idempotency_key: str,
        dry_run: bool,
        check: Callable[[Change, IdentityRecord], None] = lambda _change, _identity: None,
    ) -> Changed:
        """Make one, whose fields are looked at already; `check` refuses it for the identity that is to have it."""
        noun = _noun(table)

        def work(change: Change) -> R:
            check(change, find_identity(change.connection, record.identity))
            check_expiry(record.expires_at, change.now, f"{noun}.expire_time")
            check_room(change, table, record.identity)
            check_not_alone(change, view, table, record.identity, record.expires_at)
            made = msgspec.structs.replace(
                record,
                id=new_id(change.now),
                created_by=change.actor.id,
                created_at=change.now,
                revision=change.revision,
            )
            change.connection.execute(insert(table), columns(made))
            note(change, view, table, None, made, record.justification)
            return made

        made, revision, _ = self.perform_once(
            actor,
            f"{noun}.create",
            columns(record),
            type(record),
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(made, revision)

    def _list(
        self,
        table: Table,
        build: Callable[[Row[Any]], OwnRule],
        identity: str,
        company: str | None,
        companies: Collection[str] | None,
        page_size: int,
        page_token: str,
    ) -> Page:
        """A page in the order of their ids."""
        check_filters(identity=identity, company=company, companies=companies)
        query = select(table)
        if identity:
            query = query.where(table.c.identity == identity)
        if company is not None:
            query = query.where(table.c.company == company)
        if companies is not None:
            query = query.where(table.c.company.in_(sorted(companies)))
        asked = [identity, company, None if companies is None else sorted(companies)]
        with self.reading() as connection:
            return read_page(
                connection, query, table.c.id, build, asked=asked, page_size=page_size, page_token=page_token
            )

    def _delete(
        self,
        actor: Actor,
        table: Table,
        find: Callable[[Connection, str], OwnRule],
        id: str,
        expect: int | None,
        justification: str,
        dry_run: bool,
    ) -> Changed:
        """Take one away."""
        check_justification(justification)
        view = self.policy()

        def work(change: Change) -> None:
            record = find(change.connection, id)
            check_expected(_noun(table), id, record.revision, expect)
            delete_row(change, table, id)
            note(change, view, table, record, None, justification)

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)


def note(
    change: Change, view: PolicyView, table: Table, before: OwnRule | None, after: OwnRule | None, justification: str
) -> None:
    """Say to those who follow and to the audit that one was made (nothing `before`), changed or removed."""
    record = after or before
    if record is None:
        raise AssertionError("neither made nor removed")
    done = "create" if before is None else "delete" if after is None else "update"
    change.touch("identity", record.identity)
    change.audit(
        _ACTIONS[_noun(table), done],
        subject=record.identity,
        company=record.company,
        object_type=f"sidecar.{_noun(table)}",
        object_id=record.id,
        before=None if before is None else audited(before),
        after=None if after is None else audited(after),
        justification=justification,
        policy_version=view.policy_version,
    )


_ACTIONS: Mapping[tuple[str, str], AuditAction] = {
    ("grant", "create"): "grant.create",
    ("grant", "delete"): "grant.delete",
    ("share", "create"): "share.create",
    ("share", "update"): "share.update",
    ("share", "delete"): "share.delete",
}


def _noun(table: Table) -> str:
    return table.name.removesuffix("s")


def check_justified(rules: DirectoryRules, type: str, justification: str, field: str) -> None:
    """Refuse a grant or share of sensitive objects without a justification."""
    if type in rules.justified or (type == ANY and rules.justified):
        need_justification(justification, f"access to {quote(type)}", field)


def check_room(change: Change, table: Table, identity: str) -> None:
    """Refuse one more than an identity may have. Raises DirectoryError(LIMIT)."""
    query = select(func.count()).select_from(table).where(table.c.identity == identity)
    count = change.connection.execute(query).scalar_one()
    if count >= MOST_OWN_RULES:
        raise DirectoryError(
            Fault.LIMIT,
            f"at most {MOST_OWN_RULES:,} {table.name} for an identity; {quote(identity)} has {count:,}",
            "use a pattern, or a role",
            violations=[Violation(f"{_noun(table)}.identity", "has as many as it may have")],
            details={"limit": str(MOST_OWN_RULES), "count": str(count)},
        )


def check_not_alone(change: Change, view: PolicyView, table: Table, identity: str, expires_at: float | None) -> None:
    """A role that stands alone is not to be got round by what is granted beside it: as in a bundle."""
    roles = view.rules.roles
    period = Holding("", "", "", change.now, FOREVER if expires_at is None else expires_at)
    held = [*in_bundle(view.held(identity)), *map(holding_of, find_assignments(change.connection, identity))]
    for holding in held:
        facts = roles.get(holding.role)
        if facts is not None and facts.kind == "sole" and holding.meets(period):
            raise DirectoryError(
                Fault.PRECONDITION,
                f"{quote(identity)} has the role {quote(holding.role)}, which stands alone",
                f"give it another role before it is given {table.name}",
                violations=[Violation(f"{_noun(table)}.identity", "has a role that stands alone")],
            )
