"""Options of commands that change a directory."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULT_LIMIT = 1000


def justification_option(command: Command) -> Command:
    """`--justification TEXT`."""
    return click.option(
        "--justification", default="", metavar="TEXT", help="Why; the audit keeps it. Some changes need one."
    )(command)


def dry_run_option(command: Command) -> Command:
    """`--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Say what would come of it, and change nothing.")(command)


def idempotency_option(command: Command) -> Command:
    """`--idempotency-key KEY`."""
    return click.option(
        "--idempotency-key",
        default="",
        metavar="KEY",
        help="A name that you make up for this call: repeated under it, the change is made once.",
    )(command)


def etag_option(command: Command) -> Command:
    """`--etag ETAG`, read as the revision that the record must still have."""
    return click.option(
        "--etag",
        "expect",
        callback=_read_etag,
        metavar="ETAG",
        help="Refuse where the record has changed since it had this etag.",
    )(command)


def _read_etag(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    if value[:1] != "r" or not value[1:].isdecimal() or not value.isascii():
        raise click.BadParameter(f"`{value}` is no etag, such as `r42`; `list --format json` shows them")
    return int(value[1:])


def limit_option(command: Command) -> Command:
    """`--limit N`, of a list."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=DEFAULT_LIMIT,
        show_default=True,
        metavar="N",
        help="At most so many.",
    )(command)


def company_option(help: str) -> Callable[[Command], Command]:
    """`--company C`."""
    return click.option("--company", default="", metavar="C", help=help)


def in_company_option(command: Command) -> Command:
    """`--company C` of a list: None where it is not given."""
    return click.option("--company", metavar="C", help="Only of this company; the empty text stands for the platform.")(
        command
    )
