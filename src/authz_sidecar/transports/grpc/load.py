"""Load on a running sidecar: many calls at once from one process, and what came of them."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.certificates import ClientTls
from authz_sidecar.transports.grpc.client import (
    CallFailedError,
    channel_options,
    check_message,
    read_failure,
    reason_label,
)
from authz_sidecar.transports.grpc.tls import client_credentials
from authz_sidecar.values import Request

# After a failed call its place stays empty for so long: a server that refuses calls is not to be drowned in them.
PAUSE_SECONDS = 0.1

Call = Callable[[], Awaitable[Sequence[check_pb2.CheckResponse]]]


class LoadPlan(msgspec.Struct, frozen=True):
    """What to send: for `duration` seconds `concurrency` calls at once on each of `connections`, each call one check,
    or a batch of `batch` if that is more than one. No call takes longer than `timeout` seconds. Without `tls` they go
    in clear text."""

    server: Address
    duration: float
    connections: int
    concurrency: int
    batch: int
    timeout: float
    tls: ClientTls | None = None


class Load(msgspec.Struct):
    """What came of it. `latencies` are seconds of each answered call; `reasons` and `policy_versions` count decisions
    and `errors` failed calls, by name; `processor` is the share of one processor that sending took."""

    seconds: float = 0.0
    latencies: "array[float]" = msgspec.field(default_factory=lambda: array("d"))
    decisions: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    errors: Counter[str] = msgspec.field(default_factory=Counter)
    policy_versions: Counter[str] = msgspec.field(default_factory=Counter)
    processor: float = 0.0


async def run_load(
    plan: LoadPlan, request: Request, credential: str, stop: asyncio.Event, on_start: Callable[[], None]
) -> Load:
    """Send the plan's load until its time is over or `stop` is set; calls that are under way then are awaited. A
    request without a subject is asked for whom the `credential` stands.

    The first call on each connection is not measured. If one of these is not answered nothing is sent: it raises
    CallFailedError. Otherwise `on_start` is called, and the measurement begins. Raises InexactNumberError as well.
    """
    message = check_message(request, credential=credential)
    load = Load()
    async with AsyncExitStack() as channels:
        calls = [
            _call(await channels.enter_async_context(_channel(plan)), message, plan) for _ in range(plan.connections)
        ]
        try:
            await asyncio.gather(*(call() for call in calls))
        except grpc.aio.AioRpcError as error:
            raise read_failure(error) from None
        on_start()
        started, busy = time.perf_counter(), time.process_time()
        end = started + plan.duration
        await asyncio.gather(*(_keep_calling(call, load, end, stop) for call in calls * plan.concurrency))
        load.seconds = time.perf_counter() - started
        load.processor = (time.process_time() - busy) / load.seconds
    return load


def _channel(plan: LoadPlan) -> grpc.aio.Channel:
    options = channel_options(plan.tls, apart=True)
    if plan.tls is None:
        return grpc.aio.insecure_channel(str(plan.server), options=options)
    return grpc.aio.secure_channel(str(plan.server), client_credentials(plan.tls), options=options)


def _call(channel: grpc.aio.Channel, message: check_pb2.CheckRequest, plan: LoadPlan) -> Call:
    stub = AuthorizationServiceStub(channel)
    batch = check_pb2.BatchCheckRequest(checks=[message] * plan.batch)

    async def check() -> Sequence[check_pb2.CheckResponse]:
        return (_parsed(await stub.Check(message, timeout=plan.timeout)),)

    async def check_batch() -> Sequence[check_pb2.CheckResponse]:
        answer: check_pb2.BatchCheckResponse = _parsed(await stub.BatchCheck(batch, timeout=plan.timeout))
        return answer.results

    return check if plan.batch == 1 else check_batch


def _parsed(answer: Message | None) -> Any:
    """The same; raises CallFailedError for None, which stands for what does not parse."""
    if answer is None:
        raise CallFailedError(grpc.StatusCode.INTERNAL, "the answer does not parse")
    return answer


async def _keep_calling(call: Call, load: Load, end: float, stop: asyncio.Event) -> None:
    clock = time.perf_counter
    while (started := clock()) < end and not stop.is_set():
        try:
            answers = await call()
        except (grpc.aio.AioRpcError, CallFailedError) as error:
            load.errors[(error.code if isinstance(error, CallFailedError) else error.code()).name] += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)
            continue
        load.latencies.append(clock() - started)
        load.decisions += len(answers)
        for answer in answers:
            load.reasons[reason_label(answer.reason)] += 1
            load.policy_versions[answer.policy_version] += 1
