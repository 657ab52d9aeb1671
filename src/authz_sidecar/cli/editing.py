"""An edit of the policies by command: shown first, then written, or committed."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import click

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.policy_edit import Changed, PolicyEditError, PolicyEditor
from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.correcting import diff_lines, write_changes
from authz_sidecar.cli.findings import finding_lines
from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import color_option, policies_option
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.terminal import WARNING, CommandError, Line, Terminal, end, visible
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import run_tests
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.review.report.access_text import access_text
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values import Severity

DECLINED = 1

Command = TypeVar("Command", bound=Callable[..., Any])


class EditOptions(TypedDict):
    """What the options of `edit_options` give a command."""

    policies: Path
    dry_run: bool
    yes: bool
    commit: bool
    justification: str | None
    message: str | None
    branch: str | None
    color: str


def edit_options(command: Command) -> Command:
    """The options of every edit."""
    for option in reversed(
        (
            policies_option,
            click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing."),
            click.option("--yes", is_flag=True, help="Do not ask before the files are changed."),
            click.option("--commit", is_flag=True, help="Commit the change; it needs `--justification`."),
            click.option("--justification", metavar="TEXT", help="Why; kept in the commit as `Justification: TEXT`."),
            click.option("--message", metavar="TEXT", help="The first line of the commit, instead of what was done."),
            click.option("--branch", metavar="NAME", help="Commit to a new branch and leave the files as they are."),
            color_option,
        )
    ):
        command = option(command)
    return command


def edit_policies(options: EditOptions, done: str, make: Callable[[PolicyEditor], Changed]) -> None:
    """Make an edit, show whose access it changes, and write it; `done` says what it does, as a commit's first line.

    Raises CommandError where the edit cannot be made, would leave a bundle with errors, or is not confirmed.
    """
    _check(options)
    terminal = Terminal(options["color"])
    policies = options["policies"]
    before = require_bundle(terminal, policies)
    files: Mapping[str, bytes] = read_directory(policies)[0] or {}
    try:
        changed = make(PolicyEditor(before.bundle, files))
    except PolicyEditError as error:
        raise CommandError(terminal, (Places(policies, files).in_message(error.message), error.help)) from error
    if not changed:
        terminal.note(("nothing changes: the policies say so already",))
        return
    asks = not (options["yes"] or options["dry_run"])
    if asks and not (sys.stdin is not None and sys.stdin.isatty()):
        raise CommandError(
            terminal, ("nobody is there to confirm the change", "give `--yes`, or `--dry-run` to look only")
        )
    # What is asked for is to be seen, or else a change that may still fail.
    show = terminal.result if options["dry_run"] else terminal.note
    show(*_changes(terminal, before, files, changed, policies))
    if options["dry_run"]:
        return
    if asks and not click.confirm("Change the policies so?", default=False, err=True):
        terminal.note(("nothing was changed",))
        end(DECLINED)
    if options["commit"]:
        _commit(terminal, policies, changed, options, done)
    else:
        write_changes(terminal, policies, files, changed)
        terminal.note((f"changed {', '.join(visible(before.places.path(file)) for file in sorted(changed))}",))


def _check(options: EditOptions) -> None:
    if options["commit"] and not " ".join((options["justification"] or "").split()):
        raise click.UsageError("`--commit` needs `--justification TEXT`: why the access changes")
    for name in ("justification", "message", "branch"):
        if options[name] is not None and not options["commit"]:
            raise click.UsageError(f"`--{name}` is about a commit: give `--commit` with it")


def _changes(
    terminal: Terminal, before: CompiledBundle, files: Mapping[str, bytes], changed: Changed, policies: Path
) -> list[Line]:
    """The access that changes, the text, and what loading and the tests say of it that they did not say before."""
    bundle, problems = parse_bundle({**files, **changed}, before.bundle.name)
    snapshot, more = compile_bundle(bundle, searches=False) if bundle is not None else (None, [])
    errors = [found for found in (*problems, *more) if found.severity is Severity.ERROR]
    places = Places(policies, {**files, **changed})
    if bundle is None or snapshot is None or errors:
        for finding in errors:
            terminal.note(*finding_lines(finding, places))
        raise CommandError(
            terminal,
            (
                f"the edit would leave a bundle with {counted(len(errors), 'error')}",
                "correct that first, or make the edit by hand",
            ),
        )
    head = Material(bundle, snapshot)
    diff = diff_access(Material(before.bundle, before.snapshot), head)
    shown = str(policies)
    folder = before.places.path("")
    side = Side(name=shown, bundle=before.bundle, policy_version=before.policy_version, folder=folder)
    report = AccessReport(diff, side, Side(name=f"{shown}, edited", bundle=bundle, folder=folder))
    lines: list[Line] = [*access_text(report), ("",), *diff_lines(files, changed, policies)]
    known = Counter((found.code, found.message) for found in parse_bundle(files, before.bundle.name)[1])
    for finding in problems:
        known[finding.code, finding.message] -= 1
        if known[finding.code, finding.message] < 0:
            lines += finding_lines(finding, places)
    failures = len(run_tests(head.decider, bundle.tests).failures)
    if failures:
        note = f" {counted(failures, 'policy test')} will fail: see `authz-sidecar test` afterwards"
        lines.append((("warning:", WARNING), note))
    return lines


def _commit(terminal: Terminal, policies: Path, changed: Changed, options: EditOptions, done: str) -> None:
    first = " ".join((options["message"] or done).split())
    why = " ".join((options["justification"] or "").split())
    try:
        with Repository.open(policies) as repository:
            folder = repository.folder(policies)
            inside = {f"{folder}/{file}" if folder else file: content for file, content in changed.items()}
            commit = repository.commit_files(inside, f"{first}\n\nJustification: {why}\n", options["branch"])
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from error
    where = f" on the new branch {visible(options['branch'])}" if options["branch"] else ""
    terminal.note((f"committed {commit[:12]}{where}: {visible(first)}",))
