"""`authz-sidecar test`: run a bundle's policy tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

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
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, PLACE, WARNING, Line, Terminal, plain, visible
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.policy_tests import CaseResult, TestReport, run_tests
from authz_sidecar.values import Decision, Reason

FAILURES = 1


EXAMPLES = """\b
Examples:
  authz-sidecar test policies
  authz-sidecar test --format junit > policy-tests.xml
"""


@click.command(name="test", epilog=EXAMPLES)
@policies_argument
@format_option("text", "json", "junit")
@color_option
def command(policies: Path, form: str, color: str) -> None:
    """Run the policy tests of the bundle in DIR (default: ./policies).

    Exits 0 when all pass, 1 on failures, 2 when the bundle does not load. A bundle without tests passes, with a
    warning.
    """
    terminal = Terminal(color)
    compiled = require_bundle(terminal, policies)
    if not compiled.bundle.tests:
        terminal.note((("warning:", WARNING), f" the bundle in `{policies}` has no policy tests"))
    report = run_tests(Decider(compiled.snapshot), compiled.bundle.tests)
    if form == "json":
        terminal.result((json.dumps(_report_object(report, compiled), indent=2),))
    elif form == "junit":
        terminal.result((junit_text([_junit_case(result, compiled) for result in report.results]),))
    else:
        for failure in report.failures:
            terminal.result(*_failure_lines(failure, compiled))
        style = DENY if report.failures else ALLOW
        terminal.result(((f"{report.passed} passed, {len(report.failures)} failed", style),))
    end(FAILURES if report.failures else 0)


def _failure_lines(result: CaseResult, compiled: CompiledBundle) -> Iterator[Line]:
    test = result.test
    yield (
        (visible(compiled.places.show(test.span)), PLACE),
        " ",
        ("failed", DENY),
        f" {visible(test.name)}",
    )
    yield from _difference_lines(result, compiled)


def _difference_lines(result: CaseResult, compiled: CompiledBundle) -> Iterator[Line]:
    """What was asked, what was expected, what came, and why."""
    request, _ = result.test.request()
    if request is not None:
        yield (f"  {request_text(request)}",)
    yield ("  ", ("expected     ", FAINT), _expected(result))
    yield ("  ", ("got          ", FAINT), _got(result.decision))
    if result.explanation is not None:
        yield from explanation_lines(result.explanation, compiled.snapshot, compiled.places)


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
    return {
        "name": test.name,
        "file": compiled.places.path(test.span.file),
        "line": test.span.line,
        "column": test.span.column,
        "passed": result.passed,
        "expected": {
            "decision": decision_word(test.allowed),
            "reason": None if test.reason is None else test.reason.label,
        },
        "got": decision_object(result.decision),
        "explanation": None
        if result.explanation is None
        else explanation_object(result.explanation, compiled.snapshot, compiled.places),
    }
