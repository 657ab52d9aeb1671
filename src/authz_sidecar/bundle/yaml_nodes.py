"""YAML data with its places: mappings and lists that remember where they and their parts were written.

They are ordinary dicts and lists to everything that does not ask for places.
"""

from typing import Any, TypeAlias

from authz_sidecar.values.span import Span

Path: TypeAlias = tuple[str | int, ...]


class YamlMap(dict[str, Any]):
    """A mapping. `places` gives line and column of each key, then of its value, then how far after that the text
    of the value begins (1 in quotes), or -1 where the text is not written as it reads."""

    __slots__ = ("column", "file", "line", "places")

    def __init__(self, file: str, line: int, column: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.column = column
        self.places: dict[str, tuple[int, int, int, int, int]] = {}

    @property
    def span(self) -> Span:
        """Where the mapping stands: at its own key, if it is the value of one, else where it begins."""
        return Span(self.file, self.line, self.column)

    def key_span(self, key: str) -> Span:
        """Where `key` stands; the mapping's own place if it has no such key."""
        place = self.places.get(key)
        return Span(self.file, place[0], place[1]) if place else self.span

    def value_span(self, key: str) -> Span:
        """Where the value of `key` begins."""
        place = self.places.get(key)
        return Span(self.file, place[2], place[3]) if place else self.span

    def text_span(self, key: str, offset: int) -> Span:
        """Where the character at `offset` of a text value stands; the value's place where that cannot be told."""
        place = self.places.get(key)
        if not place or place[4] < 0:
            return self.value_span(key)
        return Span(self.file, place[2], place[3] + place[4] + offset)


class YamlList(list[Any]):
    """A list. `places` gives line and column of each item."""

    __slots__ = ("column", "file", "line", "places")

    def __init__(self, file: str, line: int, column: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.column = column
        self.places: list[tuple[int, int]] = []

    @property
    def span(self) -> Span:
        """Where the list stands: at its own key, if it is the value of one, else where it begins."""
        return Span(self.file, self.line, self.column)

    def value_span(self, index: int) -> Span:
        """Where the item at `index` begins."""
        return Span(self.file, *self.places[index]) if 0 <= index < len(self.places) else self.span


def span_at(root: YamlMap | YamlList, path: Path, key: bool = False) -> Span:
    """Where the value at `path` begins (or its key, with `key`); the nearest place above it where it does not exist."""
    node: Any = root
    span = root.span
    for step in path:
        if isinstance(node, YamlMap) and isinstance(step, str) and step in node:
            span = node.key_span(step) if key else node.value_span(step)
        elif isinstance(node, YamlList) and isinstance(step, int) and step < len(node):
            span = node.value_span(step)
        else:
            break
        node = node[step]
    return span
