"""`authz-sidecar rollback`: the policies of an earlier commit, as a new commit.

What is served is what git says, and history is not rewritten: a roll-back goes forward, by a commit whose files are
those of the earlier one. Every sidecar takes it like any other, and it says why.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import color_option, policies_option
from authz_sidecar.cli.side import require_side
from authz_sidecar.cli.terminal import CommandError, Terminal, visible
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.review.report.access_text import access_text
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository

EXAMPLES = """\b
Examples:
  authz-sidecar rollback HEAD~1 --dry-run
  authz-sidecar rollback 9f0c1d3 --justification 'INC-42: clients could not read' --yes
"""


@click.command(name="rollback", epilog=EXAMPLES)
@click.argument("commit")
@policies_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it is committed.")
@click.option("--justification", metavar="TEXT", help="Why; kept in the commit as `Justification: TEXT`.")
@click.option("--branch", metavar="NAME", help="Commit to a new branch and leave the files as they are.")
@color_option
def command(
    commit: str, policies: Path, dry_run: bool, yes: bool, justification: str | None, branch: str | None, color: str
) -> None:
    """Commit the policies of COMMIT anew, on top of what is checked out, after showing whose access that changes.

    Exits 0 when it is committed or nothing needs to be, 2 when it is not.
    """
    terminal = Terminal(color)
    why = " ".join((justification or "").split())
    if not (dry_run or why):
        raise click.UsageError("a roll-back needs `--justification TEXT`: why the access changes")
    try:
        with Repository.open(policies) as repository:
            id, folder = repository.resolve(commit), repository.folder(policies)
            changes = _changes(repository, id, folder)
        if not changes:
            terminal.note(("nothing changes: the policies are those of that commit already",))
            return
        _show(terminal, id, policies)
        if dry_run:
            return
        if not yes and not _confirmed(terminal):
            raise CommandError(terminal, ("nothing was changed", "give `--yes` to change it without being asked"))
        message = f"Roll back {folder or 'the policies'} to {id[:12]}\n\nJustification: {why}\n"
        with Repository.open(policies) as repository:
            made = repository.commit_files(changes, message, branch)
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from error
    where = f" on the new branch {visible(branch)}" if branch else ""
    terminal.note((f"committed {made[:12]}{where}: {message.partition(chr(10))[0]}",))


def _changes(repository: Repository, id: str, folder: str) -> dict[str, bytes | None]:
    """What to do to the files of HEAD, so that they are those of the commit; raises RepositoryError."""
    wanted = repository.read_bundle(id, folder)[0]
    if wanted is None:
        raise RepositoryError(
            f"the commit `{id[:12]}` has no bundle in `{folder or '.'}`", "name a commit whose policies can be served"
        )
    # A bundle that cannot be read is what one rolls back from.
    present: Mapping[str, bytes] = repository.read_bundle(repository.resolve("HEAD"), folder)[0] or {}
    prefix = f"{folder}/" if folder else ""
    changes: dict[str, bytes | None] = {f"{prefix}{name}": None for name in present if name not in wanted}
    return changes | {f"{prefix}{name}": data for name, data in wanted.items() if present.get(name) != data}


def _show(terminal: Terminal, id: str, policies: Path) -> None:
    """Whose access changes; raises CommandError if the earlier policies do not load."""
    head = require_side(terminal, id, policies)
    base: CompiledBundle | None = None
    try:
        base = require_bundle(terminal, policies)
    except CommandError:
        terminal.note(("the policies do not load now: what follows is everything that will be allowed",))
    diff = diff_access(
        None if base is None else Material(base.bundle, base.snapshot), Material(head.bundle, head.snapshot)
    )
    folder = head.places.path("")
    before = (
        Side(name=str(policies), folder=folder)
        if base is None
        else Side(name=str(policies), bundle=base.bundle, policy_version=base.policy_version, folder=folder)
    )
    after = Side(name=id[:12], bundle=head.bundle, policy_version=head.policy_version, folder=folder)
    terminal.result(*access_text(AccessReport(diff, before, after)))


def _confirmed(terminal: Terminal) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(
            terminal, ("nobody is there to confirm the change", "give `--yes`, or `--dry-run` to look only")
        )
    return click.confirm("Commit it?", default=False, err=True)
