"""Findings as SARIF 2.1.0, the form that code scanners and editors take.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from authz_sidecar.cli.place import Places
from authz_sidecar.values import CODES, Diagnostic, Span

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_log(findings: Sequence[Diagnostic], places: Places, tool_version: str) -> dict[str, Any]:
    """A log of one run. Its rules are the codes that were found; files are given from the current directory."""
    codes = sorted({finding.code for finding in findings})
    at = {code: index for index, code in enumerate(codes)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "authz-sidecar",
                        "version": tool_version,
                        "rules": [{"id": code, "shortDescription": {"text": CODES[code]}} for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    {
                        "ruleId": finding.code,
                        "ruleIndex": at[finding.code],
                        # The two severities are spelled as SARIF spells its levels.
                        "level": str(finding.severity),
                        "message": {"text": _text(finding)},
                        "locations": [{"physicalLocation": _location(finding.span, places)}],
                    }
                    for finding in findings
                ],
            }
        ],
    }


def _text(finding: Diagnostic) -> str:
    return f"{finding.message}\nhelp: {finding.help}" if finding.help else finding.message


def _location(span: Span, places: Places) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(places.path(span.file))}}
    if span.line:
        region = {"startLine": span.line}
        if span.column:
            region["startColumn"] = span.column
        location["region"] = region
    return location


def _uri(path: str) -> str:
    place = Path(path)
    return place.as_uri() if place.is_absolute() else quote(os.fsencode(place.as_posix()))
