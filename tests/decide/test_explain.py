"""Explanations: the rule and its place, the way to it, the roles held, and the nearest misses."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.values import NearMiss, Reason, Request, Rule, Span, build_request
from tests.decide.casbin_judge import decider
from tests.decide.test_against_pycasbin import requests, systems

ALLOW = "some(where (p.eft == allow))"
NEAR_MISSES = 5


def model(matcher: str, *, r: str = "sub, obj, act", p: str = "sub, obj, act", g: str = "g = _, _") -> str:
    """A model text; `g` holds whole definitions."""
    return (
        f"[request_definition]\nr = {r}\n[policy_definition]\np = {p}\n[role_definition]\n{g}\n"
        f"[policy_effect]\ne = {ALLOW}\n[matchers]\nm = {matcher}\n"
    )


RBAC = model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act")


def ask(subject: str = "alice", name: str = "data", action: str = "read", **more: Any) -> Request:
    """A request; what else it holds is given by name."""
    request, violations = build_request(subject, action, type=name, **more)
    assert request is not None, violations
    return request


def told(misses: tuple[NearMiss, ...]) -> list[tuple[str, str, str, str]]:
    """What near misses say, without their rules."""
    return [(miss.field, miss.wanted, miss.got, miss.sentence) for miss in misses]


# What decided


def test_the_deciding_rule_is_named_with_its_place() -> None:
    """An explanation has the rule, its file and line, the way from subject to role, and all roles held."""
    policy = (
        "# staff\np, admin, data, write\n\np, viewer, data, read\ng, alice, editor\ng, editor, viewer\ng, alice, guest"
    )
    explanation = decider(RBAC, policy).explain(ask())
    assert explanation.decision.reason is Reason.ALLOWED_BY_RULE
    assert explanation.rule == Rule("p", ("viewer", "data", "read"), Span("policy.csv", 4, 1))
    assert str(explanation.rule) == "p, viewer, data, read"
    assert explanation.role_path == ("alice", "editor", "viewer")
    assert explanation.roles == ("editor", "guest", "viewer")
    assert explanation.near_misses == ()


def test_the_shortest_way_is_told() -> None:
    """Of several ways to a role the shortest is the path; a rule for oneself is reached without any."""
    links = "g, alice, one\ng, one, two\ng, two, admin\ng, alice, short\ng, short, admin"
    ours = decider(RBAC, f"p, admin, data, read\np, alice, own, read\n{links}")
    assert ours.explain(ask()).role_path == ("alice", "short", "admin")
    assert ours.explain(ask(name="own")).role_path == ("alice",)


def test_the_way_is_that_of_the_requests_domain() -> None:
    """Roles of other companies are neither on the path nor among the roles held."""
    text = model(
        "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.act == p.act",
        r="sub, dom, act",
        p="sub, dom, act",
        g="g = _, _, _",
    )
    links = "g, alice, admin, globex\ng, alice, lead, acme\ng, lead, admin, acme"
    explanation = decider(text, f"p, admin, acme, read\n{links}").explain(ask(company="acme"))
    assert explanation.role_path == ("alice", "lead", "admin")
    assert explanation.roles == ("admin", "lead")


def yaml_bundle() -> Decider:
    """Roles that inherit, in a bundle of YAML definitions."""
    files = {
        "model.conf": BASIC,
        "manifest.yaml": ("name: firm\nschema_version: 1\nobject_types: {folder: {actions: [read, update, delete]}}\n"),
        "roles.yaml": """\
roles:
  JUNIOR:
    assigned: company
    grants:
      - {object: folder, actions: [read]}
      - {object: folder, actions: [update], scope: own}
  SENIOR:
    assigned: company
    inherits: [JUNIOR]
  PARTNER:
    assigned: company
    inherits: [SENIOR]
    grants:
      - {object: folder, actions: [delete]}
""",
        "people.yaml": "assignments:\n  - {subject: ann, roles: [PARTNER], company: acme}\n"
        "  - {subject: joe, roles: [JUNIOR], company: acme}\n",
    }
    bundle, diagnostics = parse_bundle({name: text.encode() for name, text in files.items()}, "firm")
    assert bundle is not None, diagnostics
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return Decider(snapshot)


def test_an_inherited_grant_names_the_roles_it_came_by() -> None:
    """The path goes on from the role held to the role whose grant decided, and the place is that grant's."""
    explanation = yaml_bundle().explain(ask("ann", "folder", company="acme", owner="joe"))
    assert explanation.role_path == ("ann", "role:PARTNER", "role:SENIOR", "role:JUNIOR")
    assert explanation.roles == ("role:PARTNER",)
    assert explanation.rule is not None
    assert explanation.rule.via == ("role:SENIOR", "role:JUNIOR")
    assert (explanation.rule.span.file, explanation.rule.span.line) == ("roles.yaml", 5)


