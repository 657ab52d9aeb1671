"""What a filter says, fact by fact."""

from typing import Any
from zlib import crc32

import pytest

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.decide import Decider
from authz_sidecar.decide.question import MAX_RULES
from authz_sidecar.values import Reason, build_request
from authz_sidecar.values.filter import Clause, FilterKind, ObjectFilter, build_filter_request
from authz_sidecar.values.texts import ANY, prefix_of, texts, values_of
from tests.decide.casbin_judge import decider

STANDARD = """\
p, role:CLIENT, *, folder, *, read, company, allow
p, role:CLIENT, *, folder, *, update, own, allow
p, role:ADMIN, *, *, *, *, platform, allow
p, bob, *, folder, 7, read, company, allow
p, bob, *, folder, 9, read, company, allow
p, bob, globex, folder, 8, read, company, allow
p, dora, *, folder, *, update, platform, deny
p, erik, *, folder, 13, read, platform, deny
g, carl, role:CLIENT, acme
g, carl, role:CLIENT, globex
g, dora, role:CLIENT, acme
g, erik, role:CLIENT, acme
g, root, role:ADMIN, *
"""


def ask(made: Decider, subject: str, action: str, object_type: str = "folder", **more: Any) -> ObjectFilter:
    """The filter of a valid question."""
    asked, violations = build_filter_request(subject, action, object_type, **more)
    assert asked is not None, violations
    return made.filter(asked)


def allow(**sets: Any) -> Clause:
    """A clause that allows."""
    return Clause(True, **sets)


def deny(**sets: Any) -> Clause:
    """A clause that denies."""
    return Clause(False, **sets)


@pytest.fixture(scope="module")
def standard() -> Decider:
    """The standard model with a few rules."""
    return decider(BASIC, STANDARD)


def test_a_role_in_companies_is_those_companies(standard: Decider) -> None:
    """Who holds a role in two companies may act on what belongs to these."""
    found = ask(standard, "carl", "read")
    assert found.clauses == (allow(company=values_of(("acme", "globex"))),)
    assert (found.kind, found.exact, found.reason) == (FilterKind.COMPANIES, True, Reason.ALLOWED_BY_RULE)


def test_an_own_scope_is_the_subject_as_owner(standard: Decider) -> None:
    """A rule for what one owns asks for the owner within the companies of the role."""
    found = ask(standard, "carl", "update")
    assert found.clauses == (allow(company=values_of(("acme", "globex")), owner=values_of(("carl",))),)
    assert (found.kind, found.exact) == (FilterKind.OWN, True)


def test_a_platform_role_is_everything(standard: Decider) -> None:
    """Who holds a role on the platform that may do anything may act on all objects."""
    found = ask(standard, "root", "read")
    assert found == ObjectFilter(FilterKind.ALL, (allow(),), True, Reason.ALLOWED_BY_RULE)


def test_rules_about_ids_are_those_ids(standard: Decider) -> None:
    """Rules of one identity about single objects become a list of their ids, by company where rules say one."""
    found = ask(standard, "bob", "read")
    assert set(found.clauses) == {
        allow(id=values_of(("7", "9"))),
        allow(company=values_of(("globex",)), id=values_of(("8",))),
    }
    assert (found.kind, found.exact) == (FilterKind.MIXED, True)
    narrowed = ask(standard, "bob", "read", company="globex")
    assert narrowed.clauses == (allow(company=values_of(("globex",)), id=values_of(("7", "8", "9"))),)
    assert narrowed.kind is FilterKind.IDS


@pytest.mark.parametrize(
    ("subject", "action", "company", "reason"),
    [
        pytest.param("nobody", "read", None, Reason.UNKNOWN_SUBJECT, id="unknown"),
        pytest.param("carl", "delete", None, Reason.NO_MATCHING_RULE, id="no-rule"),
        pytest.param("carl", "read", "initech", Reason.NO_ROLE_IN_COMPANY, id="no-role-there"),
        pytest.param("dora", "update", None, Reason.DENIED_BY_RULE, id="denied"),
    ],
)
def test_nothing_is_no_clause_and_a_reason(
    standard: Decider, subject: str, action: str, company: str | None, reason: Reason
) -> None:
    """Where nothing may be acted on there are no clauses, the filter is exact, and a reason says why."""
    found = ask(standard, subject, action, company=company)
    assert found == ObjectFilter(FilterKind.NONE, (), True, reason)


