"""What is read from an audit: lists, pages, and files for others."""

import csv
import hashlib
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from authz_sidecar.audit.export import FIELDS, csv_lines, json_lines
from authz_sidecar.audit.reading import (
    AuditFilter,
    Entry,
    MovedAuditError,
    read_all,
    read_end,
    read_last,
    read_page,
)
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.values.spreadsheet import escape_cell, unescape_cell
from tests.audit.chains import BEGAN, Chain

RECORDS: list[dict[str, Any]] = [
    {"action": "identity.create", "subject": "ben", "company": "acme"},
    {"action": "key.create", "subject": "sa-1", "company": "acme", "actor": "ben"},
    {"action": "key.revoke", "subject": "sa-1", "company": "globex"},
    {"action": "keyring.create", "subject": "sa-2"},
    {"action": "impersonation.allowed", "actor": "sa-1", "on_behalf_of": "ben", "company": "acme"},
    {"action": "KEY.create", "actor": "Ben", "company": "ACME"},
]


@pytest.fixture
def chain(chain: Chain) -> Chain:
    """A store with some records."""
    chain.append(*RECORDS)
    return chain


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (AuditFilter(), [1, 2, 3, 4, 5, 6]),
        (AuditFilter(actor="ben"), [2]),
        (AuditFilter(subject="sa-1"), [2, 3]),
        (AuditFilter(identity="ben"), [1, 2, 5]),
        (AuditFilter(identity="sa-1"), [2, 3, 5]),
        (AuditFilter(identity="sa-1", company="acme"), [2, 5]),
        (AuditFilter(company="acme"), [1, 2, 5]),
        (AuditFilter(company=""), [4]),
        (AuditFilter(actions=("key",)), [2, 3]),
        (AuditFilter(actions=("key.create", "identity")), [1, 2]),
        (AuditFilter(actions=("key.",)), []),
        (AuditFilter(actions=("%",)), []),
        (AuditFilter(begins=BEGAN + 120, ends=BEGAN + 240), [2, 3]),
        (AuditFilter(companies=frozenset({"acme"})), [1, 2, 5]),
        (AuditFilter(companies=frozenset({"acme", ""})), [1, 2, 4, 5]),
        (AuditFilter(companies=frozenset({"acme"}), company="globex"), []),
        (AuditFilter(companies=frozenset()), []),
        (AuditFilter(companies=frozenset({"'", '"', "{,}"})), []),
        (AuditFilter(identity="sa-1", companies=frozenset({"acme"}), actions=("key",)), [2]),
    ],
)
def test_filters(chain: Chain, filter: AuditFilter, wanted: list[int]) -> None:
    """A list has the records that its filter takes, in order; names are compared byte for byte."""
    with chain.read() as connection:
        page = read_page(connection, filter)
        last = read_last(connection, filter, 2)
    assert [entry.record.sequence for entry in page.entries] == wanted
    assert (page.reached, page.more) == (6, False)
    assert [entry.record.sequence for entry in last] == wanted[-2:]


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_pages_join(chain: Chain, size: int) -> None:
    """Pages of any size give every record once, in order."""
    assert [entry.record.sequence for entry in read_all(chain.read, AuditFilter(), size=size)] == [1, 2, 3, 4, 5, 6]
    found = read_all(chain.read, AuditFilter(identity="sa-1"), size=size)
    assert [entry.record.sequence for entry in found] == [2, 3, 5]


def test_a_page_is_bounded_in_bytes(chain: Chain) -> None:
    """A page of large records is short, and never empty."""
    chain.append(*[{"justification": "x" * 400_000} for _ in range(5)])
    with chain.read() as connection:
        page = read_page(connection, AuditFilter(), after=6)
    assert len(page.entries) == 2
    assert (page.reached, page.more) == (8, True)


def test_what_is_written_meanwhile_is_not_read_twice(chain: Chain) -> None:
    """Who follows reads what comes after the place that a page reached, and nothing again."""
    with chain.read() as connection:
        page = read_page(connection, AuditFilter(actor="nobody"))
        assert (page.entries, page.reached) == ((), 6)
    chain.append({"actor": "nobody"})
    with chain.read() as connection:
        page = read_page(connection, AuditFilter(actor="nobody"), after=page.reached)
        assert [entry.record.sequence for entry in page.entries] == [7]
        assert read_end(connection) == page.reached == 7