def test_a_rule_that_denies_is_named_like_one_that_allows() -> None:
    """A denial by rule has rule, path and roles, and no near misses: nothing else would have allowed."""
    text = RBAC.replace("p = sub, obj, act", "p = sub, obj, act, eft").replace(
        ALLOW, f"{ALLOW} && !some(where (p.eft == deny))"
    )
    policy = "p, admin, data, read, allow\np, staff, data, read, deny\ng, alice, staff\ng, alice, admin"
    explanation = decider(text, policy).explain(ask())
    assert explanation.decision.reason is Reason.DENIED_BY_RULE
    assert explanation.rule is not None
    assert explanation.rule.values == ("staff", "data", "read", "deny")
    assert explanation.role_path == ("alice", "staff")
    assert explanation.near_misses == ()


def test_an_error_names_the_rule_it_came_from() -> None:
    """The rule whose condition could not be evaluated is the explanation's rule."""
    text = model("g(r.sub, p.sub) && eval(p.rule)", p="sub, rule")
    policy = "p, bob, True\np, staff, r.sub.age > 18\ng, alice, staff"
    explanation = decider(text, policy).explain(ask())
    assert explanation.decision.reason is Reason.EVALUATION_ERROR
    assert explanation.rule is not None
    assert explanation.rule.span.line == 2
    assert explanation.role_path == ("alice", "staff")


def test_an_invalid_request_has_nothing_to_explain() -> None:
    """Neither rules nor roles are looked at for a request that the model cannot take."""
    explanation = decider(RBAC, "p, alice, data, read").explain(ask(section="9"))
    assert (explanation.rule, explanation.role_path, explanation.roles, explanation.near_misses) == (None, (), (), ())


# Near misses


def test_near_misses_say_which_field_failed() -> None:
    """A rule that failed in one field is told with what it wanted and what the request said; nearest first."""
    policy = (
        "p, admin, data, read\np, editor, data, write\np, viewer, other, read\np, viewer, other, list\ng, alice, editor"
    )
    explanation = decider(RBAC, f"{policy}\ng, editor, viewer").explain(ask())
    assert explanation.decision.reason is Reason.NO_MATCHING_RULE
    assert explanation.roles == ("editor", "viewer")
    assert told(explanation.near_misses) == [
        ("act", "write", "read", "`act` is `read` in the request, `write` in the rule"),
        ("obj", "other", "data", "`obj` is `data` in the request, `other` in the rule"),
        ("sub", "admin", "alice", "`alice` does not hold `admin`"),
    ]
    assert [miss.rule.span.line for miss in explanation.near_misses] == [2, 3, 1]


def test_at_most_five_near_misses_are_told() -> None:
    """Of many near misses the nearest five are told, those of one distance in the order of the policy."""
    rows = [f"p, alice, data, act{number}" for number in range(9)]
    misses = decider(RBAC, "\n".join(["p, bob, data, read", *rows])).explain(ask()).near_misses
    assert [miss.wanted for miss in misses] == [f"act{number}" for number in range(5)]


def test_rules_that_failed_twice_or_deny_are_no_near_misses() -> None:
    """Only a rule that would have allowed, and failed once, is near."""
    text = RBAC.replace("p = sub, obj, act", "p = sub, obj, act, eft")
    policy = "p, alice, other, write, allow\np, bob, data, write, allow\np, alice, data, write, deny"
    assert decider(text, policy).explain(ask()).near_misses == ()
    conditions = model("r.sub == p.sub && eval(p.one) && eval(p.two)", p="sub, one, two")
    policy = "p, alice, r.act == 'a', r.act == 'b'\np, alice, True, r.act == 'c'\np, bob, True, r.act == 'd'"
    misses = decider(conditions, policy).explain(ask()).near_misses
    assert [miss.field for miss in misses] == ['r.act == "c"']


def test_a_role_of_another_company_names_the_company() -> None:
    """A role that is not held there is told with the company in which it is not held."""
    text = model("g(r.sub, p.sub, r.dom) && r.act == p.act", r="sub, dom, act", p="sub, act", g="g = _, _, _")
    explanation = decider(text, "p, admin, read\ng, alice, admin, acme").explain(ask(company="globex"))
    assert explanation.decision.reason is Reason.NO_ROLE_IN_COMPANY
    assert told(explanation.near_misses) == [("sub", "admin", "alice", "`alice` does not hold `admin` in `globex`")]


def test_a_resource_role_is_told_of_the_object() -> None:
    """Where the object holds no role, the object is named, not the subject."""
    text = model("g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act", g="g = _, _\ng2 = _, _")
    explanation = decider(text, "p, alice, books, read\ng2, novel, books").explain(ask())
    assert told(explanation.near_misses) == [("obj", "books", "data", "`data` does not hold `books`")]


