"""The model: what `model.conf` defines, once read."""

import enum
from collections.abc import Mapping

import msgspec

from authz_sidecar.model.expression import Expr, Names
from authz_sidecar.values.span import Span


class Effect(enum.StrEnum):
    """How the effects of the matching rules become a decision: Casbin's five (casbin/constant/constants.py)."""

    ALLOW_OVERRIDE = "some(where (p.eft == allow))"
    DENY_OVERRIDE = "!some(where (p.eft == deny))"
    ALLOW_AND_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
    PRIORITY = "priority(p.eft) || deny"
    SUBJECT_PRIORITY = "subjectPriority(p.eft) || deny"


class RoleDefinition(msgspec.Struct, frozen=True):
    """`g = _, _`, with a domain `_, _, _`; `parameters` counts those of a link condition, as in `_, _, (_, _)`."""

    name: str
    has_domain: bool
    parameters: int
    span: Span

    @property
    def arguments(self) -> int:
        """How many arguments the matcher gives it."""
        return 2 + self.has_domain

    @property
    def width(self) -> int:
        """How many fields a row has: name, role, domain, then the parameters of the link's condition."""
        return self.arguments + self.parameters


class Section(msgspec.Struct, frozen=True):
    """The definitions of one number: `r`, `p`, `e`, `m` under "", `r2`, `p2`, `e2`, `m2` under "2".

    `matcher_text` is the matcher as read, on one line and without its comment; `span` is where it begins. `roles`
    gives the number of arguments of each role definition.
    """

    suffix: str
    tokens: tuple[str, ...]
    fields: tuple[str, ...]
    effect: Effect
    matcher: Expr
    matcher_text: str
    span: Span
    roles: Mapping[str, int]

    @property
    def ptype(self) -> str:
        """The ptype of its rules."""
        return "p" + self.suffix

    @property
    def names(self) -> Names:
        """What a condition that a rule carries may name: the request and the role definitions."""
        return Names(self.suffix, self.tokens, (), self.roles, allow_eval=False)


class Model(msgspec.Struct, frozen=True):
    """A whole `model.conf`: sections by suffix, role definitions by name, and the text it was read from."""

    sections: dict[str, Section]
    roles: dict[str, RoleDefinition]
    text: str
