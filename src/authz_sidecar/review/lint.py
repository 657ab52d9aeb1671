"""Lint: what a bundle's author should know, beyond what keeps the bundle from loading."""

from collections.abc import Iterable

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import Diagnostic


def lint_bundle(
    bundle: Bundle | None, snapshot: Snapshot | None, diagnostics: Iterable[Diagnostic]
) -> list[Diagnostic]:
    """The load's `diagnostics` and the findings of every lint rule, sorted, each once.

    The rules need a bundle that loads and compiles; one that does not (None) has the diagnostics alone.
    """
    findings = set(diagnostics)
    if bundle is not None and snapshot is not None:
        for rule in RULES:
            findings.update(rule.find(bundle, snapshot))
    return sorted(findings, key=lambda finding: finding.sort_key)
