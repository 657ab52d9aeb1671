"""Administration on the command line: of a running sidecar, or of a store on this machine, by the same commands."""

import contextlib
import getpass
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

import click

from authz_sidecar.cli.connecting import connect, read_credential
from authz_sidecar.cli.connection import CREDENTIAL, Connection, connection_options, is_typed, refuse_connection
from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.option import DEFAULT_POLICIES, Directory, color_option, export_format_option, format_option
from authz_sidecar.cli.remote import Problem, call_problems
from authz_sidecar.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from authz_sidecar.cli.store_administration import StoreAdministration
    from authz_sidecar.directory.storage.errors import DirectoryError
    from authz_sidecar.transports.grpc.administration.client import AdministrationClient
    from authz_sidecar.transports.grpc.client import CallFailedError

# What a command administers; both take the same calls.
Administration: TypeAlias = "AdministrationClient | StoreAdministration"
Command = TypeVar("Command", bound=Callable[..., Any])
JUSTIFY = "say why by `--justification TEXT`; the audit keeps it"


class AdministrationOptions(TypedDict):
    """What the options of `administration_options` give a command."""

    connection: Connection
    directory: str | None
    policies: Path
    form: str
    color: str


def administration_options(command: Command) -> Command:
    """The options of every command of administration: where, in whose name, and in which form the answer comes."""
    return _options(command, format_option("text", "json"))


def export_options(command: Command) -> Command:
    """The same of a command that writes everything there is; see `export_format`."""
    return _options(command, export_format_option)


def _options(command: Command, format_option: Callable[[Command], Command]) -> Command:
    for option in reversed(
        (
            connection_options("Administer the sidecar that listens there for gRPC"),
            directory_option("Administer this store itself: a file, or the URL of a database."),
            click.option(
                "--policies",
                metavar="DIR",
                default=DEFAULT_POLICIES,
                show_default=True,
                type=Directory(path_type=Path),
                help="The bundle whose rules a store keeps, with `--directory`.",
            ),
            format_option,
            color_option,
        )
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def administration(terminal: Terminal, options: AdministrationOptions) -> Iterator[Administration]:
    """What the options name, for the time of a command. What it refuses ends the command with its remedy."""
    directory = chosen_directory(terminal, options["connection"], options["directory"])
    if directory is None:
        from authz_sidecar.transports.grpc.administration.client import AdministrationClient

        connection = options["connection"]
        credential = read_credential(terminal, connection)
        with connect(terminal, AdministrationClient, connection, credential, administration_problems) as client:
            yield client
    else:
        with _local(terminal, directory, options["policies"]) as store:
            yield store


def chosen_directory(terminal: Terminal, connection: Connection, directory: str | None) -> str | None:
    """The directory to work at, None for the server of the connection: what was typed outranks the environment. Raises
    CommandError where neither or both are named."""
    if connection.server is None and directory is None:
        help = "give `--server ADDR` for a running sidecar, or `--directory URL` for a store on this machine"
        raise CommandError(terminal, ("neither a server nor a directory is named", help))
    if connection.server is not None and directory is not None:
        typed = {name for name in ("server", "directory") if is_typed(name)}
        if len(typed) != 1:
            help = "give the one that is meant as an option, which outranks the environment"
            help = "leave one of them away" if typed else help
            raise CommandError(terminal, ("both a server and a directory are named", help))
        if "server" in typed:
            return None
    if directory is not None:
        refuse_connection("with `--directory` the store itself is opened")
    return directory


def administration_problems(error: "CallFailedError", connection: Connection) -> list[Problem]:
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
        case "RESOURCE_EXHAUSTED" if error.reason and error.retry_after is None:
            return [(error.message, "")]
        case "INVALID_ARGUMENT":
            if len(error.violations) > 1:
                return [(violation.description, "") for violation in error.violations]
            # The message of one has its remedy, too.
            return [(error.message, "")]
        case "UNAVAILABLE" if error.reason:
            return [(error.message, "ask again; what was under way may have been done")]
    return call_problems(error, connection)


@contextlib.contextmanager
def _local(terminal: Terminal, directory: str, policies: Path) -> Iterator["StoreAdministration"]:
    from authz_sidecar.cli.store_administration import StoreAdministration
    from authz_sidecar.directory.storage.errors import DirectoryError
    from authz_sidecar.directory.storage.records import Actor

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
