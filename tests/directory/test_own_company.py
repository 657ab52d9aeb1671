"""Roles in the company to which an identity belongs, and no others (`own_company_only`), on both databases."""

import pytest

from authz_sidecar.directory.administration.identity_administration import ImportRow
from authz_sidecar.directory.review.misplaced_roles import misplaced_roles
from authz_sidecar.directory.storage.errors import Fault
from authz_sidecar.directory.storage.records import IdentityRecord
from authz_sidecar.review.held_roles import AssignedRole, HeldRole
from tests.directory.administration_scene import ADMIN, HOUR, NOW, USER, Directory, refused

SETTING = "identities.own_company_only"


def misplaced(directory: Directory, *assigned: AssignedRole) -> list[HeldRole]:
    """What a bundle that asks for it finds in the directory."""
    with directory.store.read() as connection:
        return misplaced_roles(connection, directory.clock(), assigned, named=2)


def test_roles_are_held_where_an_identity_belongs(directory: Directory) -> None:
    """An identity of a company is given roles there, one of none platform roles: when it is made, by hand, in the place
    of others and for an emergency. What is refused changes nothing."""
    directory.rule(own_company_only=True)
    directory.user("ann", "CLIENT", company="acme")
    directory.user("root", "OPERATOR")
    with refused(
        Fault.PRECONDITION,
        "an identity holds roles in its own company alone; `ann` belongs to `acme` and would hold `CLIENT` in the"
        " company `beta`",
        "give it a role in `acme`, or give `CLIENT` to one of `beta`; the manifest says `identities.own_company_only`",
        field="assignment.company",
        limit_name=SETTING,
        role="CLIENT",
        company="beta",
        home="acme",
    ):
        directory.assign("ann", "CLIENT", "beta")
    elsewhere = "`ann` belongs to `acme` and would hold `OPERATOR` on the platform; give it a role in `acme`, or give"
    with refused(Fault.PRECONDITION, elsewhere, "`OPERATOR` to one without a company", field="assignment.company"):
        directory.assign("ann", "OPERATOR", replace=True)
    with refused(Fault.PRECONDITION, elsewhere, limit_name=SETTING):
        directory.assign("ann", "OPERATOR", break_glass=True, justification="fire", expires_at=NOW + HOUR)
    with refused(
        Fault.PRECONDITION,
        "an identity without a company holds platform roles alone; `root` belongs to none and would hold `CLIENT` in"
        " the company `acme`; give it a role of the platform, or give `CLIENT` to one of `acme`",
        limit_name=SETTING,
    ):
        directory.assign("root", "CLIENT", "acme")
    before = directory.store.state().revision
    with refused(Fault.PRECONDITION, "would hold `AUDITOR` on the platform", field="roles[1]", limit_name=SETTING):
        directory.user("bob", "CLIENT", "AUDITOR", company="acme")
    assert directory.store.state().revision == before
    directory.assign("ann", "CLIENT_ADMIN", "acme", replace=True)
    directory.assign("root", "ADMIN", replace=True, justification="on call")
    assert directory.held("ann") == {("CLIENT_ADMIN", "acme", "hand")}
    assert directory.held("root") == {("ADMIN", "", "hand")}


def test_what_the_bundle_assigns_counts(directory: Directory) -> None:
    """Nobody is made in another company than that in which the bundle assigns them a role."""
    directory.rule(own_company_only=True)
    directory.bundle = {"ann": (("CLIENT", "beta"),), "root": (("OPERATOR", ""),)}
    with refused(
        Fault.PRECONDITION,
        "take `CLIENT` away in the bundle, which assigns it, or make one of `beta`",
        field="identity.company",
        limit_name=SETTING,
    ):
        directory.user("ann", company="acme")
    with refused(Fault.PRECONDITION, "which assigns it, or make one without a company", limit_name=SETTING):
        directory.user("root", company="acme")
    directory.user("ann", company="beta")
    directory.user("root")


