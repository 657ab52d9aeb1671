"""`authz-sidecar assignments`: roles that identities of a directory hold."""

from typing import Unpack

import click

from authz_sidecar.cli.administration import AdministrationOptions, administration, administration_options
from authz_sidecar.cli.change_options import (
    company_option,
    dry_run_option,
    idempotency_option,
    in_company_option,
    justification_option,
    limit_option,
)
from authz_sidecar.cli.columns import show_record
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.expiry import expires_option
from authz_sidecar.cli.identities import ASSIGNMENT_COLUMNS
from authz_sidecar.cli.listing import show_list
from authz_sidecar.cli.removal import delete_command
from authz_sidecar.cli.terminal import Terminal
from authz_sidecar.directory.storage.records import AssignmentRecord

EXAMPLES = """\b
Examples:
  authz-sidecar assignments create carol CLIENT_ADMIN --company acme --server 127.0.0.1:50051
  authz-sidecar assignments create dana ADMIN --break-glass --expires 2h --justification "INC-42" --directory who.db
  authz-sidecar assignments list --role ADMIN --directory who.db
"""


@click.group(name="assignments", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Roles that identities of a directory hold: assign them, show them, take them away.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).

    `assign` changes the assignments of a bundle instead.
    """


@command.command(name="create")
@click.argument("identity")
@click.argument("role")
@company_option("The company, for company roles; platform roles take none.")
@expires_option("When it ends; by default never.")
@click.option("--replace", is_flag=True, help="Take the identity's other roles away in the same step.")
@click.option("--break-glass", is_flag=True, help="For an emergency: needs `--expires` and `--justification`.")
@justification_option
@idempotency_option
@dry_run_option
@administration_options
def create(
    identity: str,
    role: str,
    company: str,
    expires: float | None,
    replace: bool,
    break_glass: bool,
    justification: str,
    idempotency_key: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Give IDENTITY the ROLE."""
    terminal = Terminal(options["color"])
    record = AssignmentRecord(
        identity=identity,
        role=role,
        company=company,
        expires_at=expires,
        break_glass=break_glass,
        justification=justification,
    )
    with administration(terminal, options) as directory:
        made = directory.create_assignment(record, replace=replace, idempotency_key=idempotency_key, dry_run=dry_run)
    show_record(terminal, options["form"], made)


@command.command(name="list")
@click.option("--identity", default="", metavar="ID", help="Only those of this identity.")
@click.option("--role", default="", metavar="ROLE", help="Only of this role.")
@in_company_option
@click.option("--break-glass", is_flag=True, help="Only those for an emergency.")
@limit_option
@administration_options
def list_assignments(
    identity: str,
    role: str,
    company: str | None,
    break_glass: bool,
    limit: int,
    **options: Unpack[AdministrationOptions],
) -> None:
    """List who holds which role."""
    show_list(
        options,
        ASSIGNMENT_COLUMNS,
        limit,
        lambda directory: directory.list_assignments,
        identity=identity,
        role=role,
        company=company,
        break_glass=break_glass,
    )


command.add_command(
    delete_command("Take the role of the assignment ID away.", lambda directory: directory.delete_assignment)
)
