"""A grant that no request can match, or that decides nothing.

What it does: finds grants that want of a request what none can hold (an object type with a colon, a subject that begins
with `role:`, a value beyond the limits, two values at once), whose condition their own fields exclude, whose role is
held in other companies only, or whose effect the policy effect does not look at.

Why it is bad: access that somebody believes to be given, or refused, is not.

Example: `p, role:CLERK, *, case:7, *, read, company, allow`, where `case:7` stands for the type

Use instead: the value that requests hold (`case`, and `7` as the id), or no such grant.
"""

from collections.abc import Iterator

from authz_sidecar.review.material import Material
from authz_sidecar.review.redundancy import Redundancy
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "unreachable-grant"


def _find(material: Material) -> Iterator[Diagnostic]:
    for found in material.redundant(Redundancy.UNREACHABLE):
        yield Diagnostic(
            found.table.span(found.row),
            CODE,
            f"this {material.noun} never decides: {found.why}",
            "correct it, or remove it; no decision depends on it as it is",
            Severity.WARNING,
        )


RULE = LintRule(CODE, "Grant that no request can match", "0.1.0", _find, __doc__)
