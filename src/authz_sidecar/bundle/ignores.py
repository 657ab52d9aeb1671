"""Comments that silence a finding: `# authz: ignore[CODE, CODE] reason`, on its line or on a line of its own above.

In YAML a `#` counts where YAML takes it for a comment: not inside a text, nor inside another comment. In rows and in
`model.conf` a comment has its line to itself. A file without the mark costs one search.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml
from yaml._yaml import CParser
from yaml.events import ScalarEvent, StreamEndEvent

from authz_sidecar.values.span import Span

_MARK = re.compile(r"#[ \t]*authz:[ \t]*(?P<rest>[^\n]*)")
_IGNORE = re.compile(r"ignore[ \t]*\[(?P<codes>[^\]]*)\](?P<reason>.*)")
_CODE = re.compile(r"[^,\s][^,]*")


class Ignore(msgspec.Struct, frozen=True):
    """One comment. `codes` are the rules that it silences on line `line`, each with its place; none where the comment
    is not of the documented form. `reason` is "" where none is given."""

    span: Span
    line: int
    codes: tuple[tuple[str, Span], ...]
    reason: str


def read_ignores(files: Mapping[str, bytes]) -> Iterator[Ignore]:
    """The comments of all files, by place. A file that is no text, or no YAML, has none: its bundle does not load."""
    for path in sorted(files):
        data = files[path]
        if b"authz:" not in data:
            continue
        try:
            text = data.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if path.endswith(".yaml"):
            yield from _read(text, path, _yaml_comments(text), "#")
        elif path.endswith(".csv"):
            yield from _read(text, path, _line_comments(text), "#")
        elif path.endswith(".conf"):
            yield from _read(text, path, _line_comments(text), "#;")


def _line_comments(text: str) -> Iterator[re.Match[str]]:
    for found in _MARK.finditer(text):
        if not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip():
            yield found


def _yaml_comments(text: str) -> Iterator[re.Match[str]]:
    """The marks that begin a comment."""
    marks = {found.start(): found for found in _MARK.finditer(text)}
    # A mark is one only where no other comment has begun before it on its line: each `#` of these lines is looked at.
    signs: list[int] = []
    for at in marks:
        begin = text.rfind("\n", 0, at) + 1
        signs += [place for place in range(begin, at + 1) if text[place] == "#"]
    outside = outside_texts(text, sorted(set(signs)))
    line = -1
    for sign in outside:
        begin = text.rfind("\n", 0, sign) + 1
        if begin != line and (sign == begin or text[sign - 1] in " \t"):
            line = begin
            if sign in marks:
                yield marks[sign]


def outside_texts(text: str, places: list[int]) -> list[int]:
    """Those of `places`, which are sorted, that are inside no scalar."""
    outside: list[int] = []
    if not places:
        return outside
    try:
        next_event = CParser(text).get_event
        rest = iter(places)
        place = next(rest)
        while True:
            event: Any = next_event()
            kind = type(event)
            if kind is StreamEndEvent:
                return [*outside, place, *rest]
            if kind is not ScalarEvent or event.end_mark.index <= place:
                continue
            begin, end = event.start_mark.index, event.end_mark.index
            while place < end:
                if place < begin:
                    outside.append(place)
                place = next(rest)
    except StopIteration:
        return outside
    except yaml.YAMLError:
        return []


def _read(text: str, file: str, comments: Iterator[re.Match[str]], signs: str) -> Iterator[Ignore]:
    lines: list[str] = []
    for found in comments:
        lines = lines or text.split("\n")
        number = text.count("\n", 0, found.start()) + 1
        begin = text.rfind("\n", 0, found.start()) + 1
        target = number
        if not text[begin : found.start()].strip():
            # A comment of its own silences the line below, and so do several of them one upon the other.
            while target < len(lines) and (target == number or lines[target - 1].lstrip()[:1] in tuple(signs)):
                target += 1
        yield _parse(found, Span(file, number, found.start() - begin + 1), target)


def _parse(found: re.Match[str], span: Span, target: int) -> Ignore:
    said = _IGNORE.match(found["rest"])
    if said is None:
        return Ignore(span, target, (), "")
    before = found.start("rest") - found.start() + said.start("codes")
    codes = tuple(
        (code.group().rstrip(), Span(span.file, span.line, span.column + before + code.start()))
        for code in _CODE.finditer(said["codes"])
    )
    reason = said["reason"].strip()
    return Ignore(span, target, codes, reason if any(map(str.isalnum, reason)) else "")
