"""`authz-sidecar diff`: who gains and who loses which access between two versions of the policies."""

from pathlib import Path

import click

from authz_sidecar.cli.comparison import Comparison, read_comparison
from authz_sidecar.cli.directory import directory_option
from authz_sidecar.cli.gate import check_gate_options, find_violations, gate_options, read_facts
from authz_sidecar.cli.loading import CompiledBundle
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Line, Terminal, end, plain, visible
from authz_sidecar.review.access.change import AccessDiff
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.gates.violation import Violation, is_refused
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.sources.load import collections_paused
from authz_sidecar.sources.writing import replace_file

CHANGES = 1

EXAMPLES = """\b
Examples:
  authz-sidecar diff main
  authz-sidecar diff origin/main...HEAD HEAD --format markdown --output comment.md
  authz-sidecar diff v1 v2 --policies policies --format html --output access.html
  authz-sidecar diff ./old/ ./new/ --identities identities.jsonl
  authz-sidecar diff origin/main --directory /var/lib/authz/directory.db
  authz-sidecar diff origin/main --gate --approved-by security
"""


@click.command(name="diff", epilog=EXAMPLES)
@click.argument("base")
@click.argument("head", required=False)
@policies_option
@format_option("text", "json", "markdown", "html")
@click.option(
    "--identities",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who holds which roles, where the bundle does not say so: an exported file (YAML, JSON or JSON lines).",
)
@directory_option("Who holds which roles: the identities of this directory, a file or the URL of a database.")
@click.option(
    "--source-url",
    metavar="TEMPLATE",
    default="",
    help="Link lines of policy: an address with {commit}, {path} and {line} in it.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the result to FILE instead of standard output.",
)
@gate_options
@color_option
def command(
    base: str,
    head: str | None,
    policies: Path,
    form: str,
    identities: Path | None,
    directory: str | None,
    source_url: str,
    output: Path | None,
    gate: bool,
    approved_by: tuple[str, ...],
    justification: tuple[str, ...],
    color: str,
) -> None:
    """Show who gains and who loses which access from BASE to HEAD (default: the policies as they are now).

    BASE and HEAD are revisions of the repository that holds the policies, or directories (`./old/`). The answer is
    complete: what cannot be compared exactly is marked.

    Exits 0 when no access changes, 1 when some does, 2 when a side cannot be read. With --gate: 0 when no gate of
    severity error is broken, whatever changes, and 1 when one is.
    """
    terminal = Terminal(color)
    check_gate_options(gate, approved_by, justification)
    compared = read_comparison(
        terminal, base, head, policies, identities=identities, directory=directory, links=bool(source_url)
    )
    base_material, head_material = _material(compared.base.compiled), _material(compared.head.compiled)
    diff = _compare(terminal, base_material, head_material)
    violations: tuple[Violation, ...] = ()
    if gate and head_material is not None:
        facts = read_facts(terminal, base, head, policies, approved_by, justification)
        violations = find_violations(terminal, base_material, head_material, facts, diff)
    report = AccessReport(
        diff,
        compared.base.side,
        compared.head.side,
        kinds=compared.kinds,
        notes=_notes(compared, diff),
        source_url=source_url,
        violations=violations,
        gated=gate,
    )
    _write(terminal, report, form, output)
    passed = not is_refused(violations) if gate else report.unchanged
    end(0 if passed else CHANGES)


def _compare(terminal: Terminal, base: Material | None, head: Material | None) -> AccessDiff:
    with Progress(terminal) as progress, collections_paused():
        progress.step("comparing access")
        begun = False

        def tell(_done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                begun = True
                progress.step("comparing access", total)
            progress.advance()

        return diff_access(base, head, progress=tell)


def _material(compiled: CompiledBundle | None) -> Material | None:
    return None if compiled is None else Material(compiled.bundle, compiled.snapshot)


def _notes(compared: Comparison, diff: AccessDiff) -> tuple[str, ...]:
    sides = [one.compiled.bundle for one in (compared.base, compared.head) if one.compiled is not None]
    if diff.roles and not any(len(bundle.tables[name]) for bundle in sides for name in bundle.model.roles):
        return (
            *compared.notes,
            "the policies do not say who holds which role: `--directory` and `--identities` tell whom a change reaches",
        )
    return compared.notes


def _write(terminal: Terminal, report: AccessReport, form: str, output: Path | None) -> None:
    if form == "text":
        from authz_sidecar.review.report.access_text import access_text

        lines: list[Line] = access_text(report)
        if output is None:
            terminal.result(*lines)
            return
        text = "".join(f"{plain(line).rstrip()}\n" for line in lines)
    else:
        text = _rendered(report, form)
    if output is None:
        terminal.text(text)
        return
    # It is replaced, and neither a device nor what a link of somebody else's leads to is meant to be.
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise CommandError(
            terminal,
            (f"`{output}` is no plain file", "name one; without `--output` the result goes to standard output"),
        )
    try:
        replace_file(output, text.encode("utf-8"))
    except OSError as error:
        raise CommandError(
            terminal,
            (
                f"cannot write to `{output}`: {(error.strerror or 'unknown reason').lower()}",
                "name a file in a directory that exists and can be written",
            ),
        ) from None
    terminal.note((f"wrote {visible(str(output))}",))


def _rendered(report: AccessReport, form: str) -> str:
    if form == "json":
        from authz_sidecar.review.report.access_json import access_json

        return access_json(report)
    if form == "markdown":
        from authz_sidecar.review.report.access_markdown import access_markdown

        return access_markdown(report)
    from authz_sidecar.review.report.access_html import access_html

    return access_html(report)
