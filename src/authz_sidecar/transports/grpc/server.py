"""The gRPC server: its options, what it serves, how it starts and how it stops."""

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, policy_service_pb2
from authz_sidecar.engine import Engine, Identities
from authz_sidecar.engine.refresh import Refresher
from authz_sidecar.transports.address import Address, AddressError, SocketAccess, SocketFile, binding
from authz_sidecar.transports.certificates import CertificateWatch, TlsFiles
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.health import HealthService
from authz_sidecar.transports.grpc.methods import MethodTable
from authz_sidecar.transports.grpc.policy_service import PolicyService
from authz_sidecar.transports.grpc.reflection import V1_SERVICE, ReflectionService
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.transports.grpc.tls import server_credentials
from authz_sidecar.values.limits import Limits

if TYPE_CHECKING:
    # Only where there is a directory.
    from authz_sidecar.transports.grpc.administration.services import AdministrationServices

AUTHORIZATION = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
POLICY = policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
# Clients may ping once a second, also without a call in flight; the tenth is for clocks that are not quite even.
MIN_PING_INTERVAL_MS = 900
# A client that answers no ping within 20 s of a silent minute is gone.
KEEPALIVE_TIME_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000

# How long the calls of a connection that is old enough may take to finish.
AGED_GRACE_MS = 30_000


