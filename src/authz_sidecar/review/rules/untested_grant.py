"""A grant that no policy test exercises.

What it does: finds grants none of whose object types and actions is exercised: no test that passes has a decision which
rests on the grant alone, as no other grant answers the request the same way. A role (or identity) without any exercised
grant is told once. Grants of roles that nobody holds are left out, and so are those which no decision depends on; a
bundle without tests is not told.

Why it is bad: whoever removes or narrows the grant by mistake sees all tests pass.

Example: `- {object: report, actions: [export]}` where no test asks for `export`

Use instead: a test that expects what the grant is for; `authz-sidecar test --suggest` writes it, and `test --coverage`
counts each object type and action.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.exercise import measure_exercise
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import run_tests
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import holder_of
from authz_sidecar.values import Diagnostic, Severity, Span

CODE = "untested-grant"


def _find(material: Material) -> Iterator[Diagnostic]:
    tests = material.bundle.tests
    if not tests:
        return
    report = run_tests(material.decider, tests)
    # By holder, the places of grants that no test exercises in any part, and how many places there are.
    places: dict[str, dict[Span, bool]] = {}
    for grant in measure_exercise(material, report.results).grants:
        of_holder = places.setdefault(grant.holder, {})
        of_holder[grant.span] = of_holder.get(grant.span, False) or grant.tests > 0
    for holder, exercised in places.items():
        missing = [span for span, is_exercised in exercised.items() if not is_exercised]
        if len(missing) == len(exercised) > 1:
            yield _finding(
                missing[0],
                f"no policy test exercises any of the {counted(len(missing), material.noun)} of {holder_of(holder)}",
            )
        else:
            for span in missing:
                yield _finding(span, f"no policy test exercises this {material.noun}")


def _finding(span: Span, message: str) -> Diagnostic:
    return Diagnostic(
        span,
        CODE,
        message,
        "add a test that expects what it is for; `authz-sidecar test --suggest` writes one",
        Severity.WARNING,
    )


RULE = LintRule(CODE, "Grant that no policy test exercises", "0.1.0", _find, __doc__)
