"""A candidate in the shadow: it decides what is asked, is compared and told, and has no say in any answer."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from tests.server.sidecar import BUNDLE, Sidecar, check_of, running_sidecar, until

MODEL = (BUNDLE / "model.conf").read_text()
POLICY = (BUNDLE / "policy.csv").read_text()
# Without the deny of `folder:secret`, and without updates.
CANDIDATE = POLICY.replace("p, editor, acme, folder:secret, read, deny\n", "").replace(
    "p, editor, acme, folder:*, update, allow\n", ""
)
OUTCOMES = ("same", "newly_allowed", "newly_denied", "error")
SECRET = "s3cret"
# Changes are seen at once.
EAGER = ("--watch-interval", "0.05")


def write(folder: Path, policy: str, model: str = MODEL) -> Path:
    """A bundle in a directory of its own, changed in one step."""
    folder.mkdir(exist_ok=True)
    (folder / "model.conf").write_text(model)
    (folder / ".new").write_text(policy)
    (folder / ".new").replace(folder / "policy.csv")
    return folder


def outcomes(sidecar: Sidecar) -> dict[str, int]:
    """What the candidate's decisions came to."""
    found = {name: int(sidecar.metric("authz_shadow_decisions_total", outcome=name)) for name in OUTCOMES}
    return {name: number for name, number in found.items() if number}


def compared(sidecar: Sidecar, **expected: int) -> None:
    """Wait until the candidate has decided so much."""
    until(lambda: sum(outcomes(sidecar).values()) == sum(expected.values()))
    assert outcomes(sidecar) == expected


def ready(sidecar: Sidecar) -> None:
    """Wait until every worker has a candidate."""
    until(lambda: "authz_shadow_policy_info{" in sidecar.get("/metrics")[1])


def differences(sidecar: Sidecar) -> list[dict[str, Any]]:
    """The logged differences."""
    return [
        line for line in map(json.loads, sidecar.log.splitlines()) if line["logger"] == "authz_sidecar.server.shadow"
    ]


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """A candidate's directory."""
    return write(tmp_path / "candidate", CANDIDATE)


@pytest.fixture
def shadowed(candidate: Path) -> Iterator[Sidecar]:
    """A sidecar with the candidate in the shadow."""
    with running_sidecar("--shadow", str(candidate)) as sidecar:
        ready(sidecar)
        yield sidecar


def test_the_candidate_has_no_say(shadowed: Sidecar) -> None:
    """Answers of every method are those of the policy that answers, and metrics tell what the candidate would say."""
    checks = [check_of(), check_of(id="secret"), check_of(action="update"), check_of(subject="nobody")]
    expected = [True, False, True, False]
    assert [shadowed.stub.Check(check).allowed for check in checks] == expected
    compared(shadowed, same=2, newly_allowed=1, newly_denied=1)
    results = shadowed.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks)).results
    assert [answer.allowed for answer in results] == expected
    stream = shadowed.stub.CheckStream(check_pb2.CheckStreamRequest(check=check) for check in checks)
    assert [answer.result.allowed for answer in stream] == expected
    assert [
        shadowed.stub.Explain(explain_pb2.ExplainRequest(check=check)).result.allowed for check in checks
    ] == expected
    compared(shadowed, same=8, newly_allowed=4, newly_denied=4)
    assert all(answer.policy_version == shadowed.policy_version for answer in results)
    assert shadowed.metric("authz_shadow_dropped_total") == 0


