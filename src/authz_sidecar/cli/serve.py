"""`authz-sidecar serve`: the server, from the command line to the ready line and to the end of the drain."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click
import msgspec
import uvloop

from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import color_option, policies_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.engine import Engine, Limits
from authz_sidecar.transports.address import Address, AddressError, parse_address
from authz_sidecar.transports.grpc.server import GrpcServer
from authz_sidecar.transports.http.app import Readiness, build_app
from authz_sidecar.transports.http.server import HttpServer

DEFAULT_GRPC = "127.0.0.1:50051"
DEFAULT_HTTP = "127.0.0.1:8080"
DEFAULT_GRACE = 10.0

logger = logging.getLogger("authz_sidecar.serve")


class AddressType(click.ParamType[Address]):
    """An address to listen on."""

    name = "ADDR"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read `value`; fails as click does, with the remedy in the message."""
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except AddressError as error:
            self.fail(f"{error.message}: {error.help}", param, ctx)


class ServeSettings(msgspec.Struct, frozen=True):
    """Where to listen, and how many seconds accepted calls may take after the order to stop."""

    grpc: Address
    http: Address
    grace: float


@click.command(name="serve")
@policies_option
@click.option(
    "--grpc", type=AddressType(), default=DEFAULT_GRPC, show_default=True, help="Where gRPC listens: `host:port`."
)
@click.option(
    "--http", type=AddressType(), default=DEFAULT_HTTP, show_default=True, help="Where HTTP listens: `host:port`."
)
@click.option("--insecure", is_flag=True, help="Allow to listen where other machines may reach it, in clear text.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0, max=3600),
    default=DEFAULT_GRACE,
    show_default=True,
    metavar="SECONDS",
    help="How long accepted calls may take to finish once the server is told to stop.",
)
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that answer; only 1 for now.")
@color_option
def command(
    policies: Path, grpc: Address, http: Address, insecure: bool, grace: float, workers: int, color: str
) -> None:
    """Answer checks over gRPC from a bundle of policies.

    When both ports listen, one line on standard output says where: `ready grpc=… http=… policy_version=…`.
    SIGTERM and SIGINT let accepted calls finish and exit 0; a second one stops at once. Exits 2 when the server
    cannot start.
    """
    terminal = Terminal(color)
    if workers != 1:
        raise CommandError(
            terminal,
            (
                f"`--workers {workers}` is not supported yet",
                "leave it away, and start more processes behind a balancer",
            ),
        )
    if not insecure:
        _require_local(terminal, grpc, http)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    compiled = require_bundle(terminal, policies)
    try:
        uvloop.run(serve(compiled, ServeSettings(grpc, http, grace)))
    except AddressError as error:
        raise CommandError(terminal, (error.message, error.help)) from error


def _require_local(terminal: Terminal, *addresses: Address) -> None:
    """Refuse to show the ports to other machines: nobody is authenticated and nothing is encrypted."""
    problems = [
        (
            f"`{address}` can be reached from other machines, and calls are neither encrypted nor authenticated",
            "listen on `127.0.0.1` or a `unix:` socket, or give `--insecure` if something else protects the port",
        )
        for address in addresses
        if not address.is_local
    ]
    if problems:
        raise CommandError(terminal, *problems)


async def serve(compiled: CompiledBundle, settings: ServeSettings) -> None:
    """Serve until a signal says stop; raises AddressError if a port cannot be had."""
    engine = Engine()
    engine.load(compiled.snapshot, compiled.policy_version)
    readiness = Readiness()
    grpc_server = GrpcServer(engine, Limits(), settings.grpc)
    http_server = HttpServer(build_app(engine, readiness), settings.http, settings.grace)

    stop = asyncio.Event()
    stop_now = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        logger.info("%s: %s", number.name, "stopping now" if stop.is_set() else "finishing accepted calls")
        (stop_now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)

    http_address = await http_server.start()
    try:
        grpc_address = await grpc_server.start()
        try:
            grpc_server.health.set_serving(True)
            readiness.accepting = True
            ready = f"ready grpc={grpc_address} http={http_address} policy_version={compiled.policy_version}"
            click.echo(ready)
            await stop.wait()
        finally:
            readiness.accepting = False
            await _stop_or_hurry(grpc_server, settings.grace, stop_now)
    finally:
        # Last, so that `/readyz` says what is going on while calls finish.
        await http_server.stop()


async def _stop_or_hurry(server: GrpcServer, grace: float, stop_now: asyncio.Event) -> None:
    """Stop within the grace period, or as soon as `stop_now` is set."""
    stopping = asyncio.create_task(server.stop(grace))
    hurrying = asyncio.create_task(stop_now.wait())
    await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not stopping.done():
        await server.stop(0)
    await stopping
