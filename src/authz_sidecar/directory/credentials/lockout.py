"""Failed sign-ins: how many, and who has to wait for how long because of them.

After a number of failures in a row an identity is locked for a minute, and for twice as long after each further one, up
to an hour. Attempts during a lock do not count, so going on does not make it longer; but who comes back after each one
keeps somebody out of passwords, though not of keys, tokens and JWTs. A day without failures, or a right password,
forgets them.

An address, behind which there may be many people, has more of them, and one is forgotten every ten minutes: people who
mistype now and then lock nobody out, and who tries passwords gets no further than that.

All of it is in the table `failures`, so that every sidecar counts the same and a restart forgets nothing.
"""

import ipaddress
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from authz_sidecar.directory.storage.schema import FAILURES

DAY = 86_400.0
# The least telling rows go first where there would be more: those of the fewest failures, and of no lock.
MAX_ROWS = 10_000
# IPv6 addresses of one network are one: whoever has one has all of them (RFC 6177).
_IPV6_NETWORK = 64


class Patience(NamedTuple):
    """How many failures are free, how long the locks after them are, and after how long each one is forgotten (0: not
    before all are); in seconds."""

    free: int
    first: float = 60.0
    most: float = 3600.0
    forgets: float = 0.0


IDENTITY = Patience(5)
ADDRESS = Patience(20, forgets=600.0)


class Counted(NamedTuple):
    """Whose failures are counted: a key of the table, and with how much patience."""

    subject: str
    patience: Patience


def count_identity(id: str) -> Counted:
    """The failures of an identity."""
    return Counted(f"identity:{id}", IDENTITY)


def count_address(address: str) -> Counted | None:
    """The failures that came from an address, as gRPC names it (`ipv4:192.0.2.1:4711`) or alone.

    None for what is no address of another machine: a socket of this one is the application that people sign in to, not
    they.
    """
    text = address.removeprefix("ipv4:").removeprefix("ipv6:").replace("%5B", "[").replace("%5D", "]")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return count_address(str(found.ipv4_mapped))
        network = ipaddress.ip_network((found, _IPV6_NETWORK), strict=False)
        return None if found.is_loopback else Counted(f"address:{network}", ADDRESS)
    return None if found.is_loopback else Counted(f"address:{found}", ADDRESS)


def locked_for(connection: Connection, counted: Counted, now: float) -> float:
    """For how many more seconds a lock holds; 0 for none."""
    until = connection.execute(
        select(FAILURES.c.locked_until).where(FAILURES.c.subject == counted.subject)
    ).scalar_one_or_none()
    # A lock that is longer than any was set before the clock was put back.
    return until - now if until is not None and 0 < until - now <= counted.patience.most else 0.0


def note_failure(connection: Connection, counted: Counted, now: float) -> float:
    """Count a failure; gives for how many seconds that locks (0: not). In a change, so that nobody else counts."""
    row = connection.execute(
        select(FAILURES.c.failures, FAILURES.c.failed_at).where(FAILURES.c.subject == counted.subject)
    ).one_or_none()
    patience = counted.patience
    failures, since = 1, now
    if row is not None and now - row.failed_at <= DAY:
        failures = row.failures + 1
        if patience.forgets and now >= row.failed_at:
            gone = min(int((now - row.failed_at) // patience.forgets), row.failures)
            failures -= gone
            # The part of a time after which one more is forgotten is not lost.
            since = now if gone == row.failures else row.failed_at + gone * patience.forgets
    # An exponent beyond which it would be the longest lock anyway.
    seconds = (
        min(patience.first * 2 ** min(failures - patience.free, 30), patience.most)
        if failures >= patience.free
        else 0.0
    )
    values = {"failures": failures, "failed_at": since, "locked_until": now + seconds if seconds else 0.0}
    if row is None:
        _make_room(connection, now)
        connection.execute(insert(FAILURES).values(subject=counted.subject, **values))
    else:
        connection.execute(update(FAILURES).where(FAILURES.c.subject == counted.subject).values(**values))
    return seconds


def forget_failures(connection: Connection, counted: Counted) -> None:
    """Begin to count anew."""
    connection.execute(delete(FAILURES).where(FAILURES.c.subject == counted.subject))


def _make_room(connection: Connection, now: float) -> None:
    connection.execute(delete(FAILURES).where(FAILURES.c.failed_at < now - DAY))
    excess = connection.execute(select(func.count()).select_from(FAILURES)).scalar_one() - MAX_ROWS + 1
    if excess > 0:
        least = (
            select(FAILURES.c.subject)
            .order_by(FAILURES.c.locked_until, FAILURES.c.failures, FAILURES.c.failed_at)
            .limit(excess)
        )
        connection.execute(delete(FAILURES).where(FAILURES.c.subject.in_(least.scalar_subquery())))
