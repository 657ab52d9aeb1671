"""Roles that identities hold where they do not belong: what a bundle finds whose manifest is new to
`own_company_only`."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, or_, select

from authz_sidecar.directory.storage.rows import ROWS_AT_ONCE
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, IDENTITIES
from authz_sidecar.review.held_roles import AssignedRole, HeldRole

MOST_NAMED = 3


def misplaced_roles(
    connection: Connection, now: float, assigned: Iterable[AssignedRole] = (), *, named: int = MOST_NAMED
) -> list[HeldRole]:
    """The roles that identities hold at `now`, or will hold, in another company than their own, on the platform though
    they have a company, or in a company though they have none: by name and place, with up to `named` of the identities.

    `assigned` are the roles that a bundle assigns, which count too. Inactive identities are among the holders.
    """
    held, identities = ASSIGNMENTS.c, IDENTITIES.c
    query = (
        select(held.role, held.company, held.identity)
        .join(IDENTITIES, held.identity == identities.id)
        .where(held.company != identities.company, or_(held.expires_at.is_(None), held.expires_at > now))
    )
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for role, company, identity in connection.execute(query):
        found[role, "company" if company else "platform"].add(identity)
    by_identity: dict[str, list[AssignedRole]] = defaultdict(list)
    for one in assigned:
        by_identity[one.identity].append(one)
    ids = list(by_identity)
    for begin in range(0, len(ids), ROWS_AT_ONCE):
        homes = select(identities.id, identities.company).where(identities.id.in_(ids[begin : begin + ROWS_AT_ONCE]))
        for identity, home in connection.execute(homes):
            for one in by_identity[identity]:
                if one.company != home:
                    found[one.role, "company" if one.company else "platform"].add(identity)
    return [
        HeldRole(role, place, len(holders), tuple(sorted(holders)[:named]))
        for (role, place), holders in sorted(found.items())
    ]
