"""Options that several commands share; `main` names the environment variable of each option."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DEFAULT_POLICIES = Path("policies")
# The forms of what is exported, the default first, and how the names of their files end.
EXPORT_SUFFIXES: Mapping[str, tuple[str, ...]] = {"jsonl": (".jsonl", ".ndjson"), "csv": (".csv",)}

Command = TypeVar("Command", bound=Callable[..., Any])


class Directory(click.Path):
    """A directory. Whether there is one is said by who reads it; a shell offers directories only."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """The shell's own completion of directories."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


class NumberRange(click.FloatRange):
    """A number in a range, which is neither infinite nor `nan`: no bound takes that one out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read `value`; fails as click does."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a valid float", param, ctx)
        return number


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


def export_format_option(command: Command) -> Command:
    """`--format jsonl|csv` of what may be written into a file; "" where it is not given. See `export_format`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(tuple(EXPORT_SUFFIXES)),
        callback=lambda _context, _parameter, value: value or "",
        help="The form of the result. Default: CSV for a FILE `*.csv`, else JSON lines.",
    )(command)


def export_format(form: str, output: Path | None) -> str:
    """The form of an export into `output`: `form`, or where that is "" what the name of the file says. Raises
    click.UsageError where both are given and differ: whoever reads the file goes by its name."""
    suffix = "" if output is None else output.suffix.lower()
    named = next((shape for shape, suffixes in EXPORT_SUFFIXES.items() if suffix in suffixes), "")
    if form and named and form != named:
        raise click.UsageError(f"`{output}` is a name for {named}, and `--format` is {form}: leave one of them away")
    return form or named or next(iter(EXPORT_SUFFIXES))


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
