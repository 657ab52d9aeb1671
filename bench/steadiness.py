"""How evenly a sidecar answers: `python -m bench.steadiness SCENARIO`, each scenario in a process of its own.

reload   a bundle of 10 k rules replaced every two seconds under full load, beside the same load without
pause    the longest latency of a call every millisecond on 1 M rules, beside that of an idle echo server
"""

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import msgspec

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from bench.data import PLAIN_MODEL, Question, plain_rows, plain_traffic
from bench.decisions import thousand_subjects
from bench.h2load import CHECK, SkippedError, full_load
from bench.measure import median, percentile
from bench.servers import Server, echo_command, running, sidecar_command
from bench.wire import TIMEOUT, check_message

SMALL, LARGE = 100, 10_000
PHASES = 3
PHASE_SECONDS = 10.0
RELOAD_SECONDS = 2.0
# The client that verifies asks so often, beside a load of thousands a second.
ASK_SECONDS = 0.005
PAUSE_SECONDS = 20.0
TICK_SECONDS = 0.001
WAIT_SECONDS = 60
# Allowed by the one text of the file and denied by the other, so that an answer tells which policy gave it.
MARKER: Question = ("marker", "read", "marker", "", "company0", "")
MARKER_TEXTS = tuple(
    f"p, role:marker, company0, marker, {action}\ng, marker, role:marker, company0\n" for action in ("read", "update")
)


class Observed(msgspec.Struct):
    """What the verifying client saw: latencies in seconds, the last policy version, and calls that failed or lied."""

    latencies: list[float]
    version: str = ""
    failed: int = 0
    wrong: int = 0


