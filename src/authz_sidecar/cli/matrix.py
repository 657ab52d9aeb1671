"""`authz-sidecar matrix`: what each role may do, as a table."""

from collections.abc import Collection
from pathlib import Path

import click

from authz_sidecar.bundle.wording import closest, listed, quote
from authz_sidecar.cli.loading import require_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_argument
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.review.matrix import access_matrix
from authz_sidecar.review.report.matrix import (
    View,
    matrix_html,
    matrix_markdown,
    matrix_svg,
    matrix_text,
    matrix_view,
)

EXAMPLES = """\b
Examples:
  authz-sidecar matrix policies
  authz-sidecar matrix --view actions --role CLIENT --role CLIENT_ADMIN
  authz-sidecar matrix --format html > matrix.html
"""


@click.command(name="matrix", epilog=EXAMPLES)
@policies_argument
@click.option(
    "--view",
    type=click.Choice(("data-domains", "types", "actions")),
    help="Roles by data domains (the default where the bundle has some), object types by roles (otherwise the "
    "default), or each action of each type by roles.",
)
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Only this role. Repeatable.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type of object. Repeatable.")
@format_option("text", "markdown", "html", "svg")
@color_option
def command(
    policies: Path, view: View | None, roles: tuple[str, ...], types: tuple[str, ...], form: str, color: str
) -> None:
    """Show what each role of the bundle in DIR (default: ./policies) may do, as a table.

    A cell is what somebody may do who holds that role and no other. `all`: to every object that the role reaches,
    `own`: to objects that the subject owns, `part`: some of it, `-`: nothing.
    """
    if view == "data-domains" and types:
        raise click.UsageError("`--type` chooses object types: leave `--view data-domains` away")
    terminal = Terminal(color)
    compiled = require_bundle(terminal, policies)
    if compiled.bundle.form != "yaml":
        raise CommandError(
            terminal,
            (
                "a plain Casbin bundle declares no types of object to make a table of",
                "ask `authz-sidecar what-can SUBJECT`, or `who-can ACTION OBJECT`",
            ),
        )
    matrix = access_matrix(compiled.bundle)
    chosen = view or ("data-domains" if matrix.data_domains and not types else "types")
    if chosen == "data-domains" and not matrix.data_domains:
        raise CommandError(terminal, ("the bundle has no data domains", "choose `--view types` or `--view actions`"))
    _require_known(terminal, roles, matrix.roles, "role")
    _require_known(terminal, types, matrix.types, "object type")
    shown = matrix_view(matrix, chosen, list(dict.fromkeys(roles)) or None, list(dict.fromkeys(types)) or None)
    title = f"Access by role: {compiled.bundle.name}"
    if form == "html":
        terminal.text(matrix_html(shown, title))
    elif form == "svg":
        terminal.text(matrix_svg(shown, title))
    elif form == "markdown":
        terminal.text("\n".join(matrix_markdown(shown)))
    else:
        terminal.text("\n".join(matrix_text(shown, terminal.width)))


def _require_known(terminal: Terminal, names: Collection[str], known: Collection[str], noun: str) -> None:
    for name in names:
        if name not in known:
            guess = closest(name, known)
            remedy = f"did you mean {quote(guess)}?" if guess else f"there are {listed(sorted(known), 'and')}"
            raise CommandError(terminal, (f"the bundle has no {noun} {quote(name)}", remedy))
