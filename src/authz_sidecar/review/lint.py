"""Lint: what a bundle's author should know, beyond what keeps the bundle from loading."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Lint
from authz_sidecar.bundle.findings import MAX_SHOWN, Findings
from authz_sidecar.bundle.ignores import read_ignores
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.baseline import Baseline, Contexts
from authz_sidecar.review.choice import NEVER_SILENCED, WARNINGS_OF_DIRECTORIES, WARNINGS_OF_LOADING, Choice
from authz_sidecar.review.held_roles import HeldRole, orphan_findings
from authz_sidecar.review.ignores import Ignores
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules import RULES, LintRule, unused_ignore
from authz_sidecar.values import Diagnostic, Severity


class Silenced(msgspec.Struct, frozen=True):
    """A finding that is not told, by a comment or by the baseline; `reason` is what the comment says."""

    finding: Diagnostic
    by: Literal["comment", "baseline"]
    reason: str = ""


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """What lint makes of a bundle.

    `findings` are sorted, each once. Of what rules find 1,000 of each severity are kept and the rest is counted; so is
    `silenced`, of which `by_comments` and `by_baseline` are the full numbers. `unmatched` counts the findings of the
    baseline that are gone.
    """

    findings: tuple[Diagnostic, ...]
    silenced: tuple[Silenced, ...] = ()
    by_comments: int = 0
    by_baseline: int = 0
    unmatched: int = 0


Watch = Callable[[str, int, int], None]


def lint_bundle(
    bundle: Bundle | None,
    snapshot: Snapshot | None,
    diagnostics: Iterable[Diagnostic],
    files: Mapping[str, bytes] | None = None,
    *,
    choice: Choice | None = None,
    baseline: Baseline | None = None,
    watch: Watch | None = None,
    held: Sequence[HeldRole] | None = None,
) -> LintReport:
    """The load's `diagnostics` and the findings of every lint rule that is chosen and that nothing silences.

    The rules need a bundle that loads and compiles; one that does not (None) has the diagnostics alone. `files` are the
    bundle's, in which comments are looked for. `watch` is told of each rule before it runs: its code, its number from 1
    and how many there are. `held` are the roles in use of a directory: those that the bundle drops are told, whatever
    is chosen or silenced, since it would not be served.
    """
    judge = _Judge(bundle, files or {}, choice or Choice(), baseline)
    for diagnostic in diagnostics:
        judge.take_diagnostic(diagnostic)
    if bundle is not None and snapshot is not None:
        # INVARIANT unused-last: whether a comment is of use is known when all others have looked.
        rules = sorted(RULES, key=lambda rule: rule is unused_ignore.RULE)
        chosen = [(rule, severity) for rule in rules if (severity := judge.severity(rule)) is not None]
        judge.ignores.ran.update(rule.code for rule, _ in chosen)
        warned = judge.chosen_warnings()
        # Without a directory nobody knows whether a comment on one is of use.
        judge.ignores.ran.update(code for code in warned if held is not None or code not in WARNINGS_OF_DIRECTORIES)
        material = Material(
            bundle, snapshot, judge.ignores, None if held is None else frozenset(one.role for one in held)
        )
        spans = {name: role.span for name, role in bundle.roles.items()}
        place = "manifest.yaml" if bundle.form == "yaml" else "model.conf"
        for finding in orphan_findings(held or (), snapshot.directory_rules, spans, place):
            judge.take_diagnostic(finding)
        if bundle.gates:
            # What gates are made of takes a while to load, and many bundles have none.
            from authz_sidecar.review.gates.findings import find_gate_violations

            # No comment, baseline or choice of rules silences a gate.
            for finding in find_gate_violations(material):
                judge.take_diagnostic(finding)
        for number, (rule, severity) in enumerate(chosen, 1):
            if watch is not None:
                watch(rule.code, number, len(chosen))
            for finding in rule.find(material):
                judge.take(finding, severity)
    return judge.report()


class _Judge:
    """Sorts findings into those that are told and those that are silenced."""

    def __init__(
        self, bundle: Bundle | None, files: Mapping[str, bytes], choice: Choice, baseline: Baseline | None
    ) -> None:
        self._lint = bundle.manifest.lint if bundle is not None else Lint()
        self._choice = choice
        self._baseline = baseline
        self._contexts = Contexts(files)
        self.ignores = Ignores(read_ignores(files))
        self._always: set[Diagnostic] = set()
        self._found = Findings()
        self._silenced: list[Silenced] = []
        self._counts = {"comment": 0, "baseline": 0}

    def severity(self, rule: LintRule) -> Severity | None:
        """How grave the findings of a rule are; None where it does not run."""
        return self._choice.severity(rule.code, rule.severity, self._lint, rule.by_default)

    def take_diagnostic(self, diagnostic: Diagnostic) -> None:
        """Judge what loading told. An error that refuses the bundle is always told."""
        if diagnostic.severity is Severity.ERROR or diagnostic.code not in WARNINGS_OF_LOADING:
            self._always.add(diagnostic)
            return
        severity = self._choice.severity(diagnostic.code, diagnostic.severity, self._lint)
        if severity is not None:
            self.take(diagnostic, severity)

    def chosen_warnings(self) -> Iterator[str]:
        """The warnings of loading that are not left out."""
        for code in WARNINGS_OF_LOADING:
            if self._choice.severity(code, Severity.WARNING, self._lint) is not None:
                yield code

    def take(self, finding: Diagnostic, severity: Severity) -> None:
        """Judge a finding of a rule."""
        if finding.severity is not severity:
            finding = msgspec.structs.replace(finding, severity=severity)
        if finding.code not in NEVER_SILENCED:
            comment = self.ignores.silencing(finding)
            if comment is not None:
                self._silence(Silenced(finding, "comment", comment.reason))
                return
            if self._baseline is not None and self._baseline.takes(self._contexts.key(finding)):
                self._silence(Silenced(finding, "baseline"))
                return
        self._found.add(finding)

    def _silence(self, silenced: Silenced) -> None:
        self._counts[silenced.by] += 1
        if len(self._silenced) < MAX_SHOWN:
            self._silenced.append(silenced)

    def report(self) -> LintReport:
        """What came of it."""
        return LintReport(
            findings=tuple(sorted({*self._always, *self._found.sorted()}, key=lambda finding: finding.sort_key)),
            silenced=tuple(sorted(self._silenced, key=lambda silenced: silenced.finding.sort_key)),
            by_comments=self._counts["comment"],
            by_baseline=self._counts["baseline"],
            unmatched=self._baseline.unmatched(self.ignores.ran.__contains__) if self._baseline is not None else 0,
        )
