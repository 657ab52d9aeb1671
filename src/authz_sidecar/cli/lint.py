"""`authz-sidecar lint`: everything that is wrong with a bundle."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec

from authz_sidecar import __version__
from authz_sidecar.bundle.wording import counted, suggest
from authz_sidecar.cli.correcting import correct_bundle
from authz_sidecar.cli.directory import directory_option, read_held_roles, read_misplaced_roles, read_roles_together
from authz_sidecar.cli.findings import count_line, finding_lines, github_lines
from authz_sidecar.cli.lint_forms import gitlab_report, lint_form
from authz_sidecar.cli.loading import ReadBundle, read_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_argument
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.sarif import sarif_log
from authz_sidecar.cli.terminal import FAINT, PLACE, WARNING, CommandError, Line, Terminal, end, visible
from authz_sidecar.review.baseline import Baseline, BaselineError, Contexts, NewBaseline, read_baseline
from authz_sidecar.review.choice import Choice, code_problem
from authz_sidecar.review.held_roles import bundle_assignments, misplaced_findings, primary_findings
from authz_sidecar.review.lint import LintReport, lint_bundle
from authz_sidecar.review.rules import RULES
from authz_sidecar.review.rules.page import rule_page
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.load import collections_paused
from authz_sidecar.values import CODES, Diagnostic, Severity

FINDINGS = 1
# Its dot keeps it out of the policy version.
BASELINE_FILE = ".authz-lint-baseline.json"


EXAMPLES = """\b
Examples:
  authz-sidecar lint policies
  authz-sidecar lint --select unused-role,shadowed-grant
  authz-sidecar lint --explain shadowed-grant
  authz-sidecar lint --write-baseline
  authz-sidecar lint --diff
  authz-sidecar lint --directory /var/lib/authz/directory.db
  authz-sidecar lint --format sarif > findings.sarif
