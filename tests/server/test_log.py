"""The log on standard error: its two forms, what stands in it, what does not, and the names of calls."""

import asyncio
import datetime as dt
import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.engine import Counts, Engine
from authz_sidecar.server.log import JsonFormatter, TextFormatter
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.methods import MAX_REQUEST_ID, MethodTable
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.values.limits import Limits
from tests.server.bare_http2 import Connection, message
from tests.server.sidecar import SERVICE, Failure, Sidecar, check_of, running_sidecar, until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
REQUEST_ID = "x-request-id"


def lines(sidecar: Sidecar) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in sidecar.log.splitlines()]


def test_lines_are_objects(sidecar: Sidecar) -> None:
    """Where standard error is no terminal, each line is a JSON object with time, level, logger and message."""
    found = lines(sidecar)
    assert found
    for line in found:
        assert re.fullmatch(TIME, line["time"])
        assert line["level"] in {"debug", "info", "warning", "error"}
        assert line["logger"]
        assert line["message"]
    serving = [line for line in found if line["message"] == f"serving {sidecar.policy_version}"]
    assert [(line["level"], line["warnings"]) for line in serving] == [("info", 0)]
    assert serving[0]["rules"] > 0
    assert serving[0]["seconds"] > 0


def test_calls_add_no_lines(sidecar: Sidecar) -> None:
    """By default no call adds a line, whatever its end is."""
    before = sidecar.log
    for check in (check_of(), check_of(id="secret"), check_of(section="3")):
        sidecar.stub.Check(check)
    for invalid in (check_of(action=""), check_of(subject="", credential="key"), check_of(section="2")):
        with pytest.raises(grpc.RpcError):
            sidecar.stub.Check(invalid)
    sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of()] * 100))
    list(sidecar.stub.CheckStream(iter([check_pb2.CheckStreamRequest()] * 100)))
    sidecar.stub.Check.future(check_of()).cancel()
    sidecar.get("/metrics")
    sidecar.get("/nowhere")
    until(lambda: sidecar.metric("authz_calls_in_flight") == 0)
    assert sidecar.log == before


def test_text_is_for_people() -> None:
    """As text each record is a line of time, level, message and fields, and no value can act on a terminal."""
    with running_sidecar("--log-format", "text") as sidecar:
        (serving,) = sidecar.log.splitlines()
        assert re.match(rf"{TIME} INFO serving {sidecar.policy_version} rules=\d+ ", serving)
    # No control character, but it turns the direction of text.
    record = logging.makeLogRecord({"msg": "a\u202eb", "levelname": "INFO", "company": "ac\u202eme"})
    assert TextFormatter().format(record).endswith(r" INFO a\u202eb company=ac\u202eme")


def initial_metadata(call: Any) -> dict[str, Any]:
    """What the server sends first."""
    return dict(call.initial_metadata())


def test_a_call_keeps_its_name(sidecar: Sidecar) -> None:
    """The name that a caller gives a call comes back with answers and errors, of single checks and of streams."""
    named = ((REQUEST_ID, "a b-1"),)
    stub: Any = sidecar.stub
    assert initial_metadata(stub.Check.with_call(check_of(), metadata=named)[1]) == {REQUEST_ID: "a b-1"}
    batch = check_pb2.BatchCheckRequest(checks=[check_of()])
    assert initial_metadata(stub.BatchCheck.with_call(batch, metadata=named)[1]) == {REQUEST_ID: "a b-1"}
    stream = stub.CheckStream(iter([check_pb2.CheckStreamRequest()]), metadata=named)
    assert initial_metadata(stream) == {REQUEST_ID: "a b-1"}
    assert len(list(stream)) == 1
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(check_of(action=""), metadata=named)
    assert initial_metadata(caught.value) == {REQUEST_ID: "a b-1"}
    assert initial_metadata(stub.Check.with_call(check_of())[1]) == {}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("a" * MAX_REQUEST_ID, True, id="as-long-as-may-be"),
        pytest.param("a" * (MAX_REQUEST_ID + 1), False, id="over-long"),
    ],
)
def test_a_name_has_a_limit(sidecar: Sidecar, name: str, kept: bool) -> None:
    """A name of a call of up to 128 characters comes back; a longer one is ignored, and the call is answered."""
    answer, call = sidecar.stub.Check.with_call(check_of(), metadata=((REQUEST_ID, name),))
    assert answer.allowed
    assert initial_metadata(call) == ({REQUEST_ID: name} if kept else {})


@pytest.mark.parametrize("name", [b"a\x01b", b"a\tb", b"a\x7fb", "aé".encode(), b""], ids=repr)
def test_an_unprintable_name_is_ignored(sidecar: Sidecar, name: bytes) -> None:
    """A name of a call that could not be sent back is ignored, and the call is answered."""
    before = sidecar.log
    connection = Connection(sidecar.grpc)
    with connection.socket:
        connection.call("Check", x_request_id=name)
        connection.send(message(check_of().SerializeToString()), last=True)
        head, data, trailer = connection.answer()
    assert check_pb2.CheckResponse.FromString(data[5:]).allowed
    assert REQUEST_ID.encode() not in head
    assert b"\x0bgrpc-status\x010" in trailer
    assert sidecar.log == before


