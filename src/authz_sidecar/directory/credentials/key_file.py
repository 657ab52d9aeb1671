"""The file in which an API key is handed over, at the one moment at which its secret is known: CSV or JSON.

Both have the names that the command line shows a key by: `id`, `identity`, `name`, `expires_at` (RFC 3339, UTC; for
never null in JSON and empty in CSV) and `secret`, the whole text that callers send. Stored format: fields may be added
at the end.
"""

import csv
import io
import json

from authz_sidecar.directory.storage.records import Issued, KeyRecord
from authz_sidecar.values.instant import time_text
from authz_sidecar.values.spreadsheet import escape_cell

FIELDS = ("id", "identity", "name", "expires_at", "secret")


def key_csv(issued: Issued) -> str:
    """One line of names and one of values (RFC 4180). A value that a spreadsheet would run has an apostrophe before
    it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(FIELDS)
    writer.writerow([escape_cell(value or "") for value in _values(issued).values()])
    return text.getvalue()


def key_json(issued: Issued) -> str:
    """One JSON object and a line feed."""
    return json.dumps(_values(issued), ensure_ascii=False, indent=2) + "\n"


def _values(issued: Issued) -> dict[str, str | None]:
    key = issued.record
    if not isinstance(key, KeyRecord) or not issued.secret:
        raise ValueError("the secret of a key is known when it is made, and never again")
    expires = None if key.expires_at is None else time_text(key.expires_at)
    return dict(zip(FIELDS, (key.id, key.identity, key.name, expires, issued.secret), strict=True))
