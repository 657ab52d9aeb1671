"""A policy test that asserts nothing new.

What it does: finds single tests whose question another test asks too and expects the same of it, the reason included
where one is given, and matrices of which every cell is such. Of tests that repeat each other one is always kept: cells
of matrices before single tests, then those that come first.

Why it is bad: it costs time to read and to change, and counts as if it showed something.

Example: `subject: ann, object: case, action: read, expect: allow` under two names

Use instead: one of the two, with the name that says why.
"""

from collections.abc import Iterator, Sequence

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.asked import title_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity

CODE = "repeated-test"


def _find(material: Material) -> Iterator[Diagnostic]:
    repeats: dict[str, list[tuple[PolicyTest, PolicyTest]]] = {}
    cells: dict[str, int] = {}
    for test in material.bundle.tests:
        cells[test.matrix] = cells.get(test.matrix, 0) + 1
    for alike in material.questions:
        # Single tests give way to matrices, which would have a hole without the cell.
        tests = sorted(alike, key=lambda test: not test.matrix) if len(alike) > 1 else ()
        for place, test in enumerate(tests):
            other = _stands_for(test, place, tests)
            if other is not None:
                repeats.setdefault(test.matrix, []).append((test, other))
    for matrix, found in repeats.items():
        if not matrix:
            for test, other in found:
                yield _finding(test, f"this test asks what {quote(title_of(other))} asks and expects the same", other)
        elif len(found) == cells[matrix]:
            test, other = min(found, key=lambda pair: pair[0].span)
            yield _finding(test, f"other tests ask all that the matrix {quote(matrix)} asks and expect the same", other)


def _stands_for(test: PolicyTest, place: int, tests: Sequence[PolicyTest]) -> PolicyTest | None:
    """A test that asserts all that the one at `place` does and is kept."""
    for other_place, other in enumerate(tests):
        same_matrix = test.matrix and other.matrix == test.matrix
        if same_matrix or other_place == place or other.allowed != test.allowed:
            continue
        if other.reason == test.reason and other_place < place:
            return other
        if test.reason is None and other.reason is not None:
            return other
    return None


def _finding(test: PolicyTest, message: str, other: PolicyTest) -> Diagnostic:
    return Diagnostic(
        test.span, CODE, message, f"remove it, or ask something else; see {file_and_line(other.span)}", Severity.WARNING
    )


RULE = LintRule(CODE, "Policy test that asserts nothing new", "0.1.0", _find, __doc__)
