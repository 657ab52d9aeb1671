"""A data domain that no role grants.

What it does: finds data domains that no role names.

Why it is bad: whoever reads the list of data domains believes that access is given by it, and changes to it are
reviewed for nothing.

Example: `data_domains: {PAYROLL: {objects: [payroll]}}` where roles grant `payroll` one by one

Use instead: the data domain in the roles that are to have it, or no such data domain.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "unused-data-domain"


def _find(material: Material) -> Iterator[Diagnostic]:
    bundle = material.bundle
    used = {use.name for role in bundle.roles.values() for use in role.data_domains}
    for name, domain in bundle.data_domains.items():
        if name not in used:
            yield Diagnostic(
                domain.span,
                CODE,
                f"no role grants the data domain {quote(name)}",
                "name it in a role's `data_domains`, or remove it",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Data domain that no role grants", "0.1.0", _find, __doc__)
