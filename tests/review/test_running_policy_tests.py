"""Running policy tests: what passes, what fails, and what a failure says."""

import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.policy_tests import run_tests
from authz_sidecar.values import Reason, Span

MODEL = """\
[request_definition]
r = sub, obj, act, level
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act && r.level != "low"
"""
POLICY = "p, editor, folder:1, read\ng, alice, editor\n"


@pytest.fixture(scope="module")
def decider() -> Decider:
    """A decider of a small plain bundle whose model takes `level` from the context."""
    bundle, _ = parse_bundle({"model.conf": MODEL.encode(), "policy.csv": POLICY.encode()}, "small")
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    return Decider(snapshot)


def case(subject: str, action: str, *, allowed: bool, reason: Reason | None = None, level: str = "high") -> PolicyTest:
    """A case on `folder:1`; an empty level leaves the token unfilled."""
    return PolicyTest(
        name="a case",
        span=Span("tests.yaml", 3, 5),
        subject=subject,
        action=action,
        type="folder",
        id="1",
        context={"level": level} if level else {},
        allowed=allowed,
        reason=reason,
    )


def test_cases_as_expected_pass_without_an_explanation(decider: Decider) -> None:
    """A case passes on its decision alone, or on decision and reason where it names one."""
    report = run_tests(
        decider,
        [
            case("alice", "read", allowed=True),
            case("alice", "read", allowed=True, reason=Reason.ALLOWED_BY_RULE),
            case("alice", "write", allowed=False),
            case("mallory", "read", allowed=False, reason=Reason.UNKNOWN_SUBJECT),
        ],
    )
    assert (report.passed, report.failures) == (4, ())
    assert [result.explanation for result in report.results] == [None] * 4


def test_a_wrong_allow_is_explained_by_its_rule(decider: Decider) -> None:
    """A case that expected a deny shows the rule that allowed, where it stands, and the way to it."""
    (failure,) = run_tests(decider, [case("alice", "read", allowed=False)]).failures
    assert failure.decision.allowed
    explanation = failure.explanation
    assert explanation is not None
    assert explanation.rule is not None
    assert explanation.rule.span == Span("policy.csv", 1, 1)
    assert explanation.role_path == ("alice", "editor")


def test_a_wrong_deny_is_explained_by_near_misses(decider: Decider) -> None:
    """A case that expected an allow shows the rule that failed on one field."""
    (failure,) = run_tests(decider, [case("alice", "write", allowed=True)]).failures
    assert not failure.decision.allowed
    assert failure.explanation is not None
    assert [miss.field for miss in failure.explanation.near_misses] == ["act"]


def test_the_right_decision_for_the_wrong_reason_fails(decider: Decider) -> None:
    """A case that names a reason fails on another one."""
    report = run_tests(decider, [case("alice", "write", allowed=False, reason=Reason.UNKNOWN_SUBJECT)])
    assert [result.decision.reason for result in report.failures] == [Reason.NO_MATCHING_RULE]


@pytest.mark.parametrize(("subject", "level"), [("role:editor", "high"), ("alice", "")])
def test_an_invalid_request_passes_only_by_name(decider: Decider, subject: str, level: str) -> None:
    """A request over the limits, or with an unfilled token, is a deny that proves nothing unless it is expected."""
    report = run_tests(
        decider,
        [
            case(subject, "read", allowed=False, level=level),
            case(subject, "read", allowed=False, reason=Reason.INVALID_REQUEST, level=level),
        ],
    )
    assert [result.passed for result in report.results] == [False, True]
    explanation = report.results[0].explanation
    assert explanation is not None
    assert explanation.decision.detail


def test_a_condition_on_the_request_counts(decider: Decider) -> None:
    """A conjunct that reads no rule still decides."""
    report = run_tests(decider, [case("alice", "read", allowed=False, level="low")])
    assert report.failures == ()


def test_no_tests_are_no_failures(decider: Decider) -> None:
    """An empty run passes."""
    report = run_tests(decider, [])
    assert (report.results, report.passed, report.failures) == ((), 0, ())
