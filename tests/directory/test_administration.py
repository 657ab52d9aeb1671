"""What all changes of administration have in common, on both databases: dry runs, idempotency keys, many at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from authz_sidecar.audit import chain
from authz_sidecar.directory.administration.identity_administration import ImportRow
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import (
    Actor,
    AssignmentRecord,
    IdentityRecord,
)
from authz_sidecar.directory.storage.schema import KEYS
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.directory_rules import KindRules
from tests.directory.administration_scene import (
    ADMIN,
    DAY,
    GRANT,
    NOW,
    SERVICE,
    SHARE,
    USER,
    Directory,
    refused,
)


def test_a_dry_run_says_what_would_come_of_it(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run gives the record, or the refusal, of the real one, that of the audit included, and writes nothing: no
    row, audit or revision."""
    made = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), dry_run=True)
    assert (made.record.id, made.revision) == ("ann", 0)
    directory.user("ann", "CLIENT", company="acme")
    (role,) = directory.list_assignments().records
    grant = directory.create_grant(ADMIN, GRANT).record
    share = directory.create_share(ADMIN, msgspec.structs.replace(SHARE, identity="ann")).record
    before = directory.store.state()
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), dry_run=True)
    assert directory.update_identity(ADMIN, "ann", {"name": "Ann"}, dry_run=True).record.name == "Ann"
    added = AssignmentRecord(identity="ann", role="EXTRA", company="acme")
    assert directory.create_assignment(ADMIN, added, dry_run=True).revision == before.revision
    directory.delete_assignment(ADMIN, role.id, dry_run=True)
    directory.create_grant(ADMIN, GRANT, dry_run=True)
    directory.delete_grant(ADMIN, grant.id, dry_run=True)
    directory.update_share(ADMIN, share.id, {"actions": ["update"]}, dry_run=True)
    directory.delete_share(ADMIN, share.id, dry_run=True)
    directory.delete_identity(ADMIN, "ann", dry_run=True)
    directory.import_identities(ADMIN, [ImportRow(IdentityRecord(id="bob", kind=USER))], dry_run=True)
    monkeypatch.setattr(chain, "MOST_TEXT_BYTES", 100)
    with refused(Fault.INVALID, "the audit cannot keep this"):
        directory.delete_identity(ADMIN, "ann", dry_run=True)
    assert directory.store.state() == before
    assert [record.id for record in directory.list_identities().records] == ["ann"]
    assert directory.told == [1, 2, 3]


def test_a_create_that_is_repeated_under_its_key_happens_once(directory: Directory) -> None:
    """Under one idempotency key the same actor gets the same result for 24 hours, whatever became of it; something
    else under it is refused, and other actors' keys are their own."""
    first = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    again = directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    assert again.record == first.record
    assert directory.store.state().revision == 2
    with refused(Fault.CONFLICT, "something else was asked", field="idempotency_key"):
        directory.create_identity(ADMIN, IdentityRecord(id="bob", kind=USER), idempotency_key="k1")
    with refused(Fault.CONFLICT):
        directory.create_grant(ADMIN, GRANT, idempotency_key="k1")
    other = Actor("other")
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(other, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    # What was refused has not used its key.
    directory.create_identity(other, IdentityRecord(id="bob", kind=USER), idempotency_key="k1")
    with refused(Fault.INVALID, "holds a credential", field="idempotency_key"):
        directory.create_identity(other, IdentityRecord(id="eve", kind=USER), idempotency_key=f"azk_{'k' * 16}_s")
    record = AssignmentRecord(identity="ann", role="CLIENT", company="acme")
    made = directory.create_assignment(ADMIN, record, idempotency_key="k2")
    assert directory.create_assignment(ADMIN, record, idempotency_key="k2").record == made.record
    grant = directory.create_grant(ADMIN, GRANT, idempotency_key="k3").record
    assert directory.create_grant(ADMIN, GRANT, idempotency_key="k3").record == grant
    directory.service("bot")
    share = directory.create_share(ADMIN, SHARE, idempotency_key="k4").record
    assert directory.create_share(ADMIN, SHARE, idempotency_key="k4").record == share
    directory.clock.now += DAY
    with refused(Fault.ALREADY_EXISTS):
        directory.create_identity(ADMIN, IdentityRecord(id="ann", kind=USER), idempotency_key="k1")
    for key in ("x" * 257, "a\nb", " k"):
        with refused(Fault.INVALID, field="idempotency_key"):
            directory.create_identity(ADMIN, IdentityRecord(id="eve", kind=USER), idempotency_key=key)


def test_limits_hold_for_those_who_ask_at_once(directory: Directory, store_url: str) -> None:
    """However many ask through however many stores at the same time, no limit is passed and no name given twice."""
    directory.rule(service_accounts=KindRules(most=5, unique_names=True), roles_per_identity=1)
    directory.user("ann")
    other = Directory(Store.open(store_url), directory.policy, directory.clock)
    begin = threading.Barrier(8)

    def ask(number: int) -> list[Fault]:
        through = other if number % 2 else directory
        refusals = []
        begin.wait()
        for count in range(3):
            name = f"n{number % 4}-{count}"
            tries: list[Callable[[], object]] = [
                partial(through.service, f"s{number}-{count}", company="acme", name=name),
                partial(through.assign, "ann", "CLIENT", f"c{number}"),
            ]
            for attempt in tries:
                try:
                    attempt()
                except DirectoryError as error:
                    refusals.append(error.fault)
        return refusals

    with ThreadPoolExecutor(8) as threads:
        refusals = [fault for faults in threads.map(ask, range(8)) for fault in faults]
    other.store.close()
    accounts = directory.list_identities(kind=SERVICE).records
    assert len(accounts) == len({record.name for record in accounts}) == 5
    assert len(directory.held("ann")) == 1
    assert len(refusals) == 24 + 24 - 5 - 1
    assert set(refusals) <= {Fault.LIMIT, Fault.ALREADY_EXISTS}


def test_refusals_hold_no_values_of_columns(directory: Directory) -> None:
    """What the database reports about a statement has none of the values that were written with it."""
    directory.user("ann")
    row = {"id": "k", "identity": "ann", "name": "", "hash": b"a-hash-of-a-secret", "active": True}
    row |= {"rotated_from": "", "created_by": "", "created_at": 0.0, "revision": 1}

    def write_twice() -> None:
        with directory.store.change(ADMIN, NOW) as change:
            change.connection.execute(insert(KEYS), row)
            change.connection.execute(insert(KEYS), row)

    with pytest.raises(IntegrityError) as caught:
        write_twice()
    assert "a-hash-of-a-secret" not in f"{caught.value}{caught.value!r}"
    assert directory.store.state().revision == 1
