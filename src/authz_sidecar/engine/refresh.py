"""What comes of asking a sidecar to look at its policies now."""

import enum
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec


class RefreshOutcome(enum.IntEnum):
    """How a look ended. The numbers are those of the wire."""

    # What was found is what is served.
    CURRENT = 1
    # What was found is refused, and what was served before goes on.
    REFUSED = 2
    # The source could not be looked at, or what was found could not be compiled.
    FAILED = 3


class Refreshed(msgspec.Struct, frozen=True):
    """What a look came to: the version that is served now ("" for none), the one that was found ("" where it cannot be
    said), and why that is not the one that is served ("" where it is)."""

    outcome: RefreshOutcome
    policy_version: str
    found_version: str = ""
    why: str = ""


# Looks at the policies, and answers when it is known what came of it.
Refresher: TypeAlias = Callable[[], Awaitable[Refreshed]]


async def nobody_refreshes() -> Refreshed:
    """The answer while nobody follows the policies yet."""
    return Refreshed(RefreshOutcome.FAILED, "", why="the server is starting")
