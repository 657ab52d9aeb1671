"""Whatever is done to an audit is found, and told."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from authz_sidecar.audit.reading import AuditFilter, read_page
from authz_sidecar.audit.record import AuditRecord
from authz_sidecar.audit.verification import MOST_FINDINGS, FindingKind, verify
from tests.audit.chains import Chain, rewrite

COUNT = 12
COLUMNS = ("sequence", "at", "action", "actor", "on_behalf_of", "subject", "company", "revision", "record", "hash")


@pytest.fixture
def chain(chain: Chain) -> Chain:
    """A store with some records."""
    chain.fill(COUNT)
    return chain


def _kinds(connection: Connection) -> dict[int, FindingKind]:
    return {finding.sequence: finding.kind for finding in verify(connection).findings}


def test_an_audit_that_nobody_touched_is_intact(chain: Chain) -> None:
    """All records are walked, nothing is found, and without keys nothing is vouched for."""
    told: list[tuple[int, int]] = []
    report = chain.verify(progress=lambda done, total: told.append((done, total)))
    assert report.intact
    assert (report.start, report.last, report.records, report.covered) == (0, COUNT, COUNT, 0)
    assert told == [(COUNT, COUNT)]


def test_an_empty_audit_is_intact(store: Any) -> None:
    """A store in which nothing happened yet has a whole audit."""
    assert Chain(store).verify().intact


def _altered(value: Any, at: int) -> Any:
    """The value with one part of it changed, somewhere that `at` says."""
    if isinstance(value, str):
        if not value:
            return "x"
        place = at % len(value)
        return value[:place] + chr(33 + (ord(value[place]) - 33 + 1 + at % 90) % 93) + value[place + 1 :]
    if isinstance(value, bytes):
        place = at % len(value)
        return value[:place] + bytes([value[place] ^ (1 << at % 8)]) + value[place + 1 :]
    if isinstance(value, float):
        return math.nextafter(value, math.inf if at % 2 else -math.inf)
    return value + 1 + at


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(1, COUNT), column=st.sampled_from(COLUMNS), at=st.integers(0, 2000))
def test_any_change_of_any_value_is_found(chain: Chain, row: int, column: str, at: int) -> None:
    """One character, bit or step in any column of any record is found, and the record is named."""
    with chain.tampered() as connection:
        value = connection.execute(text(f"SELECT {column} FROM audit WHERE sequence = {row}")).scalar_one()  # noqa: S608
        changed = _altered(bytes(value) if isinstance(value, memoryview) else value, at)
        if column == "sequence" and changed <= COUNT:
            changed += COUNT
        assert changed != value
        connection.execute(text(f"UPDATE audit SET {column} = :changed WHERE sequence = {row}"), {"changed": changed})  # noqa: S608
        report = verify(connection)
        assert not report.intact
        assert row in {finding.sequence for finding in report.findings}


def test_any_byte_of_a_file_of_sqlite_is_found(chain: Chain, dialect: str) -> None:
    """Bytes that are no text, and values of another type than the column's, are found and break nothing."""
    if dialect != "sqlite":
        return
    for value in ("x'ff'", "CAST(x'ff00' AS TEXT)", "5", "5.5", "'a'"):
        for column in ("at", "action", "actor", "on_behalf_of", "subject", "company", "revision", "record", "hash"):
            with chain.tampered(f"UPDATE audit SET {column} = {value} WHERE sequence = 5") as connection:  # noqa: S608
                found = verify(connection).findings
                assert [finding.sequence for finding in found][:1] == [5], (value, column)
    with chain.tampered("UPDATE audit SET sequence = 'a' WHERE sequence = 5") as connection:
        assert {FindingKind.MISSING, FindingKind.MOVED} <= {finding.kind for finding in verify(connection).findings}
    with chain.tampered("UPDATE state SET audit_sequence = 'a'") as connection:
        assert [finding.kind for finding in verify(connection).findings] == [FindingKind.STATE]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gone=st.sets(st.integers(1, COUNT), min_size=1))
def test_any_records_that_are_removed_are_found(chain: Chain, gone: set[int]) -> None:
    """Whichever records are removed, the first of them is named as missing."""
    places = ", ".join(map(str, gone))
    with chain.tampered(f"DELETE FROM audit WHERE sequence IN ({places})") as connection:  # noqa: S608
        assert _kinds(connection)[min(gone)] is FindingKind.MISSING


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.permutations(range(1, COUNT + 1)).filter(lambda found: list(found) != sorted(found)))
def test_any_other_order_is_found(chain: Chain, places: list[int]) -> None:
    """Records in another order are found, the first that stands in another's place too."""
    statements = [
        f"UPDATE audit SET sequence = {1000 + place} WHERE sequence = {at}"  # noqa: S608
        for at, place in enumerate(places, 1)
    ]
    with chain.tampered(*statements, "UPDATE audit SET sequence = sequence - 1000") as connection:
        report = verify(connection)
    moved = {finding.sequence for finding in report.findings if finding.kind is FindingKind.MOVED}
    assert moved == {place for at, place in enumerate(places, 1) if place != at}


