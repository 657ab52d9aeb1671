"""A gRPC server in the test's own process, for limits that have no option and for faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from authz_sidecar.engine import Engine
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.grpc.server import GrpcServer
from authz_sidecar.values.limits import Limits

FREE = Address("127.0.0.1", 0)


class Served:
    """A server that listens, its engine (without a policy), and a connection to it."""

    def __init__(self, server: GrpcServer, engine: Engine, address: Address, channel: Any) -> None:
        self.server = server
        self.engine = engine
        self.address = str(address)
        # grpc's types do not have what stubs of generated code take.
        self.channel: Any = channel

    def calls(self, method: str) -> dict[str, int]:
        """The ended calls of one method of AuthorizationService by status code."""
        return self.engine.counts.method(f"authz.v1.AuthorizationService/{method}").codes


@asynccontextmanager
async def served(**limits: int) -> AsyncIterator[Served]:
    """Serve with these limits; at the end the server is stopped."""
    engine = Engine()
    server = GrpcServer(engine, Limits(**limits), FREE)
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(str(address)) as channel:
            yield Served(server, engine, address, channel)
    finally:
        await server.stop(0)
