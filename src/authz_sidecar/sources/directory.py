"""A directory to the files of a bundle: all that is read from disk, and what may not be.

Names that begin with a dot are not read. Symbolic links are followed inside the directory only, which is how
Kubernetes mounts a ConfigMap (`model.conf -> ..data/model.conf`). Special files are never opened.

What is returned stood on disk at one moment. The directory is walked twice: the first walk reads, the second only
looks; where any name, link or file differs between the two, all of it is read again. A writer that pauses between
two files cannot be told from one that is done: who replaces a bundle at once swaps a link or a directory.
"""

import os
import stat
import time
from pathlib import Path
from typing import TypeAlias

from authz_sidecar.bundle.files import BundleFiles, is_known, is_policy, max_bytes
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import size_problem
from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.identity import file_identity
from authz_sidecar.sources.limits import BundleBounds, kind_problem, link_problem, name_problem, unreadable_problem
from authz_sidecar.values.diagnostic import Diagnostic
from authz_sidecar.values.span import Span

MAX_READS = 5
PAUSE_SECONDS = 0.02

# What an entry is, so that another in its place is seen: device, inode, size and both times of a file, or why
# none of it can be said. The time of change is there for tools that set the time of modification back.
Identity: TypeAlias = tuple[int, ...] | str


def read_directory(path: Path) -> tuple[BundleFiles | None, list[Diagnostic]]:
    """Read every file of the bundle at `path`: the files, or None with findings if any of them cannot be read
    whole, or if the directory changes each of the five times that it is read. Raises nothing for what it meets on
    disk."""
    for attempt in range(MAX_READS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        findings = Findings()
        try:
            root = _root(path)
        except (OSError, RuntimeError) as error:
            findings.error(
                Span(path.name or "."),
                "bundle-missing",
                f"the bundle {quote(path)} cannot be read: {_cause(error)}",
                "name an existing directory with `--policies`",
            )
            return None, findings.sorted()
        reader = _DirectoryReader(root, findings)
        reader.walk()
        if not reader.torn and _still(path, root, reader.seen):
            return (None if findings.refused else BundleFiles(reader.files, root.name)), findings.sorted()
    findings = Findings()
    findings.error(
        Span("."),
        "bundle-changing",
        f"the bundle {quote(path)} changed each of the {MAX_READS} times that it was read",
        "try again when the writer is done; to replace a bundle at once, swap a link to its directory",
    )
    return None, findings.sorted()


def look_at_directory(path: Path) -> tuple[str, dict[str, tuple[str, Identity]]]:
    """What stands at `path` without reading it: the real directory, and the real path and identity of each entry.
    Where there is none, why, and no entry. Equal answers mean that nothing has changed."""
    try:
        root = _root(path)
    except (OSError, RuntimeError) as error:
        return _cause(error), {}
    reader = _DirectoryReader(root, Findings(), look_only=True)
    reader.walk()
    return str(root), reader.seen


def _root(path: Path) -> Path:
    """The real directory; raises OSError, or RuntimeError for links in a circle."""
    root = path.resolve(strict=True)
    if not root.is_dir():
        raise NotADirectoryError(20, "it is not a directory")
    return root


def _still(path: Path, root: Path, seen: dict[str, tuple[str, Identity]]) -> bool:
    """Whether a second look finds what the first walk saw."""
    return look_at_directory(path) == (str(root), seen)


class _DirectoryReader:
    """One walk over a directory. `seen` has, by name, the real path and the identity of each entry; `torn` says
    that a file was not as long as it was said to be. With `look_only`, nothing is opened."""

    def __init__(self, root: Path, findings: Findings, look_only: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.seen: dict[str, tuple[str, Identity]] = {}
        self.torn = False
        self._root = root
        self._findings = findings
        self._look_only = look_only
        self._bounds = BundleBounds(findings)

    def walk(self) -> None:
        """Visit every entry."""
        # Each folder comes with the real folders above it, so that a link to one of them is seen as a circle.
        pending = [("", self._root, frozenset((self._root,)))]
        while pending:
            prefix, folder, above = pending.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.seen[prefix] = (str(folder), _cause(error))
                unreadable_problem(prefix.rstrip("/") or ".", _cause(error), self._findings)
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not self._bounds.count():
                    return
                name = prefix + entry.name
                self.seen[name] = (entry.path, "")
                if name_problem(name, self._findings):
                    continue
                real = self._real_path(entry, name)
                if real is None:
                    continue
                self.seen[name] = (str(real), "")
                try:
                    is_folder = stat.S_ISDIR(real.stat().st_mode) if entry.is_symlink() else entry.is_dir()
                except OSError as error:
                    self.seen[name] = (str(real), _cause(error))
                    unreadable_problem(name, _cause(error), self._findings)
                    continue
                if is_folder:
                    if real in above:
                        link_problem(name, "leads back to a folder that holds it", self._findings)
                    else:
                        pending.append((name + "/", real, above | {real}))
                elif is_policy(name):
                    self._visit_file(name, real)

    def _real_path(self, entry: "os.DirEntry[str]", name: str) -> Path | None:
        path = Path(entry.path)
        try:
            if not entry.is_symlink():
                return path
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            self.seen[name] = (entry.path, _cause(error))
            link_problem(name, f"leads nowhere: {_cause(error)}", self._findings)
            return None
        # INVARIANT inside-the-directory: what decides is what the named directory holds.
        if not real.is_relative_to(self._root):
            link_problem(name, "leads out of the bundle directory", self._findings)
            return None
        return real

    def _visit_file(self, name: str, path: Path) -> None:
        if not is_known(name):
            self.files[name] = b""  # refused by its name; its content does not matter
        elif self._look_only:
            self.seen[name] = (str(path), _identity(path)[0])
        else:
            self.seen[name] = (str(path), self._read_file(name, path))

    def _read_file(self, name: str, path: Path) -> Identity:
        """Take the content of one file, and return what the file was when it was opened."""
        limit = max_bytes(name)
        try:
            # A named pipe without a writer would block an ordinary open for ever.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            identity, is_socket = _identity(path)
            if is_socket:
                kind_problem(name, self._findings)
            else:
                unreadable_problem(name, _cause(error), self._findings)
            return identity
        with os.fdopen(handle, "rb") as file:
            try:
                facts = os.fstat(handle)
                identity = file_identity(facts)
                if not stat.S_ISREG(facts.st_mode):
                    kind_problem(name, self._findings)
                    return identity
                if facts.st_size > limit:
                    size_problem(facts.st_size, limit, name, self._findings)
                    return identity
                if not self._bounds.take(name, facts.st_size):
                    return identity
                data = file.read(facts.st_size + 1)
            except OSError as error:
                unreadable_problem(name, _cause(error), self._findings)
                return _identity(path)[0]
        self.torn = self.torn or len(data) != facts.st_size
        self.files[name] = data
        return identity


def _identity(path: Path) -> tuple[Identity, bool]:
    """The identity of what `path` names now, and whether it is a socket."""
    try:
        facts = path.stat()
    except OSError as error:
        return _cause(error), False
    return file_identity(facts), stat.S_ISSOCK(facts.st_mode)


def _cause(error: Exception) -> str:
    """What the operating system says, in lower case."""
    text = (error.strerror if isinstance(error, OSError) else None) or "the path is a circle"
    return text[0].lower() + text[1:]
