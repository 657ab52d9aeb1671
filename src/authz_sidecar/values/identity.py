"""What a directory knows of one identity that a decision needs: an argument of it, like the request's time."""

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

FOREVER = float("inf")
ANY = "*"
PLATFORM = ""


class IdentityKind(enum.IntEnum):
    """Whether an identity is a person or a program. The numbers are those of the wire."""

    USER = 1
    SERVICE_ACCOUNT = 2

    @property
    def label(self) -> str:
        """The name used in YAML, on the command line and in logs: `service_account`."""
        return self.name.lower()


class RoleSet:
    """Roles that are held for good, by company ("" is the platform): names as the bundle has them.

    `by_default` says that they are the default role, which is held because no other is.

    Identities that hold the same share one RoleSet, which is compared by identity, so that what is worked out for it
    once serves all of them.
    """

    __slots__ = ("__weakref__", "by_company", "by_default")

    def __init__(self, by_company: Mapping[str, tuple[str, ...]], by_default: bool = False) -> None:
        self.by_company = by_company
        self.by_default = by_default

    def __repr__(self) -> str:
        return f"RoleSet({dict(self.by_company)!r})"


NO_ROLES = RoleSet({})


class TimedRole(msgspec.Struct, frozen=True, gc=False):
    """A role that is held for a time: from `begins` until just before `ends` (seconds since 1970-01-01 UTC).

    `by_default` says that it is the default role, which is held because no other is.
    """

    role: str
    company: str
    ends: float
    begins: float = 0.0
    by_default: bool = False

    def holds(self, time: float) -> bool:
        """Whether it is held at `time`."""
        return self.begins <= time < self.ends


class OwnRule(msgspec.Struct, frozen=True, gc=False):
    """A rule of one identity alone, as a row of the standard model: a grant of its own, or a part of a share.

    `company` is one, or `*` for all and the platform; `type` and `action` may be `*`; `id` is one, `*`, or a beginning
    followed by `*`; `scope` is `platform`, `company` or `own`; `when` is a condition ("" for none). `source` names the
    record in the directory: `grant:ID` or `share:ID`. It holds until just before `ends`.
    """

    company: str
    type: str
    id: str
    action: str
    scope: str
    allow: bool
    when: str = ""
    source: str = ""
    ends: float = FOREVER


class Identity(msgspec.Struct, frozen=True):
    """A user or a service account, as the directory has it at one revision.

    `company` is the tenant that it belongs to ("" for none). An identity that is not `active` may do nothing. `roles`
    and `timed` are what it holds besides what the bundle assigns; `rules` are its own; `flags` says which flags are
    switched on or off for it; `attributes` are read by conditions as `r.sub.NAME`, unless the request overrides them.
    """

    id: str
    kind: IdentityKind
    company: str = ""
    active: bool = True
    roles: RoleSet = NO_ROLES
    timed: tuple[TimedRole, ...] = ()
    rules: tuple[OwnRule, ...] = ()
    flags: Mapping[str, bool] = {}
    attributes: Mapping[str, Any] = {}


class Authenticated(msgspec.Struct, frozen=True):
    """Whom a credential that was right stands for.

    `credential` names the credential without its secret: `key:ID`, `token:ID` or `jwt:ISSUER`; `expires` is when it
    stops (seconds since 1970-01-01 UTC).
    """

    identity: Identity
    credential: str
    expires: float = FOREVER
