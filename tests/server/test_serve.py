"""The process: how it starts, what it refuses, and how it stops."""

import contextlib
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.sidecar import (
    BUNDLE,
    COMMAND,
    FREE_PORTS,
    PATIENCE_SECONDS,
    HeldCall,
    Sidecar,
    check_of,
    environment,
    running_sidecar,
)

LOOPBACK = "127.0.0.1:0"


def refusal(*options: str, policies: Path = BUNDLE, ports: tuple[str, ...] = FREE_PORTS) -> str:
    """What a sidecar that cannot start says: it exits 2 and writes nothing to standard output."""
    command = (*COMMAND, "--policies", str(policies), *ports, *options)
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=PATIENCE_SECONDS, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def wait_for_drain(sidecar: Sidecar) -> None:
    """Send SIGTERM and wait until the server says that it is draining."""
    watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    sidecar.process.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the server with exit code 0 and nothing more on standard output."""
    with running_sidecar() as sidecar:
        sidecar.process.send_signal(number)
        assert sidecar.wait() == (0, "")
        assert number.name in sidecar.log


def test_an_accepted_call_finishes() -> None:
    """A call that was accepted before SIGTERM is answered after it; meanwhile `/readyz` is 503 and `/healthz` 200."""
    with running_sidecar("--grace", "60") as sidecar:
        held = HeldCall(sidecar)
        wait_for_drain(sidecar)
        assert sidecar.get("/readyz") == (
            503,
            '{"status":"not ready","why":"the server is starting or stopping"}',
        )
        assert sidecar.get("/healthz")[0] == 200
        held.release()
        assert held.future.result(timeout=10).allowed
        assert sidecar.wait() == (0, "")


def test_the_grace_period_ends() -> None:
    """A call that does not finish within the grace period is cut off, and the server still exits 0."""
    with running_sidecar("--grace", "0.2") as sidecar:
        held = HeldCall(sidecar)
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert held.future.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_a_second_signal_stops_at_once() -> None:
    """A second signal ends the grace period: the server exits 0 without waiting for the call."""
    with running_sidecar("--grace", "3600") as sidecar:
        held = HeldCall(sidecar)
        wait_for_drain(sidecar)
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert held.future.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_an_open_reflection_stream_does_not_hold_up_the_end(version: str) -> None:
    """A reflection stream that its client keeps open ends well when the server drains."""
    with running_sidecar("--grace", "3600") as sidecar:
        requests: SimpleQueue[reflection_pb2.ServerReflectionRequest] = SimpleQueue()
        stream = sidecar.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(requests.get, None))
        requests.put(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert next(stream).HasField("list_services_response")
        sidecar.process.terminate()
        assert list(stream) == []
        assert stream.code() is grpc.StatusCode.OK
        assert sidecar.wait() == (0, "")


@pytest.mark.parametrize("taken", ["grpc", "http"])
def test_a_port_that_is_taken_is_an_error(sidecar: Sidecar, taken: str) -> None:
    """A second server on the port of a first cannot start, says why, and the first goes on."""
    address = getattr(sidecar, taken)
    other = {"grpc": "http", "http": "grpc"}[taken]
    said = refusal(ports=(f"--{taken}", address, f"--{other}", LOOPBACK))
    assert f"cannot listen on `{address}`: address already in use" in said
    assert "choose another address" in said
    assert sidecar.stub.Check(check_of()).allowed


def test_a_broken_bundle_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    """A bundle with errors is not served; every error is shown with its place."""
    for file in BUNDLE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "policy.csv").open("a") as rows:
        rows.write("p, editor, acme\np, editor, acme, folder:1, read, maybe\n")
    said = refusal(policies=tmp_path)
    lines = len((BUNDLE / "policy.csv").read_text().splitlines())
    assert f"policy.csv:{lines + 1}:" in said
    assert f"policy.csv:{lines + 2}:" in said
    assert "`maybe`" in said


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """A directory that does not exist is named."""
    missing = tmp_path / "nowhere"
    assert f"`{missing}`" in refusal(policies=missing)


@pytest.mark.parametrize("option", ["--grpc", "--http"])
def test_a_port_for_other_machines_needs_a_word(option: str) -> None:
    """An address that other machines reach is refused unless `--insecure` is given."""
    said = refusal(option, "0.0.0.0:0")
    assert "`0.0.0.0:0` can be reached from other machines" in said
    assert "--insecure" in said


def test_insecure_opens_the_port() -> None:
    """With `--insecure` the server listens on all interfaces."""
    with running_sidecar("--insecure", ports=("--grpc", "0.0.0.0:0", "--http", "0.0.0.0:0")) as sidecar:
        assert sidecar.stub.Check(check_of()).allowed
        assert sidecar.get("/healthz")[0] == 200


def test_what_is_no_address_is_refused() -> None:
    """An address that cannot be read ends the start with what is wrong and how to write it."""
    said = refusal("--grpc", "localhost")
    assert "`localhost` is not an address" in said
    assert "`host:port`" in said


def test_an_address_of_another_machine_is_refused() -> None:
    """An address that this machine does not have is refused with the system's reason."""
    said = refusal("--insecure", ports=("--grpc", "192.0.2.1:50051", "--http", LOOPBACK))
    assert "cannot listen on `192.0.2.1:50051`" in said


