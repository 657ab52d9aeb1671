"""A role that says what another says.

What it does: finds roles that come to the same rules as another role, those that they inherit included, and are
assigned and combined alike; in plain Casbin roles that the same rows name and that hold the same roles.

Why it is bad: two names for the same access. A change that is made to one of them is missing in the other, and nobody
can tell whether that is meant.

Example: `CLERK` and `SECRETARY`, both with `grants: [{object: case, actions: [read]}]` and nothing else

Use instead: one of the two, or one that `inherits` the other and adds to it.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity

CODE = "identical-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    first: dict[tuple[object, ...], int] = {}
    roles = material.role_contents
    for number, role in enumerate(roles):
        other = roles[first.setdefault((role.use, role.parts), number)]
        if other is not role:
            yield Diagnostic(
                role.span,
                CODE,
                f"the role {quote(role.name)} grants exactly what {quote(other.name)} grants,"
                f" at {file_and_line(other.span)}",
                f"use {quote(other.name)} in its place, or tell the two apart",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Role that says what another says", "0.1.0", _find, __doc__)
