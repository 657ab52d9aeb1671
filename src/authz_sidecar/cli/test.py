"""`authz-sidecar test`: run a bundle's policy tests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.cli.explanation import (
    decision_object,
    decision_word,
    explanation_lines,
    explanation_object,
    request_text,
)
from authz_sidecar.cli.junit import JunitCase, junit_text
from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import NumberRange, color_option, format_option, policies_argument
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import (
    ALLOW,
    DENY,
    FAINT,
    PLACE,
    WARNING,
    CommandError,
    Line,
    Terminal,
    end,
    plain,
    visible,
)
from authz_sidecar.cli.watching import rerun_on_changes
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.policy_tests import CaseResult, TestReport, run_tests
from authz_sidecar.review.selection import Selection, SelectionError, select_tests
from authz_sidecar.values import Decision, Reason

FAILURES = 1


EXAMPLES = """\b
Examples:
  authz-sidecar test policies
  authz-sidecar test --tag smoke --name "access levels: folder*" --verbose
  authz-sidecar test --format junit > policy-tests.xml
  authz-sidecar test --coverage --since origin/main --fail-under 100
  authz-sidecar test --suggest > missing.yaml
"""


@click.command(name="test", epilog=EXAMPLES)
@policies_argument
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="TEXT",
    help="Only tests whose name holds TEXT, or matches it as a whole where it has `*` or `?`. Repeatable.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only tests with this tag. Repeatable.")
@click.option("--exclude-tag", "without", multiple=True, metavar="TAG", help="No test with this tag. Repeatable.")
@click.option(
    "--file", "files", multiple=True, metavar="TEXT", help="Only tests of such files, as `--name`. Repeatable."
)
@click.option("--list", "only_list", is_flag=True, help="Show the tests that would run, and run none.")
@click.option("--verbose", is_flag=True, help="Show the tests that pass, too.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--coverage", "measure", is_flag=True, help="Tell which grants the tests exercise.")
@click.option(
    "--since", metavar="BASE", help="With `--coverage`: judge the grants that changed since this revision or directory."
)
@click.option(
    "--fail-under",
    "least",
    metavar="PERCENT",
    type=NumberRange(0, 100),
    help="Exit 1 where the tests exercise a smaller share of the grants. Implies `--coverage`.",
)
@click.option(
    "--coverage-report",
    "written",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the coverage as a page (.html) or a comment (.md). Implies `--coverage`.",
)
@click.option("--suggest", is_flag=True, help="Print a case for each grant without a test, as YAML, and nothing else.")
@click.option("--watch", is_flag=True, help="Run again whenever the bundle changes, until interrupted.")
@format_option("text", "json", "junit")
@color_option
def command(
    policies: Path,
    names: tuple[str, ...],
    tags: tuple[str, ...],
    without: tuple[str, ...],
    files: tuple[str, ...],
    only_list: bool,
    verbose: bool,
    fail_fast: bool,
    measure: bool,
    since: str | None,
    least: float | None,
    written: Path | None,
    suggest: bool,
    watch: bool,
    form: str,
    color: str,
) -> None:
    """Run the policy tests of the bundle in DIR (default: ./policies), all or those that the filters select.

    Exits 0 when all pass, 1 on failures or too little coverage, 2 when the bundle does not load or a filter selects
    nothing. A bundle without tests passes, with a warning.
    """
    terminal = Terminal(color)
    if only_list and form == "junit":
        raise click.UsageError("`--list` runs no tests and has no JUnit form")
    if watch and (form != "text" or only_list or suggest):
        raise click.UsageError("`--watch` shows text; leave `--format`, `--list` and `--suggest` away")
    if suggest and (form != "text" or verbose):
        raise click.UsageError("`--suggest` prints cases as YAML alone; leave `--format` and `--verbose` away")
    measured = _Measure(measure, since, least, written, suggest)
    if only_list and (measured or since is not None):
        raise click.UsageError("`--list` runs no tests and measures no coverage")
    if since is not None and not measured:
        raise click.UsageError("`--since` is about coverage: give `--coverage`, `--fail-under` or `--suggest` with it")
    selection = Selection(names, tags, without, files)
    if only_list:
        compiled = require_bundle(terminal, policies)
        _show_list(terminal, _selected(terminal, compiled, selection), compiled, form)
        return
    run = _Run(policies, selection, fail_fast, form, verbose, measured)
    if watch:
        rerun_on_changes(terminal, policies, lambda: run.do(terminal))
    end(FAILURES if run.do(terminal) else 0)


def _selected(terminal: Terminal, compiled: CompiledBundle, selection: Selection) -> Sequence[PolicyTest]:
    if not selection:
        return compiled.bundle.tests
    try:
        return select_tests(compiled.bundle.tests, selection)
    except SelectionError as error:
        raise CommandError(terminal, *error.problems) from error


class _Measure(msgspec.Struct, frozen=True):
    """What is asked about coverage."""

    coverage: bool
    since: str | None
    least: float | None
    written: Path | None
    suggest: bool

    def __bool__(self) -> bool:
        return self.coverage or self.suggest or self.least is not None or self.written is not None


class _Run(msgspec.Struct, frozen=True):
    """One run of tests, as it was asked for."""

    policies: Path
    selection: Selection
    fail_fast: bool
    form: str
    verbose: bool
    measure: _Measure

    def do(self, terminal: Terminal) -> bool:
        """Run the tests and write what they came to; gives whether that is a failure."""
        compiled = require_bundle(terminal, self.policies)
        tests = _selected(terminal, compiled, self.selection)
        if not tests:
            terminal.note((("warning:", WARNING), f" the bundle in `{self.policies}` has no policy tests"))
        with Progress(terminal) as progress:
            progress.step(f"running {len(tests):,} tests", len(tests))
            decider = Decider(compiled.snapshot)
            report = run_tests(decider, tests, fail_fast=self.fail_fast, ran=progress.advance)
        # Imported where asked for: the tests alone need none of it.
        if not self.measure:
            self._show(terminal, report, compiled, len(tests))
            return bool(report.failures)
        from authz_sidecar.cli import coverage as measuring

        coverage = measuring.measure_coverage(terminal, compiled, report, self.policies, self.measure.since)
        if self.measure.written is not None:
            measuring.write_report(terminal, coverage, self.measure.written, self.policies)
        least = self.measure.least
        if self.measure.suggest:
            for result in report.failures:
                terminal.note(*_failure_lines(result, compiled))
            text = measuring.missing_tests(coverage)
            if text:
                terminal.text(text)
            terminal.note(*measuring.coverage_lines(coverage, None)[:1])
            if least is not None:
                terminal.note(measuring.verdict_line(coverage, least))
        else:
            self._show(terminal, report, compiled, len(tests), measuring.coverage_object(coverage))
            if self.form == "text":
                terminal.result(*measuring.coverage_lines(coverage, least))
            elif self.form == "junit":
                # The form has no place for it.
                terminal.note(*measuring.coverage_lines(coverage, least))
            elif least is not None:
                terminal.note(measuring.verdict_line(coverage, least))
        return bool(report.failures) or (least is not None and not coverage.judged.reaches(least))

    def _show(
        self,
        terminal: Terminal,
        report: TestReport,
        compiled: CompiledBundle,
        selected: int,
        coverage: dict[str, Any] | None = None,
    ) -> None:
        not_run = selected - len(report.results)
        not_selected = len(compiled.bundle.tests) - selected
        if self.form == "json":
            counts: dict[str, Any] = {"not_run": not_run, "not_selected": not_selected}
            if coverage is not None:
                counts["coverage"] = coverage
            terminal.result((json.dumps(_report_object(report, compiled) | counts, indent=2),))
        elif self.form == "junit":
            terminal.result((junit_text([_junit_case(result, compiled) for result in report.results]),))
        else:
            for result in report.results:
                if not result.passed:
                    terminal.result(*_failure_lines(result, compiled))
                elif self.verbose:
                    terminal.result(_case_line(result.test, "passed", ALLOW, compiled))
            terminal.result(_count_line(report, not_run, not_selected))


def _count_line(report: TestReport, not_run: int, not_selected: int) -> Line:
    counts = f"{report.passed} passed, {len(report.failures)} failed"
    for count, word in ((not_run, "not run"), (not_selected, "not selected")):
        counts += f", {count} {word}" if count else ""
    return ((counts, DENY if report.failures else ALLOW),)


def _show_list(terminal: Terminal, tests: Sequence[PolicyTest], compiled: CompiledBundle, form: str) -> None:
    if form == "json":
        listed = {
            "policies": compiled.places.path(""),
            "policy_version": compiled.policy_version,
            "tests": [_test_object(test, compiled) for test in tests],
        }
        terminal.result((json.dumps(listed, indent=2),))
        return
    for test in tests:
        tags = f" [{visible(', '.join(test.tags))}]" if test.tags else ""
        terminal.result(((visible(compiled.places.show(test.span)), PLACE), f" {visible(test.name)}", (tags, FAINT)))


def _test_object(test: PolicyTest, compiled: CompiledBundle) -> dict[str, Any]:
    return {
        "name": test.name,
        "file": compiled.places.path(test.span.file),
        "line": test.span.line,
        "column": test.span.column,
        "tags": list(test.tags),
    }


def _case_line(test: PolicyTest, word: str, style: str, compiled: CompiledBundle) -> Line:
    return ((visible(compiled.places.show(test.span)), PLACE), " ", (word, style), f" {visible(test.name)}")


def _failure_lines(result: CaseResult, compiled: CompiledBundle) -> Iterator[Line]:
    yield _case_line(result.test, "failed", DENY, compiled)
    yield from _difference_lines(result, compiled)


def _difference_lines(result: CaseResult, compiled: CompiledBundle) -> Iterator[Line]:
    """What was asked, what was expected, what came, and why."""
    request, _ = result.test.request()
    if request is not None:
        yield (f"  {request_text(request)}",)
    yield ("  ", ("expected     ", FAINT), _expected(result))
    yield ("  ", ("got          ", FAINT), _got(result.decision))
    if result.explanation is not None:
        yield from explanation_lines(result.explanation, compiled.places)


def _expected(result: CaseResult) -> str:
    return _outcome(result.test.allowed, result.test.reason)


def _got(decision: Decision) -> str:
    return _outcome(decision.allowed, decision.reason)


def _outcome(allowed: bool, reason: Reason | None) -> str:
    word = decision_word(allowed)
    return word if reason is None else f"{word} reason={reason.label}"


def _junit_case(result: CaseResult, compiled: CompiledBundle) -> JunitCase:
    test = result.test
    file = compiled.places.path(test.span.file)
    if result.passed:
        return JunitCase(file, test.span.line, test.name)
    return JunitCase(
        file,
        test.span.line,
        test.name,
        f"expected {_expected(result)}, got {_got(result.decision)}",
        "\n".join(plain(line) for line in _difference_lines(result, compiled)),
    )


def _report_object(report: TestReport, compiled: CompiledBundle) -> dict[str, Any]:
    return {
        "policies": compiled.places.path(""),
        "policy_version": compiled.policy_version,
        "passed": report.passed,
        "failed": len(report.failures),
        "cases": [_case_object(result, compiled) for result in report.results],
    }


def _case_object(result: CaseResult, compiled: CompiledBundle) -> dict[str, Any]:
    test = result.test
    return _test_object(test, compiled) | {
        "passed": result.passed,
        "expected": {
            "decision": decision_word(test.allowed),
            "reason": None if test.reason is None else test.reason.label,
        },
        "got": decision_object(result.decision),
        "explanation": None if result.explanation is None else explanation_object(result.explanation, compiled.places),
    }
