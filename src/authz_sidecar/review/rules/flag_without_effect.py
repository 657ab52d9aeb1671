"""A flag that takes nothing away.

What it does: finds flags none of whose actions is granted by any of the flag's roles, nor to any identity by grants of
its own. One that is right for some of its roles is not told.

Why it is bad: switching it off changes nothing, while those who administer it believe that it does.

Example: `can_export: {roles: [CLERK], object: report, actions: [export]}` where `CLERK` does not grant `export`

Use instead: the action or the roles that are meant, or no such flag.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import Flag
from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "flag-without-effect"


def _find(material: Material) -> Iterator[Diagnostic]:
    own = {assignment.subject for assignment in material.bundle.assignments if assignment.grants}
    for name, flag in material.bundle.flags.items():
        if not any(_allows(material, ROLE_PREFIX + role, flag) for role in flag.roles) and not any(
            _allows(material, subject, flag) for subject in own
        ):
            yield Diagnostic(
                flag.span,
                CODE,
                f"the flag {quote(name)} takes nothing away: none of its actions is granted by {listed(flag.roles)}",
                "correct its roles, object or actions, or remove it",
                Severity.WARNING,
            )


def _allows(material: Material, subject: str, flag: Flag) -> bool:
    allowed = material.allowances.of(subject)
    return any(allowed.covers(flag.object, action) for action in flag.actions)


RULE = LintRule(CODE, "Flag that takes nothing away", "0.1.0", _find, __doc__)
