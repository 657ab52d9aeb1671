"""A role that is inherited twice.

What it does: finds entries of `inherits` that name a role which another entry of the same role inherits already,
directly or through others.

Why it is bad: whoever takes the role out of `inherits` believes that its grants are gone.

Example: `CHIEF: {inherits: [LEAD, CLERK]}` where `LEAD` inherits `CLERK`

Use instead: `inherits: [LEAD]`. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "redundant-inheritance"


def _find(material: Material) -> Iterator[Diagnostic]:
    ancestry = material.ancestry
    for name, role in material.bundle.roles.items():
        if len(role.inherits) < 2:
            continue
        # Nothing inherits from itself, so a parent is never above itself and one way to each role stays.
        above = {higher: parent for parent in role.inherits for higher in ancestry.above(parent)}
        for index, parent in enumerate(role.inherits):
            if parent in above:
                yield Diagnostic(
                    role.value_span("inherits", index),
                    CODE,
                    f"{quote(name)} inherits {quote(parent)} already, through {quote(above[parent])}",
                    f"remove {quote(parent)} here; no decision depends on it",
                    Severity.WARNING,
                )


def _fix(_material: Material, finding: Diagnostic) -> Iterator[Edit]:
    yield Edit(EditKind.REMOVE_ITEM, finding.span)


RULE = LintRule(CODE, "Role that is inherited twice", "0.1.0", _find, __doc__, fix=_fix)
