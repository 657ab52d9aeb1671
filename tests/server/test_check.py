"""Check, BatchCheck and Explain of a running sidecar."""

import pytest
from google.protobuf import struct_pb2

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from tests.server.sidecar import Sidecar, check_of


def struct_of(**values: str) -> struct_pb2.Struct:
    """A Struct with these values."""
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


@pytest.mark.parametrize(
    ("check", "allowed", "reason"),
    [
        pytest.param(check_of(), True, "ALLOWED_BY_RULE", id="a-role-grants-it"),
        pytest.param(check_of(id="secret"), False, "DENIED_BY_RULE", id="a-deny-rule-counts-more"),
        pytest.param(check_of(action="delete"), False, "NO_MATCHING_RULE", id="no-rule-covers-the-action"),
        pytest.param(check_of(company="globex"), False, "NO_ROLE_IN_COMPANY", id="no-role-in-that-company"),
        pytest.param(check_of(company=""), False, "NO_ROLE_IN_COMPANY", id="no-company-is-a-company-of-its-own"),
        pytest.param(check_of(subject="mallory"), False, "UNKNOWN_SUBJECT", id="nobody-knows-the-subject"),
        pytest.param(check_of(id="*"), True, "ALLOWED_BY_RULE", id="a-star-is-an-id-like-any-other"),
        pytest.param(check_of(company="*"), False, "NO_ROLE_IN_COMPANY", id="a-star-is-not-every-company"),
        pytest.param(
            check_of(type="vault", id="", action="open", section="2", context=struct_of(level="high")),
            True,
            "ALLOWED_BY_RULE",
            id="the-context-fills-a-token",
        ),
        pytest.param(
            check_of(type="vault", id="", action="open", section="2", context=struct_of(level="low")),
            False,
            "NO_MATCHING_RULE",
            id="the-context-fills-a-token-with-another-value",
        ),
        pytest.param(
            check_pb2.CheckRequest(
                subject="alice",
                action="read",
                section="3",
                object=check_pb2.Object(type="document", attributes=struct_of(project="apollo")),
            ),
            True,
            "ALLOWED_BY_RULE",
            id="an-attribute-of-the-object",
        ),
        pytest.param(check_of(section="3"), False, "EVALUATION_ERROR", id="a-missing-attribute-denies"),
    ],
)
def test_check_answers_with_a_reason(
    sidecar: Sidecar, check: check_pb2.CheckRequest, allowed: bool, reason: str
) -> None:
    """Check answers allow or deny with status OK and the reason of the decision."""
    answer = sidecar.stub.Check(check)
    assert (answer.allowed, check_pb2.Reason.Name(answer.reason)) == (allowed, f"REASON_{reason}")
    assert not answer.violations


def test_an_answer_says_where_it_comes_from(sidecar: Sidecar) -> None:
    """An answer names the policy version of the ready line, revision 0 of the directory, and an id of its own."""
    answers = [sidecar.stub.Check(check_of()) for _ in range(3)]
    assert {answer.policy_version for answer in answers} == {sidecar.policy_version}
    assert {answer.directory_revision for answer in answers} == {0}
    assert len({answer.decision_id for answer in answers}) == len(answers)
    assert all(answer.decision_id for answer in answers)


def test_a_batch_keeps_its_order(sidecar: Sidecar) -> None:
    """The results of a batch stand in the order of its checks, and an invalid check is denied in its place."""
    checks = [check_of(), check_of(subject="", action=""), check_of(id="secret"), check_of(section="2")]
    answers = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks)).results
    assert [(answer.allowed, check_pb2.Reason.Name(answer.reason)) for answer in answers] == [
        (True, "REASON_ALLOWED_BY_RULE"),
        (False, "REASON_INVALID_REQUEST"),
        (False, "REASON_DENIED_BY_RULE"),
        (False, "REASON_INVALID_REQUEST"),
    ]
    assert [list(answer.violations) for answer in answers] == [
        [],
        ["neither subject nor credential is set", "action is empty"],
        [],
        ["context.level is not set; the policy's model reads `r.level`"],
    ]
    assert {answer.policy_version for answer in answers} == {sidecar.policy_version}
    assert len({answer.decision_id for answer in answers}) == len(checks)


def test_an_empty_batch_is_answered(sidecar: Sidecar) -> None:
    """A batch without checks has no results."""
    assert sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest()) == check_pb2.BatchCheckResponse()


def test_a_full_batch_is_answered(sidecar: Sidecar) -> None:
    """A batch of 1,000 checks is within the limit."""
    batch = check_pb2.BatchCheckRequest(checks=[check_of(id=str(number)) for number in range(1000)])
    assert [answer.allowed for answer in sidecar.stub.BatchCheck(batch).results] == [True] * 1000


def test_explain_names_the_rule_and_its_place(sidecar: Sidecar) -> None:
    """Explain gives Check's answer with the deciding rule, its file and line, and the role path."""
    explained = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check_of()))
    assert explained.result.allowed
    assert explained.result.policy_version == sidecar.policy_version
    assert (explained.rule.ptype, list(explained.rule.values)) == ("p", ["editor", "acme", "folder:*", "read", "allow"])
    assert (explained.rule.file, explained.rule.line, explained.rule.column) == ("policy.csv", 1, 1)
    assert list(explained.role_path) == ["alice", "editor"]
    assert list(explained.roles) == ["editor"]
    assert not explained.near_misses


def test_explain_names_the_nearest_misses(sidecar: Sidecar) -> None:
    """On a deny that no rule made, Explain names rules that failed on exactly one field, and no deciding rule."""
    explained = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check_of(action="delete")))
    assert not explained.result.allowed
    assert not explained.HasField("rule")
    assert not explained.role_path
    misses = {(miss.rule.line, miss.field, miss.wanted, miss.got) for miss in explained.near_misses}
    assert (1, "act", "read", "delete") in misses
    assert all(miss.sentence for miss in explained.near_misses)


def test_explain_says_what_could_not_be_evaluated(sidecar: Sidecar) -> None:
    """An evaluation error is explained by a sentence that names the attribute."""
    explained = sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check_of(section="3")))
    assert explained.result.reason == check_pb2.REASON_EVALUATION_ERROR
    assert "project" in explained.detail
