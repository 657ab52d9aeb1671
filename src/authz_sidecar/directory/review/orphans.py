"""Roles in use that a bundle drops: whoever holds one would lose access without anybody having taken it away."""

import time
from collections.abc import Callable, Mapping

from sqlalchemy import ColumnElement, Connection, func, or_, select

from authz_sidecar.directory.storage.schema import ASSIGNMENTS
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.review.held_roles import HeldRole, orphaned_roles, orphans_problem

MOST_NAMED = 3


def held_roles(connection: Connection, now: float, *, named: int = MOST_NAMED) -> list[HeldRole]:
    """The roles that identities hold at `now` or will hold, by name and place; with up to `named` of the identities.

    Assignments by groups, for emergencies and of inactive identities are among them: who has one may come back.
    """
    table = ASSIGNMENTS
    in_force = or_(table.c.expires_at.is_(None), table.c.expires_at > now)
    in_company = table.c.company != ""
    grouped = (
        select(table.c.role, in_company, func.count(table.c.identity.distinct()))
        .where(in_force)
        .group_by(table.c.role, in_company)
    )
    return [
        HeldRole(role, "company" if company else "platform", count, _some(connection, role, company, in_force, named))
        for role, company, count in sorted(map(tuple, connection.execute(grouped)))
    ]


def _some(
    connection: Connection, role: str, company: bool, in_force: ColumnElement[bool], named: int
) -> tuple[str, ...]:
    if not named:
        return ()
    table = ASSIGNMENTS
    place = table.c.company != "" if company else table.c.company == ""
    query = select(table.c.identity).distinct().where(table.c.role == role, place, in_force)
    return tuple(connection.scalars(query.order_by(table.c.identity).limit(named)))


def find_orphans(store: Store, places: Mapping[str, str], now: float) -> list[HeldRole]:
    """The roles in use at `now` that a bundle does not have, or not where they are held. `places` has each of its roles
    with the place where it is held: `platform` or `company`. Raises DirectoryError where the store cannot be read."""
    with store.read() as connection:
        # Most bundles drop nothing, and names are needed for what is dropped only.
        if not any(orphaned_roles(held_roles(connection, now, named=0), places)):
            return []
        return list(orphaned_roles(held_roles(connection, now), places))


class OrphanCheck:
    """Asks the directory at `url` whether a bundle drops roles in use."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock

    def __call__(self, places: Mapping[str, str]) -> str:
        """What is wrong with a bundle of these roles, in one line; "" for nothing. Raises DirectoryError where that
        cannot be known."""
        store = Store.open(self._url, migrate=False, check=False)
        try:
            return orphans_problem(find_orphans(store, places, self._clock()), places)
        finally:
            store.close()