def test_a_denial_of_single_objects_comes_before_the_allowance(standard: Decider) -> None:
    """An object that a rule denies is denied by a clause before the one that allows its company."""
    found = ask(standard, "erik", "read")
    assert found.clauses == (deny(id=values_of(("13",))), allow(company=values_of(("acme",))))
    assert (found.kind, found.exact) == (FilterKind.MIXED, True)


@pytest.mark.parametrize("roles", [("A", "B"), ("B", "A")])
def test_a_denial_of_any_role_comes_before_the_allowances_of_all(roles: tuple[str, str]) -> None:
    """Whatever the order of roles and rules, what one role denies comes before what another allows."""
    first, second = roles
    made = decider(
        BASIC,
        f"p, role:{first}, *, folder, 1, read, company, allow\np, role:{second}, *, folder, 2, read, company, allow\n"
        f"p, role:{second}, *, folder, 1, read, company, deny\np, role:A, *, folder, *, read, company, allow\n"
        "g, alice, role:A, acme\ng, alice, role:B, acme",
    )
    assert ask(made, "alice", "read").clauses == (
        deny(company=values_of(("acme",)), id=values_of(("1",))),
        allow(company=values_of(("acme",))),
    )


def test_a_question_is_narrowed_to_a_company(standard: Decider) -> None:
    """Narrowed to a company, clauses name it alone, also those of platform roles; "" is platform level."""
    assert ask(standard, "carl", "read", company="acme").clauses == (allow(company=values_of(("acme",))),)
    assert ask(standard, "root", "read", company="acme").clauses == (allow(company=values_of(("acme",))),)
    assert ask(standard, "root", "read", company="").clauses == (allow(company=values_of(("",))),)
    assert ask(standard, "carl", "read", company="").kind is FilterKind.NONE


def extended(*rows: str) -> Decider:
    """The extended standard model with some rows, and carl as a client of acme."""
    return decider(EXTENDED, "\n".join([*rows, "g, carl, role:CLIENT, acme"]))


ACME = values_of(("acme",))


def test_an_id_pattern_is_a_beginning() -> None:
    """A beginning followed by `*` is said as a prefix, exactly."""
    made = extended("p, role:CLIENT, *, folder, 2024-*, read, company, allow, True")
    found = ask(made, "carl", "read")
    assert found.clauses == (allow(company=ACME, id=prefix_of("2024-")),)
    assert (found.kind, found.exact) == (FilterKind.IDS, True)


