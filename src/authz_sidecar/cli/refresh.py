"""`authz-sidecar refresh`: a running sidecar looks at its policies now, and says what came of it."""

import json

import click

from authz_sidecar.cli.administration import administration_problems
from authz_sidecar.cli.connecting import connect, read_credential
from authz_sidecar.cli.connection import Connection, ServerCommand, connection_options
from authz_sidecar.cli.option import color_option, format_option
from authz_sidecar.cli.terminal import Terminal, end, visible
from authz_sidecar.engine.refresh import RefreshOutcome

BEHIND = 1
# A large policy takes some time to fetch and to compile.
TIMEOUT = 90.0

EXAMPLES = """\b
Examples:
  authz-sidecar refresh --server 127.0.0.1:50051
  authz-sidecar refresh --server unix:/run/authz/grpc.sock --format json
  authz-sidecar refresh --server authz.example.com:50051 --tls-ca ca.crt --credential-file key.csv
"""


@click.command(name="refresh", cls=ServerCommand, epilog=EXAMPLES)
@connection_options(
    "The sidecar that is to look, which listens there for gRPC",
    timeout=TIMEOUT,
    timeout_help="How long it may take, compiling included.",
    required=True,
)
@format_option("text", "json")
@color_option
def command(connection: Connection, form: str, color: str) -> None:
    """Have a running sidecar look at its policies, and wait until what it finds is served or refused.

    One with a directory asks for the credential of somebody who may. Exits 0 when what was found is served, 1 when it
    is refused or could not be had, 2 when there is no answer.
    """
    from authz_sidecar.transports.grpc.client import SidecarClient

    terminal = Terminal(color)
    credential = read_credential(terminal, connection)
    with connect(terminal, SidecarClient, connection, credential, administration_problems) as client:
        refreshed = client.refresh()
    outcome = refreshed.outcome.name.lower()
    if form == "json":
        terminal.result(
            (
                json.dumps(
                    {
                        "outcome": outcome,
                        "policy_version": refreshed.policy_version,
                        "found_version": refreshed.found_version,
                        "why": refreshed.why,
                    }
                ),
            )
        )
    else:
        line = f"{outcome} policy_version={refreshed.policy_version or 'none'}"
        if refreshed.found_version != refreshed.policy_version:
            line += f" found_version={refreshed.found_version or 'none'}"
        terminal.result((visible(line),))
        if refreshed.why:
            terminal.result((f"  {visible(refreshed.why)}",))
    end(0 if refreshed.outcome is RefreshOutcome.CURRENT else BEHIND)
