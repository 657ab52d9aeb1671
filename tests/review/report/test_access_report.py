"""What an access report says: who gains and loses what, for whom, and because of which lines."""

from authz_sidecar.review.access.change import Change, Kind
from authz_sidecar.review.report.access_report import AccessReport
from authz_sidecar.review.report.access_text import access_text
from authz_sidecar.review.report.sentences import entry_phrase, headline
from authz_sidecar.review.report.wording import plain_phrase
from authz_sidecar.values import Span
from authz_sidecar.values.texts import ANY, values_of
from tests.review.report.access_changes import (
    MANIFEST,
    OWN,
    POLICY,
    box,
    bundle,
    cause,
    identity_gains,
    inexact,
    report,
    role_gains,
)

ASSIGNED = cause(12, rule="g, alice, role:BOSS, *", file="users.yaml")


def sentences(of: AccessReport) -> list[str]:
    """What the entries say, in their order."""
    return [plain_phrase(entry_phrase(entry, of)) for entry in of.entries]


def text(of: AccessReport) -> str:
    """The whole report as plain text."""
    return "\n".join(
        "".join(piece if isinstance(piece, str) else piece[0] for piece in line).rstrip() for line in access_text(of)
    )


def test_a_role_s_gain_is_one_line() -> None:
    """What, where and whom it reaches: people and service accounts where kinds are known."""
    people = [f"p{number}" for number in range(214)]
    kinds = dict.fromkeys(people, "user") | dict.fromkeys(("s1", "s2", "s3"), "service_account")
    change = role_gains("CLERK", box("report", "create"), *kinds)
    of = report(change, kinds=kinds)
    assert sentences(of) == ["CLERK gains report: create in every company: 214 people, 3 service accounts"]
    assert sentences(report(change)) == ["CLERK gains report: create in every company: 217 identities"]


def test_identities_that_a_role_explains_are_not_told_again() -> None:
    """The holder's own change is under the role, and counted in the summary."""
    of = report(
        role_gains("CLERK", box("report", "create"), "ann"),
        identity_gains("ann", box("report", "create", values_of(["acme"])), cause(41), roles=["role:CLERK"]),
    )
    assert len(of.entries) == 1
    assert of.gained.identities == ("ann",)
    assert of.gained.companies == ("acme",)
    assert plain_phrase(headline(of)) == "access changes: 1 role, 1 identity"


def test_an_assignment_is_told_by_its_role() -> None:
    """An identity that is given a role is summarised by the role, and the exact access stands below."""
    of = report(
        identity_gains("alice", box("folder salary", "create", ANY), ASSIGNED),
        identity_gains("alice", box("folder", "read", ANY, owner=OWN), ASSIGNED),
    )
    assert sentences(of) == ["alice gains what BOSS allows everywhere (assigned)"]
    shown = text(of)
    assert "+ policies/users.yaml:12" in shown
    assert "      folder: read (own)" in shown
    assert "      folder, salary: create" in shown


def test_many_assignments_are_one_entry() -> None:
    """Identities that are given one role, each in a company of its own, are told together."""
    changes = [
        identity_gains(
            f"new{number}",
            box("folder", "read", values_of([f"c{number % 3}"])),
            cause(20 + number, rule=f"g, new{number}, role:CLERK, c{number % 3}", file="users.yaml"),
        )
        for number in range(6)
    ]
    of = report(*changes)
    assert sentences(of) == [
        "new0, new1, new2, new3, new4, new5 gain what CLERK allows, in 3 companies, each identity in its own (assigned)"
    ]
    assert of.entries[0].places["new4"] == values_of(["c1"])


def test_another_cause_is_not_called_an_assignment() -> None:
    """What a rule of the identity's own gives is not put down to a role."""
    of = report(identity_gains("bob", box("folder", "read", ANY), cause(3, rule="p, bob, *")))
    assert sentences(of) == ["bob gains folder: read everywhere"]


def test_gains_come_before_losses_and_roles_before_identities() -> None:
    """A reviewer sees first what is gained, by roles, sensitive data leading."""
    anyone = Change(gained=True, kind=Kind.ANYONE, subjects=(), box=box("report", "read", ANY))
    of = report(
        role_gains("BOSS", box("folder", "read"), gained=False),
        anyone,
        identity_gains("bob", box("folder", "read", ANY), cause(3, rule="p, bob, *")),
        role_gains("BOSS", box("folder", "create"), "x", "y"),
        role_gains("CLERK", box("salary", "read"), "ann"),
    )
    assert [sentence.partition(":")[0] for sentence in sentences(of)] == [
        "CLERK gains salary",
        "BOSS gains folder",
        "bob gains folder",
        "anyone whom the policies do not name gains report",
        "BOSS loses folder",
    ]
    assert of.gained.object_types == ("salary",)
    assert of.lost.object_types == ()


def test_roles_that_change_alike_are_one_entry() -> None:
    """A change that several roles inherit is told once."""
    change = role_gains("CLERK", box("folder", "create"), "ann")
    both = Change(
        gained=True, kind=Kind.ROLE, subjects=("role:BOSS", "role:CLERK"), box=change.box, causes=change.causes
    )
    assert sentences(report(both)) == [
        "BOSS, CLERK gain folder: create in every company; it changes the access of nobody known here"
    ]


