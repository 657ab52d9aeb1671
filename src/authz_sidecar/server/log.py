"""The log: lines on standard error, as JSON for machines or as text for people."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from authz_sidecar.server.settings import LogSettings
from authz_sidecar.values.instant import time_text

# The attributes of every record: what is not among them is a field that somebody gave.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, further fields, and `error` with
    the traceback of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": time_text(record.created, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Time, level and message, then the further fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; control characters in it are escaped, so that it cannot act on a terminal."""
        fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        text = f"{time_text(record.created, 'milliseconds')} {record.levelname} {record.getMessage()}{fields}"
        lines = [text, *(self.formatException(record.exc_info).split("\n") if record.exc_info else ())]
        return "\n".join(map(_escaped, lines))


def configure_log(settings: LogSettings) -> None:
    """Send the log of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for library in ("uvicorn", "asyncio", "grpc", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _escaped(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _quoted(value: Any) -> str:
    """A field's value; in quotes where it could be read as more than one field."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ' ="') else text


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL}
