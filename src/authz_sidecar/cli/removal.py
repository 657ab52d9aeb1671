"""`delete`, alike in every group of what a directory keeps."""

from collections.abc import Callable
from typing import Protocol, Unpack

import click

from authz_sidecar.cli.administration import (
    Administration,
    AdministrationOptions,
    administration,
    administration_options,
)
from authz_sidecar.cli.change_options import dry_run_option, etag_option, justification_option
from authz_sidecar.cli.columns import show_removed
from authz_sidecar.cli.connection import ServerCommand
from authz_sidecar.cli.terminal import Terminal


class Removal(Protocol):
    """Removes the record with an id."""

    def __call__(self, id: str, *, expect: int | None, justification: str, dry_run: bool) -> None:
        """Remove it; `expect` is the revision that it must still have."""


def delete_command(help: str, removal: Callable[[Administration], Removal]) -> click.Command:
    """The command `delete ID` of a group, which does what `removal` finds in an administration."""

    @click.command(name="delete", cls=ServerCommand, help=help)
    @click.argument("id")
    @etag_option
    @justification_option
    @dry_run_option
    @administration_options
    def delete(
        id: str, expect: int | None, justification: str, dry_run: bool, **options: Unpack[AdministrationOptions]
    ) -> None:
        terminal = Terminal(options["color"])
        with administration(terminal, options) as directory:
            removal(directory)(id, expect=expect, justification=justification, dry_run=dry_run)
        show_removed(terminal, options["form"], id, dry_run=dry_run)

    return delete
