"""A wildcard that grants a sensitive action.

What it does: finds grants of `actions: ["*"]`, and data domains without a list of actions, that give a role or an
identity an action which the manifest lists in `sensitive_actions` of its type. A wildcard beside a deny of that action
in the same role is not told.

Why it is bad: an action that was meant to be given by name is given to whoever may do the rest, and nobody reads it.

Example: `- {object: analysis, actions: ["*"]}` where `analysis` has `sensitive_actions: [decide]`

Use instead: the actions by name, or a deny of the sensitive one beside the wildcard.
"""

from collections.abc import Iterable, Iterator

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.allowances import Pair
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "sensitive-wildcard"


def _find(material: Material) -> Iterator[Diagnostic]:
    bundle = material.bundle
    sensitive = {name: kind.sensitive_actions for name, kind in bundle.manifest.object_types.items()}
    if not any(sensitive.values()):
        return
    for holder, company, span, kinds in _wildcards(bundle):
        refused = material.allowances.refused(holder, company)
        pairs: list[Pair] = [
            (kind, action)
            for kind in (sensitive if ANY in kinds else kinds)
            # A type of the sidecar's own is declared nowhere.
            for action in sensitive.get(kind, ())
            if not refused.covers(kind, action)
        ]
        if pairs:
            given = f"{quote(pairs[0][1])} of {quote(pairs[0][0])}"
            more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            yield Diagnostic(
                span,
                CODE,
                f"this wildcard grants a sensitive action: {given}{more}",
                "name the actions that are meant, or deny the sensitive ones beside it",
                Severity.WARNING,
            )


def _wildcards(bundle: Bundle) -> Iterator[tuple[str, str, Span, Iterable[str]]]:
    """Every grant of all actions: the subject and company of its rules, its place, its object types."""
    for name, role in bundle.roles.items():
        for grant in role.grants:
            if ANY in grant.actions and grant.effect == "allow":
                yield ROLE_PREFIX + name, ANY, grant.span, grant.types
        for index, use in enumerate(role.data_domains):
            domain = bundle.data_domains[use.name]
            if not use.actions and not domain.actions:
                yield ROLE_PREFIX + name, ANY, role.value_span("data_domains", index), domain.objects
    for assignment in bundle.assignments:
        for grant in assignment.grants:
            if ANY in grant.actions and grant.effect == "allow":
                yield assignment.subject, assignment.company or ANY, grant.span, grant.types


RULE = LintRule(CODE, "Wildcard that grants a sensitive action", "0.1.0", _find, __doc__)
