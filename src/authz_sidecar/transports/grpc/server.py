"""The gRPC server: its options, what it serves, how it starts and how it stops."""

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from authz_sidecar._proto.authz.v1 import authorization_service_pb2
from authz_sidecar.engine import Engine, Limits
from authz_sidecar.transports.address import Address, AddressError, SocketFile, require_free, socket_permissions
from authz_sidecar.transports.grpc.health import HealthService
from authz_sidecar.transports.grpc.methods import service_handlers
from authz_sidecar.transports.grpc.reflection import V1_SERVICE, ReflectionService
from authz_sidecar.transports.grpc.service import AuthorizationService

AUTHORIZATION = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
# Clients may ping once a second, also without a call in flight; the tenth is for clocks that are not quite even.
MIN_PING_INTERVAL_MS = 900
# A client that answers no ping within 20 s of a silent minute is gone.
KEEPALIVE_TIME_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """The options of the channel, all in one place."""
    return [
        # Without this a second server would share the port silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]


class GrpcServer:
    """The services on one port. Make it inside the event loop that it shall run on."""

    def __init__(self, engine: Engine, limits: Limits, address: Address) -> None:
        self._address = address
        self._socket_file: SocketFile | None = None
        self.health = HealthService((AUTHORIZATION.full_name,))
        self._reflection = ReflectionService(
            (AUTHORIZATION.full_name, HEALTH.full_name, V1_SERVICE, REFLECTION.full_name)
        )
        self._server = grpc.aio.server(options=server_options(limits), maximum_concurrent_rpcs=limits.calls)
        self._server.add_generic_rpc_handlers(
            [
                service_handlers(AUTHORIZATION, AuthorizationService(engine, limits)),
                service_handlers(HEALTH, self.health),
                service_handlers(REFLECTION, self._reflection),
                # The messages of v1 are those of v1alpha under another name.
                service_handlers(REFLECTION, self._reflection, V1_SERVICE),
            ]
        )

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError."""
        address = self._address
        require_free(address)
        try:
            with socket_permissions():
                port = self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            # Taken between the look and the bind.
            raise AddressError(f"cannot listen on `{address}`", "choose another address") from error
        self._socket_file = SocketFile.of(address)
        await self._server.start()
        return address if address.path else Address(address.host, port)

    async def stop(self, grace: float) -> None:
        """Say that it is over, end the streams that would wait, let accepted calls finish for `grace` seconds."""
        self.health.drain()
        self._reflection.drain()
        await self._server.stop(grace)
        if self._socket_file is not None:
            self._socket_file.remove()
