"""Who may act for whom: a service account for a user, where a rule names it, and never beyond what the user may."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz_sidecar.decide import Decider
from authz_sidecar.decide.impersonation import decide_for, filter_for
from authz_sidecar.values import Reason, Request, build_request
from authz_sidecar.values.filter import FilterRequest, build_filter_request
from authz_sidecar.values.identity import Identity, IdentityKind, OwnRule, RoleSet
from tests.decide.casbin_judge import decider as plain_decider
from tests.decide.directory_worlds import SUBJECT, World, compiled, definitions_of, worlds
from tests.decide.test_directory_facts import objects

USER = Identity("ann", IdentityKind.USER, roles=RoleSet({"acme": ("CLERK",)}))
SHARE = (
    OwnRule("acme", "case", "7", "read", "company", True, source="share:1"),
    OwnRule("acme", "case", "7", "impersonate", "company", True, source="share:1"),
)
CALLER = Identity("robot", IdentityKind.SERVICE_ACCOUNT, rules=SHARE)
REFUSED = Reason.IMPERSONATION_NOT_ALLOWED
GRANT = {"object": "case", "actions": ["read", "update"]}
BUNDLE: dict[str, Any] = {
    "roles": {
        "CLERK": {"assigned": "company", "grants": [GRANT]},
        "BOSS": {"assigned": "platform", "grants": [GRANT]},
        "HELPER": {"assigned": "platform", "grants": [GRANT]},
        "AGENT": {"assigned": "company", "grants": [{"object": "case", "actions": ["impersonate"]}]},
        "EVERYTHING": {"assigned": "platform", "grants": [{"object": "*", "actions": ["*"]}]},
        "NOTHING": {
            "assigned": "company",
            "grants": [{"object": "case", "actions": ["*"], "id": "7", "effect": "deny"}],
        },
    },
    "assignments": [{"subject": "carl", "roles": ["BOSS"]}],
}


@pytest.fixture(scope="module")
def decider() -> Decider:
    """A bundle whose platform role HELPER may be impersonated, and BOSS may not."""
    return definitions_of(BUNDLE, actions=("read", "update", "impersonate"), impersonated=("HELPER",))


def asked(user: Identity | None = USER, id: str = "7", action: str = "read", **more: Any) -> Request:
    """A request on a case of acme by a user whom the directory knows."""
    subject = "ann" if user is None else user.id
    request, violations = build_request(subject, action, type="case", id=id, company="acme", **more)
    assert request is not None, violations
    return replace(request, identity=user)


def test_a_share_with_impersonation_lets_a_service_account_act(decider: Decider) -> None:
    """Where a share says so, the user's own decision is given; on other objects the service account may not act."""
    decision = decide_for(decider, asked(), CALLER)
    assert decision.allowed
    assert decision == decider.decide(asked())
    assert decide_for(decider, asked(id="8"), CALLER).reason is REFUSED
    assert decide_for(decider, asked(action="delete"), CALLER) == decider.decide(asked(action="delete"))


def with_roles(identity: Identity, company: str, *roles: str) -> Identity:
    """The identity with these roles and no others."""
    return replace(identity, roles=RoleSet({company: roles}))


@pytest.mark.parametrize(
    ("caller", "user", "reason"),
    [
        (replace(CALLER, active=False), USER, Reason.INACTIVE_SUBJECT),
        (CALLER, replace(USER, active=False), Reason.INACTIVE_SUBJECT),
        (replace(CALLER, rules=()), replace(USER, active=False), REFUSED),
        (replace(CALLER, kind=IdentityKind.USER), USER, REFUSED),
        (CALLER, None, REFUSED),
        (CALLER, replace(CALLER, id="other"), REFUSED),
        (CALLER, CALLER, REFUSED),
        (replace(CALLER, rules=SHARE[:1]), USER, REFUSED),
        (with_roles(replace(CALLER, rules=()), "", "EVERYTHING"), USER, REFUSED),
        (with_roles(replace(CALLER, rules=()), "acme", "AGENT"), USER, Reason.ALLOWED_BY_RULE),
        (with_roles(replace(CALLER, rules=()), "globex", "AGENT"), USER, REFUSED),
        (with_roles(CALLER, "", "EVERYTHING"), USER, Reason.ALLOWED_BY_RULE),
        (with_roles(CALLER, "acme", "NOTHING"), USER, REFUSED),
        (replace(CALLER, rules=(OwnRule("acme", "case", "7", "*", "company", True),)), USER, REFUSED),
        (replace(CALLER, rules=(replace(SHARE[1], ends=0.0),)), USER, REFUSED),
        (CALLER, with_roles(USER, "", "BOSS"), REFUSED),
        (CALLER, with_roles(USER, "", "HELPER"), Reason.ALLOWED_BY_RULE),
        (CALLER, with_roles(USER, "", "HELPER", "BOSS"), REFUSED),
        (CALLER, Identity("carl", IdentityKind.USER), REFUSED),
        (CALLER, with_roles(USER, "globex", "CLERK"), Reason.NO_ROLE_IN_COMPANY),
    ],
)
def test_who_may_act_for_whom(decider: Decider, caller: Identity, user: Identity | None, reason: Reason) -> None:
    """Only an active service account, by a rule that names the action and that no deny overrides, and for an active
    user without platform roles but those that are listed, be they held in the directory or in the bundle."""
    decision = decide_for(decider, asked(user), caller)
    assert decision.reason is reason
    assert decision.allowed == (reason is Reason.ALLOWED_BY_RULE)


