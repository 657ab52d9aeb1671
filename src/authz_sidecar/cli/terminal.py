"""Where a command writes: results on standard output, everything else on standard error.

A line is a sequence of pieces, plain text or `(text, style)`. Styles are dropped unless colour is on, and only
then is rich loaded. Text from a bundle or a request passes through `visible`, so that it can neither move the
cursor nor reorder what a reviewer reads.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO, TypeAlias

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "ALLOW",
    "DENY",
    "ERROR",
    "FAINT",
    "HELP",
    "PLACE",
    "WARNING",
    "CommandError",
    "Line",
    "Piece",
    "Terminal",
    "Written",
    "end",
    "plain",
    "visible",
]

Piece: TypeAlias = str | tuple[str, str]
Line: TypeAlias = tuple[Piece, ...]

ALLOW = "bold green"
DENY = "bold red"
ERROR = "bold red"
WARNING = "bold yellow"
PLACE = "bold"
FAINT = "dim"
HELP = "cyan"


def visible(text: str) -> str:
    """`text` with what cannot be printed or seen escaped, as `values.visible` does."""
    if text.isascii() and text.isprintable():
        return text
    # Nearly no text comes here: commands that only list or complete load no values.
    from authz_sidecar.values.visible import visible as escaped

    return escaped(text)


def plain(line: Line) -> str:
    """The text of a line, without its styles."""
    return "".join(piece if isinstance(piece, str) else piece[0] for piece in line)


class Written(Protocol):
    """What takes text."""

    def write(self, text: str, /) -> object:
        """Take some."""


class _Shown:
    """A terminal that takes lines."""

    def write(self, text: str, /) -> None:
        """Show a line."""
        sys.stdout.write(visible(text.rstrip("\r\n")) + "\n")


class Terminal:
    """The two streams of a command and whether they take colour.

    `color` is `always`, `never` or `auto`: colour on a terminal unless `NO_COLOR` is set and not empty
    (https://no-color.org), or when `FORCE_COLOR` asks for it. An explicit `always` outranks `NO_COLOR`.
    """

    def __init__(self, color: str = "auto") -> None:
        self._color = color
        for stream in (sys.stdout, sys.stderr):
            # A file name that is not UTF-8, or a terminal that is not, must not end the command with a traceback.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    def result(self, *lines: Line) -> None:
        """Write lines to standard output."""
        self._write(sys.stdout, lines)

    def text(self, text: str) -> None:
        """Write a file's text to standard output: as it is, or on a terminal with what is not printable escaped."""
        lines = text.removesuffix("\n").split("\n")
        if sys.stdout.isatty():
            lines = [visible(line.replace("\t", "    ")) for line in lines]
        sys.stdout.writelines(f"{line}\n" for line in lines)

    @property
    def lines(self) -> Written:
        """Where a file's lines are written on standard output, each with its end: as they are, or on a terminal with
        what is not printable escaped."""
        if sys.stdout.isatty():
            return _Shown()
        # Cells hold line ends of their own, which must stay as they are.
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(newline="")
        return sys.stdout

    def note(self, *lines: Line) -> None:
        """Write lines to standard error."""
        self._write(sys.stderr, lines)

    @property
    def width(self) -> int:
        """How many columns standard output has; 0 where it is no terminal."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0

    @property
    def takes_progress(self) -> bool:
        """Whether standard error is a terminal on which a line can be drawn anew."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def progress_console(self) -> "Console":
        """Standard error as rich draws on it."""
        from rich.console import Console

        return Console(file=sys.stderr, force_terminal=True, no_color=not self._takes_color(sys.stderr))

    def _takes_color(self, stream: TextIO) -> bool:
        if self._color != "auto":
            return self._color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def _write(self, stream: TextIO, lines: Iterable[Line]) -> None:
        if not self._takes_color(stream):
            stream.writelines(f"{plain(line)}\n" for line in lines)
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(file=stream, force_terminal=True, color_system="standard", no_color=False, highlight=False)
        for line in lines:
            console.print(Text.assemble(*line), soft_wrap=True)


class CommandError(click.ClickException):
    """What keeps a command from answering: each a message and its remedy ("" for none). Exits 2."""

    exit_code = 2

    def __init__(self, terminal: Terminal, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(message for message, _ in problems))
        self._terminal = terminal
        self._problems = problems

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the problems to standard error."""
        for message, help in self._problems:
            self._terminal.note((("error:", ERROR), f" {visible(message)}"))
            if help:
                self._terminal.note(("  ", ("help:", HELP), f" {visible(help)}"))


def end(code: int) -> None:
    """End the running command with an exit code."""
    click.get_current_context().exit(code)
