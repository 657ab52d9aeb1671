"""A time on the command line."""

import re
import time

import click

from authz_sidecar.values.instant import read_time

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_PERIOD = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_instant(text: str) -> float:
    """An RFC 3339 time as seconds since 1970-01-01 UTC; raises click.BadParameter with an example."""
    try:
        return read_time(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"`{text}` is not an RFC 3339 time such as `2026-01-31T12:00:00Z`") from None


def period_begin(text: str) -> float | None:
    """When a period such as `90d` (also `s`, `m`, `h` and `w`) began that ends now, in seconds since 1970-01-01 UTC and
    not before; None where `text` is no period."""
    period = _PERIOD.fullmatch(text)
    return max(0.0, time.time() - int(period[1]) * _SECONDS[period[2]]) if period else None


def parse_since(text: str) -> float:
    """The beginning of a period as seconds since 1970-01-01 UTC: `90d` ago (also `s`, `m`, `h` and `w`), the first
    moment of a day in UTC (`2026-01-31`), or an RFC 3339 time; raises click.BadParameter with examples."""
    begin = period_begin(text)
    if begin is not None:
        return begin
    try:
        if _DATE.fullmatch(text):
            return read_time(f"{text}T00:00:00Z")
        return parse_instant(text)
    except (ValueError, click.BadParameter):
        raise click.BadParameter(
            f"`{text}` is neither a period such as `90d` nor a time such as `2026-01-31` or `2026-01-31T12:00:00Z`"
        ) from None
