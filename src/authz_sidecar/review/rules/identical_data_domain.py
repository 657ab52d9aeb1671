"""A data domain that covers what another covers.

What it does: finds data domains with the same object types and the same actions, whatever their order.

Why it is bad: two names for one category; a type that is added to one of them is missing in the other, and nobody can
tell whether that is meant.

Example: `STAFF: {objects: [payroll]}` beside `PAYROLL: {objects: [payroll]}`

Use instead: one of the two.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "identical-data-domain"


def _find(material: Material) -> Iterator[Diagnostic]:
    types = material.bundle.manifest.known_types
    first: dict[frozenset[tuple[str, str]], str] = {}
    for name, domain in material.bundle.data_domains.items():
        covered = frozenset(
            (kind, action)
            for kind in domain.objects
            for action in (domain.actions or types[kind].actions)
            if action in types[kind].actions
        )
        other = first.setdefault(covered, name)
        if other != name:
            yield Diagnostic(
                domain.span,
                CODE,
                f"the data domain {quote(name)} covers exactly what {quote(other)} covers",
                f"use {quote(other)} in its place, or tell the two apart",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Data domain that covers what another covers", "0.1.0", _find, __doc__)
