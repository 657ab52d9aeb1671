"""Rules of an identity alone: its grants, shares and flags beside the rules of the bundle."""

import sys
from typing import Any

import pytest
from msgspec.structs import replace

from authz_sidecar.decide import Decider
from authz_sidecar.decide import own_rules as own_rules_module
from authz_sidecar.values import Decision, Reason, Request, build_request
from authz_sidecar.values.filter import FilterKind, FilterRequest, build_filter_request
from authz_sidecar.values.identity import Identity, IdentityKind, OwnRule, RoleSet, TimedRole
from tests.decide.casbin_judge import decider as plain_decider
from tests.decide.directory_worlds import compiled, definitions_of

ROBOT = Identity("robot", IdentityKind.SERVICE_ACCOUNT, "acme")
BUNDLE: dict[str, Any] = {
    "roles": {
        "CLERK": {"assigned": "company", "grants": [{"object": "case", "actions": ["read", "update"]}]},
        "CHIEF": {"assigned": "company", "grants": [{"object": "case", "actions": ["*"]}]},
    },
    "flags": {
        "can_update": {"roles": ["CLERK"], "object": "case", "actions": ["update"]},
        "can_read": {"roles": ["CHIEF"], "object": "case", "actions": ["read"], "default": False},
    },
    "assignments": [
        {"subject": "bea", "roles": ["CLERK"], "company": "acme"},
        {"subject": "cleo", "roles": ["CHIEF"], "company": "acme", "flags": {"can_read": True}},
        {"subject": "dora", "roles": ["CHIEF"], "company": "acme"},
    ],
}


@pytest.fixture(scope="module")
def basic() -> Decider:
    """The bundle in the basic form."""
    return definitions_of(BUNDLE)


@pytest.fixture(scope="module")
def extended() -> Decider:
    """The bundle in the extended form."""
    return definitions_of(BUNDLE, extended=True)


def rule(**more: Any) -> OwnRule:
    """A share of case 7 of acme, for reading."""
    values: dict[str, Any] = {"company": "acme", "type": "case", "id": "7", "action": "read", "scope": "company"}
    return OwnRule(**{**values, "allow": True, "source": "share:1", **more})


def ask(identity: Identity, id: str = "7", action: str = "read", company: str = "acme", **more: Any) -> Request:
    """A request by an identity on a case."""
    request, violations = build_request(identity.id, action, type="case", id=id, company=company, **more)
    assert request is not None, violations
    return replace(request, identity=identity)


def with_rules(*rules: OwnRule) -> Identity:
    """The robot with these rules."""
    return replace(ROBOT, rules=rules)


def test_the_record_that_decides_is_named(basic: Decider) -> None:
    """A decision by a share names it, and no rule of the bundle; its explanation shows it as a row whose file is the
    record."""
    robot = with_rules(rule(), rule(action="update", allow=False, source="grant:2"))
    assert basic.decide(ask(robot)) == Decision(True, Reason.ALLOWED_BY_RULE, -1, "", "share:1")
    denied = basic.decide(ask(robot, action="update"))
    assert denied == Decision(False, Reason.DENIED_BY_RULE, -1, "", "grant:2")
    explanation = basic.explain(ask(robot, action="update"))
    assert explanation.rule is not None
    assert str(explanation.rule.span) == "directory:grant:2"
    assert explanation.rule.values == ("robot", "acme", "case", "7", "update", "company", "deny")
    assert explanation.role_path == ("robot",)
    assert basic.matching(ask(robot)) == []


def test_a_deny_wins_wherever_it_stands(basic: Decider) -> None:
    """A deny of the identity's own overrides a role's grant, and the bundle's rule is named where it allows."""
    chief = replace(ROBOT, roles=RoleSet({"acme": ("CLERK",)}), rules=(rule(allow=False), rule(id="8")))
    assert basic.decide(ask(chief)).source == "share:1"
    assert not basic.decide(ask(chief)).allowed
    by_bundle = basic.decide(ask(chief, id="8"))
    assert by_bundle.allowed
    assert by_bundle.rule >= 0
    assert not by_bundle.source


