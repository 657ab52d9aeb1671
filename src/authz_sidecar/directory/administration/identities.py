"""Administration of identities: made, read, changed and removed."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.directory.administration.field_checks import check_attributes, check_justification
from authz_sidecar.directory.administration.newcomers import (
    Newcomers,
    check_description,
    check_flags,
    check_identity,
    check_name,
    fold_name,
    placed,
)
from authz_sidecar.directory.administration.operation import (
    Changed,
    Operations,
    check_expected,
    check_filters,
    invalid,
    read_page,
)
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import kind_rules
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Page
from authz_sidecar.directory.storage.rows import (
    audited,
    columns,
    delete_row,
    find_identity,
    held_credentials,
    identity_record,
    select_identities,
)
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, FAILURES, GRANTS, IDEMPOTENCY, IDENTITIES, SHARES
from authz_sidecar.values.identity import IdentityKind

CHANGEABLE = ("active", "attributes", "description", "flags", "name")
_FLAG_PREFIX = "flags."
_LAST_CHARACTER = 0x10FFFF


class IdentityOperations(Operations):
    """What can be done with identities."""

    def create_identity(
        self,
        actor: Actor,
        record: IdentityRecord,
        roles: Collection[str] = (),
        *,
        by_groups: Collection[tuple[str, str, str]] = (),
        justification: str = "",
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Make an identity that holds `roles`, each where it may be held: in the identity's company or on the platform;
        and `by_groups`, as `roles_by_groups` gives them. Without any it holds the default role. Its times, maker and
        revision are set here.

        Raises DirectoryError: INVALID, ALREADY_EXISTS (id or name), LIMIT, PRECONDITION, JUSTIFICATION, UNAVAILABLE.
        """
        view = self.policy()
        check_identity(view.rules, record)
        given = placed(view.rules, record.company, roles)

        def work(change: Change) -> IdentityRecord:
            newcomers = Newcomers(change, view)
            newcomers.expect([record])
            made = newcomers.add(record, given, justification, by_groups)
            newcomers.write()
            return made

        request = [columns(record), list(roles), justification]
        made, revision, _ = self.perform_once(
            actor,
            "identity.create",
            request,
            IdentityRecord,
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(made, revision)

    def get_identity(self, id: str) -> IdentityRecord:
        """The identity with that id. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return find_identity(connection, id)

    def list_identities(
        self,
        *,
        company: str | None = None,
        companies: Collection[str] | None = None,
        kind: IdentityKind | None = None,
        role: str = "",
        role_companies: Collection[str] | None = None,
        prefix: str = "",
        active: bool | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """A page of identities in the order of their ids: those of `company` ("" for those of none), of any of
        `companies`, of one kind, that hold `role` now (in any of `role_companies`), whose id or name begins with
        `prefix`, and so on.

        Raises DirectoryError(INVALID) for a page size or token that is none.
        """
        check_filters(
            company=company, companies=companies, role=role, role_companies=role_companies, prefix=prefix.strip()
        )
        table = IDENTITIES.c
        query = select_identities()
        if company is not None:
            query = query.where(table.company == company)
        if companies is not None:
            query = query.where(table.company.in_(sorted(companies)))
        if kind is not None:
            query = query.where(table.kind == int(kind))
        if active is not None:
            query = query.where(table.active == active)
        if role:
            now = self.clock()
            held = ASSIGNMENTS.c
            holding = select(held.id).where(
                held.identity == table.id,
                held.role == role,
                or_(held.begins_at.is_(None), held.begins_at <= now),
                or_(held.expires_at.is_(None), held.expires_at > now),
            )
            if role_companies is not None:
                holding = holding.where(held.company.in_(sorted(role_companies)))
            query = query.where(holding.exists())
        if prefix:
            query = query.where(or_(_begins(table.id, prefix), _begins(table.name, prefix)))
        bounds = [None if some is None else sorted(some) for some in (companies, role_companies)]
        asked = [company, *bounds, kind, role, prefix, active]
        with self.reading() as connection:
            return read_page(
                connection, query, table.id, identity_record, asked=asked, page_size=page_size, page_token=page_token
            )

    def update_identity(
        self,
        actor: Actor,
        id: str,
        changes: Mapping[str, Any],
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Change what `changes` names: `active`, `name`, `description`, `flags`, `flags.NAME` (None removes it) or
        `attributes`, each as a whole. `expect` is the revision that the identity must still have.

        Raises DirectoryError: INVALID, NOT_FOUND, CONFLICT, ALREADY_EXISTS (name), UNAVAILABLE.
        """
        view = self.policy()
        check_justification(justification)
        _check_changes(changes)

        def work(change: Change) -> IdentityRecord:
            before = find_identity(change.connection, id)
            check_expected("identity", id, before.revision, expect)
            return change_identity(change, view, before, changes, justification)

        made, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(made, revision)

    def delete_identity(
        self,
        actor: Actor,
        id: str,
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Remove an identity with all that it holds: roles, grants, shares, keys, tokens and password, at once. What it
        made stays.

        Raises DirectoryError: NOT_FOUND, CONFLICT, INVALID, UNAVAILABLE.
        """
        check_justification(justification)
        view = self.policy()

        def work(change: Change) -> None:
            before = find_identity(change.connection, id)
            check_expected("identity", id, before.revision, expect)
            keys, tokens = held_credentials(change, id)
            held = {"keys": len(keys), "tokens": len(tokens)}
            for table in (ASSIGNMENTS, GRANTS, SHARES):
                query = select(func.count()).select_from(table).where(table.c.identity == id)
                held[table.name] = change.connection.execute(query).scalar_one()
            delete_row(change, IDENTITIES, id)
            change.connection.execute(delete(FAILURES).where(FAILURES.c.subject == f"identity:{id}"))
            # Whoever is called so later has not asked for these.
            change.connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.actor == id))
            change.touch("identity", id)
            for key in keys:
                change.touch("key", key)
            for token in tokens:
                change.touch("token", token)
            change.audit(
                "identity.delete",
                subject=id,
                company=before.company,
                object_type="sidecar.identity",
                object_id=id,
                before={**audited(before), "held": {noun: count for noun, count in held.items() if count}},
                justification=justification,
                policy_version=view.policy_version,
            )

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)


def change_identity(
    change: Change, view: PolicyView, before: IdentityRecord, changes: Mapping[str, Any], justification: str
) -> IdentityRecord:
    """Give an identity the values of `changes`; it is as it was where they are the same."""
    rules = view.rules
    fields = {name: getattr(before, name) for name in IdentityRecord.__struct_fields__}
    flags = dict(before.flags)
    for name, value in changes.items():
        if name == "flags":
            flags = dict(value)
        elif name.startswith(_FLAG_PREFIX):
            flag = name.removeprefix(_FLAG_PREFIX)
            if value is None:
                # A flag that is misspelt stays as it is: that is not to look like done.
                check_flags(rules, {flag: False}, before.flags)
                flags.pop(flag, None)
            else:
                flags[flag] = value
        else:
            fields[name] = value
    fields["flags"] = flags
    after = IdentityRecord(**fields)
    if after == before:
        return before
    check_flags(rules, flags, before.flags)
    if after.name != before.name:
        check_name(rules, after.kind, after.name)
        newcomers = Newcomers(change, view)
        if kind_rules(rules, after.kind).unique_names:
            newcomers.expect_names([after])
        newcomers.check_name_free(after)
    check_description(after.description)
    check_attributes(after.attributes, "identity.attributes")
    after = IdentityRecord(**{**fields, "updated_at": change.now, "revision": change.revision})
    row = {**columns(after), "folded_name": fold_name(after.name)}
    change.connection.execute(update(IDENTITIES).where(IDENTITIES.c.id == after.id), row)
    change.touch("identity", after.id)
    change.audit(
        "identity.update",
        subject=after.id,
        company=after.company,
        object_type="sidecar.identity",
        object_id=after.id,
        before=audited(before),
        after=audited(after),
        justification=justification,
        policy_version=view.policy_version,
    )
    return after


def _check_changes(changes: Mapping[str, Any]) -> None:
    if not changes:
        raise invalid("update_mask", "nothing is to be changed", f"name some of {listed(CHANGEABLE)}")
    for name, value in changes.items():
        field = f"identity.{name}"
        if name.startswith(_FLAG_PREFIX):
            if value is not None and not isinstance(value, bool):
                raise invalid(field, f"{quote(name)} is on or off", "give `true` or `false`")
        elif name not in CHANGEABLE:
            raise invalid(
                "update_mask",
                f"{quote(name)} of an identity cannot be changed",
                suggest(name, CHANGEABLE, f"what can be are {listed(CHANGEABLE, 'and')}"),
            )
        elif not isinstance(value, _TYPES[name]):
            raise invalid(field, f"{quote(name)} is of another type", "give a value of its type")


_TYPES: Mapping[str, type] = {
    "active": bool,
    "attributes": Mapping,
    "description": str,
    "flags": Mapping,
    "name": str,
}


def _begins(column: Any, prefix: str) -> ColumnElement[bool]:
    """Whether a text begins with `prefix`, byte by byte, so that an index answers."""
    for length in range(len(prefix), 0, -1):
        last = ord(prefix[length - 1])
        if last < _LAST_CHARACTER:
            # Surrogates are no characters of a text.
            after = 0xE000 if last == 0xD7FF else last + 1
            return and_(column >= prefix, column < prefix[: length - 1] + chr(after))
    return column >= prefix  # type: ignore[no-any-return]
