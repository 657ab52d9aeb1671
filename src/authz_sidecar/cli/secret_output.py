"""A credential's secret on its one way out: to standard output, or into a file that only its owner may read."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from authz_sidecar.cli.columns import record_data, show_record
from authz_sidecar.cli.terminal import CommandError, Terminal, visible
from authz_sidecar.directory.storage.records import Issued

Command = TypeVar("Command", bound=Callable[..., Any])
OWNER_ONLY = 0o600


def secret_options(command: Command) -> Command:
    """`--output FILE` and `--as csv|json`."""
    for option in (
        click.option(
            "--as",
            "shape",
            type=click.Choice(("csv", "json")),
            help="Form of the file. Default: JSON for `*.json`, else CSV.",
        ),
        click.option(
            "--output",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Write the secret into this new file, which only you may read, and not to standard output.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def show_secret(
    terminal: Terminal, form: str, output: Path | None, shape: str | None
) -> Iterator[Callable[[Issued], None]]:
    """Gives what shows an issued credential. A file is made first, so that no secret is lost for want of a place; where
    nothing comes of it, it is removed."""
    if output is None:

        def show(issued: Issued) -> None:
            _show(terminal, form, issued)

        yield show
        return
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY)
    except FileExistsError:
        raise CommandError(
            terminal, (f"`{output}` exists", "name a new file; no secret is written over another")
        ) from None
    except OSError as error:
        raise CommandError(
            terminal, (f"`{output}` cannot be written: {error.strerror}", "name a file in a directory of yours")
        ) from None
    written = False

    def write(issued: Issued) -> None:
        nonlocal written
        if not issued.secret:
            _show(terminal, form, issued)
            return
        os.write(file, _text(issued, shape or ("json" if output.suffix == ".json" else "csv")).encode())
        os.fsync(file)
        written = True
        show_record(terminal, form, issued.record)
        terminal.note((f"the secret is in {visible(str(output))}, and cannot be had again",))

    try:
        yield write
    finally:
        os.close(file)
        if not written:
            output.unlink(missing_ok=True)


def _text(issued: Issued, shape: str) -> str:
    from authz_sidecar.directory.credentials.key_file import key_csv, key_json

    return key_json(issued) if shape == "json" else key_csv(issued)


def _show(terminal: Terminal, form: str, issued: Issued) -> None:
    if form == "json":
        import json

        terminal.result((json.dumps(record_data(issued.record) | {"secret": issued.secret}),))
        return
    show_record(terminal, form, issued.record)
    if issued.secret:
        terminal.result((("secret", "bold"), f"  {visible(issued.secret)}"))
        terminal.note(("keep the secret: it is shown this once",))
    else:
        terminal.note(("no secret is shown: it was, when this was made",))
