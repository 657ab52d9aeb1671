"""Every bundle of the repository, served: all its policy tests, asked over gRPC of a running sidecar."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import Reason
from tests.server.sidecar import PATIENCE_SECONDS, Sidecar, running_sidecar

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = [ROOT / "policies", *(ROOT / "examples" / name for name in ("viewer", "kissflow", "e6data", "clinia"))]
BATCH = 1000


def struct_of(values: Mapping[str, Any]) -> Struct | None:
    """Attributes as the wire carries them."""
    if not values:
        return None
    struct = Struct()
    struct.update(dict(values))
    return struct


def question_of(test: PolicyTest) -> check_pb2.CheckRequest:
    """The question of a policy test as a client asks it."""
    return check_pb2.CheckRequest(
        subject=test.subject,
        action=test.action,
        object=check_pb2.Object(
            type=test.type,
            id=test.id,
            company=test.company,
            owner=test.owner,
            attributes=struct_of(test.attributes),
        ),
        context=struct_of(test.context),
        subject_attributes=struct_of(test.subject_attributes),
    )


def answers_to(sidecar: Sidecar, tests: Sequence[PolicyTest]) -> Iterator[check_pb2.CheckResponse]:
    """The answer to each test, in their order."""
    for start in range(0, len(tests), BATCH):
        batch = tests[start : start + BATCH]
        checks = check_pb2.BatchCheckRequest(checks=map(question_of, batch))
        results = sidecar.stub.BatchCheck(checks, timeout=60).results
        assert len(results) == len(batch)
        yield from results


@pytest.mark.parametrize("policies", BUNDLES, ids=lambda path: path.name)
def test_every_policy_test_holds_over_grpc(policies: Path) -> None:
    """A running sidecar answers every policy test of a bundle with the decision, and the reason, that it expects, all
    of them from the version that it serves."""
    bundle = load_bundle(policies).bundle
    assert bundle is not None
    # The time of a request is the server's, and its section the first: a test of either is not asked here.
    tests = [test for test in bundle.tests if not test.time and not test.section]
    assert len(tests) == len(bundle.tests) > 900
    with running_sidecar(policies=policies) as sidecar:
        answers = list(answers_to(sidecar, tests))
    wrong = [
        f"{test.span}: {test.name}: {check_pb2.Reason.Name(answer.reason)}"
        for test, answer in zip(tests, answers, strict=True)
        if answer.allowed != test.allowed or (test.reason is not None and Reason(answer.reason) is not test.reason)
    ]
    assert wrong == []
    assert {answer.policy_version for answer in answers} == {sidecar.policy_version}
    assert {True, False} == {answer.allowed for answer in answers}


def replace_text(path: Path, old: str, new: str) -> None:
    """Change a file at once, as an editor does that renames over it."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text.replace(old, new), encoding="utf-8")
    unfinished.replace(path)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "assignments.yaml",
            "{subject: sa-nightly-load, roles: [DATA_ENGINEER]}",
            "{subject: sa-nightly-load, roles: [AUDITOR]}",
        ),
        ("roles.yaml", "{object: cluster, actions: [start, stop]}", "{object: cluster, actions: [stop]}"),
    ],
    ids=["another role", "other grants of the role"],
)
def test_a_changed_role_holds_while_the_sidecar_runs(tmp_path: Path, file: str, old: str, new: str) -> None:
    """Once a service account's role, or a grant of the role, is taken away, a running sidecar denies what came of it:
    each answer is that of the version which it names."""
    shutil.copytree(ROOT / "examples" / "e6data", tmp_path / "e6data")
    start = check_pb2.CheckRequest(
        subject="sa-nightly-load", action="start", object=check_pb2.Object(type="cluster", id="1")
    )
    with running_sidecar("--watch-interval", "0.05", policies=tmp_path / "e6data") as sidecar:
        assert sidecar.stub.Check(start).allowed
        replace_text(tmp_path / "e6data" / file, old, new)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := sidecar.stub.Check(start)).policy_version == sidecar.policy_version:
            assert answer.allowed
            assert time.monotonic() < deadline, sidecar.log
        assert not answer.allowed
