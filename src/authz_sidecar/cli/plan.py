"""`authz-sidecar plan`: what the compiler made of the matcher."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from authz_sidecar.cli.loading import require_bundle, require_section
from authz_sidecar.cli.option import color_option, format_option, policies_argument, section_option
from authz_sidecar.cli.terminal import FAINT, PLACE, Line, Terminal, visible
from authz_sidecar.compile.access import PlanLine
from authz_sidecar.compile.snapshot import Snapshot

HEADINGS = ("CONJUNCT", "ACCESS", "COST")


EXAMPLES = """\b
Example:
  authz-sidecar plan policies
"""


@click.command(name="plan", epilog=EXAMPLES)
@policies_argument
@section_option("Show only the numbered sections r<N>, p<N>, e<N> and m<N>.")
@format_option("text", "json")
@color_option
def command(policies: Path, section: str | None, form: str, color: str) -> None:
    """Show how each matcher of the bundle in DIR (default: ./policies) was compiled: which conjunct became which
    access path, what it costs, and what is scanned for every request.
    """
    terminal = Terminal(color)
    snapshot = require_bundle(terminal, policies).snapshot
    if section is not None:
        require_section(terminal, snapshot, section)
    sections = sorted(snapshot.sections) if section is None else [section]
    if form == "json":
        terminal.result((json.dumps({"sections": [_section_object(snapshot, name) for name in sections]}, indent=2),))
        return
    for name in sections:
        if name != sections[0]:
            terminal.result(("",))
        terminal.result(*_section_lines(snapshot, name))


def _section_lines(snapshot: Snapshot, name: str) -> Iterator[Line]:
    section = snapshot.sections[name].section
    yield ((f"m{name}", PLACE), f" = {visible(section.matcher_text)}")
    yield ((f"e{name}", PLACE), f" = {section.effect}")
    yield ((f"p{name}", PLACE), f" : {len(snapshot.rules[name])} rules")
    branches = [[_cells(line) for line in lines] for lines in snapshot.describe(name)]
    rows = [HEADINGS, *(row for branch in branches for row in branch)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for number, branch in enumerate(branches, 1):
        if len(branches) > 1:
            yield ((f"alternative {number} of {len(branches)}", PLACE),)
        yield ((_row(HEADINGS, widths), FAINT),)
        for row in branch:
            yield (_row(row, widths),)


def _cells(line: PlanLine) -> tuple[str, str, str]:
    return visible(line.conjunct), visible(line.access), visible(line.cost)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"  {cells[0]:<{widths[0]}}  {cells[1]:<{widths[1]}}  {cells[2]}".rstrip()


def _section_object(snapshot: Snapshot, name: str) -> dict[str, object]:
    section = snapshot.sections[name].section
    return {
        "section": name,
        "matcher": section.matcher_text,
        "effect": str(section.effect),
        "rules": len(snapshot.rules[name]),
        "branches": [
            [{"conjunct": line.conjunct, "access": line.access, "cost": line.cost} for line in lines]
            for lines in snapshot.describe(name)
        ],
    }
