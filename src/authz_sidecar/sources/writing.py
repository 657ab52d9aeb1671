"""Changed files of a bundle, written back."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


class WriteError(Exception):
    """A file that cannot be written: `message` and what to do, `help`. What was written before it stays."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def write_files(root: Path, before: Mapping[str, bytes], changed: Mapping[str, bytes]) -> None:
    """Replace files of the bundle in `root` that were read as `before`, each at once and with its permissions.

    Nothing is written where a file is not any more what was read. Raises WriteError.
    """
    for file in changed:
        try:
            same = (root / file).read_bytes() == before.get(file)
        except OSError as error:
            raise WriteError(*_problem(root / file, error)) from error
        if not same:
            raise WriteError(f"`{root / file}` has changed meanwhile", "try again")
    for file, content in changed.items():
        # Behind a link the file itself is replaced, not the link.
        path = (root / file).resolve()
        try:
            _replace(path, content)
        except OSError as error:
            raise WriteError(*_problem(path, error)) from error


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".authz-", suffix=".tmp")
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.chmod(path.stat().st_mode & 0o7777)
        written.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            written.unlink()
        raise


def _problem(path: Path, error: OSError) -> tuple[str, str]:
    cause = (error.strerror or "unknown reason").lower()
    return f"`{path}` cannot be written: {cause}", "make the file and its directory writable"
