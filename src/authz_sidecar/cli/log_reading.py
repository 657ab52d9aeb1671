"""Decision logs as commands are given them: files, plain or compressed, or standard input, read in pieces."""

import gc
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import WARNING, CommandError, Terminal
from authz_sidecar.review.logged_lines import LogFacts
from authz_sidecar.review.report.log_facts import caveats

STANDARD_INPUT = "-"
CHUNK_BYTES = 1 << 18
# No line of a log is as long: values, attributes and context are bounded.
MAX_LINE_BYTES = 1 << 20
GZIP = b"\x1f\x8b"


class Lines(NamedTuple):
    """Some lines of a log; with `torn` the last one ends where the file ends, without a line break."""

    lines: list[bytes]
    torn: bool = False


def require_logs(terminal: Terminal, logs: Sequence[str]) -> None:
    """Raise CommandError unless each can be opened."""
    for log in logs:
        if log == STANDARD_INPUT:
            continue
        path = Path(log)
        try:
            with path.open("rb"):
                continue
        except IsADirectoryError:
            problem = (f"`{log}` is a directory", "name the files of the log, such as `decisions.*.jsonl`")
        except OSError as error:
            why = (error.strerror or "unknown reason").lower()
            problem = (f"`{log}` cannot be read: {why}", "name the files of a decision log, or `-` for standard input")
        raise CommandError(terminal, problem)
    if list(logs).count(STANDARD_INPUT) > 1:
        raise CommandError(terminal, ("standard input is named twice", "name `-` once"))


def read_logs(terminal: Terminal, logs: Sequence[str], progress: Progress) -> Iterator[Lines]:
    """The lines of all logs. Progress advances by pieces of what is read from disk.

    Nothing that is made of lines refers to itself: Python need not search it for garbage meanwhile.
    """
    gc.disable()
    try:
        yield from _read_all(terminal, logs, progress)
    finally:
        gc.enable()


def _read_all(terminal: Terminal, logs: Sequence[str], progress: Progress) -> Iterator[Lines]:
    sizes = [0 if log == STANDARD_INPUT else Path(log).stat().st_size for log in logs]
    progress.step("replaying the log", None if STANDARD_INPUT in logs else sum(sizes) // CHUNK_BYTES + 1)
    for log in logs:
        if log == STANDARD_INPUT:
            yield from _read(terminal, log, sys.stdin.buffer, progress)
            continue
        try:
            with Path(log).open("rb") as file:
                yield from _read(terminal, log, file, progress)
        except OSError as error:
            why = (error.strerror or "unknown reason").lower()
            raise CommandError(terminal, (f"`{log}` cannot be read: {why}", "")) from error


def require_decisions(terminal: Terminal, facts: LogFacts, remedy: str = "") -> None:
    """Raise CommandError for a log that tells nothing: that is no sign that nothing changes, or is needed. `remedy` is
    what to do about lines that rest on a directory ("" for nothing)."""
    if facts.decisions:
        return
    help = "give files that `serve --decision-log` has written"
    why = "; ".join(caveats(facts)) or ("it has none of that time" if facts.outside else "there are none in it")
    raise CommandError(
        terminal,
        (f"no decision of the log can be replayed: {why}", (facts.by_directory and remedy) or help),
    )


def _read(terminal: Terminal, log: str, file: IO[bytes], progress: Progress) -> Iterator[Lines]:
    raw = io.BufferedReader(_Counted(file, progress), CHUNK_BYTES)
    compressed = raw.peek(2)[:2] == GZIP
    source: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]  # they read alike
    rest = b""
    skipping = False
    while True:
        try:
            # As much as there is: a pipe need not fill a chunk.
            chunk = source.read1(CHUNK_BYTES) if hasattr(source, "read1") else source.read(CHUNK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            terminal.note((("warning:", WARNING), f" `{log}` ends early: {str(error).lower().rstrip('.')}"))
            chunk = b""
        if not chunk:
            break
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if skipping and lines:
            # The end of a line that was given up.
            lines[0] = b"?"
            skipping = False
        if len(rest) > MAX_LINE_BYTES or skipping:
            rest, skipping = b"", True
        yield Lines(lines)
    if skipping:
        yield Lines([b"?"])
    elif rest:
        yield Lines([rest], torn=True)


class _Counted(io.RawIOBase):
    """Bytes of a file, whose number progress is told."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._fd = file.fileno()
        self._progress = progress
        self._untold = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # the buffer of a BufferedReader
        """Read some."""
        number = os.readv(self._fd, [buffer])
        self._untold += number
        while self._untold >= CHUNK_BYTES:
            self._untold -= CHUNK_BYTES
            self._progress.advance()
        return number
