"""An access report for terminals: lines of pieces, plain or with a style."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from authz_sidecar.review.access.change import Cause
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.gates.summary import broken_gates, example_phrase, gates_sentence
from authz_sidecar.review.gates.violation import is_refused
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.review.report.groups import Entry
from authz_sidecar.review.report.sentences import (
    count_left,
    entry_phrase,
    headline,
    inexact_phrase,
    lines_of,
    reach_phrase,
    role_events,
    rule_phrase,
    rules_sentence,
    sensitive_phrase,
    shared_causes,
)
from authz_sidecar.review.report.wording import Phrase, plain_phrase
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.visible import visible

Line: TypeAlias = tuple[str | tuple[str, str], ...]

MOST_LINES = 500
"""So many lines are shown; the others are counted."""
_MOST_PERMISSIONS = 40
_MOST_CAUSES = 4
_MOST_RULES = 10

_GAINED = "green"
_LOST = "red"
_STRONG = "bold"
_FAINT = "dim"
_WARNING = "bold yellow"
_SIGNS: dict[SideName, str] = {"head": "+", "base": "-"}


def access_text(report: AccessReport, most: int = MOST_LINES) -> list[Line]:
    """The report: a summary, then what is gained, what is lost and what is not exact. At most `most` lines of details;
    the last one says how many there were more."""
    lines = list(_summary(report))
    details = list(_details(report))
    if len(details) > most:
        left = len(details) - most
        details = details[:most]
        details.append(((f"… {left:,} more lines; `--format json` and `--format html` show everything", _WARNING),))
    return lines + details


def _summary(report: AccessReport) -> Iterator[Line]:
    yield ((plain_phrase(headline(report)), _STRONG),)
    rows: list[tuple[str, str, str]] = []
    for label, style, reach in (("gained", _GAINED, report.gained), ("lost", _LOST, report.lost)):
        if reach:
            rows.append((label, style, plain_phrase(reach_phrase(reach, report))))
        if sensitive := sensitive_phrase(reach):
            rows.append(("sensitive", _WARNING, f"{label}: {plain_phrase(sensitive)}"))
    rows += [("roles", "", plain_phrase(event)) for event in role_events(report)]
    if report.diff.inexact:
        rows.append(("not exact", _WARNING, f"{len(report.diff.inexact):,}, told below"))
    if report.gated:
        style = _LOST if is_refused(report.violations) else _WARNING if report.violations else ""
        rows.append(("gates", style, gates_sentence(report.violations, (report.base.bundle, report.head.bundle))))
    if rules := rules_sentence(report):
        rows.append(("rules", "", rules))
    rows += [("note", "", visible(note)) for note in report.notes]
    for label, style, text in rows:
        yield ("  ", (f"{label:<10}", style) if style else f"{label:<10}", f" {text}")


def _details(report: AccessReport) -> Iterator[Line]:
    if report.violations:
        yield ("",)
        yield (("gates", _STRONG),)
        for broken in broken_gates(report.violations):
            style = _LOST if broken.severity == "error" else _WARNING
            yield ("  ", (f"{broken.severity}[{visible(broken.gate)}]", style), f" {visible(broken.message)}")
            for violation in broken.findings:
                yield (f"    - {plain_phrase(violation.detail)}",)
                for example in violation.examples:
                    yield (f"      for example {plain_phrase(example_phrase(example))}",)
                places = dict.fromkeys(report.side(line.side).place(line.rule.span) for line in violation.lines)
                if places:
                    yield (f"      {', '.join(visible(place) for place in islice(places, 3))}",)
                if violation.more:
                    yield (f"      and {violation.more:,} more",)
            for help in dict.fromkeys(violation.help for violation in broken.findings if violation.help):
                yield (("    help:", "cyan"), f" {visible(help)}")
    for gained in (True, False):
        entries = [entry for entry in report.entries if entry.gained is gained]
        if entries:
            yield ("",)
            yield (("gained" if gained else "lost", _STRONG),)
        for entry in entries:
            yield from _entry(entry, report, _GAINED if gained else _LOST)
    if report.diff.inexact:
        yield ("",)
        yield (("not exact here", _STRONG),)
    for part in report.diff.inexact:
        yield ("  ", ("? ", _WARNING), plain_phrase(inexact_phrase(part)))
        yield from _rules("responsible", "head", part.responsible, report, "")
        yield from _rules("added", "head", part.added, report, _GAINED)
        yield from _rules("removed", "base", part.removed, report, _LOST)


def _entry(entry: Entry, report: AccessReport, style: str) -> Iterator[Line]:
    mark: Line = ((" (sensitive)", _WARNING),) if entry.sensitive else ()
    yield ("  ", ("+ " if entry.gained else "- ", style), plain_phrase(entry_phrase(entry, report)), *mark)
    shared = shared_causes(entry)
    if shared:
        yield (("      ", *_causes(shared, report)))
    lines = lines_of(entry)
    for line, phrase in lines[:_MOST_PERMISSIONS]:
        own: Line = () if shared else ("  ", *_causes(line.causes, report))
        yield ("      ", plain_phrase(phrase), *own)
    if lines[_MOST_PERMISSIONS:]:
        yield ("      ", (count_left(lines[_MOST_PERMISSIONS:], "line"), _FAINT))


def _causes(causes: Sequence[Cause], report: AccessReport) -> Line:
    shown = [
        f"{_SIGNS[cause.side]} {visible(report.side(cause.side).place(cause.rule.span))}"
        for cause in causes[:_MOST_CAUSES]
    ]
    if causes[_MOST_CAUSES:]:
        shown.append(count_left(causes[_MOST_CAUSES:], "place"))
    return ((", ".join(shown), _FAINT),)


def _rules(label: str, side: SideName, rules: Sequence[Rule], report: AccessReport, style: str) -> Iterable[Line]:
    for rule in rules[:_MOST_RULES]:
        phrase: Phrase = rule_phrase(rule)
        yield (
            f"      {label:<11} ",
            (plain_phrase(phrase), style) if style else plain_phrase(phrase),
            (f"  {visible(report.side(side).place(rule.span))}", _FAINT),
        )
    if rules[_MOST_RULES:]:
        yield (f"      {label:<11} ", (count_left(rules[_MOST_RULES:], "rule"), _FAINT))
