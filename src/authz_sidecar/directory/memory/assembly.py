"""From rows of the store to identities as decisions read them.

What many identities have in common is kept once: names of roles and companies, and sets of roles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from authz_sidecar.directory.storage.records import DEFAULT
from authz_sidecar.values.identity import (
    ANY,
    FOREVER,
    NO_ROLES,
    PLATFORM,
    Identity,
    IdentityKind,
    OwnRule,
    RoleSet,
    TimedRole,
)

# The action by which a share lets a service account act for users.
IMPERSONATE = "impersonate"

# The columns that are read of each table, in this order; the first names the identity.
IDENTITY_COLUMNS = ("id", "kind", "company", "active", "flags", "attributes")
ASSIGNMENT_COLUMNS = ("identity", "role", "company", "begins_at", "expires_at", "source")
GRANT_COLUMNS = (
    "identity",
    "id",
    "company",
    "object_type",
    "object_id",
    "actions",
    "scope",
    "effect",
    "condition",
    "expires_at",
)
SHARE_COLUMNS = ("identity", "id", "company", "object_type", "object_id", "actions", "impersonation", "expires_at")

Row: TypeAlias = Sequence[Any]
_KINDS = {int(kind): kind for kind in IdentityKind}
_NOTHING: Mapping[str, Any] = {}
# Sets of roles that nobody may hold any more, before they are looked for.
_SLACK = 10_000


class Assembler:
    """Makes identities of rows. JSON columns may be text or values. For one thread at a time.

    `companies` are those whose identities are wanted (None: all).
    """

    def __init__(self, companies: frozenset[str] | None = None) -> None:
        self._companies = None if companies is None else companies | {PLATFORM, ANY}
        self._texts: dict[str, str] = {}
        self._roles: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._sets: dict[tuple[str, ...], RoleSet] = {}
        # How many sets there were when unused ones were last let go of.
        self._kept = 0

    def identity(
        self, row: Row, assignments: Iterable[Row], grants: Iterable[Row] = (), shares: Iterable[Row] = ()
    ) -> Identity | None:
        """The identity of a row and of those that belong to it; None for one that is not wanted."""
        id, kind, company, active, flags, attributes = row
        roles, timed = self._held(assignments)
        rules = (*self._granted(grants), *self._shared(shares)) if grants or shares else ()
        if self._companies is not None and not self._is_wanted(company, roles, timed, rules):
            return None
        return Identity(
            id,
            _KINDS[kind],
            self._text(company),
            bool(active),
            roles,
            timed,
            rules,
            _values(flags) if flags not in ("{}", {}) else _NOTHING,
            _values(attributes) if attributes not in ("{}", {}) else _NOTHING,
        )

    def __len__(self) -> int:
        """How many texts and sets are kept to be shared."""
        return len(self._texts) + len(self._roles) + len(self._sets)

    def let_go(self, identities: Iterable[Identity]) -> None:
        """Let go of sets of roles that none of these has, and of texts, if there may be many of them."""
        if len(self._texts) > _SLACK or len(self._roles) > _SLACK:
            # What is in use stays with whoever uses it, and those that come share new ones.
            self._texts, self._roles = {}, {}
        if len(self._sets) <= 2 * self._kept + _SLACK:
            return
        held = {id(identity.roles) for identity in identities}
        self._sets = {key: roles for key, roles in self._sets.items() if id(roles) in held}
        self._kept = len(self._sets)

    def _held(self, assignments: Iterable[Row]) -> tuple[RoleSet, tuple[TimedRole, ...]]:
        flat: list[tuple[str, str]] = []
        timed: list[TimedRole] = []
        by_default = True
        for _, role, company, begins, ends, source in assignments:
            if begins is None and ends is None:
                flat.append((company, role))
                by_default = by_default and source == DEFAULT
            else:
                until = FOREVER if ends is None else ends
                timed.append(TimedRole(self._text(role), self._text(company), until, begins or 0.0, source == DEFAULT))
        timed.sort(key=lambda one: (one.company, one.role, one.begins, one.ends))
        return self._set(flat, by_default) if flat else NO_ROLES, tuple(timed)

    def _set(self, held: list[tuple[str, str]], by_default: bool) -> RoleSet:
        """The set of these (company, role), the same for all that hold the same."""
        if len(held) > 1:
            held = sorted(set(held))
        key = tuple([text for pair in held for text in pair])
        if by_default:
            # No other key has an odd number of texts.
            key = (DEFAULT, *key)
        found = self._sets.get(key)
        if found is None:
            by_company: dict[str, list[str]] = {}
            for company, role in held:
                by_company.setdefault(self._text(company), []).append(self._text(role))
            key = tuple([self._text(text) for text in key])
            found = self._sets[key] = RoleSet(
                {company: self._together(tuple(roles)) for company, roles in by_company.items()}, by_default
            )
        return found

    def _together(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        return self._roles.setdefault(roles, roles)

    def _granted(self, grants: Iterable[Row]) -> Iterator[OwnRule]:
        for _, id, company, type, object_id, actions, scope, effect, condition, ends in sorted(grants, key=_id):
            place = "company" if company else "platform"
            source = f"grant:{id}"
            for action in _values(actions):
                yield OwnRule(
                    # As in a bundle's assignment: what names no company holds in all, and on the platform.
                    self._text(company or ANY),
                    self._text(type),
                    object_id,
                    self._text(action),
                    self._text(scope or place),
                    effect == "allow",
                    condition,
                    source,
                    FOREVER if ends is None else ends,
                )

    def _shared(self, shares: Iterable[Row]) -> Iterator[OwnRule]:
        for _, id, company, type, object_id, actions, impersonation, ends in sorted(shares, key=_id):
            named = [*_values(actions), *([IMPERSONATE] if impersonation else [])]
            source = f"share:{id}"
            for action in dict.fromkeys(named):
                yield OwnRule(
                    # What is shared lies in one place: on the platform where no company is named.
                    self._text(company),
                    self._text(type),
                    object_id,
                    self._text(action),
                    "company" if company else "platform",
                    True,
                    "",
                    source,
                    FOREVER if ends is None else ends,
                )

    def _is_wanted(self, company: str, roles: RoleSet, timed: Iterable[TimedRole], rules: Iterable[OwnRule]) -> bool:
        wanted = self._companies
        return wanted is None or (
            company in wanted
            or not wanted.isdisjoint(roles.by_company)
            or any(one.company in wanted for one in timed)
            or any(rule.company in wanted for rule in rules)
        )

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text)


def _id(row: Row) -> Any:
    return row[1]


def _values(column: Any) -> Any:
    """What a JSON column holds: drivers give its text or its value."""
    return msgspec.json.decode(column) if isinstance(column, str) else column
