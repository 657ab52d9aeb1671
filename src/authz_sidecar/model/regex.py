r"""Regular expressions: the part of Python's syntax that means the same on a linear-time engine.

pycasbin runs Python's `re`, which can take exponential time; here google-re2 runs them. Both must accept an
expression and mean the same by it, so what only one of them knows, or what they read differently, is refused.
Two differences remain and are documented: `\d \w \s \b` and letter case know ASCII only, and `$` matches at the
very end only, not before a last line break.
"""

import re
from collections.abc import Callable

import re2

from authz_sidecar.model.lexer import printable, quote

MAX_PATTERN_CHARACTERS = 1024
MAX_GROUP_DEPTH = 32
MAX_PROGRAM_BYTES = 1 << 18
"""re2's budget for one expression; it bounds compiled size and, times the value's length, the time of a match."""

_ESCAPED_LETTERS = frozenset("dDwWsSbAntrfvax")
_GROUP = re.compile(r"\(\?(?:P<[A-Za-z_][A-Za-z0-9_]*>|:|[ims]+\)|[ims]*(?:-[ims]+)?:)")
_REFUSED_GROUPS: tuple[tuple[str, str], ...] = (
    ("(?=", "lookahead"),
    ("(?!", "lookahead"),
    ("(?<=", "lookbehind"),
    ("(?<!", "lookbehind"),
    ("(?P=", "back-references"),
    ("(?>", "atomic groups"),
    ("(?(", "conditional groups"),
    ("(?#", "comments"),
)
_OPEN_REPEAT = re.compile(r"\{,\d*\}")
_REPEAT = re.compile(r"\{\d+(?:,\d*)?\}")
# Letters, `.`, `.*` and `[^/]+` alone: most paths. Both engines read these alike, so that nothing needs checking.
_PLAIN = re.compile(r"\^?(?:[A-Za-z0-9_/@:=,;%~!#&'\"<> -]|\.(?![*+?{])|(?:\.\*|\[\^\\?/\]\+)(?![*+?{]))*\$?")
_SPECIAL = frozenset("\\^$.|?*+()[]{}")


