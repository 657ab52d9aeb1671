"""Records on a terminal: a table of aligned columns, or JSON lines."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from authz_sidecar.cli.terminal import FAINT, Line, Terminal, visible
from authz_sidecar.directory.storage.records import TokenRecord
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.instant import time_text

GUTTER = "  "
# The widest that a column becomes; what does not fit is in the JSON form.
WIDEST = 60
# A token cannot be changed, so that it needs no etag; by how much it slides only its store knows.
_UNSHOWN_OF_TOKENS = frozenset(("revision", "sliding_seconds"))


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Line]:
    """The lines of a table; a column in which nothing stands is left out."""
    shown = [[_cut(visible(cell)) for cell in row] for row in rows]
    kept = [at for at in range(len(header)) if at == 0 or any(row[at] for row in shown)]
    widths = {at: max([len(header[at]), *[len(row[at]) for row in shown]]) for at in kept}

    def line(cells: Sequence[str]) -> str:
        return GUTTER.join(cells[at].ljust(widths[at]) for at in kept).rstrip()

    return [((line(header), FAINT),), *[(line(row),) for row in shown]]


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def record_data(record: Any) -> dict[str, Any]:
    """A record as JSON data: times by RFC 3339, kinds by name, and its etag."""
    data: dict[str, Any] = {}
    for field in _shown_fields(record):
        value = getattr(record, field)
        if field.endswith("_at") and value is not None:
            value = time_text(value)
        elif isinstance(value, IdentityKind):
            value = value.label
        if field == "revision":
            data["etag"] = f"r{value}"
        else:
            data[field] = msgspec.to_builtins(value)
    return data


def _shown_fields(record: Any) -> list[str]:
    unshown = _UNSHOWN_OF_TOKENS if isinstance(record, TokenRecord) else frozenset[str]()
    return [field for field in record.__struct_fields__ if field not in unshown]


def cell(record: Any, field: str) -> str:
    """A field of a record as a cell."""
    value = getattr(record, field)
    if value is None:
        return ""
    if field == "revision":
        return f"r{value}"
    if field.endswith("_at"):
        return time_text(value)
    if isinstance(value, IdentityKind):
        return value.label
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_word(item)}" for name, item in sorted(value.items()))
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)


def _word(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def show_records(terminal: Terminal, form: str, columns: Mapping[str, str], records: Sequence[Any]) -> None:
    """Records as a table, `columns` mapping fields to headers, or as JSON lines."""
    if form == "json":
        terminal.result(*[(json.dumps(record_data(record), ensure_ascii=True),) for record in records])
    elif records:
        rows = [[cell(record, field) for field in columns] for record in records]
        terminal.result(*table_lines(list(columns.values()), rows))


def show_record(terminal: Terminal, form: str, record: Any) -> None:
    """One record, a line for each field that says something; or as JSON."""
    if form == "json":
        terminal.result((json.dumps(record_data(record), ensure_ascii=True),))
        return
    cells = {"etag" if field == "revision" else field: cell(record, field) for field in _shown_fields(record)}
    show_fields(terminal, {field: text for field, text in cells.items() if text})


def show_fields(terminal: Terminal, fields: Mapping[str, str]) -> None:
    """A line for each field, the values below each other."""
    width = max(map(len, fields))
    terminal.result(*[((field.ljust(width), FAINT), GUTTER + visible(value)) for field, value in fields.items()])


def show_removed(terminal: Terminal, form: str, id: str, *, dry_run: bool) -> None:
    """That a record is removed, or would be."""
    if form == "json":
        terminal.result((json.dumps({"id": id, "removed": not dry_run}),))
    else:
        terminal.result((f"{'would remove' if dry_run else 'removed'} {visible(id)}",))
