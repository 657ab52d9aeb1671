"""`authz-sidecar assign`: give an identity a role, or take it away."""

from typing import Unpack

import click

from authz_sidecar.bundle.policy_edit import Changed, PolicyEditor
from authz_sidecar.cli.editing import EditOptions, edit_options, edit_policies

EXAMPLES = """\b
Examples:
  authz-sidecar assign carol CLIENT --company acme
  authz-sidecar assign carol CLIENT --company acme --remove --yes
"""


@click.command(name="assign", epilog=EXAMPLES)
@click.argument("subject")
@click.argument("role")
@click.option("--company", default="", metavar="C", help="The company, for company roles; platform roles take none.")
@click.option("--remove", is_flag=True, help="Take the role away instead.")
@edit_options
def command(subject: str, role: str, company: str, remove: bool, **options: Unpack[EditOptions]) -> None:
    """Give SUBJECT the ROLE: the assignments are edited in place, and the access that changes is shown first."""

    def make(editor: PolicyEditor) -> Changed:
        return editor.unassign(subject, role, company) if remove else editor.assign(subject, role, company)

    done = f"Take {role} from {subject}" if remove else f"Assign {role} to {subject}"
    edit_policies(options, done + (f" in {company}" if company else ""), make)
