"""How far the policy tests go, for people: a summary, the grants without a test, and the matrix coloured by tests."""

from collections.abc import Callable

import msgspec

from authz_sidecar.review.exercise import Exercise, ExercisedGrant
from authz_sidecar.review.exercised_matrix import CellShare, ExercisedMatrix
from authz_sidecar.review.report.markup import html_text, markdown_code, markdown_text
from authz_sidecar.review.report.page import html_page, html_table, markdown_table
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.visible import visible

# Rows of grants without a test in markdown, which has to fit a comment.
MAX_LISTED = 100
# Cells of a matrix there, for the same reason.
MAX_CELLS = 600

MATRIX_NOTE = (
    "Of the actions of a type: how many that a role grants are tested to be allowed, and how many that it does not "
    "are tested to be denied."
)

STYLE = """\
.tested td { text-align: center; }
.tested td:has(> .full) { background: var(--gained-back); }
.tested td:has(> .some) { background: var(--warn-back); }
.tested td:has(> .none) { background: var(--lost-back); }
"""


class CoverageReport(msgspec.Struct, frozen=True):
    """What the tests exercise of a whole bundle, and of the grants that changed since a base (None: not asked);
    `matrix` is None for plain Casbin bundles. `since` names the base."""

    whole: Exercise
    changed: Exercise | None = None
    since: str = ""
    matrix: ExercisedMatrix | None = None


def share_text(exercise: Exercise) -> str:
    """`12 of 14 grants (85.7 %)`."""
    number = len(exercise.grants)
    if not number:
        return "0 of 0 grants"
    return f"{exercise.exercised} of {number} grant{'' if number == 1 else 's'} ({exercise.percent:g} %)"


def summary_lines(report: CoverageReport, name: Callable[[str], str] = visible) -> list[str]:
    """The figures, a line each; `name` gives a revision's name as it may stand there."""
    whole = report.whole
    allows, denies = whole.of_effect(True), whole.of_effect(False)
    lines = [f"tests exercise {share_text(whole)}"]
    if denies.grants:
        lines[0] += f": {allows.exercised} of {len(allows.grants)} that allow, "
        lines[0] += f"{denies.exercised} of {len(denies.grants)} that deny"
    if report.changed is not None:
        changed = report.changed
        lines.append(
            f"of the grants that changed since {name(report.since)}: {share_text(changed)}"
            if changed.grants
            else f"no grant changed since {name(report.since)}"
        )
    if report.matrix is not None:
        total = report.matrix.total()
        lines.append(
            f"of the matrix: {total.granted_tested} of {total.granted} granted cells are tested to be allowed, "
            f"{total.refused_tested} of {total.refused} others to be denied"
        )
    for count, why in (
        (whole.unheld, "of roles that nobody in the bundle holds"),
        (whole.redundant, "that no decision depends on (see `lint`)"),
    ):
        if count:
            lines.append(f"not counted: {count} grant{'' if count == 1 else 's'} {why}")
    return lines


def grant_text(grant: ExercisedGrant) -> str:
    """`CLIENT: report create (own)`."""
    fields = grant.fields
    name = grant.holder.removeprefix(ROLE_PREFIX)
    if "type" not in fields or "act" not in fields:
        return f"{name}: {', '.join(value for field, value in fields.items() if field != 'sub')}"
    kind = fields["type"] if fields.get("id", "*") == "*" else f"{fields['type']}:{fields['id']}"
    notes = [note for note in (fields.get("scope", ""),) if note == "own"]
    if not grant.allows:
        notes.append("deny")
    if fields.get("when", "True") != "True":
        notes.append(f"when {fields['when']}")
    return f"{name}: {kind} {fields['act']}" + (f" ({', '.join(notes)})" if notes else "")


def _missing(report: CoverageReport) -> tuple[ExercisedGrant, ...]:
    return (report.whole if report.changed is None else report.changed).missing


def grant_note(grant: ExercisedGrant) -> str:
    """What is to be said of a grant that no test exercises, "" for nothing."""
    if grant.removed:
        return "removed"
    tests = "1 test" if grant.shared == 1 else f"{grant.shared:,} tests"
    return f"{tests} that other grants answer too" if grant.shared else ""


def coverage_markdown(report: CoverageReport, title: str) -> list[str]:
    """The lines of the report in markdown."""
    lines = [f"## {markdown_text(title)}", "", *[f"- {line}" for line in summary_lines(report, markdown_code)], ""]
    missing = _missing(report)
    if missing:
        rows = [
            [markdown_code(str(grant.span)), markdown_code(grant_text(grant)), grant_note(grant)]
            for grant in missing[:MAX_LISTED]
        ]
        lines += ["Grants that no test exercises:", "", *markdown_table(["place", "grant", "note"], rows), ""]
        if len(missing) > MAX_LISTED:
            lines += [f"… and {len(missing) - MAX_LISTED:,} more.", ""]
    if report.matrix is not None:
        cells = len(report.matrix.matrix.roles) * len(report.matrix.matrix.types)
        if cells <= MAX_CELLS:
            lines += [MATRIX_NOTE, "", *_matrix_markdown(report.matrix), ""]
        else:
            lines += [f"The matrix has {cells:,} cells; write the report as a page (`.html`) to see it.", ""]
    return lines


def _cell_words(share: CellShare) -> tuple[str, str]:
    """How a cell is coloured and what it says."""
    parts = []
    if share.granted:
        parts.append(f"{share.granted_tested}/{share.granted} allowed")
    if share.refused:
        parts.append(f"{share.refused_tested}/{share.refused} denied")
    return "full" if share.complete else "some" if share.tested else "none", ", ".join(parts)


_SYMBOLS = {"full": "✓", "some": "◐", "none": "✗"}


def _matrix_markdown(exercised: ExercisedMatrix) -> list[str]:
    rows: list[list[str]] = []
    matrix = exercised.matrix
    for kind in matrix.types:
        cells = [_cell_words(exercised.share(role, kind)) for role in matrix.roles]
        rows.append([markdown_code(kind), *[f"{_SYMBOLS[css]} {text}" for css, text in cells]])
    return markdown_table(["object type", *map(markdown_code, matrix.roles)], rows)


def coverage_html(report: CoverageReport, title: str) -> str:
    """The report as one HTML page."""
    body = [f"<h1>{html_text(title)}</h1>", "<ul>"]
    body += [*[f"<li>{line}</li>" for line in summary_lines(report, html_text)], "</ul>"]
    if report.matrix is not None:
        matrix = report.matrix.matrix
        rows = []
        for kind in matrix.types:
            cells = [_cell_words(report.matrix.share(role, kind)) for role in matrix.roles]
            row = [f"<code>{html_text(kind)}</code>"]
            row += [f'<span class="{css}">{_SYMBOLS[css]} {html_text(text)}</span>' for css, text in cells]
            rows.append(row)
        body += [
            "<h2>Roles and object types</h2>",
            f"<p>{MATRIX_NOTE}</p>",
            html_table(
                ["object type", *[f"<code>{html_text(role)}</code>" for role in matrix.roles]], rows, css="tested"
            ),
        ]
    missing = _missing(report)
    if missing:
        rows = [
            [
                f"<code>{html_text(str(grant.span))}</code>",
                f"<code>{html_text(grant_text(grant))}</code>",
                html_text(grant_note(grant)),
            ]
            for grant in missing
        ]
        body += ["<h2>Grants that no test exercises</h2>", html_table(["place", "grant", "note"], rows)]
    return html_page(title, body, style=STYLE)
