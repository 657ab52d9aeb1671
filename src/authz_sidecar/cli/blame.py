"""`authz-sidecar blame`: the commit behind every grant."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.cli.loading import CompiledBundle
from authz_sidecar.cli.option import color_option, format_option, policies_argument
from authz_sidecar.cli.origin import SHORT, number_text, origin_object
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.side import require_side
from authz_sidecar.cli.terminal import FAINT, PLACE, WARNING, CommandError, Line, Terminal, visible
from authz_sidecar.review.written_grants import WrittenGrant, written_grants
from authz_sidecar.sources.blame import Origin, newest
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.side import blame_side, find_side
from authz_sidecar.values.instant import date_text
from authz_sidecar.values.request import ROLE_PREFIX

EXAMPLES = """\b
Examples:
  authz-sidecar blame policies
  authz-sidecar blame --role CLIENT_ADMIN --at v1.2 --format json
"""
_LONGEST_AUTHOR = 20
_OLDER = {"clone": "older than the clone", "search": "older than what was searched"}


@click.command(name="blame", epilog=EXAMPLES)
@policies_argument
@click.option(
    "--role", "roles", multiple=True, metavar="ROLE", help="Only grants that this role has or inherits. Repeatable."
)
@click.option("--at", metavar="REV", help="The policies of this revision; by default as they are in DIR now.")
@format_option("text", "json")
@color_option
def command(policies: Path, roles: tuple[str, ...], at: str | None, form: str, color: str) -> None:
    """Show for every grant of the bundle in DIR (default: ./policies) the commit that last touched it.

    A grant of several lines is as new as the newest of them. Exits 0 when shown, 2 when DIR is not in git.
    """
    terminal = Terminal(color)
    compiled = require_side(terminal, at, policies)
    grants = written_grants(compiled.bundle, _holders(terminal, compiled, roles) if roles else None)
    lines: dict[str, set[int]] = {}
    for grant in grants:
        lines.setdefault(grant.span.file, set()).update(grant.lines)
    try:
        with Progress(terminal) as progress:
            progress.step("searching the history")
            found = blame_side(find_side(at, policies), lines, progress.advance)
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    origins = [newest(found.get((grant.span.file, line), Origin(None)) for line in grant.lines) for grant in grants]
    if form == "json":
        terminal.result((json.dumps(_document(grants, origins, compiled), indent=2),))
        return
    blocks = groupby(zip(grants, origins, strict=True), key=lambda pair: pair[0].holder)
    for number, (holder, pairs) in enumerate(blocks):
        if number:
            terminal.result(("",))
        terminal.result(((visible(holder.removeprefix(ROLE_PREFIX)), PLACE),), *_lines(list(pairs), compiled))


def _holders(terminal: Terminal, compiled: CompiledBundle, roles: Sequence[str]) -> tuple[str, ...]:
    """The roles as rules write them; raises CommandError for one that has no rule."""
    known = {holder.removeprefix(ROLE_PREFIX): holder for holder in _all_holders(compiled)}
    for role in roles:
        if role.removeprefix(ROLE_PREFIX) not in known:
            raise CommandError(
                terminal, (f"no grant is written for {quote(role)}", suggest(role, known, "name a role of the bundle"))
            )
    return tuple(known[role.removeprefix(ROLE_PREFIX)] for role in roles)


def _all_holders(compiled: CompiledBundle) -> Iterator[str]:
    for section in compiled.bundle.model.sections.values():
        table = compiled.bundle.tables[section.ptype]
        yield from dict.fromkeys(table.columns[section.fields.index("sub") if "sub" in section.fields else 0])


def _lines(pairs: Sequence[tuple[WrittenGrant, Origin]], compiled: CompiledBundle) -> Iterator[Line]:
    cells = [(_origin_cells(origin), grant) for grant, origin in pairs]
    widths = [max(len(row[column]) for row, _ in cells) for column in range(4)]
    for (row, grant), (_, origin) in zip(cells, pairs, strict=True):
        id, *rest = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        via = f", from {', '.join(role.removeprefix(ROLE_PREFIX) for role in grant.via)}" if grant.via else ""
        yield (
            "  ",
            (id, WARNING if origin.commit is None or origin.older else FAINT),
            f"  {'  '.join(rest)}  {visible(grant.text)}",
            (f"  {visible(compiled.places.show(grant.span) + via)}", FAINT),
        )


def _origin_cells(origin: Origin) -> tuple[str, str, str, str]:
    """Commit, date, author and pull request as they stand in columns."""
    commit = origin.commit
    if commit is None:
        return "not committed", "", "", ""
    if origin.older:
        return _OLDER[origin.older], "", "", ""
    author = visible(" ".join(commit.author.split()))
    author = author if len(author) <= _LONGEST_AUTHOR else f"{author[: _LONGEST_AUTHOR - 1]}…"
    return commit.id[:SHORT], date_text(commit.when), author, number_text(commit)


def _document(grants: Sequence[WrittenGrant], origins: Sequence[Origin], compiled: CompiledBundle) -> dict[str, Any]:
    return {
        "policies": compiled.places.path(""),
        "policy_version": compiled.policy_version,
        "grants": [
            {
                "holder": grant.holder,
                "grant": grant.text,
                "file": compiled.places.path(grant.span.file),
                "line": grant.span.line,
                "column": grant.span.column,
                "last_line": grant.last_line,
                "via": list(grant.via),
                "origin": origin_object(origin),
            }
            for grant, origin in zip(grants, origins, strict=True)
        ],
    }
