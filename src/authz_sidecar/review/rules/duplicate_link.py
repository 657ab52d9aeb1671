"""A link that is written twice.

What it does: finds rows of `g`, `g2` and so on that are equal to another row of the same definition.

Why it is bad: whoever removes one of the two believes that the role is taken away.

Example: `g, ann, role:clerk` in two files

Use instead: one of the two. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity

CODE = "duplicate-link"


def _find(material: Material) -> Iterator[Diagnostic]:
    if material.bundle.form != "casbin":
        return
    for definition in material.bundle.model.roles:
        table = material.bundle.tables[definition]
        first: dict[tuple[str, ...], int] = {}
        for row, values in enumerate(zip(*table.columns, strict=True)):
            other = first.setdefault(values, row)
            if other != row:
                yield Diagnostic(
                    table.span(row),
                    CODE,
                    f"the link of {quote(values[0])} to {quote(values[1])} is written twice:"
                    f" {file_and_line(table.span(other))} has it already",
                    "remove one of the two",
                    Severity.WARNING,
                )


def _fix(_material: Material, finding: Diagnostic) -> Iterator[Edit]:
    yield Edit(EditKind.REMOVE_ITEM, finding.span)


RULE = LintRule(CODE, "Link that is written twice", "0.1.0", _find, __doc__, fix=_fix)
