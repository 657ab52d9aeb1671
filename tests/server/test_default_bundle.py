"""The repository's own bundle, `policies/`, asked over gRPC; its policy tests hold every cell of its tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from tests.server.sidecar import Sidecar, running_sidecar

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def default() -> Iterator[Sidecar]:
    """A sidecar that serves `policies/`."""
    with running_sidecar(policies=POLICIES) as running:
        yield running


def check_of(subject: str, action: str, thing: str, company: str, owner: str = "") -> check_pb2.CheckRequest:
    """May `subject` do `action` to `thing` (`type:id` or `type`)?"""
    type_, _, id_ = thing.partition(":")
    target = check_pb2.Object(type=type_, id=id_, company=company, owner=owner)
    return check_pb2.CheckRequest(subject=subject, action=action, object=target)


@pytest.mark.parametrize(
    ("subject", "action", "thing", "company", "owner", "reason"),
    [
        ("root-admin", "delete", "company:acme", "acme", "", "ALLOWED_BY_RULE"),
        ("root-admin", "decide", "analysis:1", "acme", "", "DENIED_BY_RULE"),
        ("root-operator", "decide", "analysis:1", "acme", "", "ALLOWED_BY_RULE"),
        ("root-operator", "update", "user:9", "", "root-operator", "ALLOWED_BY_RULE"),
        ("root-operator", "update", "user:9", "", "someone", "NO_MATCHING_RULE"),
        ("acme-client", "read", "folder:1", "acme", "acme-client", "ALLOWED_BY_RULE"),
        ("acme-client", "read", "folder:1", "acme", "other", "NO_MATCHING_RULE"),
        ("acme-client", "read", "folder:1", "acme", "", "NO_MATCHING_RULE"),
        ("acme-client", "read", "folder:1", "globex", "acme-client", "NO_ROLE_IN_COMPANY"),
        ("acme-service", "create", "folder", "acme", "", "ALLOWED_BY_RULE"),
        ("acme-service", "delete", "folder:1", "acme", "", "NO_MATCHING_RULE"),
        ("acme-operator", "decide", "analysis:1", "acme", "", "ALLOWED_BY_RULE"),
        ("acme-admin", "delete", "folder:1", "acme", "", "ALLOWED_BY_RULE"),
        ("acme-admin", "delete", "folder:1", "globex", "", "NO_ROLE_IN_COMPANY"),
        ("acme-restricted", "start_biometry", "analysis:1", "acme", "acme-restricted", "DENIED_BY_RULE"),
        ("acme-restricted", "start_quality", "analysis:1", "acme", "acme-restricted", "ALLOWED_BY_RULE"),
        ("nobody", "read", "folder:1", "acme", "", "UNKNOWN_SUBJECT"),
    ],
)
def test_each_role_answers_over_grpc(
    default: Sidecar, subject: str, action: str, thing: str, company: str, owner: str, reason: str
) -> None:
    """Each role of the default bundle gets its access levels over gRPC."""
    answer = default.stub.Check(check_of(subject, action, thing, company, owner))
    assert check_pb2.Reason.Name(answer.reason) == f"REASON_{reason}"
    assert answer.allowed == (reason == "ALLOWED_BY_RULE")


def test_an_explanation_leads_to_the_yaml_line(default: Sidecar) -> None:
    """Explain names the line of the YAML file that the deciding grant was written in."""
    check = check_of("acme-admin", "delete", "folder:1", "acme")
    explained = default.stub.Explain(explain_pb2.ExplainRequest(check=check))
    assert explained.rule.file == "roles.yaml"
    line = (POLICIES / "roles.yaml").read_text(encoding="utf-8").splitlines()[explained.rule.line - 1]
    assert "folder" in line
    assert list(explained.role_path) == ["acme-admin", "role:CLIENT_ADMIN"]
