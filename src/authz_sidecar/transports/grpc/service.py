"""`authz.v1.AuthorizationService`: each method reads its message, asks the engine and writes the answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2, filter_pb2
from authz_sidecar.engine import Engine, Limits, ServedPolicy
from authz_sidecar.transports.grpc.conversion import answer_message, explanation_message, read_check
from authz_sidecar.transports.grpc.errors import (
    CallError,
    ErrorReason,
    InvalidCheckError,
    not_supported,
)
from authz_sidecar.values import Decision, Reason, Request, Violation

# Items of a batch that are decided before other calls get their turn.
BATCH_TURN = 64


class AuthorizationService:
    """The service on one engine. `clock` gives seconds since 1970-01-01 UTC."""

    def __init__(self, engine: Engine, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock

    async def Check(self, message: check_pb2.CheckRequest) -> check_pb2.CheckResponse:
        """Decide one request."""
        return self._check(message, self._engine.snapshot_state, self._clock())

    async def BatchCheck(self, message: check_pb2.BatchCheckRequest) -> check_pb2.BatchCheckResponse:
        """Decide many requests on one snapshot, at one time; an invalid one is denied in its place."""
        checks = message.checks
        if len(checks) > self._limits.batch:
            description = f"checks holds {len(checks)} items; at most {self._limits.batch} are taken"
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                description,
                ErrorReason.BATCH_TOO_LARGE,
                [Violation("checks", description)],
                {"limit": str(self._limits.batch)},
            )
        policy = self._engine.snapshot_state
        now = self._clock()
        results: list[check_pb2.CheckResponse] = []
        for number, check in enumerate(checks, 1):
            try:
                results.append(self._check(check, policy, now))
            except InvalidCheckError as error:
                refusal = self._engine.refuse(error.message, policy)
                results.append(answer_message(refusal, error.violations))
            if number % BATCH_TURN == 0:
                await asyncio.sleep(0)
        return check_pb2.BatchCheckResponse(results=results)

    async def Explain(self, message: explain_pb2.ExplainRequest) -> explain_pb2.ExplainResponse:
        """Decide one request and say why."""
        policy = self._engine.snapshot_state
        try:
            request = read_check(message.check, self._clock())
            answer, explanation = self._engine.explain(request, policy)
            _require_valid(request, answer.decision, policy)
        except InvalidCheckError as error:
            raise error.inside("check") from None
        return explanation_message(answer, explanation)

    def CheckStream(
        self, messages: AsyncIterator[check_pb2.CheckStreamRequest]
    ) -> AsyncIterator[check_pb2.CheckStreamResponse]:
        """Not served yet."""
        raise not_supported(ErrorReason.METHOD_NOT_SUPPORTED, "CheckStream is not supported yet")

    async def FilterObjects(self, message: filter_pb2.FilterObjectsRequest) -> filter_pb2.FilterObjectsResponse:
        """Not served yet."""
        raise not_supported(ErrorReason.METHOD_NOT_SUPPORTED, "FilterObjects is not supported yet")

    def _check(self, message: check_pb2.CheckRequest, policy: ServedPolicy, now: float) -> check_pb2.CheckResponse:
        request = read_check(message, now)
        answer = self._engine.check(request, policy)
        _require_valid(request, answer.decision, policy)
        return answer_message(answer)


def _require_valid(request: Request, decision: Decision, policy: ServedPolicy) -> None:
    """Raise InvalidCheckError if the policy cannot read the request: it lacks a token or names no section."""
    if decision.reason is not Reason.INVALID_REQUEST or policy.decider is None:
        return
    raise InvalidCheckError(list(policy.decider.violations(request)))
