"""Floor 0: the immutable values that every other floor speaks in.

Nothing here does I/O, reads a clock or knows a file format. Each module holds one concept and this page
re-exports the public names.
"""

from authz_sidecar.values.decision import Decision, Explanation, NearMiss, Reason
from authz_sidecar.values.diagnostic import CODES, Diagnostic, Severity
from authz_sidecar.values.request import Request, Violation, build_request
from authz_sidecar.values.rule import Rule, RuleTable
from authz_sidecar.values.span import Span

__all__ = [
    "CODES",
    "Decision",
    "Diagnostic",
    "Explanation",
    "NearMiss",
    "Reason",
    "Request",
    "Rule",
    "RuleTable",
    "Severity",
    "Span",
    "Violation",
    "build_request",
]
