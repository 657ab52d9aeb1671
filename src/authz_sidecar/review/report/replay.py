"""A replay's report: text for terminals, markdown for pull requests, plain objects for JSON."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.logged_lines import LogFacts
from authz_sidecar.review.replay import ReplayedChange, ReplayReport
from authz_sidecar.review.report.log_facts import caveats, facts_object, short_time
from authz_sidecar.review.report.markup import markdown_code, markdown_text
from authz_sidecar.review.report.page import markdown_table
from authz_sidecar.review.report.wording import role_name
from authz_sidecar.values import Request
from authz_sidecar.values.visible import visible

NOBODY = "(no role)"
NAME_THE_DIRECTORY = "name it with `--directory`"
# Of each side in text and markdown; JSON has all.
MOST_SHOWN = 50


def replay_text(report: ReplayReport) -> list[str]:
    """The lines of the report."""
    facts = report.facts
    lines = [
        f"replayed {_extent(facts)}",
        f"against {visible(report.policy_version)}",
        _counts(report),
    ]
    for title, changes in _sides(report):
        lines += ["", title]
        for role, group in _by_role(changes[:MOST_SHOWN]):
            lines.append(f"  {visible(role_name(role)) or NOBODY}")
            for change in group:
                lines += _text_of(change)
        if len(changes) > MOST_SHOWN:
            lines.append(f"  and {counted(len(changes) - MOST_SHOWN, 'more change')}: see `--format json`")
    said = caveats(facts, NAME_THE_DIRECTORY)
    if report.ungrouped:
        said.append(
            f"{counted(report.ungrouped, 'change')} are counted and not shown: there are too many different ones"
        )
    return [*lines, *([""] if said else []), *[f"note: {sentence}" for sentence in said]]


def replay_markdown(report: ReplayReport) -> list[str]:
    """The lines of a section of a pull request's comment."""
    facts = report.facts
    lines = [
        f"**{_counts(report)}**",
        "",
        f"Replayed {_extent(facts)} against {markdown_code(report.policy_version)}.",
    ]
    for title, changes in _sides(report):
        rows = [
            [
                markdown_code(role_name(change.role)) if change.role else NOBODY,
                f"{markdown_code(change.action)} {markdown_code(change.type)}",
                _number(change),
                _subjects(change),
                _markdown_place(change.was_rule, change.was_reason),
                _markdown_place(change.is_rule, change.is_reason),
                markdown_text(short_time(change.last)),
            ]
            for change in changes[:MOST_SHOWN]
        ]
        header = ("role", "what", "decisions", "identities", "was", "now", "last")
        lines += ["", f"### {title}", "", *markdown_table(header, rows, numbers=(2, 3))]
        if len(changes) > MOST_SHOWN:
            lines += ["", f"and {counted(len(changes) - MOST_SHOWN, 'more change')}"]
    said = caveats(facts, NAME_THE_DIRECTORY)
    return [*lines, *([""] if said else []), *[f"- {sentence}" for sentence in said]]


def replay_object(report: ReplayReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "policy_version": report.policy_version,
        "same": report.same,
        "newly_allowed": report.newly_allowed,
        "newly_denied": report.newly_denied,
        "ungrouped": report.ungrouped,
        "log": facts_object(report.facts),
        "changes": [
            {
                "change": "newly_allowed" if change.allowed else "newly_denied",
                "role": change.role or None,
                "action": change.action,
                "type": change.type,
                "was": {"reason": change.was_reason, "rule": change.was_rule or None},
                "now": {"reason": change.is_reason, "rule": change.is_rule or None},
                "decisions": change.count,
                "estimate": round(change.estimate, 3),
                "first": change.first,
                "last": change.last,
                "subjects": len(change.subjects),
                "more_subjects": change.more_subjects,
                "examples": [
                    {
                        "subject": example.request.subject,
                        "action": example.request.action,
                        "object": example.request.object,
                        "company": example.request.company,
                        "owner": example.request.owner,
                        "time": example.time,
                        "decision_id": example.decision_id,
                    }
                    for example in change.examples
                ],
            }
            for change in report.changes
        ],
    }


def _extent(facts: LogFacts) -> str:
    requests = counted(facts.requests, "different request")
    times = f"from {short_time(facts.first)} to {short_time(facts.last)}"
    return f"{counted(facts.decisions, 'decision')} ({requests}) {times}"


def _counts(report: ReplayReport) -> str:
    if not report.changed:
        return f"no decision changes: {report.same:,} the same"
    return f"{report.newly_denied:,} newly denied, {report.newly_allowed:,} newly allowed, {report.same:,} the same"


def _sides(report: ReplayReport) -> Iterator[tuple[str, list[ReplayedChange]]]:
    for title, allowed in (("newly denied", False), ("newly allowed", True)):
        changes = [change for change in report.changes if change.allowed is allowed]
        if changes:
            yield title, changes


def _by_role(changes: Sequence[ReplayedChange]) -> Iterator[tuple[str, Iterable[ReplayedChange]]]:
    # The role of the most frequent change first.
    order = {role: at for at, role in reversed(list(enumerate(change.role for change in changes)))}
    return groupby(sorted(changes, key=lambda change: order[change.role]), key=lambda change: change.role)


def _text_of(change: ReplayedChange) -> Iterator[str]:
    what = visible(f"{change.action} {change.type or '(no type)'}")
    decisions = f"{_number(change)} {'decision' if change.count == 1 else 'decisions'}"
    yield f"    {what}: {decisions} of {_subjects(change)} {_people(change)}, last {short_time(change.last)}"
    yield f"      was {_place(change.was_rule, change.was_reason)}; now {_place(change.is_rule, change.is_reason)}"
    for example in change.examples[:1]:
        yield f"      such as {_request(example.request)} (decision {visible(example.decision_id)})"


def _people(change: ReplayedChange) -> str:
    return "identity" if len(change.subjects) == 1 and not change.more_subjects else "identities"


def _number(change: ReplayedChange) -> str:
    estimate = round(change.estimate)
    return f"{change.count:,}" if estimate == change.count else f"{change.count:,} (about {estimate:,})"


def _subjects(change: ReplayedChange) -> str:
    return f"{len(change.subjects):,}{'+' if change.more_subjects else ''}"


def _place(rule: str, reason: str) -> str:
    return visible(f"{reason} ({rule})" if rule else reason)


def _markdown_place(rule: str, reason: str) -> str:
    return f"{markdown_text(reason)} {markdown_code(rule)}" if rule else markdown_text(reason)


def _request(request: Request) -> str:
    text = f"{request.subject} {request.action} {request.object or '(no object)'}"
    text += f" in company {request.company}" if request.company else ""
    return visible(text + (f", owner {request.owner}" if request.owner else ""))