def server_options(limits: Limits, shared: bool) -> list[tuple[str, int]]:
    """The options of the channel, all in one place. `shared` lets other processes listen on the port as well."""
    aging = []
    if limits.connection_seconds:
        aging = [
            ("grpc.max_connection_age_ms", round(limits.connection_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", AGED_GRACE_MS),
        ]
    return [
        *aging,
        # Without this a second server would share the port silently.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        # No connection alone needs more than all may have.
        ("grpc.max_concurrent_streams", limits.calls + limits.watches),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]


# Calls that wait for a look at the policies, of which one answers all.
MAX_REFRESHES = 20
# Before it stops a server waits for so long without a new call, and at most so long altogether.
QUIET_SECONDS = 0.02
SETTLE_SECONDS = 0.5


class _Gates:
    """Where each method is admitted: calls that decide, of which few may be costly, and calls that watch."""

    def __init__(self, limits: Limits) -> None:
        self.calls = Gate("calls", limits.calls, ErrorReason.TOO_MANY_CALLS, "calls")
        self.streams = Gate("streams", limits.streams, ErrorReason.TOO_MANY_STREAMS, "streams", self.calls)
        self.explanations = Gate(
            "explanations", limits.explanations, ErrorReason.TOO_MANY_CALLS, "explanations", self.calls
        )
        self.refreshes = Gate("refreshes", MAX_REFRESHES, ErrorReason.TOO_MANY_CALLS, "refreshes")
        self.watches = Gate("watches", limits.watches, ErrorReason.TOO_MANY_WATCHES, "watches")
        # As many more: a flood of them is bounded, and none of the limits above keeps them out.
        self.probes = Gate("probes", limits.watches, ErrorReason.TOO_MANY_WATCHES, "probes")

    @property
    def in_flight(self) -> int:
        """Calls that have been accepted and have not ended."""
        return self.calls.in_flight + self.refreshes.in_flight + self.watches.in_flight + self.probes.in_flight

    def deciding(self, method: MethodDescriptor) -> Gate:
        """The gate of a method of `AuthorizationService`."""
        if method.client_streaming:
            return self.streams
        return self.explanations if method.name == "Explain" else self.calls

    def watching(self, method: MethodDescriptor) -> Gate:
        """The gate of a method of health or reflection."""
        return self.watches if method.server_streaming else self.probes


class GrpcServer:
    """The services on one port. Make it inside the event loop that it shall run on.

    `shared` says that other processes listen on the port as well, whose parent has seen to it that it is theirs. With
    `tls` it speaks TLS. With `refresher` clients may have the policies looked at. With `identities` there is a
    directory of them; with `administration` it serves what administers that, too, and closes it when it stops.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        address: Address,
        access: SocketAccess = SocketAccess(),  # noqa: B008 - it is frozen
        *,
        shared: bool = False,
        tls: TlsFiles | None = None,
        refresher: Refresher | None = None,
        identities: Identities | None = None,
        administration: "AdministrationServices | None" = None,
    ) -> None:
        self._tls = tls
        self._address = address
        self._access = access
        self._shared = shared
        self._socket_file: SocketFile | None = None
        # Whether it accepts calls, or never will.
        self._begun = False
        self._engine = engine
        self._gates = gates = _Gates(limits)
        self._administration = administration
        self._policies: PolicyService | None = None
        ours = [AUTHORIZATION.full_name]
        if refresher is not None or administration is not None:
            self._policies = PolicyService(refresher, None if administration is None else administration.policies)
            ours.append(POLICY.full_name)
        if administration is not None:
            ours += administration.names
        self.health = HealthService(ours)
        files = () if administration is None else administration.files
        self._reflection = ReflectionService((*ours, HEALTH.full_name, V1_SERVICE, REFLECTION.full_name), files)
        self._service = AuthorizationService(engine, limits, identities=identities)
        methods = MethodTable(engine.counts, limits.message_bytes)
        methods.add(AUTHORIZATION, self._service, gates.deciding)
        if self._policies is not None:
            methods.add(POLICY, self._policies, self._refreshing, facts=True)
        if administration is not None:
            administration.register(methods)
        methods.add(HEALTH, self.health, gates.watching)
        methods.add(REFLECTION, self._reflection, gates.watching)
        # The messages of v1 are those of v1alpha under another name.
        methods.add(REFLECTION, self._reflection, gates.watching, V1_SERVICE)
        self._server = grpc.aio.server(options=server_options(limits, shared))
        self._server.add_generic_rpc_handlers([methods])

    def _refreshing(self, method: MethodDescriptor) -> Gate:
        """The gate of a method of `PolicyService`."""
        if method.name == "Refresh" or self._administration is None:
            return self._gates.refreshes
        return self._administration.gate(method)

    @property
    def in_flight(self) -> int:
        """Calls of `AuthorizationService` that have been accepted and have not ended."""
        return self._gates.calls.in_flight

    async def start(self, *, accept: bool = True) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError and TlsError.

        Without `accept` connections wait until `accept` is called.
        """
        address = self._address
        credentials = None if self._tls is None else server_credentials(CertificateWatch(self._tls))
        with binding(address, self._access, shared=self._shared) as bound:
            try:
                if credentials is None:
                    port = self._server.add_insecure_port(str(address))
                else:
                    port = self._server.add_secure_port(str(address), credentials)
            except RuntimeError as error:
                # Taken between the look and the bind.
                raise AddressError(f"cannot listen on `{address}`", "choose another address") from error
            self._socket_file = bound()
        if accept:
            await self.accept()
        return address if address.path else Address(address.host, port)

    async def accept(self) -> None:
        """Answer calls from now on. After `stop` it has no effect."""
        if not self._begun:
            self._begun = True
            await self._server.start()

    async def stop(self, grace: float) -> None:
        """Say that it is over, end the streams that would wait, let accepted calls finish for `grace` seconds."""
        self._begun = True
        self.health.drain()
        self._reflection.drain()
        self._service.drain()
        if self._policies is not None:
            self._policies.drain()
        if self._administration is not None:
            self._administration.drain()
        grace -= await self._settle(min(grace, SETTLE_SECONDS))
        await self._server.stop(max(grace, 0.0))
        self._service.close()
        if self._administration is not None:
            self._administration.close()
        if self._socket_file is not None:
            self._socket_file.remove()

    async def _settle(self, seconds: float) -> float:
        """Go on answering until no call has come for a moment, for `seconds` at most; the seconds that it took.

        What has reached grpcio and not yet us when it stops is CANCELLED by it, which callers do not expect of a
        server; and whoever heeds health has left by then.
        """
        loop = asyncio.get_running_loop()
        now = began = quiet_since = loop.time()
        seen = -1
        while now - began < seconds and now - quiet_since < QUIET_SECONDS:
            methods = self._engine.counts.methods.values()
            administering = 0 if self._administration is None else self._administration.in_flight
            calls = self._gates.in_flight + administering + sum(sum(method.codes.values()) for method in methods)
            if calls != seen:
                quiet_since, seen = now, calls
            await asyncio.sleep(QUIET_SECONDS / 10)
            now = loop.time()
        return now - began
