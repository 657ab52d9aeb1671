"""`authz-sidecar test`: run a bundle's policy tests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.cli.explanation import (
    decision_object,
    decision_word,
    explanation_lines,
    explanation_object,
    request_text,
)
from authz_sidecar.cli.junit import JunitCase, junit_text
from authz_sidecar.cli.loading import CompiledBundle, end, require_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_argument
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
    plain,
    visible,
)
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
    form: str,
    color: str,
) -> None:
    """Run the policy tests of the bundle in DIR (default: ./policies), all or those that the filters select.

    Exits 0 when all pass, 1 on failures, 2 when the bundle does not load or a filter selects nothing. A bundle without
    tests passes, with a warning.
    """
    terminal = Terminal(color)
    if only_list and form == "junit":
        raise click.UsageError("`--list` runs no tests and has no JUnit form")
    compiled = require_bundle(terminal, policies)
    tests: Sequence[PolicyTest] = compiled.bundle.tests
    if selection := Selection(names, tags, without, files):
        try:
            tests = select_tests(tests, selection)
        except SelectionError as error:
            raise CommandError(terminal, *error.problems) from error
    elif not tests:
        terminal.note((("warning:", WARNING), f" the bundle in `{policies}` has no policy tests"))
    if only_list:
        _show_list(terminal, tests, compiled, form)
        return
    with Progress(terminal) as progress:
        progress.step(f"running {len(tests):,} tests", len(tests))
        report = run_tests(Decider(compiled.snapshot), tests, fail_fast=fail_fast, ran=progress.advance)
    not_run = len(tests) - len(report.results)
    not_selected = len(compiled.bundle.tests) - len(tests)
    if form == "json":
        counts = {"not_run": not_run, "not_selected": not_selected}
        terminal.result((json.dumps(_report_object(report, compiled) | counts, indent=2),))
    elif form == "junit":
        terminal.result((junit_text([_junit_case(result, compiled) for result in report.results]),))
    else:
        for result in report.results:
            if not result.passed:
                terminal.result(*_failure_lines(result, compiled))
            elif verbose:
                terminal.result(_case_line(result.test, "passed", ALLOW, compiled))
        terminal.result(_count_line(report, not_run, not_selected))
    end(FAILURES if report.failures else 0)


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
