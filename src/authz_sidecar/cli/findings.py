"""Diagnostics as people and GitHub read them; `lint_forms` and `sarif` have the forms for programs.

The forms are documented in docs/cli.md and are only ever extended.
"""

from collections.abc import Iterable, Iterator, Sequence

from authz_sidecar.cli.place import Places
from authz_sidecar.cli.terminal import ERROR, FAINT, HELP, PLACE, WARNING, Line, visible
from authz_sidecar.values import Diagnostic, Severity, Span

# A longer source line is cut to this many characters around the column that the finding names.
SOURCE_WIDTH = 120
_STYLES = {Severity.ERROR: ERROR, Severity.WARNING: WARNING}


def finding_lines(diagnostic: Diagnostic, places: Places) -> Iterator[Line]:
    """One finding for people: place, severity, code and message; the source line with a caret; the remedy."""
    style = _STYLES[diagnostic.severity]
    yield (
        (visible(places.show(diagnostic.span)), PLACE),
        " ",
        (f"{diagnostic.severity}[{diagnostic.code}]", style),
        f" {visible(places.in_message(diagnostic.message))}",
    )
    yield from _source_lines(diagnostic.span, places, style)
    if diagnostic.help:
        yield ("  ", ("help:", HELP), f" {visible(places.in_message(diagnostic.help))}")


def _source_lines(span: Span, places: Places, style: str) -> Iterator[Line]:
    source = places.source_line(span)
    if source is None or not source.strip():
        return
    column = max(span.column, 1)
    start = max(0, column - 1 - SOURCE_WIDTH // 2) if len(source) > SOURCE_WIDTH else 0
    cut = source[start : start + SOURCE_WIDTH]
    before = cut[: column - 1 - start]
    number = str(span.line)
    yield ((f"  {number} | ", FAINT), _expand(cut))
    if span.column and column <= len(source) + 1:
        yield ((f"  {' ' * len(number)} | ", FAINT), " " * _cells(_expand(before)), ("^", style))


def _expand(text: str) -> str:
    return visible(text.replace("\t", "    "))


def _cells(text: str) -> int:
    """How many columns of a terminal `text` takes: East Asian letters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def count_line(findings: Sequence[Diagnostic], ignored: int = 0, in_baseline: int = 0) -> str:
    """`2 errors, 1 warning`, or `no findings`; in parentheses how many are silenced."""
    errors, warnings = severity_counts(findings)
    parts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    counts = ((ignored, "ignored"), (in_baseline, "in the baseline"))
    silenced = ", ".join([f"{n:,} {words}" for n, words in counts if n])
    return (", ".join(parts) or "no findings") + (f" ({silenced})" if silenced else "")


def severity_counts(findings: Sequence[Diagnostic]) -> tuple[int, int]:
    """How many errors and how many warnings there are."""
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    return errors, len(findings) - errors


def github_lines(findings: Iterable[Diagnostic], places: Places) -> Iterator[Line]:
    """Workflow commands that GitHub Actions turns into annotations of the changed lines.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for finding in findings:
        properties = [f"file={_github_property(places.path(finding.span.file))}"]
        if finding.span.line:
            properties.append(f"line={finding.span.line}")
        if finding.span.column:
            properties.append(f"col={finding.span.column}")
        properties.append(f"title={_github_property(finding.code)}")
        text = visible(places.in_message(finding.message))
        if finding.help:
            text += f"\nhelp: {visible(places.in_message(finding.help))}"
        yield (f"::{finding.severity} {','.join(properties)}::{_github_data(text)}",)


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(text: str) -> str:
    return _github_data(text).replace(":", "%3A").replace(",", "%2C")
