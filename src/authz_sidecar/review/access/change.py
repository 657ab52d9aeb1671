"""Access that differs between two policies, as values: what is gained and lost, by whom, and which lines cause it."""

import enum
from typing import Literal, TypeAlias

import msgspec

from authz_sidecar.values.rule import Rule
from authz_sidecar.values.texts import ANY, Texts

# Stands in a set of owners for the subject itself; no request can hold it.
SELF = "\0self"

Side: TypeAlias = Literal["base", "head"]


class Kind(enum.StrEnum):
    """Who a change is about: whoever holds a role, identities that the policies name, or any identity that they do
    not name."""

    ROLE = "role"
    IDENTITY = "identity"
    ANYONE = "anyone"


class Box(msgspec.Struct, frozen=True):
    """A set of requests of one subject: those whose company, type, id, action and owner are in these sets.

    `owner` may hold `SELF`, which stands for the subject. The company "" is the platform, the id "" an object without
    id (create, or a question about a type), the owner "" nobody. `section` numbers the sections of a plain Casbin
    model.
    """

    company: Texts = ANY
    type: Texts = ANY
    id: Texts = ANY
    action: Texts = ANY
    owner: Texts = ANY
    section: str = ""

    @property
    def scope(self) -> Literal["any", "own", "others", "some"]:
        """Whose objects: anybody's, the subject's own, all but its own, or those of owners that the set names."""
        if self.owner == ANY:
            return "any"
        if self.owner.only == SELF:
            return "own"
        if self.owner == Texts(prefixes=("",), except_values=frozenset((SELF,))):
            return "others"
        return "some"


EVERYTHING = Box()


class Cause(msgspec.Struct, frozen=True):
    """A line that stands on one side only and makes the change: a rule or a link (a role assignment), with its place.

    `side` says where it stands: on `head` it was added, on `base` removed.
    """

    side: Side
    rule: Rule


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Requests whose decision changes the same way for each of `subjects`.

    `gained`: denied at base, allowed at head; otherwise the reverse. `subjects` are role names as rules write them
    (`role:CLERK`), identities, or empty for `Kind.ANYONE`. A change of a role is what somebody sees who holds that role
    and nothing else; `holders` are then the identities whose own access changes so because they hold it.
    An identity's change lists in `roles` the roles that it holds and that have the same change, if any.
    A role's change has one subject. `names` is what the names of `Kind.ANYONE` are among, where patterns tell them
    apart.
    """

    gained: bool
    kind: Kind
    subjects: tuple[str, ...]
    box: Box
    causes: tuple[Cause, ...] = ()
    holders: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    names: Texts = ANY


class Inexact(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the space that the policies do not let one list: what decides there is no finite comparison.

    `why` says it in words; `responsible` are the rules (of either side) that make it so, and `added` and `removed` the
    rules and links that differ there. Within `box`, for `subjects`, access may change in ways that
    `AccessDiff` does not tell. Without subjects it is about those that no policy names, whose names are among `names`.
    """

    why: str
    responsible: tuple[Rule, ...]
    added: tuple[Rule, ...]
    removed: tuple[Rule, ...]
    box: Box = EVERYTHING
    subjects: tuple[str, ...] = ()
    names: Texts = ANY


class AccessDiff(msgspec.Struct, frozen=True, kw_only=True):
    """All that changes. `roles` are the changes of roles, `identities` those of identities (and of anyone else):
    together with `inexact` the latter are complete. Both are sorted and stable.

    `rules_added` and `rules_removed` count rows that stand on one side only, whether or not they change a decision.
    """

    roles: tuple[Change, ...] = ()
    identities: tuple[Change, ...] = ()
    inexact: tuple[Inexact, ...] = ()
    rules_added: int = 0
    rules_removed: int = 0

    @property
    def unchanged(self) -> bool:
        """Whether no decision changes, for certain."""
        return not (self.roles or self.identities or self.inexact)
