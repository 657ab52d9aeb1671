"""CheckStream: answers in order, each as Check would give it, until either side ends the stream."""

import asyncio
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio
import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.bare_http2 import DATA, WINDOW_BYTES, Connection, message
from tests.server.in_process import served
from tests.server.sidecar import SERVICE, Failure, HeldCall, Sidecar, check_of, failure_of, running_sidecar, until

STREAM = f"/{SERVICE.full_name}/CheckStream"
# What gRPC's core takes from a handler beyond what the client lets it send.
WRITE_BUFFER_BYTES = 64 * 1024
SLOW_CHECKS = 3_000


def asked(*checks: check_pb2.CheckRequest) -> Iterator[check_pb2.CheckStreamRequest]:
    """The messages of a stream."""
    return (check_pb2.CheckStreamRequest(check=check) for check in checks)


class OpenStream:
    """A stream that waits for its next check."""

    def __init__(self, sidecar: Sidecar, **options: Any) -> None:
        self._messages: SimpleQueue[check_pb2.CheckStreamRequest | None] = SimpleQueue()
        self.call: Any = sidecar.stub.CheckStream(iter(self._messages.get, None), **options)

    def ask(self, check: check_pb2.CheckRequest) -> Any:
        """Ask, and wait for the answer."""
        self._messages.put(check_pb2.CheckStreamRequest(check=check))
        return next(self.call).result

    def end(self) -> None:
        """Say that there is no more to ask."""
        self._messages.put(None)


def is_quiet(sidecar: Sidecar) -> bool:
    """Whether no call is in flight."""
    return sidecar.metric("authz_calls_in_flight") == 0


def test_answers_come_in_order(sidecar: Sidecar) -> None:
    """Checks that are sent without waiting are answered one for one, in their order."""
    ids = [str(number) if number % 3 else "secret" for number in range(500)]
    stream = sidecar.stub.CheckStream(asked(*(check_of(id=name) for name in ids)))
    answers = [answer.result for answer in stream]
    assert [answer.allowed for answer in answers] == [name != "secret" for name in ids]
    assert {answer.policy_version for answer in answers} == {sidecar.policy_version}
    assert len({answer.decision_id for answer in answers}) == len(ids)


def test_a_stream_is_a_conversation(sidecar: Sidecar) -> None:
    """Each check is answered before the next is sent; when the client has no more to ask, the stream ends with OK."""
    stream = OpenStream(sidecar)
    assert stream.ask(check_of()).allowed
    assert stream.ask(check_of(id="secret")).reason == check_pb2.REASON_DENIED_BY_RULE
    stream.end()
    assert list(stream.call) == []
    assert stream.call.code() is grpc.StatusCode.OK


def test_an_empty_stream_is_answered(sidecar: Sidecar) -> None:
    """A stream without checks ends with OK and no answer."""
    stream: Any = sidecar.stub.CheckStream(asked())
    assert list(stream) == []
    assert stream.code() is grpc.StatusCode.OK


def test_an_invalid_check_is_denied_in_its_place(sidecar: Sidecar) -> None:
    """An invalid check is denied with what is wrong with it, and the stream goes on."""
    checks = [check_of(), check_of(subject="", action=""), check_of(section="2"), check_of(id="secret")]
    answers = [answer.result for answer in sidecar.stub.CheckStream(asked(*checks))]
    assert [(answer.allowed, check_pb2.Reason.Name(answer.reason)) for answer in answers] == [
        (True, "REASON_ALLOWED_BY_RULE"),
        (False, "REASON_INVALID_REQUEST"),
        (False, "REASON_INVALID_REQUEST"),
        (False, "REASON_DENIED_BY_RULE"),
    ]
    assert [list(answer.violations) for answer in answers] == [
        [],
        ["neither subject nor credential is set", "action is empty"],
        ["context.level is not set; the policy's model reads `r.level`"],
        [],
    ]
    assert {answer.policy_version for answer in answers} == {sidecar.policy_version}


def test_a_message_without_a_check_is_an_invalid_check(sidecar: Sidecar) -> None:
    """A message that holds no check is denied like an empty one."""
    (answer,) = sidecar.stub.CheckStream(iter([check_pb2.CheckStreamRequest()]))
    assert (answer.result.allowed, answer.result.reason) == (False, check_pb2.REASON_INVALID_REQUEST)


def test_a_credential_ends_the_stream(sidecar: Sidecar) -> None:
    """A check that cannot be honoured yet ends the stream with UNIMPLEMENTED, after the answers before it."""
    stream = OpenStream(sidecar)
    assert stream.ask(check_of()).allowed
    failure = failure_of(lambda: stream.ask(check_of(subject="", credential="key")))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "CREDENTIAL_NOT_SUPPORTED")
    stream.end()


