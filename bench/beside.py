"""What goes on beside answers, over the wire: `python -m bench.beside SCENARIO`, each in a process of its own.

log      the decision log, everything in it, against a server without one
shadow   a candidate that decides every request, against a server without one

The two servers differ in that alone and are loaded in turn, by single checks and by batches of 50; the ratio is that of
pairs. That nothing was dropped, or how much, is read from the metrics.
"""

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import check_pb2
from bench.h2load import BATCH_CHECK, CHECK, STREAMS, STREAMS_OF_BATCHES, SkippedError, requests_per_second
from bench.measure import median
from bench.servers import Server, running, sidecar_command
from bench.wire import BATCH, OWN_FOLDER, POLICIES, ROUNDS, SECONDS, check_message

READY_SECONDS = 60


def log() -> dict[str, object]:
    """Checks and batches with the decision log and without; the log is a file in memory where there is such."""
    with _folder() as folder:
        options = ("--decision-log", f"{folder}/decisions.jsonl", "--decision-log-keep", "2")
        return _compare(options, "authz_decision_log_written_total", "authz_decision_log_dropped_total")


def shadow() -> dict[str, object]:
    """Checks and batches with the same policy as candidate and without one."""
    options = ("--shadow", str(POLICIES))
    return _compare(options, 'authz_shadow_decisions_total{outcome="same"}', "authz_shadow_dropped_total")


def _compare(options: tuple[str, ...], done: str, dropped: str) -> dict[str, object]:
    check = check_message(OWN_FOLDER)
    batch = check_pb2.BatchCheckRequest(checks=[check] * BATCH)
    result: dict[str, object] = {}
    with running(*sidecar_command(POLICIES)) as plain, running(*sidecar_command(POLICIES, *options)) as other:
        _settle(other, options)
        for name, method, message, streams in (
            ("check", CHECK, check, STREAMS),
            ("batch", BATCH_CHECK, batch, STREAMS_OF_BATCHES),
        ):
            before = _metric(other, done), _metric(other, dropped)
            runs = [
                (load(other, method, message, streams), load(plain, method, message, streams)) for _ in range(ROUNDS)
            ]
            pairs = [(with_it.per_second, without.per_second) for with_it, without in runs]
            size = BATCH if name == "batch" else 1
            result[name] = {
                "with_per_s": size * median([pair[0] for pair in pairs]),
                "without_per_s": size * median([pair[1] for pair in pairs]),
                "ratio": median([pair[0] / pair[1] for pair in pairs]),
                "ratios": sorted(pair[0] / pair[1] for pair in pairs),
                "processor_ratio": median([with_it.processor / without.processor for with_it, without in runs]),
                "processor_us": median(
                    [(with_it.processor - without.processor) / size * 1e6 for with_it, without in runs]
                ),
                "done": _metric(other, done) - before[0],
                "dropped": _metric(other, dropped) - before[1],
            }
    return result


class Run(NamedTuple):
    """Calls a second, and seconds of processor time for each."""

    per_second: float
    processor: float


def load(server: Server, method: str, message: Message, streams: int) -> Run:
    """What a server does under full load."""
    before = server.processor_seconds(), _calls(server)
    rate = requests_per_second(server.address, method, message.SerializeToString(), SECONDS, streams)
    return Run(rate, (server.processor_seconds() - before[0]) / (_calls(server) - before[1]))


def _calls(server: Server) -> float:
    return sum(
        _metric(server, f'authz_calls_total{{code="OK",method="authz.v1.AuthorizationService/{name}"}}')
        for name in ("Check", "BatchCheck")
    )


def _metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"http://{server.ready['http']}/metrics", timeout=10) as response:
        text = response.read().decode()
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def _settle(server: Server, options: tuple[str, ...]) -> None:
    """Wait until the candidate is there."""
    end = time.monotonic() + READY_SECONDS
    while "--shadow" in options and not _metric(
        server, f'authz_shadow_policy_info{{policy_version="{_version(server)}"}}'
    ):
        if time.monotonic() > end:
            raise SystemExit("the candidate is not loaded")
        time.sleep(0.05)


def _version(server: Server) -> str:
    return server.ready["policy_version"]


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


SCENARIOS = {"log": log, "shadow": shadow}

if __name__ == "__main__":
    try:
        print(json.dumps(SCENARIOS[sys.argv[1]]()))
    except SkippedError as missing:
        print(json.dumps({"skipped": str(missing)}))
