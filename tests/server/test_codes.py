"""Which calls end with which status codes, what may be tried again, and what of it clients do by themselves."""

import gzip
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.bare_http2 import Connection, message
from tests.server.sidecar import SERVICE, HeldCall, Sidecar, check_of, failure_of, running_sidecar, until

Code = grpc.StatusCode
Call = Callable[[Sidecar], Any]
CHECK = f"/{SERVICE.full_name}/Check"
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def raw(path: str, payload: bytes) -> Call:
    """A call of bytes."""

    def call(sidecar: Sidecar) -> Any:
        method: Any = sidecar.channel.unary_unary(path)
        return method(payload)

    return call


def health(service: str) -> Call:
    """A call of health."""
    request = health_pb2.HealthCheckRequest(service=service)
    return lambda sidecar: health_pb2_grpc.HealthStub(sidecar.channel).Check(request)


def batch(*checks: check_pb2.CheckRequest) -> Call:
    """A batch."""
    return lambda sidecar: sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks))


def stream(*checks: check_pb2.CheckRequest) -> Call:
    """A stream."""
    return lambda sidecar: list(sidecar.stub.CheckStream(check_pb2.CheckStreamRequest(check=check) for check in checks))


def explain(check: check_pb2.CheckRequest) -> Call:
    """An explanation."""
    return lambda sidecar: sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check))


INVALID, UNKNOWN_SUBJECT, CREDENTIAL = check_of(action=""), check_of("mallory"), check_of(subject="", credential="key")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda sidecar: sidecar.stub.Check(check_of()), id="allow"),
        pytest.param(lambda sidecar: sidecar.stub.Check(UNKNOWN_SUBJECT), id="deny"),
        pytest.param(lambda sidecar: sidecar.stub.Check(check_of(section="3")), id="evaluation-error"),
        pytest.param(batch(check_of(), UNKNOWN_SUBJECT, INVALID), id="batch-of-all-kinds"),
        pytest.param(stream(check_of(), UNKNOWN_SUBJECT, INVALID), id="stream-of-all-kinds"),
        pytest.param(explain(UNKNOWN_SUBJECT), id="explained-deny"),
        pytest.param(health(""), id="health"),
    ],
)
def test_a_decision_is_ok(sidecar: Sidecar, call: Call) -> None:
    """A deny is an answer, as is a denied item: the status is OK."""
    call(sidecar)


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        pytest.param(lambda s: s.stub.Check(INVALID), Code.INVALID_ARGUMENT, "INVALID_CHECK", id="invalid"),
        pytest.param(explain(INVALID), Code.INVALID_ARGUMENT, "INVALID_CHECK", id="invalid-explain"),
        pytest.param(raw(CHECK, b"\xff"), Code.INVALID_ARGUMENT, "MALFORMED_MESSAGE", id="malformed"),
        pytest.param(health("no.such"), Code.NOT_FOUND, "UNKNOWN_SERVICE", id="unknown-service"),
        pytest.param(
            lambda s: s.stub.Check(CREDENTIAL), Code.UNIMPLEMENTED, "CREDENTIAL_NOT_SUPPORTED", id="credential"
        ),
        pytest.param(batch(CREDENTIAL), Code.UNIMPLEMENTED, "CREDENTIAL_NOT_SUPPORTED", id="credential-in-batch"),
        pytest.param(stream(CREDENTIAL), Code.UNIMPLEMENTED, "CREDENTIAL_NOT_SUPPORTED", id="credential-on-stream"),
        pytest.param(raw(f"/{SERVICE.full_name}/Drop", b""), Code.UNIMPLEMENTED, "", id="unknown-method"),
        pytest.param(batch(*[INVALID] * 1001), Code.RESOURCE_EXHAUSTED, "BATCH_TOO_LARGE", id="batch-too-large"),
        pytest.param(raw(CHECK, bytes(5 << 20)), Code.RESOURCE_EXHAUSTED, "", id="message-too-large"),
    ],
)
def test_what_fails_says_how(sidecar: Sidecar, call: Call, code: grpc.StatusCode, reason: str) -> None:
    """Each way to fail has its code, and where the sidecar itself refuses its reason; code and message stand in both
    the status and its details."""
    failure = failure_of(lambda: call(sidecar))
    assert (failure.code, failure.info.reason) == (code, reason)
    assert "Traceback" not in failure.message
    if reason:
        assert re.fullmatch("[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", reason)
        assert failure.info.domain == "authz-sidecar"
        assert (failure.status.code, failure.status.message) == (code.value[0], failure.message)
    # Whatever may be tried again as it is or in portions says when; nothing else invites to it.
    assert (failure.retry_after is not None) == (reason == "BATCH_TOO_LARGE")


