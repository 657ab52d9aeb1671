"""What the pieces of an expression yield, as far as it can be known before a request comes."""

import enum
from typing import NamedTuple

from authz_sidecar.model.expression import Expr


class Kind(enum.Enum):
    """The kinds, named as messages name them. `VALUE` is a number or a text, `OPEN` anything an attribute can hold."""

    CONDITION = "a condition"
    BOOLEAN = "`True` or `False`"
    TEXT = "text"
    NUMBER = "a number"
    VALUE = "a computed value"
    OPEN = "an attribute"
    MAP = "the whole context"
    LIST = "a list"


CONDITIONS = frozenset({Kind.CONDITION, Kind.BOOLEAN, Kind.OPEN})
TEXTS = frozenset({Kind.TEXT, Kind.VALUE, Kind.OPEN})
NUMBERS = frozenset({Kind.NUMBER, Kind.VALUE, Kind.OPEN})


class Part(NamedTuple):
    """A parsed piece: its tree, kind and height, and the stretch of text it came from."""

    expr: Expr
    kind: Kind
    depth: int
    start: int
    end: int
    bracketed: bool = False