def test_a_difference_is_told_once(shadowed: Sidecar) -> None:
    """The log has one line for each kind of difference, with the request, both reasons, both rules and the name of the
    call; metrics count all."""
    for number in range(5):
        answer = shadowed.stub.Check(
            check_of(action="update", id=str(number)), metadata=(("x-request-id", f"c{number}"),)
        )
        if not number:
            first = answer
    shadowed.stub.Check(check_of(id="secret"))
    compared(shadowed, newly_denied=5, newly_allowed=1)
    denied, allowed = differences(shadowed)
    version = denied.pop("shadow_version")
    assert version.startswith("sha256:")
    assert denied.pop("time")
    assert denied == {
        "level": "warning",
        "logger": "authz_sidecar.server.shadow",
        "message": "the shadow would deny what is allowed",
        "outcome": "newly_denied",
        "subject": "alice",
        "action": "update",
        "type": "folder",
        "id": "0",
        "company": "acme",
        "reason": "allowed_by_rule",
        "rule": "policy.csv:2:1",
        "role": "editor",
        "shadow_reason": "no_matching_rule",
        "decision_id": first.decision_id,
        "request_id": "c0",
    }
    assert (allowed["reason"], allowed["rule"]) == ("denied_by_rule", "policy.csv:3:1")
    assert (allowed["shadow_reason"], allowed["shadow_rule"], allowed["shadow_role"]) == (
        "allowed_by_rule",
        "policy.csv:1:1",
        "editor",
    )


def test_what_the_decision_log_masks_is_masked(candidate: Path) -> None:
    """A field that the decision log must not show is not in the line of a difference either."""
    with running_sidecar("--shadow", str(candidate), "--decision-log-mask", "subject,object.id,call_id") as sidecar:
        ready(sidecar)
        sidecar.stub.Check(check_of(action="update", id=SECRET), metadata=(("x-request-id", SECRET),))
        compared(sidecar, newly_denied=1)
        (line,) = differences(sidecar)
        assert not {"subject", "id", "request_id"} & line.keys()
        assert line["role"] == "editor"
        assert SECRET not in sidecar.log


def test_a_candidate_that_cannot_decide_is_an_error(tmp_path: Path) -> None:
    """Where both deny, and the candidate only since it cannot evaluate the request, that is counted as an error; where
    an allow is lost by it, as a denial."""
    model = MODEL.replace("&& r.act == p.act\nm2", '&& r.act == p.act && r.obj.level == "1"\nm2')
    candidate = write(tmp_path / "candidate", POLICY, model)
    with running_sidecar("--shadow", str(candidate)) as sidecar:
        ready(sidecar)
        assert sidecar.stub.Check(check_of()).allowed
        assert not sidecar.stub.Check(check_of(id="secret")).allowed
        assert not sidecar.stub.Check(check_of(subject="nobody")).allowed
        compared(sidecar, newly_denied=1, error=1, same=1)


def test_the_candidate_is_followed(candidate: Path) -> None:
    """A changed candidate decides from then on; a broken one is told, and the one before goes on; the policy that
    answers is none of it."""
    with running_sidecar("--shadow", str(candidate), *EAGER) as sidecar:
        ready(sidecar)
        before = sidecar.ready()
        write(candidate, "p, editor, acme\n")
        until(lambda: sidecar.metric("authz_shadow_refused") == 1)
        assert "shadowing with sha256:" in sidecar.log
        assert sidecar.ready() == before
        assert sidecar.metric("authz_policy_refused") == 0
        sidecar.stub.Check(check_of(action="update"))
        compared(sidecar, newly_denied=1)
        write(candidate, POLICY)
        until(lambda: sidecar.metric("authz_shadow_refused") == 0)
        sidecar.stub.Check(check_of(action="update"))
        compared(sidecar, newly_denied=1, same=1)
        assert sidecar.ready() == before


@pytest.mark.parametrize("kind", ["missing", "broken", "no-revision"])
def test_a_broken_candidate_stops_nothing(tmp_path: Path, kind: str) -> None:
    """A server starts, answers and reloads without the candidate that it cannot have, which the log and a metric tell;
    once it is mended it decides."""
    policies = write(tmp_path / "policies", POLICY)
    candidate = tmp_path / "candidate"
    text = "no-such-branch" if kind == "no-revision" else str(candidate)
    if kind == "broken":
        write(candidate, "nonsense\n")
    with running_sidecar("--shadow", text, *EAGER, policies=policies) as sidecar:
        assert sidecar.stub.Check(check_of()).allowed
        until(lambda: sidecar.metric("authz_shadow_refused") == 1)
        assert "shadow" in sidecar.log
        assert "authz_shadow_policy_info{" not in sidecar.get("/metrics")[1]
        write(policies, CANDIDATE)
        until(lambda: sidecar.stub.Check(check_of(id="secret")).allowed)
        assert outcomes(sidecar) == {}
        if kind != "no-revision":
            write(candidate, POLICY)
            ready(sidecar)
            sidecar.stub.Check(check_of(id="secret"))
            compared(sidecar, newly_denied=1)


