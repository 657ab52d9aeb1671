"""A link whose time ends before it begins.

What it does: finds links with a time window (`timeMatch`) whose end is not after its beginning.

Why it is bad: the role is held at no time; the two were exchanged, or a year was mistyped.

Example: `g, ann, role:deputy, 2026-12-31 00:00:00, 2026-12-01 00:00:00`

Use instead: the earlier time first, or no such link.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.model.patterns import parse_time
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "reversed-time-window"


def _find(material: Material) -> Iterator[Diagnostic]:
    for name, definition in material.bundle.model.roles.items():
        if not definition.parameters:
            continue
        table = material.bundle.tables[name]
        first, last = table.columns[definition.arguments], table.columns[definition.arguments + 1]
        for row, (start, end) in enumerate(zip(first, last, strict=True)):
            begins, ends = parse_time(start), parse_time(end)
            # `_` is an open end and no time.
            if begins is not None and ends is not None and begins >= ends:
                holder, role = table.columns[0][row], table.columns[1][row]
                yield Diagnostic(
                    table.span(row),
                    CODE,
                    f"the link of {quote(holder)} to {quote(role)} ends before it begins",
                    "write the earlier time first, or remove the link",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Link whose time ends before it begins", "0.1.0", _find, __doc__)
