"""The HTTP server: uvicorn on a socket of ours, in an event loop that it shares with gRPC."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from authz_sidecar.transports.address import Address, SocketAccess, SocketFile, bound_address, open_listener

MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 1_000
KEEP_ALIVE_SECONDS = 5


class HttpServer(uvicorn.Server):
    """An application on one address."""

    def __init__(
        self,
        app: Starlette,
        address: Address,
        grace: float,
        access: SocketAccess = SocketAccess(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(grace)),
            )
        )
        self._address = address
        self._access = access
        self._socket_file: SocketFile | None = None
        self._listening = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: the command handles them for both servers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and tell `start`."""
        await super().startup(sockets=sockets)
        self._listening.set()

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken; raises AddressError."""
        listener, self._socket_file = open_listener(self._address, self._access)
        self._serving = asyncio.create_task(self.serve(sockets=[listener]))
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait((self._serving, listening), return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            listening.cancel()
            await self._serving
        return bound_address(self._address, listener)

    async def stop(self) -> None:
        """Close the port and let requests finish."""
        if self._serving is not None:
            self.should_exit = True
            await self._serving
        if self._socket_file is not None:
            self._socket_file.remove()
