"""`authz-sidecar identities`: users and service accounts of a directory."""

import json
from pathlib import Path
from typing import Unpack

import click

from authz_sidecar.cli.administration import (
    AdministrationOptions,
    administration,
    administration_options,
    export_options,
)
from authz_sidecar.cli.change_options import (
    company_option,
    dry_run_option,
    etag_option,
    idempotency_option,
    in_company_option,
    justification_option,
    limit_option,
)
from authz_sidecar.cli.columns import record_data, show_record, show_records
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.listing import all_records, show_list
from authz_sidecar.cli.removal import delete_command
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.directory.storage.records import IdentityRecord
from authz_sidecar.values.identity import IdentityKind

KINDS = {kind.label.replace("_", "-"): kind for kind in IdentityKind}
COLUMNS = {"id": "ID", "kind": "KIND", "company": "COMPANY", "active": "ACTIVE", "name": "NAME", "flags": "FLAGS"}

ASSIGNMENT_COLUMNS = {
    "id": "ID",
    "identity": "IDENTITY",
    "role": "ROLE",
    "company": "COMPANY",
    "source": "SOURCE",
    "expires_at": "EXPIRES",
    "justification": "WHY",
}
GRANT_COLUMNS = {
    "id": "ID",
    "identity": "IDENTITY",
    "effect": "EFFECT",
    "object_type": "TYPE",
    "object_id": "OBJECT",
    "actions": "ACTIONS",
    "company": "COMPANY",
    "scope": "SCOPE",
    "condition": "WHEN",
    "expires_at": "EXPIRES",
}
SHARE_COLUMNS = {
    "id": "ID",
    "identity": "IDENTITY",
    "object_type": "TYPE",
    "object_id": "OBJECT",
    "actions": "ACTIONS",
    "impersonation": "IMPERSONATION",
    "company": "COMPANY",
    "expires_at": "EXPIRES",
}
FLAG_VALUES: dict[str, bool | None] = {"on": True, "off": False, "default": None}

EXAMPLES = """\b
Examples:
  authz-sidecar identities create carol --company acme --role CLIENT --name "Carol" --server 127.0.0.1:50051
  authz-sidecar identities list --company acme --directory identities.db
  authz-sidecar identities deactivate carol --justification "left the company" --server 127.0.0.1:50051
  authz-sidecar identities import people.csv --dry-run --directory identities.db
"""


