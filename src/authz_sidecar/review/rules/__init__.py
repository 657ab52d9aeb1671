"""The lint rules, one module each; `RULES` is the registry."""

from authz_sidecar.review.rules import effect_allows_by_default
from authz_sidecar.review.rules.rule import LintRule

RULES: tuple[LintRule, ...] = (effect_allows_by_default.RULE,)

__all__ = ["RULES", "LintRule"]
