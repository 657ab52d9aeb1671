"""How far the policy tests go, for `test --coverage` and `test --suggest`."""

from pathlib import Path
from typing import Any

import msgspec

from authz_sidecar.cli.loading import CompiledBundle
from authz_sidecar.cli.side import has_policies, require_side
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, PLACE, CommandError, Line, Terminal, visible
from authz_sidecar.review.changed_grants import changed_since
from authz_sidecar.review.exercise import Exercise, ExercisedGrant, measure_exercise
from authz_sidecar.review.exercised_matrix import exercise_matrix
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import TestReport
from authz_sidecar.review.report.exercise import (
    CoverageReport,
    coverage_html,
    coverage_markdown,
    grant_note,
    grant_text,
    summary_lines,
)
from authz_sidecar.review.suggestion import CaseFinder, suggestion_yaml

# Grants without a test that a terminal is shown; a report shows all.
MAX_SHOWN = 20


class Coverage(msgspec.Struct, frozen=True):
    """What the tests of a bundle exercise, with the policies that it was measured on; `base` is None without
    `--since`."""

    report: CoverageReport
    head: CompiledBundle
    base: CompiledBundle | None

    @property
    def judged(self) -> Exercise:
        """The grants that `--fail-under` is about: those that changed, where a base is given."""
        return self.report.whole if self.report.changed is None else self.report.changed

    def place(self, grant: ExercisedGrant) -> str:
        """Where a grant stands, and on which side, for people."""
        if grant.removed and self.base is not None:
            return f"{visible(str(grant.span))} in {visible(self.report.since)}"
        return visible(self.head.places.show(grant.span))


def measure_coverage(
    terminal: Terminal, head: CompiledBundle, tests: TestReport, policies: Path, since: str | None
) -> Coverage:
    """What `tests` exercise of the bundle, and with `since` of what changed since that revision or directory."""
    material = Material(head.bundle, head.snapshot)
    whole = measure_exercise(material, tests.results)
    changed = base = None
    if since is not None:
        base = require_side(terminal, since, policies) if has_policies(terminal, since, policies) else None
        before = None if base is None else Material(base.bundle, base.snapshot)
        changed = changed_since(before, material, whole, tests.results)
    matrix = exercise_matrix(material, tests.results) if head.bundle.form == "yaml" else None
    return Coverage(CoverageReport(whole, changed, since or "", matrix), head, base)


def coverage_lines(coverage: Coverage, least: float | None) -> list[Line]:
    """The figures, the first grants without a test, and whether they are `least` percent at least."""
    lines: list[Line] = [(line,) for line in summary_lines(coverage.report)]
    missing = coverage.judged.missing
    for grant in missing[:MAX_SHOWN]:
        note = grant_note(grant)
        shown = f" ({note})" if note else ""
        lines.append(
            ((coverage.place(grant), PLACE), " ", ("no test", DENY), f" {visible(grant_text(grant))}", (shown, FAINT))
        )
    if len(missing) > MAX_SHOWN:
        lines.append(((f"… and {len(missing) - MAX_SHOWN:,} more; `--coverage-report FILE` has all", FAINT),))
    return lines if least is None else [*lines, verdict_line(coverage, least)]


def verdict_line(coverage: Coverage, least: float) -> Line:
    """Whether the share is at least `least` percent."""
    judged = coverage.judged
    if not judged.grants:
        return ((f"there is no grant to exercise, so none is missing of the {least:g} % asked for", ALLOW),)
    enough = judged.reaches(least)
    word = f"coverage {judged.percent:g} % is {'at least' if enough else 'under'} the {least:g} % asked for"
    return ((word, ALLOW if enough else DENY),)


def coverage_object(coverage: Coverage) -> dict[str, Any]:
    """The same for programs."""
    report = coverage.report
    found: dict[str, Any] = _counts(report.whole) | {
        "unheld": report.whole.unheld,
        "redundant": report.whole.redundant,
        "missing": [_grant_object(grant, coverage) for grant in coverage.judged.missing],
    }
    if report.changed is not None:
        found["since"] = {"base": report.since} | _counts(report.changed)
    if report.matrix is not None:
        found["matrix"] = [
            {"role": role, "object_type": kind} | msgspec.structs.asdict(report.matrix.share(role, kind))
            for role in report.matrix.matrix.roles
            for kind in report.matrix.matrix.types
        ]
    return found


def _counts(exercise: Exercise) -> dict[str, Any]:
    return {
        "grants": len(exercise.grants),
        "exercised": exercise.exercised,
        "share": round(exercise.share, 6),
    } | {
        name: {"grants": len(part.grants), "exercised": part.exercised}
        for name, part in (("allow", exercise.of_effect(True)), ("deny", exercise.of_effect(False)))
    }


def _grant_object(grant: ExercisedGrant, coverage: Coverage) -> dict[str, Any]:
    return {
        "file": grant.span.file if grant.removed else coverage.head.places.path(grant.span.file),
        "line": grant.span.line,
        "column": grant.span.column,
        "removed": grant.removed,
        "shared_tests": grant.shared,
        "holder": grant.holder,
        "rule": grant.fields,
    }


def write_report(terminal: Terminal, coverage: Coverage, path: Path, policies: Path) -> None:
    """Write the report on the bundle in `policies` to `path`, as HTML or markdown by its ending; raises CommandError
    where that cannot be done."""
    title = f"Coverage of {coverage.head.bundle.name}"
    ending = path.suffix.lower()
    if ending not in (".md", ".markdown") and path.resolve().is_relative_to(policies.resolve()):
        # A bundle has notes beside its own files, and is refused with anything else.
        raise CommandError(
            terminal, (f"`{path}` would be a part of the bundle", f"name a file outside of `{policies}`")
        )
    if ending in (".html", ".htm"):
        text = coverage_html(coverage.report, title)
    elif ending in (".md", ".markdown"):
        text = "\n".join(coverage_markdown(coverage.report, title))
    else:
        raise CommandError(
            terminal,
            (f"a report cannot be written as `{ending or path.name}`", "name a file that ends in .html or .md"),
        )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            terminal,
            (f"`{path}` cannot be written: {(error.strerror or 'unknown reason').lower()}", "name another file"),
        ) from error


def missing_tests(coverage: Coverage) -> str:
    """The cases that are missing, as YAML."""
    head = Material(coverage.head.bundle, coverage.head.snapshot)
    finders = {False: CaseFinder(head)}
    if coverage.base is not None:
        finders[True] = CaseFinder(Material(coverage.base.bundle, coverage.base.snapshot), head)
    found = [finders[grant.removed].suggest(grant) for grant in coverage.judged.missing]
    return suggestion_yaml(found, {test.name for test in coverage.head.bundle.tests})
