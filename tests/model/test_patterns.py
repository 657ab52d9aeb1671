"""Matching functions: each decides as pycasbin's does, in linear time, or refuses the pattern at load."""

import datetime as dt
import ipaddress
import warnings
from collections.abc import Callable

import pytest
from casbin.util import builtin_operators as casbin
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.model.functions import FUNCTIONS
from authz_sidecar.model.patterns import Pattern, PatternError, compile_pattern, parse_time, time_match

CASBIN: dict[str, Callable[[str, str], bool]] = {
    "keyMatch": casbin.key_match,
    "keyMatch2": casbin.key_match2,
    "keyMatch3": casbin.key_match3,
    "keyMatch4": casbin.key_match4,
    "keyMatch5": casbin.key_match5,
    "regexMatch": casbin.regex_match,
    "globMatch": casbin.glob_match,
    "ipMatch": casbin.ip_match,
}


def ask_casbin(function: str, value: str, pattern: str) -> bool:
    """What pycasbin answers; a warning of Python's `re` would be an ambiguity that ours must refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CASBIN[function](value, pattern)


def agree(function: str, pattern: Pattern, text: str, value: str) -> None:
    """One pattern on one value: the test, the literal and the kind tell what Casbin tells."""
    expected = ask_casbin(function, value, text)
    assert pattern.test(value) == expected, (function, text, value)
    if expected:
        assert value.startswith(pattern.literal)
    if pattern.kind == "exact":
        assert expected == (value == pattern.literal)
    if pattern.kind == "prefix":
        assert expected == value.startswith(pattern.literal)


@pytest.mark.parametrize(
    ("function", "pattern", "kind", "literal", "matching", "other"),
    [
        ("keyMatch", "/foo", "exact", "/foo", ["/foo"], ["/foo/", "", "/fo"]),
        ("keyMatch", "/foo/*", "prefix", "/foo/", ["/foo/", "/foo/a/b"], ["/foo", "/fo"]),
        ("keyMatch", "a*b*", "prefix", "a", ["a", "ac"], ["", "b"]),
        ("keyMatch2", "/a/b", "exact", "/a/b", ["/a/b"], ["/a/b/", "/a"]),
        ("keyMatch2", "/a/:id/c", "test", "/a/", ["/a/1/c"], ["/a//c", "/a/1/2/c", "/a/1/c/"]),
        ("keyMatch2", "/a/*", "test", "/a/", ["/a/", "/a/1/2"], ["/a"]),
        ("keyMatch2", "*", "test", "", ["", "anything/at all"], []),
        ("keyMatch3", "/a/{id}/c", "test", "/a/", ["/a/1/c"], ["/a//c", "/a/1/2/c"]),
        ("keyMatch3", "p_{x}_q/", "test", "p_", ["p_1_q/"], ["p__q/", "p_1_q"]),
        ("keyMatch4", "/p/{id}/c/{id}", "test", "/p/", ["/p/1/c/1"], ["/p/1/c/2", "/p/1/c/"]),
        ("keyMatch4", "/p/{id}/c/{no}", "test", "/p/", ["/p/1/c/2"], ["/p/1/c/"]),
        ("keyMatch5", "/a/{id}", "test", "/a/", ["/a/1", "/a/1?x=/"], ["/a/", "/a/1/2", "/a?1"]),
        ("keyMatch5", "/a", "test", "/a", ["/a", "/a?", "/a?b"], ["/ab"]),
        ("regexMatch", "GET", "prefix", "GET", ["GET", "GETTING"], ["get", ""]),
        ("regexMatch", "^GET$", "exact", "GET", ["GET"], ["GETS"]),
        ("regexMatch", "(GET)|(POST)", "test", "", ["GET", "POST", "POSTS"], ["PUT", " GET"]),
        ("regexMatch", "ab+c?", "test", "ab", ["ab", "abbc", "abx"], ["a", "ba"]),
        ("regexMatch", "ab*", "test", "a", ["a", "ax"], ["b"]),
        ("regexMatch", r"a\.b", "prefix", "a.b", ["a.b", "a.bc"], ["aXb"]),
        ("globMatch", "/foo*", "test", "/", ["/foo", "/foobar", "//foo/"], ["/foo/bar", "/fo"]),
        ("globMatch", "/foo/**", "test", "/", ["/foo", "/foo/", "//foo/a/b"], ["/foo/.a", "/foox"]),
        ("globMatch", "*.{png,jpg}", "test", "", ["a.png", "b.jpg/"], [".png", "a.gif", "a/b.png"]),
        ("globMatch", "[a-c]?", "test", "", ["a1", "cc"], ["d1", "a/", "a"]),
        ("globMatch", "**/x", "test", "", ["x", "a/x", "a/b/x"], [".a/x", "ax"]),
        ("ipMatch", "192.0.2.0/24", "test", "", ["192.0.2.7"], ["192.0.3.1", "2001:db8::1"]),
        ("ipMatch", "192.0.2.9", "test", "", ["192.0.2.9"], ["192.0.2.8"]),
        ("ipMatch", "2001:db8::/32", "test", "", ["2001:db8:0::1"], ["2001:db9::1", "192.0.2.1"]),
        ("ipMatch", "10.1.2.3/8", "test", "", ["10.9.9.9"], ["11.0.0.1"]),
    ],
)
def test_a_pattern_matches_as_in_casbin(
    function: str, pattern: str, kind: str, literal: str, matching: list[str], other: list[str]
) -> None:
    """The answer is Casbin's, and the literal prefix is what an index may rely on."""
    compiled = compile_pattern(function, pattern)
    assert (compiled.kind, compiled.literal) == (kind, literal)
    for value in matching + other:
        assert compiled.test(value) == (value in matching)
        agree(function, compiled, pattern, value)


