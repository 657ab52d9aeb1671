"""The audit as a file: JSON lines, or CSV for a spreadsheet.

JSON lines are the audit's own lines, unchanged: the SHA-256 of each is what `previous` says in the next, so a whole
export can be verified without this program. CSV has a column a field.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from authz_sidecar.audit.reading import Entry
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.values.instant import shown_time
from authz_sidecar.values.spreadsheet import escape_cell

FIELDS: Final = (*AuditRecord.__struct_fields__, "hash")


def json_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Each record's line, without its end."""
    for entry in entries:
        yield entry.text


def csv_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """A line of names, then one for each record, as RFC 4180 has it: each with its end, all cells in quotes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")

    def line(cells: Iterable[str]) -> str:
        writer.writerow(cells)
        written = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return written

    yield line(FIELDS)
    for entry in entries:
        cells = [_cell(name, getattr(entry.record, name)) for name in AuditRecord.__struct_fields__]
        yield line([*map(escape_cell, cells), entry.hash.hex()])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "time":
        return shown_time(value, "microseconds")
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
