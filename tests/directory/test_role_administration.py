"""Administration of the roles of identities, on both databases: their kinds, limits, times and groups, the default."""

import pytest

from authz_sidecar.directory.administration.identity_administration import ImportRow
from authz_sidecar.directory.storage.errors import Fault
from authz_sidecar.directory.storage.records import (
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    ShareRecord,
)
from authz_sidecar.values.directory_rules import DirectoryRules, GroupFacts, KindRules, RoleFacts
from tests.directory.administration_scene import (
    ADMIN,
    DAY,
    HOUR,
    NOW,
    RULES,
    USER,
    Directory,
    refused,
)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_roles_are_held_where_they_belong(directory: Directory) -> None:
    """Platform roles are assigned outside companies, company roles inside one, and unknown roles nowhere."""
    directory.user("ann")
    with refused(Fault.INVALID, "`OPERATOR` is assigned in the company `acme`", field="assignment.company"):
        directory.assign("ann", "OPERATOR", "acme")
    with refused(Fault.INVALID, "`CLIENT` is assigned without a company", field="assignment.company"):
        directory.assign("ann", "CLIENT")
    with refused(Fault.INVALID, "did you mean `CLIENT`?", field="assignment.role"):
        directory.assign("ann", "CLINET", "acme")
    with refused(Fault.INVALID, "cannot hold `*`", field="assignment.company"):
        directory.assign("ann", "CLIENT", "*")
    with refused(Fault.NOT_FOUND, "no identity `bob`"):
        directory.assign("bob", "CLIENT", "acme")
    with refused(Fault.INVALID, field="roles[0]"):
        directory.user("bob", "CLIENT")


def test_a_role_is_assigned_and_taken_away(directory: Directory) -> None:
    """An assignment touches the identity, is audited with before and after, and cannot be made twice."""
    directory.user("ann")
    made = directory.assign("ann", "CLIENT", "acme", justification="new job")
    assert directory.get_assignment(made.id) == made
    assert (made.created_by, made.source, made.revision) == ("root", "hand", 2)
    assert directory.touched(2) == {("identity", "ann")}
    with refused(Fault.ALREADY_EXISTS, "`CLIENT` in `acme` already", assignment=made.id):
        directory.assign("ann", "CLIENT", "acme")
    directory.assign("ann", "CLIENT", "beta")
    with refused(Fault.CONFLICT):
        directory.delete_assignment(ADMIN, made.id, expect=3)
    assert directory.delete_assignment(ADMIN, made.id, expect=2, justification="left").revision == 4
    assert directory.held("ann") == {("CLIENT", "beta", "hand")}
    with refused(Fault.NOT_FOUND):
        directory.delete_assignment(ADMIN, made.id)
    last = directory.audit()[-1]
    assert (last["action"], last["company"], last["justification"]) == ("assignment.delete", "acme", "left")
    assert (last["before"]["role"], last.get("after")) == ("CLIENT", None)


def test_a_role_that_stands_alone_is_held_alone(directory: Directory) -> None:
    """A sole role goes together with no other, in whichever order, by hand, in the bundle or with grants beside it,
    unless their times do not meet."""
    directory.user("ann", "OPERATOR")
    with refused(Fault.PRECONDITION, "`NO_ACCESS`, which stands alone, together with `OPERATOR`"):
        directory.assign("ann", "NO_ACCESS")
    directory.user("bob", "NO_ACCESS")
    with refused(Fault.PRECONDITION, "together with `NO_ACCESS`, which stands alone"):
        directory.assign("bob", "AUDITOR")
    directory.bundle["eve"] = (("CLIENT", "acme"),)
    directory.user("eve")
    with refused(Fault.PRECONDITION, "the bundle itself assigns `CLIENT`"):
        directory.assign("eve", "NO_ACCESS")
    directory.assign("ann", "NO_ACCESS", replace=True)
    assert directory.held("ann") == {("NO_ACCESS", "", "hand")}
    directory.user("tim")
    directory.assign("tim", "OPERATOR", expires_at=NOW + DAY)
    directory.assign("tim", "NO_ACCESS", begins_at=NOW + DAY)
    directory.user("flo")
    directory.create_grant(ADMIN, GrantRecord(identity="flo", object_type="folder", actions=("read",)))
    with refused(Fault.PRECONDITION, "with grants of its own"):
        directory.assign("flo", "NO_ACCESS")


