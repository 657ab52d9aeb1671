"""`globMatch`: shell patterns over paths, as pycasbin runs them.

pycasbin rewrites the pattern and hands it to wcmatch (`glob.globmatch` with GLOBSTAR and BRACE), whose regular
expressions look ahead. Here the same language is written without lookahead, for a linear-time engine:

- `*` and `?` match within one segment and no leading dot; `[…]` likewise;
- `**` as a whole segment matches any number of segments that do not begin with a dot;
- `/` matches one or more slashes, and slashes may follow the end;
- `{a,b}` stands for both, and a pattern ending in `/**` also matches without it.

What wcmatch reads in a way of its own (unbalanced brackets, `{1..3}`, `[[:alpha:]]`, an escaped slash) is refused.
"""

import re
from typing import NamedTuple

from authz_sidecar.model.lexer import quote
from authz_sidecar.model.regex import PatternError

MAX_ALTERNATIVES = 256

_ANY = "[^/]"
_ANY_FIRST = "[^/.]"
# Any number of segments none of which begins with a dot, with the slashes between and after them.
_SEGMENTS = "(?:[^/.][^/]*|/)*"
_NOTHING = r"[^\x00-\x{10FFFF}]"
_LAST = 0x10FFFF
_GLOBSTAR = None


class _Item(NamedTuple):
    """One element of a segment: a star, or one character of some ranges; `literal` if it is written out."""

    star: bool
    ranges: tuple[tuple[int, int], ...] = ()
    literal: bool = False


_Segment = list[_Item] | None  # None is `**`


def translate_glob(pattern: str) -> tuple[str, str]:
    """The regular expression of a glob, for a match of the whole text, and a text that all matches begin with."""
    # An empty alternative counts only where there is no other, as in Bash.
    alternatives = [found for found in dict.fromkeys(_expand(_rewrite(pattern))) if found] or [""]
    translated = [_translate(alternative) for alternative in alternatives]
    literals = [_literal(alternative) for alternative in alternatives]
    low, high = min(literals), max(literals)
    shared = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return f"^(?:{'|'.join(translated)})$", low[:shared]


def _rewrite(pattern: str) -> str:
    """What pycasbin does to a pattern first (casbin/util/builtin_operators.py, glob_match)."""
    while pattern.startswith("*/"):
        pattern = pattern[1:]
    parts = [part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in pattern.split("/")]
    rewritten = "/".join(parts)
    return f"{{{rewritten[:-3]},{rewritten}}}" if rewritten.endswith("/**") else rewritten


# Braces


def _expand(pattern: str) -> list[str]:
    """The alternatives that a pattern's braces stand for."""
    results, at = _expand_sequence(pattern, 0, inside=False, depth=0)
    if at < len(pattern):
        raise PatternError("a `}` has no `{`", "write `\\}` for the brace itself")
    return results


def _expand_sequence(pattern: str, at: int, *, inside: bool, depth: int) -> tuple[list[str], int]:
    results = [""]
    while at < len(pattern):
        character = pattern[at]
        if character == "}" or (inside and character == ","):
            break
        if character == "\\":
            piece = [pattern[at : at + 2]]
            at += 2
        elif character == "{":
            if pattern[at - 1 : at] == "$":
                raise PatternError("`${` stands in a glob", "write `\\{` for the brace itself")
            piece, at = _expand_group(pattern, at, depth + 1)
        else:
            if inside and pattern.startswith("..", at):
                raise PatternError("a glob holds a range of braces", "write the values out, as in `{1,2,3}`")
            piece = [character]
            at += 1
        _check_count(len(results) * len(piece))
        results = [left + right for left in results for right in piece]
    return results, at


def _expand_group(pattern: str, start: int, depth: int) -> tuple[list[str], int]:
    if depth > 8:
        raise PatternError("braces are nested more than 8 deep", "write the alternatives out")
    results: list[str] = []
    at = start
    slots = 0
    while True:
        slot, at = _expand_sequence(pattern, at + 1, inside=True, depth=depth)
        results += slot
        slots += 1
        _check_count(len(results))
        if at >= len(pattern):
            raise PatternError("a `{` is not closed", "end it with `}`, or write `\\{` for the brace itself")
        if pattern[at] == "}":
            break
    if slots == 1:
        raise PatternError("braces hold a single alternative", "write `\\{` and `\\}` for the braces themselves")
    return results, at + 1


def _check_count(count: int) -> None:
    if count > MAX_ALTERNATIVES:
        raise PatternError(
            f"the braces of a glob stand for more than {MAX_ALTERNATIVES} patterns", "use several rules instead"
        )


# Segments


def _translate(pattern: str) -> str:
    """The regular expression of one alternative."""
    if not pattern:
        return ""
    segments = _read_segments(pattern)
    rooted = pattern.startswith("/")
    trailing = pattern.endswith("/") and bool(segments)
    out: list[str] = []
    slash = rooted
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment is _GLOBSTAR:
            out.append(_globstar(slash, last, trailing))
            slash = False
        else:
            out.append("/+" if slash else "")
            out.append(_segment(segment))
            slash = True
            if last:
                out.append("/+" if trailing else "/*")
    if not segments:
        out.append("/+")
    return "".join(out)


def _globstar(slash: bool, last: bool, trailing: bool) -> str:
    """`**`, after a slash or at the beginning, before more segments or at the end."""
    if not last:
        return "(?:/+[^/.][^/]*)*/+" if slash else f"(?:{_SEGMENTS}/)?"
    if trailing:
        return f"/(?:{_SEGMENTS}/)?" if slash else f"{_SEGMENTS}/"
    return f"/{_SEGMENTS}" if slash else _SEGMENTS


