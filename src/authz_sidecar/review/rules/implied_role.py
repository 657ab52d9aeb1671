"""A role that is held through another anyway.

What it does: finds roles of assignments and group mappings that another role of the same identity (or group), held in
the same company, inherits. A role that a flag is for is not told: the flag is had by those who are given the role.

Why it is bad: whoever takes the role away believes that its grants are gone.

Example: `{subject: ann, roles: [CHIEF, CLERK]}` where `CHIEF` inherits `CLERK`

Use instead: `roles: [CHIEF]`. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import GroupMapping
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "implied-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    for span, implied in material.implied_roles.items():
        entry = implied.entry
        who = f"the group {quote(entry.group)}" if isinstance(entry, GroupMapping) else quote(entry.subject)
        name = quote(entry.roles[implied.index])
        yield Diagnostic(
            span,
            CODE,
            f"{who} is given {name} beside {quote(implied.by)}, which inherits it",
            f"remove {name}; no decision depends on it",
            Severity.WARNING,
        )


def _fix(material: Material, finding: Diagnostic) -> Iterator[Edit]:
    # An entry that would be left without roles is for its author: it may hold grants or flags.
    if not material.implied_roles[finding.span].only:
        yield Edit(EditKind.REMOVE_ITEM, finding.span)


RULE = LintRule(CODE, "Role that is held through another anyway", "0.1.0", _find, __doc__, fix=_fix)
