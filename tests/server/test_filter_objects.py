"""FilterObjects of a running sidecar."""

import grpc
import pytest
from google.protobuf import struct_pb2

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.filter_pb2 import (
    CLAUSE_EFFECT_ALLOW,
    CLAUSE_EFFECT_DENY,
    FILTER_KIND_MIXED,
    FILTER_KIND_NONE,
    FilterClause,
    FilterObjectsRequest,
    TextSet,
)
from tests.server.sidecar import Sidecar, failure_of

ACME = TextSet(values=["acme"])


def test_a_filter_is_answered_in_clauses(sidecar: Sidecar) -> None:
    """The answer holds the clauses in their order, says that it is exact, and names policy and decision."""
    answer = sidecar.stub.FilterObjects(FilterObjectsRequest(subject="alice", action="read", object_type="folder"))
    assert list(answer.clauses) == [
        FilterClause(effect=CLAUSE_EFFECT_DENY, company=ACME, id=TextSet(values=["secret"])),
        FilterClause(effect=CLAUSE_EFFECT_ALLOW, company=ACME),
    ]
    assert (answer.kind, answer.exact, answer.reason) == (FILTER_KIND_MIXED, True, check_pb2.REASON_ALLOWED_BY_RULE)
    assert answer.policy_version == sidecar.policy_version
    assert answer.decision_id
    assert answer.directory_revision == 0


@pytest.mark.parametrize("company", ["", "globex"])
def test_a_company_that_is_set_narrows_the_question(sidecar: Sidecar, company: str) -> None:
    """A company that is set, also to nothing, is the only one that is asked about."""
    question = FilterObjectsRequest(subject="alice", action="read", object_type="folder", company=company)
    answer = sidecar.stub.FilterObjects(question)
    assert (answer.kind, answer.reason) == (FILTER_KIND_NONE, check_pb2.REASON_NO_ROLE_IN_COMPANY)


def test_what_needs_the_object_is_told_as_a_condition(sidecar: Sidecar) -> None:
    """A filter that depends on attributes of objects says so and is not exact."""
    question = FilterObjectsRequest(subject="alice", action="read", object_type="document", section="3")
    answer = sidecar.stub.FilterObjects(question)
    assert not answer.exact
    assert [list(clause.conditions) for clause in answer.clauses] == [['r3.obj.project == "apollo"']]


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        pytest.param(FilterObjectsRequest(), {"subject", "action", "object_type"}, id="empty"),
        pytest.param(
            FilterObjectsRequest(subject="alice", credential="key", action="read", object_type="folder"),
            {"credential"},
            id="two-subjects",
        ),
        pytest.param(
            FilterObjectsRequest(subject="alice", action="read", object_type="a:b", company="\n"),
            {"object_type", "company"},
            id="values",
        ),
        pytest.param(
            FilterObjectsRequest(subject="alice", action="open", object_type="vault", section="2"),
            {"context.level"},
            id="a-token-that-nothing-fills",
        ),
        pytest.param(
            FilterObjectsRequest(subject="alice", action="open", object_type="vault", section="9"),
            {"section"},
            id="no-such-section",
        ),
    ],
)
def test_an_invalid_question_is_refused_by_field(
    sidecar: Sidecar, question: FilterObjectsRequest, fields: set[str]
) -> None:
    """What is wrong with a question is INVALID_ARGUMENT, with each field."""
    failure = failure_of(lambda: sidecar.stub.FilterObjects(question))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(failure.violations) == fields
    assert failure.info.reason == "INVALID_CHECK"


def test_the_context_fills_tokens(sidecar: Sidecar) -> None:
    """Context and section reach the question as they reach a check."""
    context = struct_pb2.Struct()
    context.update({"level": "high"})
    question = FilterObjectsRequest(subject="alice", action="open", object_type="vault", section="2", context=context)
    # The rule is about the type as a whole, which is no object.
    assert sidecar.stub.FilterObjects(question).kind == FILTER_KIND_NONE


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (FilterObjectsRequest(credential="key", action="read", object_type="folder"), "CREDENTIAL_NOT_SUPPORTED"),
        (
            FilterObjectsRequest(subject="alice", on_behalf_of="bob", action="read", object_type="folder"),
            "ON_BEHALF_OF_NOT_SUPPORTED",
        ),
    ],
)
def test_other_ways_of_naming_the_subject_are_refused(
    sidecar: Sidecar, question: FilterObjectsRequest, reason: str
) -> None:
    """A credential and impersonation are UNIMPLEMENTED, never ignored."""
    failure = failure_of(lambda: sidecar.stub.FilterObjects(question))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, reason)