def test_the_same_change_of_many_roles_is_told_once() -> None:
    """Roles that gain the same by lines of their own are told apart as long as they are few, else together."""
    changes = [role_gains(f"R{at}", box("folder", "create"), f"u{at}", line=at) for at in range(1, 5)]
    assert len(report(*changes[:3]).entries) == 3
    (entry,) = report(*changes, role_gains("R5", box("folder", "create"), "u5", line=1)).entries
    assert entry.subjects == tuple(f"role:R{at}" for at in range(1, 6))
    assert entry.holders == ("u1", "u2", "u3", "u4", "u5")
    assert [each.rule.span.line for each in entry.causes] == [1, 2, 3, 4]


NEW_NAME = POLICY.replace("CLERK", "AGENT")


def renaming(*more: Change, base: str = POLICY, head: str = NEW_NAME, holders: tuple[str, ...] = ()) -> AccessReport:
    """CLERK is called AGENT, and has the same access."""
    return report(
        role_gains("CLERK", box("folder", "read"), *holders, gained=False),
        role_gains("AGENT", box("folder", "read"), *holders),
        *more,
        base=bundle(base),
        head=bundle(head),
        rules=(2, 2),
    )


def test_another_name_is_no_access_change() -> None:
    """Where everybody who held the role holds it under its new name, nothing changes, and it says so."""
    of = renaming()
    assert of.unchanged
    assert of.entries == ()
    assert text(of).splitlines() == [
        "no access changes",
        "  roles      role CLERK is now called AGENT, with the same access and holders",
        "  rules      2 rules added, 2 removed",
    ]


def test_another_name_of_a_role_whose_holders_are_not_known_is_a_change() -> None:
    """Whoever holds the old name outside of the bundle loses everything."""
    bare = POLICY.partition("assignments:")[0]
    of = renaming(base=bare, head=bare.replace("CLERK", "AGENT"))
    assert not of.unchanged
    assert sentences(of) == [
        "AGENT (new role) gains folder: read in every company",
        "CLERK (removed role) loses folder: read in every company",
    ]


def test_another_name_that_reaches_holders_is_a_change() -> None:
    """A holder who was not given the new name loses by it."""
    of = renaming(holders=("ann",))
    assert not of.unchanged
    assert len(of.entries) == 2


def test_a_new_role_is_marked() -> None:
    """A role that only head defines is told as new."""
    more = POLICY.replace("assignments:", "  AUDIT: {assigned: company}\nassignments:")
    of = report(role_gains("AUDIT", box("folder", "read")), base=bundle(), head=bundle(more))
    assert of.roles.added == ("role:AUDIT",)
    assert sentences(of)[0].startswith("AUDIT (new role) gains folder: read")
    assert "new role AUDIT" in text(of)


def test_what_is_not_exact_is_marked_with_its_rules() -> None:
    """A part that cannot be compared is told with the rules responsible and the rules that differ, and is a change."""
    of = report(parts=[inexact()])
    assert not of.unchanged
    shown = text(of)
    assert shown.startswith("access may change: 1 part cannot be compared exactly")
    assert "not exact here: folder: read in every company; the condition reads attributes" in shown
    assert "      responsible `p, role:CLERK, *, r.obj.level > 3`  policies/roles.yaml:9" in shown
    assert "      added       `p, role:CLERK, *, r.obj.level > 3`" in shown


def test_links_need_a_commit() -> None:
    """A place is linked in the commit of its side, with its path in the repository; a working tree has no links."""
    of = report()
    template = "https://git.example/x/blob/{commit}/{path}#L{line}"
    span = Span("tests/a b.yaml", 7, 3)
    assert of.head.link(span, template) == f"https://git.example/x/blob/{'2' * 40}/p/tests/a%20b.yaml#L7"
    assert of.base.link(span, "") == ""
    assert type(of.head)(name="here").link(span, template) == ""


def test_a_sensitive_data_domain_is_touched_by_any_of_its_cells() -> None:
    """The summary names the sensitive data domain of which one action of one type is gained."""
    marked = bundle(POLICY.replace("objects: [folder, report]", "sensitive: true, objects: [folder, report]"))
    of = report(role_gains("CLERK", box("report", "create")), base=marked, head=marked)
    assert of.gained.data_domains == ("CASES",)
    assert "sensitive" in MANIFEST
    outside = report(role_gains("CLERK", box("folder", "update")), base=marked, head=marked)
    assert outside.gained.data_domains == ()


def test_text_is_bounded() -> None:
    """A huge change is cut, and the last line says how much is missing and where it can be seen."""
    changes = [
        identity_gains(f"u{number:05}", box("folder", "read", ANY), cause(number, rule=f"p, u{number:05}, *{number}"))
        for number in range(2000)
    ]
    apart = [
        Change(gained=True, kind=Kind.IDENTITY, subjects=change.subjects, box=box("folder", f"a{n}", ANY))
        for n, change in enumerate(changes)
    ]
    lines = access_text(report(*apart))
    assert len(lines) < 520
    assert "more lines; `--format json` and `--format html` show everything" in str(lines[-1])