def test_patterns_and_conditions_are_told() -> None:
    """A pattern is told as the rule has it and a condition as its text; the condition is nearer."""
    text = model(
        'r.sub == p.sub && keyMatch(r.obj, p.obj) && (p.act == "*" || r.act == p.act) && eval(p.rule)',
        p="sub, obj, act, rule",
    )
    policy = "p, alice, foo*, read, True\np, alice, dat*, *, r.sub.age > 18\np, alice, data, write, True"
    misses = decider(text, policy).explain(ask(subject_attributes={"age": 3})).near_misses
    assert told(misses) == [
        ("r.sub.age > 18", "true", "false", "`r.sub.age > 18` does not hold"),
        ("act", "write", "read", "`act` is `read` in the request, `write` in the rule"),
        ("obj", "foo*", "data", "`obj` is `data` in the request, `foo*` in the rule"),
    ]


def test_somebody_elses_object_is_the_nearest_miss() -> None:
    """A denial for an object of somebody else says first who owns it, however many rules are about other things."""
    others = [f"p, role:CLIENT, *, type{number}, *, read, company, allow" for number in range(9)]
    policy = [*others, "p, role:CLIENT, *, folder, *, read, own, allow", *others, "g, alice, role:CLIENT, acme"]
    misses = decider(BASIC, "\n".join(policy)).explain(ask(name="folder", company="acme", owner="bob")).near_misses
    assert told(misses[:1]) == [
        (
            "r.sub == r.owner",
            "true",
            "`r.sub` is `alice`, `r.owner` is `bob`",
            "`r.sub == r.owner` does not hold (`r.sub` is `alice`, `r.owner` is `bob`)",
        )
    ]
    assert len(misses) == NEAR_MISSES
    joe = yaml_bundle().explain(ask("joe", "folder", "update", company="acme", owner="ann"))
    assert joe.near_misses[0].sentence == "`r.sub == r.owner` does not hold (`r.sub` is `joe`, `r.owner` is `ann`)"
    assert joe.near_misses[0].rule.span.line == 6


# Agreement with deciding


@given(st.data(), systems())
def test_explanations_agree_with_decisions(data: st.DataObject, system: tuple[str, str, dict[str, str]]) -> None:
    """An explanation has the decision itself, the rule exactly where one decided, and a path from subject to role."""
    model_text, policy, matching = system
    ours = decider(model_text, policy, matching)
    for request in data.draw(st.lists(requests(model_text, policy), min_size=4, max_size=8)):
        explanation = ours.explain(request)
        decision = explanation.decision
        assert decision == ours.decide(request)
        if decision.rule < 0:
            assert explanation.rule is None
            assert explanation.role_path == ()
            assert not decision.allowed or decision.reason is Reason.ALLOWED_WITHOUT_RULE
        else:
            assert explanation.rule == ours.snapshot.rules[""].rule(decision.rule)
            if explanation.role_path:
                fields = ours.snapshot.model.sections[""].fields
                assert explanation.role_path[0] == request.subject
                assert explanation.role_path[-1] == explanation.rule.values[fields.index("sub")]
                assert set(explanation.role_path[1:]) <= set(explanation.roles)
        assert not explanation.near_misses or decision.rule < 0
        assert not explanation.near_misses or not decision.allowed
        assert list(explanation.roles) == sorted(set(explanation.roles) - {request.subject})


@given(st.data(), systems())
def test_a_near_miss_misses_by_its_field_alone(data: st.DataObject, system: tuple[str, str, dict[str, str]]) -> None:
    """A rule that is told as a near miss does not allow by itself, and does once its field says what was asked."""
    model_text, policy, matching = system
    ours = decider(model_text, policy, matching)
    section = ours.snapshot.model.sections[""]
    links = [row for row in policy.splitlines() if not row.startswith("p,")]
    for request in data.draw(st.lists(requests(model_text, policy), min_size=4, max_size=8)):
        misses = ours.explain(request).near_misses
        assert len(misses) <= NEAR_MISSES
        assert len({miss.rule.span for miss in misses}) == len(misses)
        for miss in misses:
            alone = decider(model_text, "\n".join([str(miss.rule), *links]), matching)
            assert not alone.decide(request).allowed
            read_once = len(re.findall(rf"\bp\.{miss.field}\b", section.matcher_text)) == 1
            # A value that is a pattern need not match itself.
            plain = re.fullmatch(r"[a-z0-9/]+", miss.got)
            if miss.field not in section.fields or not plain or not read_once:
                continue
            values = [
                miss.got if field == miss.field else value
                for field, value in zip(section.fields, miss.rule.values, strict=True)
            ]
            mended = decider(model_text, "\n".join([f"p, {', '.join(values)}", *links]), matching)
            assert mended.decide(request).allowed, miss
