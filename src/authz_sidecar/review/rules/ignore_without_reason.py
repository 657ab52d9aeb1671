"""A comment that is to silence a finding and gives no reason.

What it does: finds `# authz: ignore[CODE]` with nothing after it. Such a comment silences nothing.

Why it is bad: whoever reviews the policy later cannot tell an exception that was thought about from a finding that was
in the way.

Example: `INTERN: # authz: ignore[unused-role]`

Use instead: `INTERN: # authz: ignore[unused-role] given by the identity provider from June on`
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import listed
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "ignore-without-reason"


def _find(material: Material) -> Iterator[Diagnostic]:
    for comment in material.ignores.comments:
        if comment.codes and not comment.reason:
            names = [code for code, _ in comment.codes]
            yield Diagnostic(
                comment.span,
                CODE,
                f"the comment ignores {listed(names, 'and')} without a reason",
                "write the reason after the bracket; without one nothing is ignored",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Silenced without a reason", "0.1.0", _find, __doc__)
