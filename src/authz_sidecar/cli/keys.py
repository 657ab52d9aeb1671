"""`authz-sidecar keys`: API keys of a directory."""

from pathlib import Path
from typing import Unpack

import click

from authz_sidecar.cli.administration import AdministrationOptions, administration, administration_options
from authz_sidecar.cli.change_options import (
    dry_run_option,
    etag_option,
    idempotency_option,
    in_company_option,
    justification_option,
    limit_option,
)
from authz_sidecar.cli.columns import show_record
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.expiry import PeriodType, expires_option
from authz_sidecar.cli.listing import show_list
from authz_sidecar.cli.secret_output import secret_options, show_secret
from authz_sidecar.cli.terminal import CommandError, Terminal

COLUMNS = {
    "id": "ID",
    "identity": "IDENTITY",
    "name": "NAME",
    "active": "ACTIVE",
    "expires_at": "EXPIRES",
    "revoked_at": "REVOKED",
    "last_used_at": "LAST USED",
}

EXAMPLES = """\b
Examples:
  authz-sidecar keys create sa-billing "nightly run" --expires 1y --output key.csv --server 127.0.0.1:50051
  authz-sidecar keys rotate KEY --overlap 24h --server 127.0.0.1:50051
  authz-sidecar keys list --identity sa-billing --directory identities.db
"""


@click.group(name="keys", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """API keys: make, show, change, rotate and revoke them. A secret is shown once, when the key is made.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).
    """


@command.command(name="create")
@click.argument("identity")
@click.argument("name")
@expires_option("When it stops; by default never, where the bundle allows it.")
@secret_options
@justification_option
@idempotency_option
@dry_run_option
@administration_options
def create(
    identity: str,
    name: str,
    expires: float | None,
    output: Path | None,
    shape: str | None,
    justification: str,
    idempotency_key: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Make an API key called NAME for IDENTITY."""
    terminal = Terminal(options["color"])
    with show_secret(terminal, options["form"], output, shape) as show:
        with administration(terminal, options) as directory:
            issued = directory.create_key(
                identity,
                name,
                expires_at=expires,
                justification=justification,
                idempotency_key=idempotency_key,
                dry_run=dry_run,
            )
        if dry_run:
            show_record(terminal, options["form"], issued.record)
        else:
            show(issued)


@command.command(name="show")
@click.argument("id")
@administration_options
def show_key(id: str, **options: Unpack[AdministrationOptions]) -> None:
    """Show the key ID, without its secret."""
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        record = directory.get_key(id)
    show_record(terminal, options["form"], record)


@command.command(name="list")
@click.option("--identity", default="", metavar="ID", help="Only those of this identity.")
@in_company_option
@click.option("--all", "include_ended", is_flag=True, help="Revoked and expired ones too.")
@limit_option
@administration_options
def list_keys(
    identity: str,
    company: str | None,
    include_ended: bool,
    limit: int,
    **options: Unpack[AdministrationOptions],
) -> None:
    """List keys, without their secrets."""
    show_list(
        options,
        COLUMNS,
        limit,
        lambda directory: directory.list_keys,
        identity=identity,
        company=company,
        include_ended=include_ended,
    )


@command.command(name="update")
@click.argument("id")
@click.option("--name", metavar="TEXT", help="Its new name.")
@click.option("--on/--off", "active", default=None, help="Switch it on or off.")
@expires_option("When it stops.")
@etag_option
@justification_option
@administration_options
def update(
    id: str,
    name: str | None,
    active: bool | None,
    expires: float | None,
    expect: int | None,
    justification: str,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Rename the key ID, switch it, or have it expire earlier."""
    terminal = Terminal(options["color"])
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = name
    if active is not None:
        changes["active"] = active
    if expires is not None:
        changes["expires_at"] = expires
    if not changes:
        raise CommandError(terminal, ("nothing is to be changed", "give `--name`, `--on`, `--off` or `--expires`"))
    with administration(terminal, options) as directory:
        changed = directory.update_key(id, changes, expect=expect, justification=justification)
    show_record(terminal, options["form"], changed)


@command.command(name="rotate")
@click.argument("id")
@click.option(
    "--overlap",
    type=PeriodType(),
    default=None,
    metavar="PERIOD",
    help="How long the old key stays valid, such as `24h`; by default until it is revoked.",
)
@expires_option("When the new one stops; by default it lasts as long as the old one was to.")
@secret_options
@justification_option
@idempotency_option
@administration_options
def rotate(
    id: str,
    overlap: float | None,
    expires: float | None,
    output: Path | None,
    shape: str | None,
    justification: str,
    idempotency_key: str,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Make a new key in the place of the key ID, which stays valid meanwhile."""
    terminal = Terminal(options["color"])
    with show_secret(terminal, options["form"], output, shape) as show:
        with administration(terminal, options) as directory:
            issued = directory.rotate_key(
                id,
                overlap_seconds=overlap or 0.0,
                expires_at=expires,
                justification=justification,
                idempotency_key=idempotency_key,
            )
        show(issued)


@command.command(name="revoke")
@click.argument("id")
@justification_option
@administration_options
def revoke(id: str, justification: str, **options: Unpack[AdministrationOptions]) -> None:
    """End the key ID for good, at once."""
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        revoked = directory.revoke_key(id, justification=justification)
    show_record(terminal, options["form"], revoked)
