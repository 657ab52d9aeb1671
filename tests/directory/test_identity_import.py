"""Imports of many identities, on both databases: what is made of which rows, and the limits among them."""

from authz_sidecar.directory.administration.identity_administration import ImportRow
from authz_sidecar.directory.storage.errors import Fault
from authz_sidecar.directory.storage.records import (
    IdentityRecord,
)
from authz_sidecar.values.directory_rules import KindRules
from tests.directory.administration_scene import (
    ADMIN,
    SERVICE,
    USER,
    Directory,
)


def test_an_import_makes_what_it_can_and_reports_the_rest(directory: Directory) -> None:
    """An import makes identities with their roles in several transactions; rows that are refused are left out with
    their number and reason, and progress is told after each transaction."""
    directory.user("there", name="Old")
    rows = [
        ImportRow(IdentityRecord(id=f"i{number:04}", kind=USER, company="acme"), (("CLIENT", None),), number)
        for number in range(1_100)
    ]
    rows[3] = ImportRow(IdentityRecord(id="", kind=USER), (), 3)
    rows[7] = ImportRow(IdentityRecord(id="i0001", kind=USER), (), 7)
    rows[600] = ImportRow(IdentityRecord(id="i0600", kind=USER), (("CLINET", "acme"),), 600)
    rows[601] = ImportRow(IdentityRecord(id="i0601", kind=USER), (("CLIENT", "beta"), ("AUDITOR", None)), 601)
    rows[1_000] = ImportRow(IdentityRecord(id="there", kind=USER, name="New"), (), 1_000)
    told = []
    imported = directory.import_identities(ADMIN, rows, progress=lambda done: told.append((done.rows, done.created)))
    assert (imported.rows, imported.created, imported.failed) == (1_100, 1_096, 4)
    assert [(failure.row, failure.id, failure.error.fault) for failure in imported.failures] == [
        (3, "", Fault.INVALID),
        (7, "i0001", Fault.INVALID),
        (600, "i0600", Fault.INVALID),
        (1_000, "there", Fault.ALREADY_EXISTS),
    ]
    assert told == [(500, 498), (1_000, 997), (1_100, 1_096)]
    assert (imported.revision, directory.store.state().revision) == (4, 4)
    assert directory.held("i0000") == {("CLIENT", "acme", "hand")}
    assert directory.held("i0601") == {("CLIENT", "beta", "hand"), ("AUDITOR", "", "hand")}
    assert directory.get_identity("there").name == "Old"
    assert len(directory.touched(2)) == 498


def test_an_import_keeps_limits_within_itself(directory: Directory) -> None:
    """Counts and unique names hold among the rows of one import too."""
    directory.rule(service_accounts=KindRules(most=3, unique_names=True))
    directory.service("s0", company="acme", name="n0")
    rows = [
        ImportRow(IdentityRecord(id=f"s{number}", kind=SERVICE, company="acme", name=name), (), number)
        for number, name in enumerate(["n1", "N1", "n0", "n2", "n3"], 1)
    ]
    imported = directory.import_identities(ADMIN, rows)
    assert [(failure.row, failure.error.fault) for failure in imported.failures] == [
        (2, Fault.ALREADY_EXISTS),
        (3, Fault.ALREADY_EXISTS),
        (5, Fault.LIMIT),
    ]


def test_an_import_again_skips_or_updates(directory: Directory) -> None:
    """Imported again, identities are left as they are, or given what the rows say and missing roles; a row that cannot
    be applied as a whole is not applied at all."""
    directory.rule(roles_per_identity=1)
    rows = [ImportRow(IdentityRecord(id=id, kind=USER, company="acme"), (("CLIENT", None),)) for id in ("a", "b", "c")]
    directory.import_identities(ADMIN, rows)
    skipped = directory.import_identities(ADMIN, rows, existing="skip")
    assert (skipped.unchanged, skipped.revision) == (3, 1)
    same = directory.import_identities(ADMIN, rows, existing="update")
    assert (same.unchanged, same.revision) == (3, 1)
    changed = [
        ImportRow(IdentityRecord(id="a", kind=USER, company="acme", name="A"), (("CLIENT", None),), 1),
        ImportRow(IdentityRecord(id="b", kind=USER, company="acme", name="B"), (("CLIENT_ADMIN", None),), 2),
        ImportRow(IdentityRecord(id="c", kind=USER, company="beta"), (), 3),
        ImportRow(IdentityRecord(id="d", kind=USER, company="acme"), (("CLIENT", None),), 4),
    ]
    imported = directory.import_identities(ADMIN, changed, existing="update")
    assert (imported.updated, imported.created) == (1, 1)
    assert [(failure.row, failure.error.fault) for failure in imported.failures] == [
        (2, Fault.LIMIT),
        (3, Fault.CONFLICT),
    ]
    assert [record.name for record in directory.list_identities().records] == ["A", "", "", ""]
    assert directory.touched(2) == {("identity", "a"), ("identity", "d")}
    assert [record["action"] for record in directory.audit()[6:]] == [
        "identity.create",
        "assignment.create",
        "identity.update",
    ]
    directory.update_identity(ADMIN, "a", {"active": False, "attributes": {"grade": 1}})
    named = ImportRow(IdentityRecord(id="a", kind=USER, company="acme", name="AA"), fields=("name",))
    assert directory.import_identities(ADMIN, [named], existing="update").updated == 1
    left = directory.get_identity("a")
    assert (left.name, left.active, left.attributes) == ("AA", False, {"grade": 1})