def _segment(items: list[_Item]) -> str:
    if not items or not items[0].star:
        return "".join(_item(item, first=not number) for number, item in enumerate(items))
    # A leading star may be empty only where what follows it takes a character that is no dot.
    rest = items[1:]
    after = "".join(_item(item, first=False) for item in rest)
    whole = f"{_ANY_FIRST}{_ANY}*{after}"
    if not rest:
        return whole
    without = _ranges(_subtract(rest[0].ranges, ord("."))) + "".join(_item(item, first=False) for item in rest[1:])
    return f"(?:{whole}|{without})"


def _item(item: _Item, *, first: bool) -> str:
    if item.star:
        return f"{_ANY}*"
    # A set or `?` takes no leading dot; a dot that is written out does.
    return _ranges(_subtract(item.ranges, ord(".")) if first and not item.literal else item.ranges)


def _ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    if not ranges:
        return _NOTHING
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _point(ranges[0][0])
    return "[" + "".join(_point(low) if low == high else f"{_point(low)}-{_point(high)}" for low, high in ranges) + "]"


def _point(code: int) -> str:
    character = chr(code)
    return character if character.isalnum() and character.isascii() else f"\\x{{{code:X}}}"


def _subtract(ranges: tuple[tuple[int, int], ...], code: int) -> tuple[tuple[int, int], ...]:
    kept: list[tuple[int, int]] = []
    for low, high in ranges:
        if low <= code <= high:
            kept += [piece for piece in ((low, code - 1), (code + 1, high)) if piece[0] <= piece[1]]
        else:
            kept.append((low, high))
    return tuple(kept)


_NOT_SLASH = _subtract(((0, _LAST),), ord("/"))


def _read_segments(pattern: str) -> list[_Segment]:
    """The segments between slashes; neighbouring `**` are one, empty segments none."""
    segments: list[_Segment] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "/":
            at += 1
            continue
        end, segment = _read_segment(pattern, at)
        if segment is not _GLOBSTAR or not segments or segments[-1] is not _GLOBSTAR:
            segments.append(segment)
        at = end
    return segments


def _read_segment(pattern: str, start: int) -> tuple[int, _Segment]:
    if re.compile(r"\*\*(?:/|\Z)").match(pattern, start):
        return start + 2, _GLOBSTAR
    items: list[_Item] = []
    at = start
    while at < len(pattern) and pattern[at] != "/":
        character = pattern[at]
        if character == "*":
            while pattern.startswith("*", at):
                at += 1
            items.append(_Item(star=True))
            continue
        if character == "[":
            at, ranges = _read_set(pattern, at)
            items.append(_Item(star=False, ranges=ranges))
            continue
        if character == "?":
            items.append(_Item(star=False, ranges=_NOT_SLASH))
            at += 1
            continue
        if character == "\\":
            at += 1
            character = _escaped(pattern, at)
        items.append(_Item(star=False, ranges=((ord(character), ord(character)),), literal=True))
        at += 1
    return at, items


def _escaped(pattern: str, at: int) -> str:
    character = pattern[at : at + 1]
    if not character:
        raise PatternError("the pattern ends in a single `\\`", "write a backslash itself as `\\\\`")
    if character == "/":
        raise PatternError("a slash is escaped", "write `/` alone")
    return character


def _read_set(pattern: str, start: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """A set `[…]`: single characters, escapes and ranges; `-` stands first or last."""
    at = start + 1
    negated = pattern[at : at + 1] in {"!", "^"}
    at += negated
    codes: list[tuple[int, int]] = []
    first = at
    while True:
        character = pattern[at : at + 1]
        if character in {"", "/"}:
            raise PatternError("a set is not closed", "end it with `]`, or write `\\[` for the bracket itself")
        if character == "]":
            if at == first:
                raise PatternError("a set is empty or begins with `]`", "write `\\]` for the bracket itself")
            break
        if character == "[":
            raise PatternError("a set holds `[`", "write `\\[`; named classes are not part of the language")
        if character == "\\":
            character = _escaped(pattern, at + 1)
            codes.append((ord(character), ord(character)))
            at += 2
            if pattern.startswith("-", at) and not pattern.startswith("-]", at):
                raise PatternError("a range in a set begins with an escape", "write the characters out")
            continue
        if character == "-" and at != first and not pattern.startswith("-]", at):
            raise PatternError("a `-` in a set stands between characters", "put it first or last")
        at += 1
        if character != "-" and pattern.startswith("-", at) and not pattern.startswith("-]", at):
            last = pattern[at + 1 : at + 2]
            if last in {"", "\\", "[", "-", "/"}:
                raise PatternError("a range in a set has no plain end", "write ranges as in `[a-z]`")
            if last < character:
                raise PatternError(
                    f"the range {quote(f'{character}-{last}')} runs backwards", f"write {quote(f'{last}-{character}')}"
                )
            codes.append((ord(character), ord(last)))
            at += 2
        else:
            codes.append((ord(character), ord(character)))
    ranges = tuple(codes)
    if negated:
        ranges = ((0, _LAST),)
        for low, high in codes:
            ranges = tuple(
                piece
                for left, right in ranges
                for piece in ((left, min(right, low - 1)), (max(left, high + 1), right))
                if piece[0] <= piece[1]
            )
    return at + 1, _subtract(ranges, ord("/"))


def _literal(pattern: str) -> str:
    """What all matches of one alternative begin with; a slash may be several, so nothing after it is sure."""
    parts: list[str] = []
    at = 0
    while at < len(pattern) and pattern[at] not in "*?[":
        if pattern[at] == "/":
            # Before `**` a slash may be absent from what matches only at the very beginning.
            parts.append("/")
            break
        if pattern[at] == "\\":
            at += 1
        parts.append(pattern[at])
        at += 1
    return "".join(parts)
