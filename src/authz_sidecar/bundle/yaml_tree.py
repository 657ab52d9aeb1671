"""A YAML file as it is written: its nodes with their places in the text, aliases as aliases.

What a file says is read by `yaml_text`; this is for those who change its text. Places are offsets in characters. Files
come here that were read as part of a bundle before, so that depth and size are bounded.
"""

import enum
import re
from collections.abc import Iterator
from typing import Any

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

_DASH = re.compile(r"^ *-(?=\s|$)", re.MULTILINE)
_BLOCK_STYLES = frozenset(("|", ">"))


class Kind(enum.Enum):
    """What a node is."""

    SCALAR = "scalar"
    ALIAS = "alias"
    LIST = "list"
    MAPPING = "mapping"


class YamlNode:
    """A node from `start` up to `end`; where it is in block style, comments may stand between what it holds and its
    `end`.

    `items` are those of a list, or the values of a mapping, whose `keys` stand beside them. `value` is the text of a
    scalar or the name of an alias, `style` the sign of a scalar's style ("" where it is plain). `anchor` is the name
    that aliases may use, "" for none; the node begins there. `column` is where the dashes of a block list stand, or the
    keys of a block mapping, counted from 0.
    """

    __slots__ = ("anchor", "column", "end", "flow", "items", "keys", "kind", "start", "style", "value")

    def __init__(self, kind: Kind, start: int, end: int, column: int, value: str = "", anchor: str = "") -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.column = column
        self.value = value
        self.anchor = anchor
        self.style = ""
        self.flow = False
        self.keys: list[YamlNode] = []
        self.items: list[YamlNode] = []

    @property
    def is_block(self) -> bool:
        """Whether it is a list or mapping with a line for each part."""
        return self.kind in (Kind.LIST, Kind.MAPPING) and not self.flow

    @property
    def is_block_scalar(self) -> bool:
        """Whether it is a text of several lines after `|` or `>`."""
        return self.style in _BLOCK_STYLES

    def below(self) -> "Iterator[YamlNode]":
        """The node and all nodes in it, keys included."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.items
            waiting += node.keys


class YamlTree:
    """The nodes of one file. `root` is None where it holds none; `begin` is where the `---` before it ends, 0 for none,
    and `versioned` says that it has a directive. `aliased` are the anchors that an alias uses."""

    def __init__(self, text: str) -> None:
        """Raises YAMLError for what is no YAML."""
        self.text = text
        self.root: YamlNode | None = None
        self.begin = 0
        self.versioned = False
        self.aliased: set[str] = set()
        self._build()

    def _build(self) -> None:
        next_event = CParser(self.text).get_event
        stack: list[YamlNode] = []
        while True:
            event: Any = next_event()
            kind = type(event)
            if kind is StreamEndEvent:
                return
            if kind is MappingEndEvent or kind is SequenceEndEvent:
                self._close(stack.pop(), event)
                continue
            if kind is DocumentStartEvent:
                self.begin = event.end_mark.index if event.explicit else 0
                self.versioned = bool(event.version or event.tags)
            node = self._node(event, kind)
            if node is None:
                continue
            if not stack:
                self.root = node
            elif stack[-1].kind is Kind.MAPPING and len(stack[-1].keys) == len(stack[-1].items):
                stack[-1].keys.append(node)
            else:
                stack[-1].items.append(node)
            if kind is MappingStartEvent or kind is SequenceStartEvent:
                stack.append(node)

    def _node(self, event: Any, kind: Any) -> YamlNode | None:
        begin, end = event.start_mark, event.end_mark
        if kind is ScalarEvent:
            node = YamlNode(Kind.SCALAR, begin.index, end.index, begin.column, event.value, event.anchor or "")
            node.style = event.style or ""
            return node
        if kind is AliasEvent:
            self.aliased.add(event.anchor)
            return YamlNode(Kind.ALIAS, begin.index, end.index, begin.column, event.anchor)
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            what = Kind.MAPPING if kind is MappingStartEvent else Kind.LIST
            node = YamlNode(what, begin.index, end.index, begin.column, anchor=event.anchor or "")
            node.flow = bool(event.flow_style)
            return node
        return None

    def _close(self, node: YamlNode, event: Any) -> None:
        node.end = event.end_mark.index
        if not node.is_block or not node.items:
            return
        if node.kind is Kind.MAPPING:
            node.column = node.keys[0].column
        elif node.anchor:
            # It begins at its anchor, on a line above its dashes.
            found = _DASH.search(self.text, node.start, node.items[0].start)
            if found is None:
                raise yaml.YAMLError("a list has no dash")
            node.column = found.end() - 1 - found.start()
