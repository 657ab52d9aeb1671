"""Matching functions: a policy's pattern becomes a test of request values.

The meaning is that of Casbin's built-in functions (casbin/util/builtin_operators.py); the tests run in time linear
in the value. What Casbin would fail on at each request, or compare as never equal, is refused when a bundle loads.
"""

import datetime as dt
import functools
import ipaddress
import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from authz_sidecar.model.functions import FUNCTIONS, Function
from authz_sidecar.model.globs import translate_glob
from authz_sidecar.model.lexer import quote
from authz_sidecar.model.regex import (
    MAX_PATTERN_CHARACTERS,
    PatternError,
    check_regex,
    compile_groups,
    compile_test,
    literal_prefix,
)

__all__ = ["FUNCTIONS", "Function", "Pattern", "PatternError", "compile_pattern", "parse_time", "time_match"]

CACHED_PATTERNS = 4096

Kind: TypeAlias = Literal["exact", "prefix", "test"]
Test: TypeAlias = Callable[[str], bool]

_TIME = re.compile(r"(\d{4})-(\d\d?)-(\d\d?) (\d\d?):(\d\d?):(\d\d?)", re.ASCII)
_NO_LONGER_THAN = "use several rules, or a shorter pattern"


class Pattern:
    """A compiled pattern.

    `exact`: matches `literal` alone. `prefix`: matches iff the value begins with `literal`. `test`: every value that
    matches begins with `literal`, and `test` decides. `test` is right by itself for every kind; it raises ValueError
    on a value that it cannot read (no address for `ipMatch`, a lone surrogate).
    """

    __slots__ = ("kind", "literal", "test")

    def __init__(self, kind: Kind, literal: str, test: Test) -> None:
        self.kind = kind
        self.literal = literal
        self.test = test


@functools.lru_cache(maxsize=CACHED_PATTERNS)
def compile_pattern(function: str, pattern: str) -> Pattern:
    """The test that `function` makes of `pattern`. Raises PatternError if the pattern is refused.

    Patterns hold at most 1,024 characters, none of them a control character.
    """
    compiler = _COMPILERS.get(function)
    if compiler is None:
        raise PatternError(f"{quote(function)} takes no pattern", f"the functions that do are {', '.join(_COMPILERS)}")
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise PatternError(
            f"the pattern has {len(pattern):,} characters; at most {MAX_PATTERN_CHARACTERS:,} are taken",
            _NO_LONGER_THAN,
        )
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise PatternError("the pattern is not valid UTF-8", "remove the broken character") from None
    return compiler(pattern)


def _exact(literal: str) -> Pattern:
    return Pattern("exact", literal, literal.__eq__)


def _prefix(literal: str) -> Pattern:
    return Pattern("prefix", literal, lambda value: value.startswith(literal))


def _key_match(pattern: str) -> Pattern:
    """Text up to the first `*`; without one the whole text."""
    literal, star, _ = pattern.partition("*")
    return _prefix(literal) if star else _exact(literal)


def _regex(regex: str) -> Pattern:
    """A regular expression from the start of the value, as Python's `re.match`."""
    check_regex(regex)
    literal, rest = literal_prefix(regex)
    if rest == "$":
        return _exact(literal)
    if not rest:
        return _prefix(literal)
    if rest == ".*$":
        # A line break is what `.` does not match; the common `/*` needs no engine.
        length = len(literal)
        return Pattern("test", literal, lambda value: value.startswith(literal) and "\n" not in value[length:])
    return Pattern("test", literal, compile_test(regex))


def _key_match2(pattern: str) -> Pattern:
    """`/*` matches the rest, `:name` one segment; `*` alone everything."""
    translated = re.sub(r":[^/]+", lambda _: r"[^\/]+", pattern.replace("/*", "/.*"))
    return _regex("^" + ("(.*)" if translated == "*" else translated) + "$")


def _key_match3(pattern: str) -> Pattern:
    """`/*` matches the rest, `{name}` one segment."""
    return _regex("^" + re.sub(r"\{[^/]+?\}", lambda _: r"[^\/]+", pattern.replace("/*", "/.*")) + "$")


def _key_match4(pattern: str) -> Pattern:
    """As keyMatch3, and a name that stands twice matches the same text twice."""
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        names.append(match[1])
        return "([^/]+)"

    regex = "^" + re.sub(r"\{([^/]+)\}", replace, pattern.replace("/*", "/.*")) + "$"
    groups, count = compile_groups(regex)
    if count != len(names):
        raise PatternError(
            f"the pattern has {count} groups and {len(names)} names in braces",
            "keyMatch4 takes no groups of its own: write `(?:…)`, or a name in braces",
        )
    if len(set(names)) == len(names):
        return _regex(regex)
    places = tuple(names.index(name) for name in names)

    def test(value: str) -> bool:
        found = groups(value)
        return found is not None and all(found[at] == found[first] for at, first in enumerate(places))

    return Pattern("test", literal_prefix(regex)[0], test)


def _key_match5(pattern: str) -> Pattern:
    """As keyMatch3 with a greedy `{…}`, on the value up to its first `?`."""
    whole = _regex("^" + re.sub(r"\{[^/]+\}", "[^/]+", pattern.replace("/*", "/.*")) + "$")
    test = whole.test
    return Pattern("test", whole.literal, lambda value: test(value.partition("?")[0]))


def _glob_match(pattern: str) -> Pattern:
    regex, literal = translate_glob(pattern)
    return Pattern("test", literal, compile_test(regex))


def _ip_match(pattern: str) -> Pattern:
    """An address or network; addresses of the other version do not match."""
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        raise PatternError(
            f"{quote(pattern)} is neither an address nor a network",
            "write `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`",
        ) from None
    return Pattern("test", "", lambda value: ipaddress.ip_address(value) in network)


_COMPILERS: dict[str, Callable[[str], Pattern]] = {
    "keyMatch": _key_match,
    "keyMatch2": _key_match2,
    "keyMatch3": _key_match3,
    "keyMatch4": _key_match4,
    "keyMatch5": _key_match5,
    "regexMatch": _regex,
    "globMatch": _glob_match,
    "ipMatch": _ip_match,
}


def parse_time(text: str) -> float | None:
    """`YYYY-MM-DD hh:mm:ss` (UTC) in seconds since 1970-01-01, or None if `text` is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC).timestamp()
    except ValueError:
        return None


def time_match(start: str, end: str, now: float) -> bool:
    """Whether `now` lies strictly between two times; `_` is an open end. Raises ValueError on what is no time."""
    for text, is_start in ((start, True), (end, False)):
        if text == "_":
            continue
        moment = parse_time(text)
        if moment is None:
            raise ValueError(f"{text[:64]!r} is not a time: write YYYY-MM-DD hh:mm:ss, or _ for an open end")
        if not (now > moment if is_start else now < moment):
            return False
    return True