"""


@click.command(name="lint", epilog=EXAMPLES)
@policies_argument
@click.option("--select", multiple=True, metavar="CODES", help="Only these rules, separated by commas. Repeatable.")
@click.option("--ignore", multiple=True, metavar="CODES", help="All rules but these. Repeatable.")
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Silence the findings that FILE holds.  [default: {BASELINE_FILE} in DIR, if there is one]",
)
@click.option("--write-baseline", "writes", is_flag=True, help="Write the findings of today to the baseline.")
@click.option(
    "--fail-on",
    type=click.Choice(("warning", "error")),
    default="warning",
    show_default=True,
    help="From which severity on findings exit 1.",
)
@click.option("--fix", "fixes", is_flag=True, help="Correct what can be corrected without changing any access.")
@click.option("--diff", "only_diff", is_flag=True, help="Show what `--fix` would change; exit 1 if anything.")
@click.option("--list", "only_list", is_flag=True, help="Show the rules, and judge nothing.")
@click.option("--explain", metavar="CODE", help="Show the page of one rule, and judge nothing.")
@directory_option("Count also what identities of this directory hold, and tell which roles in use the bundle drops.")
@format_option("text", "json", "sarif", "github", "gitlab")
@color_option
def command(
    policies: Path,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    baseline: Path | None,
    writes: bool,
    fail_on: str,
    fixes: bool,
    only_diff: bool,
    only_list: bool,
    explain: str | None,
    directory: str | None,
    form: str,
    color: str,
) -> None:
    """Show every error and warning of the bundle in DIR (default: ./policies).

    Exits 0 when there is none, 1 on findings, 2 when DIR cannot be read.
    """
    terminal = Terminal(color)
    if explain is not None:
        _explain(terminal, explain)
        return
    if only_list:
        terminal.result(*_list_lines())
        return
    choice = Choice(_codes(terminal, "select", select), _codes(terminal, "ignore", ignore))
    if writes and (choice.select or choice.ignore):
        raise click.UsageError(
            "`--write-baseline` writes the findings of all rules: leave `--select` and `--ignore` away"
        )
    if (fixes or only_diff) and writes:
        raise click.UsageError("`--write-baseline` keeps the findings of today: leave `--fix` and `--diff` away")
    if only_diff and form != "text":
        raise click.UsageError("`--diff` shows lines alone: leave `--format` away")
    if fixes or only_diff:
        found = correct_bundle(
            terminal, policies, choice, lambda: _stored(terminal, baseline, policies / BASELINE_FILE), only_diff
        )
        if only_diff:
            end(FINDINGS if found else 0)
    with collections_paused():
        read = read_bundle(terminal, policies)
        files: Mapping[str, bytes] = read_directory(policies)[0] or {}
        held = None if directory is None else read_held_roles(terminal, directory)
        stored = NewBaseline() if writes else _stored(terminal, baseline, policies / BASELINE_FILE)
        with Progress(terminal) as progress:
            report = lint_bundle(
                read.bundle,
                read.snapshot,
                (*read.diagnostics, *_of_directory(terminal, directory, read)),
                files,
                choice=choice,
                baseline=stored,
                watch=lambda code, number, of: progress.step(f"linting: {code} ({number} of {of})"),
                held=held,
            )
    if isinstance(stored, NewBaseline):
        report = _write(terminal, stored, baseline or policies / BASELINE_FILE, read, report)
    elif report.unmatched:
        gone = f"{counted(report.unmatched, 'finding')} of the baseline {'is' if report.unmatched == 1 else 'are'} gone"
        terminal.note((f"{gone}: take out what is gone with `--write-baseline`",))
    _show(terminal, report, read, Places(policies, files), Contexts(files), form)
    told = [finding for finding in report.findings if fail_on == "warning" or finding.severity is Severity.ERROR]
    end(FINDINGS if told else 0)


def _of_directory(terminal: Terminal, directory: str | None, read: ReadBundle) -> list[Diagnostic]:
    """What is told of identities of the directory: who holds several primary roles, and who roles where they do not
    belong."""
    bundle = read.bundle
    if directory is None or bundle is None:
        return []
    told: list[Diagnostic] = []
    primary = {name: role.span for name, role in bundle.roles.items() if role.kind == "primary"}
    if len(primary) > 1:
        told += primary_findings(read_roles_together(terminal, directory, primary), primary)
    if bundle.manifest.identities.own_company_only:
        told += misplaced_findings(read_misplaced_roles(terminal, directory, bundle_assignments(bundle)), bundle)
    return told


def _codes(terminal: Terminal, option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """The codes that an option names; raises CommandError for one that is no rule."""
    codes = tuple(code for value in values for part in value.split(",") if (code := part.strip()))
    problems = [problem for code in codes if (problem := code_problem(code))]
    if problems:
        raise CommandError(terminal, *[(f"`--{option}`: {message}", help) for message, help in problems])
    return codes


def _explain(terminal: Terminal, code: str) -> None:
    for rule in RULES:
        if rule.code == code:
            for line in rule_page(rule).rstrip("\n").split("\n"):
                terminal.result(((line, PLACE),) if line.startswith("#") else (line,))
            return
    if code not in CODES:
        raise CommandError(
            terminal, (f"there is no rule `{code}`", suggest(code, CODES, "`authz-sidecar lint --list` shows all"))
        )
    terminal.result(((f"# {code}", PLACE),), ("",), (f"{CODES[code]}; told when the bundle is loaded",))


def _list_lines() -> Iterator[Line]:
    width = max(len(rule.code) for rule in RULES)
    for rule in RULES:
        yield (
            rule.code.ljust(width),
            "  ",
            (f"{rule.severity if rule.by_default else 'off':7}", FAINT),
            "  ",
            CODES[rule.code],
        )


def _stored(terminal: Terminal, named: Path | None, usual: Path) -> Baseline | None:
    """The baseline to use: the one that is named, else the bundle's own, if it has one."""
    path = usual if named is None else named
    try:
        data = path.read_bytes()
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError | NotADirectoryError):
            return None
        problem = f"the baseline `{path}` cannot be read: {(error.strerror or 'unknown reason').lower()}"
        raise CommandError(terminal, (problem, "write it with `authz-sidecar lint --write-baseline`")) from error
    try:
        return read_baseline(data)
    except BaselineError as error:
        raise CommandError(terminal, (f"the baseline `{path}`: {error}", error.help)) from error


def _write(terminal: Terminal, new: NewBaseline, path: Path, read: ReadBundle, report: LintReport) -> LintReport:
    """Write the baseline, unless the bundle does not load: its rules have not run. What the report is then."""
    if read.snapshot is None:
        terminal.note((("warning:", WARNING), " no baseline is written: the bundle does not load"))
        return report
    try:
        path.write_text(new.text(), encoding="utf-8")
    except OSError as error:
        problem = f"the baseline `{path}` cannot be written: {(error.strerror or 'unknown reason').lower()}"
        raise CommandError(terminal, (problem, "name another file with `--baseline`")) from error
    terminal.note((f"wrote {counted(new.counts.total(), 'finding')} to {visible(str(path))}",))
    return msgspec.structs.replace(report, unmatched=0)


def _show(
    terminal: Terminal, report: LintReport, read: ReadBundle, places: Places, contexts: Contexts, form: str
) -> None:
    findings = report.findings
    if form == "json":
        shown = msgspec.to_builtins(lint_form(report, places, read.policy_version))
        terminal.result((json.dumps(shown, indent=2),))
    elif form == "sarif":
        terminal.result((json.dumps(sarif_log(report, places, contexts, __version__), indent=2),))
    elif form == "github":
        terminal.result(*github_lines(findings, places))
    elif form == "gitlab":
        terminal.result((json.dumps(gitlab_report(findings, contexts.fingerprints(findings), places), indent=2),))
    else:
        for finding in findings:
            terminal.result(*finding_lines(finding, places))
        terminal.result((count_line(findings, report.by_comments, report.by_baseline),))
