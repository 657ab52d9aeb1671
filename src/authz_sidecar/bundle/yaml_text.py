"""YAML text to data with places: a bounded composer of our own over the events of libyaml.

What is taken is the plain part of YAML 1.2 that JSON has too, with anchors and aliases: one document of
mappings with text keys, lists and scalars. Only `true`, `false`, `null` and numbers are other than text, so
that `no`, `on` and `2026-01-01` are text. Depth is bounded on the events, before anything is built (PyYAML's
own composer overruns the C stack on deep nesting); what aliases expand to is counted.
"""

import math
import re
from typing import Any, NoReturn

import yaml
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import INVISIBLE, decode, invisible_problem
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap
from authz_sidecar.values.span import Span

_VALUES = frozenset({ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent})

# Fields of text for people, which may be written in any script.
_PROSE = frozenset({"description"})

MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_EXPANDED_NODES = 100_000
MAX_NODES = 1_000_000

# YAML 1.2, section 10.3.2 (core schema).
_NOT_TEXT = re.compile(
    r"(?P<null>null|Null|NULL|~|)|(?P<bool>true|True|TRUE|false|False|FALSE)|(?P<int>[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_MAX_DIGITS = 18


class _RefusedError(Exception):
    """The rest of the file cannot be read; the finding is reported already."""


def parse_yaml(data: bytes, file: str, findings: Findings) -> YamlMap | None:
    """The mapping that a file holds, or None with findings. Never raises."""
    before = findings.errors
    text = decode(data, file, findings)
    if text is None:
        return None
    try:
        root = _Composer(file, findings).compose(text)
    except _RefusedError:
        return None
    except yaml.YAMLError as error:
        _report_syntax(error, text, file, findings)
        return None
    if not isinstance(root, YamlMap):
        if findings.errors == before:
            findings.error(
                root.span if isinstance(root, YamlList) else Span(file, 1, 1),
                "yaml-document",
                "the file holds no mapping",
                "write `section:` lines at the left margin, or remove the file",
            )
        return None
    return None if findings.errors > before else root


class _Composer:
    """Builds the data of one file from its events, one pass, without recursion."""

    __slots__ = ("_aliases", "_anchors", "_expanded", "_file", "_findings", "_nodes", "_plain")

    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        # Anchor to its value and how many nodes that is with all aliases in it written out.
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._aliases = 0
        self._expanded = 0
        self._nodes = 0
        self._plain: dict[str, Any] = {}

    def compose(self, text: str) -> Any:
        """The root value; None for an empty file."""
        next_event = CParser(text).get_event
        root: Any = None
        documents = 0
        # The open containers, each with its anchor and the count of values where it began.
        stack: list[tuple[YamlMap | YamlList, str | None, int]] = []
        container: YamlMap | YamlList | None = None
        key: str | None = None
        key_line = key_column = 0
        while True:
            event: Any = next_event()
            kind = type(event)
            if kind is MappingEndEvent or kind is SequenceEndEvent:
                closed, anchor, begun = stack.pop()
                if anchor is not None:
                    self._anchors[anchor] = (closed, self._nodes - begun + 1)
                container = stack[-1][0] if stack else None
                continue
            if kind is StreamEndEvent:
                return root
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            if kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._refuse_document(line, column)
            if kind not in _VALUES:
                continue
            if self._nodes >= MAX_NODES:
                self._refuse(
                    line, column, "file-size", f"the file holds more than {MAX_NODES:,} values", "split the file"
                )
            if key is None and type(container) is YamlMap:
                key, key_line, key_column = self._key(event, container, line, column), line, column
                continue
            inner = -1
            value: Any
            if kind is ScalarEvent:
                value = self._scalar(event, line, column)
                if type(value) is str and not value.isascii() and key not in _PROSE:
                    self._check_visible(event, line, column)
                # Text that is as long as it reads stands there letter by letter: no escapes, no folded lines.
                end, quotes = event.end_mark, 0 if event.implicit[0] else 1
                if type(value) is str and end.column + 1 - column == len(value) + 2 * quotes and end.line + 1 == line:
                    inner = quotes
                self._nodes += 1
                if event.anchor is not None:
                    self._define(event.anchor, line, column, (value, 1))
            elif kind is AliasEvent:
                value = self._resolve(event.anchor, line, column)
            else:
                self._check_container(event, len(stack), line, column)
                make = YamlMap if kind is MappingStartEvent else YamlList
                value = make(self._file, line, column) if key is None else make(self._file, key_line, key_column)
                self._nodes += 1
            if container is None:
                root = value
            elif isinstance(container, YamlList):
                container.append(value)
                container.places.append((line, column))
            elif key is not None:
                container[key] = value
                container.places[key] = (key_line, key_column, line, column, inner)
            key = None
            if kind is MappingStartEvent or kind is SequenceStartEvent:
                stack.append((value, event.anchor, self._nodes))
                container = value

    def _check_container(self, event: Any, depth: int, line: int, column: int) -> None:
        if depth >= MAX_DEPTH:
            self._refuse(
                line,
                column,
                "yaml-depth",
                f"the file is nested more than {MAX_DEPTH} deep",
                "write it flatter; a bundle needs less than ten levels",
            )
        if event.tag is not None:
            self._refuse_tag(event.tag, line, column)
        if event.anchor is not None:
            self._define(event.anchor, line, column, None)

    def _key(self, event: Any, container: YamlMap, line: int, column: int) -> str:
        if type(event) is not ScalarEvent:
            what = "an alias" if type(event) is AliasEvent else "a list or a mapping"
            self._refuse(line, column, "yaml-key", f"a key is {what}", "write the key as text")
        key: str = event.value
        if event.tag is not None:
            self._refuse_tag(event.tag, line, column)
        if event.anchor is not None:
            self._define(event.anchor, line, column, (key, 1))
        if event.implicit[0]:
            if key == "<<":
                self._refuse(
                    line,
                    column,
                    "yaml-merge",
                    "the merge key `<<` is not taken",
                    "write the fields out, or share a whole value by an alias",
                )
            if type(self._scalar(event, line, column)) is not str:
                self._report(
                    line,
                    column,
                    "yaml-key",
                    f"the key {quote(key)} is not text" if key else "a key is missing before `:`",
                    f'put it in quotes: `"{key}":`' if key else "write the key",
                )
        if not key.isascii():
            self._check_visible(event, line, column)
        if key in container:
            first = container.places[key]
            self._report(
                line,
                column,
                "yaml-duplicate-key",
                f"the key {quote(key)} is given twice",
                f"remove one of them; the first is on line {first[0]}",
            )
        return key

    def _check_visible(self, event: Any, line: int, column: int) -> None:
        """Warn of the first character in a text that is not seen, written as it is or by an escape."""
        found = INVISIBLE.search(event.value)
        if found is None:
            return
        end, quotes = event.end_mark, 0 if event.implicit[0] else 1
        if end.line + 1 == line and end.column + 1 - column == len(event.value) + 2 * quotes:
            column += quotes + found.start()
        invisible_problem(found.group(), Span(self._file, line, column), self._findings)

    def _scalar(self, event: Any, line: int, column: int) -> Any:
        text: str = event.value
        if event.tag is not None:
            self._refuse_tag(event.tag, line, column)
        if not event.implicit[0]:
            return text  # quoted or a block
        cached = self._plain.get(text, self)
        if cached is not self:
            return cached
        found = _NOT_TEXT.fullmatch(text)
        value: Any = text
        if found:
            kind = found.lastgroup
            if kind == "null":
                value = None
            elif kind == "bool":
                value = text[0] in "tT"
            elif kind == "special" or len(text) > _MAX_DIGITS + 6:
                self._report_number(text, line, column)
            elif kind == "int":
                value = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
                if len(str(abs(value))) > _MAX_DIGITS:
                    self._report_number(text, line, column)
            else:
                value = float(text)
                if not math.isfinite(value):
                    self._report_number(text, line, column)
        self._plain[text] = value
        return value

    def _define(self, anchor: str, line: int, column: int, value: tuple[Any, int] | None) -> None:
        """Remember an anchor; `value` is None while its container is open."""
        self._count_alias(line, column)
        if anchor in self._anchors:
            self._refuse(
                line,
                column,
                "yaml-alias",
                f"the anchor {quote('&' + anchor)} is defined twice",
                "give each anchor a name of its own",
            )
        self._anchors[anchor] = value

    def _resolve(self, anchor: str, line: int, column: int) -> Any:
        self._count_alias(line, column)
        if anchor not in self._anchors:
            self._refuse(
                line,
                column,
                "yaml-alias",
                f"the alias {quote('*' + anchor)} has no anchor before it",
                'define it first, or put the text in quotes: a leading `*` makes an alias, `"*"` does not',
            )
        known = self._anchors[anchor]
        if known is None:
            self._refuse(
                line,
                column,
                "yaml-alias",
                f"the alias {quote('*' + anchor)} stands inside its own anchor",
                "write the value out",
            )
        value, nodes = known
        self._nodes += nodes
        self._expanded += nodes
        if self._expanded > MAX_EXPANDED_NODES:
            self._refuse(
                line,
                column,
                "yaml-alias",
                f"aliases expand to more than {MAX_EXPANDED_NODES:,} values",
                "write the values out",
            )
        return value

    def _count_alias(self, line: int, column: int) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._refuse(
                line,
                column,
                "yaml-alias",
                f"the file has more than {MAX_ALIASES} anchors and aliases",
                "write the values out",
            )

    def _report_number(self, text: str, line: int, column: int) -> None:
        self._report(
            line,
            column,
            "field-value",
            f"the number {quote(text)} is too large, too long or not finite",
            "put it in quotes if it is an id; numbers have at most 18 digits",
        )

    def _refuse_document(self, line: int, column: int) -> NoReturn:
        self._refuse(
            line,
            column,
            "yaml-document",
            "the file holds a second document",
            "remove the `---` line, or move what follows it to a file of its own",
        )

    def _refuse_tag(self, tag: str, line: int, column: int) -> NoReturn:
        self._refuse(
            line,
            column,
            "yaml-tag",
            f"the tag {quote(tag)} is not taken",
            "remove the tag; put a value in quotes to make it text",
        )

    def _report(self, line: int, column: int, code: str, message: str, help: str) -> None:
        self._findings.error(Span(self._file, line, column), code, message, help)

    def _refuse(self, line: int, column: int, code: str, message: str, help: str) -> NoReturn:
        self._report(line, column, code, message, help)
        raise _RefusedError


def _report_syntax(error: yaml.YAMLError, text: str, file: str, findings: Findings) -> None:
    """A parser's error as a finding at its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        line, column = 1, 1
    else:
        line, column = mark.line + 1, mark.column + 1
    lines = text.split("\n")
    at = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    before = lines[line - 1][: column - 1] if line <= len(lines) else ""
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    span = Span(file, line, column)
    if at.startswith("\t"):
        findings.error(span, "yaml-tab", "a tab stands where YAML takes spaces only", "indent with spaces")
        return
    if before.endswith("*") or at[:1] in ("*", "@", "`", "%", "&"):
        sign = "*" if before.endswith("*") else at[0]
        findings.error(
            Span(file, line, column - 1) if before.endswith("*") else span,
            "yaml-syntax",
            f"{quote(sign)} begins something else in YAML than text",
            f"put it in quotes: {quote(chr(34) + sign + chr(34))}",
        )
        return
    context = " ".join(str(getattr(error, "context", None) or "").split())
    detail = f"{context}: {problem}" if context else problem
    findings.error(
        span,
        "yaml-syntax",
        f"the file is not YAML: {detail}",
        "check the indentation, brackets and quotes on this line and the one above",
    )
