"""Places in a bundle as a reader finds them: paths from the current directory, and the source lines."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.values import Span


def require_directory(terminal: Terminal, policies: Path) -> None:
    """Raise CommandError unless `policies` is a directory."""
    try:
        readable = policies.is_dir()
        problem = f"`{policies}` is not a directory" if policies.exists() else f"there is no directory `{policies}`"
    except OSError as error:
        readable, problem = False, f"`{policies}` cannot be read: {(error.strerror or 'unknown reason').lower()}"
    if not readable:
        raise CommandError(terminal, (problem, "name the directory that holds the bundle's `model.conf`"))


# How messages name a second place of the bundle: in backticks, or after `at` with its column.
_NAMED = re.compile(
    r"(?<=`)(?P<file>[^`]+):(?P<line>[1-9]\d{0,8})(?=`)|(?<= at )(?P<bare>\S+?):(?P<row>\d{1,9}):(?=\d)"
)


# How rules that are records of a directory name their place.
DIRECTORY = "directory:"


class Places:
    """The places of the bundle in `root`, whose files were read as `files` (name in the bundle -> bytes).

    Only these bytes are shown: a file that the bundle's reader refused (a link out of the directory, say) is
    never opened for its source line.
    """

    def __init__(self, root: Path, files: Mapping[str, bytes], outside: frozenset[str] = frozenset()) -> None:
        """`outside` are places that are not files of the bundle, and are shown as they are."""
        self._root = root
        self._outside = outside
        self._files = files
        self._lines: dict[str, list[str]] = {}

    def path(self, file: str) -> str:
        """The path of one of the bundle's files ("" for the bundle itself), relative to the current directory
        where it lies below it, else absolute."""
        if file in self._outside or file.startswith(DIRECTORY):
            return file
        here = Path.cwd()
        # Not resolved: the path stays the one that the reader gave, also through a link.
        full = Path(os.path.normpath(here / self._root / file))
        return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)

    def show(self, span: Span) -> str:
        """`policies/roles.yaml:12:7`, or the path alone for a file as a whole."""
        return str(Span(self.path(span.file), span.line, span.column))

    def in_message(self, message: str) -> str:
        """A message or help in which the places that it names are given as `show` gives a finding's own."""

        def shown(found: re.Match[str]) -> str:
            file = found["file"] or found["bare"]
            return self.path(file) + found.group()[len(file) :] if file in self._files else found.group()

        return _NAMED.sub(shown, message)

    def named_in(self, message: str) -> Iterator[Span]:
        """The places that a message names."""
        for found in _NAMED.finditer(message):
            file = found["file"] or found["bare"]
            if file in self._files:
                yield Span(file, int(found["line"] or found["row"]))

    def source_line(self, span: Span) -> str | None:
        """The line at `span`, or None where there is none to show."""
        lines = self._lines.get(span.file)
        if lines is None:
            content = self._files.get(span.file, b"")
            try:
                lines = content.decode("utf-8").split("\n")
            except UnicodeDecodeError:
                lines = []
            self._lines[span.file] = lines
        if not 0 < span.line <= len(lines):
            return None
        return lines[span.line - 1].rstrip("\r")
