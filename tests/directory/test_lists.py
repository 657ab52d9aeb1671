"""Lists of administration, on both databases: filters, pages and their tokens."""

from collections.abc import Callable
from typing import Any

from authz_sidecar.directory.administration.identity_administration import ImportRow
from authz_sidecar.directory.storage.errors import Fault
from authz_sidecar.directory.storage.records import (
    IdentityRecord,
)
from tests.directory.administration_scene import (
    ADMIN,
    SERVICE,
    USER,
    Directory,
    refused,
)


def test_lists_come_in_pages_under_filters(directory: Directory) -> None:
    """Every identity under the filters comes once, in the order of ids, whatever the size of the pages."""
    rows = [
        ImportRow(
            IdentityRecord(
                id=f"{prefix}{number}",
                kind=USER if number % 2 else SERVICE,
                company=("", "acme", "beta")[number % 3],
                active=number % 5 != 0,
                name=f"N{number}",
            ),
            (("AUDITOR", None),) if number % 4 == 0 else (),
        )
        for prefix in ("b", "B", "ß", "a")
        for number in range(12)
    ]
    assert directory.import_identities(ADMIN, rows).created == 48
    records = sorted((row.record for row in rows), key=lambda record: record.id.encode())

    def ids(size: int, **filters: Any) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = directory.list_identities(page_size=size, page_token=token, **filters)
            found += [record.id for record in page.records]
            token = page.next_page_token
            if not token:
                return found

    expected: list[tuple[dict[str, Any], Callable[[IdentityRecord], bool]]] = [
        ({}, lambda _: True),
        ({"company": "acme"}, lambda record: record.company == "acme"),
        ({"company": ""}, lambda record: not record.company),
        ({"companies": ["beta", "acme"]}, lambda record: bool(record.company)),
        ({"companies": []}, lambda _: False),
        ({"kind": SERVICE}, lambda record: record.kind is SERVICE),
        ({"active": False, "kind": USER}, lambda record: not record.active and record.kind is USER),
        ({"prefix": "b"}, lambda record: record.id[0] == "b"),
        ({"prefix": "N1"}, lambda record: record.name.startswith("N1")),
        ({"prefix": "ß"}, lambda record: record.id[0] == "ß"),
        ({"prefix": "%"}, lambda _: False),
        ({"role": "AUDITOR"}, lambda record: int(record.id[1:]) % 4 == 0),
        ({"role": "ADMIN"}, lambda _: False),
    ]
    for filters, holds in expected:
        wanted = [record.id for record in records if holds(record)]
        for size in (1, 7, 0, 1_000):
            assert ids(size, **filters) == wanted, (filters, size)


def test_page_tokens_are_of_one_list(directory: Directory) -> None:
    """Garbage, tokens of another list and sizes beyond the limit are refused; a token outlives what it stands at."""
    for number in range(5):
        directory.user(f"u{number}")
    token = directory.list_identities(page_size=2).next_page_token
    directory.delete_identity(ADMIN, "u1")
    assert [record.id for record in directory.list_identities(page_size=2, page_token=token).records] == ["u2", "u3"]
    for garbage in ("x", "é", "AAAA", "W10", token[:-2], token * 2, "A" * 5_000, "\0", "WyJhXHUwMDAwIiwiIl0"):
        with refused(Fault.INVALID, "not that of this list", field="page_token"):
            directory.list_identities(page_token=garbage)
    with refused(Fault.INVALID, field="page_token"):
        directory.list_identities(page_token=token, kind=USER)
    for size in (-1, 1_001):
        with refused(Fault.INVALID, "at most 1,000", field="page_size"):
            directory.list_identities(page_size=size)


def test_ids_and_filters_that_no_database_takes_are_told(directory: Directory) -> None:
    """An id that cannot be is not there, and a filter that cannot be is refused, on both databases alike."""
    for text in ("a\0b", "\ud800", "x" * 2_000):
        for get in (directory.get_identity, directory.get_assignment, directory.get_grant, directory.get_share):
            with refused(Fault.NOT_FOUND):
                get(text)
        with refused(Fault.INVALID, field="role"):
            directory.list_identities(role=text)
        with refused(Fault.INVALID, field="companies"):
            directory.list_identities(companies=["acme", text])
        for listed in (directory.list_assignments, directory.list_grants, directory.list_shares):
            with refused(Fault.INVALID, field="identity"):
                listed(identity=text)
