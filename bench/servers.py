"""Servers under measurement: processes on loopback, each on a port of its own, ended when the measurement is."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
READY_SECONDS = 120


class Server(msgspec.Struct, frozen=True):
    """A process and where it answers gRPC; `ready` is what else it said when it was ready."""

    pid: int
    address: str
    ready: dict[str, str]

    def processor_seconds(self) -> float:
        """The processor time that the process and its children that live have used."""
        return sum(_processor_nanoseconds(pid) for pid in process_tree(self.pid)) / 1e9


def process_tree(pid: int) -> list[int]:
    """A process and its descendants that are alive."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def _processor_nanoseconds(pid: int) -> int:
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def memory_mb(pid: int) -> dict[str, float]:
    """`rss` and `pss` (shared pages counted in parts) of a process and its descendants, in MB (10^6 bytes)."""
    totals = {"Rss": 0.0, "Pss": 0.0}
    for member in process_tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in totals:
                totals[name] += int(rest.split()[0]) * 1024 / 1e6
    return {"rss": totals["Rss"], "pss": totals["Pss"]}


@contextmanager
def running(*command: str, directory: str = "") -> Iterator[Server]:
    """A process that writes a ready line with `grpc=`; it is ended by SIGTERM. `directory` is its directory's URL."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=environment(directory)
        ) as process,
    ):
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            if words[:1] != ["ready"]:
                process.wait(READY_SECONDS)
                log.seek(0)
                raise SystemExit(f"`{' '.join(command)}` does not start:\n{log.read()}")
            ready = dict(word.split("=", 1) for word in words[1:])
            yield Server(process.pid, ready["grpc"], ready)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def environment(directory: str = "") -> dict[str, str]:
    """This environment without settings of a sidecar, but the URL of its directory, which may hold a password; and with
    the package that is being measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    if directory:
        kept["AUTHZ_DIRECTORY"] = directory
    return kept | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


def sidecar_command(policies: Path, *options: str) -> tuple[str, ...]:
    """The command line of a sidecar with its default options, on free ports."""
    ports = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    return (sys.executable, "-m", "authz_sidecar", "serve", "--policies", str(policies), *ports, *options)


def echo_command(response: bytes) -> tuple[str, ...]:
    """The command line of the echo server that answers with `response`."""
    return (sys.executable, "-m", "bench.echo", response.hex())
