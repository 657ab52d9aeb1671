"""A backup as lines of JSON: every table of a store, of either database, in a form that either can be filled from.

The first line says what it is; then each table has a line with its columns, and a line for each row: a list of values,
bytes in base64. The last line has the number of rows of each table and the SHA-256 of all lines before it. Rows stand
in the order of their keys, so two backups of the same revision have the same rows.

Stored format: `version` is 1. Tables and columns are those of `schema`, which is the number of the last migration; a
backup of an older one is brought forward when it is restored.
"""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import Connection, LargeBinary, Table, select

from authz_sidecar.audit.chain import ChainError, hash_of, parse
from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.backup.rows import Row, RowCheck, broken
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.schema import METADATA

FORMAT = "authz-sidecar directory backup"
VERSION = 1
# An audit record has a mebibyte at most, and JSON writes a character in six at most.
MAX_LINE = 32 * 1024 * 1024
MAX_COLUMNS = 64
ROWS_AT_ONCE = 250


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str
    version: int
    schema: int
    made_at: float
    dialect: str


class _TableLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: str
    columns: list[str]


class _Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: dict[str, int]
    sha256: str


def write_lines(connection: Connection, stream: IO[bytes], head: Head) -> None:
    """Write all that `connection` reads, which is one snapshot. Some rows at a time are read and written."""
    digest = hashlib.sha256()

    def write(value: Any) -> None:
        line = msgspec.json.encode(value) + b"\n"
        digest.update(line)
        stream.write(line)

    write(head)
    counts = {}
    for table in METADATA.sorted_tables:
        write(_TableLine(str(table.name), [str(column.name) for column in table.columns]))
        query = select(table).order_by(*table.primary_key.columns)
        rows = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE).execute(query)
        count = 0
        for row in rows:
            write([bytes(value) if isinstance(value, memoryview) else value for value in row])
            count += 1
        counts[str(table.name)] = count
    stream.write(msgspec.json.encode(_Tail(counts, digest.hexdigest())) + b"\n")


class LinesReader:
    """Reads such a file from its beginning to its end, once. `rows` is complete at the end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self._digest = hashlib.sha256()
        self._number = 0
        self.rows: dict[str, int] = {}
        self.head = self._head()

    def tables(self) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
        """Each table, with its columns and its rows, which are to be read before the next table is.

        Raises DirectoryError(CORRUPT) for what is no such file, and at the end where it is not as it was written.
        """
        line = self._line()
        while line.startswith(b'{"table"'):
            found = self._decode(line, _TableLine)
            if found.table in self.rows or len(found.columns) > MAX_COLUMNS:
                raise self._broken("a table is given twice, or is none")
            self.rows[found.table] = 0
            ended: list[bytes] = []
            yield found.table, found.columns, self._rows(found, ended)
            if not ended:
                raise self._broken("a table was not read to its end")
            line = ended[0]
        tail = self._decode(line, _Tail)
        if self._stream.readline(1):
            raise self._broken("something follows the last line")
        if tail.rows != self.rows:
            raise self._broken("it has not the rows that it was written with")
        if tail.sha256 != self._before_last:
            raise self._broken("its digest is not that of its lines")

    def _rows(self, table: _TableLine, ended: list[bytes]) -> Iterator[list[Any]]:
        width = len(table.columns)
        while (line := self._line()).startswith(b"["):
            values: list[Any] = self._decode(line, list)
            if len(values) != width:
                raise self._broken("a row has not the columns of its table")
            self.rows[table.table] += 1
            yield values
        ended.append(line)

    def _head(self) -> Head:
        head: Head = self._decode(self._line(), Head)
        if head.format != FORMAT or head.version != VERSION:
            raise self._broken("it is no backup that this release knows")
        return head

    def _line(self) -> bytes:
        self._before_last = self._digest.hexdigest() if self._number else ""
        line = self._stream.readline(MAX_LINE + 1)
        self._number += 1
        if not line:
            raise self._broken("it ends early")
        if len(line) > MAX_LINE or not line.endswith(b"\n"):
            raise self._broken("a line is too long, or has no end")
        self._digest.update(line)
        return line

    def _decode(self, line: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, RecursionError):
            raise self._broken("a line cannot be read") from None

    def _broken(self, why: str) -> DirectoryError:
        return broken(self._path, f"{why} (line {self._number:,})")


class ChainCheck:
    """Whether the rows of the audit, in their order, are the chain that they were written as."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path = path
        self._places = [columns.index(name) for name in ("sequence", "record", "hash")]
        self.sequence: int | None = None
        self.hash = b""

    def check(self, values: list[Any]) -> None:
        """Take the next row. Raises DirectoryError(CORRUPT)."""
        sequence, record, hash = (values[place] for place in self._places)
        try:
            hash = base64.b64decode(hash, validate=True)
            link = parse(record)
        except (ChainError, binascii.Error, TypeError, ValueError):
            raise broken(self._path, f"the audit record {quote(sequence)} cannot be read") from None
        follows = self.sequence is None or (sequence == self.sequence + 1 and link.previous == self.hash)
        if hash_of(record) != hash or link.record.sequence != sequence or not follows:
            raise broken(self._path, f"the audit record {quote(sequence)} is not the one that was written")
        self.sequence, self.hash = sequence, hash


class RowReader:
    """Reads the rows of one table as the database takes them. Raises DirectoryError(CORRUPT) for columns and values
    that the table does not have."""

    def __init__(self, table: Table, columns: list[str], path: Path) -> None:
        self._columns = columns
        self._check = RowCheck(table, path).check
        self._binary = []
        for place, name in enumerate(columns):
            column = table.columns.get(name)
            if column is None:
                raise broken(path, f"the table {quote(table.name)} has no column {quote(name)}")
            if isinstance(column.type, LargeBinary):
                self._binary.append(place)

    def read(self, values: list[Any]) -> Row:
        """The next row."""
        for place in self._binary:
            value = values[place]
            if isinstance(value, str):
                with contextlib.suppress(binascii.Error):
                    values[place] = base64.b64decode(value, validate=True)
        return self._check(dict(zip(self._columns, values, strict=True)))


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows, some at a time."""
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
