"""Where the lines of the decision log go: files that are rotated, or a stream that is there already."""

import datetime as dt
import json
import os
import re
import select
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

# What is written at once: more would only make what is lost larger when the disk is full.
FILE_BYTES = 1 << 16
# What a pipe takes as a whole (PIPE_BUF), so that the lines of several processes stay apart.
STREAM_BYTES = 4096
MODE = 0o600
STREAM_PATIENCE_SECONDS = 1.0
STREAMS = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}


class LogSink(Protocol):
    """Takes whole lines."""

    def room(self) -> int:
        """How many bytes of lines to give it at once; a longer line goes alone."""

    def write(self, lines: bytes) -> None:
        """Write lines. Raises OSError, and is then given the same lines again."""

    def tend(self) -> None:
        """Do what time demands; called a few times a second. Raises nothing."""

    def close(self) -> None:
        """Give the file back."""


class Rotation(msgspec.Struct, frozen=True):
    """When a file is full (`max_bytes`), when it is old (`max_age` seconds, 0: never), and how many full or old ones
    each worker keeps beside the one it writes (`keep`, 0: all)."""

    max_bytes: int = 100 * 1024 * 1024
    max_age: float = 86_400.0
    keep: int = 30


class RotatedFiles:
    """Files beside each other, one after the other: for `decisions.jsonl` those are
    `decisions.20260131T120000000000Z.0.jsonl` and so on, with the time in UTC at which each was begun and the worker's
    number. None is ever renamed, and no two workers write one.

    A file is begun by its first line, for its owner alone to read.
    """

    def __init__(self, path: Path, worker: int, rotation: Rotation, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._worker = worker
        self._rotation = rotation
        self._clock = clock
        self._name = re.compile(rf"{re.escape(path.stem)}\.\d{{8}}T\d{{12}}Z\.{worker}{re.escape(path.suffix)}")
        self._fd = -1
        self._size = 0
        self._began = 0.0

    def room(self) -> int:
        """A file is filled up before the next is begun."""
        left = self._rotation.max_bytes - self._size if self._fd >= 0 else self._rotation.max_bytes
        # Nothing may fit any more: then the next line begins the next file.
        return min(FILE_BYTES, left)

    def write(self, lines: bytes) -> None:
        """Append to the current file, or begin the next. Raises OSError, and has then written nothing."""
        if self._fd >= 0 and self._size and self._size + len(lines) > self._rotation.max_bytes:
            self.close()
        if self._fd < 0:
            self._open()
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            # A part of a line may have got there.
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def tend(self) -> None:
        """End a file that is old, or that somebody has removed."""
        if self._fd < 0:
            return
        old = self._rotation.max_age and self._clock() - self._began >= self._rotation.max_age
        if old or not os.fstat(self._fd).st_nlink:
            self.close()

    def close(self) -> None:
        """End the current file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        now = self._clock()
        moment = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")
        name = f"{self._path.stem}.{moment}.{self._worker}{self._path.suffix}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path.with_name(name), flags, MODE)
        self._size, self._began = 0, now
        if self._rotation.keep:
            # Their names sort by time.
            for old in sorted(self._mine())[: -self._rotation.keep - 1]:
                with suppress(OSError):
                    self._path.with_name(old).unlink()

    def _mine(self) -> Iterator[str]:
        with suppress(OSError), os.scandir(self._path.parent) as entries:
            for entry in entries:
                if self._name.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.name


class LogStream:
    """Standard output or error, or a pipe, socket or device with a name, which is opened by the first line.

    Other processes may write there too: lines are given in portions that stay whole.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        # What is left of lines that were begun.
        self._rest = b""

    def room(self) -> int:
        """What a pipe takes as a whole."""
        return STREAM_BYTES

    def write(self, lines: bytes) -> None:
        """Write, and wait for whoever reads. Raises OSError; given the same lines again, it goes on where it ended."""
        if self._fd < 0:
            number = STREAMS.get(self._path)
            # A pipe is opened when somebody reads it; until then lines wait.
            self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK) if number is None else os.dup(number)
        if not self._rest:
            # A terminal may be what reads.
            self._rest = lines if lines.isascii() else _escaped(lines)
        while self._rest:
            try:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
            except BlockingIOError:
                if not select.select((), (self._fd,), (), STREAM_PATIENCE_SECONDS)[1]:
                    raise

    def tend(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Leave the stream."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_sink(path: str, worker: int, rotation: Rotation) -> LogSink:
    """Where the lines of one worker go; `path` is a file's, `-`, or that of something that is no file."""
    if is_stream(path):
        return LogStream(path)
    return RotatedFiles(Path(path), worker, rotation)


def is_stream(path: str) -> bool:
    """Whether lines go to something that cannot be rotated."""
    if path in STREAMS:
        return True
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def sink_problem(path: str) -> str:
    """Why no file can be written there, or "" if one can."""
    if is_stream(path):
        return ""
    folder = Path(path).parent
    if Path(path).is_dir():
        return f"`{path}` is a directory"
    if not folder.is_dir():
        return f"there is no directory `{folder}`"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"`{folder}` cannot be written"


def _escaped(lines: bytes) -> bytes:
    """The same JSON with nothing in it that is not ASCII: it cannot turn the direction of text, say."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], lines.decode()).encode()
