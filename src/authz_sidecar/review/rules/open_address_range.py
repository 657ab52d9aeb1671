"""A network that holds every address.

What it does: finds networks of length 0 (`0.0.0.0/0`, `::/0`) that a matcher, a condition or a rule gives to `ipMatch`.

Why it is bad: the rule reads as if it were for some addresses, and is for all.

Example: `when: ipMatch(r.context.ip, "0.0.0.0/0")`

Use instead: the networks that are meant, or no condition.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.model.expression import Call, Const, Expr, Field
from authz_sidecar.review.expressions import conditions_of, parts_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, RuleTable, Severity, Span

CODE = "open-address-range"


def _find(material: Material) -> Iterator[Diagnostic]:
    for index in material.snapshot.sections.values():
        section, table = index.section, material.snapshot.tables[index.section.ptype]
        for network in _networks((section.matcher,)):
            yield _finding(section.span, network)
        conditions = list(conditions_of(index))
        for field, text, expr in conditions:
            networks = list(_networks((expr,)))
            rows = _rows_with(table, index, field, text) if networks else ()
            for row in rows:
                yield from (_finding(table.span(row), network) for network in networks)
        for field in _fields((section.matcher, *[expr for _, _, expr in conditions])):
            for row, value in enumerate(table.columns[section.fields.index(field)]):
                if _is_open(value):
                    yield _finding(table.span(row), value)


def _calls(exprs: tuple[Expr, ...]) -> Iterator[Expr]:
    """What `ipMatch` compares with."""
    for part in parts_of(exprs):
        if isinstance(part, Call) and part.function == "ipMatch":
            yield part.arguments[1]


def _networks(exprs: tuple[Expr, ...]) -> Iterator[str]:
    for expr in _calls(exprs):
        if isinstance(expr, Const) and _is_open(str(expr.value)):
            yield str(expr.value)


def _fields(exprs: tuple[Expr, ...]) -> list[str]:
    return sorted({expr.name for expr in _calls(exprs) if isinstance(expr, Field)})


def _is_open(network: str) -> bool:
    return network.endswith(("/0", "/0.0.0.0"))


def _rows_with(table: RuleTable, index: SectionIndex, field: str, text: str) -> Iterator[int]:
    for row, value in enumerate(table.columns[index.section.fields.index(field)]):
        if value == text:
            yield row


def _finding(span: Span, network: str) -> Diagnostic:
    return Diagnostic(
        span,
        CODE,
        f"the network {quote(network)} holds every address",
        "name the networks that are meant, or leave the condition out",
        Severity.WARNING,
    )


RULE = LintRule(CODE, "Network that holds every address", "0.1.0", _find, __doc__)
