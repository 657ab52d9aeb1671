"""`authz-sidecar what-can`: everything that one identity, or the holder of one role, may do."""

import json
from pathlib import Path

import click

from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.cli.directory import directory_option
from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.standing import (
    access_within,
    change_object,
    inexact_lines,
    inexact_object,
    permission_lines,
    permissions,
    require_values,
)
from authz_sidecar.cli.terminal import DENY, FAINT, CommandError, Terminal, end, visible
from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.wording import role_name
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, values_of

NOTHING = 1

EXAMPLES = """\b
Examples:
  authz-sidecar what-can carol
  authz-sidecar what-can carol --company acme
  authz-sidecar what-can role:CLIENT
"""


@click.command(name="what-can", epilog=EXAMPLES)
@click.argument("subject")
@click.option("--company", metavar="C", help="Only objects of this company; `''` for those of none.")
@policies_option
@directory_option("Count what identities of this directory hold, too: a file, or the URL of a database.")
@format_option("text", "json")
@color_option
def command(subject: str, company: str | None, policies: Path, directory: str | None, form: str, color: str) -> None:
    """Show everything that SUBJECT may do, and by which rules: an identity, or `role:NAME` for whoever holds just that.

    The answer is complete. Exits 0 when SUBJECT may do anything at all, 1 when nothing.
    """
    terminal = Terminal(color)
    require_values(terminal, {"subject": subject}, {"company": company})
    compiled = require_bundle(terminal, policies, directory)
    kind = _kind(terminal, compiled, subject)
    # Whom the policies do not name has what anybody has.
    region = Region(
        Box(company=ANY if company is None else values_of([company])),
        () if kind is Kind.ANYONE else (subject,),
        frozenset((kind,)),
    )
    found = access_within(terminal, compiled, region)
    changes = found.roles if kind is Kind.ROLE else found.identities
    if form == "json":
        shown = {
            "subject": subject,
            "known": kind is not Kind.ANYONE,
            "policy_version": compiled.policy_version,
            "access": [change_object(change, compiled.places) for change in changes],
            "inexact": [inexact_object(part, compiled.places) for part in found.inexact],
        }
        terminal.result((json.dumps(shown, indent=2),))
    else:
        if kind is Kind.ANYONE:
            terminal.note(((f"the policies do not name `{visible(subject)}`: this is what anybody may do", FAINT),))
        if not changes and not found.inexact:
            terminal.result((("nothing", DENY),))
        terminal.result(*permission_lines(permissions(changes, compiled), compiled.places))
        terminal.result(*inexact_lines(found.inexact, compiled.places))
    end(0 if changes or found.inexact else NOTHING)


def _kind(terminal: Terminal, compiled: CompiledBundle, subject: str) -> Kind:
    """What the policies know a subject as; raises CommandError for a role that they do not know."""
    space = AccessSpace(None, Material(compiled.bundle, compiled.snapshot))
    if subject in space.identities:
        return Kind.IDENTITY
    if subject in space.roles:
        return Kind.ROLE
    if subject.startswith(ROLE_PREFIX):
        guess = suggest(subject, space.roles, f"there are {listed(space.roles, 'and')}")
        raise CommandError(terminal, (f"the policies have no role {quote(role_name(subject))}", guess))
    return Kind.ANYONE
