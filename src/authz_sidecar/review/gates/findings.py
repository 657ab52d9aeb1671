"""Broken gates as findings of `lint`, which judges the policies as they are."""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.gates.evaluate import evaluate_state_gates
from authz_sidecar.review.gates.violation import Violation
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.wording import Phrase
from authz_sidecar.values.diagnostic import Diagnostic

GATE_VIOLATION = "gate-violation"


def find_gate_violations(material: Material) -> Iterator[Diagnostic]:
    """A finding for each broken gate, at the line of policy that breaks it, or at the gate where there is none."""
    if not material.bundle.gates:
        return
    for violation in evaluate_state_gates(material):
        lines = [line.rule.span for line in violation.lines if line.side == "head"]
        yield Diagnostic(
            lines[0] if lines else violation.span,
            GATE_VIOLATION,
            f"the gate {quote(violation.gate)}: {violation.message}: {_text(violation.detail)}{_more(violation)}",
            violation.help,
            violation.severity,
        )


def _more(violation: Violation) -> str:
    return f"; {violation.more:,} more findings of this gate are not shown" if violation.more else ""


def _text(phrase: Phrase) -> str:
    """A phrase as findings have it: names in backticks."""
    return "".join(part if isinstance(part, str) else quote(part.text) for part in phrase)
