"""`authz-sidecar role`: change what a role may do, in the words of the matrix."""

from typing import Unpack

import click

from authz_sidecar.bundle.policy_edit import Changed, PolicyEditor
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.editing import EditOptions, edit_options, edit_policies

EXAMPLES = """\b
Examples:
  authz-sidecar role toggle BILLING PAYROLL --dry-run
  authz-sidecar role grant CLIENT delete report --scope own
  authz-sidecar role revoke CLIENT delete report --commit --justification "asked for by legal"
"""


@click.group(name="role", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """Change what a role may do: the files are edited in place, and the access that changes is shown first."""


@command.command(name="toggle")
@click.argument("role")
@click.argument("data_domain", metavar="DATA_DOMAIN")
@edit_options
def toggle(role: str, data_domain: str, **options: Unpack[EditOptions]) -> None:
    """Give ROLE the data domain if it has it not, else take it away."""

    def make(editor: PolicyEditor) -> Changed:
        return editor.toggle(role, data_domain)[0]

    edit_policies(options, f"Toggle {data_domain} for {role}", make)


@command.command(name="grant")
@click.argument("role")
@click.argument("action")
@click.argument("object_type", metavar="OBJECT_TYPE")
@click.option("--scope", type=click.Choice(("platform", "company", "own")), help="By default that of the role.")
@click.option("--deny", is_flag=True, help="Refuse the action, whatever other grants say.")
@edit_options
def grant(
    role: str, action: str, object_type: str, scope: str | None, deny: bool, **options: Unpack[EditOptions]
) -> None:
    """Give ROLE the ACTION on objects of OBJECT_TYPE; `*` stands for any."""
    verb = "Refuse" if deny else "Give"
    whose = " of their own" if scope == "own" else ""
    edit_policies(
        options,
        f"{verb} {role} {action} of {object_type}{whose}",
        lambda editor: editor.grant(role, action, object_type, scope=scope, deny=deny),
    )


@command.command(name="revoke")
@click.argument("role")
@click.argument("action")
@click.argument("object_type", metavar="OBJECT_TYPE")
@edit_options
def revoke(role: str, action: str, object_type: str, **options: Unpack[EditOptions]) -> None:
    """Take the ACTION on objects of OBJECT_TYPE from ROLE, whatever its scope."""
    edit_policies(
        options,
        f"Take {action} of {object_type} from {role}",
        lambda editor: editor.revoke(role, action, object_type),
    )
