"""What matchers and conditions of a bundle say, part by part."""

from collections.abc import Iterable, Iterator

from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.model.expression import Expr
from authz_sidecar.model.semantics import children


def parts_of(exprs: Iterable[Expr]) -> Iterator[Expr]:
    """The expressions and everything that they are made of."""
    waiting = list(exprs)
    while waiting:
        expr = waiting.pop()
        yield expr
        waiting += children(expr)


def conditions_of(index: SectionIndex) -> Iterator[tuple[str, str, Expr]]:
    """Every condition that rules of a section carry: its field, its text, and what it says."""
    for field, texts in index.conditions.items():
        for text, expr in texts.items():
            yield field, text, expr
