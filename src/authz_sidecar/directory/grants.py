"""Administration of grants of single identities."""

from collections.abc import Collection

import msgspec
from sqlalchemy import insert, select

from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.directory.change import Change
from authz_sidecar.directory.field_checks import (
    DESCRIPTION_BYTES,
    check_company,
    check_condition,
    check_expiry,
    check_justification,
    check_object,
    check_text,
)
from authz_sidecar.directory.operation import Changed, Operations, check_expected, check_filters, invalid, read_page
from authz_sidecar.directory.own_rules import check_justified, check_not_alone, check_room
from authz_sidecar.directory.policy import PolicyView
from authz_sidecar.directory.records import Actor, GrantRecord, Page, new_id
from authz_sidecar.directory.rows import (
    audited,
    columns,
    delete_row,
    find_grant,
    find_identity,
    grant_record,
)
from authz_sidecar.directory.schema import GRANTS

_SCOPES = ("platform", "company", "own")
_EFFECTS = ("allow", "deny")


class GrantOperations(Operations):
    """What can be done with grants of identities."""

    def create_grant(
        self, actor: Actor, record: GrantRecord, *, idempotency_key: str = "", dry_run: bool = False
    ) -> Changed:
        """Grant something to one identity, or deny it.

        Raises DirectoryError: INVALID, NOT_FOUND (identity), PRECONDITION (a role that stands alone, a plain Casbin
        bundle), LIMIT, JUSTIFICATION, UNAVAILABLE.
        """
        view = self.policy()
        _check(view, record)

        def work(change: Change) -> GrantRecord:
            find_identity(change.connection, record.identity)
            check_expiry(record.expires_at, change.now, "grant.expire_time")
            check_room(change, GRANTS, record.identity, "grants")
            check_not_alone(change, view, record.identity, "grants", record.expires_at)
            made = msgspec.structs.replace(
                record,
                id=new_id(change.now),
                condition=record.condition.strip(),
                created_by=change.actor.id,
                created_at=change.now,
                revision=change.revision,
            )
            change.connection.execute(insert(GRANTS), columns(made))
            _note(change, view, None, made)
            return made

        made, revision, _ = self.perform_once(
            actor,
            "grant.create",
            columns(record),
            GrantRecord,
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(made, revision)

    def get_grant(self, id: str) -> GrantRecord:
        """The grant with that id. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return find_grant(connection, id)

    def list_grants(
        self,
        *,
        identity: str = "",
        company: str | None = None,
        companies: Collection[str] | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """A page of grants in the order of their ids, which is that of their making; those that are over too."""
        check_filters(identity=identity, company=company, companies=companies)
        table = GRANTS.c
        query = select(GRANTS)
        if identity:
            query = query.where(table.identity == identity)
        if company is not None:
            query = query.where(table.company == company)
        if companies is not None:
            query = query.where(table.company.in_(sorted(companies)))
        asked = [identity, company, None if companies is None else sorted(companies)]
        with self.reading() as connection:
            return read_page(
                connection, query, table.id, grant_record, asked=asked, page_size=page_size, page_token=page_token
            )

    def delete_grant(
        self,
        actor: Actor,
        id: str,
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Take a grant away. Raises DirectoryError: NOT_FOUND, CONFLICT, INVALID, UNAVAILABLE."""
        check_justification(justification)
        view = self.policy()

        def work(change: Change) -> None:
            record = find_grant(change.connection, id)
            check_expected("grant", id, record.revision, expect)
            delete_row(change, GRANTS, id)
            _note(change, view, record, None, justification)

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)


def _check(view: PolicyView, record: GrantRecord) -> None:
    rules = view.rules
    check_company(record.company, "grant.company")
    check_object(rules, record.object_type, record.object_id, record.actions, "grant.", any_type=True)
    if not record.actions:
        raise invalid("grant.actions", "a grant names actions", "name at least one")
    if record.effect not in _EFFECTS:
        raise invalid(
            "grant.effect",
            f"{quote(record.effect)} is no effect",
            suggest(record.effect, _EFFECTS, "write `allow` or `deny`"),
        )
    if record.scope and record.scope not in _SCOPES:
        raise invalid(
            "grant.scope",
            f"{quote(record.scope)} is no scope",
            suggest(record.scope, _SCOPES, "write `platform`, `company` or `own`"),
        )
    if record.company and record.scope == "platform":
        raise invalid(
            "grant.scope", "a grant in a company has platform scope", "use `company` or `own`, or name no company"
        )
    if not record.company and record.scope == "company":
        raise invalid(
            "grant.scope", "a grant on the platform has company scope", "use `platform` or `own`, or name a company"
        )
    check_condition(rules, record.condition, "grant.condition")
    check_text(record.description, "grant.description", "the description", DESCRIPTION_BYTES)
    check_justification(record.justification, "grant.justification")
    check_justified(rules, record.object_type, record.justification, "grant.justification")


def _note(
    change: Change,
    view: PolicyView,
    before: GrantRecord | None,
    after: GrantRecord | None,
    justification: str = "",
) -> None:
    record = after or before
    if record is None:
        raise AssertionError("neither made nor removed")
    change.touch("identity", record.identity)
    change.audit(
        "grant.create" if after else "grant.delete",
        subject=record.identity,
        company=record.company,
        object_type="sidecar.grant",
        object_id=record.id,
        before=None if before is None else audited(before),
        after=None if after is None else audited(after),
        justification=justification or (after.justification if after else ""),
        policy_version=view.policy_version,
    )
