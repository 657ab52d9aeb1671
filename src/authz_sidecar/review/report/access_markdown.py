"""An access report as markdown for a pull request: a first screen, and everything else folded away below it."""

from collections.abc import Iterator, Sequence

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.change import Cause, Inexact
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.gates.summary import BrokenGate, broken_gates, example_phrase, gates_sentence
from authz_sidecar.review.gates.violation import is_refused
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.review.report.groups import Entry
from authz_sidecar.review.report.markup import markdown_code, markdown_text
from authz_sidecar.review.report.page import markdown_table
from authz_sidecar.review.report.sentences import (
    companies_phrase,
    count_left,
    entry_phrase,
    headline,
    inexact_phrase,
    lines_of,
    role_events,
    rule_phrase,
    rules_sentence,
    sensitive_phrase,
    shared_causes,
)
from authz_sidecar.review.report.summary import Reach
from authz_sidecar.review.report.wording import MOST_NAMES, markdown_phrase, names_phrase, people_phrase, role_name
from authz_sidecar.values import Severity, Span
from authz_sidecar.values.rule import Rule

MOST_CHARACTERS = 60_000
"""A comment at GitHub holds 65,536 characters; the rest is for whoever puts this into one."""
_MOST_FIRST = 4
_MOST_PERMISSIONS = 30
_MOST_SUBJECTS = 100
_MOST_CAUSES = 3
_MOST_RULES = 10
_MOST_EVENTS = 3
_MOST_VIOLATIONS = 5


def access_markdown(report: AccessReport, most: int = MOST_CHARACTERS) -> str:
    """The report as markdown of at most `most` characters; it says what was left out."""
    first = "\n".join(_first_screen(report)) + "\n"
    # What is kept back closes the section that is open and says what is missing.
    return _fitted(first, list(_sections(report)), most - 400)


def _fitted(first: str, sections: list[tuple[str, list[str]]], most: int) -> str:
    """`first` and as many blocks of the sections as fit into `most` characters."""
    parts = [first if len(first) <= most else first[:most].rsplit("\n", 1)[0] + "\n"]
    used = len(parts[0])
    left = 0
    for title, blocks in sections:
        opened = f"\n<details>\n<summary>{title}</summary>\n\n"
        closed = "\n</details>\n"
        used += len(opened) + len(closed)
        kept: list[str] = []
        for block in blocks:
            if left or used + len(block) > most:
                left += 1
                continue
            kept.append(block)
            used += len(block)
        if kept:
            parts += [opened, *kept, closed]
        else:
            used -= len(opened) + len(closed)
    if left:
        parts.append(
            f"\n**{counted(left, 'more entry', 'more entries')} left out here**, for want of space: "
            "`--format html` and `--format json` show everything.\n"
        )
    return "".join(parts)


def _first_screen(report: AccessReport) -> Iterator[str]:
    title = markdown_phrase(headline(report))
    yield f"### {title[:1].upper()}{title[1:]}"
    yield ""
    yield from _gates(report)
    rows = [
        [
            f"**{sign} {label}**",
            f"{len(reach.roles):,}" if reach.roles else "",
            _people(reach, report),
            markdown_phrase(companies_phrase(reach)).strip().removeprefix("in "),
            markdown_phrase(sensitive_phrase(reach)),
        ]
        for sign, label, reach in (("+", "gained", report.gained), ("−", "lost", report.lost))
        if reach
    ]
    if rows:
        yield from markdown_table(["", "roles", "who", "companies", "sensitive"], rows)
        yield ""
    events = role_events(report)
    notes = [markdown_phrase(event) for event in events[:_MOST_EVENTS]]
    if events[_MOST_EVENTS:]:
        notes.append(count_left(events[_MOST_EVENTS:], "role with another name", "roles with another name"))
    if report.diff.inexact:
        parts = counted(len(report.diff.inexact), "part")
        notes.append(f"**not exact here:** {parts} of the policies cannot be compared exactly, see below")
    notes += [markdown_text(note) for note in report.notes]
    if rules := rules_sentence(report):
        notes.append(rules)
    yield from (f"- {note}" for note in notes)
    if report.entries:
        yield ""
        yield from (f"- {_sentence(entry, report)}" for entry in report.entries[:_MOST_FIRST])
        if report.entries[_MOST_FIRST:]:
            yield f"- {count_left(report.entries[_MOST_FIRST:], 'entry', 'entries')} below"


def _gates(report: AccessReport) -> Iterator[str]:
    """Whether the gates are kept, first of all."""
    if not report.gated:
        return
    mark = "❌" if is_refused(report.violations) else "⚠️" if report.violations else "✅"
    yield f"{mark} **{gates_sentence(report.violations, (report.base.bundle, report.head.bundle))}**"
    yield ""
    broken = broken_gates(report.violations)
    yield from (f"- {_violation(one)}" for one in broken[:_MOST_VIOLATIONS])
    if broken[_MOST_VIOLATIONS:]:
        yield f"- {count_left(broken[_MOST_VIOLATIONS:], 'gate')}"
    if broken:
        yield ""


