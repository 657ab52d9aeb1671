"""Rules: rows of policy (`p`) and of role assignment (`g`), each with the place it was written at."""

from array import array
from collections.abc import Sequence

import msgspec

from authz_sidecar.values.span import Span


class Rule(msgspec.Struct, frozen=True):
    """One row: `ptype` (`p`, `p2`, `g`…), its field values, its place, and how it was inherited.

    `via` names the roles from which a flattened grant came, nearest first; empty for a rule of its own.
    """

    ptype: str
    values: tuple[str, ...]
    span: Span
    via: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join((self.ptype, *self.values))


class RuleTable:
    """All rows of one ptype, held by column: a million rows cost references and machine integers, not objects.

    `columns[i][n]` is field `i` of row `n`. Strings are shared when the reader interns them.
    """

    __slots__ = ("_at", "_columns_at", "_file_of", "_lines", "_via", "columns", "files", "ptype")

    def __init__(self, ptype: str, width: int) -> None:
        self.ptype = ptype
        self.columns: list[list[str]] = [[] for _ in range(width)]
        self.files: list[str] = []
        self._at: dict[str, int] = {}
        self._file_of = array("H")
        self._lines = array("I")
        self._columns_at = array("H")
        self._via: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def width(self) -> int:
        """How many fields a row has."""
        return len(self.columns)

    def file_number(self, file: str) -> int:
        """The number under which `file` is stored; readers of many rows look it up once."""
        number = self._at.get(file)
        if number is None:
            number = self._at[file] = len(self.files)
            self.files.append(file)
        return number

    def append(
        self,
        values: Sequence[str],
        file_number: int,
        line: int,
        column: int = 1,
        via: tuple[str, ...] = (),
    ) -> None:
        """Add a row; `values` has exactly `width` fields (raises ValueError otherwise)."""
        for store, value in zip(self.columns, values, strict=True):
            store.append(value)
        if via:
            self._via[len(self._lines)] = via
        self._file_of.append(file_number)
        self._lines.append(line)
        self._columns_at.append(min(column, 65535))

    def copy(self) -> "RuleTable":
        """A table of the same rows, to which others can be added."""
        made = RuleTable(self.ptype, self.width)
        made.columns = [list(column) for column in self.columns]
        made.files = list(self.files)
        made._at = dict(self._at)
        made._file_of, made._lines, made._columns_at = self._file_of[:], self._lines[:], self._columns_at[:]
        made._via = dict(self._via)
        return made

    def extend(self, columns: Sequence[list[str]], file_number: int, lines: Sequence[int]) -> None:
        """Add many rows at once, given by column, and the line of each; all are equally long
        (raises ValueError otherwise)."""
        count = len(lines)
        if len(columns) != len(self.columns) or any(len(column) != count for column in columns):
            raise ValueError("columns do not fit the table")
        for store, column in zip(self.columns, columns, strict=True):
            store.extend(column)
        self._file_of.extend(array("H", [file_number]) * count)
        self._lines.extend(lines)
        self._columns_at.extend(array("H", [1]) * count)

    def values(self, row: int) -> tuple[str, ...]:
        """The fields of one row."""
        return tuple([column[row] for column in self.columns])

    def span(self, row: int) -> Span:
        """Where one row was written."""
        return Span(self.files[self._file_of[row]], self._lines[row], self._columns_at[row])

    def rule(self, row: int) -> Rule:
        """One row as a value of its own."""
        return Rule(self.ptype, self.values(row), self.span(row), self._via.get(row, ()))
