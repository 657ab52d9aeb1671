"""Checks that only a policy with a certain commit may answer."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from tests.server.sidecar import Sidecar, check_of, failure_of, running_sidecar
from tests.server.test_git_policies import BOB_READS, Policies, command
from tests.sources.git_server import git

UNKNOWN = "0123456789" * 4


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Policies:
    """A work tree with some history, a branch beside it, and a change that is not committed."""
    made = Policies(tmp_path_factory.mktemp("minimum") / "repository")
    git(made.root, "switch", "--quiet", "--create=beside")
    made.commit("")
    git(made.root, "switch", "--quiet", "main")
    made.commit(BOB_READS)
    with (made.root / "policies" / "policy.csv").open("a") as file:
        file.write("p, guest, acme, folder:*, read, allow\n")
    return made


@pytest.fixture(scope="module")
def sidecar(policies: Policies) -> Iterator[Sidecar]:
    """A sidecar on the work tree."""
    with running_sidecar("--watch-interval", "0", policies=policies.root / "policies") as running:
        assert running.policy_version.startswith(f"{policies.head}+dirty.")
        yield running


def test_a_policy_contains_its_commit_and_those_before(policies: Policies, sidecar: Sidecar) -> None:
    """A commit of the history is met, also by changes that are not committed; nothing asked for is met as well."""
    for minimum in (policies.first, policies.head, ""):
        assert sidecar.stub.Check(check_of(minimum_policy_version=minimum)).allowed
    asked = explain_pb2.ExplainRequest(check=check_of(minimum_policy_version=policies.first))
    assert sidecar.stub.Explain(asked).result.allowed


def test_a_commit_that_is_not_contained_is_told(policies: Policies, sidecar: Sidecar) -> None:
    """A commit beside the history, and one that nobody knows, end the call with both versions in its details."""
    beside = git(policies.root, "rev-parse", "beside")
    for minimum in (beside, UNKNOWN):
        check = check_of(minimum_policy_version=minimum)
        asked = explain_pb2.ExplainRequest(check=check)
        for call in (lambda check=check: sidecar.stub.Check(check), lambda asked=asked: sidecar.stub.Explain(asked)):
            failure = failure_of(call)
            assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
            assert failure.info.reason == "POLICY_VERSION_NOT_CONTAINED"
            assert failure.info.metadata == {
                "minimum_policy_version": minimum,
                "policy_version": sidecar.policy_version,
            }
            assert (failure.status.code, failure.status.message) == (9, failure.message)


@pytest.mark.parametrize(
    "minimum", ["main", UNKNOWN[:39], UNKNOWN + "0", "A" * 40, "sha256:" + "0" * 64, UNKNOWN + "\n"]
)
def test_what_is_no_commit_is_invalid(sidecar: Sidecar, minimum: str) -> None:
    """Anything but forty hexadecimal digits in lower case is a violation of its field, in a batch of its item."""
    check = check_of(minimum_policy_version=minimum)
    failure = failure_of(lambda: sidecar.stub.Check(check))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.violations) == ["minimum_policy_version"]
    explained = failure_of(lambda: sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check)))
    assert list(explained.violations) == ["check.minimum_policy_version"]
    answer = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of(), check]))
    assert [result.allowed for result in answer.results] == [True, False]
    assert answer.results[1].reason == check_pb2.REASON_INVALID_REQUEST
    assert list(answer.results[1].violations) == list(failure.violations.values())


def test_one_unmet_check_ends_its_batch_and_its_stream(policies: Policies, sidecar: Sidecar) -> None:
    """The items of a batch share one policy, so that none is answered; a stream ends after the answers before it."""
    met, unmet = check_of(minimum_policy_version=policies.first), check_of(minimum_policy_version=UNKNOWN)
    answer = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[met, met]))
    assert [result.allowed for result in answer.results] == [True, True]
    failure = failure_of(lambda: sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[met, unmet])))
    assert (failure.code, failure.info.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "POLICY_VERSION_NOT_CONTAINED",
    )
    stream = sidecar.stub.CheckStream(iter([check_pb2.CheckStreamRequest(check=check) for check in (met, unmet)]))
    assert next(stream).result.allowed
    assert failure_of(lambda: next(stream)).code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_bundle_outside_git_contains_no_commit(tmp_path: Path) -> None:
    """Without commits none is contained, and before the first policy none either."""
    with running_sidecar("--wait-for-policies", policies=tmp_path / "none") as sidecar:
        failure = failure_of(lambda: sidecar.stub.Check(check_of(minimum_policy_version=UNKNOWN)))
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert failure.info.metadata["policy_version"] == ""


def test_the_command_line_asks_for_a_version(policies: Policies, sidecar: Sidecar) -> None:
    """`check --server` takes the commit, says what is served instead, and refuses what is no commit; without a server
    it has no meaning."""
    question = ("check", "alice", "folder:1", "read", "--company", "acme", "--server", sidecar.grpc)
    assert command(*question, "--minimum-policy-version", policies.head).returncode == 0
    unmet = command(*question, "--explain", "--minimum-policy-version", UNKNOWN)
    assert (unmet.returncode, unmet.stdout) == (2, "")
    assert f"does not serve that policy yet: it serves {sidecar.policy_version}" in unmet.stderr
    assert "as `git rev-parse` prints it" in command(*question, "--minimum-policy-version", "main").stderr
    local = command(*question[:-2], "--minimum-policy-version", policies.head)
    assert (local.returncode, "is for `--server`" in local.stderr) == (2, True)
