"""A matcher that decides without reading a rule.

What it does: finds alternatives of a matcher that use no field of the rules, such as a comparison of the subject with a
name.

Why it is bad: whoever meets the alternative is decided by the first rule, whatever that is about. The access stands in
no row: it is seen in no review of the policy, and is gone or turned into a denial when another row comes first.

Example: `m = r.sub == p.sub && r.obj == p.obj && r.act == p.act || r.sub == "root"`

Use instead: a rule for it (`p, root, *, *`) and a matcher that knows the wildcard (`p.obj == "*" || r.obj == p.obj`).
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.fold import conjoin
from authz_sidecar.model.semantics import fields_of, write_expression
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "matcher-bypasses-rules"


def _find(material: Material) -> Iterator[Diagnostic]:
    for index in material.snapshot.sections.values():
        section = index.section
        for branch in index.branches:
            conjuncts = branch.plan.conjuncts
            if not any(fields_of(conjunct) for conjunct in conjuncts):
                text = write_expression(conjoin(list(conjuncts)), section.suffix)
                yield Diagnostic(
                    section.span,
                    CODE,
                    f"the matcher decides without reading a rule where {quote(text)}",
                    "say in a rule who is meant, and let the matcher compare with its fields",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Matcher that decides without reading a rule", "0.1.0", _find, __doc__)
