"""`authz-sidecar bench`, run as a command against a running sidecar."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command_line import Run
from tests.server.sidecar import Sidecar, environment, running_sidecar

SHORT = ("--duration", "0.3", "--connections", "2", "--concurrency", "2")
ALLOWED = ("alice", "folder:1", "read", "--company", "acme")


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A running sidecar on the bundle of the server tests."""
    # It stays on what it began with, whatever is committed meanwhile.
    with running_sidecar("--watch-interval", "0") as running:
        yield running


def started(*arguments: str) -> "subprocess.Popen[str]":
    """A bench that has begun to send."""
    process = subprocess.Popen(
        [sys.executable, "-m", "authz_sidecar", "bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("sending calls to "), line + process.stderr.read()
    return process


def test_the_figures_agree_with_each_other(run: Run, sidecar: Sidecar) -> None:
    """Every call is counted once, with its reason and policy version, and the rates follow from the counts."""
    done = run("bench", *ALLOWED, "--server", sidecar.grpc, *SHORT, "--format", "json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    calls = figures["calls"]
    assert calls > 0
    assert figures["decisions"] == calls
    assert figures["reasons"] == {"allowed_by_rule": calls}
    assert figures["policy_versions"] == {sidecar.policy_version: calls}
    assert figures["errors"] == {}
    assert figures["seconds"] >= 0.3
    assert figures["calls_per_second"] == pytest.approx(calls / figures["seconds"], rel=0.02)
    latency = figures["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_a_batch_counts_its_decisions(run: Run, sidecar: Sidecar) -> None:
    """With `--batch` each call holds as many checks, and all of them are counted."""
    done = run("bench", *ALLOWED, "--batch", "7", "--server", sidecar.grpc, *SHORT, "--format", "json")
    figures = json.loads(done.stdout)
    assert figures["calls"] > 0
    assert figures["reasons"] == {"allowed_by_rule": 7 * figures["calls"]}


def test_without_a_question_a_fixed_one_is_asked(run: Run, sidecar: Sidecar) -> None:
    """The text names the question and what came of it, here a deny of a subject that no policy knows."""
    done = run("bench", "--server", sidecar.grpc, *SHORT)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["asked"] == "bench read bench:1"
    assert lines["reasons"].startswith("unknown_subject ")
    assert lines["policy"].startswith(sidecar.policy_version)
    assert lines["errors"] == "none"
    assert "p99" in lines["latency"]


def test_a_unix_socket_is_loaded(run: Run, tmp_path: Path) -> None:
    """A socket on this machine needs no permission."""
    address = f"unix:{tmp_path}/s"
    with running_sidecar(ports=("--grpc", address, "--http", "127.0.0.1:0")):
        done = run("bench", "--server", address, *SHORT, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"] > 0


def test_another_machine_is_not_loaded_by_accident(run: Run) -> None:
    """An address that is not this machine's is refused, unless the option says that it is meant."""
    done = run("bench", "--server", "192.0.2.1:50051", *SHORT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: `192.0.2.1:50051` may be another machine" in done.stderr
    assert "`--allow-remote`" in done.stderr
    meant = run("bench", "--server", "192.0.2.1:50051", "--allow-remote", "--timeout", "0.2", *SHORT)
    assert meant.returncode == 2
    assert "may be another machine" not in meant.stderr
    assert "error: no answer from `192.0.2.1:50051`" in meant.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--duration", "61"), "61"),
        (("--duration", "0"), "0"),
        (("folder:1",), "SUBJECT, OBJECT and ACTION"),
        (("folder:1", "read"), "neither SUBJECT nor a credential"),
        (("--server", "127.0.0.1:1"), "no answer from `127.0.0.1:1`"),
        (("role:x", "folder:1", "read"), "subject begins with `role:`"),
    ],
)
def test_what_cannot_be_measured_exits_2(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """Wrong usage and a server that is not there give no figures."""
    done = run("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_question_that_the_server_refuses_is_not_repeated(run: Run, sidecar: Sidecar) -> None:
    """An invalid question and a batch over the limit end with the server's violation and its remedy."""
    done = run("bench", "alice", "vault", "open", "--section", "2", "--server", sidecar.grpc, *SHORT)
    assert done.returncode == 2
    assert "help: give it with `--context level=…`" in done.stderr
    done = run("bench", "--batch", "1001", "--server", sidecar.grpc, *SHORT)
    assert done.returncode == 2
    assert "help: give a smaller `--batch`" in done.stderr


def test_an_interrupt_shows_the_figures_so_far(sidecar: Sidecar) -> None:
    """SIGINT ends the load early, with exit code 130 and what was measured."""
    with started("--server", sidecar.grpc, "--duration", "60", "--format", "json") as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    figures = json.loads(output)
    assert process.returncode == 130
    assert figures["interrupted"] is True
    assert figures["seconds"] < 30


def test_failed_calls_are_counted_by_status() -> None:
    """A server that dies meanwhile makes the exit code 1, and its calls are errors, not decisions."""
    with (
        running_sidecar() as mortal,
        started("--server", mortal.grpc, "--duration", "1", "--format", "json") as process,
    ):
        mortal.process.kill()
        output, _ = process.communicate(timeout=30)
    figures = json.loads(output)
    assert process.returncode == 1
    assert figures["errors"]["UNAVAILABLE"] > 0
    assert figures["decisions"] == sum(figures["reasons"].values()) == figures["calls"]
