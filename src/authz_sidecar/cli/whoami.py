"""`authz-sidecar whoami`: whom a credential stands for, as a running sidecar knows it."""

import json
from pathlib import Path

import click

from authz_sidecar.cli.administration import CREDENTIAL, read_credential, remote
from authz_sidecar.cli.columns import record_data, show_record
from authz_sidecar.cli.explanation import SENTENCES
from authz_sidecar.cli.option import color_option, format_option
from authz_sidecar.cli.remote import server_option, timeout_option
from authz_sidecar.cli.terminal import CommandError, Terminal, end
from authz_sidecar.transports.address import Address
from authz_sidecar.values import Reason

NOBODY = 1

EXAMPLES = """\b
Examples:
  AUTHZ_CREDENTIAL=azk_… authz-sidecar whoami --server 127.0.0.1:50051
  authz-sidecar whoami --server 127.0.0.1:50051 --credential-file key.csv --format json
"""


@click.command(name="whoami", epilog=EXAMPLES)
@server_option("Where the sidecar listens for gRPC: `host:port` or `unix:/path`.", required=True)
@click.option(
    "--tls-ca",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Speak TLS with the server, whose certificate is of these authorities (PEM).",
)
@click.option(
    "--credential-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"File with the credential. Default: what {CREDENTIAL} holds.",
)
@timeout_option
@format_option("text", "json")
@color_option
def command(
    server: Address,
    tls_ca: Path | None,
    credential_file: Path | None,
    timeout: float,
    form: str,
    color: str,
) -> None:
    """Show whom your API key, access token or JWT stands for, and which roles that identity holds.

    Exits 0 if it stands for somebody, 1 if it does not, 2 when there is no answer.
    """
    from authz_sidecar.transports.grpc.administration_client import AdministrationClient
    from authz_sidecar.transports.grpc.client import UnknownReasonError

    terminal = Terminal(color)
    if not read_credential(terminal, credential_file):
        help = f"put it into {CREDENTIAL}, or name its file by `--credential-file`"
        raise CommandError(terminal, ("there is no credential to ask about", help))
    try:
        with remote(terminal, AdministrationClient, server, timeout, credential_file, tls_ca) as client:
            found = client.authenticate()
    except UnknownReasonError as error:
        raise CommandError(terminal, (str(error), "ask with the server's version of authz-sidecar")) from None
    if isinstance(found, Reason):
        if form == "json":
            terminal.result((json.dumps({"authenticated": False, "reason": found.label}),))
        else:
            terminal.result((f"nobody reason={found.label}",), (f"  {SENTENCES[found]}",))
        end(NOBODY)
    elif form == "json":
        terminal.result((json.dumps({"authenticated": True} | record_data(found)),))
    else:
        show_record(terminal, form, found)
