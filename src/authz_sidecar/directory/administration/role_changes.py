"""Changes of what one identity holds: assignments made and taken away, and the default role that follows from them.

The default role is held whenever no other is: its assignments (`source` is `default`) cover the gaps between the
others, so that it is back the moment the last of them expires, and nobody has to write for that.
"""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from authz_sidecar.audit.record import AuditAction
from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.holdings import (
    Holding,
    Period,
    check_added,
    check_always_held,
    check_home,
    company_of,
    holding_of,
    in_bundle,
    uncovered,
)
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import DEFAULT, HAND, AssignmentRecord, IdentityRecord, new_id
from authz_sidecar.directory.storage.rows import audited, columns, find_assignments
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, GRANTS, SHARES
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules, KindRules
from authz_sidecar.values.identity import FOREVER, IdentityKind

MOST_ASSIGNMENTS = 1_000


def kind_rules(rules: DirectoryRules, kind: IdentityKind) -> KindRules:
    """The rules of one kind of identity."""
    return rules.users if kind is IdentityKind.USER else rules.service_accounts


def kind_words(kind: IdentityKind) -> str:
    """A kind of identity in the plural, for messages."""
    return "users" if kind is IdentityKind.USER else "service accounts"


def check_holds_roles(rules: DirectoryRules, identity: IdentityRecord) -> None:
    """Refuse roles for a kind of identity that has none. Raises DirectoryError(PRECONDITION)."""
    if not kind_rules(rules, identity.kind).roles:
        raise DirectoryError(
            Fault.PRECONDITION,
            f"{kind_words(identity.kind)} hold no roles here; {quote(identity.id)} is one",
            "share with it what it is to reach",
            violations=[Violation("assignment.identity", "is of a kind without roles")],
        )


def default_assignments(
    view: PolicyView, identity: IdentityRecord, gaps: Sequence[Period], now: float
) -> list[AssignmentRecord]:
    """The assignments of the default role that cover `gaps`; none where there is no default role for this identity."""
    rules = view.rules
    if not rules.default_role or not kind_rules(rules, identity.kind).roles:
        return []
    facts = rules.roles.get(rules.default_role)
    company = company_of(rules, rules.default_role, identity.company)
    if facts is None or (facts.assigned == "company" and not company):
        return []
    if not rules.may_hold_in(company, identity.company):
        return []
    return [
        AssignmentRecord(
            identity=identity.id,
            role=rules.default_role,
            company=company,
            source=DEFAULT,
            begins_at=None if gap.begins <= now else gap.begins,
            expires_at=None if gap.ends == FOREVER else gap.ends,
        )
        for gap in gaps
    ]


