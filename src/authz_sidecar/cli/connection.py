"""The options of a connection to a running sidecar, alike in every command that asks one: where it listens, in whose
name it is asked, and with which certificates."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import click
import msgspec
from click.core import ParameterSource

from authz_sidecar.cli.address import AddressType
from authz_sidecar.cli.option import NumberRange
from authz_sidecar.cli.sectioned_command import SectionedCommand
from authz_sidecar.transports.address import Address

Command = TypeVar("Command", bound=Callable[..., Any])
CREDENTIAL = "AUTHZ_CREDENTIAL"
TIMEOUT = 5.0
MAX_TIMEOUT = 3600
_FILE = click.Path(path_type=Path)


class ServerType(AddressType):
    """The address of a server to ask."""

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read `value`; fails as click does, with the remedy in the message."""
        address = super().convert(value, param, ctx)
        if not address.path and not address.port:
            self.fail(f"`{value}` names no port: give the one in the server's ready line", param, ctx)
        return address


class Connection(msgspec.Struct, frozen=True):
    """What the options of `connection_options` say; None and "" are what was not said. `timeout` is in seconds."""

    server: Address | None
    credential_file: Path | None
    tls_ca: Path | None
    tls_client_cert: Path | None
    tls_client_key: Path | None
    tls_server_name: str
    timeout: float

    @property
    def address(self) -> Address:
        """Where the server listens, in a command that has asked whether one is named."""
        if self.server is None:
            raise ValueError("no server is named")
        return self.server


class ServerCommand(SectionedCommand):
    """A command that asks a server: its help lists the options of the connection apart from its own."""

    sections: ClassVar = {"Connection to a server": Connection.__struct_fields__}


def connection_options(
    help: str,
    *,
    timeout: float = TIMEOUT,
    timeout_help: str = "How long the server may take to answer.",
    **server: Any,
) -> Callable[[Command], Command]:
    """The options of the group, which give the command one argument, `connection`. `help` says what `--server` is for,
    and `server` has more attributes of that option."""
    options = (
        click.option(
            "--server", type=ServerType(), metavar="ADDR", help=f"{help}: `host:port` or `unix:/path`.", **server
        ),
        click.option(
            "--credential-file",
            metavar="FILE",
            type=_FILE,
            help="File with your API key, access token or JWT, alone or as `--output` wrote it. "
            f"Default: what {CREDENTIAL} holds.",
        ),
        click.option(
            "--tls-ca",
            metavar="FILE",
            type=_FILE,
            help="Speak TLS, with a server whose certificate is of these authorities (PEM).",
        ),
        click.option(
            "--tls-client-cert",
            metavar="FILE",
            type=_FILE,
            help="Your certificate (PEM), for a server that lets in only clients with one.",
        ),
        click.option("--tls-client-key", metavar="FILE", type=_FILE, help="Private key of your certificate (PEM)."),
        click.option(
            "--tls-server-name",
            metavar="NAME",
            default="",
            help="The name in the server's certificate, where it is not that of the address.",
        ),
        click.option(
            "--timeout",
            type=NumberRange(min=0, min_open=True, max=MAX_TIMEOUT),
            default=timeout,
            show_default=True,
            metavar="SECONDS",
            help=timeout_help,
        ),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collect(*args: Any, **given: Any) -> Any:
            # The gRPC library writes lines of its own, one for each failed handshake, beside our message.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            connection = Connection(**{name: given.pop(name) for name in Connection.__struct_fields__})
            return command(*args, connection=connection, **given)

        for option in reversed(options):
            collect = option(collect)
        return cast(Command, collect)

    return decorate


def is_typed(name: str) -> bool:
    """Whether the running command was given the option on its command line, not by the environment."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse_connection(otherwise: str) -> None:
    """Refuse what was typed about a connection where there is none, as `otherwise` says; raises click.UsageError."""
    for name in Connection.__struct_fields__:
        if name != "server" and is_typed(name):
            raise click.UsageError(f"`--{name.replace('_', '-')}` is for `--server`: {otherwise}")
