"""Casbin rows (`*.csv`) to rule tables.

The row syntax is pycasbin's (`casbin/persist/adapter.py`): a line is stripped; blank lines and lines that begin
with `#` are skipped; commas outside brackets separate; values are stripped and otherwise taken as they are,
quotes included. Two ways lead to the same tables. Most rows are regular (no brackets, no quotes, as many values
as their definition) and are split a megabyte at a time and stored by column. Any that are not are read line by
line, which is also where every finding is made.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import CONTROL, INVISIBLE, encoding_problem, invisible_problem, mark_problem
from authz_sidecar.bundle.wording import counted, listed, quote, suggest
from authz_sidecar.model.model import Model
from authz_sidecar.model.patterns import parse_time
from authz_sidecar.values.rule import RuleTable
from authz_sidecar.values.span import Span

MAX_VALUE_BYTES = 4096
MAX_LINE_BYTES = 1 << 16
# Lines of a file that are named for the invisible characters in them.
MAX_INVISIBLE = 100
EFFECTS = ("allow", "deny")

_CHUNK_BYTES = 1 << 20
_SPECIAL = re.compile('[\\[\\]()"\t\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]')
# Deleted from a chunk of ASCII; what is left over needs the careful way.
_PLAIN = bytes(c for c in range(128) if chr(c) == "\n" or not _SPECIAL.match(chr(c)))
_SEPARATOR = re.compile(r"[,\[\]()]")
_PRIORITY = re.compile(r"[0-9]{1,18}", re.ASCII)


class Layout(msgspec.Struct, frozen=True):
    """How rows of one ptype look: their table, the names of their fields, and which fields are checked."""

    table: RuleTable
    definition: str
    fields: tuple[str, ...]
    effect: int = -1
    priority: int = -1
    times: tuple[int, ...] = ()

    @property
    def checked(self) -> bool:
        """Whether any field takes only some values."""
        return self.effect >= 0 or self.priority >= 0 or bool(self.times)


def build_layouts(model: Model, tables: Mapping[str, RuleTable]) -> dict[str, Layout]:
    """The layout of every ptype that the model defines."""
    layouts: dict[str, Layout] = {}
    for section in model.sections.values():
        fields = section.fields
        layouts[section.ptype] = Layout(
            tables[section.ptype],
            f"{section.ptype} = {', '.join(fields)}",
            fields,
            fields.index("eft") if "eft" in fields else -1,
            fields.index("priority") if "priority" in fields else -1,
        )
    for role in model.roles.values():
        names = ("subject", "role", *(("domain",) if role.has_domain else ()))
        times = tuple(range(len(names), role.width))
        places = ", ".join("_" for _ in names)
        links = f", ({', '.join('_' for _ in times)})" if times else ""
        layouts[role.name] = Layout(
            tables[role.name],
            f"{role.name} = {places}{links}",
            (*names, *(("start", "end") if len(times) == 2 else (f"condition{n}" for n, _ in enumerate(times, 1)))),
            times=times,
        )
    return layouts


class RowReader:
    """Reads files of rows into the tables of a model; equal values are stored once over all files."""

    __slots__ = ("_file", "_findings", "_interned", "_invisible", "_layouts")

    def __init__(self, layouts: Mapping[str, Layout], findings: Findings) -> None:
        self._layouts = layouts
        self._findings = findings
        self._interned: dict[str, str] = {}
        self._file = ""
        self._invisible = 0

    def read(self, file: str, data: bytes) -> None:
        """Add the rows of one file; what is wrong becomes a finding and the row is left out."""
        self._file = file
        if mark_problem(data, file, self._findings):
            data = data[3:] if data[0] == 0xEF else b""
        self._invisible = 0
        start, line, encoded = 0, 1, True
        while start < len(data):
            end = data.find(b"\n", start + _CHUNK_BYTES) + 1 or len(data)
            chunk = data[start:end]
            start = end
            lines = chunk.count(b"\n")
            if _has_long_line(chunk):
                chunk = self._drop_long_lines(chunk, line)
            if b"\r" in chunk:
                chunk = chunk.replace(b"\r\n", b"\n")
            try:
                text = chunk.decode("utf-8")
            except UnicodeDecodeError as error:
                if encoded:
                    encoding_problem(chunk, error.start, file, line, self._findings)
                encoded = False
                # The other lines of the chunk are still read, so that what is wrong there is reported too.
                lines_read = chunk.decode("utf-8", "replace").split("\n")
                text = "\n".join("" if "\ufffd" in each else each for each in lines_read)
            if text.isascii():
                regular = not chunk.translate(None, _PLAIN)
            else:
                regular = not _SPECIAL.search(text)
                if INVISIBLE.search(text):
                    self._report_invisible(text, line)
            if not (regular and self._store(text, range(line, line + text.count("\n") + (text[-1] != "\n")))):
                self._read_mixed(text, line)
            if self._findings.full:
                return
            line += lines

    def _drop_long_lines(self, chunk: bytes, first: int) -> bytes:
        """The chunk with each line that is too long made a comment, and reported."""
        lines = chunk.split(b"\n")
        for index, line in enumerate(lines):
            if len(line) > MAX_LINE_BYTES:
                self._findings.error(
                    Span(self._file, first + index, 1),
                    "rule-value",
                    f"the line is {len(line):,} bytes long; at most {MAX_LINE_BYTES:,} are taken",
                    "shorten the values, or end the row where the next one begins",
                )
                lines[index] = b"#"
        return b"\n".join(lines)

    def _report_invisible(self, text: str, first: int) -> None:
        """Warn once for each line with a character that is not seen, a hundred times in a file at most."""
        start, line = 0, first
        for found in INVISIBLE.finditer(text):
            at = found.start()
            if at < start:
                continue  # on the line of the one before
            if self._invisible >= MAX_INVISIBLE:
                return
            self._invisible += 1
            line += text.count("\n", start, at)
            invisible_problem(found.group(), Span(self._file, line, at - text.rfind("\n", 0, at)), self._findings)
            start = text.find("\n", at) + 1 or len(text)
            line += 1

    def _store(self, text: str, lines: Sequence[int]) -> bool:
        """Add all rows at once if they are of one ptype, well formed, and nothing else stands between them;
        `lines` has the line of each."""
        if text[-1] != "\n":
            text += "\n"
        count = len(lines)
        # A line end becomes a value of its own, which no value can be: if it stands at every stride-th place
        # and nowhere else, every line has exactly the fields it should have.
        flat = text.replace("\n", ",\n,").split(",")
        layout = self._layouts.get(flat[0])
        if layout is None or layout.times:
            return False
        stride = len(layout.fields) + 2
        if len(flat) != count * stride + 1 or flat[stride - 1 :: stride].count("\n") != count:
            return False
        if flat[:-1:stride].count(flat[0]) != count:
            return False
        longest = MAX_VALUE_BYTES if text.isascii() else MAX_VALUE_BYTES // 4
        share = self._interned.setdefault
        columns = []
        for field in range(1, stride - 1):
            column = list(map(str.strip, flat[field:-1:stride]))
            if max(map(len, column)) > longest:
                return False
            columns.append(list(map(share, column, column)))
        if layout.effect >= 0 and not set(columns[layout.effect]).issubset(EFFECTS):
            return False
        if layout.priority >= 0 and not all(map(_PRIORITY.fullmatch, set(columns[layout.priority]))):
            return False
        layout.table.extend(columns, layout.table.file_number(self._file), lines)
        return True

    def _read_mixed(self, text: str, first: int) -> None:
        """Add rows of several ptypes: those of one ptype together where all of them are regular, else one by one.

        The order of rows is kept within each ptype, where it can decide, and not across ptypes, where it cannot.
        """
        special = _SPECIAL.search
        layouts = self._layouts
        groups: dict[str, tuple[list[str], list[int]]] = {}
        single: list[tuple[int, str]] = []
        for line, raw in enumerate(text.split("\n"), first):
            ptype = raw.partition(",")[0]
            if ptype in layouts and not special(raw):
                rows, lines = groups.setdefault(ptype, ([], []))
                rows.append(raw)
                lines.append(line)
            elif (row := raw.strip()) and row[0] != "#":
                single.append((line, raw))
        irregular = {raw.partition(",")[0].strip() for _, raw in single}
        for ptype, (rows, lines) in groups.items():
            if ptype in irregular or not self._store("\n".join(rows), lines):
                single.extend(zip(lines, rows, strict=True))
        self._read_rows(sorted(single))

    def _read_rows(self, rows: Iterable[tuple[int, str]]) -> None:
        """Add rows one by one, each with its line; none is blank or a comment."""
        share = self._interned.setdefault
        for line, raw in rows:
            row = raw.strip()
            if _SPECIAL.search(raw):
                values = self._split_carefully(raw, line)
                if values is None:
                    continue
            else:
                values = list(map(str.strip, row.split(",")))
            layout = self._layouts.get(values[0])
            if layout is None or len(values) != len(layout.fields) + 1:
                self._report_shape(raw, line, values, layout)
                continue
            del values[0]
            if len(row) > MAX_VALUE_BYTES // 4 and not self._check_lengths(raw, line, values):
                continue
            if layout.checked and not self._check_fields(raw, line, values, layout):
                continue
            table = layout.table
            indent = 1 if raw[0] == row[0] else len(raw) - len(raw.lstrip()) + 1
            table.append([share(v, v) for v in values], table.file_number(self._file), line, indent)

    def _split_carefully(self, raw: str, line: int) -> list[str] | None:
        """The values of a row that holds brackets, quotes, tabs or control characters; None if it is refused."""
        bare = raw.rstrip("\r")
        control = CONTROL.search(bare)
        if control:
            self._refuse_control(control.group(), line, control.start() + 1)
            return None
        values: list[str] = []
        depth = start = 0
        for found in _SEPARATOR.finditer(bare):
            character = found.group()
            if character in "([":
                depth += 1
            elif character != ",":
                depth -= 1
                if depth < 0:
                    self._refuse_brackets(line, found.start() + 1, f"{quote(character)} closes no bracket")
                    return None
            elif not depth:
                values.append(bare[start : found.start()].strip())
                start = found.end()
        values.append(bare[start:].strip())
        if depth:
            column = start + len(bare[start:]) - len(bare[start:].lstrip()) + 1
            self._refuse_brackets(line, column, f"{counted(depth, 'bracket')} not closed in {quote(values[-1])}")
            return None
        for index, value in enumerate(values):
            if "\t" in value:
                column = _place(raw, index) + value.index("\t")
                self._refuse_control("\t", line, column)
                return None
            if len(value) > 1 and value[0] == value[-1] == '"':
                self._findings.warning(
                    Span(self._file, line, _place(raw, index)),
                    "rule-quotes",
                    f"the value {quote(value)} is wrapped in quotes, which are part of the value",
                    f"write {quote(value[1:-1])}; rows have no quoting",
                )
        return values

    def _refuse_control(self, character: str, line: int, column: int) -> None:
        self._findings.error(
            Span(self._file, line, column),
            "rule-value",
            f"the row holds the control character U+{ord(character):04X}",
            "remove the character; a value holds printable text only",
        )

    def _refuse_brackets(self, line: int, column: int, what: str) -> None:
        self._findings.error(
            Span(self._file, line, column),
            "rule-brackets",
            f"unbalanced brackets: {what}",
            "commas inside `()` and `[]` do not separate values, so each bracket needs its partner",
        )

    def _report_shape(self, raw: str, line: int, values: list[str], layout: Layout | None) -> None:
        span = Span(self._file, line, _place(raw, 0))
        if layout is None:
            ptype = values[0]
            self._findings.error(
                span,
                "rule-ptype",
                f"unknown ptype {quote(ptype)}" if ptype else "the row has no ptype before its first comma",
                suggest(ptype, self._layouts, f"the model defines {listed(self._layouts, 'and')}"),
            )
            return
        found, wanted = len(values) - 1, len(layout.fields)
        if found < wanted:
            missing = listed(layout.fields[found:], "and")
            remedy = f"add {missing}"
        else:
            remedy = f"remove {listed(values[wanted + 1 :], 'and')}; a comma inside a value needs brackets around it"
        self._findings.error(
            span,
            "rule-width",
            f"the row has {counted(found, 'value')} where {quote(layout.definition)} has {wanted}",
            remedy,
        )

    def _check_lengths(self, raw: str, line: int, values: list[str]) -> bool:
        for index, value in enumerate(values, 1):
            size = len(value.encode("utf-8"))
            if size > MAX_VALUE_BYTES:
                self._findings.error(
                    Span(self._file, line, _place(raw, index)),
                    "rule-value",
                    f"the value {quote(value)} is {size:,} bytes long; at most {MAX_VALUE_BYTES:,} are taken",
                    "shorten the value",
                )
                return False
        return True

    def _check_fields(self, raw: str, line: int, values: list[str], layout: Layout) -> bool:
        """Whether effect, priority and times are such; what is not becomes a finding."""
        wrong: list[tuple[int, str, str, str]] = []
        if layout.effect >= 0 and values[layout.effect] not in EFFECTS:
            value = values[layout.effect]
            remedy = suggest(value, EFFECTS, "an effect is `allow` or `deny`")
            wrong.append((layout.effect, "rule-effect", f"unknown effect {quote(value)}", remedy))
        if layout.priority >= 0 and not _PRIORITY.fullmatch(values[layout.priority]):
            message = f"the priority {quote(values[layout.priority])} is not a whole number"
            remedy = "a priority is 0 or more in digits, the lowest counting first; at most 18 digits"
            wrong.append((layout.priority, "rule-priority", message, remedy))
        for index in layout.times:
            value = values[index]
            if value != "_" and parse_time(value) is None:
                remedy = "write `YYYY-MM-DD hh:mm:ss` in UTC, or `_` for no bound"
                wrong.append((index, "rule-condition-time", f"{quote(value)} is no time", remedy))
        for index, code, message, remedy in wrong:
            self._findings.error(Span(self._file, line, _place(raw, index + 1)), code, message, remedy)
        return not wrong


def _has_long_line(chunk: bytes) -> bool:
    """Whether any line is over the limit; looks at a few bytes of each 64 KiB only."""
    at = 0
    while len(chunk) - at > MAX_LINE_BYTES:
        end = chunk.rfind(b"\n", at, at + MAX_LINE_BYTES + 1)
        if end < 0:
            return True
        at = end + 1
    return False


def _place(raw: str, index: int) -> int:
    """The column at which value `index` of a row begins."""
    depth = start = 0
    for found in _SEPARATOR.finditer(raw):
        character = found.group()
        if character != ",":
            depth += 1 if character in "([" else -1
        elif not depth:
            if not index:
                break
            index -= 1
            start = found.end()
    rest = raw[start:]
    return start + len(rest) - len(rest.lstrip()) + 1
