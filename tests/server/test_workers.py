"""Several processes that answer on one port."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.sidecar import (
    COMMAND,
    PATIENCE_SECONDS,
    HeldCall,
    Sidecar,
    check_of,
    environment,
    running_sidecar,
    until,
)
from tests.server.test_reload import BOB_READS, QUICK, copy_bundle, git, replace_rows
from tests.server.test_serve import refusal, wait_for_drain

TWO = ("--workers", "2")


def answers(sidecar: Sidecar, number: int = 20, subject: str = "alice") -> list[tuple[str, str, bool]]:
    """Check over `number` new connections: which process answered, from which version, and what.

    The first half of a decision id names the process.
    """
    given = []
    for _ in range(number):
        with sidecar.open_channel() as channel:
            answer = AuthorizationServiceStub(channel).Check(check_of(subject), timeout=10, wait_for_ready=True)
        given.append((answer.decision_id[:16], answer.policy_version, answer.allowed))
    return given


def processes(sidecar: Sidecar) -> set[str]:
    """The processes that answer new connections."""
    return {process for process, _, _ in answers(sidecar)}


def workers_of(sidecar: Sidecar) -> list[int]:
    """The process ids of the workers that run."""
    parent = sidecar.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if "server.worker" in command_of(child)]


def command_of(process: str) -> str:
    """The command line of a process; "" if it has ended meanwhile."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def test_all_workers_answer_from_one_version() -> None:
    """Both processes answer, from the version of the ready line, and HTTP shows one sidecar of two workers."""
    with running_sidecar(*TWO) as sidecar:
        until(lambda: len(processes(sidecar)) == 2)
        assert {(version, allowed) for _, version, allowed in answers(sidecar)} == {(sidecar.policy_version, True)}
        assert sidecar.ready() == (200, {"status": "ready", "policy_version": sidecar.policy_version})
        assert sidecar.metric("authz_workers") == 2


def test_the_counts_of_all_workers_add_up() -> None:
    """`/metrics` has the sum of what the workers counted."""
    with running_sidecar(*TWO) as sidecar:
        asked = answers(sidecar, 40)
        assert sidecar.metric("authz_decisions_total", reason="allowed_by_rule") == len(asked)
        method = "authz.v1.AuthorizationService/Check"
        assert sidecar.metric("authz_calls_total", method=method, code="OK") == len(asked)


def test_a_reload_reaches_all_workers(tmp_path: Path) -> None:
    """Once a reload is reported, every worker answers from the new policy."""
    policies = copy_bundle(tmp_path / "policies")
    with running_sidecar(*TWO, *QUICK, policies=policies) as sidecar:
        replace_rows(policies, (policies / "policy.csv").read_text() + BOB_READS)
        until(lambda: sidecar.ready()[1]["policy_version"] != sidecar.policy_version)
        served = sidecar.ready()[1]["policy_version"]
        assert {(version, allowed) for _, version, allowed in answers(sidecar, 40, "bob")} == {(served, True)}