class PatternError(Exception):
    """A pattern that is refused; `message` says why and `help` gives the remedy."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def _options(captures: bool) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    options.never_capture = not captures
    return options


_TEST_OPTIONS = _options(captures=False)
_CAPTURE_OPTIONS = _options(captures=True)


def compile_test(regex: str) -> Callable[[str], bool]:
    """A test of texts from their start, as Python's `re.match`. Raises PatternError.

    What comes from a policy goes through `check_regex` first.
    """
    match = _compile(regex, _TEST_OPTIONS).match

    def test(value: str) -> bool:
        return match(value.encode()) is not None

    return test


def compile_groups(regex: str) -> tuple[Callable[[str], tuple[bytes | None, ...] | None], int]:
    """What the groups hold after a match from the start (None: no match), and how many they are."""
    check_regex(regex)
    compiled = _compile(regex, _CAPTURE_OPTIONS)

    def groups(value: str) -> tuple[bytes | None, ...] | None:
        found = compiled.match(value.encode())
        return None if found is None else tuple(found.groups())

    return groups, compiled.groups


def _compile(regex: str, options: re2.Options) -> re2._Regexp:
    try:
        return re2.compile(regex.encode(), options)
    except re2.error as error:
        reason = printable(error.args[0].decode("utf-8", "replace"), 200)
        raise PatternError(
            f"the regular expression is not one that runs in linear time: {reason}",
            "use classes, groups and repetition up to 1,000 only; see docs/models.md",
        ) from None


def check_regex(regex: str) -> None:
    """Refuse what Python and re2 read differently, what Python refuses, and what cannot run in linear time."""
    if _PLAIN.fullmatch(regex):
        return
    _check_syntax(regex)
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        reason = printable(str(error), 200)
        raise PatternError(f"the regular expression is not valid: {reason}", "correct it; see docs/models.md") from None


def _check_syntax(regex: str) -> None:
    depth = 0
    at = 0
    while at < len(regex):
        character = regex[at]
        if character == "\\":
            _check_escape(regex, at)
            at += 2
        elif character == "[":
            at = _class_end(regex, at)
        elif character == "(":
            _check_group(regex, at)
            depth += 1
            if depth > MAX_GROUP_DEPTH:
                raise PatternError(f"groups are nested more than {MAX_GROUP_DEPTH} deep", "remove brackets")
            at += 1
        elif character == ")":
            depth -= 1
            at += 1
        elif character == "{" and _OPEN_REPEAT.match(regex, at):
            raise PatternError("a repetition has no lower bound", "write `{0,n}` for up to n times, `*` for any number")
        else:
            at += 1


def _check_escape(regex: str, at: int) -> None:
    escaped = regex[at + 1 : at + 2]
    if not escaped:
        raise PatternError("the pattern ends in a single `\\`", "write a backslash itself as `\\\\`")
    if escaped.isdigit():
        raise PatternError(
            f"`\\{escaped}` is a back-reference, which does not run in linear time",
            "write the text out, or use `keyMatch4` with a name used twice",
        )
    if escaped == "Z":
        raise PatternError("`\\Z` is not known", "write `$`")
    if escaped.isalpha() and escaped not in _ESCAPED_LETTERS:
        raise PatternError(f"{quote(regex[at : at + 2])} is not known", "see docs/models.md for the escapes that are")
    if not escaped.isascii():
        raise PatternError(f"{quote(regex[at : at + 2])} escapes what needs no escape", f"write {quote(escaped)}")


def _check_group(regex: str, at: int) -> None:
    if not regex.startswith("(?", at) or _GROUP.match(regex, at):
        return
    for opening, name in _REFUSED_GROUPS:
        if regex.startswith(opening, at):
            raise PatternError(
                f"`{opening}` begins {name}, which linear-time matching does not have",
                "use several rules, a deny rule, or a condition in the matcher instead",
            )
    raise PatternError("a group begins with an unknown `(?`", "known are `(?:`, `(?P<name>` and the flags i, m and s")


def _class_end(regex: str, start: int) -> int:
    """The offset after a `[…]` class; what Python plans to read as set operations is refused."""
    at = start + 1
    if regex.startswith("^", at):
        at += 1
    if regex.startswith("[", at):
        raise PatternError("a class begins with `[`", "write `\\[` for the bracket itself")
    if regex.startswith("]", at):
        at += 1
    while at < len(regex):
        character = regex[at]
        if character == "]":
            return at + 1
        if character == "\\":
            _check_escape(regex, at)
            at += 2
            continue
        if character == "[" and regex[at + 1 : at + 2] in {":", ".", "="}:
            raise PatternError(f"a class holds `{regex[at : at + 2]}`", "write the characters out, as in `[a-z]`")
        if character in "-&|~" and regex.startswith(character, at + 1):
            raise PatternError(f"a class holds `{character * 2}`", "write `\\` before the second one")
        at += 1
    raise PatternError("a class is not closed", "end it with `]`, or write `\\[` for the bracket itself")


def literal_prefix(regex: str) -> tuple[str, str]:
    """A text that all matches of `regex` from the start begin with, and the part of `regex` after it.

    Sound, not complete: the text may be shorter than what matches share.
    """
    if _has_alternatives(regex):
        return "", regex
    at = 1 if regex.startswith("^") else 0
    parts: list[str] = []
    while at < len(regex):
        character, end = regex[at], at + 1
        if character == "\\" and end < len(regex) and not regex[end].isalnum():
            character, end = regex[end], end + 1
        elif character in _SPECIAL:
            break
        if regex[end : end + 1] in {"*", "?", "{"}:
            break
        parts.append(character)
        at = end
        if regex[end : end + 1] == "+":
            break
    return "".join(parts), regex[at:]


def _has_alternatives(regex: str) -> bool:
    """Whether a `|` stands outside classes; one inside brackets counts too, which costs only the prefix."""
    at = 0
    while at < len(regex):
        if regex[at] == "\\":
            at += 2
        elif regex[at] == "[":
            at = _class_end(regex, at)
        elif regex[at] == "|":
            return True
        else:
            at += 1
    return False