@contextmanager
def plain_bundle(companies: int) -> Iterator[Path]:
    """A directory with plain RBAC in CSV, 100 rules and 100 users a company, and the marker's file."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "model.conf").write_text(PLAIN_MODEL)
        (directory / "marker.csv").write_text(MARKER_TEXTS[0])
        with (directory / "policy.csv").open("w") as file:
            file.writelines(row + "\n" for row in plain_rows(companies))
        yield directory


def replace_marker(directory: Path, turn: int) -> None:
    """Write one of the two texts as editors do: a new file is renamed over the old one."""
    # Files with a dot in front are not read.
    new = directory / ".marker.new"
    new.write_text(MARKER_TEXTS[turn % 2])
    new.replace(directory / "marker.csv")


class Verifier:
    """Asks the marker's question at a steady rate in a thread, and checks each answer against the policy it names."""

    def __init__(self, server: Server) -> None:
        self._channel = grpc.insecure_channel(server.address)
        self._stub = AuthorizationServiceStub(self._channel)
        self._message = check_message(MARKER)
        # What each version answers; learned while nothing is measured.
        self._expected: dict[str, bool] = {}
        self._seen = ""

    def close(self) -> None:
        """Give up the connection."""
        self._channel.close()

    def learn(self, turn: int) -> None:
        """Wait for the version that the marker's `turn` makes current, and note what it is to answer."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (answer := self._stub.Check(self._message, timeout=TIMEOUT)).policy_version in self._expected:
            if time.monotonic() > deadline:
                raise SystemExit("the changed bundle is not taken up")
            time.sleep(ASK_SECONDS)
        self._expected[answer.policy_version] = turn % 2 == 0
        self._seen = answer.policy_version

    def observe(self, change: Callable[[], None] | None) -> Observed:
        """Ask for the time of one phase, and on until the last change is answered; `change` is called every two
        seconds, or later if the one before is not answered yet."""
        observed = Observed([], self._seen)
        end = time.perf_counter() + PHASE_SECONDS
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                started = time.perf_counter()
                self._ask_once(observed)
                time.sleep(max(0.0, started + ASK_SECONDS - time.perf_counter()))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            while change is not None and time.perf_counter() < end - RELOAD_SECONDS:
                before, started = observed.version, time.perf_counter()
                change()
                while observed.version == before:
                    if time.perf_counter() > started + WAIT_SECONDS:
                        raise SystemExit("the changed bundle is not taken up under load")
                    time.sleep(ASK_SECONDS)
                time.sleep(max(0.0, started + RELOAD_SECONDS - time.perf_counter()))
            time.sleep(max(0.0, end - time.perf_counter()))
        finally:
            over.set()
            thread.join()
        self._seen = observed.version
        return observed

    def _ask_once(self, observed: Observed) -> None:
        started = time.perf_counter()
        try:
            answer = self._stub.Check(self._message, timeout=TIMEOUT)
        except grpc.RpcError:
            observed.failed += 1
            return
        observed.latencies.append(time.perf_counter() - started)
        observed.wrong += self._expected.get(answer.policy_version) is not answer.allowed
        observed.version = answer.policy_version


def reload() -> dict[str, object]:
    """p99 latencies with and without reloads under full load, in turn, as two clients see them."""
    quiet: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    failed = wrong = answers = turn = 0
    with plain_bundle(SMALL) as directory, running(*sidecar_command(directory)) as sidecar:
        verifier = Verifier(sidecar)
        verifier.learn(turn)
        turn += 1
        replace_marker(directory, turn)
        verifier.learn(turn)

        def change() -> None:
            nonlocal turn
            turn += 1
            replace_marker(directory, turn)

        started = turn
        for _ in range(PHASES):
            for phases, action in ((quiet, None), (busy, change)):
                observed, latencies = _phase(sidecar, verifier, action)
                phases.append((percentile(observed.latencies, 0.99), percentile(latencies, 0.99)))
                failed, wrong = failed + observed.failed, wrong + observed.wrong
                answers += len(observed.latencies)
        verifier.close()
    return {
        "reloads": turn - started,
        "answers_verified": answers,
        "failed": failed,
        "wrong": wrong,
        "ratio": median([during[0] / without[0] for without, during in zip(quiet, busy, strict=True)]),
        "p99_without_ms": 1000 * median([phase[0] for phase in quiet]),
        "p99_during_ms": 1000 * median([phase[0] for phase in busy]),
        "h2load_ratio": median([during[1] / without[1] for without, during in zip(quiet, busy, strict=True)]),
        "h2load_p99_without_ms": 1000 * median([phase[1] for phase in quiet]),
        "h2load_p99_during_ms": 1000 * median([phase[1] for phase in busy]),
    }


def _phase(sidecar: Server, verifier: Verifier, change: Callable[[], None] | None) -> tuple[Observed, list[float]]:
    """One phase under full load; also the seconds that each call of the load took."""
    load = check_message(("user7-7", "read", "type7", "", "company7", ""))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "h2load.log"
        with full_load(sidecar.address, CHECK, load.SerializeToString(), PHASE_SECONDS, log):
            observed = verifier.observe(change)
        return observed, [int(line.rsplit("\t", 1)[1]) / 1e6 for line in log.read_text().splitlines()]


def pause() -> dict[str, object]:
    """The longest of the calls that are sent one a millisecond, at the same time to both servers by one client."""
    traffic = plain_traffic(thousand_subjects(LARGE), 20_000)
    with plain_bundle(LARGE) as directory:
        started = time.perf_counter()
        with running(*sidecar_command(directory)) as sidecar:
            ready = time.perf_counter() - started
            with grpc.insecure_channel(sidecar.address) as channel:
                answer = AuthorizationServiceStub(channel).Check(check_message(traffic[0]), timeout=TIMEOUT)
            with running(*echo_command(answer.SerializeToString())) as echo:
                ours, theirs = asyncio.run(_ask_both(sidecar, echo, traffic))
    return {
        "ready_s": ready,
        "calls": len(ours),
        "longest_ms": 1000 * max(ours),
        "p99_ms": 1000 * percentile(ours, 0.99),
        "echo_longest_ms": 1000 * max(theirs),
        "echo_p99_ms": 1000 * percentile(theirs, 0.99),
    }


async def _ask_both(sidecar: Server, echo: Server, traffic: list[Question]) -> tuple[list[float], list[float]]:
    messages = [check_message(question) for question in traffic]
    async with (
        grpc.aio.insecure_channel(sidecar.address) as channel,
        grpc.aio.insecure_channel(echo.address) as echo_channel,
    ):
        return await asyncio.gather(_ask(channel, messages), _ask(echo_channel, messages))


async def _ask(channel: grpc.aio.Channel, messages: list[check_pb2.CheckRequest]) -> list[float]:
    """Seconds of each call; one begins every millisecond, or when the one before it is answered."""
    stub = AuthorizationServiceStub(channel)
    await stub.Check(messages[0], timeout=TIMEOUT)
    taken: list[float] = []
    end = time.perf_counter() + PAUSE_SECONDS
    while (started := time.perf_counter()) < end:
        await stub.Check(messages[len(taken) % len(messages)], timeout=TIMEOUT)
        taken.append(time.perf_counter() - started)
        await asyncio.sleep(max(0.0, TICK_SECONDS - taken[-1]))
    return taken


SCENARIOS = {"reload": reload, "pause": pause}

if __name__ == "__main__":
    try:
        print(json.dumps(SCENARIOS[sys.argv[1]]()))
    except SkippedError as missing:
        print(json.dumps({"skipped": str(missing)}))