def test_what_is_said_of_the_user_is_not_said_of_the_caller() -> None:
    """Attributes that a request gives its subject are the user's: they open nothing to the service account."""
    made = definitions_of(BUNDLE, actions=("read", "update", "impersonate"), extended=True)
    caller = replace(CALLER, rules=(replace(SHARE[1], when='r.sub.team == "red"'),))
    assert decide_for(made, asked(subject_attributes={"team": "red"}), caller).reason is REFUSED
    red = replace(caller, attributes={"team": "red"})
    assert decide_for(made, asked(subject_attributes={"team": "blue"}), red).allowed


def test_a_plain_model_names_the_action_too() -> None:
    """In a plain bundle a rule that says `impersonate` where the matcher compares the action lets its holders act; one
    that says `*` does not, and an identity's own rules do not exist."""
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
    m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && keyMatch(r.obj, p.obj) && (p.act == "*" || r.act == p.act)
    """
    policy = "p, agent, acme, case:*, impersonate\np, all, acme, *, *\np, CLERK, acme, case:*, read"
    made = plain_decider(model, policy)
    assert decide_for(made, asked(), with_roles(replace(CALLER, rules=()), "acme", "agent")).allowed
    assert decide_for(made, asked(), with_roles(replace(CALLER, rules=()), "acme", "all")).reason is REFUSED
    assert decide_for(made, asked(), CALLER).reason is REFUSED


@settings(max_examples=settings().max_examples // 3)
@given(
    worlds(),
    st.lists(
        st.builds(
            OwnRule,
            st.sampled_from(("acme", "globex", "*")),
            st.sampled_from(("folder", "report", "*")),
            st.sampled_from(("1", "2024-*", "*")),
            st.sampled_from(("impersonate", "impersonate", "*", "read")),
            st.sampled_from(("company", "own")),
            st.sampled_from((True, True, True, False)),
        ),
        max_size=4,
    ),
    st.sampled_from((None, "acme", "")),
    st.sampled_from(("read", "decide")),
    st.booleans(),
)
def test_impersonation_never_widens(
    world: World, rules: list[OwnRule], company: str | None, action: str, listed: bool
) -> None:
    """Whatever a service account may do for a user the user may do, and a rule of its own names the action there; a
    filter on behalf of the user agrees with the check of every object."""
    facts = world.decider.snapshot.directory_rules
    names = frozenset(facts.roles) if listed else frozenset()
    made = compiled(world.decider, replace(facts, impersonated_platform_roles=names))
    caller = Identity("robot", IdentityKind.SERVICE_ACCOUNT, rules=tuple(rules))
    question, violations = build_filter_request(SUBJECT, action, "folder", company=company, time=1_000.0)
    assert question is not None, violations
    question = FilterRequest(replace(question.request, identity=world.identity), question.narrowed)
    found = filter_for(made, question, caller)
    for request in objects(question):
        decision = decide_for(made, request, caller)
        passes = found.passes(request.company, request.id, request.owner)
        assert passes == decision.allowed if found.exact else passes or not decision.allowed, (world, rules, request)
        if decision.allowed:
            assert made.decide(request).allowed
            assert any(rule.allow and rule.action == "impersonate" for rule in rules)
            assert listed or not made.platform_roles(world.identity, request.time)
