"""A matrix as a table for people: text, markdown, one HTML page, one SVG picture.

A view is made once and shown in any of these forms. Its rows and columns are roles by data domains, types by roles, or
actions of types by roles.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Literal, TypeAlias

import msgspec

from authz_sidecar.review.matrix import AccessMatrix, Level
from authz_sidecar.review.report.markup import html_attribute, html_text, markdown_code, markdown_text
from authz_sidecar.review.report.page import html_page, html_table, markdown_table
from authz_sidecar.values.visible import visible

View: TypeAlias = Literal["data-domains", "types", "actions"]

LEGEND: dict[Level, str] = {
    Level.ALL: "every object that the role reaches",
    Level.OWN: "objects that the subject owns",
    Level.PART: "some of it: single actions, ids, or under a condition",
    Level.NONE: "nothing",
}
NOTHING = "-"
_GUTTER = "  "
# Actions that a cell names as exceptions rather than naming all others.
MAX_EXCEPTED = 2
# Letters of a cell on one line of text.
WIDEST = 28

STYLE = """\
.matrix td { text-align: center; }
.matrix td:has(> .all) { background: var(--gained-back); }
.matrix td:has(> .own) { background: color-mix(in srgb, var(--gained-back) 45%, var(--page)); }
.matrix td:has(> .part) { background: var(--warn-back); }
.matrix td:has(> .none) { color: var(--faint); }
"""
# Fixed colours: a picture is shown on pages of either scheme, so it brings its own background.
_FILLS = {Level.ALL: "#aceebb", Level.OWN: "#dafbe1", Level.PART: "#fff8c5", Level.NONE: "#ffffff"}


class MatrixCell(msgspec.Struct, frozen=True):
    """A cell: its level, and what it says."""

    level: Level
    text: str


class MatrixView(msgspec.Struct, frozen=True):
    """A table: what its rows are, the names of its columns, and for each row its name and cells."""

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]


def matrix_view(
    matrix: AccessMatrix, view: View, roles: Sequence[str] | None = None, types: Sequence[str] | None = None
) -> MatrixView:
    """A view of a matrix, of all or the named roles and types. Data domains are not narrowed by types."""
    shown = tuple(matrix.roles if roles is None else roles)
    kinds = tuple(matrix.types if types is None else types)
    if view == "data-domains":
        domains = tuple(matrix.data_domains)
        return MatrixView(
            "role", domains, tuple([(role, tuple([_domain(matrix, role, name) for name in domains])) for role in shown])
        )
    if view == "types":
        return MatrixView(
            "object type",
            shown,
            tuple([(kind, tuple([_type(matrix, role, kind) for role in shown])) for kind in kinds]),
        )
    return MatrixView(
        "object type and action",
        shown,
        tuple(
            [
                (f"{kind} {action}", tuple([_cell(matrix.level(role, kind, action)) for role in shown]))
                for kind in kinds
                for action in matrix.types[kind]
            ]
        ),
    )


def _cell(level: Level) -> MatrixCell:
    return MatrixCell(level, NOTHING if level is Level.NONE else level.value)


def _domain(matrix: AccessMatrix, role: str, domain: str) -> MatrixCell:
    kinds = matrix.data_domains[domain]
    actions = tuple(dict.fromkeys(action for declared in kinds.values() for action in declared))
    levels = {
        action: {matrix.level(role, kind, action) for kind, declared in kinds.items() if action in declared}
        for action in actions
    }
    if any(len(found) > 1 for found in levels.values()):
        return _cell(Level.PART)
    by_level: dict[Level, list[str]] = {}
    for action, found in levels.items():
        by_level.setdefault(next(iter(found)), []).append(action)
    return _told({level: tuple(names) for level, names in by_level.items() if level is not Level.NONE}, actions)


def _type(matrix: AccessMatrix, role: str, kind: str) -> MatrixCell:
    return _told(matrix.actions(role, kind), matrix.types[kind])


def _told(found: Mapping[Level, tuple[str, ...]], declared: tuple[str, ...]) -> MatrixCell:
    """A cell that says which actions there are at which level."""
    if not found:
        return _cell(Level.NONE)
    if len(found) == 1:
        ((level, actions),) = found.items()
        if len(actions) == len(declared):
            return _cell(level)
        left = [action for action in declared if action not in actions]
        if len(left) < len(actions) / 2 and len(left) <= MAX_EXCEPTED:
            return MatrixCell(Level.PART, f"{level.value} but {', '.join(left)}")
    texts = [
        ", ".join(actions) if level is Level.ALL else f"{level.value}: {', '.join(actions)}"
        for level, actions in found.items()
    ]
    return MatrixCell(Level.PART, "; ".join(texts))


def matrix_text(view: MatrixView, width: int = 0) -> list[str]:
    """The lines of a table in columns; long cells take several lines. Columns that do not fit into `width` (0: any)
    make more tables below, each with the names of the rows."""
    grid = [(view.corner, *view.columns), *[(name, *[cell.text for cell in cells]) for name, cells in view.rows]]
    wrapped = [[[visible(row[0])], *[wrap(visible(text), WIDEST) or [""] for text in row[1:]]] for row in grid]
    widths = [max(len(line) for row in wrapped for line in row[at]) for at in range(len(grid[0]))]
    lines: list[str] = []
    for columns in _fitting(widths, width):
        lines += [""] if lines else []
        lines += [
            _GUTTER.join(text.ljust(widths[at]) for text, at in zip(texts, columns, strict=True)).rstrip()
            for row in wrapped
            for texts in zip_longest(*[row[at] for at in columns], fillvalue="")
        ]
    return lines


def _fitting(widths: Sequence[int], width: int) -> list[list[int]]:
    """The columns of each table that fits into `width`, the first column in each, and one more at least."""
    tables: list[list[int]] = []
    used = 0
    for at in range(1, len(widths)):
        more = len(_GUTTER) + widths[at]
        if not tables or (width and used + more > width):
            tables.append([0])
            used = widths[0]
        tables[-1].append(at)
        used += more
    return tables or [[0]]


def matrix_markdown(view: MatrixView) -> list[str]:
    """The lines of a markdown table and its legend."""
    rows = [
        [markdown_code(name), *[NOTHING if cell.level is Level.NONE else markdown_text(cell.text) for cell in cells]]
        for name, cells in view.rows
    ]
    legend = [f"- {level.value}: {meaning}" for level, meaning in LEGEND.items() if level is not Level.NONE]
    return [*markdown_table([view.corner, *map(markdown_code, view.columns)], rows), "", *legend]


def matrix_html(view: MatrixView, title: str) -> str:
    """One HTML page."""
    rows = [
        [
            f"<code>{html_text(name)}</code>",
            *[f'<span class="{cell.level.value}">{html_text(cell.text)}</span>' for cell in cells],
        ]
        for name, cells in view.rows
    ]
    header = [html_text(view.corner), *[f"<code>{html_text(name)}</code>" for name in view.columns]]
    legend = "".join(f"<dt>{level.value}</dt><dd>{meaning}</dd>" for level, meaning in LEGEND.items())
    legend = legend.replace(f"<dt>{Level.NONE.value}</dt>", f"<dt>{NOTHING}</dt>")
    return html_page(
        title,
        [f"<h1>{html_text(title)}</h1>", html_table(header, rows, css="matrix"), f"<dl>{legend}</dl>"],
        style=STYLE,
    )


def matrix_svg(view: MatrixView, title: str) -> str:
    """One SVG picture."""
    letter, height, pad = 7.3, 24, 8
    names = [view.corner, *[name for name, _ in view.rows]]
    widths = [max(len(visible(name)) for name in names) * letter + 2 * pad]
    for at, column in enumerate(view.columns):
        longest = max([len(visible(column)), *[len(visible(cells[at].text)) for _, cells in view.rows]])
        widths.append(longest * letter + 2 * pad)
    lefts = [sum(widths[:at]) for at in range(len(widths) + 1)]
    total, tall = lefts[-1] + 1, height * (len(view.rows) + 1) + 1

    def box(row: int, column: int, text: str, fill: str, bold: bool) -> str:
        x, y = lefts[column], row * height
        weight = ' font-weight="600"' if bold else ""
        return (
            f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{widths[column]:.1f}" height="{height}" '
            f'fill="{fill}" stroke="#d1d9e0"/>'
            f'<text x="{x + pad:.1f}" y="{y + height - 8:.1f}"{weight}>{html_text(text)}</text>'
        )

    def header(row: int, column: int, text: str) -> str:
        return box(row, column, text, "#f6f8fa", True)

    parts = [header(0, at, name) for at, name in enumerate((view.corner, *view.columns))]
    for number, (name, cells) in enumerate(view.rows, 1):
        parts.append(header(number, 0, name))
        parts += [box(number, at, cell.text, _FILLS[cell.level], False) for at, cell in enumerate(cells, 1)]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="{tall}" '
        f'viewBox="0 0 {total:.1f} {tall}" role="img" aria-label="{html_attribute(title)}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" fill="#1f2328">'
    )
    return "\n".join(
        [
            opening,
            f"<title>{html_text(title)}</title>",
            f'<rect width="{total:.1f}" height="{tall}" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
