"""A bundle as plain Casbin: text that any Casbin loads and decides alike on.

Rows have no quoting, so that a value that would be read back as another, or as another row, is refused. So is an
expression that pycasbin would read as another (`casbin_text`).
"""

import re

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.casbin_text import expression_problem, spaced
from authz_sidecar.bundle.csv_text import MAX_VALUE_BYTES
from authz_sidecar.bundle.text import CONTROL
from authz_sidecar.bundle.wording import quote
from authz_sidecar.model.expression import Eval, Expr
from authz_sidecar.model.lexer import ExpressionError
from authz_sidecar.values.rule import RuleTable
from authz_sidecar.values.span import Span

_SEPARATOR = re.compile(r"[,\[\]()]")
_PLAIN_SCALAR = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")


class RenderError(Exception):
    """A value that a row cannot hold. `message` says which and where it was written, `help` what to do."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def render_bundle(bundle: Bundle) -> dict[str, str]:
    """The bundle's files as plain Casbin, by name: `model.conf`, `policy.csv`, and `manifest.yaml` where matching
    functions are declared, which Casbin takes in code. Raises RenderError."""
    for section in bundle.model.sections.values():
        problem = expression_problem(section.matcher_text, is_matcher=True)
        if problem:
            raise _expression_error("the matcher", section.span, problem)
    files = {"model.conf": bundle.model.text, "policy.csv": "".join(_rows(bundle))}
    if not files["model.conf"].endswith("\n"):
        files["model.conf"] += "\n"
    if bundle.role_matching or bundle.domain_matching or bundle.link_conditions:
        files["manifest.yaml"] = _manifest(bundle)
    return files


def _rows(bundle: Bundle) -> list[str]:
    known: dict[str, str] = {}
    lines: list[str] = []
    conditions = _conditions(bundle)
    for table in bundle.tables.values():
        changed = conditions.get(table.ptype, {})
        for row in range(len(table)):
            values = table.values(row)
            for field, spelling in changed.items():
                values = (*values[:field], spelling[values[field]], *values[field + 1 :])
            for value in values:
                problem = known.get(value)
                if problem is None:
                    problem = known[value] = row_problem(value)
                if problem:
                    raise RenderError(
                        f"the value {quote(value)} at {table.span(row)} {problem}",
                        "rows of plain Casbin have no quoting; change the value",
                    )
            lines.append(_line(table, values))
    return lines


def _conditions(bundle: Bundle) -> dict[str, dict[int, dict[str, str]]]:
    """By ptype and field, how each condition is spelled that must be spelled otherwise for Casbin to read it as it
    is meant; fields in which none must are left out. Raises RenderError for what cannot be spelled for Casbin."""
    changed: dict[str, dict[int, dict[str, str]]] = {}
    for section in bundle.model.sections.values():
        table = bundle.tables[section.ptype]
        for name in _evaluated(section.matcher):
            field = section.fields.index(name)
            column = table.columns[field]
            spelling: dict[str, str] = {}
            for row, text in enumerate(column):
                if text not in spelling:
                    spelling[text] = _spelling(text, table.span(row))
            if any(text != spelled for text, spelled in spelling.items()):
                changed.setdefault(section.ptype, {})[field] = spelling
    return changed


def _spelling(text: str, span: Span) -> str:
    """A condition as Casbin reads it right: as it is, or with blanks around its operators."""
    problem = expression_problem(text, is_matcher=False)
    if problem is None:
        return text
    try:
        other = spaced(text)
    except ExpressionError:
        other = text
    if expression_problem(other, is_matcher=False) is None:
        return other
    raise _expression_error(f"the condition {quote(text)}", span, problem)


def _expression_error(what: str, span: Span, problem: tuple[str, str]) -> RenderError:
    message, help = problem
    return RenderError(f"{what} at {span} cannot be written for Casbin: {message}", help)


def _evaluated(expression: Expr) -> set[str]:
    """The fields whose conditions a matcher evaluates."""
    found: set[str] = set()
    pending: list[object] = [expression]
    while pending:
        part = pending.pop()
        if isinstance(part, Eval):
            found.add(part.field)
        elif isinstance(part, tuple):
            pending.extend(part)
        elif isinstance(part, msgspec.Struct):
            pending.extend(getattr(part, field) for field in part.__struct_fields__)
    return found


def _line(table: RuleTable, values: tuple[str, ...]) -> str:
    return f"{', '.join((table.ptype, *values))}\n"


def row_problem(value: str) -> str:
    """Why `value` cannot be written in a row and read back the same, or ""."""
    if CONTROL.search(value) or "\n" in value or "\t" in value:
        return "holds a control character"
    if value != value.strip():
        return "begins or ends with white space"
    try:
        if len(value.encode("utf-8")) > MAX_VALUE_BYTES:
            return f"is longer than {MAX_VALUE_BYTES:,} bytes"
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    depth = 0
    for found in _SEPARATOR.finditer(value):
        sign = found.group()
        if sign in "([":
            depth += 1
        elif sign != ",":
            depth -= 1
            if depth < 0:
                return "has unbalanced brackets"
        elif not depth:
            return "has a comma outside brackets"
    return "has unbalanced brackets" if depth else ""


def _manifest(bundle: Bundle) -> str:
    lines = [f"name: {_scalar(bundle.name)}", "schema_version: 1", "casbin:"]
    for field in ("role_matching", "domain_matching", "link_conditions"):
        functions = getattr(bundle, field)
        if functions:
            lines.append(f"  {field}:")
            lines += [f"    {_scalar(name)}: {_scalar(function)}" for name, function in functions.items()]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """Text as YAML reads it back: bare where that is safe, else in double quotes."""
    if _PLAIN_SCALAR.fullmatch(text) and text.lower() not in ("true", "false", "null"):
        return text
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"{escaped}"'