def test_a_condition_on_the_question_is_decided() -> None:
    """A condition that reads the context alone is decided, and leaves no trace."""
    made = extended("p, role:CLIENT, *, folder, *, read, company, allow, r.context.mfa")
    assert ask(made, "carl", "read", context={"mfa": True}).clauses == (allow(company=ACME),)
    assert ask(made, "carl", "read", context={"mfa": False}) == ObjectFilter(
        FilterKind.NONE, (), True, Reason.NO_MATCHING_RULE
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_condition_that_fails_denies(order: int) -> None:
    """A condition that cannot be evaluated denies what the rule is about, also where another rule allows it, before
    or after."""
    rows = [
        "p, role:CLIENT, *, folder, 1, read, company, allow, r.context.mfa",
        "p, role:CLIENT, *, folder, *, read, company, allow, True",
    ]
    made = extended(*rows[::order])
    found = ask(made, "carl", "read")
    assert found.clauses == (deny(company=ACME, id=values_of(("1",))), allow(company=ACME))
    assert found.exact
    assert ask(made, "carl", "read", context={"mfa": True}).clauses == (allow(company=ACME),)


def test_a_condition_on_attributes_is_left_open() -> None:
    """A condition that needs the object stays as the clause's condition; the filter passes more and says so."""
    made = extended("p, role:CLIENT, *, folder, *, read, company, allow, r.obj.level > 3")
    found = ask(made, "carl", "read")
    assert found.clauses == (allow(company=ACME, conditions=("r.obj.level > 3",)),)
    assert (found.kind, found.exact) == (FilterKind.COMPANIES, False)


def test_a_condition_on_owners_and_companies_is_said_exactly() -> None:
    """Comparisons of owner, id and company in a condition become sets."""
    made = extended(
        "p, role:CLIENT, *, folder, *, read, company, allow, r.owner == r.sub || r.owner == '' && r.id != '1'"
    )
    found = ask(made, "carl", "read")
    assert set(found.clauses) == {
        allow(company=ACME, owner=values_of(("carl",))),
        allow(company=ACME, owner=values_of(("",)), id=texts((), ("",), ("1",))),
    }
    assert found.exact


def test_a_denial_with_an_open_condition_is_left_out() -> None:
    """A denial that depends on an attribute is no clause: it is told beside them, and the filter is not exact."""
    made = extended(
        "p, role:CLIENT, *, folder, *, read, company, allow, True",
        "p, role:CLIENT, *, folder, *, read, company, deny, r.obj.sealed == True",
    )
    found = ask(made, "carl", "read")
    assert found.clauses == (allow(company=ACME),)
    assert not found.exact
    assert any("r.obj.sealed == True" in text for text in found.left_out)


def test_an_open_denial_of_what_is_not_allowed_costs_nothing() -> None:
    """A denial whose objects nothing allows leaves the filter exact."""
    made = extended(
        "p, role:CLIENT, *, folder, *, read, company, allow, True",
        "p, role:CLIENT, globex, folder, *, read, company, deny, r.obj.sealed == True",
        "p, carl, globex, folder, *, read, platform, deny, r.obj.sealed == True",
    )
    found = ask(made, "carl", "read")
    assert (found.clauses, found.exact, found.left_out) == ((allow(company=ACME),), True, ())


def model(matcher: str, effect: str = "some(where (p.eft == allow))", *, priority: bool = False) -> str:
    """A plain model over companies and objects."""
    return "\n".join(
        [
            "[request_definition]",
            "r = sub, dom, obj, act",
            "[policy_definition]",
            f"p = {'priority, ' if priority else ''}sub, dom, obj, act, eft",
            "[role_definition]",
            "g = _, _, _",
            "g2 = _, _",
            "[policy_effect]",
            f"e = {effect}",
            "[matchers]",
            f"m = {matcher}",
        ]
    )


PLAIN = "g(r.sub, p.sub, r.dom) && r.dom == p.dom && {} && r.act == p.act"
G_ALICE = "g, alice, editor, acme"


@pytest.mark.parametrize(
    ("conjunct", "object", "id"),
    [
        pytest.param("r.obj == p.obj", "folder:1", values_of(("1",)), id="one-object"),
        pytest.param("keyMatch(r.obj, p.obj)", "folder:*", ANY, id="all-of-the-type"),
        pytest.param("keyMatch(r.obj, p.obj)", "fol*", ANY, id="the-beginning-of-the-type"),
        pytest.param("keyMatch(r.obj, p.obj)", "*", ANY, id="everything"),
        pytest.param("keyMatch(r.obj, p.obj)", "folder:20*", prefix_of("20"), id="a-beginning"),
        pytest.param("regexMatch(r.obj, p.obj)", "folder:7$", values_of(("7",)), id="an-expression-for-one"),
    ],
)
def test_names_of_objects_are_read_behind_their_type(conjunct: str, object: str, id: Any) -> None:
    """Where a model compares `type:id`, what follows the type becomes the set of ids."""
    made = decider(model(PLAIN.format(conjunct)), f"p, editor, acme, {object}, read, allow\n{G_ALICE}")
    assert ask(made, "alice", "read").clauses == (allow(company=ACME, id=id),)
    assert ask(made, "alice", "read").exact


@pytest.mark.parametrize("object", ["folder", "folder:", "report:1", "folders:1", "*"])
def test_other_names_are_no_object_of_the_type(object: str) -> None:
    """A rule about another type, or about the type as a whole, is about no object of this one."""
    made = decider(model(PLAIN.format("r.obj == p.obj")), f"p, editor, acme, {object}, read, allow\n{G_ALICE}")
    assert ask(made, "alice", "read").kind is FilterKind.NONE


def test_a_pattern_that_a_database_cannot_test_is_left_open() -> None:
    """Of a pattern with segments the beginning is said, and the rest is a condition."""
    made = decider(
        model(PLAIN.format("keyMatch3(r.obj, p.obj)")), f"p, editor, acme, folder:a{{x}}/b, read, allow\n{G_ALICE}"
    )
    found = ask(made, "alice", "read")
    assert found.clauses == (allow(company=ACME, id=prefix_of("a"), conditions=('keyMatch3(r.obj, "folder:a{x}/b")',)),)
    assert not found.exact


def test_groups_of_objects_are_their_members() -> None:
    """A rule about a group of objects becomes the ids that the group holds, groups within it included."""
    made = decider(
        model(PLAIN.format("g2(r.obj, p.obj)")),
        f"p, editor, acme, shelf, read, allow\n{G_ALICE}\ng2, folder:1, shelf\ng2, box, shelf\n"
        "g2, folder:2, box\ng2, report:3, shelf",
    )
    found = ask(made, "alice", "read")
    assert found.clauses == (allow(company=ACME, id=values_of(("1", "2"))),)
    assert found.exact


def test_roles_in_domain_patterns_are_beginnings_of_companies() -> None:
    """A role held in `acme/*` is held in the companies that begin so."""
    made = decider(
        model("g(r.sub, p.sub, r.dom) && keyMatch(r.obj, p.obj) && r.act == p.act"),
        "p, editor, *, folder:*, read, allow\ng, alice, editor, acme/*",
        domain_matching={"g": "keyMatch"},
    )
    found = ask(made, "alice", "read")
    assert found.clauses == (allow(company=prefix_of("acme/")),)
    assert (found.kind, found.exact) == (FilterKind.COMPANIES, True)


def test_a_company_that_is_called_as_a_pattern_has_its_links() -> None:
    """A role held in a pattern of domains is held in the company of that very name, which need not match it."""
    made = decider(
        model("g(r.sub, p.sub, r.dom) && keyMatch(r.obj, p.obj) && r.act == p.act"),
        "p, editor, *, folder:*, read, allow\ng, alice, editor, ^acme",
        domain_matching={"g": "regexMatch"},
    )
    found = ask(made, "alice", "read")
    assert (found.clauses, found.exact) == ((allow(company=texts(("^acme",), ("acme",))),), True)
    for company in ("acme", "acme-eu", "^acme"):
        request, _ = build_request("alice", "read", type="folder", id="1", company=company)
        assert request is not None
        assert made.decide(request).allowed


@pytest.mark.parametrize(("year", "kind"), [("2024", FilterKind.COMPANIES), ("2020", FilterKind.NONE)])
def test_links_count_within_their_times(year: str, kind: FilterKind) -> None:
    """A role that is held for a time is in the filter of a question within that time only."""
    made = decider(
        model(PLAIN.format("keyMatch(r.obj, p.obj)")).replace("g = _, _, _", "g = _, _, _, (_, _)"),
        f"p, editor, acme, folder:*, read, allow\ng, alice, editor, acme, {year}-01-01 00:00:00, {year}-12-31 00:00:00",
    )
    assert ask(made, "alice", "read", time=1.72e9).kind is kind


def test_groups_count_within_their_times() -> None:
    """An object that was in a group until a time is not in its filter after that."""
    made = decider(
        model(PLAIN.format("g2(r.obj, p.obj)")).replace("g2 = _, _", "g2 = _, _, (_, _)"),
        f"p, editor, acme, shelf, read, allow\n{G_ALICE}\ng2, folder:1, shelf, _, _\n"
        "g2, folder:2, shelf, _, 2020-01-01 00:00:00",
    )
    assert ask(made, "alice", "read", time=1.72e9).clauses == (allow(company=ACME, id=values_of(("1",))),)


def test_texts_with_one_checksum_are_told_apart() -> None:
    """Two names whose checksums are the same do not get each other's rules or roles."""
    made = decider(
        model("g(r.sub, p.sub, r.dom) && r.obj == p.obj && r.act == p.act"),
        "p, plumless, *, folder:1, read, allow\np, buckeroo, *, folder:2, read, allow\n"
        "p, editor, *, folder:3, read, allow\ng, buckeroo, editor, acme",
    )
    assert crc32(b"plumless") == crc32(b"buckeroo")
    assert ask(made, "plumless", "read").clauses == (allow(id=values_of(("1",))),)
    assert set(ask(made, "buckeroo", "read").clauses) == {
        allow(id=values_of(("2",))),
        allow(company=ACME, id=values_of(("3",))),
    }
    made = decider(
        model(PLAIN.format("g2(r.obj, p.obj)")),
        f"p, editor, acme, plumless, read, allow\n{G_ALICE}\ng2, folder:1, buckeroo\ng2, folder:2, plumless",
    )
    assert ask(made, "alice", "read").clauses == (allow(company=ACME, id=values_of(("2",))),)


PRIORITY = "priority(p.eft) || deny"


def test_priorities_become_the_order_of_clauses() -> None:
    """Under `priority` the first clause that matches decides, as the first rule does."""
    made = decider(
        model(PLAIN.format("keyMatch(r.obj, p.obj)"), PRIORITY, priority=True),
        f"p, 3, editor, acme, folder:*, read, allow\np, 2, editor, acme, folder:1*, read, deny\n"
        f"p, 1, editor, acme, folder:11, read, allow\n{G_ALICE}",
    )
    found = ask(made, "alice", "read")
    assert found.clauses == (
        allow(company=ACME, id=values_of(("11",))),
        deny(company=ACME, id=prefix_of("1")),
        allow(company=ACME),
    )
    assert (found.kind, found.exact) == (FilterKind.MIXED, True)


def test_what_an_earlier_rule_decides_is_no_clause() -> None:
    """A rule that comes after one that decides all its objects leaves no clause."""
    made = decider(
        model(PLAIN.format("keyMatch(r.obj, p.obj)"), PRIORITY, priority=True),
        f"p, 1, editor, acme, folder:*, read, allow\np, 2, editor, acme, folder:1, read, deny\n{G_ALICE}",
    )
    assert ask(made, "alice", "read").clauses == (allow(company=ACME),)


NO_DENY = "!some(where (p.eft == deny))"


def test_an_effect_that_allows_by_default_passes_all_but_what_is_denied() -> None:
    """Where the model allows whatever no rule denies, the last clause allows everything."""
    made = decider(
        model(PLAIN.format("keyMatch(r.obj, p.obj)"), NO_DENY), f"p, editor, acme, folder:1, read, deny\n{G_ALICE}"
    )
    found = ask(made, "alice", "read")
    assert found.clauses == (deny(company=ACME, id=values_of(("1",))), allow())
    assert (found.exact, found.reason) == (True, Reason.ALLOWED_WITHOUT_RULE)
    assert ask(made, "nobody", "read").kind is FilterKind.ALL


def test_an_empty_policy_passes_nothing() -> None:
    """Without rules nothing passes, whatever the effect."""
    made = decider(model(PLAIN.format("r.obj == p.obj"), NO_DENY), G_ALICE)
    assert ask(made, "alice", "read").kind is FilterKind.NONE


SECTIONS = """\
[request_definition]
r = sub, obj, act
r2 = sub, obj, act, level
[policy_definition]
p = sub, obj, act
p2 = sub, obj, act, level
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && keyMatch(r.obj, p.obj) && r.act == p.act
m2 = r2.sub == p2.sub && keyMatch(r2.obj, p2.obj) && r2.act == p2.act && r2.level == p2.level
"""


def test_sections_answer_for_themselves() -> None:
    """A question is answered by the rules of its section, with the tokens that the context fills."""
    made = decider(SECTIONS, "p, alice, folder:1, read\np2, alice, folder:*, read, high")
    assert ask(made, "alice", "read").clauses == (allow(id=values_of(("1",))),)
    assert ask(made, "alice", "read", section="2", context={"level": "high"}).kind is FilterKind.ALL
    assert ask(made, "alice", "read", section="2", context={"level": "low"}).kind is FilterKind.NONE


@pytest.mark.parametrize(("section", "field"), [("2", "context.level"), ("3", "section")])
def test_what_the_model_cannot_read_is_invalid(section: str, field: str) -> None:
    """A token that nothing fills and a section that does not exist pass nothing and are told as for a check."""
    made = decider(SECTIONS, "p, alice, folder:1, read\np2, alice, folder:*, read, high")
    asked, _ = build_filter_request("alice", "read", "folder", section=section)
    assert asked is not None
    found = made.filter(asked)
    assert (found.kind, found.reason, found.clauses) == (FilterKind.NONE, Reason.INVALID_REQUEST, ())
    assert [violation.field for violation in made.violations(asked.request)] == [field]


def test_more_rules_than_can_be_looked_at_pass_everything_inexactly() -> None:
    """Past the limit of rules a filter passes all objects of the question, says that it is not exact, and why."""
    rows = [f"p, editor, acme, folder:{number}, read, allow" for number in range(MAX_RULES + 1)]
    made = decider(model(PLAIN.format("r.obj == p.obj")), "\n".join([*rows, G_ALICE]))
    found = ask(made, "alice", "read", company="acme")
    assert found.clauses == (allow(company=ACME, conditions=("more than 5,000 rules can apply",)),)
    assert not found.exact
    made = decider(model(PLAIN.format("r.obj == p.obj")), "\n".join([*rows[1:], G_ALICE]))
    (clause,) = ask(made, "alice", "read").clauses
    assert len(clause.id.values) == MAX_RULES


def test_texts_of_the_question_are_data() -> None:
    """A star in a question is a text like any other."""
    made = decider(BASIC, STANDARD)
    assert ask(made, "*", "read").kind is FilterKind.NONE
    assert ask(made, "carl", "*").kind is FilterKind.NONE
    assert ask(made, "carl", "read", "*").kind is FilterKind.NONE
    assert ask(made, "carl", "read", company="*").kind is FilterKind.NONE


@pytest.mark.parametrize(
    ("subject", "action", "object_type", "company", "fields"),
    [
        ("", "read", "folder", None, ["subject"]),
        ("role:ADMIN", "", "folder", None, ["subject", "action"]),
        ("alice", "read", "", None, ["object_type"]),
        ("alice", "read", "a:b", " acme", ["object_type", "company"]),
    ],
)
def test_a_question_keeps_the_limits_of_a_request(
    subject: str, action: str, object_type: str, company: str | None, fields: list[str]
) -> None:
    """What is missing or too long in a question is told by the name of its field."""
    asked, violations = build_filter_request(subject, action, object_type, company=company)
    assert asked is None
    assert [violation.field for violation in violations] == fields
    assert all(violation.description.startswith(f"{violation.field} ") for violation in violations)


@pytest.mark.parametrize("conjunct", ["keyMatch(r.obj, p.obj)", "globMatch(r.obj, p.obj)", "!!keyMatch(r.obj, p.obj)"])
def test_a_filter_agrees_with_a_check_of_names_as_long_as_they_may_be(conjunct: str) -> None:
    """The longest type and id make a name that patterns still match, in a filter as in a check."""
    made = decider(model(PLAIN.format(conjunct)), f"p, editor, acme, t*, read, allow\n{G_ALICE}")
    request, _ = build_request("alice", "read", type="t" * 1024, id="1" * 1024, company="acme")
    assert request is not None
    assert made.decide(request).allowed
    assert ask(made, "alice", "read", "t" * 1024).passes("acme", "1" * 1024, "")
