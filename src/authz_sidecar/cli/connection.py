"""The connection to a running sidecar, alike in every command that asks one: where it listens, in whose name it is
asked, and with which certificates."""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import click
import msgspec
from click.core import ParameterSource

from authz_sidecar.cli.address import AddressType
from authz_sidecar.cli.remote import Problem, call_problems
from authz_sidecar.cli.sectioned_command import SectionedCommand
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.transports.address import Address

if TYPE_CHECKING:
    # The gRPC library is loaded by commands that ask a server.
    from authz_sidecar.transports.certificates import ClientTls
    from authz_sidecar.transports.grpc.client import CallFailedError, SidecarClient

Command = TypeVar("Command", bound=Callable[..., Any])
Client = TypeVar("Client", bound="SidecarClient")
CREDENTIAL = "AUTHZ_CREDENTIAL"
MAX_CREDENTIAL_FILE = 1 << 20
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
        click.option("--server", type=ServerType(), help=f"{help}: `host:port` or `unix:/path`.", **server),
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
            type=click.FloatRange(min=0, min_open=True, max=MAX_TIMEOUT),
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


@contextlib.contextmanager
def connect(
    terminal: Terminal,
    client: type[Client],
    connection: Connection,
    credential: str,
    problems: "Callable[[CallFailedError, Connection], list[Problem]]" = call_problems,
) -> Iterator[Client]:
    """A connection to a sidecar in the name of whom `credential` stands for ("" for nobody). What it refuses ends the
    command with its remedy, as `problems` words it."""
    from authz_sidecar.transports.grpc.client import CallFailedError, UnknownReasonError

    tls = read_tls(terminal, connection, credential)
    try:
        with client(connection.address, connection.timeout, credential, tls) as opened:
            yield opened
    except CallFailedError as error:
        raise CommandError(terminal, *problems(error, connection)) from None
    except UnknownReasonError as error:
        raise CommandError(terminal, (str(error), "ask with the server's version of authz-sidecar")) from None


def read_tls(terminal: Terminal, connection: Connection, credential: str) -> "ClientTls | None":
    """What TLS is spoken with; None for clear text, in which no `credential` leaves the machine. Raises
    CommandError."""
    certificate, key = connection.tls_client_cert, connection.tls_client_key
    if connection.tls_ca is None:
        for name in ("tls_client_cert", "tls_client_key", "tls_server_name"):
            if getattr(connection, name):
                help = "name the authorities of the server's certificate by `--tls-ca FILE`"
                raise CommandError(terminal, (f"`--{name.replace('_', '-')}` is for TLS", help))
        if credential and not connection.address.is_local:
            help = "give `--tls-ca FILE`, or go through a tunnel to the server's loopback interface"
            raise CommandError(terminal, (f"a credential would go to `{connection.address}` in clear", help))
        return None
    from authz_sidecar.transports.certificates import TlsError, TlsFiles, read_client_tls

    if (certificate is None) != (key is None):
        one, other = ("--tls-client-cert", "--tls-client-key")[:: 1 if key is None else -1]
        raise CommandError(terminal, (f"`{one}` cannot be had without `{other}`", f"give `{other}` as well"))
    pair = None if certificate is None else TlsFiles(str(certificate), str(key))
    try:
        return read_client_tls(str(connection.tls_ca), pair, connection.tls_server_name)
    except TlsError as error:
        raise CommandError(terminal, (error.message, error.help)) from None


def read_credential(terminal: Terminal, connection: Connection) -> str:
    """The caller's credential, "" for none: never an argument, which every user of the machine could read.

    The file holds it alone, or is one that `--output` has written. Raises CommandError.
    """
    file = connection.credential_file
    if file is None:
        credential = os.environ.get(CREDENTIAL, "").strip()
        if credential and not _can_be_sent(credential):
            help = "put the key or token alone into it"
            raise CommandError(terminal, (f"`{CREDENTIAL}` does not hold a credential", help))
        return credential
    from authz_sidecar.directory.storage.secrets import PATTERN

    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_CREDENTIAL_FILE).decode("utf-8", "replace").strip()
    except OSError as error:
        help = "name a file that you may read"
        raise CommandError(terminal, (f"`{file}` cannot be read: {error.strerror}", help)) from None
    found = set(re.findall(PATTERN, text)) or set(text.split())
    credential = str(found.pop()) if len(found) == 1 else ""
    if not credential or not _can_be_sent(credential):
        help = "put the key or token alone into the file"
        raise CommandError(terminal, (f"`{file}` does not hold a credential", help))
    return credential


def _can_be_sent(credential: str) -> bool:
    """Whether metadata can carry it."""
    return credential.isascii() and credential.isprintable() and " " not in credential


def asking_credential(terminal: Terminal, connection: Connection, subject: str | None) -> str:
    """The credential that a question is asked by: "" where it names its `subject`. Raises CommandError where neither
    says who asks, and click.UsageError where both are typed."""
    if subject is not None:
        if is_typed("credential_file"):
            raise click.UsageError("give SUBJECT or `--credential-file`, not both: one of them says who asks")
        return ""
    credential = read_credential(terminal, connection)
    if not credential:
        help = f"write SUBJECT before OBJECT, or name a file by `--credential-file FILE`, or put it into {CREDENTIAL}"
        raise CommandError(terminal, ("neither SUBJECT nor a credential says who asks", help))
    return credential
