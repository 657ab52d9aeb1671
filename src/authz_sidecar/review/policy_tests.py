"""Policy tests, run: does the policy decide as its authors expect?"""

from collections.abc import Callable, Iterable

import msgspec

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Decision, Explanation, Reason


class CaseResult(msgspec.Struct, frozen=True):
    """How one case came out. `explanation` says why the decision is what it is; None for a case that passed."""

    test: PolicyTest
    decision: Decision
    explanation: Explanation | None = None

    @property
    def passed(self) -> bool:
        """Whether decision and reason were the expected ones."""
        return self.explanation is None


class TestReport(msgspec.Struct, frozen=True):
    """All cases of a bundle, in their order."""

    results: tuple[CaseResult, ...]

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that did not come out as expected."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> int:
        """How many cases came out as expected."""
        return len(self.results) - len(self.failures)


def run_tests(
    decider: Decider,
    tests: Iterable[PolicyTest],
    *,
    fail_fast: bool = False,
    ran: Callable[[], None] | None = None,
) -> TestReport:
    """Decide every case and explain those that fail; `ran` is called after each. `fail_fast` ends at the first failure.

    A case passes if the decision is the expected one and so is the reason, where one is expected. A request
    that is invalid, or that leaves a token of the model unfilled, is denied whatever the policy says, so that it
    fails a case that does not expect `invalid_request` by name.
    """
    results: list[CaseResult] = []
    for test in tests:
        result = _run_case(decider, test)
        results.append(result)
        if ran is not None:
            ran()
        if fail_fast and not result.passed:
            break
    return TestReport(tuple(results))


def _run_case(decider: Decider, test: PolicyTest) -> CaseResult:
    request, violations = test.request()
    if request is None:
        detail = "; ".join(violation.description for violation in violations)
        decision = Decision(False, Reason.INVALID_REQUEST, detail=detail)
    else:
        decision = decider.decide(request)
    if _as_expected(test, decision):
        return CaseResult(test, decision)
    return CaseResult(test, decision, Explanation(decision) if request is None else decider.explain(request))


def _as_expected(test: PolicyTest, decision: Decision) -> bool:
    if test.reason is None and decision.reason is Reason.INVALID_REQUEST:
        return False
    return decision.allowed == test.allowed and test.reason in (None, decision.reason)
