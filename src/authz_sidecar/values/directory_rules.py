"""What a bundle says about identities that live in a directory: plain data that travels with the snapshot."""

from collections.abc import Iterable, Mapping

import msgspec

from authz_sidecar.values.identity import IdentityKind

MINUTE = 60.0
DAY = 86_400.0
YEAR = 365 * DAY


class RoleFacts(msgspec.Struct, frozen=True):
    """How a role may be held: `assigned` is `platform` or `company`; `kind` is `primary`, `additive` or `sole`.

    Assigning a `sensitive` role needs a justification.
    """

    assigned: str
    kind: str = "primary"
    built_in: bool = False
    sensitive: bool = False


class FlagFacts(msgspec.Struct, frozen=True):
    """A flag: off for a holder of one of `roles`, it denies `actions` on objects of the type `object`.

    `said_on` are the identities for which the bundle itself switches a flag on whose `default` is off.
    """

    roles: tuple[str, ...]
    object: str
    actions: tuple[str, ...]
    default: bool = True
    said_on: frozenset[str] = frozenset()


class GroupFacts(msgspec.Struct, frozen=True):
    """Roles that members of a group hold, in `company` ("" for platform roles)."""

    group: str
    roles: tuple[str, ...]
    company: str = ""


class KeyRules(msgspec.Struct, frozen=True):
    """API keys of one kind of identity: how many each may have that are not revoked, and their lifetime in seconds.

    With `least_seconds` or `most_seconds` every key needs an expiry. 0 sets no bound.
    """

    most: int = 50
    least_seconds: float = 0.0
    most_seconds: float = 0.0


class TokenRules(msgspec.Struct, frozen=True):
    """Access tokens: lifetime in seconds, whether use extends it by as much again, and the age at which it ends all
    the same (0: never for a token that does not slide)."""

    seconds: float = 15 * MINUTE
    sliding: bool = True
    most_seconds: float = DAY / 2


class KindRules(msgspec.Struct, frozen=True):
    """One kind of identity: how many a company (or the platform) may have, how long their names may be in characters,
    whether names are unique there, whether they hold roles and sign in with a password. 0 sets no bound. `denied` are
    object types, each with the actions that none of them may ever do there. What is decided for them is in the audit
    where they are `audited`."""

    most: int = 0
    name_length: int = 256
    unique_names: bool = False
    roles: bool = True
    passwords: bool = True
    keys: KeyRules = KeyRules()
    tokens: TokenRules = TokenRules()
    denied: tuple[tuple[str, tuple[str, ...]], ...] = ()
    audited: bool = False


class DirectoryRules(msgspec.Struct, frozen=True):
    """What every change of the directory has to keep, and what a decision needs to read it.

    `form` is the bundle's: `casbin` (roles are names of `g`, no grants, shares or flags), `basic` or `extended`;
    `domains` says whether roles are held in companies. New identities get `default_role` ("" for none) until another
    role is granted, and again once the last is gone. With `role_required` an identity always has a role, and with
    `own_company_only` it holds roles where it belongs alone. `object_types` maps each type to its actions, those of the
    sidecar itself included. `justified` are object types whose grants and shares need a justification. `role_tokens`
    are the tokens of holders of a role, where they are not those of the kind. `impersonated_platform_roles` are the
    platform roles whose holders may be impersonated.
    """

    form: str = "casbin"
    domains: bool = True
    roles: Mapping[str, RoleFacts] = {}
    default_role: str = ""
    role_required: bool = False
    own_company_only: bool = False
    roles_per_identity: int = 0
    companies_per_identity: int = 0
    object_types: Mapping[str, tuple[str, ...]] = {}
    justified: frozenset[str] = frozenset()
    flags: Mapping[str, FlagFacts] = {}
    groups: tuple[GroupFacts, ...] = ()
    users: KindRules = KindRules()
    service_accounts: KindRules = KindRules(
        passwords=False, tokens=TokenRules(5 * YEAR, sliding=False, most_seconds=0.0)
    )
    role_tokens: Mapping[str, TokenRules] = {}
    break_glass_seconds: float = 8 * 3600.0
    impersonated_platform_roles: frozenset[str] = frozenset()

    def may_hold_in(self, company: str, home: str) -> bool:
        """Whether somebody of the company `home` may hold roles in `company`; "" is no company, and the platform."""
        return not self.own_company_only or company == home

    @property
    def audited(self) -> tuple[IdentityKind, ...]:
        """The kinds of identity whose decisions are in the audit."""
        kinds = {IdentityKind.USER: self.users, IdentityKind.SERVICE_ACCOUNT: self.service_accounts}
        return tuple(kind for kind, rules in kinds.items() if rules.audited)

    def sole(self, roles: Iterable[str]) -> str:
        """The one of these roles that stands alone, the first by name of several; "" where there is none."""
        facts = self.roles
        return min((role for role in roles if role in facts and facts[role].kind == "sole"), default="")
