"""What grants and shares of an identity's own have in common: how many there may be, and beside which roles."""

from sqlalchemy import Table, func, select

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.change import Change
from authz_sidecar.directory.errors import DirectoryError, Fault
from authz_sidecar.directory.field_checks import need_justification
from authz_sidecar.directory.holdings import Holding, holding_of, in_bundle
from authz_sidecar.directory.policy import PolicyView
from authz_sidecar.directory.rows import find_assignments
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import ANY, FOREVER

MOST_OWN_RULES = 10_000
"""Grants, and shares, that one identity may have."""


def check_justified(rules: DirectoryRules, type: str, justification: str, field: str) -> None:
    """Refuse a grant or share of sensitive objects without a justification."""
    if type in rules.justified or (type == ANY and rules.justified):
        need_justification(justification, f"access to {quote(type)}", field)


def check_room(change: Change, table: Table, identity: str, noun: str) -> None:
    """Refuse one more than an identity may have. Raises DirectoryError(LIMIT)."""
    query = select(func.count()).select_from(table).where(table.c.identity == identity)
    count = change.connection.execute(query).scalar_one()
    if count >= MOST_OWN_RULES:
        raise DirectoryError(
            Fault.LIMIT,
            f"at most {MOST_OWN_RULES:,} {noun} for an identity; {quote(identity)} has {count:,}",
            "use a pattern, or a role",
            violations=[Violation(f"{noun.removesuffix('s')}.identity", "has as many as it may have")],
            details={"limit": str(MOST_OWN_RULES), "count": str(count)},
        )


def check_not_alone(change: Change, view: PolicyView, identity: str, noun: str, expires_at: float | None) -> None:
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
                f"give it another role before it is given {noun}",
                violations=[Violation(f"{noun.removesuffix('s')}.identity", "has a role that stands alone")],
            )
