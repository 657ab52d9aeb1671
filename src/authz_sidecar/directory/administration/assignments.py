"""Administration of role assignments, and of those that follow from an identity provider's groups."""

from collections.abc import Callable, Collection

import msgspec
from sqlalchemy import select

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.field_checks import (
    check_company,
    check_justification,
    check_period,
    need_justification,
)
from authz_sidecar.directory.administration.holdings import check_role
from authz_sidecar.directory.administration.operation import (
    Changed,
    Operations,
    check_expected,
    check_filters,
    invalid,
    read_page,
)
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import HeldRoles, check_holds_roles, kind_rules
from authz_sidecar.directory.storage.change import Change, read_state
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import (
    DEFAULT,
    GROUP_PREFIX,
    HAND,
    Actor,
    AssignmentRecord,
    IdentityRecord,
    Page,
)
from authz_sidecar.directory.storage.rows import (
    assignment_record,
    columns,
    find_assignment,
    find_assignments,
    find_identity,
)
from authz_sidecar.directory.storage.schema import ASSIGNMENTS
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules

MOST_GROUPS = 1_000


class _Made(msgspec.Struct, frozen=True):
    """What is kept under an idempotency key."""

    record: AssignmentRecord
    warnings: tuple[str, ...] = ()


class AssignmentOperations(Operations):
    """What can be done with role assignments."""

    def create_assignment(
        self,
        actor: Actor,
        record: AssignmentRecord,
        *,
        replace: bool = False,
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Assign a role by hand. With `replace` the identity's other roles are taken away in the same step.

        Raises DirectoryError: INVALID, NOT_FOUND (identity), ALREADY_EXISTS, PRECONDITION (roles that do not go
        together), LIMIT, JUSTIFICATION, UNAVAILABLE.
        """
        view = self.policy()
        record = msgspec.structs.replace(record, source=HAND)
        self._check(view, record)

        def work(change: Change) -> _Made:
            identity = find_identity(change.connection, record.identity)
            check_holds_roles(view.rules, identity)
            check_period(record.begins_at, record.expires_at, change.now, "assignment.")
            _check_emergency(view, record, change.now)
            held = HeldRoles(change, view, identity)
            if replace:
                for other in held.given:
                    held.remove(other, record.justification)
            made, warnings = held.add(record)
            held.settle()
            return _Made(made, tuple(warnings))

        made, revision, _ = self.perform_once(
            actor,
            "assignment.create",
            [columns(record), replace],
            _Made,
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(made.record, revision, made.warnings)

    def get_assignment(self, id: str) -> AssignmentRecord:
        """The assignment with that id. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return find_assignment(connection, id)

    def list_assignments(
        self,
        *,
        identity: str = "",
        role: str = "",
        company: str | None = None,
        companies: Collection[str] | None = None,
        break_glass: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """A page of assignments in the order of their ids, which is that of their making; those that are over too."""
        check_filters(identity=identity, role=role, company=company, companies=companies)
        table = ASSIGNMENTS.c
        query = select(ASSIGNMENTS)
        if identity:
            query = query.where(table.identity == identity)
        if role:
            query = query.where(table.role == role)
        if company is not None:
            query = query.where(table.company == company)
        if companies is not None:
            query = query.where(table.company.in_(sorted(companies)))
        if break_glass:
            query = query.where(table.break_glass.is_(True))
        asked = [identity, role, company, None if companies is None else sorted(companies), break_glass]
        with self.reading() as connection:
            return read_page(
                connection, query, table.id, assignment_record, asked=asked, page_size=page_size, page_token=page_token
            )

    def delete_assignment(
        self,
        actor: Actor,
        id: str,
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Take a role away. The default role is back where it was the last.

        Raises DirectoryError: NOT_FOUND, CONFLICT, PRECONDITION (the default role, or the last one where every identity
        has a role), INVALID, UNAVAILABLE.
        """
        check_justification(justification)
        view = self.policy()

        def work(change: Change) -> None:
            record = find_assignment(change.connection, id)
            check_expected("assignment", id, record.revision, expect)
            if record.source == DEFAULT:
                raise DirectoryError(
                    Fault.PRECONDITION,
                    f"{quote(record.identity)} has the role {quote(record.role)} because it has no other",
                    "assign another role, which lifts it",
                )
            held = HeldRoles(change, view, find_identity(change.connection, record.identity))
            held.remove(record, justification)
            held.settle()

        _, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(None, revision)

    def apply_groups(
        self,
        actor: Actor,
        identity: str,
        groups: Collection[str],
        *,
        permitted: Callable[[str, str], bool] | None = None,
    ) -> Changed:
        """Make the assignments of an identity that come from groups those that the bundle maps `groups` to: members of
        new groups get their roles, those who left lose them. `permitted(role, company)` says which roles these groups
        may give at all; by default all. Where the identity may hold no roles, none is given.

        Where one of the roles stands alone, the others are not given. What was taken away is gone in any case; a role
        that may not be held beside those by hand is left out, with a warning. Where nothing is to be changed, nothing
        is written. The record is a tuple of the group assignments.

        Raises DirectoryError: NOT_FOUND (identity), INVALID (too many groups), UNAVAILABLE.
        """
        view = self.policy()
        if len(groups) > MOST_GROUPS:
            raise invalid("groups", f"at most {MOST_GROUPS:,} groups are taken, not {len(groups):,}", "map fewer")
        with self.store.read() as connection:
            record = find_identity(connection, identity)
            held = _from_groups(find_assignments(connection, identity))
            revision = read_state(connection, self.store.shown).revision
        wanted = roles_by_groups(view.rules, record, groups, permitted)
        if {_key(assignment) for assignment in held} == wanted:
            return Changed(tuple(held), revision)

        def work(change: Change) -> tuple[tuple[AssignmentRecord, ...], tuple[str, ...]]:
            roles = HeldRoles(change, view, find_identity(change.connection, identity))
            for assignment in _from_groups(roles.assignments):
                if _key(assignment) not in wanted:
                    roles.remove(assignment)
            there = {_key(assignment) for assignment in _from_groups(roles.assignments)}
            warnings: list[str] = []
            for role, company, source in sorted(wanted - there):
                added = AssignmentRecord(identity=identity, role=role, company=company, source=source)
                try:
                    warnings += roles.add(added)[1]
                except DirectoryError as error:
                    warnings.append(error.message)
            roles.settle(required=False)
            return tuple(_from_groups(roles.assignments)), tuple(warnings)

        (records, warnings), revision = self.perform(actor, work)
        return Changed(records, revision, warnings)

    @staticmethod
    def _check(view: PolicyView, record: AssignmentRecord) -> None:
        rules = view.rules
        check_company(record.company, "assignment.company")
        check_role(rules, record.role, record.company, "assignment.role", "assignment.company")
        check_justification(record.justification, "assignment.justification")
        facts = rules.roles.get(record.role)
        if facts is not None and facts.sensitive:
            need_justification(record.justification, f"the role {quote(record.role)}", "assignment.justification")
        if not record.break_glass:
            return
        need_justification(record.justification, "an assignment for an emergency", "assignment.justification")
        if record.expires_at is None:
            raise invalid(
                "assignment.expire_time",
                "an assignment for an emergency expires",
                f"let it expire within {_duration(rules.break_glass_seconds)}",
                limit_name="identities.break_glass.max",
                limit=str(rules.break_glass_seconds),
            )


def roles_by_groups(
    rules: DirectoryRules,
    identity: IdentityRecord,
    groups: Collection[str],
    permitted: Callable[[str, str], bool] | None = None,
) -> set[tuple[str, str, str]]:
    """The roles that `groups` give an identity, as (role, company, source); `permitted` is as of `apply_groups`."""
    if not kind_rules(rules, identity.kind).roles:
        return set()
    members = frozenset(groups)
    wanted = {
        (role, mapping.company, GROUP_PREFIX + mapping.group)
        for mapping in rules.groups
        if mapping.group in members
        for role in mapping.roles
        if role in rules.roles and (permitted is None or permitted(role, mapping.company))
    }
    alone = rules.sole(role for role, _, _ in wanted)
    if alone:
        wanted = {key for key in wanted if key[0] == alone}
    # One that stands alone keeps the others away also where it may not be held itself.
    return {key for key in wanted if rules.may_hold_in(key[1], identity.company)}


def _key(record: AssignmentRecord) -> tuple[str, str, str]:
    return record.role, record.company, record.source


def _from_groups(records: list[AssignmentRecord]) -> list[AssignmentRecord]:
    return [record for record in records if record.source.startswith(GROUP_PREFIX)]


def _check_emergency(view: PolicyView, record: AssignmentRecord, now: float) -> None:
    """The length of an assignment for an emergency."""
    if not record.break_glass or record.expires_at is None:
        return
    most = view.rules.break_glass_seconds
    if record.expires_at - max(record.begins_at or now, now) > most:
        message = f"an assignment for an emergency lasts at most {_duration(most)}"
        raise DirectoryError(
            Fault.LIMIT,
            message,
            "let it expire earlier",
            violations=[Violation("assignment.expire_time", message)],
            details={"limit_name": "identities.break_glass.max", "limit": str(most)},
        )


def _duration(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