@pytest.mark.parametrize(
    ("function", "pattern", "message"),
    [
        ("regexMatch", "a(?=b)", "`(?=` begins lookahead, which linear-time matching does not have"),
        ("regexMatch", "(?<!a)b", "`(?<!` begins lookbehind, which linear-time matching does not have"),
        ("regexMatch", r"(a)\1", "`\\1` is a back-reference, which does not run in linear time"),
        ("regexMatch", "(?P<x>a)(?P=x)", "`(?P=` begins back-references, which linear-time matching does not have"),
        ("regexMatch", "(?x)a b", "a group begins with an unknown `(?`"),
        ("regexMatch", r"a\Z", "`\\Z` is not known"),
        ("regexMatch", r"\B", "`\\B` is not known"),
        ("regexMatch", r"\p{Greek}", "`\\p` is not known"),
        ("regexMatch", r"\u0041", "`\\u` is not known"),
        ("regexMatch", "a{,3}", "a repetition has no lower bound"),
        ("regexMatch", "[[:alpha:]]", "a class begins with `[`"),
        ("regexMatch", "[a[:alpha:]]", "a class holds `[:`"),
        ("regexMatch", "[a-z--b]", "a class holds `--`"),
        ("regexMatch", "[a", "a class is not closed"),
        ("regexMatch", "a\\", "the pattern ends in a single `\\`"),
        ("regexMatch", "(" * 40 + ")" * 40, "groups are nested more than 32 deep"),
        ("regexMatch", "(a", "the regular expression is not valid: missing ), unterminated subpattern at position 0"),
        ("regexMatch", "a**", "the regular expression is not valid: multiple repeat at position 2"),
        ("keyMatch2", "/a/**", "the regular expression is not valid: multiple repeat at position 6"),
        ("keyMatch3", "*", "the regular expression is not valid: nothing to repeat at position 1"),
        ("keyMatch4", "/(a)/{id}", "the pattern has 2 groups and 1 names in braces"),
        ("globMatch", "{a", "a `{` is not closed"),
        ("globMatch", "a}", "a `}` has no `{`"),
        ("globMatch", "{a}", "braces hold a single alternative"),
        ("globMatch", "{1..3}", "a glob holds a range of braces"),
        ("globMatch", "${a,b}", "`${` stands in a glob"),
        ("globMatch", "[a", "a set is not closed"),
        ("globMatch", "[a/b]", "a set is not closed"),
        ("globMatch", "[]a]", "a set is empty or begins with `]`"),
        ("globMatch", "[[:alpha:]]", "a set holds `[`"),
        ("globMatch", "[z-a]", "the range `z-a` runs backwards"),
        ("globMatch", "[a-c-e]", "a `-` in a set stands between characters"),
        ("globMatch", "a\\/b", "a slash is escaped"),
        ("globMatch", "a\\", "the pattern ends in a single `\\`"),
        ("globMatch", "{a,b}" * 9, "the braces of a glob stand for more than 256 patterns"),
        ("globMatch", "{a," * 9 + "b" + "}" * 9, "braces are nested more than 8 deep"),
        ("ipMatch", "10.0.0.0/33", "`10.0.0.0/33` is neither an address nor a network"),
        ("ipMatch", "localhost", "`localhost` is neither an address nor a network"),
        ("keyMatch", "a" * 1025, "the pattern has 1,025 characters; at most 1,024 are taken"),
        ("keyMatch", "\ud800", "the pattern is not valid UTF-8"),
        ("timeMatch", "_", "`timeMatch` takes no pattern"),
        ("nonsense", "_", "`nonsense` takes no pattern"),
    ],
)
def test_a_pattern_that_cannot_be_matched_exactly_is_refused(function: str, pattern: str, message: str) -> None:
    """Refusals happen at load, on one line, with a remedy."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(function, pattern)
    assert caught.value.message == message
    assert caught.value.help


@pytest.mark.parametrize("pattern", ["((a{100}){100}){100}", ".{1001}", "(?i:" + "[^a]{900}" * 40 + ")"])
def test_an_expression_that_would_grow_too_large_is_refused(pattern: str) -> None:
    """Repetition is bounded by the engine's budget, not by how long the pattern is."""
    with pytest.raises(PatternError) as caught:
        compile_pattern("regexMatch", pattern)
    assert "linear time" in caught.value.message


