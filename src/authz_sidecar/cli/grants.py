"""`authz-sidecar grants`: grants of single identities of a directory."""

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
from authz_sidecar.cli.identities import GRANT_COLUMNS
from authz_sidecar.cli.listing import show_list
from authz_sidecar.cli.removal import delete_command
from authz_sidecar.cli.terminal import Terminal
from authz_sidecar.directory.storage.records import GrantRecord

EXAMPLES = """\b
Examples:
  authz-sidecar grants create etl read dataset --id 'sales-*' --expires 90d --directory identities.db
  authz-sidecar grants create carol delete report --deny --company acme --server 127.0.0.1:50051
"""


@click.group(name="grants", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Grants of single identities of a directory, beside those of their roles.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).
    """


@command.command(name="create")
@click.argument("identity")
@click.argument("actions", nargs=-1, required=True, metavar="ACTION… OBJECT_TYPE")
@click.option(
    "--id", "object_id", metavar="ID", default="*", show_default=True, help="An id, or a beginning followed by `*`."
)
@company_option("The company in which it holds; by default the platform.")
@click.option(
    "--scope",
    type=click.Choice(("platform", "company", "own")),
    help="Default: `company` with `--company`, else `platform`.",
)
@click.option("--deny", is_flag=True, help="Refuse the actions, whatever other grants say.")
@click.option(
    "--when",
    "condition",
    default="",
    metavar="TEXT",
    help="Only where this holds: a condition, as in a bundle's `when`.",
)
@expires_option("When it ends; by default never.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@justification_option
@idempotency_option
@dry_run_option
@administration_options
def create(
    identity: str,
    actions: tuple[str, ...],
    object_id: str,
    company: str,
    scope: str | None,
    deny: bool,
    condition: str,
    expires: float | None,
    description: str,
    justification: str,
    idempotency_key: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Grant IDENTITY the ACTIONs on objects of OBJECT_TYPE; `*` stands for any."""
    if len(actions) < 2:
        raise click.UsageError("give at least one action, and then the object type")
    terminal = Terminal(options["color"])
    record = GrantRecord(
        identity=identity,
        company=company,
        object_type=actions[-1],
        object_id=object_id,
        actions=actions[:-1],
        scope=scope or "",
        effect="deny" if deny else "allow",
        condition=condition,
        expires_at=expires,
        description=description,
        justification=justification,
    )
    with administration(terminal, options) as directory:
        made = directory.create_grant(record, idempotency_key=idempotency_key, dry_run=dry_run)
    show_record(terminal, options["form"], made)


@command.command(name="list")
@click.option("--identity", default="", metavar="ID", help="Only those of this identity.")
@in_company_option
@limit_option
@administration_options
def list_grants(identity: str, company: str | None, limit: int, **options: Unpack[AdministrationOptions]) -> None:
    """List grants of identities."""
    show_list(
        options, GRANT_COLUMNS, limit, lambda directory: directory.list_grants, identity=identity, company=company
    )


command.add_command(delete_command("Take the grant ID away.", lambda directory: directory.delete_grant))
