"""A comment that looks as if it silenced a finding, and does not.

What it does: finds comments that begin with `authz:` and do not go on with `ignore[CODE]`.

Why it is bad: its author believes that a finding is silenced, or that every finding of the line is.

Example: `INTERN: # authz: ignore unused-role, assigned from June on`

Use instead: `INTERN: # authz: ignore[unused-role] assigned from June on`
"""

from collections.abc import Iterator

from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "malformed-ignore"


def _find(material: Material) -> Iterator[Diagnostic]:
    for comment in material.ignores.comments:
        if not comment.codes:
            yield Diagnostic(
                comment.span,
                CODE,
                "the comment names no rule to ignore",
                "write `# authz: ignore[CODE] reason`, with several codes separated by commas",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Comment that looks like an ignore", "0.1.0", _find, __doc__)
