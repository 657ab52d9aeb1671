"""A role that grants sensitive data and does not say whom it is for.

What it does: finds roles without a `description` that allow something on an object type, or cover a data domain, that
is marked `sensitive`; what they inherit and what a wildcard takes in counts too.

Why it is bad: a reviewer who is asked whether somebody should have the role has nothing to go by but its name.

Example: `HR: {assigned: platform, data_domains: [PAYROLL]}` where `PAYROLL` is `sensitive: true`

Use instead: `description: Works with what staff earn and nothing else.`
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "undescribed-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    bundle = material.bundle
    kinds = [name for name, kind in bundle.manifest.object_types.items() if kind.sensitive]
    domains = {name for name, domain in bundle.data_domains.items() if domain.sensitive}
    for name, role in bundle.roles.items():
        if role.description.strip():
            continue
        allowed = material.allowances.of(ROLE_PREFIX + name)
        covered = {
            use.name for each in (name, *material.ancestry.above(name)) for use in bundle.roles[each].data_domains
        }
        found = next((kind for kind in kinds if allowed.meets(kind, "*")), "") or min(covered & domains, default="")
        if found:
            yield Diagnostic(
                role.span,
                CODE,
                f"the role {quote(name)} grants sensitive data, {quote(found)}, and has no description",
                "add `description:` with whom the role is for",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Role that grants sensitive data and has no description", "0.1.0", _find, __doc__)
