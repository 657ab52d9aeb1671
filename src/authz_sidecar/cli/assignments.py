"""`authz-sidecar assignments`: roles that identities of a directory hold."""

from typing import Unpack

import click

from authz_sidecar.cli.administration import AdministrationOptions, administration, administration_options
from authz_sidecar.cli.change_options import (
    company_option,
    dry_run_option,
    etag_option,
    idempotency_option,
    in_company_option,
    justification_option,
    limit_option,
)
from authz_sidecar.cli.columns import show_record, show_records, show_removed
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.expiry import expires_option
from authz_sidecar.cli.identities import ASSIGNMENT_COLUMNS
from authz_sidecar.cli.listing import first_records
from authz_sidecar.cli.terminal import Terminal
from authz_sidecar.directory.records import AssignmentRecord

EXAMPLES = """\b
Examples:
  authz-sidecar assignments create carol CLIENT_ADMIN --company acme --server 127.0.0.1:50051
  authz-sidecar assignments create dana ADMIN --break-glass --expires 2h --justification "incident 42"
  authz-sidecar assignments list --role ADMIN --directory identities.db
"""


@click.group(name="assignments", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Roles that identities of a directory hold: assign them, show them, take them away.

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
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        found = first_records(
            terminal,
            limit,
            lambda size, token: directory.list_assignments(
                identity=identity,
                role=role,
                company=company,
                break_glass=break_glass,
                page_size=size,
                page_token=token,
            ),
        )
    show_records(terminal, options["form"], ASSIGNMENT_COLUMNS, found)


@command.command(name="delete")
@click.argument("id")
@etag_option
@justification_option
@dry_run_option
@administration_options
def delete(
    id: str, expect: int | None, justification: str, dry_run: bool, **options: Unpack[AdministrationOptions]
) -> None:
    """Take the role of the assignment ID away."""
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        directory.delete_assignment(id, expect=expect, justification=justification, dry_run=dry_run)
    show_removed(terminal, options["form"], id, dry_run=dry_run)
