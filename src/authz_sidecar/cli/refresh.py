"""`authz-sidecar refresh`: a running sidecar looks at its policies now, and says what came of it."""

import json
from pathlib import Path

import click

from authz_sidecar.cli.administration import CREDENTIAL, administration_problems, clear_credential, read_credential
from authz_sidecar.cli.option import color_option, format_option
from authz_sidecar.cli.remote import server_option
from authz_sidecar.cli.terminal import CommandError, Terminal, end, visible
from authz_sidecar.engine.refresh import RefreshOutcome
from authz_sidecar.transports.address import Address

BEHIND = 1
# A large policy takes some time to fetch and to compile.
TIMEOUT = 90.0

EXAMPLES = """\b
Examples:
  authz-sidecar refresh --server 127.0.0.1:50051
  authz-sidecar refresh --server unix:/run/authz/grpc.sock --format json
"""


@click.command(name="refresh", epilog=EXAMPLES)
@server_option("Where the sidecar listens for gRPC: `host:port` or `unix:/path`.", required=True)
@click.option(
    "--credential-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Where there is a directory: file with your API key or access token. Default: what {CREDENTIAL} holds.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take, compiling included.",
)
@format_option("text", "json")
@color_option
def command(server: Address, credential_file: Path | None, timeout: float, form: str, color: str) -> None:
    """Have a running sidecar look at its policies, and wait until what it finds is served or refused.

    Exits 0 when what was found is served, 1 when it is refused or could not be had, 2 when there is no answer.
    """
    from authz_sidecar.transports.grpc.client import CallFailedError, SidecarClient

    terminal = Terminal(color)
    credential = read_credential(terminal, credential_file)
    clear_credential(terminal, server, credential)
    try:
        with SidecarClient(server, timeout) as client:
            refreshed = client.refresh(credential)
    except CallFailedError as error:
        raise CommandError(terminal, *administration_problems(error, server, timeout)) from None
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
