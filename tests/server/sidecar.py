"""A sidecar in a process of its own, as users run it."""

import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub

BUNDLE = Path(__file__).parent / "bundle"
READY = re.compile(r"ready grpc=(?P<grpc>\S+) http=(?P<http>\S+) policy_version=(?P<version>\S+)\n")
COMMAND = (sys.executable, "-m", "authz_sidecar", "serve")
FREE_PORTS = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
PATIENCE_SECONDS = 60


def environment() -> dict[str, str]:
    """This process's environment without the settings of a sidecar that someone may have in their shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}


class Sidecar:
    """A sidecar that has said that it is ready: where it listens, and a connection to it."""

    def __init__(self, process: "subprocess.Popen[str]", ready: "re.Match[str]", log: IO[str]) -> None:
        self.process = process
        self.grpc, self.http, self.policy_version = ready["grpc"], ready["http"], ready["version"]
        self._log = log
        self.channel = self.open_channel()
        self.stub = AuthorizationServiceStub(self.channel)

    def open_channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        """A connection of its own to the server."""
        return grpc.insecure_channel(self.grpc, options=(("grpc.use_local_subchannel_pool", 1), *options))

    @property
    def log(self) -> str:
        """What the server has written to standard error."""
        self._log.seek(0)
        return self._log.read()

    def wait(self) -> tuple[int, str]:
        """Wait for the end: the exit code and what came on standard output after the ready line."""
        rest, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, rest

    def get(self, path: str) -> tuple[int, str]:
        """The status and body of a GET on the HTTP port."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def running_sidecar(
    *options: str, policies: Path = BUNDLE, ports: Sequence[str] = FREE_PORTS, **settings: str
) -> Iterator[Sidecar]:
    """Start a sidecar and wait for its ready line; at the end stop it by SIGTERM, which must end it with exit code 0.

    `settings` are environment variables.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            (*COMMAND, "--policies", str(policies), *ports, *options),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment() | settings,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready = READY.fullmatch(line)
            if ready is None:
                process.wait(PATIENCE_SECONDS)
                log.seek(0)
                raise AssertionError(f"no ready line but {line!r}; the log:\n{log.read()}")
            sidecar = Sidecar(process, ready, log)
            with sidecar.channel:
                yield sidecar
            if process.poll() is None:
                process.terminate()
                assert sidecar.wait() == (0, ""), sidecar.log
        finally:
            process.kill()


def check_of(
    subject: str = "alice",
    action: str = "read",
    type: str = "folder",
    id: str = "1",
    company: str = "acme",
    **more: Any,
) -> check_pb2.CheckRequest:
    """A check that the bundle of the server tests allows, unless an argument says otherwise."""
    thing = check_pb2.Object(type=type, id=id, company=company)
    return check_pb2.CheckRequest(subject=subject, action=action, object=thing, **more)


class Failure:
    """An error of a call, with its details unpacked."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details()
        self.status = status_pb2.Status()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self.status.ParseFromString(value)
        self.violations: dict[str, str] = {}
        self.info = error_details_pb2.ErrorInfo()
        for detail in self.status.details:
            bad_request = error_details_pb2.BadRequest()
            if detail.Unpack(bad_request):
                self.violations = {found.field: found.description for found in bad_request.field_violations}
            detail.Unpack(self.info)


def failure_of(call: Callable[[], Any]) -> Failure:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Failure(caught.value)
