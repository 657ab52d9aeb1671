"""Words, numbers, texts and operators of a matcher, each with the place it stands at.

Only what the language of `docs/models.md` knows gets through; every other sign of Python is refused here, by
name where people are likely to write it.
"""

import math
import re
from typing import NamedTuple

MAX_CHARACTERS = 8192
MAX_DIGITS = 18
MAX_NUMBER_CHARACTERS = 32

_BLANK = re.compile(r"[ \t]+")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_OPERATOR = re.compile(r"&&|\|\||==|!=|<=|>=|[<>!+\-*/%()\[\],]")
_PLAIN_TEXT = {quote: re.compile(rf"[^{quote}\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+") for quote in "'\""}
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}
_WORDS = {"and": "&&", "or": "||", "not": "!", "in": "in"}

_COMPARE = "to compare, write `==`; named arguments and assignment are not part of the language"
_REFUSED: tuple[tuple[str, str], ...] = (
    ("===", "to compare, write `==`"),
    ("!==", "to compare, write `!=`"),
    ("=~", "write `regexMatch(r.x, p.x)` to match a regular expression"),
    ("**", "powers are not part of the language"),
    ("//", "write `/`; whole division is not part of the language"),
    ("<<", "bit operators are not part of the language"),
    (">>", "bit operators are not part of the language"),
    (":=", _COMPARE),
    ("=", _COMPARE),
    ("&", "write `&&`"),
    ("|", "write `||`"),
    ("^", "bit operators are not part of the language"),
    ("~", "write `!` to negate; bit operators are not part of the language"),
    ("?", "conditional expressions are not part of the language; write `a && b || !a && c`"),
    ("{", 'write a list as `("a", "b")`; sets and maps are not part of the language'),
    ("}", "sets and maps are not part of the language"),
    (":", "slices, maps and `lambda` are not part of the language"),
    ("#", "a comment may stand only in `model.conf`, after a matcher or on a line of its own"),
    ("\n", "write the expression on one line; in `model.conf` end a line with `\\` to continue it"),
    ("\r", "write the expression on one line; in `model.conf` end a line with `\\` to continue it"),
)


class ExpressionError(Exception):
    """An expression outside the language. `code` is one of the `expression-…` codes or `pattern-syntax`;
    `offset` counts characters from 0.
    """

    def __init__(self, code: str, message: str, help: str, offset: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help
        self.offset = offset


class Lexeme(NamedTuple):
    """One sign: `kind` is `path`, `number`, `text`, `end` or the operator itself; `end` is the offset after it."""

    kind: str
    value: str | int | float
    offset: int
    end: int


def printable(text: str, limit: int) -> str:
    """`text` on one line: cut to `limit` characters, the invisible ones by number."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in shown)


def quote(text: str, limit: int = 40) -> str:
    """`text` for a message: `printable` and in backticks."""
    return f"`{printable(text, limit)}`"


def read_lexemes(text: str) -> list[Lexeme]:
    """All lexemes of `text`, the last of kind `end`. Raises ExpressionError; linear in the text's length."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(
            "expression-limit",
            f"the expression has {len(text):,} characters; at most {MAX_CHARACTERS:,} are taken",
            "split it, or move what differs by rule into fields of the rules",
            MAX_CHARACTERS,
        )
    lexemes: list[Lexeme] = []
    at = 0
    while at < len(text):
        if match := _BLANK.match(text, at):
            at = match.end()
            continue
        lexeme = _read_lexeme(text, at)
        lexemes.append(lexeme)
        at = lexeme.end
    lexemes.append(Lexeme("end", "", len(text), len(text)))
    return lexemes


def _read_lexeme(text: str, at: int) -> Lexeme:
    character = text[at]
    if character in "'\"":
        return _read_text(text, at)
    if match := _PATH.match(text, at):
        end = match.end()
        if end < len(text) and text[end] in "'\"":
            raise ExpressionError(
                "expression-syntax",
                f"{quote(match[0])} stands directly before a text",
                'prefixed texts (`f"…"`, `r"…"`) are not part of the language',
                at,
            )
        if end < len(text) and (text[end] == "." or (not text[end].isascii() and text[end].isidentifier())):
            raise ExpressionError(
                "expression-syntax",
                f"unexpected {quote(text[end])} in a name",
                "names are ASCII letters, digits and `_`, and begin with no digit; parts are joined by one `.`",
                end,
            )
        return Lexeme(_WORDS.get(match[0], "path"), match[0], at, end)
    if match := _NUMBER.match(text, at):
        return _read_number(text, match)
    match = _OPERATOR.match(text, at)
    for sign, remedy in _REFUSED:
        if text.startswith(sign, at) and (match is None or len(match[0]) < len(sign)):
            name = "line break" if sign in "\r\n" else quote(sign)
            raise ExpressionError("expression-syntax", f"unexpected {name}", remedy, at)
    if match:
        return Lexeme(match[0], match[0], at, match.end())
    if character == ".":
        raise ExpressionError(
            "expression-syntax",
            "unexpected `.`",
            "write attributes without white space, as in `r.sub.name`, and numbers with a digit first, as in `0.5`",
            at,
        )
    raise ExpressionError(
        "expression-syntax",
        f"unexpected character {quote(character)} (U+{ord(character):04X})",
        "texts stand in quotes; outside them only the signs listed in docs/models.md are known",
        at,
    )


def _read_number(text: str, match: re.Match[str]) -> Lexeme:
    at, end = match.span()
    if end < len(text) and (text[end].isalnum() or text[end] in "._"):
        raise ExpressionError(
            "expression-syntax",
            f"{quote(text[at : end + 1])} is not a number",
            "write numbers as `18` or `0.5`: decimal, without leading zeros or `_`",
            at,
        )
    value: int | float
    if match[2] is None and match[3] is None:
        if len(match[0]) > MAX_DIGITS:
            raise ExpressionError(
                "expression-limit", f"a number has more than {MAX_DIGITS} digits", "write a smaller number", at
            )
        value = int(match[0])
    else:
        value = float(match[0]) if len(match[0]) <= MAX_NUMBER_CHARACTERS else math.inf
        if math.isinf(value):
            raise ExpressionError(
                "expression-limit", f"the number {quote(match[0])} is too large or too long", "write a smaller one", at
            )
    return Lexeme("number", value, at, end)


def _read_text(text: str, start: int) -> Lexeme:
    mark = text[start]
    plain = _PLAIN_TEXT[mark]
    parts: list[str] = []
    at = start + 1
    while at < len(text):
        if match := plain.match(text, at):
            parts.append(match[0])
            at = match.end()
            continue
        character = text[at]
        if character == mark:
            return Lexeme("text", "".join(parts), start, at + 1)
        if character != "\\":
            raise ExpressionError(
                "expression-syntax",
                f"a text holds the character U+{ord(character):04X}",
                "write a line break as `\\n` and a tab as `\\t`; other control characters are not taken",
                at,
            )
        escape = text[at + 1 : at + 2]
        if escape not in _ESCAPES:
            raise ExpressionError(
                "expression-syntax",
                f"unknown escape {quote(text[at : at + 2])} in a text",
                "the escapes are `\\\\`, `\\'`, `\\\"`, `\\n` and `\\t`; write a backslash itself as `\\\\`",
                at,
            )
        parts.append(_ESCAPES[escape])
        at += 2
    raise ExpressionError("expression-syntax", "a text is not closed", f"end it with {quote(mark)}", start)
