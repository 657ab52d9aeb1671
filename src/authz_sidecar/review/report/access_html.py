"""An access report as one HTML page: complete, with every name and every line."""

from collections.abc import Iterator, Sequence

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.change import Cause, Inexact
from authz_sidecar.review.access.change import Side as SideName
from authz_sidecar.review.gates.summary import broken_gates, example_phrase, gates_sentence
from authz_sidecar.review.gates.violation import is_refused
from authz_sidecar.review.report.access_report import AccessReport, Side
from authz_sidecar.review.report.groups import Entry
from authz_sidecar.review.report.markup import html_attribute, html_text
from authz_sidecar.review.report.page import html_page, html_table
from authz_sidecar.review.report.sentences import (
    companies_phrase,
    entry_phrase,
    headline,
    inexact_phrase,
    role_events,
    rules_sentence,
    sensitive_phrase,
)
from authz_sidecar.review.report.wording import (
    company_phrase,
    html_phrase,
    names_phrase,
    people_phrase,
)
from authz_sidecar.values import Severity, Span

_STYLE = """\
.places { list-style: none; margin: 0; padding: 0; }
.box > h3 { margin-top: 0; }
.box tbody th { font-weight: inherit; }
"""


def access_html(report: AccessReport) -> str:
    """The report as a page of its own."""
    title = "Access changes" if not report.unchanged else "No access changes"
    return html_page(f"{title}: {report.base.name} to {report.head.name}", _body(title, report), style=_STYLE)


def _body(title: str, report: AccessReport) -> Iterator[str]:
    yield f"<h1>{title}</h1>"
    yield f"<p>From {_side(report.base)} to {_side(report.head)}.</p>"
    yield f"<p><strong>{_capital(html_phrase(headline(report)))}.</strong></p>"
    rows = [
        [
            f'<span class="{label}">{sign} {label}</span>',
            f"{len(reach.roles):,}",
            html_text(people_phrase(reach.identities, report.kinds))
            + (", anyone whom the policies do not name" if reach.anyone else ""),
            html_phrase(companies_phrase(reach)).strip().removeprefix("in "),
            html_phrase(sensitive_phrase(reach)),
        ]
        for sign, label, reach in (("+", "gained", report.gained), ("−", "lost", report.lost))
        if reach
    ]
    if rows:
        yield html_table(["", "roles", "who", "companies", "sensitive"], rows, numbers=(1,), caption="Summary")
    notes = [html_phrase(event) for event in role_events(report)]
    if report.diff.inexact:
        count = counted(len(report.diff.inexact), "part")
        notes.append(f'<a href="#inexact">Not exact here</a>: {count} of the policies cannot be compared exactly')
    notes += [html_text(note) for note in report.notes]
    if report.gated:
        mark = "✗" if is_refused(report.violations) else "⚠" if report.violations else "✓"
        notes.insert(0, f"{mark} {gates_sentence(report.violations, (report.base.bundle, report.head.bundle))}")
    if rules := rules_sentence(report):
        notes.append(html_text(rules))
    if notes:
        yield f"<ul>{''.join(f'<li>{_capital(note)}</li>' for note in notes)}</ul>"
    yield from _gates(report)
    for gained, label in ((True, "gained"), (False, "lost")):
        entries = [entry for entry in report.entries if entry.gained is gained]
        if entries:
            yield f'<h2 id="{label}">{label.capitalize()}</h2>'
        for entry in entries:
            yield from _entry(entry, report, label)
    if report.diff.inexact:
        yield '<h2 id="inexact">Not exact here</h2>'
    for part in report.diff.inexact:
        yield from _inexact(part, report)


def _capital(markup: str) -> str:
    return markup if markup.startswith("<") else markup[:1].upper() + markup[1:]


def _side(side: Side) -> str:
    version = f" ({html_text(side.policy_version)})" if side.policy_version else ""
    return f"<code>{html_text(side.name)}</code>{version}"