def code_of(stub: AuthorizationServiceStub) -> grpc.StatusCode:
    """The code of a check."""
    try:
        stub.Check(check_of(), timeout=10)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return Code.OK


def test_a_call_after_the_drain_began_is_unavailable() -> None:
    """A server that drains takes no more calls: they are UNAVAILABLE, which clients try elsewhere or again."""
    with running_sidecar("--grace", "60") as sidecar:
        held = HeldCall(sidecar)
        watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        sidecar.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
        assert sidecar.ready()[0] == 503
        # For a moment it goes on answering whoever has not heard of it yet, and a call that comes in the moment when
        # it stops is CANCELLED.
        until(lambda: code_of(sidecar.stub) is Code.UNAVAILABLE)
        with sidecar.open_channel() as channel:
            assert code_of(AuthorizationServiceStub(channel)) is Code.UNAVAILABLE
        held.release()
        assert held.future.result(timeout=10).allowed
        assert sidecar.wait() == (0, "")


def answered(sidecar: Sidecar) -> float:
    """How many checks it has allowed."""
    return sidecar.metric("authz_decisions_total", reason="allowed_by_rule")


def test_clients_survive_a_restart() -> None:
    """With the service config of the manual and wait-for-ready a client's checks all succeed across a restart."""
    documented = re.search(r"```json\n(\{\n  \"loadBalancingConfig\".*?\n)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert documented is not None
    config = json.loads(documented[1])
    assert config["methodConfig"][0]["name"] == [{"service": SERVICE.full_name}]
    with running_sidecar() as first:
        options = (
            ("grpc.service_config", json.dumps(config)),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        )
        channel = first.open_channel(*options)
        stub: Any = AuthorizationServiceStub(channel)
        ports = ("--grpc", first.grpc, "--http", "127.0.0.1:0")
        restarted = threading.Event()

        def check_on() -> int:
            """Ask one check after the other, before, while and after the server is restarted."""
            count = 0
            while not restarted.is_set():
                assert stub.Check(check_of(), wait_for_ready=True, timeout=60).allowed
                count += 1
            return count

        with ThreadPoolExecutor(4) as callers:
            asking = [callers.submit(check_on) for _ in range(4)]
            until(lambda: answered(first) > 100)
            first.process.terminate()
            assert first.wait() == (0, "")
            with running_sidecar(ports=ports) as second:
                until(lambda: answered(second) > 100 or any(call.done() for call in asking))
                restarted.set()
                assert min(call.result(timeout=60) for call in asking) > 0
                channel.close()


@pytest.mark.parametrize("accepted", [b"identity", b"gzip, identity"], ids=["none", "gzip"])
def test_a_compressed_check_is_taken_and_answered_as_it_is(sidecar: Sidecar, accepted: bytes) -> None:
    """A check packed with gzip is taken; the answer is not packed, whether or not the client could unpack it."""
    connection = Connection(sidecar.grpc)
    with connection.socket:
        connection.call("Check", grpc_encoding=b"gzip", grpc_accept_encoding=accepted)
        connection.send(message(gzip.compress(check_of().SerializeToString()), compressed=True), last=True)
        head, data, trailer = connection.answer()
    assert b"\x0dgrpc-encoding" not in head
    assert data[0] == 0
    assert check_pb2.CheckResponse.FromString(data[5:]).allowed
    assert b"\x0bgrpc-status\x010" in trailer
