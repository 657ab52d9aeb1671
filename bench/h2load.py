"""Load from h2load (nghttp2), which costs little of the processors that it shares with the servers.

It takes an HTTP status of 200 for success, and so every gRPC error too: what a server answers is verified beside it.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECK = "/authz.v1.AuthorizationService/Check"
BATCH_CHECK = "/authz.v1.AuthorizationService/BatchCheck"
WARM_UP_SECONDS = 1
CONNECTIONS = 8
# Calls at once on each connection: enough to keep a server busy, few enough to be answered within the warm-up.
STREAMS = 16
STREAMS_OF_BATCHES = 2


class SkippedError(Exception):
    """A measurement that needs something which is not installed; the sentence says how to get it."""


def program() -> str:
    """The path of h2load; raises SkippedError."""
    found = shutil.which("h2load")
    if found is None:
        raise SkippedError("h2load is not installed (Debian and Ubuntu: `apt-get install nghttp2-client`)")
    return found


@contextmanager
def _command(address: str, method: str, message: bytes, seconds: float, streams: int) -> Iterator[list[str]]:
    with tempfile.NamedTemporaryFile(prefix="authz-bench-") as body:
        body.write(struct.pack(">BI", 0, len(message)) + message)
        body.flush()
        command = [program(), "--duration", f"{seconds:g}", f"--warm-up-time={WARM_UP_SECONDS}", "--threads", "1"]
        command += ["--clients", str(CONNECTIONS), "--max-concurrent-streams", str(streams), "--data", body.name]
        command += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
        yield [*command, f"http://{address}{method}"]


def requests_per_second(address: str, method: str, message: bytes, seconds: float, streams: int = STREAMS) -> float:
    """The rate at which `method` answers `message` over 8 connections with `streams` calls each."""
    with _command(address, method, message, seconds, streams) as command:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    return read_rate(done.stdout)


def read_rate(report: str) -> float:
    """The rate in a report; ends the benchmark if a request failed on the level of HTTP."""
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (failed|errored|timeout|4xx|5xx)", report)}
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", report)
    if rate is None or any(counts.values()):
        raise SystemExit(f"h2load did not succeed:\n{report}")
    return float(rate[1])


@contextmanager
def full_load(address: str, method: str, message: bytes, seconds: float, log: Path) -> Iterator[None]:
    """The same load beside what is done inside; it is over `seconds` after it began, and `log` has a line for each
    request: start, status and microseconds."""
    with _command(address, method, message, seconds, STREAMS) as command:
        command[1:1] = ["--log-file", str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                yield
                report, _ = process.communicate(timeout=seconds + 60)
                read_rate(report)
            finally:
                process.kill()
