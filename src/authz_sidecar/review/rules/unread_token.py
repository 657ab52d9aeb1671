"""A request token that the matcher never reads.

What it does: finds names of `[request_definition]` that the matcher of their section does not use. Matchers with `eval`
are left out, as any rule's condition may use them. It looks at plain Casbin bundles.

Why it is bad: whatever a request says there makes no difference. A matcher that forgets `r.dom` grants in every company
what is meant for one.

Example: `r = sub, dom, obj, act` with `m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act`

Use instead: a matcher that compares it (`&& r.dom == p.dom`), or a request definition without it.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.model.expression import Eval, Token
from authz_sidecar.review.expressions import parts_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "unread-token"


def _find(material: Material) -> Iterator[Diagnostic]:
    for section in material.bundle.model.sections.values() if material.bundle.form == "casbin" else ():
        parts = list(parts_of((section.matcher,)))
        if any(isinstance(part, Eval) for part in parts):
            continue
        read = {part.name for part in parts if isinstance(part, Token)}
        for token in section.tokens:
            if token not in read:
                name = quote(f"r{section.suffix}.{token}")
                yield Diagnostic(
                    section.span,
                    CODE,
                    f"the matcher never reads {name}",
                    f"compare it with a field of the rules, or take {quote(token)} out of `r{section.suffix}`",
                    Severity.WARNING,
                )


RULE = LintRule(CODE, "Request token that the matcher never reads", "0.1.0", _find, __doc__)
