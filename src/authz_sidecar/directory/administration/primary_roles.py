"""Primary roles that identities hold together: permitted, and worth a look."""

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import Connection, func, or_, select

from authz_sidecar.directory.storage.schema import ASSIGNMENTS
from authz_sidecar.review.held_roles import RolesTogether

MOST_NAMED = 3


def roles_together(
    connection: Connection, roles: Collection[str], now: float, *, named: int = MOST_NAMED
) -> list[RolesTogether]:
    """Those of `roles` that identities hold together at `now`, with up to `named` of the identities.

    A platform role counts in every company; roles of two companies are not held together.
    """
    table = ASSIGNMENTS.c
    held = (
        table.role.in_(sorted(roles)),
        or_(table.begins_at.is_(None), table.begins_at <= now),
        or_(table.expires_at.is_(None), table.expires_at > now),
    )
    several = select(table.identity).where(*held).group_by(table.identity).having(func.count(table.role.distinct()) > 1)
    rows = select(table.identity, table.company, table.role).where(*held, table.identity.in_(several))
    places: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for identity, company, role in connection.execute(rows.order_by(table.identity)):
        places[identity][company].add(role)
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for identity, by_company in places.items():
        on_platform = by_company.get("", set())
        for together in {tuple(sorted(held | on_platform)) for held in by_company.values()}:
            if len(together) > 1:
                found[together].append(identity)
    return [
        RolesTogether(together, len(identities), tuple(identities[:named]))
        for together, identities in sorted(found.items())
    ]