def test_an_export_ends_where_the_audit_ended(chain: Chain) -> None:
    """What is written while all is read does not make the reading longer."""
    found = read_all(chain.read, AuditFilter(), size=2)
    first = next(found)
    chain.append({})
    assert [first.record.sequence, *[entry.record.sequence for entry in found]] == [1, 2, 3, 4, 5, 6]


def test_json_lines_prove_themselves(chain: Chain) -> None:
    """The SHA-256 of each exported line is what the next one names as previous."""
    lines = list(json_lines(read_all(chain.read, AuditFilter())))
    hashes = [hashlib.sha256(line.encode()).hexdigest() for line in lines]
    assert [json.loads(line)["previous"] for line in lines[1:]] == hashes[:-1]
    assert not any("\n" in line for line in lines)


def _entry(**fields: Any) -> Entry:
    record = AuditRecord(**{"sequence": 1, "time": 1_700_000_000.5, "action": "a", "actor": "b", **fields})
    return Entry(record, "", b"\xab" * 32)


def test_csv_has_a_column_a_field() -> None:
    """A table of records has a line of names and one for each, with times by RFC 3339 and JSON for what is more."""
    made = _entry(justification='says "no",\nand more', before={"a": 1}, directory_revision=7)
    names, cells = csv.reader(io.StringIO("".join(csv_lines([made])), newline=""))
    assert names == list(FIELDS)
    row = dict(zip(names, cells, strict=True))
    assert row["time"] == "2023-11-14T22:13:20.500000Z"
    assert row["justification"] == 'says "no",\nand more'
    assert row["before"] == '{"a":1}'
    assert (row["after"], row["directory_revision"], row["hash"]) == ("", "7", "ab" * 32)


@given(said=st.text(st.sampled_from("=+-@\t\r\n＝＋－＠'\"; ,a1"), max_size=6))
def test_no_cell_is_run_by_a_spreadsheet(said: str) -> None:
    """No cell begins with what a spreadsheet would run, whatever an identity is called, and none loses a character."""
    for name in ("actor", "justification", "object_id", "company"):
        rows = list(csv.reader(io.StringIO("".join(csv_lines([_entry(**{name: said})])), newline="")))
        cell = rows[1][FIELDS.index(name)]
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
        assert re.search(r"(?:^|[;\t\r\n])\s*[=+\-@＝＋－＠]", cell) is None
        assert _unescaped(cell) == said
        assert escape_cell(said) == cell
        assert unescape_cell(cell) == said


def test_a_time_that_no_calendar_has_is_shown_as_it_is() -> None:
    """A record of a clock that was far off can still be exported."""
    rows = list(csv.reader(io.StringIO("".join(csv_lines([_entry(time=1e300)])), newline="")))
    assert rows[1][FIELDS.index("time")] == "1e+300"


def _unescaped(cell: str) -> str:
    """What was written, as the manual says how to get it."""
    cell = re.sub(r"\A'(?=[\t\r\n])", "", cell)
    return re.sub(r"(\A|(?<=[;\t\r\n]))'(?=[^\S;\t\r\n]*[=+\-@'＝＋－＠])", "", cell)


def test_an_export_tells_what_went_meanwhile(chain: Chain) -> None:
    """Records that are pruned while an export reads, and a store that is set back, end it: it has no silent gap."""
    chain.fill(10)
    records = read_all(chain.read, AuditFilter(), size=2)
    assert [next(records).record.sequence for _ in range(2)] == [1, 2]
    with chain.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE sequence <= 2"))
    assert next(records).record.sequence == 3
    with chain.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE sequence <= 6"))
    assert next(records).record.sequence == 4
    with pytest.raises(MovedAuditError):
        next(records)
    records = read_all(chain.read, AuditFilter(), size=2)
    assert [next(records).record.sequence for _ in range(2)] == [7, 8]
    with chain.write() as connection:
        connection.execute(text("UPDATE state SET epoch = 'another'"))
    with pytest.raises(MovedAuditError):
        next(records)


def test_a_page_of_large_records_is_not_read_whole(chain: Chain) -> None:
    """However many records are asked for, a page ends where it is large, and places beyond all numbers are none."""
    chain.append(*[{"justification": "x" * 600_000} for _ in range(4)])
    with chain.read() as connection:
        page = read_page(connection, AuditFilter(), size=1000)
        assert (page.entries[-1].record.sequence, page.more, page.reached) == (7, True, 7)
        assert read_page(connection, AuditFilter(), after=1 << 64).entries == ()
