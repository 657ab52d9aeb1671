"""The lines of two policies that stand on one side only, and the look-ups in a condition."""

from collections import Counter
from collections.abc import Iterator

from authz_sidecar.model.expression import Expr, RoleCall
from authz_sidecar.model.semantics import children
from authz_sidecar.values import RuleTable


class Lines:
    """The rows of two tables that stand in one of them only."""

    def __init__(self, base: RuleTable | None, head: RuleTable | None) -> None:
        contents = [set[tuple[str, ...]]() if table is None else set(_rows_of(table)) for table in (base, head)]
        self._distinct = [len(content) for content in contents]
        self.only = (contents[0] - contents[1], contents[1] - contents[0])
        self.tables = (base, head)

    def rows(self, side: int) -> Iterator[int]:
        """The rows of a side that do not stand on the other, the first of each that says the same."""
        only, table = self.only[side], self.tables[side]
        if not only or table is None:
            return
        seen: set[tuple[str, ...]] = set()
        for row, values in enumerate(_rows_of(table)):
            if values in only and values not in seen:
                seen.add(values)
                yield row

    def count(self, side: int) -> int:
        """How many rows of a side do not stand on the other, or not as often."""
        again = [Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()]
        for table, counts, distinct in zip(self.tables, again, self._distinct, strict=True):
            if table is not None and len(table) != distinct:
                seen: set[tuple[str, ...]] = set()
                for values in _rows_of(table):
                    if values in seen:
                        counts[values] += 1
                    seen.add(values)
        return len(self.only[side]) + (again[side] - again[1 - side]).total()


def role_calls(expr: Expr) -> Iterator[RoleCall]:
    """The look-ups of roles in an expression."""
    if isinstance(expr, RoleCall):
        yield expr
    for part in children(expr):
        yield from role_calls(part)


def _rows_of(table: RuleTable) -> Iterator[tuple[str, ...]]:
    return zip(*table.columns, strict=True)
