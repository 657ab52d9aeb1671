"""Administration of shares: objects that single identities may reach, for themselves or for users."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.directory.change import Change
from authz_sidecar.directory.errors import DirectoryError, Fault
from authz_sidecar.directory.field_checks import (
    check_company,
    check_expiry,
    check_justification,
    check_object,
)
from authz_sidecar.directory.operation import Changed, Operations, check_expected, check_filters, invalid, read_page
from authz_sidecar.directory.own_rules import check_justified, check_not_alone, check_room
from authz_sidecar.directory.policy import PolicyView
from authz_sidecar.directory.records import Actor, IdentityRecord, Page, ShareRecord, new_id
from authz_sidecar.directory.rows import (
    audited,
    columns,
    delete_row,
    find_identity,
    find_share,
    share_record,
)
from authz_sidecar.directory.schema import SHARES
from authz_sidecar.values import Violation
from authz_sidecar.values.identity import IdentityKind

IMPERSONATE = "impersonate"
CHANGEABLE = ("actions", "expires_at", "impersonation")


class ShareOperations(Operations):
    """What can be done with shares."""

    def create_share(
        self, actor: Actor, record: ShareRecord, *, idempotency_key: str = "", dry_run: bool = False
    ) -> Changed:
        """Share an object, or all whose ids begin alike, with an identity.

        Raises DirectoryError: INVALID, NOT_FOUND (identity), ALREADY_EXISTS, PRECONDITION (impersonation by a user, a
        role that stands alone, a plain Casbin bundle), LIMIT, JUSTIFICATION, UNAVAILABLE.
        """
        view = self.policy()
        check_company(record.company, "share.company")
        check_justification(record.justification, "share.justification")
        _check(view, record)
        check_justified(view.rules, record.object_type, record.justification, "share.justification")

        def work(change: Change) -> ShareRecord:
            _check_impersonation(find_identity(change.connection, record.identity), record)
            check_expiry(record.expires_at, change.now, "share.expire_time")
            _check_twice(change, record)
            check_room(change, SHARES, record.identity, "shares")
            check_not_alone(change, view, record.identity, "shares", record.expires_at)
            made = msgspec.structs.replace(
                record,
                id=new_id(change.now),
                created_by=change.actor.id,
                created_at=change.now,
                revision=change.revision,
            )
            change.connection.execute(insert(SHARES), columns(made))
            _note(change, view, "share.create", None, made)
            return made

        made, revision, _ = self.perform_once(
            actor,
            "share.create",
            columns(record),
            ShareRecord,
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(made, revision)

    def get_share(self, id: str) -> ShareRecord:
        """The share with that id. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return find_share(connection, id)

    def list_shares(
        self,
        *,
        identity: str = "",
        company: str | None = None,
        companies: Collection[str] | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """A page of shares in the order of their ids, which is that of their making; those that are over too."""
        check_filters(identity=identity, company=company, companies=companies)
        table = SHARES.c
        query = select(SHARES)
        if identity:
            query = query.where(table.identity == identity)
        if company is not None:
            query = query.where(table.company == company)
        if companies is not None:
            query = query.where(table.company.in_(sorted(companies)))
        asked = [identity, company, None if companies is None else sorted(companies)]
        with self.reading() as connection:
            return read_page(
                connection, query, table.id, share_record, asked=asked, page_size=page_size, page_token=page_token
            )

    def update_share(
        self,
        actor: Actor,
        id: str,
        changes: Mapping[str, Any],
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Change what `changes` names: `actions`, `impersonation` or `expires_at` (None for never), each as a whole.

        Raises DirectoryError: INVALID, NOT_FOUND, CONFLICT, PRECONDITION, JUSTIFICATION, UNAVAILABLE.
        """
        view = self.policy()
        check_justification(justification)
        _check_changes(changes)

        def work(change: Change) -> ShareRecord:
            before = find_share(change.connection, id)
            check_expected("share", id, before.revision, expect)
            values = dict(changes)
            if "actions" in values:
                values["actions"] = tuple(values["actions"])
            after = msgspec.structs.replace(before, **values)
            if after == before:
                return before
            _check(view, after)
            check_justified(view.rules, after.object_type, justification, "justification")
            _check_impersonation(find_identity(change.connection, after.identity), after)
            if after.expires_at != before.expires_at:
                check_expiry(after.expires_at, change.now, "share.expire_time")
            after = msgspec.structs.replace(after, revision=change.revision)
            change.connection.execute(update(SHARES).where(SHARES.c.id == id), columns(after))
            _note(change, view, "share.update", before, after, justification)
            return after

        made, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(made, revision)

    def delete_share(
        self,
        actor: Actor,
        id: str,
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """End a share. Raises DirectoryError: NOT_FOUND, CONFLICT, INVALID, UNAVAILABLE."""
        check_justification(justification)
        view = self.policy()

        def work(change: Change) -> None:
            record = find_share(change.connection, id)
            check_expected("share", id, record.revision, expect)
            delete_row(change, SHARES, id)
            _note(change, view, "share.delete", record, None, justification)

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)


def _check(view: PolicyView, record: ShareRecord) -> None:
    actions = [action for action in record.actions if action != IMPERSONATE]
    check_object(view.rules, record.object_type, record.object_id, actions, "share.", any_type=False)
    if len(actions) != len(record.actions):
        # It is permitted by an action of its own.
        raise invalid("share.actions", f"`{IMPERSONATE}` is no action of a share", "switch `impersonation` on instead")
    if not record.actions and not record.impersonation:
        raise invalid("share.actions", "the share permits nothing", "name actions, or switch `impersonation` on")


def _check_impersonation(identity: IdentityRecord, record: ShareRecord) -> None:
    if record.impersonation and identity.kind is not IdentityKind.SERVICE_ACCOUNT:
        raise DirectoryError(
            Fault.PRECONDITION,
            f"{quote(identity.id)} is a user, and users act for themselves",
            "share it with a service account, or switch `impersonation` off",
            violations=[Violation("share.impersonation", "is for service accounts")],
        )


def _check_twice(change: Change, record: ShareRecord) -> None:
    table = SHARES.c
    there = change.connection.execute(
        select(table.id).where(
            table.identity == record.identity,
            table.company == record.company,
            table.object_type == record.object_type,
            table.object_id == record.object_id,
        )
    ).scalar()
    if there is not None:
        raise DirectoryError(
            Fault.ALREADY_EXISTS,
            f"{quote(record.object_type + ':' + record.object_id)} is shared with {quote(record.identity)} already",
            "change that share",
            violations=[Violation("share.object_id", "is shared already")],
            details={"share": there},
        )


def _check_changes(changes: Mapping[str, Any]) -> None:
    if not changes:
        raise invalid("update_mask", "nothing is to be changed", f"name some of {listed(CHANGEABLE)}")
    for name, value in changes.items():
        if name not in CHANGEABLE:
            raise invalid(
                "update_mask",
                f"{quote(name)} of a share cannot be changed",
                suggest(name, CHANGEABLE, f"what can be are {listed(CHANGEABLE, 'and')}"),
            )
        if name == "impersonation" and not isinstance(value, bool):
            raise invalid("share.impersonation", "`impersonation` is on or off", "give `true` or `false`")


def _note(
    change: Change,
    view: PolicyView,
    action: str,
    before: ShareRecord | None,
    after: ShareRecord | None,
    justification: str = "",
) -> None:
    record = after or before
    if record is None:
        raise AssertionError("neither made nor removed")
    change.touch("identity", record.identity)
    change.audit(
        action,
        subject=record.identity,
        company=record.company,
        object_type="sidecar.share",
        object_id=record.id,
        before=None if before is None else audited(before),
        after=None if after is None else audited(after),
        justification=justification or (after.justification if after and before is None else ""),
        policy_version=view.policy_version,
    )
