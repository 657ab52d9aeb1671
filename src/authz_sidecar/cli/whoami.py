"""`authz-sidecar whoami`: whom a credential stands for, as a running sidecar knows it."""

import json

import click

from authz_sidecar.cli.columns import record_data, show_record
from authz_sidecar.cli.connecting import connect, read_credential
from authz_sidecar.cli.connection import CREDENTIAL, Connection, ServerCommand, connection_options
from authz_sidecar.cli.explanation import SENTENCES
from authz_sidecar.cli.option import color_option, format_option
from authz_sidecar.cli.terminal import CommandError, Terminal, end
from authz_sidecar.values import Reason

NOBODY = 1

EXAMPLES = """\b
Examples:
  authz-sidecar whoami --server 127.0.0.1:50051 --credential-file key.csv
  authz-sidecar whoami --server authz.example.com:50051 --tls-ca ca.crt --credential-file key.csv --format json
"""


@click.command(name="whoami", cls=ServerCommand, epilog=EXAMPLES)
@connection_options("Ask the sidecar that listens there for gRPC", required=True)
@format_option("text", "json")
@color_option
def command(connection: Connection, form: str, color: str) -> None:
    """Show whom your API key, access token or JWT stands for, and which roles that identity holds.

    Exits 0 if it stands for somebody, 1 if it does not, 2 when there is no answer.
    """
    from authz_sidecar.transports.grpc.administration.client import AdministrationClient

    terminal = Terminal(color)
    credential = read_credential(terminal, connection)
    if not credential:
        help = f"put it into {CREDENTIAL}, or name its file by `--credential-file`"
        raise CommandError(terminal, ("there is no credential to ask about", help))
    with connect(terminal, AdministrationClient, connection, credential) as client:
        found = client.authenticate()
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
