"""Roles of an identity in a directory are links of a plain Casbin model's `g`."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz_sidecar.decide import Decider
from authz_sidecar.values import Reason, Request, build_request
from authz_sidecar.values.filter import FilterRequest, build_filter_request
from authz_sidecar.values.identity import Identity, IdentityKind, RoleSet, TimedRole
from tests.decide.casbin_judge import Raised, decider, enforcer, judge
from tests.decide.test_against_pycasbin import requests as plain_requests
from tests.decide.test_against_pycasbin import systems
from tests.decide.test_filter_against_check import (
    COMPANIES,
    IDS,
    PLACES,
    ROLES,
    SUBJECTS,
    agree,
    objects,
    wide_systems,
)

TIME = 1.7e9
# Windows of links at that time; an end in 2021 is past.
ENDS = {"_": float("inf"), "2021-01-01 00:00:00": 1_609_459_200.0}
BEGINS = 1_577_836_800.0


def moved(policy: str, subject: str, *, domains: bool, conditional: bool) -> tuple[str, Identity]:
    """The policy without the links of one subject, and the identity that has them instead: for a time where they are
    conditional. Links in the domain "" stay, as no company is called so, and the first of a role stays where nothing
    else would name the role."""
    kept, held = [], []
    for text in policy.splitlines():
        row = text.split(", ")
        company = row[3] if domains and row[0] == "g" else ""
        if row[:2] == ["g", subject] and (company or not domains):
            held.append((row[2], company, row[-1] if conditional else "_"))
        else:
            kept.append(text)
    # A role that nothing names any more would not be one of the bundle's: bystanders keep it.
    kept += [
        ", ".join(("g", f"bystander-{number}", role, *((company,) if domains else ()), *_times(conditional)))
        for number, (role, company, _) in enumerate(held)
    ]
    by_company: dict[str, tuple[str, ...]] = {}
    for role, company, end in held:
        if end == "_" and not conditional:
            by_company[company] = (*by_company.get(company, ()), role)
    timed = [TimedRole(role, company, ENDS[end], BEGINS) for role, company, end in held if conditional]
    return "\n".join(kept), Identity(subject, IdentityKind.USER, roles=RoleSet(by_company), timed=tuple(timed))


def with_links(data: st.DataObject, policy: str, subject: str, *, conditional: bool) -> str:
    """The policy with links from a subject to roles that rules are for."""
    rows = [row.split(", ") for row in policy.splitlines()]
    at = 2 if any(row[0] == "p" and row[1].isdigit() for row in rows) else 1
    named = sorted({row[at] for row in rows if row[0] == "p"}.intersection(ROLES))
    known = {tuple(row[1:4]) for row in rows if row[0] == "g"}
    for role in data.draw(st.lists(st.sampled_from(named or ROLES), min_size=1, max_size=2, unique=True)):
        company = data.draw(st.sampled_from(PLACES[:-1]))
        times = ("2020-01-01 00:00:00", data.draw(st.sampled_from(tuple(ENDS)))) if conditional else ()
        if (subject, role, company) not in known:
            policy += "\n" + ", ".join(("g", subject, role, company, *times))
    return policy


def _times(conditional: bool) -> tuple[str, ...]:
    return ("_", "_") if conditional else ()


def same(ours: Decider, theirs: Decider, identity: Identity, request: Request, told: object) -> None:
    """Assert that a request is decided alike with the identity's facts and with its links in the policy."""
    asked = replace(request, identity=identity)
    found, expected = ours.decide(asked), theirs.decide(request)
    assert found.allowed == expected.allowed, (told, request, found, expected)
    if expected.reason is Reason.UNKNOWN_SUBJECT:
        assert found.reason in (Reason.NO_ROLE_IN_COMPANY, Reason.NO_MATCHING_RULE)
    else:
        assert found.reason is expected.reason, (told, request, found, expected)
    assert ours.roles(asked) == theirs.roles(request)
    assert (ours.explain(asked).rule is None) == (theirs.explain(request).rule is None)


@settings(max_examples=settings().max_examples // 2)
@given(st.data(), systems())
def test_links_of_the_directory_decide_as_links_of_the_policy(
    data: st.DataObject, system: tuple[str, str, dict[str, str]]
) -> None:
    """In a random plain model an identity that holds its roles in the directory is decided as one whose links stand in
    the policy, by us and by pycasbin."""
    model, policy, matching = system
    domains = "g = _, _, _" in model
    near = [data.draw(plain_requests(model, policy)) for _ in range(5)]
    linked = [row.split(", ")[1] for row in policy.splitlines() if row.startswith("g, ")]
    subject = data.draw(st.sampled_from(linked or ["alice"]))
    rest, identity = moved(policy, subject, domains=domains, conditional=False)
    ours, theirs, judged = decider(model, rest, matching), decider(model, policy, matching), None
    for request in near:
        asked = replace(request, subject=subject)
        same(ours, theirs, identity, asked, (model, policy, matching))
        judged = judged or enforcer(model, policy, matching)
        try:
            expected = judge(judged, asked)
        except Raised:
            continue
        assert ours.decide(replace(asked, identity=identity)).allowed == expected


@settings(max_examples=settings().max_examples * 3 // 4)
@given(st.data(), wide_systems())
def test_links_of_the_directory_follow_patterns_and_times(
    data: st.DataObject, system: tuple[str, str, dict[str, Any]]
) -> None:
    """With patterns among names, roles and domains, with times and with roles of the object's owner, the directory's
    links count as the policy's do, in checks and in filters."""
    model, policy, matching = system
    # Nearness of subjects is that of the policy's own links.
    assume("subjectPriority" not in model)
    subject = data.draw(st.sampled_from(("bob", "carol")))
    conditional = "(_, _)" in model
    policy = with_links(data, policy, subject, conditional=conditional)
    rest, identity = moved(policy, subject, domains=True, conditional=conditional)
    ours, theirs = decider(model, rest, **matching), decider(model, policy, **matching)
    company = data.draw(st.sampled_from((None, *COMPANIES)))
    question, violations = build_filter_request(
        subject,
        data.draw(st.sampled_from(("read", "write"))),
        "doc",
        company=company,
        context={"mfa": data.draw(st.sampled_from((True, False, {"deep": True})))},
        subject_attributes={"friends": ["alice", "acme"]},
        time=TIME,
    )
    assert question is not None, violations
    checks = list(objects(question, COMPANIES, IDS[:3], (*SUBJECTS, "")))
    for request in checks[:: max(1, len(checks) // 12)]:
        same(ours, theirs, identity, request, (model, policy, matching, identity))
    asked = FilterRequest(replace(question.request, identity=identity), question.narrowed)
    agree(ours, asked, iter([replace(check, identity=identity) for check in checks]), (model, policy, matching))


def test_roles_lead_to_others_in_the_domains_of_their_links_alone() -> None:
    """What a role leads to in one domain it does not lead to in another, also where it stands on no link's right side
    and whichever domain is asked for first."""
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
    rows = ["p, editor, one, data, write", "g, editor, viewer, one"]
    rows += [f"p, viewer, {domain}, data, read" for domain in ("one", "two", "three")]
    domains = ("one", "two", "three")
    ann = Identity("ann", IdentityKind.USER, roles=RoleSet(dict.fromkeys(domains, ("editor",))))
    for order in (domains, domains[::-1]):
        ours = decider(model, "\n".join(rows))
        for domain in order:
            request, _ = build_request("ann", "read", type="data", company=domain, identity=ann)
            assert request is not None
            assert ours.decide(request).allowed == (domain == "one"), (order, domain)
            assert ours.explain(request).decision == ours.decide(request)
