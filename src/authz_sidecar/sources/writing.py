"""Files written so that nobody sees them half done: one, or the changed files of a bundle."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


class WriteError(Exception):
    """A file that cannot be written: `message` and what to do, `help`."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def write_files(root: Path, before: Mapping[str, bytes], changed: Mapping[str, bytes]) -> None:
    """Replace files of the bundle in `root` that were read as `before`, each at once, with its permissions and owner.

    Nothing is written where a file is not any more what was read, or where one of them cannot be written. Raises
    WriteError.
    """
    # Behind a link the file itself is replaced, not the link.
    places: dict[Path, bytes] = {}
    for file, content in changed.items():
        path = root / file
        try:
            same = path.read_bytes() == before.get(file)
            places[path.resolve()] = content
        except OSError as error:
            raise WriteError(*_problem(path, error)) from error
        if not same:
            raise WriteError(f"`{path}` has changed meanwhile", "try again")
        if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise WriteError(f"`{path}` is read-only", "make it writable, or leave it as it is")
    written: dict[Path, Path] = {}
    try:
        for path, content in places.items():
            try:
                written[path] = _write_beside(path, content)
            except OSError as error:
                raise WriteError(*_problem(path, error)) from error
        for path in places:
            try:
                written[path].replace(path)
            except OSError as error:
                raise WriteError(*_problem(path, error)) from error
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                temporary.unlink()


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write a file so that a reader sees the old one or the new one, with these permissions (None: those of a file that
    is new). Raises OSError; nothing is left beside it then."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".authz-", suffix=".tmp")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        unfinished.chmod(mode)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _write_beside(path: Path, content: bytes) -> Path:
    """A file beside another one, which can take its place."""
    facts = path.stat()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".authz-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            with contextlib.suppress(OSError):
                # Only who may give files away can keep another owner.
                os.fchown(handle, facts.st_uid, facts.st_gid)
            os.fchmod(handle, facts.st_mode & 0o7777)
            os.fsync(handle)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)


def _problem(path: Path, error: OSError) -> tuple[str, str]:
    cause = (error.strerror or "unknown reason").lower()
    return f"`{path}` cannot be written: {cause}", "make the file and its directory writable"