def _gates(report: AccessReport) -> Iterator[str]:
    if not report.violations:
        return
    yield '<h2 id="gates">Gates</h2>'
    for broken in broken_gates(report.violations):
        kind = "lost" if broken.severity is Severity.ERROR else "warn"
        yield f'<section class="box {kind}">'
        yield (
            f'<h3><span class="badge {kind}">{broken.severity}</span> <code>{html_text(broken.gate)}</code>: '
            f"{html_text(broken.message)}</h3>"
        )
        for violation in broken.findings:
            yield f"<p>{_capital(html_phrase(violation.detail))}</p>"
            for example in violation.examples:
                yield f"<p>For example {html_phrase(example_phrase(example))}.</p>"
            if violation.lines:
                items = "".join(f"<li>{_place(line.side, line.rule.span, report)}</li>" for line in violation.lines)
                yield f'<ul class="places">{items}</ul>'
            if violation.more:
                yield f"<p>And {violation.more:,} more.</p>"
        for help in dict.fromkeys(violation.help for violation in broken.findings if violation.help):
            yield f'<p class="faint">{html_text(help)}</p>'
        yield "</section>"


def _entry(entry: Entry, report: AccessReport, label: str) -> Iterator[str]:
    yield f'<section class="box {label}">'
    mark = ' <span class="badge warn">sensitive</span>' if entry.sensitive else ""
    yield f"<h3>{_capital(html_phrase(entry_phrase(entry, report)))}{mark}</h3>"
    yield html_table(
        ["what", "where", "because of"],
        [
            [
                html_phrase(line.what(None)),
                "each in its own company" if entry.apart else html_phrase(company_phrase(line.company, None)),
                _causes(line.causes, report),
            ]
            for line in entry.permissions
        ],
    )
    if entry.holders:
        yield _names(people_phrase(entry.holders, report.kinds), entry.holders)
    if entry.apart:
        rows = [
            [f"<code>{html_text(who)}</code>", html_phrase(company_phrase(entry.places[who], None))]
            for who in entry.subjects
        ]
        yield f"<details><summary>{counted(len(rows), 'identity', 'identities')} and where</summary>"
        yield html_table(["identity", "where"], rows)
        yield "</details>"
    elif len(entry.subjects) > 1:
        yield _names(counted(len(entry.subjects), "name"), entry.subjects)
    yield "</section>"


def _names(title: str, names: Sequence[str]) -> str:
    return f"<details><summary>{html_text(title)}</summary><p>{html_phrase(names_phrase(names, None))}</p></details>"


def _causes(causes: Sequence[Cause], report: AccessReport) -> str:
    items = "".join(f"<li>{_place(cause.side, cause.rule.span, report)}</li>" for cause in causes)
    return f'<ul class="places">{items}</ul>' if items else ""


def _place(side: SideName, span: Span, report: AccessReport) -> str:
    at = report.side(side)
    label, sign, word = ("gained", "+", "added") if side == "head" else ("lost", "−", "removed")
    shown = f"<code>{html_text(at.place(span))}</code>"
    link = at.link(span, report.source_url)
    if link:
        shown = f'<a href="{html_attribute(link)}">{shown}</a>'
    return f'<span class="{label}" title="{word}">{sign}</span> {shown}'


def _inexact(part: Inexact, report: AccessReport) -> Iterator[str]:
    yield '<section class="box warn">'
    yield f"<h3>{_capital(html_phrase(inexact_phrase(part, None)))}</h3>"
    sides: tuple[tuple[str, SideName], ...] = (("responsible", "head"), ("added", "head"), ("removed", "base"))
    rows = [
        [label, f"<code>{html_text(str(rule))}</code>", f"<code>{html_text(report.side(side).place(rule.span))}</code>"]
        for (label, side), rules in zip(sides, (part.responsible, part.added, part.removed), strict=True)
        for rule in rules
    ]
    if rows:
        yield html_table(["", "rule", "place"], rows)
    yield "</section>"