def test_a_suspension_is_lifted_by_hand_alone(directory: Directory) -> None:
    """Who was given the default role that stands alone keeps it whatever their groups, until a role by hand lifts it;
    where one of the roles by groups stands alone, it is the only one."""
    leavers = GroupFacts("leavers", ("NO_ACCESS",))
    directory.rule(default_role="NO_ACCESS", groups=(*RULES.groups, leavers))
    directory.user("ann", "OPERATOR")
    directory.assign("ann", "NO_ACCESS", replace=True)
    applied = directory.apply_groups(ADMIN, "ann", ["auditors", "operators"])
    assert applied.record == ()
    assert any("stands alone" in warning for warning in applied.warnings)
    assert directory.held("ann") == {("NO_ACCESS", "", "hand")}
    directory.assign("ann", "AUDITOR")
    assert directory.held("ann") == {("AUDITOR", "", "hand")}
    assert [record["action"] for record in directory.audit()[-2:]] == ["assignment.delete", "assignment.create"]
    directory.user("bob")
    directory.apply_groups(ADMIN, "bob", ["auditors", "operators"])
    directory.apply_groups(ADMIN, "bob", ["auditors", "leavers", "operators"])
    assert directory.held("bob") == {("NO_ACCESS", "", "group:leavers")}


def test_a_second_primary_role_is_pointed_out(directory: Directory) -> None:
    """A second primary role is permitted with a warning that names both; an additive one is not mentioned, and primary
    roles of two companies do not meet."""
    directory.user("ann", "OPERATOR")

    def assign(role: str, company: str = "") -> tuple[str, ...]:
        record = AssignmentRecord(identity="ann", role=role, company=company, justification="why")
        return directory.create_assignment(ADMIN, record).warnings

    assert assign("AUDITOR") == ()
    assert assign("CLIENT", "acme") == ("`ann` has a second primary role, `CLIENT` beside `OPERATOR`",)
    assert assign("EXTRA", "acme") == ()
    directory.user("bob", "CLIENT", company="acme")
    record = AssignmentRecord(identity="bob", role="CLIENT_ADMIN", company="beta")
    assert directory.create_assignment(ADMIN, record).warnings == ()


def test_an_identity_has_so_many_roles(directory: Directory) -> None:
    """The number of roles that are held at once is limited, those of the bundle included; roles whose times do not
    meet are not held at once."""
    directory.rule(roles_per_identity=2)
    directory.bundle["ann"] = (("AUDITOR", ""),)
    directory.user("ann", "CLIENT", company="acme")
    with refused(
        Fault.LIMIT,
        "at most 2 roles; `ann` has `AUDITOR` and `CLIENT`",
        limit="2",
        limit_name="limits.roles_per_identity",
    ):
        directory.assign("ann", "EXTRA", "acme")
    with refused(Fault.LIMIT):
        directory.user("bob", "CLIENT", "EXTRA", "AUDITOR", company="acme")
    directory.user("bob")
    directory.assign("bob", "CLIENT", "acme", expires_at=NOW + DAY)
    directory.assign("bob", "EXTRA", "acme", begins_at=NOW + DAY)
    directory.assign("bob", "AUDITOR")
    with refused(Fault.LIMIT, "at most 2 roles"):
        directory.assign("bob", "CLIENT_ADMIN", "acme", begins_at=NOW + 2 * DAY)


