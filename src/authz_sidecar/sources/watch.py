"""Seeing that policies have changed, by looking: at every name and identity in the directory, and at git's HEAD.

A look opens no policy and costs some microseconds an entry. It is the same on every file system, also where the
system tells nobody of changes (network file systems, mounts from another host), and it follows what replaces a
directory as a whole: a link that is turned to another one, or Kubernetes' `..data`.
"""

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from authz_sidecar.sources.directory import look_at_directory
from authz_sidecar.sources.identity import file_identity

MAX_HEAD_BYTES = 4096


class GitPlace(msgspec.Struct, frozen=True):
    """Where git keeps its state for a directory: `folder` for this work tree, `common` for all of the repository."""

    folder: Path
    common: Path


class Sight(msgspec.Struct, frozen=True):
    """What one look saw. Two equal ones mean that nothing has changed between them.

    `entries` are the directory's, `head` the commit that is checked out, as git's files tell it; `locked` names git's
    lock while git is writing the work tree ("" if it is not). `settled` says that nobody can be in the middle of
    writing what was seen, as with a commit, which is `version`; `refused` says why that must not be served ("" if it
    may).
    """

    entries: Any
    head: Any
    locked: str = ""
    settled: bool = False
    version: str = ""
    refused: str = ""


def look(path: Path) -> Sight:
    """Look at the bundle at `path`. Raises nothing for what it meets there."""
    place = find_git(path)
    if place is None:
        return Sight(look_at_directory(path), None, "")
    lock = place.folder / "index.lock"
    # The lock first: whoever takes it after this look is seen by the next one.
    locked = str(lock) if _identity(lock) is not None else ""
    return Sight(look_at_directory(path), _head(place), locked)


def find_git(path: Path) -> GitPlace | None:
    """The git state of the work tree that holds `path`; None outside of one."""
    try:
        start = path.resolve()
        for folder in (start, *start.parents):
            dot_git = folder / ".git"
            if dot_git.is_dir():
                return GitPlace(dot_git, dot_git)
            # A linked work tree or a submodule says where its state is.
            text = _read(dot_git)
            if text.startswith("gitdir:"):
                state = folder / text.removeprefix("gitdir:").strip()
                common = _read(state / "commondir").strip()
                return GitPlace(state, state / common if common else state)
    except (OSError, RuntimeError, ValueError):
        return None
    return None


def _head(place: GitPlace) -> Any:
    """What changes whenever another commit is checked out: HEAD, the branch that it names, and where branches are
    packed."""
    head = _read(place.folder / "HEAD")
    branch = head.removeprefix("ref:").strip() if head.startswith("ref:") else ""
    return (
        head,
        _read(place.common / branch) if branch else "",
        _identity(place.common / "packed-refs"),
        _read(place.common / "reftable" / "tables.list"),
    )


def _read(path: Path) -> str:
    """The beginning of a small text file; "" if there is none. What is no regular file, such as a named pipe that
    would block a reader for ever, is not read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return ""
            return file.read(MAX_HEAD_BYTES).decode("utf-8", "replace")
    # A torn file may name what cannot be a path.
    except (OSError, ValueError):
        return ""


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        return file_identity(path.lstat())
    except (OSError, ValueError):
        return None
