"""The expression tree: what a matcher or a condition becomes once read.

Plain data, without text positions and without Python code, so that a snapshot holding it can be written
down and read by another process. `grammar` makes these trees, `decide.evaluate` runs them.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool


class Const(msgspec.Struct, frozen=True, tag=True):
    """A literal: text, number, `True` or `False`."""

    value: Scalar


class Token(msgspec.Struct, frozen=True, tag=True):
    """`r.name`: a token of the request."""

    name: str


class Field(msgspec.Struct, frozen=True, tag=True):
    """`p.name`: a field of the rule."""

    name: str


class Attribute(msgspec.Struct, frozen=True, tag=True):
    """`base.name`, as in `r.obj.owner`; `base` is a Token or another Attribute."""

    base: "Token | Attribute"
    name: str


class Sequence(msgspec.Struct, frozen=True, tag=True):
    """A literal list, `("a", "b")` or `["a", "b"]`; it stands only right of `in`."""

    items: tuple["Expr", ...]


class Negate(msgspec.Struct, frozen=True, tag=True):
    """`-x`."""

    operand: "Expr"


class Arithmetic(msgspec.Struct, frozen=True, tag=True):
    """`left op right` with op one of `+ - * / %`. Numbers; `+` also joins two texts."""

    op: str
    left: "Expr"
    right: "Expr"


class Compare(msgspec.Struct, frozen=True, tag=True):
    """`left op right` with op one of `== != < <= > >=`. A chain `a < b < c` becomes an And of two."""

    op: str
    left: "Expr"
    right: "Expr"


class In(msgspec.Struct, frozen=True, tag=True):
    """`item in container`; a container that is text asks for a part of the text, as in Python."""

    item: "Expr"
    container: "Expr"


class Call(msgspec.Struct, frozen=True, tag=True):
    """A matching function: `keyMatch(r.obj, p.obj)`."""

    function: str
    arguments: tuple["Expr", ...]


class RoleCall(msgspec.Struct, frozen=True, tag=True):
    """`g(r.sub, p.sub)` or `g(r.sub, p.sub, r.dom)`: does the first hold the second, in that domain?"""

    definition: str
    arguments: tuple["Expr", ...]


class Eval(msgspec.Struct, frozen=True, tag=True):
    """`eval(p.field)`: the condition that the rule itself carries."""

    field: str


class Not(msgspec.Struct, frozen=True, tag=True):
    """`!x`."""

    operand: "Expr"


class And(msgspec.Struct, frozen=True, tag=True):
    """`a && b && …`; never nested in another And."""

    operands: tuple["Expr", ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """`a || b || …`; never nested in another Or."""

    operands: tuple["Expr", ...]


Expr: TypeAlias = (
    Const
    | Token
    | Field
    | Attribute
    | Sequence
    | Negate
    | Arithmetic
    | Compare
    | In
    | Call
    | RoleCall
    | Eval
    | Not
    | And
    | Or
)


class Names(msgspec.Struct, frozen=True):
    """What an expression may name.

    `suffix` selects the legal prefixes ("" for `r.` and `p.`, "2" for `r2.` and `p2.`); `tokens` are the request's
    and `fields` the rule's, empty in a condition that a rule carries; `roles` gives each role definition's number
    of arguments, 2 or 3; `allow_eval` says whether `eval(p.field)` may stand.
    """

    suffix: str
    tokens: tuple[str, ...]
    fields: tuple[str, ...]
    roles: Mapping[str, int]
    allow_eval: bool
