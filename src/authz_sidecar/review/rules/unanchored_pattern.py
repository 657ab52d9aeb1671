"""A regular expression without an end.

What it does: finds patterns of `regexMatch` that do not say where the value ends: without `$`, and without `.*`, `.+`
or `/` at their end. Patterns of actions are left out, which are few and known. It looks at plain Casbin bundles; each
pattern is told once.

Why it is bad: `regexMatch` is content with a beginning, so that the pattern matches longer values too: `/users/1`
matches `/users/10` and `/users/1/secrets`.

Example: `p, ann, ^/users/1, GET`

Use instead: `^/users/1$`, or `^/users/1.*` where all that begins so is meant.
"""

import re
from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.access import PatternAccess
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.request import SOURCES

CODE = "unanchored-pattern"

_END = re.compile(r"(?<!\\)(?:\\\\)*\$")
_OPEN_ENDS = (".*", ".+", "/")


def _find(material: Material) -> Iterator[Diagnostic]:
    for index in material.snapshot.sections.values():
        table = material.snapshot.tables[index.section.ptype]
        fields = {
            access.field
            for branch in index.branches
            for access in branch.plan.sets
            if isinstance(access, PatternAccess)
            and access.function == "regexMatch"
            and SOURCES[access.token] != "action"
        }
        for field in sorted(fields):
            seen: set[str] = set()
            for row, pattern in enumerate(table.columns[index.section.fields.index(field)]):
                if pattern not in seen and _has_no_end(pattern):
                    yield Diagnostic(
                        table.span(row),
                        CODE,
                        f"the pattern {quote(pattern)} has no end: it matches every value that begins so",
                        "end it in `$`, or in `.*` where that is meant",
                        Severity.WARNING,
                    )
                seen.add(pattern)


def _has_no_end(pattern: str) -> bool:
    if _END.search(pattern) or pattern.rstrip(")").endswith(_OPEN_ENDS):
        return False
    # Everything begins with nothing, which is how some write "any".
    return compile_pattern("regexMatch", pattern).literal != "" or pattern.strip("^") != ""


RULE = LintRule(CODE, "Regular expression without an end", "0.1.0", _find, __doc__)
