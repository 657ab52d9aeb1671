"""Lint: what a bundle's author should know, beyond what keeps the bundle from loading."""

from collections.abc import Iterable

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import Diagnostic


def lint_bundle(
    bundle: Bundle | None, snapshot: Snapshot | None, diagnostics: Iterable[Diagnostic]
) -> list[Diagnostic]:
    """The load's `diagnostics` and the findings of every lint rule, sorted, each once; of the latter a bounded number,
    the rest counted.

    The rules need a bundle that loads and compiles; one that does not (None) has the diagnostics alone.
    """
    found = Findings()
    if bundle is not None and snapshot is not None:
        material = Material(bundle, snapshot)
        for rule in RULES:
            for finding in rule.find(material):
                found.add(finding)
    return sorted({*diagnostics, *found.sorted()}, key=lambda finding: finding.sort_key)