def test_workers_have_the_candidate_too(candidate: Path) -> None:
    """With several workers each decides by the candidate, also one that was started after another died."""
    with running_sidecar("--shadow", str(candidate), "--workers", "2", "--log-level", "error") as sidecar:
        ready(sidecar)
        children = Path(f"/proc/{sidecar.process.pid}/task/{sidecar.process.pid}/children")
        first = set(children.read_text().split())
        assert len(first) == 2
        os.kill(int(min(first)), signal.SIGKILL)
        until(lambda: sidecar.metric("authz_worker_restarts_total") == 1 and sidecar.metric("authz_workers") == 2)

        def all_decide() -> bool:
            """Whether the candidate decides calls of either worker: a new one may take it a moment after it answers."""
            before = sum(outcomes(sidecar).values())
            for _ in range(10):
                with sidecar.open_channel() as channel:
                    assert type(sidecar.stub)(channel).Check(check_of(action="update"), timeout=10).allowed
            until(lambda: sum(outcomes(sidecar).values()) > before)
            return sum(outcomes(sidecar).values()) - before == 10

        until(all_decide)
        assert set(outcomes(sidecar)) == {"newly_denied"}


def test_a_share_is_decided(candidate: Path) -> None:
    """With `--shadow-sample` only a share of requests is decided by the candidate, and the rest is not counted."""
    with running_sidecar("--shadow", str(candidate), "--shadow-sample", "0.2") as sidecar:
        ready(sidecar)
        checks = [check_of(id=str(number)) for number in range(1000)]
        sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks))
        # Five standard deviations to either side.
        until(lambda: 137 < outcomes(sidecar).get("same", 0) < 263)
        sidecar.stub.Check(check_of())
        assert sidecar.metric("authz_shadow_dropped_total") == 0


def test_a_revision_is_a_candidate(tmp_path: Path) -> None:
    """A branch of the repository that holds the policies is a candidate, named by its commit, and followed."""
    from dulwich import porcelain

    repository = tmp_path / "repository"
    repository.mkdir()
    write(repository / "policies", CANDIDATE)
    author = b"A <a@example.com>"
    porcelain.init(str(repository))

    def commit() -> str:
        porcelain.add(str(repository), [str(path) for path in (repository / "policies").glob("*.*")])
        return bytes(porcelain.commit(str(repository), b"m", author=author, committer=author)).decode()

    wanted = commit()
    porcelain.branch_create(str(repository), "candidate")
    write(repository / "policies", POLICY)
    served = commit()
    with running_sidecar("--shadow", "candidate", policies=repository / "policies") as sidecar:
        assert sidecar.policy_version == served
        until(lambda: sidecar.metric("authz_shadow_policy_info", policy_version=wanted) == 1)
        sidecar.stub.Check(check_of(action="update"))
        compared(sidecar, newly_denied=1)
        (repository / ".git" / "refs" / "heads" / "candidate").write_text(f"{served}\n")
        until(lambda: sidecar.metric("authz_shadow_policy_info", policy_version=served) == 1)
        sidecar.stub.Check(check_of(action="update"))
        compared(sidecar, newly_denied=1, same=1)


def test_both_see_every_decision(tmp_path: Path, candidate: Path) -> None:
    """The decision log and the shadow go together."""
    with running_sidecar("--shadow", str(candidate), "--decision-log", str(tmp_path / "d.jsonl")) as sidecar:
        ready(sidecar)
        for _ in range(3):
            sidecar.stub.Check(check_of())
        compared(sidecar, same=3)
        until(lambda: sidecar.metric("authz_decision_log_written_total") == 3)
