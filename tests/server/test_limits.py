"""What a sidecar takes at most: one too many is refused at once, nothing else suffers, and room is made again."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.bare_http2 import Connection, message
from tests.server.in_process import served
from tests.server.sidecar import SERVICE, Failure, HeldCall, Sidecar, check_of, failure_of, running_sidecar, until

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
SERVING = health_pb2.HealthCheckResponse.SERVING
CALLS, STREAMS, BATCH, MESSAGE_BYTES, CONNECTIONS = 3, 2, 50, 1024, 3
WATCHES = 1_000
LONG_BATCH = 100_000
BOMB_BYTES = 100 * 1024 * 1024
METADATA_BYTES = 16 * 1024


@pytest.fixture(scope="module")
def narrow() -> Iterator[Sidecar]:
    """A sidecar that takes little."""
    options = {"calls": CALLS, "streams": STREAMS, "batch": BATCH, "message-bytes": MESSAGE_BYTES}
    with running_sidecar(*(word for name, n in options.items() for word in (f"--max-{name}", str(n)))) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def wide() -> Iterator[Sidecar]:
    """A sidecar that takes batches which it decides for seconds."""
    with running_sidecar("--max-batch", str(LONG_BATCH), "--max-message-bytes", str(64 << 20)) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def long_batch() -> bytes:
    """A BatchCheckRequest of `LONG_BATCH` checks."""
    return check_pb2.BatchCheckRequest(checks=[check_of()]).SerializeToString() * LONG_BATCH


def empty_checks(count: int) -> check_pb2.BatchCheckRequest:
    """A batch that is small, and whose answer is large: each item is told what is wrong with it."""
    return check_pb2.BatchCheckRequest(checks=[check_pb2.CheckRequest()] * count)


def health_of(sidecar: Sidecar) -> Any:
    """What health says."""
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    return stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status


def is_quiet(sidecar: Sidecar) -> bool:
    """Whether no call is in flight."""
    return sidecar.metric("authz_calls_in_flight") == 0


def open_stream(sidecar: Sidecar) -> tuple[Any, "SimpleQueue[check_pb2.CheckStreamRequest | None]"]:
    """A CheckStream that has been answered once and waits, and where to put its messages (None: the end)."""
    messages: SimpleQueue[check_pb2.CheckStreamRequest | None] = SimpleQueue()
    stream = sidecar.stub.CheckStream(iter(messages.get, None))
    messages.put(check_pb2.CheckStreamRequest(check=check_of()))
    assert next(stream).result.allowed
    return stream, messages


def assert_refusal(failure: Failure, reason: str, limit: int, retry_after: float | None = 0.1) -> None:
    """The error says which limit, when to try again, and the same in all its parts."""
    assert failure.code is EXHAUSTED
    assert (failure.info.reason, failure.info.domain) == (reason, "authz-sidecar")
    assert dict(failure.info.metadata) == {"limit": str(limit)}
    assert failure.retry_after == retry_after
    assert (failure.status.code, failure.status.message) == (EXHAUSTED.value[0], failure.message)
    assert str(limit) in failure.message


def test_a_call_over_the_limit_is_refused_at_once(narrow: Sidecar) -> None:
    """One call too many is refused before its message is sent, health and HTTP answer, and room is made again."""
    until(lambda: is_quiet(narrow))
    refused = narrow.metric("authz_calls_refused_total", limit="calls")
    held = [HeldCall(narrow) for _ in range(CALLS)]
    assert narrow.metric("authz_calls_in_flight") == CALLS
    one_more = HeldCall(narrow)
    failure = Failure(one_more.future.exception(timeout=10))
    one_more.release()
    assert_refusal(failure, "TOO_MANY_CALLS", CALLS)
    assert failure_of(lambda: narrow.stub.Check(check_of())).info.reason == "TOO_MANY_CALLS"
    assert narrow.metric("authz_calls_refused_total", limit="calls") == refused + 2

    assert health_of(narrow) == SERVING
    assert narrow.ready()[0] == 200
    held[0].release()
    assert held[0].future.result(timeout=10).allowed
    assert narrow.stub.Check(check_of(), timeout=10).allowed
    for call in held[1:]:
        call.release()
        assert call.future.result(timeout=10).allowed


@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_who_leaves_gives_the_place_back(narrow: Sidecar, leave: str) -> None:
    """A client that leaves without having sent its message, by a cancellation or altogether, makes room for others."""
    until(lambda: is_quiet(narrow))
    channel = narrow.open_channel()
    held = [HeldCall(narrow, channel=channel) for _ in range(CALLS)]
    assert failure_of(lambda: narrow.stub.Check(check_of())).info.reason == "TOO_MANY_CALLS"
    if leave == "cancel":
        for call in held:
            call.future.cancel()
    else:
        channel.close()
    until(lambda: is_quiet(narrow))
    assert narrow.stub.Check(check_of(), timeout=10).allowed
    channel.close()
    for call in held:
        call.release()


def test_streams_have_a_limit_of_their_own(narrow: Sidecar) -> None:
    """One stream too many is refused while checks are answered, and is taken once another has ended."""
    until(lambda: is_quiet(narrow))
    streams = [open_stream(narrow) for _ in range(STREAMS)]
    assert_refusal(failure_of(lambda: open_stream(narrow)), "TOO_MANY_STREAMS", STREAMS)
    assert narrow.stub.Check(check_of(), timeout=10).allowed
    streams[0][1].put(None)
    assert list(streams[0][0]) == []
    streams[0] = open_stream(narrow)
    for stream, messages in streams:
        messages.put(None)
        assert list(stream) == []


def test_streams_are_calls(narrow: Sidecar) -> None:
    """Streams count among the calls in flight."""
    until(lambda: is_quiet(narrow))
    streams = [open_stream(narrow) for _ in range(STREAMS)]
    held = [HeldCall(narrow) for _ in range(CALLS - STREAMS)]
    assert_refusal(failure_of(lambda: narrow.stub.Check(check_of())), "TOO_MANY_CALLS", CALLS)
    for call in held:
        call.release()
        assert call.future.result(timeout=10).allowed
    for stream, messages in streams:
        messages.put(None)
        assert list(stream) == []


def test_explanations_have_a_limit_of_their_own() -> None:
    """One explanation too many is refused while checks are answered, and is taken once another has ended."""

    async def explain() -> tuple[Failure, int, dict[str, int]]:
        async with served(explanations=1) as here:
            stub: Any = AuthorizationServiceStub(here.channel)
            question = explain_pb2.ExplainRequest(check=check_of())
            method = here.channel.stream_unary(
                f"/{SERVICE.full_name}/Explain",
                request_serializer=explain_pb2.ExplainRequest.SerializeToString,
                response_deserializer=explain_pb2.ExplainResponse.FromString,
            )
            held = method()
            await held.wait_for_connection()
            # Calls of one connection arrive in order: with this one answered, the held one has arrived.
            await health_pb2_grpc.HealthStub(here.channel).Check(health_pb2.HealthCheckRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Explain(question)
            await stub.Check(check_of())
            await held.write(question)
            await held.done_writing()
            await held
            explained = await stub.Explain(question)
            return Failure(caught.value), explained.result.reason, here.engine.counts.refused

    failure, reason, refused = asyncio.run(explain())
    assert_refusal(failure, "TOO_MANY_CALLS", 1)
    assert reason == check_pb2.REASON_NO_POLICY
    assert {limit: number for limit, number in refused.items() if number} == {"explanations": 1}


def test_a_batch_has_a_limit(narrow: Sidecar) -> None:
    """A batch of one check too many is refused with the field, and may be sent again at once in portions."""
    failure = failure_of(lambda: narrow.stub.BatchCheck(empty_checks(BATCH + 1)))
    assert_refusal(failure, "BATCH_TOO_LARGE", BATCH, retry_after=0.0)
    assert failure.violations == {"checks": f"checks holds more than {BATCH} checks; send several batches"}


def test_a_message_has_a_limit(narrow: Sidecar) -> None:
    """A message over `--max-message-bytes` is refused, and the connection is usable after it."""
    checks = (check_of(id="a" * size) for size in range(MESSAGE_BYTES))
    full = next(check for check in checks if check.ByteSize() == MESSAGE_BYTES)
    assert narrow.stub.Check(full).allowed
    full.object.id += "a"
    assert failure_of(lambda: narrow.stub.Check(full)).code is EXHAUSTED
    assert narrow.stub.Check(check_of()).allowed


def test_an_answer_has_a_limit(narrow: Sidecar) -> None:
    """An answer over `--max-message-bytes` is refused, counted as such, no fault, and may be asked for in portions."""
    batch = f"{SERVICE.full_name}/BatchCheck"
    counted = narrow.metric("authz_calls_total", method=batch, code="RESOURCE_EXHAUSTED")
    failure = failure_of(lambda: narrow.stub.BatchCheck(empty_checks(20)))
    assert_refusal(failure, "ANSWER_TOO_LARGE", MESSAGE_BYTES, retry_after=0.0)
    assert len(narrow.stub.BatchCheck(empty_checks(5)).results) == 5
    until(lambda: narrow.metric("authz_calls_total", method=batch, code="RESOURCE_EXHAUSTED") == counted + 1)
    assert "error" not in narrow.log


def test_an_answer_of_a_stream_has_a_limit() -> None:
    """A stream whose answer is too large ends with the error of an answer that is too large."""

    async def ask() -> Failure:
        async with served(message_bytes=64) as here:
            stub: Any = AuthorizationServiceStub(here.channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stub.CheckStream(iter([check_pb2.CheckStreamRequest()])):
                    pass
            return Failure(caught.value)

    assert_refusal(asyncio.run(ask()), "ANSWER_TOO_LARGE", 64, retry_after=0.0)


def peak_memory(sidecar: Sidecar) -> int:
    """The most bytes that the server has had in memory."""
    fields = Path(f"/proc/{sidecar.process.pid}/status").read_text(encoding="ascii").splitlines()
    kilobytes = next(line.split()[1] for line in fields if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def test_a_bomb_is_not_unpacked(sidecar: Sidecar) -> None:
    """100 MB that are 100 kB on the wire are refused without being unpacked, and the connection is usable after it."""
    before = peak_memory(sidecar)
    bomb = check_of(id="a" * BOMB_BYTES)
    assert failure_of(lambda: sidecar.stub.Check(bomb, compression=grpc.Compression.Gzip)).code is EXHAUSTED
    assert peak_memory(sidecar) - before < BOMB_BYTES / 4
    assert sidecar.stub.Check(check_of()).allowed


def test_metadata_has_a_limit(sidecar: Sidecar) -> None:
    """Metadata up to nearly 16 KiB is taken, and over it refused; the connection is usable after it."""
    assert sidecar.stub.Check(check_of(), metadata=(("x-large", "a" * (METADATA_BYTES - 1024)),)).allowed
    failure = failure_of(lambda: sidecar.stub.Check(check_of(), metadata=(("x-large", "a" * METADATA_BYTES),)))
    assert failure.code is EXHAUSTED
    assert sidecar.stub.Check(check_of()).allowed


def test_connections_have_a_limit() -> None:
    """A connection too many is closed at once, those that are open go on, and a place that is left is taken again."""
    with running_sidecar("--max-connections", str(CONNECTIONS)) as sidecar:
        channels = [sidecar.open_channel() for _ in range(CONNECTIONS)]
        for channel in channels:
            assert AuthorizationServiceStub(channel).Check(check_of()).allowed
        with sidecar.open_channel() as late:
            stub = AuthorizationServiceStub(late)
            assert failure_of(lambda: stub.Check(check_of(), timeout=10)).code is grpc.StatusCode.UNAVAILABLE
            with pytest.raises((EOFError, ConnectionError)):
                Connection(sidecar.grpc)
            for channel in channels:
                assert AuthorizationServiceStub(channel).Check(check_of()).allowed
            assert sidecar.ready()[0] == 200
            channels.pop().close()
            assert stub.Check(check_of(), timeout=30, wait_for_ready=True).allowed
        for channel in channels:
            channel.close()


def test_watches_have_a_limit_and_starve_nobody() -> None:
    """Beside 1,000 watches checks and health are answered; one more is refused; all are told when the server stops."""
    with running_sidecar() as sidecar:
        channels = [sidecar.open_channel() for _ in range(4)]
        watches = [
            health_pb2_grpc.HealthStub(channels[number % len(channels)]).Watch(health_pb2.HealthCheckRequest())
            for number in range(WATCHES)
        ]
        assert {next(watch).status for watch in watches} == {SERVING}
        assert all(sidecar.stub.Check(check_of(), timeout=1).allowed for _ in range(50))
        assert health_of(sidecar) == SERVING

        def watch_more() -> Any:
            return next(health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())).status

        def reflect() -> Any:
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            return next(reflection_pb2_grpc.ServerReflectionStub(sidecar.channel).ServerReflectionInfo(asked))

        for one_more in (watch_more, reflect):
            assert_refusal(failure_of(one_more), "TOO_MANY_WATCHES", WATCHES)
        assert sidecar.metric("authz_calls_refused_total", limit="watches") == 2
        watches.pop().cancel()
        until(lambda: not fails(watch_more))
        sidecar.process.terminate()
        states = {tuple(message.status for message in watch) for watch in watches}
        assert states == {(health_pb2.HealthCheckResponse.NOT_SERVING,)}
        assert sidecar.wait() == (0, "")


def fails(call: Callable[[], Any]) -> bool:
    """Whether a call ends with an error."""
    try:
        call()
    except grpc.RpcError:
        return True
    return False


def decided(sidecar: Sidecar) -> float:
    """How many checks of a long batch have been decided."""
    return sidecar.metric("authz_decisions_total", reason="allowed_by_rule")


def test_work_stops_at_the_deadline(wide: Sidecar, long_batch: bytes) -> None:
    """A batch that takes too long ends at its deadline, and no more of it is decided after that."""
    batch: Any = wide.channel.unary_unary(f"/{SERVICE.full_name}/BatchCheck")
    began = time.monotonic()
    failure = failure_of(lambda: batch(long_batch, timeout=0.2))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2
    until(lambda: is_quiet(wide))
    stopped_at = decided(wide)
    assert stopped_at < LONG_BATCH / 2
    assert wide.stub.Check(check_of(), timeout=10).allowed
    assert decided(wide) == stopped_at + 1


def test_work_stops_when_the_caller_gives_up(wide: Sidecar, long_batch: bytes) -> None:
    """A batch that is cancelled while it is decided is not decided to its end; others had their turn meanwhile."""
    batch: Any = wide.channel.unary_unary(f"/{SERVICE.full_name}/BatchCheck")
    before = decided(wide)
    call = batch.future(long_batch)
    until(lambda: decided(wide) > before)
    assert not call.done()
    assert wide.stub.Check(check_of(), timeout=10).allowed
    call.cancel()
    until(lambda: is_quiet(wide))
    assert 0 < decided(wide) - before < LONG_BATCH / 2


def test_a_call_whose_deadline_has_passed_is_not_started(sidecar: Sidecar) -> None:
    """A check that arrives with no time left is not decided."""
    before = decided(sidecar)
    connection = Connection(sidecar.grpc)
    with connection.socket:
        connection.call("Check", grpc_timeout=b"0n")
        connection.send(message(check_of().SerializeToString()), last=True)
        trailer = connection.answer()[2]
    assert f"\x0bgrpc-status\x01{grpc.StatusCode.DEADLINE_EXCEEDED.value[0]}".encode() in trailer
    until(lambda: is_quiet(sidecar))
    assert decided(sidecar) == before


def test_a_call_whose_deadline_passes_while_the_server_is_busy_is_not_started() -> None:
    """A check that waits for its turn until nobody waits for its answer is not decided."""

    async def ask() -> tuple[Failure, int, int]:
        async with served() as here:
            loop = asyncio.get_running_loop()
            with grpc.insecure_channel(here.address) as channel:
                stub: Any = AuthorizationServiceStub(channel)
                await loop.run_in_executor(None, stub.Check, check_of())
                # The server has no turn from here until the caller has given up.
                failure = Failure(stub.Check.future(check_of(), timeout=0.1).exception(timeout=10))
                await loop.run_in_executor(None, stub.Check, check_of())
                return failure, sum(here.engine.counts.decisions), here.server.in_flight

    failure, decisions, in_flight = asyncio.run(ask())
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (decisions, in_flight) == (2, 0)
