"""`diff --gate`: whether a change keeps what the gates of both sides demand."""

from pathlib import Path

import click

from authz_sidecar.bundle.files import GATES_FILE
from authz_sidecar.cli.option import Command
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import WARNING, CommandError, Terminal, visible
from authz_sidecar.review.access.change import AccessDiff
from authz_sidecar.review.gates.violation import ReviewFacts, Violation
from authz_sidecar.review.material import Material
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import RevisionSide, find_side

TRAILER = "Justification"


def gate_options(command: Command) -> Command:
    """`--gate`, `--approved-by NAME` and `--justification TEXT`."""
    options = (
        click.option(
            "--gate",
            is_flag=True,
            help="Ask the gates of BASE and of HEAD: exit 1 where one of severity error is broken, else 0.",
        ),
        click.option(
            "--approved-by",
            metavar="NAME",
            multiple=True,
            help="Who approved the change, as who runs this knows it: a person or a group. Repeatable.",
        ),
        click.option(
            "--justification",
            metavar="TEXT",
            multiple=True,
            help=f"Why the change is made, beside the commits' `{TRAILER}:` trailers. Repeatable.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_gate_options(gate: bool, approved_by: tuple[str, ...], justification: tuple[str, ...]) -> None:
    """Raise click.UsageError where options are given that mean something with `--gate` only. What the environment gives
    is not told: it is for every command."""
    context = click.get_current_context()
    for name, value in (("approved_by", approved_by), ("justification", justification)):
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if value and given and not gate:
            raise click.UsageError(f"`--{name.replace('_', '-')}` is for `--gate`")


def read_facts(
    terminal: Terminal,
    base: str,
    head: str | None,
    policies: Path,
    approved_by: tuple[str, ...],
    justification: tuple[str, ...],
) -> ReviewFacts:
    """What is known of the change from `base` to `head`, as `sources.side` reads the two. Trailers come from the
    commits that the head has and the base has not; for the policies as they lie in the work tree (None), those up to
    the commit that is checked out. Directories have none. Raises CommandError."""
    given = list(justification)
    try:
        before, after = find_side(base, policies), find_side(head, policies)
        if isinstance(before, RevisionSide):
            _check_gates_in_force(terminal, base, before)
            end = after.commit if isinstance(after, RevisionSide) else "" if head is not None else None
            reasons, behind = _trailers(policies, before.commit, end)
            given += reasons
            if behind:
                name = visible(base)
                problem = f"`{name}` has commits that the change lacks: what they did counts as undone by it"
                terminal.note((("warning:", WARNING), f" {problem}; `{name}...HEAD` is where the two parted"))
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    return ReviewFacts(approved_by=approved_by, justifications=tuple(given))


def _check_gates_in_force(terminal: Terminal, base: str, before: RevisionSide) -> None:
    """Of `A...B` the commit where the two parted is compared with, but the gates in force are those of A: a change that
    began before they were written must not escape them. Raises CommandError and RepositoryError."""
    tip, dots, _ = base.partition("...")
    if not dots:
        return
    tip = tip or "HEAD"
    path = f"{before.folder}/{GATES_FILE}" if before.folder else GATES_FILE
    with Repository.open(before.policies) as repository:
        if repository.tree(repository.resolve(tip), path) == repository.tree(before.commit, path):
            return
    problem = f"the gates of `{tip}` have changed since the change left it, and this change is not judged by them"
    raise CommandError(terminal, (problem, f"merge `{tip}` into the change, or rebase the change on it"))


def _trailers(policies: Path, base: str, head: str | None) -> tuple[list[str], bool]:
    """The reasons in the commits between, and whether the base has commits that the head lacks; None for `head` is the
    commit that is checked out, "" is no commit."""
    from authz_sidecar.sources.commit_range import commits_between
    from authz_sidecar.sources.merge_base import merge_base

    with Repository.open(policies) as repository:
        if head is None:
            commit = repository.head
            head = commit.id if commit is not None else ""
        if not head:
            return [], False
        commits = commits_between(repository, base, head)
        parted = merge_base(repository.objects, base, head)
        return [text for commit in commits for text in commit.trailer(TRAILER)], parted not in (base, None)


def find_violations(
    terminal: Terminal, base: Material | None, head: Material, facts: ReviewFacts, diff: AccessDiff
) -> tuple[Violation, ...]:
    """What the gates of both sides find."""
    from authz_sidecar.review.gates.evaluate import evaluate_gates

    with Progress(terminal) as progress:
        progress.step("asking the gates")
        return evaluate_gates(
            base,
            head,
            facts,
            diff=diff,
            progress=lambda done, total: progress.step(f"asking the gates ({done + 1} of {total})"),
        )
