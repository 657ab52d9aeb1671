"""A policy test that expects the opposite of another.

What it does: finds tests, cells of matrices included, that ask the same and expect different decisions, or different
reasons for the same one.

Why it is bad: whatever the policy says, one of the two fails.

Example: `expect: allow` in one file and `expect: deny` in another, with the same subject, object and action

Use instead: the one that is meant.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.asked import title_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity

CODE = "contradictory-test"


def _find(material: Material) -> Iterator[Diagnostic]:
    for tests in material.questions:
        for place, test in enumerate(tests):
            other = next((earlier for earlier in tests[:place] if _contradict(earlier, test)), None)
            if other is None:
                continue
            who = f"{quote(title_of(other))} at {file_and_line(other.span)}"
            yield Diagnostic(
                test.span,
                CODE,
                f"this test expects the opposite of {who}"
                if other.allowed != test.allowed
                else f"this test expects another reason than {who}",
                "keep the expectation that is meant; one of the two always fails",
                Severity.WARNING,
            )


def _contradict(one: PolicyTest, other: PolicyTest) -> bool:
    if one.allowed != other.allowed:
        return True
    return one.reason is not None and other.reason is not None and one.reason is not other.reason


RULE = LintRule(CODE, "Policy test that contradicts another", "0.1.0", _find, __doc__)