@click.group(name="identities", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Users and service accounts: make, show, change, remove, import and export them.

    Each works on a running sidecar (`--server`), in the name of whom your credential stands for, or on a store on this
    machine (`--directory`).
    """


@command.command(name="create")
@click.argument("id")
@click.option(
    "--kind", type=click.Choice(tuple(KINDS)), default="user", show_default=True, help="A person or a program."
)
@company_option("The company that it belongs to; by default none.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="A role that it gets; may be repeated. Default: the bundle's default role, if it has one.",
)
@click.option("--name", default="", metavar="TEXT", help="What people call it.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@click.option("--flag", "flags", multiple=True, metavar="NAME=on|off", help="Switch a flag; may be repeated.")
@click.option("--inactive", is_flag=True, help="Make it switched off: it may do nothing until `activate`.")
@justification_option
@idempotency_option
@dry_run_option
@administration_options
def create(
    id: str,
    kind: str,
    company: str,
    roles: tuple[str, ...],
    name: str,
    description: str,
    flags: tuple[str, ...],
    inactive: bool,
    justification: str,
    idempotency_key: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Make the identity ID."""
    terminal = Terminal(options["color"])
    record = IdentityRecord(
        id=id,
        kind=KINDS[kind],
        company=company,
        active=not inactive,
        name=name,
        description=description,
        flags={flag: on for flag, on in _read_flags(terminal, flags).items() if on is not None},
    )
    with administration(terminal, options) as directory:
        made = directory.create_identity(
            record, roles, justification=justification, idempotency_key=idempotency_key, dry_run=dry_run
        )
    show_record(terminal, options["form"], made)


def _read_flags(terminal: Terminal, flags: tuple[str, ...]) -> dict[str, bool | None]:
    """Flags by name; None is the default. Raises CommandError."""
    read: dict[str, bool | None] = {}
    for flag in flags:
        name, _, value = flag.partition("=")
        if value not in FLAG_VALUES:
            help = "write `NAME=on`, `NAME=off` or `NAME=default`"
            raise CommandError(terminal, (f"`{flag}` switches no flag", help))
        read[name] = FLAG_VALUES[value]
    return read


@command.command(name="show")
@click.argument("id")
@administration_options
def show(id: str, **options: Unpack[AdministrationOptions]) -> None:
    """Show the identity ID and what it holds."""
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        record = directory.get_identity(id)
        held = {
            title: (columns, list(all_records(listed, identity=id)))
            for title, columns, listed in (
                ("assignments", ASSIGNMENT_COLUMNS, directory.list_assignments),
                ("grants", GRANT_COLUMNS, directory.list_grants),
                ("shares", SHARE_COLUMNS, directory.list_shares),
            )
        }
    if options["form"] == "json":
        holdings = {title: [record_data(found) for found in records] for title, (_, records) in held.items()}
        terminal.result((json.dumps(record_data(record) | holdings),))
        return
    show_record(terminal, options["form"], record)
    for title, (columns, records) in held.items():
        if records:
            terminal.result(("",), (f"{title}:",))
            show_records(terminal, options["form"], columns, records)


@command.command(name="list")
@in_company_option
@click.option("--kind", type=click.Choice(tuple(KINDS)), help="Only of this kind.")
@click.option("--role", default="", metavar="ROLE", help="Only those that hold this role.")
@click.option("--prefix", default="", metavar="TEXT", help="Only those whose id or name begins so.")
@click.option("--active/--inactive", default=None, help="Only those that are switched on, or off.")
@limit_option
@administration_options
def list_identities(
    company: str | None,
    kind: str | None,
    role: str,
    prefix: str,
    active: bool | None,
    limit: int,
    **options: Unpack[AdministrationOptions],
) -> None:
    """List identities, in the order of their ids."""
    show_list(
        options,
        COLUMNS,
        limit,
        lambda directory: directory.list_identities,
        company=company,
        kind=None if kind is None else KINDS[kind],
        role=role,
        prefix=prefix,
        active=active,
    )


@command.command(name="update")
@click.argument("id")
@click.option("--name", metavar="TEXT", help="What people call it.")
@click.option("--description", metavar="TEXT", help="What it is for.")
@click.option("--flag", "flags", multiple=True, metavar="NAME=on|off|default", help="Switch a flag; may be repeated.")
@etag_option
@justification_option
@dry_run_option
@administration_options
def update(
    id: str,
    name: str | None,
    description: str | None,
    flags: tuple[str, ...],
    expect: int | None,
    justification: str,
    dry_run: bool,
    **options: Unpack[AdministrationOptions],
) -> None:
    """Change what the identity ID is called, or its flags."""
    terminal = Terminal(options["color"])
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = name
    if description is not None:
        changes["description"] = description
    changes |= {f"flags.{flag}": on for flag, on in _read_flags(terminal, flags).items()}
    if not changes:
        raise CommandError(terminal, ("nothing is to be changed", "give `--name`, `--description` or `--flag`"))
    with administration(terminal, options) as directory:
        changed = directory.update_identity(id, changes, expect=expect, justification=justification, dry_run=dry_run)
    show_record(terminal, options["form"], changed)


def _switch(id: str, active: bool, justification: str, dry_run: bool, options: AdministrationOptions) -> None:
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        changed = directory.update_identity(id, {"active": active}, justification=justification, dry_run=dry_run)
    show_record(terminal, options["form"], changed)


@command.command(name="activate")
@click.argument("id")
@justification_option
@dry_run_option
@administration_options
def activate(id: str, justification: str, dry_run: bool, **options: Unpack[AdministrationOptions]) -> None:
    """Switch the identity ID on."""
    _switch(id, True, justification, dry_run, options)


@command.command(name="deactivate")
@click.argument("id")
@justification_option
@dry_run_option
@administration_options
def deactivate(id: str, justification: str, dry_run: bool, **options: Unpack[AdministrationOptions]) -> None:
    """Switch the identity ID off: it may do nothing, and its credentials stop at once."""
    _switch(id, False, justification, dry_run, options)


command.add_command(
    delete_command(
        "Remove the identity ID with its roles, grants, shares and credentials.",
        lambda directory: directory.delete_identity,
    )
)


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--update", "updating", is_flag=True, help="Change identities that exist to what the file says.")
@justification_option
@dry_run_option
@administration_options
def import_identities(
    file: Path, updating: bool, justification: str, dry_run: bool, **options: Unpack[AdministrationOptions]
) -> None:
    """Make the identities of FILE: CSV with a header, or JSON lines (`*.jsonl`), as `export` writes them.

    Whoever exists is refused, unless `--update` is given. Exits 1 where some were refused; the others are made.
    """
    from authz_sidecar.cli.identity_exchange import import_file

    import_file(Terminal(options["color"]), file, updating, justification, dry_run, options)


@command.command(name="export")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="Where to write. Default: standard output."
)
@in_company_option
@export_options
def export_identities(output: Path | None, company: str | None, **options: Unpack[AdministrationOptions]) -> None:
    """Write all identities with their roles, without credentials.

    As JSON lines, which `diff --identities` reads as well, or as CSV for a spreadsheet; `import` takes both.
    """
    from authz_sidecar.cli.identity_exchange import export_file

    export_file(Terminal(options["color"]), output, company, options)
