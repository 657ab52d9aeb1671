"""When something shall end, on the command line."""

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from authz_sidecar.cli.instant import parse_since

Command = TypeVar("Command", bound=Callable[..., Any])
_PERIOD = re.compile(r"(\d{1,6})([smhdwy])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def period_seconds(text: str) -> float | None:
    """A period such as `90d` (also `s`, `m`, `h`, `w` and `y`, of 365 days) in seconds; None for anything else."""
    period = _PERIOD.fullmatch(text)
    return float(int(period[1]) * _SECONDS[period[2]]) if period else None


class ExpiryType(click.ParamType[float]):
    """A period from now, a day in UTC or an RFC 3339 time, as seconds since 1970-01-01 UTC."""

    name = "WHEN"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read `value`; fails as click does."""
        if not isinstance(value, str):
            return value
        period = period_seconds(value)
        if period is not None:
            return time.time() + period
        try:
            if not re.match(r"\d{4}-", value):
                raise click.BadParameter(value)
            return parse_since(value)
        except click.BadParameter:
            examples = "`90d`, `2027-01-31` or `2027-01-31T12:00:00Z`"
            self.fail(f"`{value}` is neither a period nor a time, such as {examples}", param, ctx)


class PeriodType(click.ParamType[float]):
    """A period, in seconds."""

    name = "PERIOD"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read `value`; fails as click does."""
        if not isinstance(value, str):
            return value
        period = period_seconds(value)
        if period is None:
            self.fail(f"`{value}` is no period such as `15m`, `24h` or `7d`", param, ctx)
        return period


def expires_option(help: str) -> Callable[[Command], Command]:
    """`--expires WHEN`."""
    return click.option("--expires", type=ExpiryType(), metavar="WHEN", help=f"{help} Such as `90d` or `2027-01-31`.")