@pytest.mark.parametrize(
    ("pattern", "id", "in_basic", "in_extended"),
    [
        ("7", "7", True, True),
        ("*", "7", True, True),
        ("*", "", True, True),
        ("2024-*", "2024-", True, True),
        ("2024-*", "2024-11", True, True),
        ("2024-*", "2023-11", False, False),
        # What follows a star `keyMatch` does not read; the basic form compares such an id as it is.
        ("a*b", "a*b", True, True),
        ("a*b", "ax", False, True),
        ("7", "", False, False),
    ],
)
def test_ids_of_rules(
    basic: Decider, extended: Decider, pattern: str, id: str, in_basic: bool, in_extended: bool
) -> None:
    """An id is exact, any, or a beginning followed by a star, in both forms."""
    robot = with_rules(rule(id=pattern))
    assert basic.decide(ask(robot, id)).allowed == in_basic
    assert extended.decide(ask(robot, id)).allowed == in_extended


def test_rules_end(basic: Decider) -> None:
    """A rule holds until just before its end, and of two that say the same the longer one counts."""
    robot = with_rules(rule(ends=100.0), rule(ends=200.0, source="share:2"), rule(ends=50.0))
    assert basic.decide(ask(robot, time=199.0)).source == "share:2"
    assert basic.decide(ask(robot, time=200.0)).reason is Reason.NO_ROLE_IN_COMPANY
    assert basic.decide(replace(ask(robot, id="8", time=199.0))).reason is Reason.NO_MATCHING_RULE


@pytest.mark.parametrize("when", ["r.obj.level > 3", "r.obj.level >", "no_role(r.sub, 'x')", "ipMatch(r.id, 'x')"])
def test_a_condition_that_cannot_be_evaluated_denies(extended: Decider, when: str) -> None:
    """A condition that fails, or that this bundle's model cannot read, denies what the rule is about, whoever else
    allows it; a deny that matches still names itself."""
    robot = replace(with_rules(rule(when=when)), roles=RoleSet({"acme": ("CLERK",)}))
    found = extended.decide(ask(robot))
    assert (found.reason, found.source) == (Reason.EVALUATION_ERROR, "share:1")
    assert "(the rule at directory:share:1)" in found.detail
    assert extended.explain(ask(robot)).rule is not None
    assert extended.decide(ask(robot, id="8")).allowed
    denied = replace(robot, rules=(*robot.rules, rule(allow=False, source="grant:9")))
    assert extended.decide(ask(denied)).source == "grant:9"
    found_all = extended.filter(filter_request(robot))
    assert found_all.passes("acme", "8", "")
    assert not (found_all.exact and found_all.passes("acme", "7", ""))


def filter_request(identity: Identity, action: str = "read") -> FilterRequest:
    """The question which cases of acme an identity may act on."""
    asked, violations = build_filter_request(identity.id, action, "case", company="acme")
    assert asked is not None, violations
    return replace(asked, request=replace(asked.request, identity=identity))


def test_an_inactive_identity_may_nothing(basic: Decider) -> None:
    """Whoever is switched off is denied with that reason before anything else is looked at, in checks and filters, and
    no rule matches."""
    robot = replace(with_rules(rule()), active=False, roles=RoleSet({"acme": ("CLERK",)}))
    assert basic.decide(ask(robot)) == Decision(False, Reason.INACTIVE_SUBJECT)
    assert basic.decide(replace(ask(robot), section="7")).reason is Reason.INACTIVE_SUBJECT
    found = basic.filter(filter_request(robot))
    assert (found.kind, found.reason, found.clauses) == (FilterKind.NONE, Reason.INACTIVE_SUBJECT, ())
    assert basic.filter_rows(filter_request(robot)) == []
    assert basic.matching(ask(robot)) == []
    assert basic.explain(ask(robot)).near_misses == ()


@pytest.mark.parametrize(
    ("id", "roles", "flags", "source"),
    [
        ("ann", {"acme": ("CLERK",)}, {}, ""),
        ("ann", {"acme": ("CLERK",)}, {"can_update": False}, "flag:can_update"),
        ("ann", {"globex": ("CLERK",), "acme": ("CHIEF",)}, {"can_update": False}, "flag:can_update"),
        ("ann", {"acme": ("CHIEF",)}, {"can_update": False}, ""),
        ("ann", {"": ("CLERK",), "acme": ("CHIEF",)}, {"can_update": False}, ""),
        ("bea", {}, {"can_update": False}, "flag:can_update"),
        ("ann", {"acme": ("CLERK",)}, {"can_update": True, "can_gone": False}, ""),
    ],
)
def test_a_flag_that_is_off_denies(
    basic: Decider, id: str, roles: dict[str, tuple[str, ...]], flags: dict[str, bool], source: str
) -> None:
    """A flag that is off denies its actions to whoever holds one of its roles, wherever and however; to others it says
    nothing."""
    identity = replace(ROBOT, id=id, roles=RoleSet(roles), flags=flags)
    found = basic.decide(ask(identity, action="update"))
    assert (found.allowed, found.source) == (not source, source)
    assert bool(basic.filter(filter_request(identity, "update")).clauses) == (not source)


