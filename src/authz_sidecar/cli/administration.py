"""Administration on the command line: of a running sidecar, or of a store on this machine, by the same commands."""

import contextlib
import getpass
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

import click
from click.core import ParameterSource

from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.option import DEFAULT_POLICIES, Directory, color_option, format_option
from authz_sidecar.cli.remote import call_problems, server_option, timeout_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.transports.address import Address

if TYPE_CHECKING:
    from authz_sidecar.cli.store_administration import StoreAdministration
    from authz_sidecar.directory.errors import DirectoryError
    from authz_sidecar.transports.grpc.administration_client import AdministrationClient

# What a command administers; both take the same calls.
Administration: TypeAlias = "AdministrationClient | StoreAdministration"
Command = TypeVar("Command", bound=Callable[..., Any])
Client = TypeVar("Client", bound="AdministrationClient")
CREDENTIAL = "AUTHZ_CREDENTIAL"
MAX_CREDENTIAL = 16_384
JUSTIFY = "say why by `--justification TEXT`; the audit keeps it"


class AdministrationOptions(TypedDict):
    """What the options of `administration_options` give a command."""

    server: Address | None
    tls_ca: Path | None
    credential_file: Path | None
    directory: str | None
    policies: Path
    timeout: float
    form: str
    color: str


def administration_options(command: Command) -> Command:
    """The options of every command of administration: where, in whose name, and in which form the answer comes."""
    for option in reversed(
        (
            server_option("Administer the sidecar that listens there for gRPC: `host:port` or `unix:/path`."),
            click.option(
                "--tls-ca",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Speak TLS with the server, whose certificate is of these authorities (PEM).",
            ),
            click.option(
                "--credential-file",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help=f"File with your API key or access token for the server. Default: what {CREDENTIAL} holds.",
            ),
            directory_option("Administer this store itself: a file, or the URL of a database."),
            click.option(
                "--policies",
                metavar="DIR",
                default=DEFAULT_POLICIES,
                show_default=True,
                type=Directory(path_type=Path),
                help="The bundle whose rules a store keeps, with `--directory`.",
            ),
            timeout_option,
            format_option("text", "json"),
            color_option,
        )
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def administration(terminal: Terminal, options: AdministrationOptions) -> Iterator[Administration]:
    """What the options name, for the time of a command. What it refuses ends the command with its remedy."""
    server, directory = options["server"], options["directory"]
    if server is not None and directory is not None:
        server, directory = one_place(terminal, server, directory)
    if server is not None:
        from authz_sidecar.transports.grpc.administration_client import AdministrationClient

        authority, credential_file, timeout = options["tls_ca"], options["credential_file"], options["timeout"]
        with remote(terminal, AdministrationClient, server, timeout, credential_file, authority) as client:
            yield client
    elif directory is not None:
        with _local(terminal, directory, options["policies"]) as store:
            yield store
    else:
        raise unnamed(terminal)


def unnamed(terminal: Terminal) -> CommandError:
    """A command that is told neither of both."""
    help = "give `--server ADDR` for a running sidecar, or `--directory URL` for a store on this machine"
    return CommandError(terminal, ("neither a server nor a directory is named", help))


def one_place(terminal: Terminal, server: Address, directory: str) -> tuple[Address | None, str | None]:
    """What was typed outranks what the environment says."""
    source = click.get_current_context().get_parameter_source
    typed = {name for name in ("server", "directory") if source(name) is ParameterSource.COMMANDLINE}
    if len(typed) == 1:
        return (server, None) if "server" in typed else (None, directory)
    help = (
        "leave one of them away" if typed else "give the one that is meant as an option, which outranks the environment"
    )
    raise CommandError(terminal, ("both a server and a directory are named", help))


@contextlib.contextmanager
def remote(
    terminal: Terminal,
    client: type[Client],
    server: Address,
    timeout: float,
    credential_file: Path | None,
    tls_ca: Path | None,
) -> Iterator[Client]:
    """A connection to a sidecar in the name of whom the credential stands for. What it refuses ends the command with
    its remedy."""
    from authz_sidecar.transports.grpc.client import CallFailedError

    credential = read_credential(terminal, credential_file)
    authority = None
    if tls_ca is not None:
        authority = _read_file(terminal, tls_ca)
    else:
        clear_credential(terminal, server, credential)
    try:
        connection = client(server, timeout, credential, authority)
        with connection:
            yield connection
    except CallFailedError as error:
        problems = administration_problems(error, server, timeout)
        if tls_ca is None and error.code.name == "UNAVAILABLE" and not error.reason:
            problems = [
                (told, f"{help.partition(';')[0]}; one with TLS needs `--tls-ca FILE`") for told, help in problems
            ]
        raise CommandError(terminal, *problems) from None


def clear_credential(terminal: Terminal, server: Address, credential: str) -> None:
    """Refuse to send a credential in clear to another machine; raises CommandError."""
    if credential and not server.is_local:
        help = (
            "give `--tls-ca FILE` where the command takes it, or go through a tunnel to the server's loopback interface"
        )
        raise CommandError(terminal, (f"a credential would go to `{server}` in clear", help))


def administration_problems(error: Any, server: Address, timeout: float) -> list[tuple[str, str]]:
    """Why a call of administration was not answered, each with its remedy."""
    match error.code.name:
        case "UNAUTHENTICATED" if error.reason == "SIGN_IN_FAILED":
            message, _, help = error.message.partition("; ")
            return [(message, help)]
        case "UNAUTHENTICATED":
            # The metadata is what other clients fill themselves.
            message = error.message.partition(" in the metadata")[0]
            return [(message, f"put one that is good into {CREDENTIAL}, or name its file by `--credential-file FILE`")]
        case "PERMISSION_DENIED":
            return [(error.message, "have a role that the policy allows it, or ask who has")]
        case "NOT_FOUND":
            return [(error.message, "list them to see which there are")]
        case "FAILED_PRECONDITION" if error.reason == "JUSTIFICATION_REQUIRED":
            return [(error.message.partition("; ")[0], JUSTIFY)]
        case "ALREADY_EXISTS" | "ABORTED" | "FAILED_PRECONDITION":
            return [(error.message, "")]
        case "RESOURCE_EXHAUSTED" if error.retry_after is None:
            return [(error.message, "")]
        case "INVALID_ARGUMENT":
            if len(error.violations) > 1:
                return [(violation.description, "") for violation in error.violations]
            # The message of one has its remedy, too.
            return [(error.message, "")]
        case "UNAVAILABLE" if error.reason:
            return [(error.message, "ask again; what was under way may have been done")]
    return call_problems(error, server, timeout)


@contextlib.contextmanager
def _local(terminal: Terminal, directory: str, policies: Path) -> Iterator["StoreAdministration"]:
    from authz_sidecar.cli.store_administration import StoreAdministration
    from authz_sidecar.directory.errors import DirectoryError
    from authz_sidecar.directory.records import Actor

    with open_store(terminal, directory) as store:
        try:
            yield StoreAdministration(store, Actor(operator_name()), terminal, policies)
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None


def operator_name() -> str:
    """What the audit calls whoever works at a store itself: `operator:NAME`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"operator:{name}"


def directory_problems(error: "DirectoryError") -> list[tuple[str, str]]:
    """What the directory refuses, with the remedy."""
    if error.fault.name == "JUSTIFICATION":
        return [(error.message, JUSTIFY)]
    shown = [(violation.description, "") for violation in error.violations]
    if not shown or error.help:
        shown = [*[found for found in shown if found[0] != error.message], (error.message, error.help)]
    return shown


def read_credential(terminal: Terminal, file: Path | None) -> str:
    """The caller's credential, "" for none: never an argument, which every user of the machine could read.

    `file` holds it alone, or is one that `--output` has written.
    """
    if file is None:
        return os.environ.get(CREDENTIAL, "").strip()
    from authz_sidecar.directory.secrets import PATTERN

    text = _read_file(terminal, file).decode("utf-8", "replace").strip()
    written = set(re.findall(PATTERN, text))
    found = written or set(text.split())
    if len(found) != 1 or not (written or text.isascii()):
        raise CommandError(
            terminal, (f"`{file}` does not hold a credential", "put the key or token alone into the file")
        )
    return str(found.pop())


def _read_file(terminal: Terminal, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CREDENTIAL * 64)
    except OSError as error:
        raise CommandError(
            terminal, (f"`{path}` cannot be read: {error.strerror}", "name a file that you may read")
        ) from None
    return content