class HeldRoles:
    """The roles of one identity, being changed: `load`, then `add` and `remove`, then `settle`."""

    def __init__(self, change: Change, view: PolicyView, identity: IdentityRecord) -> None:
        self._change = change
        self._view = view
        self._identity = identity
        self.assignments = find_assignments(change.connection, identity.id)
        self._fixed = in_bundle(view.held(identity.id))
        self._gaps_before = self._gaps()

    @property
    def given(self) -> list[AssignmentRecord]:
        """What was assigned and is not over, without the default role's."""
        now = self._change.now
        return [
            held
            for held in self.assignments
            if held.source != DEFAULT and (held.expires_at is None or held.expires_at > now)
        ]

    def _holdings(self) -> list[Holding]:
        return [*self._fixed, *map(holding_of, self.given)]

    def _gaps(self) -> list[Period]:
        return uncovered(self._holdings(), self._change.now)

    def add(self, record: AssignmentRecord) -> tuple[AssignmentRecord, list[str]]:
        """Assign what `record` says, by the change's actor; give the record as it is kept, and warnings.

        A role by hand lifts the default role that stands alone also where that was assigned, which is how somebody is
        suspended; a role from a group does not. Raises DirectoryError: ALREADY_EXISTS, PRECONDITION or LIMIT.
        """
        rules = self._view.rules
        check_home(rules, record.identity, self._identity.company, holding_of(record), "assignment.company")
        self._check_twice(record)
        if record.source == HAND:
            self._lift_default(record)
        if len(self.assignments) >= MOST_ASSIGNMENTS:
            raise DirectoryError(
                Fault.LIMIT,
                f"at most {MOST_ASSIGNMENTS:,} assignments for an identity; {quote(record.identity)} has that many",
                "remove those that are over",
                details={"limit": str(MOST_ASSIGNMENTS)},
            )
        warnings = check_added(rules, record.identity, self._holdings(), holding_of(record))
        self._check_own_rules(record)
        return self._write(record), warnings

    def _lift_default(self, record: AssignmentRecord) -> None:
        default = self._view.rules.sole((self._view.rules.default_role,))
        if not default or record.role == default:
            return
        for held in self.given:
            if held.role == default and holding_of(held).meets(holding_of(record)):
                self.remove(held, record.justification)

    def remove(self, record: AssignmentRecord, justification: str = "") -> None:
        """Take an assignment away."""
        self._change.connection.execute(delete(ASSIGNMENTS).where(ASSIGNMENTS.c.id == record.id))
        self.assignments.remove(record)
        audit_assignment(self._change, self._view, "assignment.delete", record, None, justification)

    def settle(self, *, required: bool = True) -> None:
        """Let the default role fill what is left, and see that an identity that must have a role has one, unless what
        was taken away may not stay (not `required`).

        Raises DirectoryError(PRECONDITION) for one that would be left without.
        """
        now, rules = self._change.now, self._view.rules
        gaps = self._gaps()
        wanted = default_assignments(self._view, self._identity, gaps, now)
        if required and rules.role_required and not wanted and kind_rules(rules, self._identity.kind).roles:
            check_always_held(self._identity.id, self._gaps_before, gaps)
        missing = {_place(record, now): record for record in wanted}
        for held in [held for held in self.assignments if held.source == DEFAULT]:
            if missing.pop(_place(held, now), None) is None:
                self.remove(held)
        for record in missing.values():
            self._write(record)
        self._change.touch("identity", self._identity.id)

    def _write(self, record: AssignmentRecord) -> AssignmentRecord:
        made = made_assignment(record, self._change)
        self._change.connection.execute(insert(ASSIGNMENTS), columns(made))
        self.assignments.append(made)
        audit_assignment(self._change, self._view, "assignment.create", None, made)
        return made

    def _check_twice(self, record: AssignmentRecord) -> None:
        added = holding_of(record)
        for held in self.given:
            same = (held.role, held.company, held.source) == (record.role, record.company, record.source)
            if same and holding_of(held).meets(added):
                where = f" in {quote(record.company)}" if record.company else ""
                raise DirectoryError(
                    Fault.ALREADY_EXISTS,
                    f"{quote(record.identity)} has the role {quote(record.role)}{where} already",
                    "remove that assignment first, or replace it",
                    violations=[Violation("assignment.role", "is held already")],
                    details={"assignment": held.id},
                )

    def _check_own_rules(self, record: AssignmentRecord) -> None:
        """A role that stands alone is not to be got round by grants beside it."""
        facts = self._view.rules.roles.get(record.role)
        if facts is None or facts.kind != "sole":
            return
        for table, noun in ((GRANTS, "grants"), (SHARES, "shares")):
            held = select(table.c.id).where(table.c.identity == record.identity).limit(1)
            if self._change.connection.execute(held).first() is not None:
                raise DirectoryError(
                    Fault.PRECONDITION,
                    f"{quote(record.identity)} would have the role {quote(record.role)}, which stands alone, together"
                    f" with {noun} of its own",
                    f"take the {noun} away first",
                    violations=[Violation("assignment.role", "stands alone")],
                )


def made_assignment(record: AssignmentRecord, change: Change) -> AssignmentRecord:
    """`record` as the change keeps it."""
    fields = {name: getattr(record, name) for name in AssignmentRecord.__struct_fields__}
    begins = record.begins_at
    return AssignmentRecord(
        **{
            **fields,
            "id": new_id(change.now),
            "begins_at": None if begins is None or begins <= change.now else begins,
            "created_by": change.actor.id,
            "created_at": change.now,
            "revision": change.revision,
        }
    )


def audit_assignment(
    change: Change,
    view: PolicyView,
    action: AuditAction,
    before: AssignmentRecord | None,
    after: AssignmentRecord | None,
    justification: str = "",
) -> None:
    """Add a record about an assignment to the audit."""
    record = after or before
    if record is None:
        raise AssertionError("neither made nor removed")
    change.audit(
        action,
        subject=record.identity,
        company=record.company,
        object_type="sidecar.assignment",
        object_id=record.id,
        before=None if before is None else audited(before),
        after=None if after is None else audited(after),
        justification=justification or (after.justification if after else ""),
        policy_version=view.policy_version,
    )


def _place(record: AssignmentRecord, now: float) -> tuple[str, str, float, float | None]:
    begins = record.begins_at if record.begins_at is not None and record.begins_at > now else 0.0
    return record.role, record.company, begins, record.expires_at
