"""What the directory keeps, as operations take and give it. Times are seconds since 1970-01-01 UTC; None is never.

`revision` is that of the record's last change: its etag. No record has a secret or a hash of one in it.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from authz_sidecar.values.identity import IdentityKind

HAND, DEFAULT = "hand", "default"
GROUP_PREFIX = "group:"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 18


def new_id(now: float) -> str:
    """An id for a record that is made at `now`: 18 letters and digits, in the order of time to a millisecond, then at
    random (60 bits)."""
    number = (max(int(now * 1000), 0) & (1 << 47) - 1) << 60 | secrets.randbits(60)
    digits = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


class Actor(msgspec.Struct, frozen=True):
    """Who does something: an identity's id, or `operator:NAME` for somebody at the store itself.

    `on_behalf_of` is whom it acts for ("" for itself), `credential` the credential without its secret (`key:ID`),
    `address` where the call came from, `call` the caller's name of the call. `seen` is an identity and a revision where
    what the actor was let do rests on that identity as it was then: no change is made where it has changed since.
    """

    id: str
    on_behalf_of: str = ""
    credential: str = ""
    address: str = ""
    call: str = ""
    seen: tuple[str, int] | None = None


class IdentityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An identity. Whoever made it may be gone."""

    id: str
    kind: IdentityKind
    company: str = ""
    active: bool = True
    name: str = ""
    description: str = ""
    flags: Mapping[str, bool] = {}
    attributes: Mapping[str, Any] = {}
    created_by: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    revision: int = 0


class AssignmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A role that an identity holds in `company` ("" on the platform). `source` is `hand`, `default` or `group:NAME`.

    A `break_glass` assignment is one for an emergency: it expires and has a justification.
    """

    id: str = ""
    identity: str
    role: str
    company: str = ""
    source: str = HAND
    begins_at: float | None = None
    expires_at: float | None = None
    break_glass: bool = False
    justification: str = ""
    created_by: str = ""
    created_at: float = 0.0
    revision: int = 0


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A grant of one identity's own, in `company` ("" on the platform), as in a bundle's assignment; `effect` is
    `allow` or `deny`, `scope` "" for what the place says."""

    id: str = ""
    identity: str
    company: str = ""
    object_type: str
    object_id: str = "*"
    actions: tuple[str, ...]
    scope: str = ""
    effect: str = "allow"
    condition: str = ""
    expires_at: float | None = None
    description: str = ""
    justification: str = ""
    created_by: str = ""
    created_at: float = 0.0
    revision: int = 0


class ShareRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An object, or all whose ids begin alike, shared with an identity; with `impersonation` a service account may act
    on it for users."""

    id: str = ""
    identity: str
    company: str = ""
    object_type: str
    object_id: str
    actions: tuple[str, ...] = ()
    impersonation: bool = False
    expires_at: float | None = None
    justification: str = ""
    created_by: str = ""
    created_at: float = 0.0
    revision: int = 0


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its secret."""

    id: str = ""
    identity: str
    name: str
    active: bool = True
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    rotated_from: str = ""
    created_by: str = ""
    created_at: float = 0.0
    revision: int = 0


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An access token, without its secret. Use extends it by `sliding_seconds` (0: not), never past `ends_at`."""

    id: str = ""
    identity: str
    expires_at: float
    sliding_seconds: float = 0.0
    ends_at: float | None = None
    revoked_at: float | None = None
    created_by: str = ""
    created_at: float = 0.0
    revision: int = 0


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A credential at the one moment at which its secret is known: `secret` is what callers send."""

    record: KeyRecord | TokenRecord
    secret: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(record={self.record!r})"


class Rotated(Issued, frozen=True, kw_only=True):
    """An API key made in the place of another: `replaced` is that one as it is now."""

    replaced: KeyRecord

    def __repr__(self) -> str:
        return f"Rotated(record={self.record!r}, replaced={self.replaced!r})"


class Page(msgspec.Struct, frozen=True):
    """Some records of a list, and where the next page begins ("" at the end)."""

    records: tuple[Any, ...]
    next_page_token: str = ""
