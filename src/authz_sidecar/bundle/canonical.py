"""The canonical layout of a bundle's files: indentation, spaces, blank lines and quotes the same everywhere.

What has a meaning stays: data, the order of keys and items, comments, and whether a list stands on one line; and so do
the platform's line ends. A file
whose data or comments would not come out the same is refused instead, so that formatting never loses anything.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import decode
from authz_sidecar.bundle.yaml_text import parse_yaml
from authz_sidecar.bundle.yaml_tree import Kind, YamlNode, YamlTree

# A list or mapping on one line is broken where it would be longer.
WIDTH = 120
STEP = 2

# The line that may stand above a file's data, and the column of what is at no column of its own.
_BEGIN = "---"
_NOWHERE = -1
_BRACKETS = {Kind.LIST: ("[", "]"), Kind.MAPPING: ("{", "}")}
_COMMENT = re.compile("#[^\n]*")
_FOLD = re.compile(r"[ \t]*\n[ \t]*")
_UNFOLDABLE = re.compile(r"\n[ \t]*\n|\\\n")
_BLOCK_HEADER = re.compile(r"(?P<sign>[|>])(?P<more>[0-9+-]*)[ \t]*(?P<comment>#.*)?")


class CanonicalError(Exception):
    """A file that cannot be laid out without losing something: why, and what to do, `help`."""

    def __init__(self, message: str, help: str = "lay it out by hand") -> None:
        super().__init__(message)
        self.help = help


def canonical_text(file: str, data: bytes) -> bytes:
    """A bundle's file in its canonical layout: YAML and rows; any other file as it is.

    Raises CanonicalError where the file is not valid, or holds what would not come out the same.
    """
    if not file.endswith((".yaml", ".csv")):
        return data
    text = decode(data, file, Findings())
    if text is None:
        raise _invalid()
    laid_out = _yaml(file, data, text) if file.endswith(".yaml") else _rows(text)
    # Line ends are the platform's.
    return (laid_out.replace("\n", "\r\n") if b"\r\n" in data else laid_out).encode()


def _invalid() -> CanonicalError:
    return CanonicalError("it is not valid", "correct what `authz-sidecar lint` says of it")


def _yaml(file: str, data: bytes, text: str) -> str:
    before = _data(file, data)
    tree = YamlTree(text)
    if tree.versioned:
        raise CanonicalError("it begins with a directive, which a bundle does not need", "remove the line with `%`")
    laid_out = "\n".join(_Layout(tree).lines()) + "\n"
    if laid_out != text:
        try:
            same = _data(file, laid_out.encode()) == before and _comments(YamlTree(laid_out)) == _comments(tree)
        except CanonicalError:
            same = False
        if not same:
            raise CanonicalError("its data or its comments would not stay the same")
    return laid_out


def _data(file: str, data: bytes) -> Any:
    findings = Findings()
    root = parse_yaml(data, file, findings)
    if root is None:
        raise _invalid()
    return root


def _comments(tree: YamlTree) -> Counter[str]:
    """The comments of a file, however they are placed."""
    found: Counter[str] = Counter()
    done = 0
    for leaf in _leaves(tree.root):
        found.update(_comments_in(tree.text, done, leaf.start))
        if leaf.is_block_scalar:
            found.update(filter(None, [_block_text(tree.text, leaf, 0).comment]))
        done = leaf.end
    found.update(_comments_in(tree.text, done, len(tree.text)))
    return found


def _comments_in(text: str, begin: int, end: int) -> list[str]:
    """The comments between two nodes."""
    return [comment.rstrip() for comment in _COMMENT.findall(text, begin, end)]


def _leaves(root: YamlNode | None) -> Iterator[YamlNode]:
    """The scalars and aliases below a node, in the order of the text."""
    waiting = [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        if node.kind in (Kind.SCALAR, Kind.ALIAS):
            yield node
        elif node.keys:
            for key, value in zip(reversed(node.keys), reversed(node.items), strict=True):
                waiting += (value, key)
        else:
            waiting += reversed(node.items)


class _BlockText(NamedTuple):
    """A text after `|` or `>`: its sign with what follows it, the comment behind that, its lines without their
    indentation, and where it ends."""

    sign: str
    comment: str
    lines: list[str]
    end: int


def _block_text(text: str, node: YamlNode, above: int) -> _BlockText:
    """The parts of a text in block style; `above` is the column of what holds it, which counts where the text says its
    own indentation."""
    begin = text.index(node.style, node.start)
    end = text.find("\n", begin)
    end = node.end if end < 0 else end + 1
    header = _BLOCK_HEADER.fullmatch(text[begin:end].rstrip())
    if header is None:
        raise CanonicalError("a text of several lines begins unlike others")
    lines = text[end : node.end].removesuffix("\n").split("\n") if end < node.end else []
    if "+" not in header["more"]:
        # Blank lines below it are no part of it.
        while lines and not lines[-1].strip(" "):
            lines.pop()
    digit = header["more"].strip("+-")
    first = next((line for line in lines if line.strip(" ")), "")
    indent = above + int(digit) if digit else len(first) - len(first.lstrip(" "))
    return _BlockText(
        header["sign"] + (str(STEP) if digit else "") + header["more"].strip("0123456789"),
        header["comment"] or "",
        [line[indent:] for line in lines],
        min(end + sum([len(line) + 1 for line in lines]), node.end),
    )


class _Gap(NamedTuple):
    """What stands between two nodes: a comment behind the first ("" for none), and the comments on lines of their own,
    each with its column (`_NOWHERE` for one behind a dash or a comma), with None for blank lines."""

    behind: str
    own: list[tuple[int, str] | None]


class _Layout:
    """The lines of a file, laid out anew from its nodes and what stands between them."""

    def __init__(self, tree: YamlTree) -> None:
        self._tree = tree
        self._text = tree.text
        self._lines: list[str] = []
        # How far the text has been laid out, and dashes that the next line begins with.
        self._done = 0
        self._dashes = 0
        # Behind the last text of several lines, whose blank lines may count.
        self._texts_end = 0
        # The columns of the lists and mappings around the last node, outermost first: before and now.
        self._columns: list[tuple[int, int]] = []

    def lines(self) -> list[str]:
        """All lines."""
        root = self._tree.root
        if self._tree.begin:
            self._comments(self._tree.begin - len(_BEGIN), 0)
            self._lines.append(_BEGIN)
            self._done = self._tree.begin
        if root is not None and root.is_block:
            self._block(root, 0)
        elif root is not None:
            self._comments(root.start, 0)
            self._value("", root, 0, 0)
        self._comments(len(self._text), 0, _NOWHERE)
        while len(self._lines) > self._texts_end and not self._lines[-1]:
            self._lines.pop()
        return self._lines

    # blocks

    def _block(self, node: YamlNode, indent: int) -> None:
        depth = len(self._columns)
        self._columns.append((node.column, indent))
        for number, item in enumerate(node.items):
            first = node.keys[number] if node.keys else item
            self._comments(first.start, indent, node.column)
            del self._columns[depth + 1 :]
            if node.keys:
                self._done = first.end
                self._value(f"{self._inline(first)}:", item, indent, node.column)
            elif item.is_block and not item.anchor:
                self._dashes += 1
                self._block(item, indent + STEP)
            else:
                self._value("-", item, indent, node.column)

    def _value(self, before: str, node: YamlNode, indent: int, column: int) -> None:
        """Write a key or a dash and what follows it; `column` is where the key or the dash stood."""
        if node.is_block:
            if node.anchor:
                self._write(indent, f"{before} &{node.anchor}")
                self._comments(node.start, indent + STEP)
                self._done = node.start + len(node.anchor) + 1
            else:
                self._write(indent, before)
            self._block(node, indent + STEP)
            return
        # What stands between a key and its value goes above.
        for comment in _comments_in(self._text, self._done, node.start):
            self._write_comment(indent, comment)
        self._done = node.end
        if node.is_block_scalar:
            self._block_scalar(before, node, indent, column)
        elif node.kind in _BRACKETS and self._is_commented(node):
            self._rows_of(before, node, indent)
        elif node.kind in _BRACKETS:
            self._write_flow(indent, before, self._flow(node))
        else:
            first, *more = self._scalar(node).split("\n")
            self._write(indent, f"{before} {first}".strip(" "))
            blanks = " " * (indent + STEP)
            self._lines += [blanks + line if line else "" for line in map(_without_blanks, more)]

    def _block_scalar(self, before: str, node: YamlNode, indent: int, column: int) -> None:
        block = _block_text(self._text, node, column)
        self._write(indent, f"{before} {self._anchor(node)}{block.sign}")
        if block.comment:
            self._lines[-1] += f"  {block.comment}"
        self._lines += [" " * (indent + STEP) + line if line else "" for line in block.lines]
        self._texts_end = len(self._lines)
        self._done = block.end

    def _write(self, indent: int, text: str) -> None:
        dashes, self._dashes = self._dashes, 0
        self._lines.append(" " * (indent - STEP * dashes) + "- " * dashes + text)

    # comments

    def _comments(self, end: int, indent: int, column: int | None = None) -> None:
        """Write the comments and blank lines up to what comes next, which stood at `column` (None: comments stand
        beside it in any case) and stands at `indent` now."""
        gap = self._gap(self._done, end)
        if gap.behind and not self._dashes:
            self._lines[-1] += f"  {gap.behind}"
        elif gap.behind:
            self._write_comment(indent, gap.behind)
        for own in gap.own:
            if own is None:
                self._lines += [""] if self._lines and self._lines[-1] else []
            else:
                self._write_comment(indent if column is None else self._indent(own[0], column, indent), own[1])
        self._done = end

    def _gap(self, begin: int, end: int) -> _Gap:
        """What stands in a piece of text between two nodes."""
        text = self._text[begin:end]
        if "\n" not in text and "#" not in text:
            return _Gap("", [])
        behind = ""
        lines = text.split("\n")
        if begin and self._text[begin - 1] != "\n":
            behind = "".join(_comments_in(lines.pop(0), 0, len(text)))
        # What comes next begins on the last line.
        below = lines.pop() if end < len(self._text) and lines else ""
        own: list[tuple[int, str] | None] = []
        for line in [*lines, *([below] if "#" in below else [])]:
            comment = line.partition("#")
            if comment[1]:
                own.append((len(comment[0]) if not comment[0].strip() else _NOWHERE, f"#{comment[2]}".rstrip()))
            elif not line.strip():
                own.append(None)
        return _Gap(behind, own)

    def _indent(self, own: int, column: int, indent: int) -> int:
        """How deep a comment stands that stood at the column `own`: as deep as what follows, if it did, else as the
        innermost list or mapping that it was not left of."""
        if own in (column, _NOWHERE):
            return indent
        return next((now for before, now in reversed(self._columns) if before <= own), 0)

    def _write_comment(self, indent: int, comment: str) -> None:
        """A comment above the line that is to be written."""
        self._lines.append(" " * (indent - STEP * self._dashes) + comment)

    # lists and mappings on one line

    def _is_commented(self, node: YamlNode) -> bool:
        """Whether there are comments inside of a list or mapping."""
        if "#" not in self._text[node.start : node.end]:
            return False
        done = node.start
        for leaf in _leaves(node):
            if "#" in self._text[done : leaf.start]:
                return True
            done = leaf.end
        return "#" in self._text[done : node.end]

    def _flow(self, node: YamlNode) -> list[str]:
        """A node on one line, cut after its commas."""
        if node.kind not in _BRACKETS:
            return [self._inline(node)]
        opening, closing = _BRACKETS[node.kind]
        parts = [self._anchor(node) + opening]
        for number, item in enumerate(node.items):
            first, *more = self._flow(item)
            if node.keys:
                first = f"{self._inline(node.keys[number])}: {first}".rstrip(" ")
            if number:
                parts[-1] += ","
                parts.append(f" {first}")
            else:
                parts[-1] += first
            parts += more
        parts[-1] += closing
        return parts

    def _write_flow(self, indent: int, before: str, parts: list[str]) -> None:
        """Write a list or mapping, in several lines where one would be too long."""
        self._write(indent, f"{before} {parts[0]}".strip(" "))
        line = self._lines.pop()
        below = " " * (len(line) - len(line.lstrip(" -")) + 2 * STEP)
        for part in parts[1:]:
            if len(line) + len(part) > WIDTH:
                self._lines.append(line)
                line = below + part.lstrip(" ")
            else:
                line += part
        self._lines.append(line)

    def _rows_of(self, before: str, node: YamlNode, indent: int) -> None:
        """Write a list or mapping that has comments inside with a line for each item."""
        opening, closing = _BRACKETS[node.kind]
        self._write(indent, f"{before} {self._anchor(node)}{opening}".strip(" "))
        self._done = self._text.index(opening, node.start) + 1
        around = indent + (STEP if before == "-" else 0)
        for number, item in enumerate(node.items):
            first = node.keys[number] if node.keys else item
            self._comments(first.start, around + STEP)
            self._done = first.end if node.keys else first.start
            self._value(f"{self._inline(first)}:" if node.keys else "", item, around + STEP, 0)
            self._lines[-1] += "," if number + 1 < len(node.items) else ""
        self._comments(node.end - 1, around + STEP)
        self._write(around, closing)
        self._done = node.end

    # scalars

    def _inline(self, node: YamlNode) -> str:
        """A scalar or alias on one line."""
        text = self._scalar(node)
        if "\n" not in text:
            return text
        if _UNFOLDABLE.search(text):
            raise CanonicalError("a list on one line holds a text of several")
        return _FOLD.sub(" ", text)

    def _scalar(self, node: YamlNode) -> str:
        """A plain or quoted scalar, or an alias, as it is written; single quotes become double ones where the text
        reads the same in them."""
        anchor = self._anchor(node)
        text = self._text[node.start : node.end]
        text = text[len(anchor) :].strip(" \t\n") if anchor else text
        if node.style == "'" and "\\" not in text and '"' not in text:
            text = '"' + text[1:-1].replace("''", "'") + '"'
        return f"{anchor}{text}"

    @staticmethod
    def _anchor(node: YamlNode) -> str:
        return f"&{node.anchor} " if node.anchor else ""


def _without_blanks(line: str) -> str:
    return line.strip(" \t")


def _rows(text: str) -> str:
    lines: list[str] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            line = _row(line)
        if line or (lines and lines[-1]):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return "".join([f"{line}\n" for line in lines])


def _row(text: str) -> str:
    """A row with one space after each comma that separates values: those in brackets do not."""
    values: list[str] = []
    depth = begin = 0
    for at, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
            if depth < 0:
                raise _invalid()
        elif character == "," and not depth:
            values.append(text[begin:at].strip())
            begin = at + 1
    if depth:
        raise _invalid()
    return ", ".join([*values, text[begin:].strip()])
