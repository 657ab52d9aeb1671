"""`list`, alike in every group of what a directory keeps: pages of records as one list."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from authz_sidecar.cli.administration import Administration, AdministrationOptions, administration
from authz_sidecar.cli.columns import show_records
from authz_sidecar.cli.terminal import FAINT, Terminal
from authz_sidecar.directory.storage.records import Page

PAGE = 1000


def show_list(
    options: AdministrationOptions,
    columns: Mapping[str, str],
    limit: int,
    listing: Callable[[Administration], Callable[..., Page]],
    **filters: Any,
) -> None:
    """Show the first records, at most `limit`, that what `listing` finds in an administration gives for `filters`."""
    terminal = Terminal(options["color"])
    with administration(terminal, options) as directory:
        found = _first_records(terminal, limit, listing(directory), filters)
    show_records(terminal, options["form"], columns, found)


def all_records(listed: Callable[..., Page], **filters: Any) -> Iterator[Any]:
    """Every record that `filters` leave, page by page."""
    token = ""
    while True:
        page = listed(**filters, page_size=PAGE, page_token=token)
        yield from page.records
        token = page.next_page_token
        if not token:
            return


def _first_records(
    terminal: Terminal, limit: int, listed: Callable[..., Page], filters: Mapping[str, Any]
) -> list[Any]:
    """At most `limit` records; where there are more, standard error says so."""
    found: list[Any] = []
    token = ""
    while len(found) < limit:
        page = listed(**filters, page_size=min(PAGE, limit - len(found)), page_token=token)
        found += page.records
        token = page.next_page_token
        if not token:
            return found
    terminal.note(((f"there are more: `--limit` shows more than {limit}", FAINT),))
    return found