@pytest.mark.parametrize(
    ("id", "flags", "allowed"),
    [
        ("ann", {}, False),
        ("ann", {"can_read": True}, True),
        ("cleo", {}, True),
        ("cleo", {"can_read": False}, False),
        # The bundle's own denial stays: a deny in either wins.
        ("dora", {"can_read": True}, False),
    ],
)
def test_a_flag_that_is_off_by_default(basic: Decider, id: str, flags: dict[str, bool], allowed: bool) -> None:
    """A flag that is off by default denies until the directory, or the bundle for its identities, switches it on."""
    identity = replace(ROBOT, id=id, roles=RoleSet({"acme": ("CHIEF",)}), flags=flags)
    assert basic.decide(ask(identity)).allowed == allowed


def test_a_flag_follows_the_time_of_its_role(basic: Decider) -> None:
    """Off for whoever holds the role for a time, a flag denies for that time."""
    role = TimedRole("CLERK", "globex", 200.0, 100.0)
    identity = replace(ROBOT, roles=RoleSet({"acme": ("CHIEF",)}), timed=(role,), flags={"can_update": False})
    decisions = [
        basic.decide(ask(identity, action="update", time=time)).allowed for time in (99.0, 100.0, 199.0, 200.0)
    ]
    assert decisions == [True, False, False, True]


def test_what_a_kind_is_denied_nobody_of_it_may(basic: Decider) -> None:
    """What service accounts are denied neither roles nor rules of their own give to one, and users keep it."""
    rules = basic.snapshot.directory_rules
    kind = replace(rules.service_accounts, denied=(("case", ("read",)),))
    denying = compiled(basic, replace(rules, service_accounts=kind))
    robot = replace(with_rules(rule()), roles=RoleSet({"acme": ("CLERK",)}))
    answer = denying.decide(ask(robot))
    assert (answer.allowed, answer.reason, answer.source) == (False, Reason.DENIED_BY_RULE, "kind:service_account")
    assert not denying.filter(filter_request(robot)).clauses
    explanation = denying.explain(ask(robot))
    assert explanation.rule is not None
    assert str(explanation.rule.span) == "directory:kind:service_account"
    assert denying.decide(ask(robot, action="update")).allowed
    person = replace(robot, kind=IdentityKind.USER)
    assert denying.decide(ask(person)).allowed


def test_a_plain_bundle_has_no_own_rules() -> None:
    """In a plain Casbin bundle neither rules of the identity nor flags count; its roles do."""
    model = """
    [request_definition]
    r = sub, dom, obj, act
    [policy_definition]
    p = sub, dom, obj, act
    [role_definition]
    g = _, _, _
    [policy_effect]
    e = some(where (p.eft == allow))
    [matchers]
    m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act
    """
    made = plain_decider(
        model, "p, editor, acme, case:7, update\ng, editor, reader, acme\np, reader, acme, case:7, read"
    )
    robot = replace(with_rules(rule(action="delete")), roles=RoleSet({"acme": ("editor",)}), flags={"any": False})
    assert made.decide(ask(robot)).allowed
    assert made.explain(ask(robot)).role_path == ("robot", "editor", "reader")
    assert made.decide(ask(robot, action="delete")).reason is Reason.NO_MATCHING_RULE
    assert made.decide(ask(ROBOT)).reason is Reason.NO_ROLE_IN_COMPANY
    unknown = replace(ROBOT, roles=RoleSet({"acme": ("gone",), "": ("editor",)}))
    assert made.decide(ask(unknown)).reason is Reason.NO_ROLE_IN_COMPANY