def test_an_import_leaves_out_who_would_hold_roles_elsewhere(directory: Directory) -> None:
    """Each such row is told, new or there already, and the others are made."""
    directory.rule(own_company_only=True)
    directory.user("old", "CLIENT", company="acme")

    def row(number: int, id: str, home: str, *roles: tuple[str, str | None]) -> ImportRow:
        return ImportRow(IdentityRecord(id=id, kind=USER, company=home), roles, number)

    rows = [
        row(1, "ann", "acme", ("CLIENT", None)),
        row(2, "bob", "acme", ("CLIENT", "beta")),
        row(3, "cleo", "acme", ("OPERATOR", None)),
        row(4, "dora", "", ("CLIENT", "acme")),
        row(5, "old", "acme", ("CLIENT", "acme"), ("EXTRA", "beta")),
        row(6, "root", "", ("OPERATOR", None)),
    ]
    imported = directory.import_identities(ADMIN, rows, existing="update")
    assert (imported.created, imported.failed) == (2, 4)
    assert [failure.row for failure in imported.failures] == [2, 3, 4, 5]
    assert {failure.error.details["limit_name"] for failure in imported.failures} == {SETTING}
    assert directory.held("old") == {("CLIENT", "acme", "hand")}


def test_groups_and_the_default_role_give_what_fits(directory: Directory) -> None:
    """Of the roles by groups those are given that the identity may hold, and what they gave elsewhere before goes; the
    default role is held where it fits, and where every identity has a role nobody is made whom it does not."""
    directory.user("ann", company="acme")
    directory.apply_groups(ADMIN, "ann", ["operators", "acme"])
    assert {role for role, _, _ in directory.held("ann")} == {"OPERATOR", "CLIENT", "EXTRA"}
    directory.rule(own_company_only=True, default_role="NO_ACCESS")
    applied = directory.apply_groups(ADMIN, "ann", ["operators", "acme"])
    assert applied.warnings == ()
    fitting = {("CLIENT", "acme", "group:acme"), ("EXTRA", "acme", "group:acme")}
    assert directory.held("ann") == fitting
    assert directory.apply_groups(ADMIN, "ann", ["operators", "acme"]).revision == applied.revision
    directory.user("root")
    directory.apply_groups(ADMIN, "root", ["operators", "acme"])
    assert directory.held("root") == {("OPERATOR", "", "group:operators")}
    directory.apply_groups(ADMIN, "root", [])
    assert directory.held("root") == {("NO_ACCESS", "", "default")}
    directory.user("bob", company="acme")
    assert directory.held("bob") == set()
    directory.rule(role_required=True)
    with refused(Fault.PRECONDITION, "every identity has a role"):
        directory.user("cleo", company="acme")


def test_what_is_held_already_stays_and_is_named(directory: Directory) -> None:
    """The setting takes nothing away that was given before: it is found, by role and place with some of its holders,
    until it is over or taken away. What a bundle assigns is found as well, and each holder counted once."""
    for id in ("ann", "bob", "cleo"):
        directory.user(id, "CLIENT", "AUDITOR", company="acme")
    directory.user("root", "OPERATOR")
    directory.assign("root", "CLIENT", "beta", expires_at=NOW + HOUR)
    directory.assign("bob", "CLIENT", "beta", begins_at=NOW + HOUR)
    auditors = HeldRole("AUDITOR", "platform", 3, ("ann", "bob"))
    assert misplaced(directory) == [auditors, HeldRole("CLIENT", "company", 2, ("bob", "root"))]
    directory.rule(own_company_only=True)
    assert directory.held("ann") == {("CLIENT", "acme", "hand"), ("AUDITOR", "", "hand")}
    directory.update_identity(ADMIN, "ann", {"name": "Ann"})
    directory.assign("ann", "EXTRA", "acme")
    directory.clock.now += HOUR
    assigned = [AssignedRole(*one) for one in (("ann", "CLIENT", "beta"), ("bob", "CLIENT", "beta"))]
    assigned += [AssignedRole(*one) for one in (("ann", "CLIENT", "acme"), ("zoe", "CLIENT", "acme"))]
    assert misplaced(directory, *assigned) == [auditors, HeldRole("CLIENT", "company", 2, ("ann", "bob"))]
    for held in directory.list_assignments(role="AUDITOR").records:
        directory.delete_assignment(ADMIN, held.id)
    directory.assign("bob", "CLIENT", "acme", replace=True)
    assert misplaced(directory) == []


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_without_the_setting_roles_are_held_anywhere(directory: Directory) -> None:
    """An identity of one company may hold roles in another and on the platform: the setting is off by default."""
    directory.user("ann", "CLIENT", "OPERATOR", company="acme")
    directory.assign("ann", "CLIENT", "beta")
    assert len(directory.held("ann")) == 3
