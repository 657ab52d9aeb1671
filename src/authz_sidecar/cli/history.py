"""`authz-sidecar history`: when, by whom and why the access of a role changed."""

import json
from pathlib import Path

import click

from authz_sidecar.bundle.wording import quote, suggest
from authz_sidecar.cli.history_forms import end_lines, history_object, step_lines, steps_markdown
from authz_sidecar.cli.instant import parse_since
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.policy_history import PolicyHistory, Question
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Terminal, visible
from authz_sidecar.review.access.change import Box
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import DirectorySide, find_side
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, values_of

LIMIT = 20

EXAMPLES = """\b
Examples:
  authz-sidecar history CLIENT
  authz-sidecar history --grant "CLIENT_ADMIN delete folder" --since 90d
  authz-sidecar history --grant "* read payroll" --company acme --format markdown
"""


@click.command(name="history", epilog=EXAMPLES)
@click.argument("role", required=False)
@click.option(
    "--grant",
    metavar='"ROLE ACTION OBJECT"',
    help="Only this access: one action on `type` or `type:id`; `*` for any of the three.",
)
@click.option("--company", metavar="COMPANY", help="Only access in this company.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="At most so many changes.",
)
@click.option("--since", type=parse_since, metavar="PERIOD", help="Only changes of the last `90d`, or since a date.")
@click.option("--at", metavar="REV", help="Begin at this revision; by default with the policies as they are now.")
@policies_option
@format_option("text", "json", "markdown")
@color_option
def command(
    role: str | None,
    grant: str | None,
    company: str | None,
    limit: int,
    since: float | None,
    at: str | None,
    policies: Path,
    form: str,
    color: str,
) -> None:
    """Show the versions of the policies in which the access of ROLE changed, newest first: when, by whom, why, and what
    was gained and lost.

    Along the branch: a merge stands for what it merged. ROLE may be an identity, too. Exits 0 when shown, 2 when that
    cannot be told.
    """
    terminal = Terminal(color)
    question = _question(role, grant, company)
    places = Places(policies, {})
    try:
        side = find_side(at, policies)
        if isinstance(side, DirectorySide) and at is not None:
            raise CommandError(terminal, (f"`--at` takes a revision, and {quote(at)} is a directory", ""))
        with Repository.open(policies) as repository, Progress(terminal) as progress:
            progress.step("reading versions of the policies")
            start = repository.resolve("HEAD") if isinstance(side, DirectorySide) else side.commit
            history = PolicyHistory(repository, repository.folder(policies), start, progress.advance)
            now = side.path if isinstance(side, DirectorySide) else None
            steps = list(history.steps(question, now, limit, since or 0.0))
            if not history.versions:
                raise RepositoryError(
                    f"no commit up to {at or 'HEAD'} has the folder {quote(repository.folder(policies) or '.')}",
                    "name a folder of it with `--policies`; no bare repository is looked for inside of a work tree",
                )
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    _require_known(terminal, question.name, history)
    named = not question.name
    if form == "json":
        asked = {"role": question.name or None, "grant": grant, "company": company}
        document = history_object(places.path(""), asked, steps, history, places)
        terminal.result((json.dumps(document, indent=2),))
        return
    if form == "markdown":
        title = f"History of {question.name or grant}"
        terminal.text("\n".join(steps_markdown(title, steps, history, named)))
        return
    for number, step in enumerate(steps):
        if number:
            terminal.result(("",))
        terminal.result(*step_lines(step, places, named))
    if not steps:
        terminal.result(("no version changes this access",))
    for line in end_lines(history):
        terminal.note((visible(line),))


def _question(role: str | None, grant: str | None, company: str | None) -> Question:
    """What is asked; raises click.UsageError."""
    if (role is None) == (grant is None):
        raise click.UsageError("name a ROLE, or what it may do with `--grant`")
    where = ANY if company is None else values_of([company])
    if grant is None:
        return Question((role or "").removeprefix(ROLE_PREFIX), Box(company=where))
    words = grant.split()
    if len(words) != 3:
        raise click.UsageError('`--grant` takes three words, such as `"CLIENT read folder"`')
    name, action, kind = words
    kind, _, identifier = kind.partition(":")
    return Question(
        "" if name == "*" else name.removeprefix(ROLE_PREFIX),
        Box(
            company=where,
            type=ANY if kind == "*" else values_of([kind]),
            id=values_of([identifier]) if identifier else ANY,
            action=ANY if action == "*" else values_of([action]),
        ),
    )


def _require_known(terminal: Terminal, name: str, history: PolicyHistory) -> None:
    """Raises CommandError for a role that no version has that was looked at."""
    if not name or name in history.names or ROLE_PREFIX + name in history.names:
        return
    known = [known.removeprefix(ROLE_PREFIX) for known in history.names]
    raise CommandError(
        terminal,
        (f"no version of the policies names {quote(name)}", suggest(name, known, "name a role or an identity")),
    )
