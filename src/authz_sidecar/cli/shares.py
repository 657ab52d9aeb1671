"""`authz-sidecar shares`: objects that are shared with single identities of a directory."""

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
from authz_sidecar.cli.columns import show_record
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.expiry import expires_option
from authz_sidecar.cli.identities import SHARE_COLUMNS
from authz_sidecar.cli.listing import show_list
from authz_sidecar.cli.removal import delete_command
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.directory.storage.records import ShareRecord

EXAMPLES = """\b
Examples:
  authz-sidecar shares create sa-erp-sync process:purchase-requests read start --impersonation --directory identities.db
  authz-sidecar shares update SHARE --no-impersonation --server 127.0.0.1:50051
"""


@click.group(name="shares", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Objects that are shared with single identities, and whether a service account may act there for users.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).
    """


@command.command(name="create")
@click.argument("identity")
@click.argument("object")
@click.argument("actions", nargs=-1, metavar="[ACTION…]")
@company_option("The company that the object belongs to; by default the platform.")
@click.option("--impersonation", is_flag=True, help="Let a service account act on it for users.")
@expires_option("When it ends; by default never.")
@justification_option
@idempotency_option
@dry_run_option
@administration_options
def create(
    identity: str,
    object: str,
    actions: tuple[str, ...],
    company: str,
    impersonation: bool,
    expires: float | None,
    justification: str,
    idempotency_key: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Share OBJECT (`type:id`, `type:beginning*` or `type:*`) with IDENTITY, who may do the ACTIONs there."""
    terminal = Terminal(options["color"])
    object_type, separator, object_id = object.partition(":")
    if not separator or not object_id:
        raise CommandError(
            terminal, (f"`{object}` names no object to share", "write `type:id`, or `type:*` for all of the type")
        )
    record = ShareRecord(
        identity=identity,
        company=company,
        object_type=object_type,
        object_id=object_id,
        actions=actions,
        impersonation=impersonation,
        expires_at=expires,
        justification=justification,
    )
    with administration(terminal, options) as directory:
        made = directory.create_share(record, idempotency_key=idempotency_key, dry_run=dry_run)
    show_record(terminal, options["form"], made)


@command.command(name="list")
@click.option("--identity", default="", metavar="ID", help="Only those with this identity.")
@in_company_option
@limit_option
@administration_options
def list_shares(identity: str, company: str | None, limit: int, **options: Unpack[AdministrationOptions]) -> None:
    """List what is shared with whom."""
    show_list(
        options, SHARE_COLUMNS, limit, lambda directory: directory.list_shares, identity=identity, company=company
    )


@command.command(name="update")
@click.argument("id")
@click.option("--impersonation/--no-impersonation", default=None, help="Switch impersonation on or off.")
@click.option(
    "--action", "actions", multiple=True, metavar="ACTION", help="All that the identity may do there; may be repeated."
)
@expires_option("When it ends.")
@etag_option
@justification_option
@dry_run_option
@administration_options
def update(
    id: str,
    impersonation: bool | None,
    actions: tuple[str, ...],
    expires: float | None,
    expect: int | None,
    justification: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Change the share ID."""
    terminal = Terminal(options["color"])
    changes: dict[str, object] = {}
    if impersonation is not None:
        changes["impersonation"] = impersonation
    if actions:
        changes["actions"] = actions
    if expires is not None:
        changes["expires_at"] = expires
    if not changes:
        raise CommandError(terminal, ("nothing is to be changed", "give `--impersonation`, `--action` or `--expires`"))
    with administration(terminal, options) as directory:
        changed = directory.update_share(id, changes, expect=expect, justification=justification, dry_run=dry_run)
    show_record(terminal, options["form"], changed)


command.add_command(delete_command("End the share ID.", lambda directory: directory.delete_share))
