"""`authz-sidecar lint`: everything that is wrong with a bundle."""

import json
from pathlib import Path

import click

from authz_sidecar import __version__
from authz_sidecar.cli.findings import count_line, finding_lines, findings_object, github_lines
from authz_sidecar.cli.loading import end, read_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_argument
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.sarif import sarif_log
from authz_sidecar.cli.terminal import Terminal
from authz_sidecar.review.lint import lint_bundle

FINDINGS = 1


EXAMPLES = """\b
Examples:
  authz-sidecar lint policies
  authz-sidecar lint --format sarif > findings.sarif
"""


@click.command(name="lint", epilog=EXAMPLES)
@policies_argument
@format_option("text", "json", "sarif", "github")
@color_option
def command(policies: Path, form: str, color: str) -> None:
    """Show every error and warning of the bundle in DIR (default: ./policies).

    Exits 0 when there is none, 1 on findings, 2 when DIR cannot be read.
    """
    terminal = Terminal(color)
    read = read_bundle(terminal, policies)
    with Progress(terminal) as progress:
        progress.step("linting")
        findings = lint_bundle(read.bundle, read.snapshot, read.diagnostics)
    if form == "json":
        terminal.result((json.dumps(findings_object(findings, read.places, read.policy_version), indent=2),))
    elif form == "sarif":
        terminal.result((json.dumps(sarif_log(findings, read.places, __version__), indent=2),))
    elif form == "github":
        terminal.result(*github_lines(findings, read.places))
    else:
        for finding in findings:
            terminal.result(*finding_lines(finding, read.places))
        terminal.result((count_line(findings),))
    end(FINDINGS if findings else 0)
