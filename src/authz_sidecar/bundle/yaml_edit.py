"""Editing a YAML file in place: what is not edited stays as it was written, comments, order and layout included.

Edits are pieces of text that take the place of others. A comment on lines of its own directly above an item or a key,
but not at the top of the file, belongs to it and goes with it, and so does one behind it. What an alias stands for
elsewhere is not edited. Files are edited that were read as part of a bundle before, so that depth and size are bounded.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from authz_sidecar.bundle.yaml_tree import Kind, YamlNode, YamlTree

Path: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[YamlNode, int]

# What reads as the same text without quotes, in a flow list too.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@/+\-]*(?::[A-Za-z0-9_.@/+\-]+)*\*?")
_NOT_TEXT = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n|~")
# What may follow an item of a flow list on its line: the comma, and a comment.
_COMMA = re.compile(r"[ \t]*,?")
_COMMA_BELOW = re.compile(r"(?:[^#,]|#[^\n]*)*,")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?=\r|\n|\Z)")
_OWN_LINE_COMMENT = re.compile(r"^[ \t]*#", re.MULTILINE)


class TextEdit(msgspec.Struct, frozen=True, order=True):
    """`text` instead of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


class YamlEditError(Exception):
    """There is nothing of that kind in that place of the file, or it cannot be edited by itself."""


def apply_edits(text: str, edits: Iterable[TextEdit]) -> str:
    """The text with all edits made, those of one place in the order given; raises ValueError where two overlap."""
    parts: list[str] = []
    done = 0
    for edit in sorted(dict.fromkeys(edits), key=lambda edit: (edit.start, edit.end)):
        if edit.start < done:
            raise ValueError("two edits change the same text")
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


