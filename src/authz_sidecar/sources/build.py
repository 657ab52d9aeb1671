"""Compiling a bundle in a process of its own: start it, wait for it, take its snapshot."""

import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.lineage import Lineage

if TYPE_CHECKING:
    from authz_sidecar.compile.snapshot import Snapshot

# A million rules take some seconds.
BUILD_SECONDS = 300
# Beside checks, compiling has time.
BACKGROUND_NICENESS = 10
MODULE = "authz_sidecar.sources.builder"


class CommitOrigin(msgspec.Struct, frozen=True):
    """The bundle in `folder` ("" for the root) of a commit of the repository at exactly this path, of which nothing
    needs to be checked out."""

    repository: str
    commit: str
    folder: str


class BuildReport(msgspec.Struct):
    """What compiling came to.

    `policy_version` and `digest` are of the files that were read ("" if they could not be read). `built` says that the
    snapshot was written, of `rules` rows; `unchanged` that it was not since it would be the one that is served.
    `diagnostics` are the first findings, errors first; `errors` and `warnings` count all. `unreadable` says why the
    repository of a CommitOrigin did not give the files ("" if it did). `roles` are those of a bundle that was built,
    each with the place where it is held, `platform` or `company`; `orphans` says which that are in use it drops, as
    somebody who knows a directory found ("" for none).
    """

    policy_version: str = ""
    digest: str = ""
    built: bool = False
    unchanged: bool = False
    rules: int = 0
    errors: int = 0
    warnings: int = 0
    diagnostics: list[Diagnostic] = []
    unreadable: str = ""
    roles: dict[str, str] = {}
    orphans: str = ""

    @property
    def why(self) -> str:
        """Why there is no snapshot, in one line: the first error, and how many more there are."""
        first = next((found for found in self.diagnostics if found.severity is Severity.ERROR), None)
        if first is None:
            return self.unreadable or self.orphans or "it could not be compiled"
        more = f" (and {self.errors - 1} more)" if self.errors > 1 else ""
        return f"{first.span}: {first.message}{more}"


class BuildError(Exception):
    """The compiling process failed: a fault of ours or of the machine, not of the bundle."""


class Build:
    """A process that compiles a bundle. `result` waits for it; `close` ends it and drops its files.

    `fd` is the file of the snapshot, and `lineage_fd` that of the commits that it contains.
    """

    def __init__(self, origin: Path | CommitOrigin, known_digest: str = "", *, background: bool = False) -> None:
        self.fd = self.lineage_fd = -1
        try:
            self.fd = _anonymous_file()
            self.lineage_fd = _anonymous_file()
        except OSError as error:
            self._close_files()
            raise BuildError(f"there is no room for a policy: {error.strerror}") from error
        place = (str(origin),) if isinstance(origin, Path) else (origin.repository, origin.commit, origin.folder)
        # -P: a module of the current directory, which may be anybody's repository, must not stand in for one of ours.
        files = (self.fd, self.lineage_fd)
        command = [sys.executable, "-P", "-m", MODULE, *map(str, files), known_digest, *place]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=files,
                # A key that interrupts the terminal's group is the server's to handle.
                process_group=0,
            )
        except OSError as error:
            self._close_files()
            raise BuildError(f"the compiling process cannot be started: {error.strerror}") from error
        if background:
            _yield_to_others(self._process.pid)

    def result(self) -> BuildReport:
        """Wait for the end and read the report; raises BuildError."""
        try:
            output, said = self._process.communicate(timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise BuildError(f"compiling takes longer than {BUILD_SECONDS} s") from None
        if self._process.returncode:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            code = self._process.returncode
            raise BuildError(f"the compiling process ended with {code}: {last or 'it said nothing'}")
        return msgspec.json.decode(output, type=BuildReport)

    def kill(self) -> None:
        """End the process; whoever waits in `result` sees it."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End the process if it still runs, and give its files back. Nobody waits in `result` any more."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._close_files()

    def _close_files(self) -> None:
        for fd in (self.fd, self.lineage_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.lineage_fd = -1


def read_built_lineage(fd: int) -> Lineage:
    """Read the lineage in the file `fd`: two megabytes at most."""
    return Lineage.from_bytes(os.pread(fd, os.fstat(fd).st_size, 0))


def read_built(fd: int) -> "Generator[None, None, Snapshot]":
    """Read the snapshot in the file `fd`, a slice a step; raises TransferError if it is damaged."""
    # Not needed to begin a build.
    from authz_sidecar.compile.transfer import TransferError, read_snapshot

    # Given back when nothing refers to it any more: pieces of it may be referred to a moment longer than this runs.
    try:
        data = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise TransferError(f"the compiled policy cannot be read: {error}") from error
    return (yield from read_snapshot(data))


def _anonymous_file() -> int:
    """A file without a name, in memory where the system has such: no directory needs to be writable."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("authz-policy", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _yield_to_others(process: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, process, BACKGROUND_NICENESS)
    except OSError:
        # It compiles all the same, less modestly.
        return