def test_binary_metadata_survives(sidecar: Sidecar) -> None:
    """Metadata of any bytes beside the name of the call disturbs neither."""
    metadata = (("x-trace-bin", bytes(range(256))), (REQUEST_ID, "one"), ("traceparent", "00-1-1-00"))
    answer, call = sidecar.stub.Check.with_call(check_of(), metadata=metadata)
    assert answer.allowed
    assert initial_metadata(call) == {REQUEST_ID: "one"}


def broken_clock() -> float:
    """A clock that cannot be read."""
    raise OSError("the clock of `db.internal` is gone")


@pytest.mark.parametrize("name", ["", "call-7"], ids=["nameless", "named"])
def test_a_fault_has_one_name_for_both_sides(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """The details of INTERNAL name the line of the log that has the fault: by the caller's name, or by one of ours."""
    requests: list[tuple[str, Callable[[Any], Any]]] = [
        ("Check", lambda stub: stub.Check),
        ("BatchCheck", lambda stub: stub.BatchCheck),
        ("Explain", lambda stub: stub.Explain),
    ]
    messages = {
        "Check": check_of(),
        "BatchCheck": check_pb2.BatchCheckRequest(checks=[check_of()]),
        "Explain": explain_pb2.ExplainRequest(check=check_of()),
    }

    async def ask() -> list[Failure]:
        table = MethodTable(Counts(), Limits().message_bytes)
        gate = Gate("calls", 10, ErrorReason.TOO_MANY_CALLS, "calls")
        table.add(SERVICE, AuthorizationService(Engine(), Limits(), clock=broken_clock), lambda _method: gate)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([table])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        failures = []
        metadata = ((REQUEST_ID, name),) if name else ()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = AuthorizationServiceStub(channel)
            for method, call in requests:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(stub)(messages[method], metadata=metadata)
                failures.append(Failure(caught.value))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in AuthorizationServiceStub(channel).CheckStream(
                    iter([check_pb2.CheckStreamRequest(check=check_of())]), metadata=metadata
                ):
                    pass
            failures.append(Failure(caught.value))
        await server.stop(0)
        return failures

    with caplog.at_level(logging.ERROR):
        failures = asyncio.run(ask())
    logged = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [failure.code for failure in failures] == [grpc.StatusCode.INTERNAL] * 4
    told = [failure.info.metadata["request_id"] for failure in failures]
    assert [line["request_id"] for line in logged] == told
    assert told == [name] * 4 if name else len(set(told)) == 4
    assert [line["method"] for line in logged] == [
        f"{SERVICE.full_name}/{method}" for method in ("Check", "BatchCheck", "Explain", "CheckStream")
    ]
    assert all("the clock of `db.internal` is gone" in line["error"] for line in logged)


def record_of(text: str, *arguments: object, fault: Exception | None = None, **fields: object) -> logging.LogRecord:
    """A record of the log at 2026-01-02 03:04:05.678 UTC."""
    record = logging.LogRecord("authz_sidecar.test", logging.WARNING, __file__, 1, text, arguments, None)
    record.created = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, dt.UTC).timestamp()
    vars(record).update(fields)
    if fault is not None:
        try:
            raise fault
        except type(fault):
            record.exc_info = sys.exc_info()
    return record


def test_a_record_as_json() -> None:
    """A record becomes one line of JSON with its fields, whatever characters and values it has."""
    line = JsonFormatter().format(record_of("of %s\n%d", "é\u2028", 2, rules=7, findings=["a\nb"], place=JsonFormatter))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "logger": "authz_sidecar.test",
        "message": "of é\u2028\n2",
        "rules": 7,
        "findings": ["a\nb"],
        "place": str(JsonFormatter),
    }


def test_a_fault_as_json() -> None:
    """A fault has its traceback in `error`, in the same line."""
    line = JsonFormatter().format(record_of("failed", fault=ValueError("gone\n\x1b[2J")))
    assert line.isprintable()
    error = json.loads(line)["error"]
    assert error.startswith("Traceback (most recent call last):\n")
    assert error.endswith("ValueError: gone\n\x1b[2J")


def test_a_record_as_text() -> None:
    """A record becomes one line of text, in which control characters of message and fields are escaped."""
    text = TextFormatter().format(record_of("of %s", "a\nb\x1b[2J", rules=7, name_of="\u202eé\x9b"))
    assert text == r"2026-01-02T03:04:05.678Z WARNING of a\nb\x1b[2J rules=7 name_of=\u202eé\x9b"


def test_a_fault_as_text() -> None:
    """The lines of a fault's traceback follow, and cannot act on a terminal either."""
    text = TextFormatter().format(record_of("failed", fault=ValueError("gone \x1b[2J\r")))
    first, second, *_, last = text.split("\n")
    assert first == "2026-01-02T03:04:05.678Z WARNING failed"
    assert second == "Traceback (most recent call last):"
    assert last == r"ValueError: gone \x1b[2J\r"
    assert "\x1b" not in text