def test_bytes_that_are_no_message_end_the_stream(sidecar: Sidecar) -> None:
    """Bytes that do not parse end the stream with INVALID_ARGUMENT, after the answers before them."""
    first = next(asked(check_of())).SerializeToString()
    raw: Any = sidecar.channel.stream_stream(STREAM)
    stream = raw(iter([first, b"\xff\xff\xff"]))
    assert check_pb2.CheckStreamResponse.FromString(next(stream)).result.allowed
    failure = failure_of(lambda: next(stream))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_stream_that_is_given_up_ends(sidecar: Sidecar, end: str) -> None:
    """An idle stream whose deadline passes or that is cancelled ends, and its place is free."""
    until(lambda: is_quiet(sidecar))
    stream = OpenStream(sidecar, timeout=0.5 if end == "deadline" else None)
    assert stream.ask(check_of()).allowed
    if end == "cancel":
        assert sidecar.metric("authz_calls_in_flight") == 1
        stream.call.cancel()
    code = {"deadline": grpc.StatusCode.DEADLINE_EXCEEDED, "cancel": grpc.StatusCode.CANCELLED}[end]
    assert failure_of(lambda: next(stream.call)).code is code
    until(lambda: is_quiet(sidecar))
    stream.end()


def assert_drained(failure: Failure) -> None:
    """The stream may be opened anew, elsewhere or a little later."""
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    assert failure.retry_after == 1.0
    assert (failure.status.code, failure.status.message) == (failure.code.value[0], failure.message)


def test_a_drain_ends_streams_at_once() -> None:
    """SIGTERM ends a stream that waits and one that asks on and on with UNAVAILABLE; the server exits 0 at once."""
    with running_sidecar("--grace", "3600") as sidecar:
        idle = OpenStream(sidecar)
        assert idle.ask(check_of()).allowed
        endless = sidecar.stub.CheckStream(iter(lambda: check_pb2.CheckStreamRequest(check=check_of()), None))
        assert next(iter(endless)).result.allowed
        sidecar.process.terminate()
        assert_drained(failure_of(lambda: next(idle.call)))
        assert_drained(failure_of(lambda: list(endless)))
        assert sidecar.wait() == (0, "")
        assert "Traceback" not in sidecar.log
        idle.end()


def test_an_accepted_explanation_finishes() -> None:
    """An Explain that was accepted before SIGTERM is answered after it."""
    with running_sidecar("--grace", "60") as sidecar:
        stream = OpenStream(sidecar)
        assert stream.ask(check_of()).allowed
        held = HeldCall(sidecar, explain_pb2.ExplainRequest(check=check_of()), "Explain")
        sidecar.process.terminate()
        assert_drained(failure_of(lambda: next(stream.call)))
        held.release()
        assert held.future.result(timeout=10).result.allowed
        assert sidecar.wait() == (0, "")
        stream.end()


def test_a_stream_has_a_limit_of_checks() -> None:
    """A stream is answered up to the limit; one check more ends it with RESOURCE_EXHAUSTED and the limit."""

    async def ask(count: int) -> tuple[int, Failure | None]:
        async with served(stream_checks=3) as here:
            stub: Any = AuthorizationServiceStub(here.channel)
            answered = 0
            try:
                async for _ in stub.CheckStream(asked(*[check_of()] * count)):
                    answered += 1
            except grpc.aio.AioRpcError as error:
                return answered, Failure(error)
            return answered, None

    assert asyncio.run(ask(3)) == (3, None)
    answered, failure = asyncio.run(ask(4))
    assert answered == 3
    assert failure is not None
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAM_TOO_LONG")
    assert (dict(failure.info.metadata), failure.retry_after) == ({"limit": "3"}, 0.0)


def test_a_client_that_does_not_read_is_not_answered(sidecar: Sidecar) -> None:
    """Answers wait until the client takes them: no more are decided than fit into its window and a small buffer."""

    def decided() -> float:
        return sidecar.metric("authz_decisions_total", reason="invalid_request")

    before = decided()
    connection = Connection(sidecar.grpc)
    with connection.socket:
        connection.call("CheckStream")
        # A check of five bytes has an answer of more than a hundred.
        connection.send(message(b"") * SLOW_CHECKS, last=True)
        received = 0
        while received < WINDOW_BYTES:
            kind, _, payload = connection.read()
            received += len(payload) if kind == DATA else 0
        # The window is closed. What the server did not hold back it would decide now.
        settled = -1.0
        while (now := decided()) != settled:
            settled = now
            assert connection.silent_for(0.2)
        assert 0 < settled - before < (WINDOW_BYTES + WRITE_BUFFER_BYTES) / 100 < SLOW_CHECKS / 2

        connection.grant(1 << 24)
        received += len(connection.answer()[1])
    until(lambda: decided() == before + SLOW_CHECKS)
    assert received > SLOW_CHECKS * 100
