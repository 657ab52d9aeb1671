"""`authz-sidecar tokens`: access tokens of a directory, and the passwords that they are had for."""

import json
import sys
from typing import Unpack

import click

from authz_sidecar.cli.administration import AdministrationOptions, administration, administration_options
from authz_sidecar.cli.change_options import justification_option, limit_option
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.listing import show_list
from authz_sidecar.cli.secret_output import show_secret
from authz_sidecar.cli.terminal import CommandError, Terminal, visible

COLUMNS = {
    "id": "ID",
    "identity": "IDENTITY",
    "created_at": "CREATED",
    "expires_at": "EXPIRES",
    "ends_at": "ENDS",
    "created_by": "BY",
}
MAX_PASSWORD = 4096

EXAMPLES = """\b
Examples:
  authz-sidecar tokens sign-in carol --server 127.0.0.1:50051
  authz-sidecar tokens create sa-camera --server 127.0.0.1:50051
  authz-sidecar tokens revoke --identity carol --justification "lost laptop" --server 127.0.0.1:50051
"""


@click.group(name="tokens", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Access tokens: have one for a password, make, list and revoke them.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).
    """


@command.command(name="create")
@click.argument("identity")
@justification_option
@administration_options
def create(identity: str, justification: str, **options: Unpack[AdministrationOptions]) -> None:
    """Make an access token for IDENTITY, which lasts as the bundle says of its kind or role."""
    terminal = Terminal(options["color"])
    with show_secret(terminal, options["form"], None, None) as show:
        with administration(terminal, options) as directory:
            issued = directory.create_token(identity, justification=justification)
        show(issued)


@command.command(name="sign-in")
@click.argument("identity")
@administration_options
def sign_in(identity: str, **options: Unpack[AdministrationOptions]) -> None:
    """Trade IDENTITY's password for an access token. It is asked for, or read from standard input."""
    terminal = Terminal(options["color"])
    password = read_password(terminal, confirm=False)
    with show_secret(terminal, options["form"], None, None) as show:
        with administration(terminal, options) as directory:
            issued = directory.sign_in(identity, password)
        show(issued)


@command.command(name="list")
@click.argument("identity")
@limit_option
@administration_options
def list_tokens(identity: str, limit: int, **options: Unpack[AdministrationOptions]) -> None:
    """List the access tokens of IDENTITY that still hold."""
    show_list(options, COLUMNS, limit, lambda directory: directory.list_tokens, identity=identity)


@command.command(name="revoke")
@click.argument("id", required=False)
@click.option("--identity", default="", metavar="ID", help="All tokens of this identity.")
@justification_option
@administration_options
def revoke(id: str | None, identity: str, justification: str, **options: Unpack[AdministrationOptions]) -> None:
    """End the access token ID, or all of an identity, at once."""
    terminal = Terminal(options["color"])
    if bool(id) == bool(identity):
        raise CommandError(
            terminal,
            (
                "neither one token nor one identity is named",
                "give the token's id, or `--identity ID` for all of an identity",
            ),
        )
    with administration(terminal, options) as directory:
        number = directory.revoke_tokens(id=id or "", identity=identity, justification=justification)
    terminal.result((json.dumps({"revoked": number}) if options["form"] == "json" else f"revoked {number}",))


@command.command(name="set-password")
@click.argument("identity")
@click.option("--remove", is_flag=True, help="Leave the user without a password.")
@justification_option
@administration_options
def set_password(identity: str, remove: bool, justification: str, **options: Unpack[AdministrationOptions]) -> None:
    """Give the user IDENTITY another password. It is asked for, or read from standard input."""
    terminal = Terminal(options["color"])
    password = "" if remove else read_password(terminal, confirm=True)
    with administration(terminal, options) as directory:
        directory.set_password(identity, password, justification=justification)
    done = "removed" if remove else "set"
    if options["form"] == "json":
        terminal.result((json.dumps({"identity": identity, "password": done}),))
    else:
        terminal.result((f"the password is {done}: {visible(identity)}",))


def read_password(terminal: Terminal, *, confirm: bool) -> str:
    """A password, asked for on a terminal, else the first line of standard input; raises CommandError for none."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    else:
        password = sys.stdin.readline(MAX_PASSWORD + 2).rstrip("\r\n")
    if not password or len(password) > MAX_PASSWORD:
        raise CommandError(
            terminal, ("no password is given", "type it when asked, or write it as one line to standard input")
        )
    return password
