"""The history of access as text, markdown and JSON."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.origin import JUSTIFICATION, SHORT, commit_object, number_text
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.policy_history import AccessStep, PolicyHistory, SubjectAccess
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, PLACE, WARNING, Line, visible
from authz_sidecar.review.access.change import Inexact
from authz_sidecar.review.report.access_json import owners_object, texts_object
from authz_sidecar.review.report.markup import markdown_code, markdown_text
from authz_sidecar.review.report.permission import Permission
from authz_sidecar.review.report.sentences import inexact_phrase
from authz_sidecar.review.report.wording import markdown_phrase, plain_phrase, role_name
from authz_sidecar.values.instant import date_text

_MOST_PLACES = 3
_LONGEST_SAID = 300
_MOST_MERGED = 5


def justifications(step: AccessStep) -> tuple[str, ...]:
    """Why, in the words of the commit's trailer and of those that it merged."""
    commits = (*(() if step.commit is None else (step.commit,)), *step.merged)
    return tuple(dict.fromkeys(why for commit in commits for why in commit.trailer(JUSTIFICATION)))


def step_lines(step: AccessStep, places: Places, named: bool) -> Iterator[Line]:
    """One version: commit, when, who and which pull request, why, and what was gained and lost. `named` puts the
    subject before each line, where there may be several."""
    commit = step.commit
    if commit is None:
        yield (("not committed", WARNING),)
    else:
        parts = [date_text(commit.when), _said(commit.author), number_text(commit)]
        yield ((commit.id[:SHORT], PLACE), f"  {'  '.join(part for part in parts if part)}")
        yield ("  ", ("subject: ", FAINT), _said(commit.subject))
    for why in justifications(step):
        yield ("  ", ("justification: ", FAINT), _said(why))
    for merged in step.merged[:_MOST_MERGED]:
        yield ("  ", (f"merges {merged.id[:SHORT]} {_said(merged.author)}: {_said(merged.subject)}", FAINT))
    if step.merged[_MOST_MERGED:]:
        yield ("  ", (f"merges {len(step.merged) - _MOST_MERGED:,} more", FAINT))
    for change in step.changes:
        sign: tuple[str, str] = ("+ ", ALLOW) if change.gained else ("- ", DENY)
        who = f"{visible(role_name(change.subject))}: " if named else ""
        for permission in change.permissions:
            yield ("  ", sign, who + plain_phrase(permission.phrase()), (f"  {_places(permission, places)}", FAINT))
    for part in step.inexact:
        yield ("  ", ("? ", WARNING), plain_phrase(inexact_phrase(part)))


def _said(text: str) -> str:
    """What somebody wrote into a commit, so that no part of it is taken for a line of ours: it stands behind a label,
    and without the gaps that would let the rest of it begin a line of the terminal."""
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= _LONGEST_SAID else f"{shown[: _LONGEST_SAID - 1]}…"


def end_lines(history: PolicyHistory) -> Iterator[str]:
    """What is to be said about the history as a whole."""
    if history.more:
        yield "the history goes on: `--limit` shows more of it"
    if history.edge is not None:
        yield (
            f"the clone ends at {history.edge.id[:SHORT]}, and what changed up to there is not known: "
            "fetch the rest with `git fetch --unshallow`"
        )
    if history.unreadable:
        first, *others = history.unreadable
        more = f", and {counted(len(others), 'more version')}" if others else ""
        yield f"left out, since it does not load: {first.commit.id[:SHORT]} ({first.problem}){more}"


def _places(permission: Permission, places: Places) -> str:
    """Which lines made it; those of a removed rule stand in the version before."""
    told = [f"{'+' if c.side == 'head' else '-'} {visible(places.show(c.rule.span))}" for c in permission.causes]
    more = [f"{len(told) - _MOST_PLACES:,} more"] if told[_MOST_PLACES:] else []
    return ", ".join([*told[:_MOST_PLACES], *more])


def steps_markdown(title: str, steps: Iterable[AccessStep], history: PolicyHistory, named: bool) -> Iterator[str]:
    """A section in markdown, line by line."""
    yield f"## {markdown_text(title)}"
    for step in steps:
        commit = step.commit
        yield ""
        if commit is None:
            yield "### not committed"
        else:
            number = f", {number_text(commit)}" if commit.pull_request is not None else ""
            yield f"### {date_text(commit.when)}: {markdown_text(commit.subject)}"
            yield ""
            yield f"{markdown_code(commit.id[:SHORT])} by {markdown_text(commit.author)}{number}"
        for why in justifications(step):
            yield ""
            yield f"Justification: {markdown_text(why)}"
        yield ""
        for change in step.changes:
            verb = "gains" if change.gained else "loses"
            who = f"{markdown_code(role_name(change.subject))} {verb}" if named else f"**{verb}**"
            for permission in change.permissions:
                yield f"- {who} {markdown_phrase(permission.phrase())}"
        for part in step.inexact:
            yield f"- {markdown_phrase(inexact_phrase(part))}"
    for line in end_lines(history):
        yield ""
        yield f"_{markdown_text(line)}_"


def history_object(
    policies: str, asked: dict[str, Any], steps: Sequence[AccessStep], history: PolicyHistory, places: Places
) -> dict[str, Any]:
    """The JSON form."""
    return {
        "policies": policies,
        **asked,
        "changes": [_step_object(step, places) for step in steps],
        "complete": not history.more and history.edge is None,
        "clone_ends_at": None if history.edge is None else history.edge.id,
        "left_out": [{"commit": each.commit.id, "problem": each.problem} for each in history.unreadable],
    }


def _step_object(step: AccessStep, places: Places) -> dict[str, Any]:
    known = {"status": "not_committed"} if step.commit is None else {"status": "committed"} | commit_object(step.commit)
    return known | {
        "justifications": list(justifications(step)),
        "merges": [commit_object(commit) for commit in step.merged],
        "gained": [one for change in step.changes if change.gained for one in _change_objects(change, places)],
        "lost": [one for change in step.changes if not change.gained for one in _change_objects(change, places)],
        "inexact": [_inexact_text(part) for part in step.inexact],
    }


def _inexact_text(part: Inexact) -> str:
    return plain_phrase(inexact_phrase(part, None))


def _change_objects(change: SubjectAccess, places: Places) -> Iterator[dict[str, Any]]:
    for permission in change.permissions:
        yield {
            "subject": change.subject,
            "text": plain_phrase(permission.phrase(None)),
            "company": msgspec.to_builtins(texts_object(permission.company)),
            "types": msgspec.to_builtins(texts_object(permission.types)),
            "data_domains": list(permission.domains),
            "actions": msgspec.to_builtins(texts_object(permission.actions)),
            "id": msgspec.to_builtins(texts_object(permission.id)),
            "owner": msgspec.to_builtins(owners_object(permission.owner)),
            "lines": [
                {"side": c.side, "file": places.path(c.rule.span.file), "line": c.rule.span.line}
                for c in permission.causes
            ],
        }
