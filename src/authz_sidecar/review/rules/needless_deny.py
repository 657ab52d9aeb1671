"""A deny of what nothing allows.

What it does: finds grants with `effect: deny` of actions and object types that no grant of the whole bundle allows to
anybody, whatever the id, the scope and the condition.

Why it is bad: it reads as if somebody had the access but for this line, and hides that the allow which it was written
against is gone or was never there.

Example: `- {object: report, actions: [export], effect: deny}` where no grant allows `export`

Use instead: no such grant; what nothing allows is denied. Removing it changes nobody's access; only the reason of the
denial differs.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import Assignment, Grant, Role
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "needless-deny"


def _find(material: Material) -> Iterator[Diagnostic]:
    holders: tuple[Role | Assignment, ...] = (*material.bundle.roles.values(), *material.bundle.assignments)
    for holder in holders:
        for grant in holder.grants:
            if grant.effect == "deny" and _is_needless(grant, material):
                yield Diagnostic(
                    grant.span,
                    CODE,
                    "this grant denies what no grant of the bundle allows",
                    "remove it; what nothing allows is denied",
                    Severity.WARNING,
                )


def _is_needless(grant: Grant, material: Material) -> bool:
    everyone = material.allowances.everyone
    return not any(everyone.meets(kind, action) for kind in grant.types for action in grant.actions)


RULE = LintRule(CODE, "Deny of what nothing allows", "0.1.0", _find, __doc__)
