"""`authz-sidecar init`: a starter bundle, which lints and tests clean and explains its format in comments."""

import shlex
import sys
from pathlib import Path

import click

from authz_sidecar.cli.option import color_option, policies_argument
from authz_sidecar.cli.starter import TEMPLATES, in_the_way, starter_files, write_new
from authz_sidecar.cli.terminal import FAINT, CommandError, Terminal, visible
from authz_sidecar.values.request import value_problem

DEFAULT_TEMPLATE = next(iter(TEMPLATES))
MAX_NAME = 128
# A directory of this name says nothing about what it is for; the one that it lies in does.
NAMELESS = "policies"
MOST_SHOWN = 5

EXAMPLES = """\b
Examples:
  authz-sidecar init
  authz-sidecar init shop-policies --template data-domains --name shop
"""


@click.command(name="init", epilog=EXAMPLES)
@policies_argument
@click.option(
    "--template",
    type=click.Choice(tuple(TEMPLATES)),
    help=f"What the bundle begins with. On a terminal it is asked for, elsewhere it is `{DEFAULT_TEMPLATE}`.",
)
@click.option(
    "--name",
    metavar="NAME",
    help=f"The bundle's name; by default its directory's, or that of the directory around `{NAMELESS}`.",
)
@color_option
def command(policies: Path, template: str | None, name: str | None, color: str) -> None:
    """Write a starter bundle into DIR (default: ./policies), which must be empty or not exist."""
    terminal = Terminal(color)
    if name is None:
        name = _default_name(policies)
    elif problem := _name_problem(name):
        raise click.BadParameter(f"`{name}` {problem}", param_hint="'--name'")
    try:
        present = in_the_way(policies)
    except OSError as error:
        raise _cannot_write(terminal, policies, error) from error
    if present:
        shown = ", ".join(f"`{entry}`" for entry in present[:MOST_SHOWN])
        more = f" and {len(present) - MOST_SHOWN:,} more" if len(present) > MOST_SHOWN else ""
        raise CommandError(
            terminal,
            (
                f"`{policies}` is not empty: it holds {shown}{more}",
                "name a directory that is empty or does not exist yet, as in `authz-sidecar init NEW`",
            ),
        )
    if template is None:
        template = _ask_template(terminal)
    texts = starter_files(template, name)
    try:
        write_new(policies, texts)
    except OSError as error:
        raise _cannot_write(terminal, policies, error) from error
    for path in texts:
        terminal.result((("wrote ", FAINT), visible(str(policies / path))))
    where = visible(shlex.quote(str(policies)))
    terminal.note(
        ("next:",),
        (f"  authz-sidecar lint {where}",),
        (f"  authz-sidecar test {where}",),
        (f"  authz-sidecar serve --policies {where}",),
    )


def _ask_template(terminal: Terminal) -> str:
    """The template that somebody at a terminal chooses; the default where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return DEFAULT_TEMPLATE
    width = max(map(len, TEMPLATES))
    terminal.note(*((f"  {name:<{width}}  {purpose}",) for name, purpose in TEMPLATES.items()))
    chosen: str = click.prompt(
        "template", type=click.Choice(tuple(TEMPLATES)), default=DEFAULT_TEMPLATE, show_choices=False, err=True
    )
    return chosen


def _name_problem(name: str) -> str:
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters; at most {MAX_NAME} are taken"
    return value_problem(name)


def _default_name(policies: Path) -> str:
    folder = policies.resolve()
    name = folder.parent.name if folder.name == NAMELESS else folder.name
    return NAMELESS if _name_problem(name) else name


def _cannot_write(terminal: Terminal, policies: Path, error: OSError) -> CommandError:
    return CommandError(
        terminal,
        (
            f"cannot write to `{policies}`: {(error.strerror or 'unknown reason').lower()}",
            "name a directory that is empty or does not exist yet, where you may write",
        ),
    )
