"""A policy effect that allows what no rule denies.

What it does: finds sections whose effect is `!some(where (p.eft == deny))`.

Why it is bad: a request that matches no rule is allowed, so a forgotten rule opens access instead of closing it,
and an empty policy allows everything.

Example: `e = !some(where (p.eft == deny))`

Use instead: `e = some(where (p.eft == allow)) && !some(where (p.eft == deny))`, and a rule for what is allowed.
"""

from collections.abc import Iterator

from authz_sidecar.model.model import Effect
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "effect-allows-by-default"


def _find(material: Material) -> Iterator[Diagnostic]:
    for section in material.bundle.model.sections.values():
        if section.effect is Effect.DENY_OVERRIDE:
            yield Diagnostic(
                section.span,
                CODE,
                f"`e{section.suffix}` allows every request that no rule denies",
                "use `some(where (p.eft == allow)) && !some(where (p.eft == deny))` and write what is allowed",
                Severity.WARNING,
            )


RULE = LintRule(CODE, "Effect that allows what no rule denies", "0.1.0", _find, __doc__)
