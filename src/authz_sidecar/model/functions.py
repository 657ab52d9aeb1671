"""The matching functions that a matcher may call: their names and what their arguments are."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class Function(msgspec.Struct, frozen=True):
    """A matching function. `patterns` are the positions that take `p.field` or a text literal, never the request."""

    name: str
    patterns: tuple[int, ...] = (1,)
    arity: int = 2


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        function.name: function
        for function in (
            Function("keyMatch"),
            Function("keyMatch2"),
            Function("keyMatch3"),
            Function("keyMatch4"),
            Function("keyMatch5"),
            Function("regexMatch"),
            Function("globMatch"),
            Function("ipMatch"),
            Function("timeMatch", patterns=(0, 1)),
        )
    }
)
"""Casbin's built-in functions (casbin/util/builtin_operators.py), by name."""
