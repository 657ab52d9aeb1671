"""Findings as SARIF 2.1.0, the form that code scanners and editors take.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from authz_sidecar.cli.place import Places
from authz_sidecar.cli.terminal import visible
from authz_sidecar.review.baseline import Contexts
from authz_sidecar.review.lint import LintReport, Silenced
from authz_sidecar.review.rules import RULES
from authz_sidecar.review.rules.page import rule_page, split_manual
from authz_sidecar.values import CODES, Diagnostic, Span

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "authzSidecarLint/v1"

# SARIF 3.11.6: `[text](target)` in a message is a link; a backslash before the bracket makes it text.
_LINK = re.compile(r"[\\\[](?=[^\]]*\]\()")


def sarif_log(report: LintReport, places: Places, contexts: Contexts, tool_version: str) -> dict[str, Any]:
    """A log of one run. Its rules are the codes that were found; files are given from the current directory. What
    comments and the baseline silence is there too, marked as suppressed."""
    findings: list[tuple[Diagnostic, Silenced | None]] = [(finding, None) for finding in report.findings]
    findings += [(silenced.finding, silenced) for silenced in report.silenced]
    fingerprints = list(contexts.fingerprints([finding for finding, _ in findings]))
    codes = sorted({finding.code for finding, _ in findings})
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
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    {
                        "ruleId": finding.code,
                        "ruleIndex": at[finding.code],
                        # The two severities are spelled as SARIF spells its levels.
                        "level": str(finding.severity),
                        "message": {"text": _text(finding, places)},
                        "locations": [{"physicalLocation": _location(finding.span, places)}],
                        "partialFingerprints": {FINGERPRINT: fingerprint},
                        **_related(finding, places),
                        # An empty list says that nothing silences it, where for others something does.
                        **({"suppressions": list(_suppressions(silenced))} if report.silenced else {}),
                    }
                    for (finding, silenced), fingerprint in zip(findings, fingerprints, strict=True)
                ],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    """What a scanner shows of a rule; a code of loading has no page."""
    descriptor: dict[str, Any] = {"id": code, "shortDescription": {"text": CODES[code]}}
    rule = next((rule for rule in RULES if rule.code == code), None)
    if rule is not None:
        page = rule_page(rule)
        descriptor |= {
            "fullDescription": {"text": split_manual(rule.manual or "")[0]},
            "help": {"text": page, "markdown": page},
            "defaultConfiguration": {"level": str(rule.severity)},
        }
    return descriptor


def _suppressions(silenced: Silenced | None) -> Iterator[dict[str, str]]:
    if silenced is not None and silenced.by == "comment":
        yield {"kind": "inSource", "justification": visible(silenced.reason)}
    elif silenced is not None:
        yield {"kind": "external", "justification": "in the baseline"}


def _text(finding: Diagnostic, places: Places) -> str:
    message = visible(places.in_message(finding.message))
    text = f"{message}\nhelp: {visible(places.in_message(finding.help))}" if finding.help else message
    return _LINK.sub(r"\\\g<0>", text)


def _related(finding: Diagnostic, places: Places) -> dict[str, Any]:
    """The other places that the message names."""
    related = [
        {"physicalLocation": _location(span, places)} for span in places.named_in(f"{finding.message} {finding.help}")
    ]
    return {"relatedLocations": related} if related else {}


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
