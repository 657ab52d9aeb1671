"""A lint rule that does not exist.

What it does: finds codes in the manifest's `lint` and in `# authz: ignore[CODE]` comments that are no rule: misspelt,
gone, or an error that refuses the bundle and cannot be left out. A bundle with such a code is served all the same: a
server need not know every rule of the `lint` that its bundle was written for.

Why it is bad: the rule that was meant runs as before, or does not run at all.

Example: `lint: {ignore: [unused-roles]}`

Use instead: `lint: {ignore: [unused-role]}`
"""

from collections.abc import Iterator

from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "unknown-rule"


def _find(material: Material) -> Iterator[Diagnostic]:
    # The registry imports this module.
    from authz_sidecar.review.choice import code_problem

    for code, span in _named(material):
        problem = code_problem(code)
        if problem is not None:
            yield Diagnostic(span, CODE, *problem, Severity.ERROR)


def _named(material: Material) -> Iterator[tuple[str, Span]]:
    """Every code that the bundle names, with its place."""
    lint = material.bundle.manifest.lint
    for field in ("select", "ignore"):
        for index, code in enumerate(getattr(lint, field)):
            yield code, lint.value_span(field, index)
    for code in lint.severity:
        yield code, lint.value_span("severity", code)
    for comment in material.ignores.comments:
        yield from comment.codes


RULE = LintRule(CODE, "Rule that does not exist", "0.1.0", _find, __doc__, Severity.ERROR)
