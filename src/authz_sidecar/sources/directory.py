"""A directory to the files of a bundle: all that is read from disk, and what may not be.

Names that begin with a dot are not read. Symbolic links are followed inside the directory only, which is how
Kubernetes mounts a ConfigMap (`model.conf -> ..data/model.conf`). Special files are never opened.
"""

import os
import stat
from pathlib import Path

from authz_sidecar.bundle.files import MAX_BUNDLE_BYTES, MAX_FILES, BundleFiles, is_known, is_policy, max_bytes
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import size_problem
from authz_sidecar.bundle.wording import quote
from authz_sidecar.values.diagnostic import Diagnostic
from authz_sidecar.values.span import Span


def read_directory(path: Path) -> tuple[BundleFiles | None, list[Diagnostic]]:
    """Read every file of the bundle at `path`: the files, or None with findings if any of them cannot be read
    whole. Raises nothing for what it meets on disk."""
    findings = Findings()
    try:
        root = path.resolve(strict=True)
        if not root.is_dir():
            raise NotADirectoryError(20, "it is not a directory")
    except (OSError, RuntimeError) as error:
        findings.error(
            Span(path.name or "."),
            "bundle-missing",
            f"the bundle {quote(path)} cannot be read: {_cause(error)}",
            "name an existing directory with `--policies`",
        )
        return None, findings.sorted()
    reader = _DirectoryReader(root, findings)
    reader.read()
    return (None if findings.refused else BundleFiles(reader.files, root.name)), findings.sorted()


class _DirectoryReader:
    """One walk over a directory."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self.files: dict[str, bytes] = {}
        self._root = root
        self._findings = findings
        self._size = 0
        self._entries = 0

    def read(self) -> None:
        # Each folder comes with the real folders above it, so that a link to one of them is seen as a circle.
        pending = [("", self._root, frozenset((self._root,)))]
        while pending:
            prefix, folder, above = pending.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._unreadable(prefix.rstrip("/") or ".", error)
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if self._entries >= MAX_FILES:
                    self._findings.error(
                        Span("."),
                        "bundle-size",
                        f"the bundle has more than {MAX_FILES:,} files and folders",
                        "name the directory that holds the policies alone, or split the bundle",
                    )
                    return
                self._entries += 1
                name = prefix + entry.name
                if not name.isprintable() or "\\" in name:
                    self._findings.error(
                        Span(ascii(name)[1:-1]),
                        "file-name",
                        f"the name {quote(ascii(name)[1:-1])} is not plain UTF-8 text",
                        "rename the file; names of a bundle are printable and hold no backslash",
                    )
                    continue
                real = self._real_path(entry, name)
                if real is None:
                    continue
                if real.is_dir():
                    if real in above:
                        self._link_problem(name, "leads back to a folder that holds it")
                    else:
                        pending.append((name + "/", real, above | {real}))
                elif is_policy(name):
                    self._read_file(name, real)

    def _real_path(self, entry: "os.DirEntry[str]", name: str) -> Path | None:
        path = Path(entry.path)
        try:
            if not entry.is_symlink():
                return path
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            self._link_problem(name, f"leads nowhere: {_cause(error)}")
            return None
        # INVARIANT inside-the-directory: what decides is what the named directory holds.
        if not real.is_relative_to(self._root):
            self._link_problem(name, "leads out of the bundle directory")
            return None
        return real

    def _read_file(self, name: str, path: Path) -> None:
        if not is_known(name):
            self.files[name] = b""  # refused by its name; its content does not matter
            return
        limit = max_bytes(name)
        try:
            # A named pipe without a writer would block an ordinary open for ever.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if stat.S_ISSOCK(path.stat().st_mode):
                self._kind_problem(name)
            else:
                self._unreadable(name, error)
            return
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                self._kind_problem(name)
                return
            if facts.st_size > limit:
                size_problem(facts.st_size, limit, name, self._findings)
                return
            self._size += facts.st_size
            if self._size > MAX_BUNDLE_BYTES:
                self._findings.error(
                    Span(name),
                    "bundle-size",
                    f"the bundle holds more than {MAX_BUNDLE_BYTES:,} bytes up to {quote(name)}",
                    "split the bundle",
                )
                return
            try:
                data = file.read(limit + 1)
            except OSError as error:
                self._unreadable(name, error)
                return
        if len(data) > limit:
            size_problem(len(data), limit, name, self._findings)
            return
        self.files[name] = data

    def _unreadable(self, name: str, error: OSError) -> None:
        self._findings.error(
            Span(name),
            "file-unreadable",
            f"{quote(name)} cannot be read: {_cause(error)}",
            "let the user that runs the sidecar read it, or remove it from the bundle",
        )

    def _link_problem(self, name: str, what: str) -> None:
        self._findings.error(
            Span(name),
            "file-link",
            f"the symbolic link {quote(name)} {what}",
            "replace the link by the file itself",
        )

    def _kind_problem(self, name: str) -> None:
        self._findings.error(
            Span(name),
            "file-kind",
            f"{quote(name)} is neither a file nor a directory",
            "remove it; a bundle holds regular files only",
        )


def _cause(error: Exception) -> str:
    """What the operating system says, in lower case."""
    text = (error.strerror if isinstance(error, OSError) else None) or "the path is a circle"
    return text[0].lower() + text[1:]
