"""The options that set the server's limits."""

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click

from authz_sidecar.cli.option import NumberRange
from authz_sidecar.values.limits import Limits

Command = TypeVar("Command", bound=Callable[..., Any])

_DEFAULTS = Limits()
_COUNT = click.IntRange(1, 1_000_000)
# Option, field of Limits, type, metavar and help.
_OPTIONS: tuple[tuple[str, str, click.ParamType[Any], str, str], ...] = (
    ("--max-batch", "batch", click.IntRange(1, 100_000), "N", "Checks in one batch."),
    (
        "--max-message-bytes",
        "message_bytes",
        click.IntRange(1024, 256 * 1024 * 1024),
        "N",
        "Size of one message, uncompressed.",
    ),
    ("--max-calls", "calls", _COUNT, "N", "Calls in flight, for each worker."),
    ("--max-streams", "streams", click.IntRange(0, 1_000_000), "N", "Streams of checks at once, for each worker."),
    ("--max-connections", "connections", _COUNT, "N", "gRPC connections at once, for each worker."),
    (
        "--max-connection-age",
        "connection_seconds",
        NumberRange(min=0),
        "SECONDS",
        "Ask a client to connect anew after so long, so that load spreads; 0: never.",
    ),
)


class LimitOptions(TypedDict):
    """What the options of `limit_options` give a command: fields of Limits."""

    batch: int
    message_bytes: int
    calls: int
    streams: int
    connections: int
    connection_seconds: float


def limit_options(command: Command) -> Command:
    """An option for each limit that an operator may set, with its default."""
    for option, field, kind, metavar, help in reversed(_OPTIONS):
        default = getattr(_DEFAULTS, field)
        command = click.option(
            option, field, type=kind, default=default, show_default=True, metavar=metavar, help=help
        )(command)
    return command
