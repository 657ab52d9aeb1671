"""Role graphs decide as pycasbin's role managers do: hierarchies, patterns, conditions, subject priority."""

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.values import Request, build_request
from tests.decide.casbin_judge import decider, enforcer, judge

NAMES = ("alice", "bob", "team", "group", "admin", "owner")
MODEL = """
[request_definition]
r = sub, {dom}obj, act
[policy_definition]
p = sub, {dom}obj, act, eft
[role_definition]
g = {g}
[policy_effect]
e = {effect}
[matchers]
m = g(r.sub, p.sub{r_dom}) && {dom_match}r.obj == p.obj && r.act == p.act
"""
ALLOW = "some(where (p.eft == allow))"
PATHS = ("/team/1", "/team/1/lead", "/team/2", "/org/1", "guest")
PATTERNS = {
    "keyMatch": ("/team/*", "/*", "/team/1", "guest"),
    "keyMatch2": ("/team/:id", "/:kind/:id", "/team/1", "/team/:id/lead", "guest"),
    "keyMatch3": ("/team/{id}", "/{kind}/{id}", "/team/1", "guest"),
    "regexMatch": ("/team/[0-9]$", "/(team|org)/.*", "guest"),
}
DOMAINS = ("/eu/1", "/eu/2", "/us/1")


def model(*, domains: bool, effect: str = ALLOW, parameters: str = "") -> str:
    """The model text of one family."""
    return MODEL.format(
        dom="dom, " if domains else "",
        r_dom=", r.dom" if domains else "",
        dom_match="r.dom == p.dom && " if domains else "",
        g=("_, _, _" if domains else "_, _") + parameters,
        effect=effect,
    )


def ask(subject: str, company: str = "") -> Request:
    """A request to read the one object."""
    request, violations = build_request(subject, "read", type="data", company=company, time=time.time())
    assert request is not None, violations
    return request


downward = st.lists(st.sampled_from(list(itertools.combinations(range(6), 2))), max_size=9, unique=True)


@given(downward, st.sampled_from(NAMES), st.lists(st.sampled_from(DOMAINS), min_size=9, max_size=9))
def test_hierarchies_hold_within_their_domain(links: list[tuple[int, int]], granted: str, domains: list[str]) -> None:
    """A role is inherited along the links of the request's domain and no other."""
    text = model(domains=True)
    rows = [f"p, {granted}, {domain}, data, read, allow" for domain in DOMAINS[:2]]
    rows += [f"g, {NAMES[low]}, {NAMES[high]}, {domain}" for (low, high), domain in zip(links, domains, strict=False)]
    policy = "\n".join(rows)
    ours, theirs = decider(text, policy), enforcer(text, policy)
    for subject in NAMES:
        for company in (*DOMAINS, "/nowhere"):
            assert ours.decide(ask(subject, company)).allowed == judge(theirs, ask(subject, company))


@given(st.data(), st.sampled_from(tuple(PATTERNS)), st.sampled_from(("reader", "/team/1", "/team/2", "guest")))
def test_member_patterns_cover_the_names_they_match(data: st.DataObject, function: str, granted: str) -> None:
    """A link whose member is a pattern holds for every name that the declared function matches."""
    # A name is a regular expression too, and without an end it would match longer names.
    names = [f"{path}$" for path in PATHS] if function == "regexMatch" else PATHS
    members = st.sampled_from((*names, *PATTERNS[function]))
    links = [
        *data.draw(st.lists(st.tuples(members, st.sampled_from(("reader", "writer"))), max_size=4)),
        *data.draw(st.lists(st.just(("reader", "writer")), max_size=1)),
    ]
    text = model(domains=False)
    policy = "\n".join([f"p, {granted}, data, read, allow", *[f"g, {low}, {high}" for low, high in links]])
    ours = decider(text, policy, {"g": function})
    for subject in (*PATHS, "reader", "writer"):
        expected = judge(enforcer(text, policy, {"g": function}), ask(subject))
        assert ours.decide(ask(subject)).allowed == expected, (policy, function, subject)