def _violation(broken: BrokenGate) -> str:
    severity = "**error**" if broken.severity is Severity.ERROR else "warning"
    return f"{severity} {markdown_code(broken.gate)}: {markdown_text(broken.message)}"


def _people(reach: Reach, report: AccessReport) -> str:
    words = [people_phrase(reach.identities, report.kinds)] if reach.identities else []
    return ", ".join([*words, *(["anyone whom the policies do not name"] if reach.anyone else [])])


def _sections(report: AccessReport) -> Iterator[tuple[str, list[str]]]:
    """What is folded away: title and blocks."""
    if report.violations:
        blocks = []
        for broken in broken_gates(report.violations):
            text = f"- {_violation(broken)}\n"
            for violation in broken.findings:
                text += f"  - {markdown_phrase(violation.detail)}\n"
                for example in violation.examples:
                    text += f"    - for example {markdown_phrase(example_phrase(example))}\n"
                for line in violation.lines[:_MOST_CAUSES]:
                    text += f"    - {_place(line.side, line.rule.span, report)}\n"
                text += f"    - and {violation.more:,} more\n" if violation.more else ""
            helps = dict.fromkeys(violation.help for violation in broken.findings if violation.help)
            blocks.append(text + "".join(f"  - *{markdown_text(help)}*\n" for help in helps))
        yield "Gates", blocks
    for gained, label in ((True, "Gained"), (False, "Lost")):
        entries = [entry for entry in report.entries if entry.gained is gained]
        # The first screen has shown all of it already.
        if len(report.entries) <= _MOST_FIRST and not any(lines_of(entry) or _is_long(entry) for entry in entries):
            continue
        if entries:
            yield f"{label}: {counted(len(entries), 'entry', 'entries')}", [_entry(entry, report) for entry in entries]
    if report.diff.inexact:
        count = counted(len(report.diff.inexact), "part")
        yield f"Not exact here: {count}", [_inexact(part, report) for part in report.diff.inexact]


def _sentence(entry: Entry, report: AccessReport) -> str:
    mark = " (**sensitive**)" if entry.sensitive else ""
    shared = shared_causes(entry)
    places = f" — {_causes(shared, report)}" if shared else ""
    return f"{markdown_phrase(entry_phrase(entry, report))}{mark}{places}"


def _entry(entry: Entry, report: AccessReport) -> str:
    text = [f"- {_sentence(entry, report)}"]
    if _is_long(entry):
        names = names_phrase([role_name(subject) for subject in entry.subjects], _MOST_SUBJECTS)
        text.append(f"  - all {len(entry.subjects):,}: {markdown_phrase(names)}")
    shared = shared_causes(entry)
    lines = lines_of(entry)
    for line, phrase in lines[:_MOST_PERMISSIONS]:
        places = "" if shared else f" — {_causes(line.causes, report)}"
        text.append(f"  - {markdown_phrase(phrase)}{places}")
    if lines[_MOST_PERMISSIONS:]:
        text.append(f"  - {count_left(lines[_MOST_PERMISSIONS:], 'line')}")
    return "\n".join(text) + "\n"


def _is_long(entry: Entry) -> bool:
    """Whether the sentence of the entry leaves subjects out."""
    return len(entry.subjects) > MOST_NAMES


def _causes(causes: Sequence[Cause], report: AccessReport) -> str:
    shown = [_place(cause.side, cause.rule.span, report) for cause in causes[:_MOST_CAUSES]]
    if causes[_MOST_CAUSES:]:
        shown.append(count_left(causes[_MOST_CAUSES:], "place"))
    return ", ".join(shown)


def _place(side: SideName, span: Span, report: AccessReport) -> str:
    """A line of policy with its side, as a link where one can be made."""
    at = report.side(side)
    sign = "\\+" if side == "head" else "−"
    shown = markdown_code(at.place(span))
    link = at.link(span, report.source_url)
    return f"{sign} [{shown}](<{link}>)" if link else f"{sign} {shown}"


def _inexact(part: Inexact, report: AccessReport) -> str:
    lines = [f"- {markdown_phrase(inexact_phrase(part))}"]
    sides: tuple[tuple[str, SideName, tuple[Rule, ...]], ...] = (
        ("responsible", "head", part.responsible),
        ("added", "head", part.added),
        ("removed", "base", part.removed),
    )
    for label, side, rules in sides:
        for rule in rules[:_MOST_RULES]:
            place = markdown_code(report.side(side).place(rule.span))
            lines.append(f"  - {label}: {markdown_phrase(rule_phrase(rule))} at {place}")
        if rules[_MOST_RULES:]:
            lines.append(f"  - {label}: {count_left(rules[_MOST_RULES:], 'rule')}")
    return "\n".join(lines) + "\n"
