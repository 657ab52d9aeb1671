"""A group mapping to nothing.

What it does: finds group mappings none of whose roles allows anything: they grant nothing, or deny alone. A `sole` role
means no access and says so; a mapping to one is not told.

Why it is bad: members of the group sign in and may do nothing, and the directory looks as if they had been given
access.

Example: `- {group: staff, roles: [INTERN]}` where `INTERN` has no grants

Use instead: the roles that the group is meant to have, a `sole` role, or no such mapping.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "group-without-access"


def _find(material: Material) -> Iterator[Diagnostic]:
    roles = material.bundle.roles
    for mapping in material.bundle.group_mappings:
        if any(roles[name].kind == "sole" or material.allowances.of(ROLE_PREFIX + name) for name in mapping.roles):
            continue
        yield Diagnostic(
            mapping.span,
            CODE,
            f"the group {quote(mapping.group)} is mapped to roles that allow nothing: {listed(mapping.roles, 'and')}",
            "map it to the roles that are meant, or remove the mapping",
            Severity.WARNING,
        )


RULE = LintRule(CODE, "Group mapping to nothing", "0.1.0", _find, __doc__)
