"""Sensitive data that is not described.

What it does: finds object types and data domains that are marked `sensitive`, or have `sensitive_actions`, and have no
`description`.

Why it is bad: a reviewer is to look twice at who gets them, and cannot tell what they are.

Example: `payroll: {sensitive: true, actions: [read]}`

Use instead: `payroll: {sensitive: true, description: What staff earn., actions: [read]}`
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import DataDomain, ObjectType
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "undescribed-sensitive-data"


def _find(material: Material) -> Iterator[Diagnostic]:
    for name, kind in material.bundle.manifest.object_types.items():
        if (kind.sensitive or kind.sensitive_actions) and not kind.description.strip():
            yield _finding("object type", name, kind)
    for name, domain in material.bundle.data_domains.items():
        if domain.sensitive and not domain.description.strip():
            yield _finding("data domain", name, domain)


def _finding(noun: str, name: str, definition: ObjectType | DataDomain) -> Diagnostic:
    return Diagnostic(
        definition.span,
        CODE,
        f"the sensitive {noun} {quote(name)} has no description",
        "add `description:` with what it is",
        Severity.WARNING,
    )


RULE = LintRule(CODE, "Sensitive data that is not described", "0.1.0", _find, __doc__)
