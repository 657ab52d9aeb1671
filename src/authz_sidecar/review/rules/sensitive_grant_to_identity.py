"""A grant of sensitive data to a single identity.

What it does: finds `grants` of assignments that allow something on an object type which is marked `sensitive`. It is
off unless the manifest's `lint.severity` says otherwise: in some systems sharing with one identity is how access is
given.

Why it is bad: a review of roles does not show it, and it stays when the person's work changes.

Example: `{subject: ann, grants: [{object: payroll, actions: [read]}]}`

Use instead: a role, which has a description and is taken away as a whole.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "sensitive-grant-to-identity"


def _find(material: Material) -> Iterator[Diagnostic]:
    sensitive = [name for name, kind in material.bundle.manifest.object_types.items() if kind.sensitive]
    for assignment in material.bundle.assignments if sensitive else ():
        for grant in assignment.grants:
            found = next((kind for kind in sensitive if kind in grant.types or ANY in grant.types), "")
            if found and grant.effect == "allow":
                yield Diagnostic(
                    grant.span,
                    CODE,
                    f"{quote(assignment.subject)} is granted sensitive data, {quote(found)}, outside of any role",
                    "grant it to a role, and assign that",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Grant of sensitive data to a single identity", "0.1.0", _find, __doc__, by_default=False)