def test_a_record_that_is_put_in_is_found(chain: Chain) -> None:
    """A copy of a record after the last, and one that is made to fit, are unknown to the state of the store."""
    columns = ", ".join(COLUMNS[1:])
    copy = f"INSERT INTO audit SELECT 13, {columns} FROM audit"  # noqa: S608
    with chain.tampered(f"{copy} WHERE sequence = 3") as connection:
        found = {(finding.kind, finding.sequence) for finding in verify(connection).findings}
        assert {(FindingKind.MOVED, 13), (FindingKind.UNKNOWN, 13)} <= found
    for place in (0, -5):
        with chain.tampered(copy.replace("13", str(place)) + " WHERE sequence = 3") as connection:
            assert not verify(connection).intact


def test_a_record_that_is_replaced_whole_is_found(chain: Chain) -> None:
    """A record whose text, hash and columns agree does not fit between its neighbours, and the next one says so."""
    entry = chain.entries()[4]
    with chain.tampered() as connection:
        from authz_sidecar.audit.chain import parse, row

        forged = row(parse(entry.text).previous, AuditRecord(sequence=5, time=1.0, action="a", actor="nobody"))
        sets = ", ".join(f"{name} = :{name}" for name in forged)
        connection.execute(text(f"UPDATE audit SET {sets} WHERE sequence = 5"), forged)  # noqa: S608
        assert _kinds(connection) == {6: FindingKind.UNLINKED}


def test_the_state_of_the_store_is_compared(chain: Chain) -> None:
    """Whatever is done to what the store says of its audit's end is found."""
    for statement, kind in (
        ("UPDATE state SET audit_sequence = 11", FindingKind.UNKNOWN),
        ("UPDATE state SET audit_sequence = 14", FindingKind.MISSING),
        ("DELETE FROM state", FindingKind.STATE),
    ):
        with chain.tampered(statement) as connection:
            assert kind in {finding.kind for finding in verify(connection).findings}
    with chain.tampered("UPDATE state SET audit_hash = :hash", hash=bytes(32)) as connection:
        assert _kinds(connection) == {COUNT: FindingKind.STATE}


def test_one_fault_is_told_once(chain: Chain) -> None:
    """A changed text, and a changed hash, are one finding each, and the records after it none."""
    with chain.tampered(
        "UPDATE audit SET record = replace(record, 'because', 'becausE') WHERE sequence = 5"
    ) as connection:
        found = verify(connection).findings
        assert [(finding.kind, finding.sequence) for finding in found] == [(FindingKind.EDITED, 5)]
    with chain.tampered("UPDATE audit SET hash = :hash WHERE sequence = 5", hash=bytes(32)) as connection:
        found = verify(connection).findings
        assert [(finding.kind, finding.sequence) for finding in found] == [(FindingKind.EDITED, 5)]
    with chain.tampered("UPDATE audit SET actor = 'x' WHERE sequence = 5") as connection:
        (finding,) = verify(connection).findings
        assert finding.message == "record 5: the column `actor` is not what its text says"


def test_findings_are_counted_beyond_what_is_told(chain: Chain) -> None:
    """A store in which everything is wrong is told in bounded room."""
    chain.fill(200)
    with chain.tampered("UPDATE audit SET actor = 'x'") as connection:
        report = verify(connection)
    assert (len(report.findings), report.total) == (MOST_FINDINGS, 200 + COUNT)


def test_an_audit_of_many_pages_is_walked_whole(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages join without a gap."""
    monkeypatch.setattr("authz_sidecar.audit.verification.PAGE", 5)
    assert chain.verify().records == COUNT
    with chain.tampered("DELETE FROM audit WHERE sequence = 5") as connection:
        assert _kinds(connection) == {5: FindingKind.MISSING}


def test_a_column_alone_shows_nobody_a_record(chain: Chain) -> None:
    """Where a column was changed so that a list would take the record in, reading ends with an error."""
    from authz_sidecar.audit.reading import UnreadableRecordError

    with chain.tampered("UPDATE audit SET company = 'globex' WHERE sequence = 2") as connection:
        with pytest.raises(UnreadableRecordError) as caught:
            read_page(connection, AuditFilter(companies=frozenset({"globex"})))
        assert caught.value.sequence == 2


def test_the_chain_alone_does_not_know_a_whole_that_was_made_up(chain: Chain) -> None:
    """An audit that was made up as a whole is whole: only checkpoints tell it from the one that was."""
    records = [AuditRecord(sequence=number, time=1.0, action="a", actor="b") for number in range(1, 4)]
    with chain.tampered() as connection:
        rewrite(connection, records)
        assert verify(connection).intact
