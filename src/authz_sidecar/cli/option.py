"""Options that several commands share; `main` names the environment variable of each option."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DEFAULT_POLICIES = Path("policies")

Command = TypeVar("Command", bound=Callable[..., Any])


class Directory(click.Path):
    """A directory. Whether there is one is said by who reads it; a shell offers directories only."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """The shell's own completion of directories."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


def color_option(command: Command) -> Command:
    """`--color auto|always|never`."""
    return click.option(
        "--color",
        type=click.Choice(("auto", "always", "never")),
        default="auto",
        show_default=True,
        help="Colour the output. `auto` colours a terminal unless NO_COLOR is set.",
    )(command)


def format_option(*formats: str) -> Callable[[Command], Command]:
    """`--format`, one of `formats`, the first by default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The form of the result.",
    )


def policies_argument(command: Command) -> Command:
    """`[DIR]`, the bundle's directory; `AUTHZ_POLICIES` and then `./policies` stand in for it."""
    return click.argument(
        "policies",
        metavar="[DIR]",
        envvar="AUTHZ_POLICIES",
        default=DEFAULT_POLICIES,
        type=Directory(path_type=Path),
    )(command)


def policies_option(command: Command) -> Command:
    """`--policies DIR`, the bundle's directory."""
    return click.option(
        "--policies",
        metavar="DIR",
        default=DEFAULT_POLICIES,
        show_default=True,
        type=Directory(path_type=Path),
        help="The bundle's directory.",
    )(command)


def section_option(help: str) -> Callable[[Command], Command]:
    """`--section N`, which of a plain model's numbered sections."""
    return click.option("--section", metavar="N", help=help)
