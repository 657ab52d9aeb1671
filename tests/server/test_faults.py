"""What a server answers when it has no policy, or when something in it breaks."""

import asyncio
import logging
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, check_pb2, explain_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.engine import Counts, Engine
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.health import HealthService
from authz_sidecar.transports.grpc.methods import MethodTable
from authz_sidecar.transports.grpc.server import GrpcServer
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.values.limits import Limits
from tests.server.sidecar import Failure, check_of

SERVICE = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
FREE = Address("127.0.0.1", 0)


def methods_of(service: object) -> MethodTable:
    """The methods of AuthorizationService, answered by `service`."""
    gate = Gate("calls", 10, ErrorReason.TOO_MANY_CALLS, "calls")
    table = MethodTable(Counts(), Limits().message_bytes)
    table.add(SERVICE, service, lambda _method: gate)
    return table


def broken_clock() -> float:
    """A clock that cannot be read."""
    raise OSError("the clock of `db.internal` is gone")


def test_without_a_policy_everything_is_denied() -> None:
    """Before the first policy Check, BatchCheck and Explain deny with NO_POLICY, and health is NOT_SERVING."""

    async def ask() -> None:
        server = GrpcServer(Engine(), Limits(), FREE)
        address = await server.start()
        async with grpc.aio.insecure_channel(str(address)) as channel:
            stub = AuthorizationServiceStub(channel)
            answers = [
                await stub.Check(check_of()),
                *(await stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of(), check_of()]))).results,
                (await stub.Explain(explain_pb2.ExplainRequest(check=check_of()))).result,
            ]
            assert [(answer.allowed, answer.reason, answer.policy_version) for answer in answers] == [
                (False, check_pb2.REASON_NO_POLICY, "")
            ] * 4
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await server.stop(0)

    asyncio.run(ask())


def test_watch_tells_of_the_first_policy() -> None:
    """Watch says NOT_SERVING before the first policy and SERVING after it, and once only."""

    async def watch() -> None:
        server = GrpcServer(Engine(), Limits(), FREE)
        address = await server.start()
        async with grpc.aio.insecure_channel(str(address)) as channel:
            stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            messages = aiter(stream)
            seen = [(await anext(messages)).status]
            server.health.set_serving(True)
            seen.append((await anext(messages)).status)
            server.health.set_serving(True)
            stopping = asyncio.create_task(server.stop(10))
            seen.extend([message.status async for message in messages])
            await stopping
            server.health.set_serving(True)
        states = health_pb2.HealthCheckResponse
        assert seen == [states.NOT_SERVING, states.SERVING, states.NOT_SERVING]

    asyncio.run(watch())


def test_a_drain_while_a_message_goes_out_is_told() -> None:
    """A drain that comes while Watch sends its first message is told in the next one, before the stream ends."""

    async def watch() -> list[int]:
        health = HealthService(())
        health.set_serving(True)
        stream = health.Watch(health_pb2.HealthCheckRequest())
        first = await anext(stream)
        health.drain()
        return [first.status, *[message.status async for message in stream]]

    states = health_pb2.HealthCheckResponse
    assert asyncio.run(watch()) == [states.SERVING, states.NOT_SERVING]


def test_a_fault_is_internal_and_never_an_allow(caplog: pytest.LogCaptureFixture) -> None:
    """A fault ends the call with INTERNAL and fixed text; its detail is in the log and nowhere else."""

    async def ask() -> list[Failure]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([methods_of(AuthorizationService(Engine(), Limits(), clock=broken_clock))])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        failures = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = AuthorizationServiceStub(channel)
            for call in (
                stub.Check(check_of()),
                stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of()])),
                stub.Explain(explain_pb2.ExplainRequest(check=check_of())),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                failures.append(Failure(caught.value))
        await server.stop(0)
        return failures

    with caplog.at_level(logging.ERROR):
        failures = asyncio.run(ask())
    assert [(failure.code, failure.message, failure.info.reason) for failure in failures] == [
        (grpc.StatusCode.INTERNAL, "internal error", "INTERNAL_ERROR")
    ] * 3
    assert not any("db.internal" in str(failure.status) for failure in failures)
    assert caplog.text.count("db.internal") >= len(failures)


def test_every_method_of_the_proto_is_served() -> None:
    """A service that lacks a method of its proto cannot be served."""
    with pytest.raises(AttributeError, match="Check"):
        methods_of(object())


def test_the_generated_code_claims_no_name_of_its_own() -> None:
    """Importing the generated code adds no top-level package called `authz`."""
    generated = Path(str(authorization_service_pb2.__file__))
    assert generated.parts[-4:-1] == ("_proto", "authz", "v1")
    assert authorization_service_pb2.__name__ == "authz_sidecar._proto.authz.v1.authorization_service_pb2"
    assert "\nfrom authz." not in generated.read_text()
