"""A role whose every grant another role repeats.

What it does: finds roles all of whose rules stand in another role too that does not inherit them. Roles with data
domains are left out, as these are what roles share. It is off unless the manifest's `lint.severity` says otherwise,
since roles may contain one another by chance.

Why it is bad: the same grants are kept in two places; one that is added to the smaller role is forgotten in the larger.

Example: `CHIEF` with the grants of `CLERK` written once more, and some others

Use instead: `inherits: [CLERK]` in `CHIEF`, and there what it has besides.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "included-role"

# A rule that more roles have says little about which of them contains which.
MOST_CANDIDATES = 64


def _find(material: Material) -> Iterator[Diagnostic]:
    defined = material.bundle.roles
    roles = [role for role in material.role_contents if role.name not in defined or not defined[role.name].data_domains]
    having: dict[int, list[int]] = {}
    for number, role in enumerate(roles):
        for part in role.parts:
            having.setdefault(part, []).append(number)
    for role in roles:
        candidates = min((having[part] for part in role.parts), key=len)
        if len(candidates) > MOST_CANDIDATES:
            continue
        around = [
            roles[number]
            for number in candidates
            if role.parts < roles[number].parts
            and role.use == roles[number].use
            and not _inherits(material, roles[number].name, role.name)
        ]
        if around:
            larger = min(around, key=lambda other: len(other.parts))
            yield Diagnostic(
                larger.span,
                CODE,
                f"the role {quote(larger.name)} repeats all that {quote(role.name)} grants",
                f"let {quote(larger.name)} inherit from {quote(role.name)}, and remove what it repeats",
                Severity.WARNING,
            )


def _inherits(material: Material, name: str, other: str) -> bool:
    """Whether one role of the bundle has the other's grants from it."""
    return name in material.bundle.roles and other in material.ancestry.above(name)


RULE = LintRule(CODE, "Role whose every grant another role repeats", "0.1.0", _find, __doc__, by_default=False)
