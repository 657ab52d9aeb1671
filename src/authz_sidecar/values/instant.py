"""Moments, in seconds since 1970-01-01 UTC, as texts by RFC 3339, section 5.6, and back."""

import re
from datetime import UTC, datetime
from typing import Final, Literal

# `date-time`, which always says its offset.
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def time_text(seconds: float, to: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """The time in UTC, `2026-01-31T12:00:00Z`, cut to what `to` says. Raises ValueError, OverflowError or OSError for a
    number that no year from 1 to 9999 has."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=to).replace("+00:00", "Z")


def shown_time(seconds: float, to: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """The same; a number that no year has stays a number."""
    try:
        return time_text(seconds, to)
    except (ValueError, OverflowError, OSError):
        return repr(seconds)


def date_text(seconds: float) -> str:
    """The day in UTC, `2026-01-31`; raises what `time_text` does."""
    return time_text(seconds)[:10]


def read_time(text: str) -> float:
    """The moment that a text of any offset and precision names. Raises ValueError and OverflowError."""
    if not _DATE_TIME.fullmatch(text):
        raise ValueError("it is no time of RFC 3339")
    return datetime.fromisoformat(text.upper()).timestamp()
