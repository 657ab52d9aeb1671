"""The options of `serve`, read as the command itself reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import pytest

from authz_sidecar.cli.main import cli


def serve_command() -> click.Command:
    """The command, with the names of its environment variables."""
    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    return command


def read_options(arguments: Sequence[str], settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `authz-sidecar ARGUMENTS…` would serve with, `settings` being its environment; raises click.UsageError for
    what it would refuse."""
    name, *options = arguments
    assert name == "serve"
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (settings or {}).items():
            patch.setenv(key, value)
        return serve_command().make_context("serve", list(options)).params
