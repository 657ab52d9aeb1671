"""The lint rules, one module each; `RULES` is the registry."""

from authz_sidecar.review.rules import (
    duplicate_grant,
    effect_allows_by_default,
    shadowed_grant,
    unreachable_grant,
    unused_role,
)
from authz_sidecar.review.rules.rule import LintRule

RULES: tuple[LintRule, ...] = (
    duplicate_grant.RULE,
    effect_allows_by_default.RULE,
    shadowed_grant.RULE,
    unreachable_grant.RULE,
    unused_role.RULE,
)

__all__ = ["RULES", "LintRule"]
