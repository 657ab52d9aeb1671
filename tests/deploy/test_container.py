"""What containers ask of the server: a probe, and a life without a writable file system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.sidecar import BUNDLE, check_of, environment, running_sidecar

PROBE = Path(__file__).parents[2] / "deploy" / "image" / "probe.py"

# Imported by every Python process that is started with it on its path: opening a file for writing fails as it does on a
# read-only file system. Devices and unnamed files in memory are no part of that.
READ_ONLY = """
import errno, os, sys

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}

def refuse(event, args):
    path = args[0] if args else None
    if event == "open" and isinstance(path, (str, bytes)):
        path = os.fsdecode(path)
        written = (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if written and not path.startswith("/dev/"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
    elif event in CHANGES:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

sys.addaudithook(refuse)
"""


def probe(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run the probe as an orchestrator does."""
    return subprocess.run(
        (PROBE, *arguments), env=environment() | settings, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_probe_agrees_with_a_ready_server() -> None:
    """Both questions are answered by exit code 0, with the address as an argument and from the environment."""
    with running_sidecar() as sidecar:
        assert probe("/readyz", sidecar.http).returncode == 0
        assert probe("/healthz", AUTHZ_HTTP=sidecar.http).returncode == 0


def test_the_probe_speaks_to_a_unix_socket(tmp_path: Path) -> None:
    """HTTP on a Unix socket is probed as well."""
    address = f"unix:{tmp_path}/http"
    with running_sidecar(ports=("--grpc", "127.0.0.1:0", "--http", address)):
        assert probe("/readyz", address).returncode == 0


def test_the_probe_tells_alive_from_ready(tmp_path: Path) -> None:
    """A server that waits for its policies is alive and not ready, and the probe says why."""
    with running_sidecar("--wait-for-policies", policies=tmp_path / "absent") as sidecar:
        assert probe("/healthz", sidecar.http).returncode == 0
        not_ready = probe("/readyz", sidecar.http)
        assert not_ready.returncode == 1
        assert "no policy is loaded" in not_ready.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nonexistent", "nonsense"])
def test_the_probe_fails_where_nobody_answers(address: str) -> None:
    """Without a server, or with an address that is none, the probe exits 1 and names the address."""
    failed = probe("/readyz", address)
    assert failed.returncode == 1
    assert address in failed.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_writes_no_file(tmp_path: Path, workers: str) -> None:
    """On a read-only file system it starts, answers, is scraped and stops, with one process and with several."""
    (tmp_path / "sitecustomize.py").write_text(READ_ONLY)
    path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
    with running_sidecar("--workers", workers, policies=BUNDLE, PYTHONPATH=path, HOME="/nonexistent") as sidecar:
        assert sidecar.stub.Check(check_of(), timeout=10).allowed
        assert sidecar.get("/metrics")[0] == 200


def test_the_refusal_of_writes_is_real(tmp_path: Path) -> None:
    """What the test above relies on: under it a file cannot be written."""
    (tmp_path / "sitecustomize.py").write_text(READ_ONLY)
    write = f"open({str(tmp_path / 'written')!r}, 'w')"
    failed = subprocess.run(
        (sys.executable, "-c", write),
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Read-only file system" in failed.stderr
