"""A sidecar in a process of its own, as users run it."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub

SERVICE = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
BUNDLE = Path(__file__).parent / "bundle"
READY = re.compile(r"ready grpc=(?P<grpc>\S+) http=(?P<http>\S+) policy_version=(?P<version>\S+)\n")
COMMAND = (sys.executable, "-m", "authz_sidecar", "serve")
FREE_PORTS = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
PATIENCE_SECONDS = 60
ASK_SECONDS = 0.01
# The sidecars that run now: where a test fails, what they have logged is told with it.
running: "list[Sidecar]" = []


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

    def ready(self) -> tuple[int, dict[str, Any]]:
        """The status and body of `/readyz`."""
        status, body = self.get("/readyz")
        return status, json.loads(body)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of `/metrics`; 0.0 where there is none."""
        # Reading all of them, whenever somebody waits for one, took a third of the processor that such tests needed.
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

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
    *options: str,
    policies: Path = BUNDLE,
    ports: Sequence[str] = FREE_PORTS,
    command: Sequence[str] = COMMAND,
    **settings: str,
) -> Iterator[Sidecar]:
    """Start a sidecar and wait for its ready line; at the end stop it by SIGTERM, which must end it with exit code 0.

    `settings` are environment variables; `command` is what runs it.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            (*command, "--policies", str(policies), *ports, *options),
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
                running.append(sidecar)
                try:
                    yield sidecar
                finally:
                    running.remove(sidecar)
            if process.poll() is None:
                process.terminate()
                assert sidecar.wait() == (0, ""), sidecar.log
        finally:
            process.kill()


def until(holds: Callable[[], Any]) -> None:
    """Ask again and again until the answer is yes; fails when patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "it has not come to pass"
        # Processes that fetch and compile yield to all others: whoever asks without a pause starves them.
        time.sleep(ASK_SECONDS)


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


class HeldCall:
    """A call of AuthorizationService whose message has not been sent: the server has accepted it and waits for it."""

    def __init__(
        self,
        sidecar: Sidecar,
        message: Message | None = None,
        method: str = "Check",
        channel: grpc.Channel | None = None,
    ) -> None:
        channel = channel or sidecar.channel
        self._message = message or check_of()
        self._messages: SimpleQueue[bytes | None] = SimpleQueue()
        answer = message_factory.GetMessageClass(SERVICE.methods_by_name[method].output_type)
        call: Any = channel.stream_unary(f"/{SERVICE.full_name}/{method}", response_deserializer=answer.FromString)
        self.future: Any = call.future(iter(self._messages.get, None))
        # Calls of one connection arrive in order: with this one answered, the held one has arrived.
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    def release(self) -> None:
        """Send the message."""
        self._messages.put(self._message.SerializeToString())
        self._messages.put(None)


class Failure:
    """An error of a call, with its details unpacked."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details()
        self.status = status_pb2.Status()
        # Whether a client that repeats calls by itself is told not to.
        self.hopeless = False
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self.status.ParseFromString(value)
            elif key == "grpc-retry-pushback-ms":
                self.hopeless = value == "-1"
        self.violations: dict[str, str] = {}
        self.info = error_details_pb2.ErrorInfo()
        # In seconds; None where nothing is said.
        self.retry_after: float | None = None
        for detail in self.status.details:
            bad_request = error_details_pb2.BadRequest()
            if detail.Unpack(bad_request):
                self.violations = {found.field: found.description for found in bad_request.field_violations}
            detail.Unpack(self.info)
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToMilliseconds() / 1000


def failure_of(call: Callable[[], Any]) -> Failure:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Failure(caught.value)