def test_an_identity_has_roles_in_so_many_companies(directory: Directory) -> None:
    """The number of companies in which roles are held is limited; the platform is none."""
    directory.rule(companies_per_identity=1)
    directory.user("ann", "CLIENT", "AUDITOR", company="acme")
    directory.assign("ann", "EXTRA", "acme")
    with refused(Fault.LIMIT, "at most 1 company", limit="1", limit_name="limits.companies_per_identity"):
        directory.assign("ann", "EXTRA", "beta")
    directory.assign("ann", "CLIENT", "beta", replace=True)
    assert directory.held("ann") == {("CLIENT", "beta", "hand")}


def test_every_identity_has_exactly_one_role(directory: Directory) -> None:
    """Where a role is required none is made without, the last is taken away only by replacing it, and none may leave
    a time without."""
    directory.rule(role_required=True, roles_per_identity=1)
    with refused(Fault.PRECONDITION, "every identity has a role", limit_name="identities.role_required"):
        directory.user("ann")
    directory.user("ann", "CLIENT", company="acme")
    (first,) = directory.list_assignments(identity="ann").records
    with refused(Fault.PRECONDITION, "`ann` would be left without one"):
        directory.delete_assignment(ADMIN, first.id)
    with refused(Fault.LIMIT, "at most 1 role"):
        directory.assign("ann", "CLIENT_ADMIN", "acme")
    with refused(Fault.PRECONDITION, "left without"):
        directory.assign("ann", "CLIENT_ADMIN", "acme", replace=True, expires_at=NOW + DAY)
    assert directory.held("ann") == {("CLIENT", "acme", "hand")}
    revision = directory.store.state().revision
    directory.assign("ann", "CLIENT_ADMIN", "acme", replace=True)
    assert directory.held("ann") == {("CLIENT_ADMIN", "acme", "hand")}
    assert directory.store.state().revision == revision + 1
    # An emergency comes on top, and its end takes nothing that is required.
    emergency = directory.assign(
        "ann", "OPERATOR", break_glass=True, expires_at=NOW + HOUR, justification="the operator is ill"
    )
    directory.delete_assignment(ADMIN, emergency.id)


def test_the_default_role_is_held_while_no_other_is(directory: Directory) -> None:
    """A new identity gets the default role; another role lifts it, and it is back when the last is taken away, at the
    moment that the last expires, and before one that begins later."""
    directory.rule(default_role="NO_ACCESS")
    directory.user("ann")
    default = ("NO_ACCESS", "", "default")
    assert directory.held("ann") == {default}
    (held,) = directory.list_assignments(identity="ann").records
    with refused(Fault.PRECONDITION, "because it has no other"):
        directory.delete_assignment(ADMIN, held.id)
    first = directory.assign("ann", "OPERATOR")
    assert directory.held("ann") == {("OPERATOR", "", "hand")}
    directory.delete_assignment(ADMIN, first.id)
    assert directory.held("ann") == {default}
    directory.assign("ann", "CLIENT", "acme", begins_at=NOW + DAY, expires_at=NOW + 2 * DAY)
    directory.assign("ann", "EXTRA", "acme", begins_at=NOW + 1.5 * DAY, expires_at=NOW + 3 * DAY)
    for time, roles in (
        (0.0, {default}),
        (1.0, {("CLIENT", "acme", "hand")}),
        (1.5, {("CLIENT", "acme", "hand"), ("EXTRA", "acme", "hand")}),
        (2.0, {("EXTRA", "acme", "hand")}),
        (3.0, {default}),
    ):
        directory.clock.now = NOW + time * DAY
        assert directory.held("ann") == roles
    directory.user("bob", "OPERATOR")
    assert directory.held("bob") == {("OPERATOR", "", "hand")}
    directory.bundle["eve"] = (("OPERATOR", ""),)
    directory.user("eve")
    assert directory.held("eve") == set()
    actions = [(record["action"], record["object_type"]) for record in directory.audit()]
    assert actions.count(("assignment.delete", "sidecar.assignment")) == 4


def test_a_default_role_of_companies_is_held_in_the_identitys_own(directory: Directory) -> None:
    """A default role that is held in companies is held in that of the identity; who has none has no default role."""
    directory.rule(default_role="CLIENT")
    directory.user("ann", company="acme")
    directory.user("bob")
    assert directory.held("ann") == {("CLIENT", "acme", "default")}
    assert directory.held("bob") == set()


