"""The findings of `lint` for programs: JSON, and the code quality reports of GitLab.

The forms are documented in docs/cli.md and are only ever extended.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from authz_sidecar.cli.findings import severity_counts
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.terminal import visible
from authz_sidecar.review.lint import LintReport
from authz_sidecar.values import Diagnostic, Severity


class FindingForm(msgspec.Struct, kw_only=True):
    """One finding. Line and column are counted from 1, columns in characters; 0 stands for the file as a whole."""

    file: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    code: str
    message: str
    help: str


class SilencedForm(FindingForm, kw_only=True):
    """One finding that is not told: by a comment, with its reason, or by the baseline."""

    by: Literal["comment", "baseline"]
    reason: str


class LintForm(msgspec.Struct, kw_only=True):
    """The findings of a bundle. `errors` and `warnings` count them; `ignored` and `in_baseline` count what is silenced,
    of which `silenced` shows 1,000 at most."""

    policies: str
    policy_version: str
    errors: int
    warnings: int
    ignored: int
    in_baseline: int
    findings: list[FindingForm]
    silenced: list[SilencedForm]


def lint_form(report: LintReport, places: Places, policy_version: str) -> LintForm:
    """The JSON form of `lint`; its schema is `schemas/lint.schema.json`."""
    errors, warnings = severity_counts(report.findings)
    return LintForm(
        policies=places.path(""),
        policy_version=policy_version,
        errors=errors,
        warnings=warnings,
        ignored=report.by_comments,
        in_baseline=report.by_baseline,
        findings=[FindingForm(**_fields(finding, places)) for finding in report.findings],
        silenced=[
            SilencedForm(**_fields(silenced.finding, places), by=silenced.by, reason=silenced.reason)
            for silenced in report.silenced
        ],
    )


def _fields(finding: Diagnostic, places: Places) -> dict[str, Any]:
    return {
        "file": places.path(finding.span.file),
        "line": finding.span.line,
        "column": finding.span.column,
        "severity": str(finding.severity),
        "code": finding.code,
        "message": places.in_message(finding.message),
        "help": places.in_message(finding.help),
    }


# GitLab has five severities; these two say whether the bundle is served.
_GITLAB_SEVERITIES = {Severity.ERROR: "major", Severity.WARNING: "minor"}


def gitlab_report(findings: Sequence[Diagnostic], fingerprints: Iterable[str], places: Places) -> list[dict[str, Any]]:
    """A code quality report of GitLab; `fingerprints` are those of the findings, in their order.

    https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    """
    return [
        {
            "description": visible(places.in_message(finding.message)),
            "check_name": finding.code,
            "fingerprint": fingerprint,
            "severity": _GITLAB_SEVERITIES[finding.severity],
            # A report has no findings of a file as a whole.
            "location": {"path": places.path(finding.span.file), "lines": {"begin": max(finding.span.line, 1)}},
        }
        for finding, fingerprint in zip(findings, fingerprints, strict=True)
    ]
