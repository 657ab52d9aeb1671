"""A comment that silences nothing.

What it does: finds `# authz: ignore[CODE] reason` where the rule finds nothing on that line any more. A rule that is
switched off, or left out on the command line, is not asked for.

Why it is bad: the comment stays when the fault is gone, and silences the next one of its kind in the same place, for
a reason that was given for another.

Example: `CLERK: # authz: ignore[unused-role] assigned from June on` for a role that is assigned

Use instead: the line without the comment.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "unused-ignore"


def _find(material: Material) -> Iterator[Diagnostic]:
    for code, span in material.ignores.unused():
        yield Diagnostic(
            span,
            CODE,
            f"the comment ignores {quote(code)}, which is not found here",
            "remove the code, or put the comment on the finding's line or the line above",
            Severity.WARNING,
        )


RULE = LintRule(CODE, "Comment that silences nothing", "0.1.0", _find, __doc__)
