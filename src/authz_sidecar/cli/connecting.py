"""A connection to a running sidecar, as its options say: with TLS, and in the name of whom a credential stands for."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import click

from authz_sidecar.cli.connection import CREDENTIAL, Connection, is_typed
from authz_sidecar.cli.remote import Problem, call_problems
from authz_sidecar.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    # The gRPC library is loaded by commands that ask a server.
    from authz_sidecar.transports.certificates import ClientTls
    from authz_sidecar.transports.grpc.client import CallFailedError, SidecarClient

Client = TypeVar("Client", bound="SidecarClient")
MAX_CREDENTIAL_FILE = 1 << 20
# What a server takes of metadata, this and all else.
MAX_SENT = 16_000


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
    return credential.isascii() and credential.isprintable() and " " not in credential and len(credential) < MAX_SENT


def asking_credential(terminal: Terminal, connection: Connection, subject: str | None) -> str:
    """The credential that a question is asked by: "" where it names its `subject`. Raises CommandError where neither
    is typed, and click.UsageError where both are.

    What lies in the environment does not stand for a subject: with it a forgotten word would be another question, to
    which the answer may be an allow.
    """
    if subject is not None:
        if is_typed("credential_file"):
            raise click.UsageError("give SUBJECT or `--credential-file`, not both: one of them says who asks")
        return ""
    if not is_typed("credential_file"):
        help = "write SUBJECT OBJECT ACTION; without SUBJECT type `--credential-file FILE`, which then says who asks"
        raise CommandError(terminal, ("neither SUBJECT nor a credential says who asks", help))
    return read_credential(terminal, connection)