def test_a_hostile_expression_takes_linear_time() -> None:
    """What takes Python's engine exponential time answers at once."""
    evil = compile_pattern("regexMatch", "^(a+)+$")
    assert not evil.test("a" * 1023 + "b")
    assert evil.test("a" * 1024)


def test_dollar_and_classes_differ_from_python_as_documented() -> None:
    """The end is the very end, and the classes of digits, letters and blanks are ASCII."""
    assert casbin.regex_match("a\n", "a$")
    assert not compile_pattern("regexMatch", "a$").test("a\n")
    for pattern, value in ((r"\d", "٣"), (r"\w", "é"), (r"\s", "\u3000")):
        assert casbin.regex_match(value, pattern)
        assert not compile_pattern("regexMatch", pattern).test(value)


def test_ip_match_raises_on_what_is_no_address() -> None:
    """As in Casbin, a value that is no address is an error and not merely no match."""
    with pytest.raises(ValueError, match="does not appear to be"):
        compile_pattern("ipMatch", "10.0.0.0/8").test("localhost")


def test_compiled_patterns_are_kept_and_bounded() -> None:
    """The same pattern is compiled once; the cache cannot grow without end."""
    assert compile_pattern("keyMatch2", "/a/:b") is compile_pattern("keyMatch2", "/a/:b")
    assert compile_pattern.cache_info().maxsize == 4096


def test_every_function_takes_patterns_from_the_policy() -> None:
    """Each function names the arguments that the request may not fill."""
    assert set(FUNCTIONS) == {*CASBIN, "timeMatch"}
    assert {name: function.patterns for name, function in FUNCTIONS.items() if name != "timeMatch"} == dict.fromkeys(
        CASBIN, (1,)
    )
    assert FUNCTIONS["timeMatch"].patterns == (0, 1)
    assert {function.arity for function in FUNCTIONS.values()} == {2}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("_", "_", True),
        ("2024-02-29 12:00:00", "_", False),
        ("2024-02-29 11:59:59", "_", True),
        ("_", "2024-02-29 12:00:00", False),
        ("_", "2024-02-29 12:00:01", True),
        ("2024-02-29 11:59:59", "2024-02-29 12:00:01", True),
        ("2024-3-1 0:0:0", "_", False),
    ],
)
def test_times_are_open_intervals_in_utc(start: str, end: str, expected: bool) -> None:
    """The moment must lie strictly between; `_` leaves an end open."""
    now = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC).timestamp()
    assert time_match(start, end, now) is expected


