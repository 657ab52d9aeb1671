"""The manifest's section `identities`: what identities in a directory have to keep.

Numbers that are left out are those of `values.directory_rules`.
"""

import re
from typing import Annotated, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from authz_sidecar.bundle.yaml_definition import DURATION_PATTERN, Definition, Given, Name
from authz_sidecar.values.directory_rules import DAY, MINUTE, YEAR, TokenRules

_UNITS = {"s": 1.0, "m": MINUTE, "h": 60 * MINUTE, "d": DAY, "w": 7 * DAY, "y": YEAR}

Duration: TypeAlias = Annotated[str, Field(pattern=DURATION_PATTERN)]
Count: TypeAlias = Annotated[int, Field(ge=1)]


def seconds_of(duration: str) -> float:
    """A duration as people write it, such as `15m` or `2y`, in seconds; a year has 365 days."""
    found = re.fullmatch(r"([0-9]+)([smhdwy])", duration)
    if found is None:
        raise ValueError(duration)
    return int(found[1]) * _UNITS[found[2]]


class KeySettings(Definition):
    """API keys of one kind of identity."""

    max: Given[Count] = None
    """How many keys that are not revoked an identity may have; 50 by default."""
    expiry_min: Given[Duration] = None
    """How long a new key is valid at least, such as `180d`; every key then has an expiry."""
    expiry_max: Given[Duration] = None
    """How long a new key is valid at most, such as `2y`; every key then has an expiry."""

    @model_validator(mode="after")
    def _has_a_window(self) -> "KeySettings":
        if self.expiry_min and self.expiry_max and seconds_of(self.expiry_min) > seconds_of(self.expiry_max):
            raise PydanticCustomError(
                "field-value",
                "`expiry_min` is longer than `expiry_max`: no key could be made",
                {"help": "exchange them"},
            )
        return self


class TokenSettings(Definition):
    """Access tokens, which a sign-in gives."""

    lifetime: Duration
    """How long a token is valid, such as `15m`."""
    sliding: bool = False
    """Whether each use makes it valid for its lifetime again."""
    max_age: Given[Duration] = None
    """When a sliding token ends all the same; 12 hours after the sign-in by default."""

    @model_validator(mode="after")
    def _ends(self) -> "TokenSettings":
        problem = help = ""
        if self.max_age and not self.sliding:
            problem, help = "`max_age` is for sliding tokens", "remove it, or add `sliding: true`"
        elif self.sliding and self.ends_after < seconds_of(self.lifetime):
            problem = "a token would end before its lifetime does"
            help = "write a `max_age` that is not shorter than `lifetime`"
        if problem:
            raise PydanticCustomError("field-value", "{problem}", {"problem": problem, "help": help})
        return self

    @property
    def ends_after(self) -> float:
        """The age in seconds at which a sliding token ends; 0 for one that does not slide."""
        if not self.sliding:
            return 0.0
        return seconds_of(self.max_age) if self.max_age else TokenRules().most_seconds


class DeniedSettings(Definition):
    """What one kind of identity may not do."""

    object: Name
    """The object type."""
    actions: list[Name] = Field(min_length=1)
    """The actions that are denied there, whatever else allows them."""


class KindSettings(Definition):
    """What users and service accounts have in common."""

    max: Given[Count] = None
    """How many there may be in one company, and on the platform; without bound by default."""
    name_length: Given[Annotated[int, Field(ge=1, le=256)]] = None
    """How many characters a name may have; 256 by default."""
    unique_names: bool = False
    """Whether no two in one company, or on the platform, have the same name."""
    audited: bool = False
    """Whether each decision that is made for them is in the audit, too."""
    roles: bool = True
    """Whether they hold roles; without, they have only grants of their own and what is shared with them."""
    keys: KeySettings = Field(default_factory=KeySettings)
    """Their API keys."""
    tokens: Given[TokenSettings] = None
    """Their access tokens."""
    denied: list[DeniedSettings] = Field(default=[], min_length=1)
    """What none of them may ever do, whatever its roles, grants and flags."""


class UserSettings(KindSettings):
    """Users: people."""

    passwords: bool = True
    """Whether they may sign in with a password."""


class ServiceAccountSettings(KindSettings):
    """Service accounts: programs. They never sign in with a password."""


class BreakGlassSettings(Definition):
    """Assignments for emergencies."""

    max: Given[Duration] = None
    """How long one may last; 8 hours by default."""


class IdentitySettings(Definition):
    """What identities in a directory have to keep, and what they get."""

    default_role: Given[Name] = None
    """The role of an identity that was given no other; a company role is then held in the identity's own company."""
    role_required: bool = False
    """Whether an identity that can hold roles always has one: its last cannot be taken away."""
    own_company_only: bool = False
    """Whether an identity of a company holds roles in that company alone, and one of none platform roles alone."""
    users: UserSettings = Field(default_factory=UserSettings)
    """What users have to keep."""
    service_accounts: ServiceAccountSettings = Field(default_factory=ServiceAccountSettings)
    """What service accounts have to keep."""
    role_tokens: dict[Name, TokenSettings] = Field(default={})
    """Access tokens of those who hold a role, by role, where they are others than those of their kind."""
    break_glass: BreakGlassSettings = Field(default_factory=BreakGlassSettings)
    """What assignments for emergencies have to keep."""
    impersonated_platform_roles: list[Name] = Field(default=[], min_length=1)
    """Platform roles whose holders service accounts may act for; by default those of no platform role."""
