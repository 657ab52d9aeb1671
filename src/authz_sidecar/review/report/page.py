"""Pages and tables: one HTML file that needs nothing else, and tables of markdown.

Cells and bodies are markup already: text from a policy passes through `markup` first.
"""

from collections.abc import Collection, Iterable, Sequence

from authz_sidecar.review.report.markup import html_attribute, html_text

# Contrast of text is at least 4.5:1 in both schemes (WCAG 2.1, 1.4.3); nothing is told by colour alone.
_STYLE = """\
:root { color-scheme: light dark; --text: #1f2328; --faint: #59636e; --page: #ffffff; --panel: #f6f8fa; --line: #d1d9e0;
  --gained: #116329; --gained-back: #dafbe1; --lost: #a40e26; --lost-back: #ffebe9; --warn: #7d4e00;
  --warn-back: #fff8c5; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --faint: #9198a1; --page: #0d1117; --panel: #151b23;
  --line: #3d444d; --gained: #56d364; --gained-back: #12261e; --lost: #ff9d94; --lost-back: #2b1416; --warn: #e3b341;
  --warn-back: #272115; --link: #79c0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.25rem 4rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul, dl { margin: .5rem 0; }
a { color: var(--link); }
code, .code { font: .875em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
code { background: var(--panel); border-radius: .25rem; padding: .1em .3em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .9375rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0 .5rem; }
th, td { border: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
thead th { background: var(--panel); }
tbody th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.faint { color: var(--faint); }
.gained { color: var(--gained); }
.lost { color: var(--lost); }
.warn { color: var(--warn); }
.box { border: 1px solid var(--line); border-left-width: .3rem; border-radius: .375rem; padding: .6rem .9rem;
  margin: 1rem 0; background: var(--panel); }
.box.gained { border-left-color: var(--gained); color: inherit; }
.box.lost { border-left-color: var(--lost); color: inherit; }
.box.warn { border-left-color: var(--warn); background: var(--warn-back); color: inherit; }
.badge { display: inline-block; border-radius: 1rem; padding: 0 .55rem; font-size: .8125rem; font-weight: 600;
  border: 1px solid currentColor; white-space: nowrap; }
.badge.gained { background: var(--gained-back); }
.badge.lost { background: var(--lost-back); }
.badge.warn { background: var(--warn-back); }
details { margin: .5rem 0; }
summary { cursor: pointer; }
footer { margin-top: 3rem; color: var(--faint); font-size: .875rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } thead { display: table-header-group; }
  tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; } .scroll { overflow: visible; }
  a { color: inherit; text-decoration: none; } }
"""


def html_page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """One self-contained HTML file: no script, nothing fetched. `title` is text, `body` is markup, `style` is more CSS,
    which may use the custom properties and classes of the page's own."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Whatever slipped through the escapes could still load and run nothing.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{html_text(title)}</title>",
            f"<style>\n{_STYLE}{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    numbers: Collection[int] = (),
    row_headers: bool = True,
    css: str = "",
) -> str:
    """A table whose cells are markup. `numbers` are the columns that are right-aligned; the first cell of each row is
    its header unless `row_headers` is False; `css` names classes of the table."""

    def cell(tag: str, column: int, markup: str, scope: str = "") -> str:
        kind = ' class="number"' if column in numbers else ""
        return f"<{tag}{scope}{kind}>{markup}</{tag}>"

    lines = ['<div class="scroll">', f'<table class="{html_attribute(css)}">' if css else "<table>"]
    if caption:
        lines.append(f"<caption>{caption}</caption>")
    names = [cell("th", at, name, ' scope="col"') for at, name in enumerate(header)]
    lines.append(f"<thead><tr>{''.join(names)}</tr></thead>")
    lines.append("<tbody>")
    for row in rows:
        cells = [
            cell("th", at, markup, ' scope="row"') if row_headers and not at else cell("td", at, markup)
            for at, markup in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    lines += ["</tbody>", "</table>", "</div>"]
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int] = ()) -> list[str]:
    """The lines of a table whose cells are markdown (on one line each); `numbers` are the right-aligned columns."""
    ruler = ["--:" if at in numbers else "---" for at in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)]
