"""The options of the decision log."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from authz_sidecar.bundle.wording import listed, suggest
from authz_sidecar.cli.option import NumberRange
from authz_sidecar.server.log_mask import mask_problem
from authz_sidecar.server.log_sink import Rotation
from authz_sidecar.server.settings import DecisionLogSettings
from authz_sidecar.values.logged_decision import ATTRIBUTES, Masked

Command = TypeVar("Command", bound=Callable[..., Any])

STANDARD_ERROR = "/dev/stderr"
# A shorter key could be found by trying.
LEAST_KEY_BYTES = 16
MOST_KEY_BYTES = 4096
_DEFAULT = Rotation()


class MaskType(click.ParamType[tuple[str, ...]]):
    """Names of fields, separated by commas."""

    name = "FIELD,…"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Read `value`; fails as click does."""
        if isinstance(value, tuple):
            return value
        names = tuple([name for part in value.split(",") if (name := part.strip())])
        for name in names:
            if mask_problem(name):
                known = [str(field) for field in Masked]
                keys = ", ".join(f"`{part}.KEY`" for part in ATTRIBUTES)
                help = suggest(name, known, f"there are {listed(known, 'and')}, and {keys}")
                self.fail(f"no field of the decision log is called `{name}`: {help}", param, ctx)
        return names


class KeyType(click.ParamType[bytes]):
    """A file that holds a key."""

    name = "FILE"

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Read the file; fails as click does. White space at its end is not part of the key."""
        if isinstance(value, bytes):
            return value
        try:
            with Path(value).open("rb") as file:
                key = file.read(MOST_KEY_BYTES + 1).rstrip()
        except OSError as error:
            self.fail(f"`{value}` cannot be read: {(error.strerror or 'unknown reason').lower()}", param, ctx)
        if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
            self.fail(
                f"`{value}` holds {len(key)} bytes: a key has {LEAST_KEY_BYTES} to {MOST_KEY_BYTES}, "
                "such as `openssl rand -hex 32` writes",
                param,
                ctx,
            )
        return key


_OPTIONS = (
    click.option("--log-decisions", is_flag=True, help="The decision log on standard error."),
    click.option(
        "--decision-log",
        metavar="FILE",
        help="Log each decision in files beside FILE, named with time and worker; `-` is standard output.",
    ),
    click.option(
        "--decision-log-sample",
        type=NumberRange(0, 1),
        default=1.0,
        show_default=True,
        metavar="SHARE",
        help="Share of allowed requests that is logged; what is denied always is.",
    ),
    click.option("--decision-log-attributes", is_flag=True, help="Log attributes and context, too."),
    click.option("--decision-log-mask", type=MaskType(), help="Fields that are not logged, or hashed with a key."),
    click.option("--decision-log-mask-key", type=KeyType(), help="File with the key by which masked texts are hashed."),
    click.option(
        "--decision-log-max-bytes",
        type=click.IntRange(4096, 1 << 40),
        default=_DEFAULT.max_bytes,
        show_default=True,
        metavar="N",
        help="Size at which the next file is begun.",
    ),
    click.option(
        "--decision-log-max-age",
        type=NumberRange(min=0),
        default=_DEFAULT.max_age,
        show_default=True,
        metavar="SECONDS",
        help="Age at which the next file is begun; 0: any.",
    ),
    click.option(
        "--decision-log-keep",
        type=click.IntRange(0, 100_000),
        default=_DEFAULT.keep,
        show_default=True,
        metavar="N",
        help="Ended files that each worker keeps; 0: all.",
    ),
)


def decision_log_options(command: Command) -> Command:
    """The options of the decision log, which give the command one argument, `decision_log`: DecisionLogSettings."""

    @functools.wraps(command)
    def collect(
        *args: Any,
        log_decisions: bool,
        decision_log: str | None,
        decision_log_sample: float,
        decision_log_attributes: bool,
        decision_log_mask: tuple[str, ...] | None,
        decision_log_mask_key: bytes | None,
        decision_log_max_bytes: int,
        decision_log_max_age: float,
        decision_log_keep: int,
        **rest: Any,
    ) -> Any:
        if log_decisions and decision_log:
            raise click.UsageError("`--log-decisions` and `--decision-log` name two places for one log")
        settings = DecisionLogSettings(
            STANDARD_ERROR if log_decisions else decision_log or "",
            decision_log_sample,
            decision_log_attributes,
            decision_log_mask or (),
            decision_log_mask_key or b"",
            Rotation(decision_log_max_bytes, decision_log_max_age, decision_log_keep),
        )
        return command(*args, decision_log=settings, **rest)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return cast("Command", collect)
