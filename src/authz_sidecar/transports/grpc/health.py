"""`grpc.health.v1.Health`, whose Watch streams end when the server drains.

The servicer that grpcio-health-checking brings keeps watchers until their clients leave, and a server that stops
would wait for them until its grace period ends.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2

from authz_sidecar.transports.grpc.errors import CallError, ErrorReason
from authz_sidecar.transports.grpc.methods import Call

Status = health_pb2.HealthCheckResponse.ServingStatus


class HealthService:
    """One status for the server as a whole (service "") and for each of `services`: whether a policy answers."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._draining = False
        # Replaced at each change: whoever waits on the old one is woken exactly once.
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Say whether checks are answered from a policy. After `drain` it has no effect."""
        if not self._draining:
            self._become(Status.Value("SERVING" if serving else "NOT_SERVING"))

    def drain(self) -> None:
        """Say NOT_SERVING for good and end all watches."""
        self._draining = True
        self._become(Status.Value("NOT_SERVING"))

    def _become(self, status: int) -> None:
        self._status = status
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, call: Call | None = None
    ) -> health_pb2.HealthCheckResponse:
        """The status of one service; NOT_FOUND for a service that is not served here."""
        if request.service not in self._services:
            raise CallError(
                grpc.StatusCode.NOT_FOUND,
                "no such service here; reflection lists what is served",
                ErrorReason.UNKNOWN_SERVICE,
            )
        return health_pb2.HealthCheckResponse(status=self._status)

    async def List(
        self, request: health_pb2.HealthListRequest, call: Call | None = None
    ) -> health_pb2.HealthListResponse:
        """The status of every service."""
        one = health_pb2.HealthCheckResponse(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, one))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call | None = None
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and after each change; SERVICE_UNKNOWN for a service that is not served here."""
        told = None
        while True:
            # Read together, before the message goes out: what changes meanwhile is told in the next turn.
            changed, draining = self._changed, self._draining
            known = request.service in self._services
            status = self._status if known else Status.Value("SERVICE_UNKNOWN")
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if draining:
                return
            await changed.wait()