def test_kinds_without_roles_have_none(directory: Directory) -> None:
    """Service accounts that hold no roles get none: not by hand, not when made, not by default, not by groups."""
    directory.rule(service_accounts=KindRules(roles=False), default_role="NO_ACCESS", role_required=True)
    directory.service("s1")
    assert directory.held("s1") == set()
    with refused(Fault.PRECONDITION, "service accounts hold no roles here", field="assignment.identity"):
        directory.assign("s1", "OPERATOR")
    with refused(Fault.PRECONDITION, "service accounts hold no roles here"):
        directory.service("s2", "OPERATOR")
    assert directory.apply_groups(ADMIN, "s1", ["operators"]).record == ()
    directory.create_share(ADMIN, ShareRecord(identity="s1", object_type="folder", object_id="*", actions=("read",)))


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_times_of_assignments_are_in_the_future_and_in_order(directory: Directory) -> None:
    """An assignment ends in the future and after it begins; what began in the past begins at once."""
    directory.user("ann")
    with refused(Fault.INVALID, "expire in the past", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", expires_at=NOW)
    with refused(Fault.INVALID, "before it begins", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", begins_at=NOW + DAY, expires_at=NOW + HOUR)
    for time in (float("inf"), float("nan"), -1.0, 1e15):
        with refused(Fault.INVALID, "beyond what a calendar has"):
            directory.assign("ann", "OPERATOR", expires_at=time)
    assert directory.assign("ann", "OPERATOR", begins_at=NOW - DAY).begins_at is None


def test_an_emergency_is_short_and_justified(directory: Directory) -> None:
    """Break-glass needs an expiry within the limit and a justification, comes on top of the limit of roles, is listed,
    and lifts the default role for its time alone."""
    directory.rule(roles_per_identity=1, default_role="NO_ACCESS")
    directory.user("ann")
    with refused(Fault.JUSTIFICATION, "an assignment for an emergency needs", field="assignment.justification"):
        directory.assign("ann", "OPERATOR", break_glass=True, expires_at=NOW + HOUR)
    with refused(Fault.INVALID, "within 8 hours", field="assignment.expire_time"):
        directory.assign("ann", "OPERATOR", break_glass=True, justification="fire")
    with refused(Fault.LIMIT, "at most 8 hours", limit="28800.0"):
        directory.assign("ann", "OPERATOR", break_glass=True, justification="fire", expires_at=NOW + 9 * HOUR)
    made = directory.assign("ann", "OPERATOR", break_glass=True, justification="fire", expires_at=NOW + 8 * HOUR)
    assert directory.list_assignments(break_glass=True).records == (made,)
    assert directory.held("ann") == {("OPERATOR", "", "hand")}
    directory.clock.now += 8 * HOUR
    assert directory.held("ann") == {("NO_ACCESS", "", "default")}
    directory.user("bob", "CLIENT", company="acme")
    expires = directory.clock.now + HOUR
    directory.assign("bob", "OPERATOR", break_glass=True, justification="fire", expires_at=expires)
    created = [record for record in directory.audit() if record["action"] == "assignment.create"]
    assert (created[-1]["justification"], created[-1]["after"]["break_glass"]) == ("fire", True)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_sensitive_roles_need_a_justification(directory: Directory) -> None:
    """A sensitive role is assigned with a justification only, by hand, when an identity is made, and in an import."""
    directory.user("ann")
    with refused(Fault.JUSTIFICATION, "the role `ADMIN` needs a justification", field="assignment.justification"):
        directory.assign("ann", "ADMIN", justification="  ")
    bob = IdentityRecord(id="bob", kind=USER)
    with refused(Fault.JUSTIFICATION, field="justification"):
        directory.create_identity(ADMIN, bob, ["ADMIN"])
    imported = directory.import_identities(ADMIN, [ImportRow(bob, (("ADMIN", None),), 1)])
    assert [failure.error.fault for failure in imported.failures] == [Fault.JUSTIFICATION]
    directory.assign("ann", "ADMIN", justification="on call")
    assert directory.audit()[-1]["justification"] == "on call"


def test_groups_give_and_take_roles(directory: Directory) -> None:
    """Members of groups hold what the policy maps the groups to; leaving takes it away, and no change writes nothing.
    What is assigned by hand stays."""
    directory.user("ann", "AUDITOR")
    applied = directory.apply_groups(ADMIN, "ann", ["operators", "auditors", "unknown"])
    assert {record.source for record in applied.record} == {"group:operators", "group:auditors"}
    assert directory.held("ann") == {
        ("AUDITOR", "", "hand"),
        ("OPERATOR", "", "group:operators"),
        ("AUDITOR", "", "group:auditors"),
    }
    assert directory.apply_groups(ADMIN, "ann", ["auditors", "operators"]).revision == applied.revision
    assert directory.store.state().revision == applied.revision
    directory.apply_groups(ADMIN, "ann", ["acme"], permitted=lambda role, _: role != "EXTRA")
    assert directory.held("ann") == {("AUDITOR", "", "hand"), ("CLIENT", "acme", "group:acme")}
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == {("AUDITOR", "", "hand")}
    with refused(Fault.NOT_FOUND):
        directory.apply_groups(ADMIN, "bob", ["acme"])


def test_leaving_a_group_is_never_held_up(directory: Directory) -> None:
    """A role that a group may not give beside others is left out with a warning, and what was left is taken away all
    the same, though every identity were to have a role."""
    directory.rule(role_required=True, roles_per_identity=1)
    directory.user("ann", "CLIENT", company="beta")
    (by_hand,) = directory.list_assignments(identity="ann").records
    applied = directory.apply_groups(ADMIN, "ann", ["operators"])
    assert applied.record == ()
    assert "at most 1 role" in applied.warnings[0]
    directory.rule(roles_per_identity=0)
    directory.apply_groups(ADMIN, "ann", ["operators"])
    directory.delete_assignment(ADMIN, by_hand.id)
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == set()


def test_the_default_role_comes_back_when_the_last_group_goes(directory: Directory) -> None:
    """The default role is lifted by a group's role and back when that goes."""
    directory.rule(default_role="NO_ACCESS")
    directory.user("ann")
    directory.apply_groups(ADMIN, "ann", ["operators"])
    assert directory.held("ann") == {("OPERATOR", "", "group:operators")}
    directory.apply_groups(ADMIN, "ann", [])
    assert directory.held("ann") == {("NO_ACCESS", "", "default")}


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_roles_of_plain_casbin_bundles_are_names(directory: Directory) -> None:
    """Beside a plain Casbin bundle roles are held in domains, or in none where `g` has none, and there are no grants,
    shares and flags."""
    directory.rules = DirectoryRules(form="casbin", roles={"reader": RoleFacts("company")})
    directory.user("ann")
    directory.assign("ann", "reader", "acme")
    with refused(Fault.INVALID, "did you mean `reader`?"):
        directory.assign("ann", "raeder", "acme")
    with refused(Fault.INVALID, "without a company"):
        directory.assign("ann", "reader")
    directory.rules = DirectoryRules(form="casbin", domains=False)
    directory.assign("ann", "any name")
    with refused(Fault.INVALID, field="assignment.company"):
        directory.assign("ann", "any name", "acme")
    with refused(Fault.PRECONDITION, "plain Casbin bundle"):
        directory.create_grant(ADMIN, GrantRecord(identity="ann", object_type="folder", actions=("read",)))
    with refused(Fault.PRECONDITION, "plain Casbin bundle"):
        directory.create_share(
            ADMIN, ShareRecord(identity="ann", object_type="folder", object_id="1", actions=("read",))
        )
    with refused(Fault.INVALID, "the policy defines no flags"):
        directory.update_identity(ADMIN, "ann", {"flags.x": True})