@pytest.mark.parametrize(
    "text", ["", "_", "soon", "2024-02-30 00:00:00", "2024-02-29", "2024-02-29T00:00:00", "٢٠٢٤-02-29 00:00:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """`parse_time` gives None, `time_match` raises (but for the open end)."""
    assert parse_time(text) is None
    if text != "_":
        with pytest.raises(ValueError, match="is not a time"):
            time_match("_", text, 0.0)


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_times_read_as_python_reads_them(moment: dt.datetime) -> None:
    """The format is `%Y-%m-%d %H:%M:%S`, the zone UTC."""
    moment = moment.replace(microsecond=0)
    text = moment.replace(tzinfo=None).isoformat(" ")
    assert parse_time(text) == dt.datetime.strptime(text + "Z", "%Y-%m-%d %H:%M:%S%z").timestamp()


def patterns(*pieces: str) -> st.SearchStrategy[str]:
    """Patterns made of likely pieces."""
    return st.lists(st.sampled_from(pieces), max_size=9).map("".join)


def values(alphabet: str) -> st.SearchStrategy[list[str]]:
    """Several short values, which match more often than long ones."""
    return st.lists(st.text(alphabet, max_size=8), min_size=1, max_size=8)


def compare(function: str, text: str, samples: list[str]) -> None:
    """Refused, or equal to Casbin on every sample."""
    try:
        pattern = compile_pattern(function, text)
    except PatternError:
        return
    for value in samples:
        agree(function, pattern, text, value)


GLOB_PIECES = (
    *"ab./*?[]!-^\\{},$",
    "**",
    "/**",
    "**/",
    "*/",
    "[a-b]",
    "[!a]",
    "[!.]",
    "[.a]",
    "[+-9]",
    "{a,b}",
    "{,a}",
)
REGEX_PIECES = (
    *"ab.|()[]*+?^$\\{},-1:/",
    "(?:",
    "(?i)",
    "(?P<x>",
    r"\d",
    r"\w",
    r"\b",
    r"\.",
    "[^",
    "[a-b]",
    "{2}",
    "{1,}",
)
REGEX_PIECES = (*REGEX_PIECES, "{,2}", ".*", "(a|b)", "*?", "+?", "(?s:", "(?-i:", r"\A", r"\x61")
KEY_PIECES = (
    *"ab/:{}*.+?()|[]$^",
    "/*",
    "{a}",
    "{b}",
    ":a",
    "/:b",
    "/{a}",
    "{a}/{a}",
    ".*",
    "(a|b)",
    "(?:a)",
    "{a}|{a}",
)


@given(patterns(*GLOB_PIECES), values("ab./-\n"))
@settings(max_examples=400)
def test_globs_agree_with_casbin(text: str, samples: list[str]) -> None:
    """Every glob that is taken matches what wcmatch matches after Casbin's rewriting."""
    compare("globMatch", text, samples)


@given(patterns(*REGEX_PIECES), values("abA1/ -"))
@settings(max_examples=400)
def test_regular_expressions_agree_with_casbin(text: str, samples: list[str]) -> None:
    """Every regular expression that is taken matches what Python's `re.match` matches."""
    compare("regexMatch", text, samples)


@given(st.sampled_from([f"keyMatch{n}" for n in ("", 2, 3, 4, 5)]), patterns(*KEY_PIECES), values("ab/:?{}*"))
@settings(max_examples=600)
def test_key_patterns_agree_with_casbin(function: str, text: str, samples: list[str]) -> None:
    """The five key functions match what Casbin's translation to regular expressions matches."""
    compare(function, text, samples)


NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
).map(lambda parts: f"{parts[0]}/{parts[1]}")


@given(NETWORKS, st.lists(st.ip_addresses(), max_size=3))
def test_addresses_agree_with_casbin(
    network: str, addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    """Networks hold what Casbin says they hold, their own first address included."""
    first = ipaddress.ip_network(network, strict=False)[0]
    compare("ipMatch", network, [str(first), *map(str, addresses)])


@given(
    st.sampled_from([*CASBIN, "timeMatch"]), st.one_of(st.text(), patterns(*GLOB_PIECES, *REGEX_PIECES, *KEY_PIECES))
)
@settings(max_examples=400)
def test_any_text_compiles_or_is_refused(function: str, text: str) -> None:
    """No pattern makes the compiler fail with anything but its own error."""
    try:
        compiled = compile_pattern(function, text)
    except PatternError as error:
        told = error.message.isprintable() and error.help.isprintable() and bool(error.help)
    else:
        told = compiled.kind in {"exact", "prefix", "test"}
    assert told
