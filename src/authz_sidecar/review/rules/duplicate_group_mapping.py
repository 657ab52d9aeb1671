"""A role that a group is mapped to twice.

What it does: finds group mappings that give a group a role which another mapping of the same group gives it already, in
the same company.

Why it is bad: whoever removes one of the two believes that the group has lost the role.

Example: `- {group: staff, roles: [CLERK]}` in two files

Use instead: one of the two. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import GroupMapping
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "duplicate-group-mapping"


def _find(material: Material) -> Iterator[Diagnostic]:
    first: dict[tuple[str, str, str], GroupMapping] = {}
    for mapping in material.bundle.group_mappings:
        others = [first.setdefault((mapping.group, mapping.company, role), mapping) for role in mapping.roles]
        # Twice in one list is another rule's matter.
        again = [index for index, other in enumerate(others) if other is not mapping]
        if len(again) == len(others):
            # Without a role it would be refused, so that it can only go as a whole.
            yield _finding(mapping, 0, others[0], mapping.span)
        else:
            for index in again:
                yield _finding(mapping, index, others[index], mapping.value_span("roles", index))


def _finding(mapping: GroupMapping, index: int, other: GroupMapping, span: Span) -> Diagnostic:
    where = f" in {quote(mapping.company)}" if mapping.company else ""
    return Diagnostic(
        span,
        CODE,
        f"the group {quote(mapping.group)} is mapped to {quote(mapping.roles[index])}{where} twice:"
        f" {file_and_line(other.span)} has it already",
        "remove one of the two",
        Severity.WARNING,
    )


def _fix(_material: Material, finding: Diagnostic) -> Iterator[Edit]:
    yield Edit(EditKind.REMOVE_ITEM, finding.span)


RULE = LintRule(CODE, "Role that a group is mapped to twice", "0.1.0", _find, __doc__, fix=_fix)