def test_options_come_from_the_environment() -> None:
    """Each option can be given as `AUTHZ_` and its name."""
    with running_sidecar(ports=(), AUTHZ_GRPC="localhost:0", AUTHZ_HTTP="localhost:0", AUTHZ_GRACE="1") as sidecar:
        assert sidecar.grpc.startswith("localhost:")
        assert sidecar.http.startswith("localhost:")
        assert sidecar.stub.Check(check_of()).allowed


def has_ipv6_loopback() -> bool:
    """Whether this machine has the address `::1`."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_ipv6_addresses_are_written_in_brackets() -> None:
    """The ready line writes an IPv6 address as it is given, in brackets; so does the refusal where there is none."""
    ports = ("--grpc", "[::1]:0", "--http", "[::1]:0")
    if not has_ipv6_loopback():
        assert "cannot listen on `[::1]:0`" in refusal(ports=ports)
        return
    with running_sidecar(ports=ports) as sidecar:
        assert sidecar.grpc.startswith("[::1]:")
        assert sidecar.stub.Check(check_of()).allowed
        assert sidecar.get("/healthz")[0] == 200


def test_unix_sockets(folder: Path) -> None:
    """Both ports can be Unix sockets, open to their owner and group, and gone at the end."""
    paths = [folder / "grpc.sock", folder / "http.sock"]
    ports = ("--grpc", f"unix:{paths[0]}", "--http", f"unix:{paths[1]}")
    with running_sidecar(ports=ports) as sidecar:
        assert (sidecar.grpc, sidecar.http) == (f"unix:{paths[0]}", f"unix:{paths[1]}")
        assert sidecar.stub.Check(check_of()).allowed
        for path in paths:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(paths[1]))
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert client.makefile().readline() == "HTTP/1.1 200 OK\n"
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("option", ["--grpc", "--http"])
def test_a_live_unix_socket_is_taken(folder: Path, option: str) -> None:
    """The socket of a server that lives is not taken away from it."""
    path = folder / "one.sock"
    other = {"--grpc": "--http", "--http": "--grpc"}[option]
    ports = (option, f"unix:{path}", other, LOOPBACK)
    with running_sidecar(ports=ports):
        assert f"cannot listen on `unix:{path}`: address already in use" in refusal(ports=ports)
        assert path.exists()


@pytest.mark.parametrize("option", ["--grpc", "--http"])
def test_a_stale_unix_socket_is_replaced(folder: Path, option: str) -> None:
    """A socket that a killed server left behind is replaced."""
    path = folder / "stale.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    other = {"--grpc": "--http", "--http": "--grpc"}[option]
    with running_sidecar(ports=(option, f"unix:{path}", other, LOOPBACK)) as sidecar:
        assert sidecar.stub.Check(check_of()).allowed


def test_a_successor_keeps_its_socket(folder: Path) -> None:
    """A server that still drains when its successor listens in the same place leaves it the socket."""
    path = folder / "one.sock"
    ports = ("--grpc", f"unix:{path}", "--http", LOOPBACK)
    with running_sidecar("--grace", "60", ports=ports) as first:
        held = HeldCall(first)
        wait_for_drain(first)
        while path.exists():
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(path)):
                    break  # nobody listens any more
                # Wait for what it says or for its end, so that asking again does not keep it busy.
                client.settimeout(10)
                with contextlib.suppress(ConnectionError):
                    client.recv(1)
        with running_sidecar(ports=ports) as second:
            held.release()
            assert held.future.result(timeout=10).allowed
            assert first.wait() == (0, "")
            assert path.exists()
            with second.open_channel() as channel:
                assert AuthorizationServiceStub(channel).Check(check_of()).allowed


def test_a_file_is_not_replaced_by_a_socket(folder: Path) -> None:
    """A file that is no socket stays, and the server does not start."""
    path = folder / "notes"
    path.write_text("mine")
    assert f"`{path}` is a file, not a socket" in refusal("--grpc", f"unix:{path}")
    assert path.read_text() == "mine"