def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that is killed is replaced by one on the policy that is current then, and what it counted is kept."""
    policies = copy_bundle(tmp_path / "policies")
    with running_sidecar(*TWO, *QUICK, policies=policies) as sidecar:
        replace_rows(policies, (policies / "policy.csv").read_text() + BOB_READS)
        until(lambda: sidecar.ready()[1]["policy_version"] != sidecar.policy_version)
        answers(sidecar, 10, "bob")
        before = sidecar.metric("authz_decisions_total", reason="allowed_by_rule")
        victim = workers_of(sidecar)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: sidecar.metric("authz_worker_restarts_total") == 1 and sidecar.metric("authz_workers") == 2)
        assert victim not in workers_of(sidecar)
        until(lambda: len(processes(sidecar)) == 2)
        assert all(allowed for _, _, allowed in answers(sidecar, 20, "bob"))
        assert sidecar.metric("authz_decisions_total", reason="allowed_by_rule") >= before
        assert "worker" in sidecar.log


def test_workers_do_not_outlive_their_supervisor() -> None:
    """When the supervisor is killed its workers end by themselves and free the port."""
    with running_sidecar(*TWO) as sidecar:
        workers = workers_of(sidecar)
        sidecar.process.kill()
        sidecar.process.wait(PATIENCE_SECONDS)
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        host, _, port = sidecar.grpc.rpartition(":")
        with socket.create_server((host, int(port))):
            pass


def test_accepted_calls_of_workers_finish() -> None:
    """SIGTERM lets a call finish that a worker has accepted, and ends all processes with exit code 0."""
    with running_sidecar(*TWO, "--grace", "60") as sidecar:
        held = HeldCall(sidecar)
        wait_for_drain(sidecar)
        until(lambda: sidecar.ready()[0] == 503)
        held.release()
        assert held.future.result(timeout=10).allowed
        assert sidecar.wait() == (0, "")


def test_a_second_signal_ends_workers_at_once() -> None:
    """A second SIGTERM ends the grace period of the workers too."""
    with running_sidecar(*TWO, "--grace", "3600") as sidecar:
        held = HeldCall(sidecar)
        wait_for_drain(sidecar)
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert held.future.code().name in {"CANCELLED", "UNAVAILABLE"}


@pytest.mark.parametrize(("first", "second"), [(TWO, ()), (TWO, TWO), ((), TWO)], ids=["alone", "both", "workers"])
def test_the_port_of_another_server_is_not_shared(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    """A second server on the same port does not start, whether one of them or both have workers."""
    with running_sidecar(*first) as sidecar:
        ports = ("--grpc", sidecar.grpc, "--http", "127.0.0.1:0")
        assert f"cannot listen on `{sidecar.grpc}`: address already in use" in refusal(*second, ports=ports)
        assert sidecar.stub.Check(check_of()).allowed


def test_workers_cannot_share_a_unix_socket(tmp_path: Path) -> None:
    """Several workers on a Unix socket are refused with what to do instead."""
    said = refusal(*TWO, ports=("--grpc", f"unix:{tmp_path / 's'}", "--http", "127.0.0.1:0"))
    assert "2 workers cannot share the Unix socket" in said
    assert "listen on a TCP port" in said


def test_a_broken_bundle_is_refused_with_workers_too(tmp_path: Path) -> None:
    """The findings of a bundle that does not load are shown once, and no worker is left behind."""
    policies = copy_bundle(tmp_path / "policies", "nonsense\n")
    ports = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    ended = subprocess.run(
        (*COMMAND, "--policies", str(policies), *ports, *TWO),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("policy.csv:") == 1, ended.stderr


def test_the_number_of_workers_is_bounded() -> None:
    """Zero workers, or a thousand, are refused."""
    for number in ("0", "1000"):
        assert "--workers" in refusal("--workers", number)


def test_a_new_worker_gets_the_policy_and_not_only_its_name(tmp_path: Path) -> None:
    """A worker that starts while a commit renames the policy answers from the policy, under its newest version."""
    root = tmp_path / "repository"
    copy_bundle(root / "policies")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    with running_sidecar(*TWO, *QUICK, policies=root / "policies") as sidecar:
        old = workers_of(sidecar)
        os.kill(old[0], signal.SIGKILL)
        until(lambda: any(worker not in old for worker in workers_of(sidecar)))
        (new,) = [worker for worker in workers_of(sidecar) if worker not in old]
        os.kill(new, signal.SIGSTOP)
        git(root, "commit", "--quiet", "--allow-empty", "--message=two")
        head = git(root, "rev-parse", "HEAD")
        until(lambda: sidecar.ready()[1]["policy_version"] == head)
        os.kill(new, signal.SIGCONT)
        until(lambda: len(processes(sidecar)) == 2)
        assert {(version, allowed) for _, version, allowed in answers(sidecar)} == {(head, True)}