def test_a_role_that_only_rules_name_covers_names_as_a_pattern() -> None:
    """Where roles may be patterns, one that stands in no link of the bundle covers the names that it matches, as it
    would in a link."""
    model = """
    [request_definition]
    r = sub, obj, act
    [policy_definition]
    p = sub, obj, act
    [role_definition]
    g = _, _
    [policy_effect]
    e = some(where (p.eft == allow))
    [matchers]
    m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
    """
    policy = "p, team/1, case:7, read\np, team/*, case:8, read\ng, team/2, lead\np, lead, case:9, read"
    made = plain_decider(model, policy, {"g": "keyMatch"})
    linked = plain_decider(model, f"{policy}\ng, robot, team/*", {"g": "keyMatch"})
    robot = replace(ROBOT, roles=RoleSet({"": ("team/*",)}))
    for id in ("7", "8", "9"):
        assert made.decide(ask(robot, id, company="")).allowed
        assert linked.decide(replace(ask(robot, id, company=""), identity=None)).allowed
    assert not made.decide(ask(robot, "10", company="")).allowed


def test_near_misses_name_the_record(extended: Decider) -> None:
    """What alone keeps a rule of the identity's own from allowing is told with its record: the owner, that it has
    expired, its condition, and after the bundle's rules the object."""
    robot = with_rules(
        rule(id="8"),
        rule(scope="own", source="share:2"),
        rule(ends=50.0, source="share:3"),
        rule(when="r.id == '9'", source="share:4"),
        rule(company="globex", id="8", source="share:5"),
    )
    misses = extended.explain(ask(robot, time=60.0, owner="ann")).near_misses
    assert [(miss.field, str(miss.rule.span)) for miss in misses[:3]] == [
        ("scope", "directory:share:2"),
        ("ends", "directory:share:3"),
        ("when", "directory:share:4"),
    ]
    *_, miss = extended.explain(ask(with_rules(rule(id="8", action="delete")), action="delete")).near_misses
    assert (miss.field, miss.wanted, miss.got, str(miss.rule.span)) == ("id", "8", "7", "directory:share:1")


def test_attributes_of_the_identity_are_read_unless_the_request_says_otherwise(extended: Decider) -> None:
    """`r.sub.X` is the directory's attribute; the request's own overrides it, one by one."""
    robot = replace(
        with_rules(rule(when='r.sub.team == "red" && r.sub.level > 3')), attributes={"team": "red", "level": 5}
    )
    assert extended.decide(ask(robot)).allowed
    assert not extended.decide(ask(robot, subject_attributes={"team": "blue"})).allowed
    assert extended.decide(ask(replace(robot, attributes={}))).reason is Reason.EVALUATION_ERROR


def work(decider: Decider, request: Request) -> int:
    """How many lines a decision runs."""
    lines = 0

    def count(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    decider.decide(request)
    sys.settrace(count)
    try:
        decider.decide(request)
    finally:
        sys.settrace(None)
    return lines


def test_cost_does_not_grow_with_shares(basic: Decider) -> None:
    """A decision with ten thousand shares runs as many lines as one with ten."""
    few, many = [with_rules(*[rule(id=str(number)) for number in range(count)]) for count in (10, 10_000)]
    assert basic.decide(ask(many, id="9999")).allowed
    assert work(basic, ask(many)) == work(basic, ask(few))


def test_a_directory_subject_costs_what_a_bundle_subject_costs(basic: Decider) -> None:
    """Once roles are known, a decision of an identity in the directory runs at most twice the lines of one whose role
    stands in the bundle."""
    clerk = replace(ROBOT, roles=RoleSet({"acme": ("CLERK",)}))
    by_bundle = replace(ask(clerk), subject="bea", identity=None)
    assert basic.decide(by_bundle).allowed
    assert work(basic, ask(clerk)) <= 2 * work(basic, by_bundle)


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many identities, rules and conditions come by, a decider keeps a bounded number of them, and decides
    right after a cache was emptied."""
    made = definitions_of(BUNDLE, extended=True)
    monkeypatch.setattr(own_rules_module, "MAX_INDEXED_RULES", 10)
    monkeypatch.setattr(own_rules_module, "MAX_CONDITIONS", 3)
    robots = [
        replace(with_rules(rule(when=f"r.id == '7' || r.id == 'x{number}'")), id=f"robot{number}")
        for number in range(50)
    ]
    for robot in [*robots, *robots]:
        assert made.decide(ask(robot)).allowed
        assert not made.decide(ask(robot, id="8")).allowed
    caches = made.close()
    assert max(map(len, caches)) <= 10
