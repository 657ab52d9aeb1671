"""Administration of shares: objects that single identities may reach, for themselves or for users."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import select, update

from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.directory.administration.field_checks import (
    check_company,
    check_expiry,
    check_justification,
    check_object,
)
from authz_sidecar.directory.administration.operation import Changed, check_expected, invalid
from authz_sidecar.directory.administration.own_rules import OwnRuleOperations, check_justified, note
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Page, ShareRecord
from authz_sidecar.directory.storage.rows import (
    columns,
    find_identity,
    find_share,
    share_record,
)
from authz_sidecar.directory.storage.schema import SHARES
from authz_sidecar.values import Violation
from authz_sidecar.values.identity import IdentityKind

IMPERSONATE = "impersonate"
CHANGEABLE = ("actions", "expires_at", "impersonation")


class ShareOperations(OwnRuleOperations):
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

        def check(change: Change, identity: IdentityRecord) -> None:
            _check_impersonation(identity, record)
            _check_twice(change, record)

        return self._create(actor, view, SHARES, record, idempotency_key, dry_run, check)

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
        return self._list(SHARES, share_record, identity, company, companies, page_size, page_token)

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
            note(change, view, SHARES, before, after, justification)
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
        return self._delete(actor, SHARES, find_share, id, expect, justification, dry_run)


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
