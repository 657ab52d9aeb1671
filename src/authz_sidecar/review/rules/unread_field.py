"""A field of rules that the matcher never reads.

What it does: finds names of `[policy_definition]` that the matcher of their section does not use, the effect and the
priority excepted, which the policy effect reads. It looks at plain Casbin bundles.

Why it is bad: rules say something that decides nothing. A matcher that forgets `p.dom` grants in every company what the
rule says of one.

Example: `p = sub, dom, obj, act` with `m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act`

Use instead: a matcher that compares it (`&& r.dom == p.dom`), or rules without it.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.model.semantics import fields_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "unread-field"

_READ_BY_EFFECTS = frozenset(("eft", "priority"))


def _find(material: Material) -> Iterator[Diagnostic]:
    for section in material.bundle.model.sections.values() if material.bundle.form == "casbin" else ():
        read = fields_of(section.matcher) | _READ_BY_EFFECTS
        for field in section.fields:
            if field not in read:
                yield Diagnostic(
                    section.span,
                    CODE,
                    f"the matcher never reads {quote(f'p{section.suffix}.{field}')}",
                    f"compare it with a token of the request, or take {quote(field)} out of `p{section.suffix}`",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Field of rules that the matcher never reads", "0.1.0", _find, __doc__)
