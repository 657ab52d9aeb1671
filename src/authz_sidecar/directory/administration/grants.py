"""Administration of grants of single identities."""

from collections.abc import Collection

import msgspec

from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.directory.administration.field_checks import (
    DESCRIPTION_BYTES,
    check_company,
    check_condition,
    check_justification,
    check_object,
    check_text,
)
from authz_sidecar.directory.administration.operation import Changed, invalid
from authz_sidecar.directory.administration.own_rules import OwnRuleOperations, check_justified
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.records import Actor, GrantRecord, Page
from authz_sidecar.directory.storage.rows import find_grant, grant_record
from authz_sidecar.directory.storage.schema import GRANTS

_SCOPES = ("platform", "company", "own")
_EFFECTS = ("allow", "deny")


class GrantOperations(OwnRuleOperations):
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
        record = msgspec.structs.replace(record, condition=record.condition.strip())
        return self._create(actor, view, GRANTS, record, idempotency_key, dry_run)

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
        return self._list(GRANTS, grant_record, identity, company, companies, page_size, page_token)

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
        return self._delete(actor, GRANTS, find_grant, id, expect, justification, dry_run)


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
