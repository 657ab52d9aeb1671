"""A time on the command line."""

import re
from datetime import datetime

import click

# RFC 3339, section 5.6: `date-time`, which always says its offset.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_instant(text: str) -> float:
    """An RFC 3339 time as seconds since 1970-01-01 UTC; raises click.BadParameter with an example."""
    if _RFC3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
    raise click.BadParameter(f"`{text}` is not an RFC 3339 time such as `2026-01-31T12:00:00Z`")