def flow_text(value: Any) -> str:
    """A value as YAML on one line: plain where that reads the same, else in double quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join([f"{flow_text(key)}: {flow_text(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([flow_text(item) for item in value]) + "]"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not _NOT_TEXT.fullmatch(value):
            return value
        return _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A text in double quotes; what is not seen is escaped."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    if not quoted.isprintable():
        quoted = "".join([character if character.isprintable() else f"\\U{ord(character):08X}" for character in quoted])
    return f'"{quoted}"'


class YamlText:
    """The text of one file with the places of its parts. Paths name keys and, in lists, numbers of items."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = [0, *[found.end() for found in re.finditer("\n", text)]]
        self._tree = YamlTree(text)
        # By what a node is to the list or mapping that holds it, and where it begins.
        self._at: dict[tuple[str, int], Place] = {}
        self._parents: dict[int, Place] = {}
        for node in self._tree.root.below() if self._tree.root is not None else ():
            for number, item in enumerate(node.items):
                self._parents[id(item)] = (node, number)
                self._at["value" if node.keys else "item", item.start] = (node, number)
            for number, key in enumerate(node.keys):
                self._at["entry", key.start] = (node, number)

    # places

    def offset(self, line: int, column: int) -> int:
        """Where the character at a line and column, counted from 1, stands in the text."""
        if not 0 < line <= len(self._lines):
            raise YamlEditError(f"there is no line {line}")
        return self._lines[line - 1] + column - 1

    def _content_end(self, node: YamlNode) -> int:
        """Where the last character of a node that is content ends: comments after it are not."""
        if node.is_block and node.items:
            return self._part_end(node, len(node.items) - 1)
        if node.is_block_scalar and "+" not in self._header(node):
            return len(self.text[: node.end].rstrip())
        return node.end

    def _header(self, node: YamlNode) -> str:
        """What follows the sign of a text of several lines."""
        return self.text[node.start : self._line_end(node.start)].partition("#")[0]

    def _line_start(self, offset: int) -> int:
        return self._lines[bisect_right(self._lines, offset) - 1]

    def _line_end(self, offset: int) -> int:
        """Where the line of an offset ends, its break included."""
        number = bisect_right(self._lines, offset)
        return self._lines[number] if number < len(self._lines) else len(self.text)

    def _commented_start(self, start: int, column: int | None) -> int:
        """Where the block that begins at a line's `start` begins with the comments right above it; those at other
        columns than `column`, if it is given, belong to something else, and those at the top of the file to that."""
        begin = start
        while begin:
            above = self._line_start(begin - 1)
            line = self.text[above:begin].rstrip("\r\n")
            if not (line.lstrip(" \t").startswith("#") if column is None else line.startswith(" " * column + "#")):
                return begin
            begin = above
        return start

    def _part_start(self, container: YamlNode, number: int) -> int:
        """Where a part begins: an item of a block list at its dash."""
        if container.keys:
            return container.keys[number].start
        start = container.items[number].start
        return start if container.flow else self._dash(start, container.column)

    def _part_end(self, container: YamlNode, number: int) -> int:
        end = self._content_end(container.items[number])
        # A key without a value ends with its colon.
        return max(end, container.keys[number].end + 1) if container.keys else end

    def _dash(self, start: int, column: int) -> int:
        """Where the dash of a block item stands whose content begins at `start`."""
        line = self._line_start(start)
        while True:
            dash = line + column
            if dash <= start and self.text[dash : dash + 1] == "-" and not self.text[line:dash].strip(" -"):
                return dash
            if not line:
                raise YamlEditError("the item has no dash")
            line = self._line_start(line - 1)

    # finding

    def node(self, path: Path) -> YamlNode:
        """The node at a path; raises YamlEditError where there is none."""
        node = self._tree.root
        for step in path:
            found: YamlNode | None = None
            if node is not None and node.kind is Kind.ALIAS:
                raise YamlEditError(f"the alias `*{node.value}` stands there")
            if node is not None and node.kind is Kind.MAPPING:
                values = zip(node.keys, node.items, strict=True)
                found = next((value for key, value in values if key.value == step), None)
            elif node is not None and node.kind is Kind.LIST and isinstance(step, int) and step < len(node.items):
                found = node.items[step]
            node = found
        if node is None:
            raise YamlEditError(f"there is no `{'.'.join(map(str, path))}`")
        return node

    def has(self, path: Path) -> bool:
        """Whether there is a node at a path."""
        try:
            self.node(path)
        except YamlEditError:
            return False
        return True

    def _refuse_shared(self, node: YamlNode | None) -> None:
        """Raise YamlEditError for an alias, and where one stands elsewhere for a node or for one that holds it."""
        if node is not None and node.kind is Kind.ALIAS:
            raise YamlEditError(f"the alias `*{node.value}` stands there")
        while node is not None:
            if node.anchor in self._tree.aliased:
                raise YamlEditError(f"the alias `*{node.anchor}` stands for it elsewhere")
            parent = self._parents.get(id(node))
            node = None if parent is None else parent[0]

    # edits by place, as findings name it

    def remove_items(self, offsets: Collection[int]) -> list[TextEdit]:
        """Edits that take out the list items that begin at these offsets."""
        return self._removals([self._place("item", offset) for offset in offsets])

    def remove_entries(self, offsets: Collection[int]) -> list[TextEdit]:
        """Edits that take out the keys of mappings, with their values, that begin at these offsets."""
        return self._removals([self._place("entry", offset) for offset in offsets])

    def replace_at(self, offset: int, value: str) -> TextEdit:
        """An edit that writes another text in the place of the scalar that begins at an offset."""
        for kind in ("value", "item"):
            found = self._at.get((kind, offset))
            if found is not None:
                container, number = found
                return self._replacement(container.items[number], value)
        raise YamlEditError("no value begins there")

    def _place(self, kind: str, offset: int) -> Place:
        found = self._at.get((kind, offset))
        if found is None:
            raise YamlEditError(f"no {kind} begins there")
        return found

    def _replacement(self, node: YamlNode, value: str) -> TextEdit:
        if node.kind is not Kind.SCALAR or node.anchor:
            raise YamlEditError("what stands there is no plain text")
        self._refuse_shared(node)
        text = _quoted(value) if node.style == '"' else flow_text(value)
        return TextEdit(node.start, self._content_end(node), text)

    # taking out

    def _removals(self, places: Iterable[Place]) -> list[TextEdit]:
        gone: dict[int, tuple[YamlNode, set[int]]] = {}
        waiting = list(places)
        # What is left empty goes with the key or item that holds it.
        while waiting:
            container, number = waiting.pop()
            self._refuse_shared(container)
            for node in (container.items[number], *container.keys[number : number + 1]):
                for part in node.below():
                    if part.anchor in self._tree.aliased:
                        raise YamlEditError(f"the alias `*{part.anchor}` needs it elsewhere")
            _, numbers = gone.setdefault(id(container), (container, set()))
            numbers.add(number)
            if len(numbers) == len(container.items):
                if container is self._tree.root:
                    return [TextEdit(container.start, self._content_end(container), "{}")]
                waiting.append(self._parents[id(container)])
        edits: list[TextEdit] = []
        for container, numbers in gone.values():
            if len(numbers) < len(container.items) and not self._goes(container, gone):
                remove = self._flow_removals if container.flow else self._block_removals
                edits += remove(container, numbers)
        return edits

    def _goes(self, node: YamlNode, gone: Mapping[int, tuple[YamlNode, set[int]]]) -> bool:
        """Whether something that holds a node is taken out with all that it holds."""
        parent = self._parents.get(id(node))
        while parent is not None:
            container, number = parent
            if id(container) in gone and number in gone[id(container)][1]:
                return True
            parent = self._parents.get(id(container))
        return False

    def _flow_removals(self, container: YamlNode, numbers: set[int]) -> Iterator[TextEdit]:
        """Takes out runs of items with one comma each; comments about other items stay."""
        last = -1
        for first in sorted(numbers):
            if first <= last:
                continue
            last = first
            while last + 1 in numbers:
                last += 1
            yield from self._flow_removal(container, first, last)

    def _flow_removal(self, container: YamlNode, first: int, last: int) -> Iterator[TextEdit]:
        text = self.text
        start, end = self._part_start(container, first), self._part_end(container, last)
        line, behind = self._line_start(start), self._behind_comma(end)
        has_comma, is_last = text[behind - 1] == ",", last + 1 == len(container.items)
        if not text[line:start].strip() and (has_comma or is_last) and _REST_OF_LINE.match(text, behind):
            # On lines of their own. A comma that is left behind the last item is none.
            yield TextEdit(self._commented_start(line, None), self._line_end(behind), "")
            return
        before = self._part_end(container, first - 1) if is_last else end
        following = start if is_last else self._part_start(container, last + 1)
        if "#" not in text[before:following]:
            yield TextEdit(before, end, "") if is_last else TextEdit(start, following, "")
            return
        # The comments between belong to others: only the comma goes with the items.
        yield TextEdit(start, behind, "")
        comma = _COMMA_BELOW.match(text, behind)
        if not has_comma and not is_last and comma is not None:
            yield TextEdit(comma.end() - 1, comma.end(), "")

    def _block_removals(self, container: YamlNode, numbers: set[int]) -> Iterator[TextEdit]:
        for number in sorted(numbers):
            yield self._block_removal(container, number)

    def _block_removal(self, container: YamlNode, number: int) -> TextEdit:
        """Takes out whole lines: from the comments above the part to the end of its last line."""
        start, end = self._part_start(container, number), self._part_end(container, number)
        line = self._line_start(start)
        end = self._line_end(max(end - 1, start))
        before = self.text[line:start]
        if not before.strip():
            return TextEdit(self._commented_start(line, container.column), end, "")
        if before.strip(" -") or number + 1 == len(container.items):
            raise YamlEditError("it cannot be taken out by itself")
        # It shares its line with the dash of what holds it: what comes next takes its place.
        following = self._part_start(container, number + 1)
        comment = _OWN_LINE_COMMENT.search(self.text, end, following)
        return TextEdit(start, following if comment is None else comment.end() - 1, "")

    # edits by path

    def remove(self, *paths: Path) -> list[TextEdit]:
        """Edits that take out the items or keys at these paths, with what is left empty by that."""
        return self._removals([self._parents[id(self.node(path))] for path in paths])

    def replace(self, path: Path, value: Any) -> TextEdit:
        """An edit that writes another value, on one line, in the place of one that is a scalar or in flow style."""
        node = self.node(path)
        self._refuse_shared(node)
        if node.is_block or node.anchor:
            raise YamlEditError("what stands there takes several lines" if node.is_block else "an anchor stands there")
        return TextEdit(node.start, self._content_end(node), flow_text(value))

    def append(self, path: Path, value: Any) -> TextEdit:
        """An edit that adds an item, written on one line, to the end of the list at a path."""
        node = self.node(path)
        self._refuse_shared(node)
        if node.kind is not Kind.LIST:
            raise YamlEditError("what stands there is no list")
        if node.flow:
            return self._append_to_flow(node, flow_text(value))
        return self._append_lines(node, [f"{' ' * node.column}- {flow_text(value)}"])

    def set(self, path: Path, key: str, value: Any, *, block: bool = False) -> TextEdit:
        """An edit that adds a key to the end of the mapping at a path; the items of a list stand on lines of their own
        with `block`."""
        node = self.node(path)
        self._refuse_shared(node)
        if node.kind is not Kind.MAPPING:
            raise YamlEditError("what stands there is no mapping")
        if node.flow:
            return self._append_to_flow(node, f"{flow_text(key)}: {flow_text(value)}")
        indent = " " * node.column
        if block and isinstance(value, Sequence) and not isinstance(value, str):
            lines = [f"{indent}{flow_text(key)}:", *[f"{indent}  - {flow_text(item)}" for item in value]]
        else:
            lines = [f"{indent}{flow_text(key)}: {flow_text(value)}"]
        return self._append_lines(node, lines)

    def _append_to_flow(self, node: YamlNode, text: str) -> TextEdit:
        if not node.items:
            opening = self.text.index("[" if node.kind is Kind.LIST else "{", node.start) + 1
            return TextEdit(opening, opening, text)
        last = len(node.items) - 1
        start, end = self._part_start(node, last), self._part_end(node, last)
        line, behind = self._line_start(start), self._behind_comma(end)
        if self.text[line:start].strip() or not _REST_OF_LINE.match(self.text, behind):
            return TextEdit(end, end, f", {text}")
        # The last item has a line of its own, so this one has too. The comma comes before a comment behind that.
        comma = "" if self.text[behind - 1] == "," else ","
        rest = self.text[end : self._line_end(end)].rstrip("\r\n")
        return TextEdit(end, end + len(rest), f"{comma}{rest}{self._newline}{self.text[line:start]}{text}")

    def _behind_comma(self, end: int) -> int:
        """Where the comma ends that follows an item on its line; without one, where the blanks after the item end."""
        found = _COMMA.match(self.text, end)
        return end if found is None else found.end()

    def _append_lines(self, node: YamlNode, lines: Sequence[str]) -> TextEdit:
        end = self._line_end(max(self._content_end(node) - 1, 0))
        begin = "" if self.text[:end].endswith("\n") else self._newline
        return TextEdit(end, end, begin + "".join([line + self._newline for line in lines]))

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"
