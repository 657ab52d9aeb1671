"""Sensitive data that no policy test expects to be denied.

What it does: finds object types with `sensitive: true`, and actions in `sensitive_actions`, that some grant allows and
for which no test expects a denial. A bundle without tests is not told.

Why it is bad: tests that only allow pass as well when everybody may do everything.

Example: `payroll: {sensitive: true, …}` with tests of those who may read it alone

Use instead: a test of somebody who must not, with `expect: deny`.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "untested-denial"


def _find(material: Material) -> Iterator[Diagnostic]:
    tests = material.bundle.tests
    if not tests:
        return
    denied = {(test.type, test.action) for test in tests if not test.allowed}
    types = {kind for kind, _ in denied}
    for name, kind in material.bundle.manifest.object_types.items():
        given = [action for action in kind.actions if material.allowances.everyone.covers(name, action)]
        if kind.sensitive and given and name not in types:
            yield _finding(kind.span, f"no policy test expects a denial of the sensitive object type {quote(name)}")
            continue
        for index, action in enumerate(kind.sensitive_actions):
            if action in given and (name, action) not in denied:
                yield _finding(
                    kind.value_span("sensitive_actions", index),
                    f"no policy test expects a denial of the sensitive action {quote(action)} of {quote(name)}",
                )


def _finding(span: Span, message: str) -> Diagnostic:
    return Diagnostic(span, CODE, message, "add a test of somebody who must not, with `expect: deny`", Severity.WARNING)


RULE = LintRule(CODE, "Sensitive data that no policy test expects to be denied", "0.1.0", _find, __doc__)
