"""`K=V` on the command line: attributes and context, typed as JSON types them."""

import json
from collections.abc import Sequence
from typing import Any

import click


def parse_attribute(argument: str) -> tuple[str, Any]:
    """`K=V` as a pair; raises click.BadParameter with the remedy.

    V is JSON where it parses as JSON (other than null), else text: `level=5` is a number, `level="5"` and
    `level=five` are text. K is one name: a dotted one is refused, since `r.obj.a.b` reads `b` of the object `a`,
    which JSON spells out.
    """
    key, equals, text = argument.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"`{argument}` is not K=V")
    if "." in key:
        first, _, rest = key.partition(".")
        raise click.BadParameter(f'`{key}` has a dot; give an object: `{first}={{"{rest}": …}}`')
    try:
        return key, _parse(text)
    except _RefusedError as error:
        raise click.BadParameter(f"`{key}` {error}") from None


class _RefusedError(Exception):
    """Why a value that is JSON is not taken."""


def _parse(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except ValueError:
        return text
    except RecursionError:
        raise _RefusedError("is nested too deeply") from None
    return text if value is None else value


def _refuse_constant(name: str) -> Any:
    # NaN and Infinity are Python's, not JSON's: the text stays text.
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RefusedError("gives a name twice in one object")
    return value


def collect(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of one option as a map; raises click.UsageError where a name is given twice."""
    collected: dict[str, Any] = {}
    for key, value in pairs:
        if key in collected:
            raise click.UsageError(f"`{option} {key}=…` is given twice")
        collected[key] = value
    return collected
