"""Pages of a list as one list."""

from collections.abc import Callable, Iterator
from typing import Any

from authz_sidecar.cli.terminal import FAINT, Terminal
from authz_sidecar.directory.records import Page

PAGE = 1000


def all_records(ask: Callable[[int, str], Page]) -> Iterator[Any]:
    """Every record, page by page; `ask` takes the size of a page and where it begins."""
    token = ""
    while True:
        page = ask(PAGE, token)
        yield from page.records
        token = page.next_page_token
        if not token:
            return


def first_records(terminal: Terminal, limit: int, ask: Callable[[int, str], Page]) -> list[Any]:
    """At most `limit` records; where there are more, standard error says so."""
    found: list[Any] = []
    token = ""
    while len(found) < limit:
        page = ask(min(PAGE, limit - len(found)), token)
        found += page.records
        token = page.next_page_token
        if not token:
            return found
    terminal.note(((f"there are more: `--limit` shows more than {limit}", FAINT),))
    return found