def test_a_role_pattern_covers_rules_for_the_names_it_matches() -> None:
    """Who holds a role that is a pattern is granted what any name that the pattern matches is granted."""
    text = model(domains=False)
    policy = "p, /team/1, data, read, allow\ng, alice, /team/*"
    ours = decider(text, policy, {"g": "keyMatch"})
    assert ours.decide(ask("alice")).allowed
    assert judge(enforcer(text, policy, {"g": "keyMatch"}), ask("alice"))
    assert not ours.decide(ask("bob")).allowed
    elsewhere = decider(text, policy.replace("/team/1", "/org/1"), {"g": "keyMatch"})
    assert not elsewhere.decide(ask("alice")).allowed


@given(st.data(), st.sampled_from(tuple(PATTERNS)))
def test_domain_patterns_cover_the_domains_they_match(data: st.DataObject, function: str) -> None:
    """A link in a domain pattern holds in every domain that the declared function matches."""
    patterns = ("/eu/*", "/*", "/eu/:id", "/eu/{id}", "/eu/[0-9]", "/eu/1") if function != "regexMatch" else ("/eu/.",)
    rows = [f"p, admin, {domain}, data, read, allow" for domain in DOMAINS]
    link = st.tuples(st.sampled_from(("alice", "bob")), st.sampled_from(("team", "admin")), st.sampled_from(patterns))
    rows += [", ".join(("g", *row)) for row in data.draw(st.lists(link, max_size=4))]
    rows += [f"g, team, admin, {data.draw(st.sampled_from((*DOMAINS, *patterns)))}"]
    text, policy = model(domains=True), "\n".join(rows)
    ours = decider(text, policy, None, {"g": function})
    theirs = enforcer(text, policy, None, {"g": function})
    for subject in ("alice", "bob", "team"):
        for company in (*DOMAINS, "/eu/1/2"):
            assert ours.decide(ask(subject, company)).allowed == judge(theirs, ask(subject, company)), (
                policy,
                function,
            )


TIMES = ("_", "2001-01-01 00:00:00", "9999-01-01 00:00:00")


@given(downward, st.data(), st.booleans())
def test_conditional_links_hold_within_their_time(
    links: list[tuple[int, int]], data: st.DataObject, domains: bool
) -> None:
    """A link with a time window counts only while the request's time lies inside it."""
    text = model(domains=domains, parameters=", (_, _)")
    domain = ", /eu/1" if domains else ""
    rows = [f"p, admin{domain}, data, read, allow"]
    for low, high in links:
        window = f"{data.draw(st.sampled_from(TIMES))}, {data.draw(st.sampled_from(TIMES))}"
        rows.append(f"g, {NAMES[low]}, {NAMES[high]}{domain}, {window}")
    policy = "\n".join(rows)
    ours, theirs = decider(text, policy, link_conditions={"g": "timeMatch"}), enforcer(text, policy)
    from casbin.util.builtin_operators import time_match_func

    for low, high in links:
        if domains:
            theirs.add_named_domain_link_condition_func("g", NAMES[low], NAMES[high], "/eu/1", time_match_func)
        else:
            theirs.add_named_link_condition_func("g", NAMES[low], NAMES[high], time_match_func)
    for subject in NAMES:
        request = ask(subject, "/eu/1" if domains else "")
        assert ours.decide(request).allowed == judge(theirs, request), policy


@given(downward, st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_subject_priority_prefers_the_nearest_subject(
    links: list[tuple[int, int]], rules: list[tuple[str, bool]], domains: bool
) -> None:
    """Under `subjectPriority` the rule of the lowest subject in the hierarchy decides."""
    text = model(domains=domains, effect="subjectPriority(p.eft) || deny")
    domain = ", /eu/1" if domains else ""
    rows = [f"p, {name}{domain}, data, read, {'allow' if allowed else 'deny'}" for name, allowed in rules]
    rows += [f"g, {NAMES[low]}, {NAMES[high]}{domain}" for low, high in links]
    policy = "\n".join(rows)
    ours, theirs = decider(text, policy), enforcer(text, policy)
    for subject in NAMES:
        request = ask(subject, "/eu/1" if domains else "")
        assert ours.decide(request).allowed == judge(theirs, request), policy
