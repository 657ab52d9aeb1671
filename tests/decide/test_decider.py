"""The decider: every reason, every effect, numbered sets, hostile requests, deep hierarchies, bounded caches."""

from typing import Any

import msgspec
import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.compiler import compile_bundle, with_searches
from authz_sidecar.compile.names import name_set
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.decide import Decider
from authz_sidecar.decide import roles as roles_module
from authz_sidecar.decide.roles import RoleProbe
from authz_sidecar.model.expression import Token
from authz_sidecar.values import Decision, Reason, Request, Violation, build_request
from authz_sidecar.values.filter import build_filter_request
from tests.decide.casbin_judge import decider

ALLOW = "some(where (p.eft == allow))"
NO_DENY = "!some(where (p.eft == deny))"
BOTH = f"{ALLOW} && {NO_DENY}"
PRIORITY = "priority(p.eft) || deny"
NEAREST = "subjectPriority(p.eft) || deny"


def model(
    matcher: str, *, r: str = "sub, obj, act", p: str = "sub, obj, act", g: str = "g = _, _", e: str = ALLOW
) -> str:
    """A model text; `g` holds whole definitions."""
    return (
        f"[request_definition]\nr = {r}\n[policy_definition]\np = {p}\n[role_definition]\n{g}\n"
        f"[policy_effect]\ne = {e}\n[matchers]\nm = {matcher}\n"
    )


ACL = model("r.sub == p.sub && r.obj == p.obj && r.act == p.act")
RBAC = model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act")
DOMAINS = model("g(r.sub, p.sub, r.dom) && r.obj == p.obj && r.act == p.act", r="sub, dom, obj, act", g="g = _, _, _")
WITH_EFFECT = "sub, obj, act, eft"


def ask(subject: str = "alice", name: str = "data", action: str = "read", **more: Any) -> Request:
    """A request; what else it holds is given by name."""
    request, violations = build_request(subject, action, type=name, **more)
    assert request is not None, violations
    return request


# Reasons


def test_allowed_by_rule() -> None:
    """A decision that allows names the row of the first rule that matches."""
    ours = decider(ACL, "p, bob, data, read\np, alice, data, read\np, alice, data, read")
    assert ours.decide(ask()) == Decision(True, Reason.ALLOWED_BY_RULE, 1)


def test_denied_by_rule() -> None:
    """A decision that a rule made by denying names that rule."""
    text = model("r.sub == p.sub && r.obj == p.obj && r.act == p.act", p=WITH_EFFECT, e=BOTH)
    ours = decider(text, "p, alice, data, read, allow\np, alice, data, read, deny")
    assert ours.decide(ask()) == Decision(False, Reason.DENIED_BY_RULE, 1)


@pytest.mark.parametrize(
    ("text", "policy", "subject"),
    [
        (ACL, "p, alice, other, read", "alice"),
        (RBAC, "p, admin, other, read\ng, alice, admin", "alice"),
        # Named by a rule, or holding a role that no rule is about, is known.
        (RBAC, "p, alice, other, read", "alice"),
        (RBAC, "p, admin, other, read\ng, alice, stranger", "alice"),
        # Where links have no domain, there is no company to have no role in.
        (RBAC, "p, admin, other, read\ng, alice, admin", "admin"),
        # A matcher that does not ask who it is, or asks by pattern, knows nobody.
        (model("r.obj == p.obj"), "p, alice, other, read", "nobody"),
        (model("keyMatch(r.sub, p.sub) && r.obj == p.obj"), "p, alice, other, read", "nobody"),
        (model('r.sub == p.sub || r.act == "list"'), "p, alice, other, read", "nobody"),
    ],
)
def test_no_matching_rule(text: str, policy: str, subject: str) -> None:
    """Who is known and has no rule for what is asked is denied for that."""
    assert decider(text, policy).decide(ask(subject)) == Decision(False, Reason.NO_MATCHING_RULE)


def test_no_role_in_company() -> None:
    """Who holds roles in other companies only is told apart from who holds none."""
    ours = decider(DOMAINS, "p, admin, data, read\ng, alice, admin, acme")
    assert ours.decide(ask(company="acme")).allowed
    for company in ("globex", "", "nowhere"):
        assert ours.decide(ask(company=company)) == Decision(False, Reason.NO_ROLE_IN_COMPANY)
    assert ours.decide(ask("admin", company="globex")).allowed  # a name holds itself everywhere


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (ACL, "p, alice, data, read"),
        (RBAC, "p, admin, data, read\ng, alice, admin"),
        (DOMAINS, "p, admin, data, read\ng, alice, admin, acme"),
        (model('(p.sub == "*" || g(r.sub, p.sub)) && r.obj == p.obj'), "p, *, other, read"),
        # Objects that are known do not make a subject known.
        (
            model("r.sub == p.sub && g2(r.obj, p.obj)", g="g = _, _\ng2 = _, _"),
            "p, alice, books, read\ng2, data, books",
        ),
        (model("r.sub == p.sub && keyMatch(r.obj, p.obj)"), "p, alice, *, read"),
        (model("r.sub == p.sub && r.obj.level > 3"), "p, alice, *, read"),
    ],
)
def test_unknown_subject(text: str, policy: str) -> None:
    """Whom neither a rule nor a link names is unknown, however the matcher finds its rules."""
    assert decider(text, policy).decide(ask("nobody")) == Decision(False, Reason.UNKNOWN_SUBJECT)


def test_an_unknown_section_is_an_invalid_request() -> None:
    """A request for a set that the model does not have is denied, whatever its values."""
    for text in (ACL, numbered()):
        ours = decider(text, "p, alice, data, read")
        decision = ours.decide(ask(section="7"))
        assert decision == Decision(False, Reason.INVALID_REQUEST, -1, "the model has no section `7`")
        assert ours.explain(ask(section="7")).decision == decision
        assert ours.violations(ask(section="7")) == (Violation("section", "the model has no section `7`"),)


def test_a_token_that_nothing_fills_is_an_invalid_request() -> None:
    """A token of the context that the request lacks is named, and denies even where no rule reads it."""
    ours = decider(model("r.sub == p.sub", r="sub, tier, region"), "p, alice, data, read")
    assert ours.decide(ask(context={"tier": 1, "region": "eu"})).allowed
    decision = ours.decide(ask(context={"tier": 1}))
    unset = "context.{0} is not set; the policy's model reads `r.{0}`"
    assert decision == Decision(False, Reason.INVALID_REQUEST, -1, unset.format("region"))
    assert ours.violations(ask(context={"tier": 1})) == (Violation("context.region", unset.format("region")),)
    assert [violation.field for violation in ours.violations(ask())] == ["context.tier", "context.region"]
    assert ours.violations(ask(context={"tier": None, "region": ""})) == ()


@pytest.mark.parametrize("value", ["role:ADMIN", " eu", "e\nu", "u" * 1025])
def test_a_token_from_the_context_keeps_the_limits_on_values(value: str) -> None:
    """Text that no value of a request may be does not come in through the context either."""
    ours = decider(model("r.sub == p.sub", r="sub, region"), "p, alice, data, read")
    assert ours.decide(ask(context={"region": value})).reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in ours.violations(ask(context={"region": value}))] == ["context.region"]


@pytest.mark.parametrize(
    ("condition", "detail"),
    [
        ("r.sub.age > 18", "the subject has no attribute `age`"),
        ("r.obj.level > 3", "`>` is given text and a number"),
        ("r.obj.level", "`r.obj.level` is text, not a boolean"),
        ("1 / r.obj.none == 1", "`/` fails: division by zero"),
        ("r.act in r.obj.none", "`in` is given a number to look in"),
    ],
)
def test_evaluation_error(condition: str, detail: str) -> None:
    """A condition that cannot be evaluated denies, and says why and which rule it stands in."""
    text = model("r.sub == p.sub && eval(p.rule)", p="sub, rule")
    ours = decider(text, f"# rules\np, bob, True\np, alice, {condition}")
    decision = ours.decide(ask(object_attributes={"level": "high", "none": 0}))
    assert decision == Decision(False, Reason.EVALUATION_ERROR, 1, f"{detail} (the rule at policy.csv:3:1)")


def test_allowed_without_rule() -> None:
    """Only `!some(where (p.eft == deny))` allows without a rule, and not without rules."""
    text = model("r.sub == p.sub && r.obj == p.obj && r.act == p.act", p=WITH_EFFECT, e=NO_DENY)
    ours = decider(text, "p, alice, data, read, deny")
    for subject in ("bob", "nobody"):
        assert ours.decide(ask(subject)) == Decision(True, Reason.ALLOWED_WITHOUT_RULE)
    assert ours.decide(ask()) == Decision(False, Reason.DENIED_BY_RULE, 0)
    assert not decider(text, "# none").decide(ask()).allowed


# Effects

ROWS = {
    "allow": "p, alice, data, read, allow",
    "deny": "p, alice, data, read, deny",
    "other": "p, bob, data, read, allow",
}


@pytest.mark.parametrize(
    ("effect", "rows", "expected"),
    [
        (ALLOW, "allow deny", (True, 0)),
        (ALLOW, "deny allow", (True, 1)),
        (ALLOW, "deny", (False, -1)),
        (ALLOW, "other", (False, -1)),
        (NO_DENY, "allow deny", (False, 1)),
        (NO_DENY, "other allow", (True, 1)),
        (NO_DENY, "other", (True, -1)),
        (BOTH, "allow deny", (False, 1)),
        (BOTH, "other allow", (True, 1)),
        (BOTH, "other", (False, -1)),
        (PRIORITY, "allow deny", (True, 0)),
        (PRIORITY, "deny allow", (False, 0)),
        (PRIORITY, "other deny allow", (False, 1)),
        (PRIORITY, "other", (False, -1)),
        (NEAREST, "allow deny", (True, 0)),
        (NEAREST, "deny allow", (False, 0)),
    ],
)
def test_effects(effect: str, rows: str, expected: tuple[bool, int]) -> None:
    """Each effect decides by its own rule among those that match."""
    text = model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", p=WITH_EFFECT, e=effect)
    decision = decider(text, "\n".join([ROWS[row] for row in rows.split()])).decide(ask())
    assert (decision.allowed, decision.rule) == expected


def test_an_explicit_priority_orders_rules() -> None:
    """The least number counts first, as a number, and among equals the first row."""
    text = model("r.sub == p.sub && r.obj == p.obj", p="priority, sub, obj, act, eft", e=PRIORITY)
    rows = "p, 10, alice, data, read, deny\np, 9, alice, data, read, allow\np, 9, alice, data, read, deny"
    assert decider(text, rows).decide(ask()) == Decision(True, Reason.ALLOWED_BY_RULE, 1)
    first = f"{rows}\np, 0, alice, data, read, deny"
    assert decider(text, first).decide(ask()) == Decision(False, Reason.DENIED_BY_RULE, 3)


def test_the_nearest_subject_counts_first() -> None:
    """Under `subjectPriority` a rule for oneself comes before one for a role, and that before one for its role."""
    text = model("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", p=WITH_EFFECT, e=NEAREST)
    links = "g, alice, editor\ng, editor, admin\ng, bob, admin"
    rows = f"p, admin, data, read, allow\np, editor, data, read, deny\np, alice, data, read, allow\n{links}"
    ours = decider(text, rows)
    assert ours.decide(ask()) == Decision(True, Reason.ALLOWED_BY_RULE, 2)
    assert ours.decide(ask("editor")) == Decision(False, Reason.DENIED_BY_RULE, 1)
    assert ours.decide(ask("bob")) == Decision(True, Reason.ALLOWED_BY_RULE, 0)


# Who holds no role


@pytest.mark.parametrize("effect", [BOTH, NO_DENY])
def test_a_rule_for_anybody_is_also_for_strangers(effect: str) -> None:
    """A deny for `*` denies who holds no role that any rule names, and an allow for `*` allows them."""
    text = model('(p.sub == "*" || g(r.sub, p.sub)) && r.obj == p.obj && r.act == p.act', p=WITH_EFFECT, e=effect)
    ours = decider(text, "p, *, data, read, allow\np, *, safe, read, deny\np, admin, data, read, allow")
    for subject in ("nobody", "admin", "*"):
        assert ours.decide(ask(subject)) == Decision(True, Reason.ALLOWED_BY_RULE, 0)
        assert ours.decide(ask(subject, "safe")) == Decision(False, Reason.DENIED_BY_RULE, 1)


# Numbered sets


def numbered() -> str:
    """A model with a second set that denies by an effect of its own."""
    return (
        "[request_definition]\nr = sub, obj, act\nr2 = sub, act\n[policy_definition]\np = sub, obj, act\n"
        "p2 = sub, act, eft\n[role_definition]\ng = _, _\n[policy_effect]\n"
        f"e = {ALLOW}\ne2 = {NO_DENY.replace('p.', 'p2.')}\n"
        "[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n"
        "m2 = g(r2.sub, p2.sub) && r2.act == p2.act\n"
    )


def test_sets_are_apart() -> None:
    """A set has its own request, rules, effect and rows; roles are everybody's."""
    ours = decider(numbered(), "p, admin, data, read\np2, bob, read, allow\np2, admin, read, deny\ng, alice, admin")
    assert ours.decide(ask()) == Decision(True, Reason.ALLOWED_BY_RULE, 0)
    assert ours.decide(ask(section="2")) == Decision(False, Reason.DENIED_BY_RULE, 1)
    assert ours.decide(ask("bob", section="2")) == Decision(True, Reason.ALLOWED_BY_RULE, 0)
    assert ours.decide(ask("bob")) == Decision(False, Reason.UNKNOWN_SUBJECT)
    assert ours.decide(ask("carol", section="2")) == Decision(True, Reason.ALLOWED_WITHOUT_RULE)
    assert ours.explain(ask("bob", section="2")).rule == ours.snapshot.rules["2"].rule(0)


# Hostile requests

STANDARD = """
p, role:ADMIN, *, *, *, *, platform, allow
p, role:ADMIN, *, analysis, *, decide, platform, deny
p, role:CLIENT, *, folder, *, read, own, allow
p, role:CLIENT, *, company, *, read, company, allow
g, root, role:ADMIN, *
g, alice, role:CLIENT, acme
"""
PATTERNS = model(
    "(keyMatch2(r.sub, p.sub) || g(r.sub, p.sub)) && globMatch(r.obj, p.obj) && regexMatch(r.act, p.act)",
    p=WITH_EFFECT,
    e=BOTH,
)
PATTERN_ROWS = "p, /admin/:id, /data/*, read$, allow\np, staff, /data/[a-c]*, (read|list)$, allow\ng, /staff/*, staff"
HOSTILE = (
    "*",
    "role:ADMIN",
    "role:CLIENT",
    "root\x00",
    "root ",
    "ROOT",
    "root,role:ADMIN",
    "root\n",
    "root::*",
    "r.sub",
    "True",
    '" || True || "',
    "",
    "../root",
    "ｒｏｏｔ",
    "root\u200b",
    "x" * 1_000_000,
    "/" * 100_000,
)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value[:12]))
def test_hostile_values_are_no_more_than_values(value: str) -> None:
    """What a request says is compared as it stands: nothing in it is a wildcard, a pattern or an expression."""
    standard = decider(BASIC, STANDARD.strip())
    patterns = decider(PATTERNS, PATTERN_ROWS)
    base = Request("nobody", "read", "folder", "1", "acme", "nobody", "folder:1")
    for part in ("subject", "action", "type", "id", "company", "owner", "object"):
        request = msgspec.structs.replace(base, **{part: value})
        # A subject is never given a role's name: `build_request` refuses it.
        if part == "subject" and value.startswith("role:"):
            assert build_request(value, "read")[0] is None
            continue
        for ours in (standard, patterns):
            decision = ours.decide(request)
            assert not decision.allowed, part
            assert ours.explain(request).decision == decision
        # In someone's place: the values of who may, but for one.
        allowed = Request("alice", "read", "folder", "1", "acme", "alice", "folder:1")
        assert standard.decide(allowed).allowed
        other = msgspec.structs.replace(allowed, **{part: value})
        if part not in {"id", "object"}:
            assert not standard.decide(other).allowed, part


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ODD = {
    "nothing": None,
    "nested list": nested(15),
    "empty map": {},
    "map": {"a": {"b": [None]}, "": 0},
    "huge number": 10**400,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "minus zero": -0.0,
    "text": "18",
    "long text": "x" * 60_000,
    "boolean": True,
}
CONDITIONS = (
    "r.sub.x > 18 && r.sub.x < 20",
    "r.sub.x + 1.5 == r.obj.x",
    "r.sub.x * r.sub.x < 10 && r.sub.x * r.sub.x > 5",
    "r.sub.x / 3 == 9 || r.sub.x % 0 == 1",
    "-r.sub.x == 18",
    "r.sub.x.y.z == 1",
    "r.sub.x in r.obj.x",
    'r.sub.x in ("a", r.obj.x)',
    'regexMatch(r.sub.x, "[a-c]+$")',
    'ipMatch(r.sub.x, "10.0.0.0/8")',
    'g(r.sub.x, "admin")',
    "r.sub.x == r.obj.x",
    "!(r.sub.x != 19)",
)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("effect", [ALLOW, BOTH])
def test_odd_attributes_never_raise_and_never_allow(condition: str, effect: str) -> None:
    """Attributes of any JSON kind, and beyond, are decided on without an exception, and none of these lets in."""
    text = model("r.sub == p.sub && eval(p.rule)", p="sub, rule, eft", e=effect)
    ours = decider(text, f"p, alice, {condition}, allow")
    for value in ODD.values():
        request = Request("alice", "read", subject_attributes={"x": value}, object_attributes={"x": ["other"]})
        decision = ours.decide(request)
        assert not decision.allowed, value
        assert decision.reason in {Reason.EVALUATION_ERROR, Reason.NO_MATCHING_RULE}
        assert ours.explain(request).decision == decision


# Sizes


@pytest.mark.parametrize("patterns", [False, True])
def test_a_hierarchy_of_thousands_of_links_is_followed(patterns: bool) -> None:
    """A chain of 2,000 roles is held from end to end, in a graph with and without patterns, and explained."""
    links = [f"g, role{number}, role{number + 1}" for number in range(2_000)]
    policy = "\n".join(["p, role2000, data, read", *links, "g, alice, role0"])
    ours = decider(RBAC, policy, {"g": "keyMatch"} if patterns else None)
    assert ours.decide(ask()).allowed
    assert not ours.decide(ask("bob")).allowed
    explanation = ours.explain(ask())
    assert explanation.role_path == ("alice", *[f"role{number}" for number in range(2_001)])
    assert len(explanation.roles) == 2_001


def test_a_probes_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many subjects ask, no more closures are kept than the bound says, and answers stay right."""
    monkeypatch.setattr(roles_module, "MAX_CACHED", 16)
    links = {f"user{number}": ("reader", "writer") for number in range(100)}
    graph = RoleGraph("g", False, {"": {**links, "writer": "admin"}}, name_set(links))
    access = RoleAccess("g", Token("sub"), None, "sub", 0)
    probe = RoleProbe(graph, access, name_set(("reader", "admin")))
    for _ in range(2):
        for number in range(100):
            assert probe.roles(ask(f"user{number}")) == {"reader", "admin"}
            assert probe.roles(ask(f"stranger{number}")) == frozenset()
            assert len(probe._cache) <= 16  # noqa: SLF001 - the bound is what is tested
    assert probe._cache  # noqa: SLF001 - or the bound would be that of an unused cache


def test_time_is_not_cached() -> None:
    """Who holds a role for a time holds it then, also when somebody asked about another time before."""
    text = RBAC.replace("g = _, _", "g = _, _, (_, _)")
    ours = decider(text, "p, admin, data, read\ng, alice, admin, 2001-01-01 00:00:00, 2002-01-01 00:00:00")
    assert [ours.decide(ask(time=time)).allowed for time in (0.0, 1e9, 2e9, 1e9, 0.0)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_conditions_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy with more conditions than are kept as functions decides as with all of them."""
    monkeypatch.setattr("authz_sidecar.decide.branch.MAX_CONDITIONS", 4)
    text = model("r.sub == p.sub && r.obj != p.obj && r.act == p.act")
    ours = decider(text, "\n".join([f"p, user{number}, data{number}, read" for number in range(50)]))
    for _ in range(2):
        for number in range(50):
            assert ours.decide(ask(f"user{number}", "data")).allowed
            assert not ours.decide(ask(f"user{number}", f"data{number}")).allowed


def test_a_decider_reads_a_snapshot_and_changes_nothing() -> None:
    """Two deciders on one snapshot agree, whatever each was asked before."""
    first = decider(RBAC, "p, admin, data, read\ng, alice, admin\ng, admin, root")
    second = Decider(first.snapshot)
    for subject in ("alice", "bob", "admin", "alice"):
        assert first.decide(ask(subject)) == second.decide(ask(subject))
        assert first.explain(ask(subject)) == Decider(first.snapshot).explain(ask(subject))


def test_every_pattern_of_a_rule_counts() -> None:
    """Where two fields are patterns, a rule matches only if both do."""
    text = model("r.sub == p.sub && regexMatch(r.act, p.act) && regexMatch(r.obj, p.obj)")
    ours = decider(text, "p, alice, data[12]$, (read|write)$")
    assert ours.decide(ask(name="data1", action="read")).allowed
    assert not ours.decide(ask(name="data1", action="delete")).allowed
    assert not ours.decide(ask(name="data3", action="read")).allowed


@pytest.mark.parametrize("function", ["regexMatch", "keyMatch2"])
def test_a_pattern_for_one_name_covers_that_name(function: str) -> None:
    """A pattern that only one name matches is a pattern still, as a member and as a role."""
    pattern = {"regexMatch": "^alice$", "keyMatch2": "a[l]ice"}[function]
    member = decider(RBAC, f"p, staff, data, read\ng, {pattern}, staff", {"g": function})
    role = decider(RBAC, f"p, alice, data, read\ng, bob, {pattern}", {"g": function})
    assert member.decide(ask()).allowed
    assert role.decide(ask("bob")).allowed
    for subject in ("alic", "alicee", "carol"):
        assert not member.decide(ask(subject)).allowed
        assert not role.decide(ask(subject)).allowed


@pytest.mark.parametrize(
    ("matcher", "reason"),
    [
        ("r.sub == p.sub && r.sub.age > 18 || r.obj == p.obj", Reason.EVALUATION_ERROR),
        ("r.obj == p.obj || r.sub == p.sub && r.sub.age > 18", Reason.ALLOWED_BY_RULE),
        ("r.obj == p.obj || r.sub == p.sub && r.sub.age > 18 || r.act == p.act", Reason.ALLOWED_BY_RULE),
        ("r.sub == p.obj || r.sub == p.sub && r.sub.age > 18 || r.act == p.act", Reason.EVALUATION_ERROR),
        # Alternatives and conditions of one conjunct: what the rule alone settles may come too late, or be enough.
        ('r.sub == p.sub && (r.sub.age > 18 || p.obj == "data")', Reason.EVALUATION_ERROR),
        ('r.sub == p.sub && (p.obj == "data" || r.sub.age > 18)', Reason.ALLOWED_BY_RULE),
        ('r.sub == p.sub && (r.sub.age > 18 && p.obj == "other" || r.act == "list")', Reason.NO_MATCHING_RULE),
    ],
)
def test_alternatives_are_asked_in_their_order(matcher: str, reason: Reason) -> None:
    """An alternative that fails counts unless one before it holds, whatever those after it say."""
    assert decider(model(matcher), "p, alice, data, read").decide(ask()).reason is reason


@pytest.mark.parametrize(
    ("matcher", "reason"),
    [
        ("r.obj == p.obj || r.sub == p.sub && eval(p.rule) || r.act == p.act", Reason.ALLOWED_BY_RULE),
        ("r.sub == p.sub && eval(p.rule) || r.obj == p.obj || r.act == p.act", Reason.EVALUATION_ERROR),
        ("r.sub == p.obj || r.sub == p.sub && eval(p.rule) || r.act == p.act", Reason.EVALUATION_ERROR),
    ],
)
def test_a_rules_own_condition_is_asked_in_its_place(matcher: str, reason: Reason) -> None:
    """So does the condition that a rule carries, which fails only where no alternative before it holds."""
    text = model(matcher, p="sub, obj, act, rule")
    assert decider(text, "p, alice, data, read, r.sub.age > 18").decide(ask()).reason is reason


def test_the_first_error_is_told() -> None:
    """Of several conditions that fail, the decision names that of the rule which is read first."""
    text = model("r.sub == p.sub && eval(p.rule)", p="sub, rule, eft", e=BOTH)
    ours = decider(text, "p, alice, r.sub.one > 1, allow\np, alice, r.sub.two > 1, allow")
    decision = ours.decide(ask())
    assert decision.rule == 0
    assert decision.detail == "the subject has no attribute `one` (the rule at policy.csv:1:1)"


def test_a_rule_that_denies_counts_beside_an_error() -> None:
    """Where any rule may deny, one that does is the reason, also when a rule before it could not be evaluated."""
    text = model("r.sub == p.sub && eval(p.rule)", p="sub, rule, eft", e=BOTH)
    ours = decider(text, "p, alice, r.sub.one > 1, deny\np, alice, r.sub.two > 1, deny\np, alice, True, allow")
    assert ours.decide(ask(subject_attributes={"two": 2})) == Decision(False, Reason.DENIED_BY_RULE, 1)
    assert ours.decide(ask(subject_attributes={"two": 0})).reason is Reason.EVALUATION_ERROR
    assert ours.decide(ask(subject_attributes={"one": 0, "two": 0})) == Decision(True, Reason.ALLOWED_BY_RULE, 2)


def test_a_snapshot_without_searches_decides_and_does_not_filter() -> None:
    """Without searches every decision is the same, a filter is refused, and searches can be added later."""
    bundle, _ = parse_bundle(
        {"model.conf": RBAC.encode(), "p.csv": b"p, editor, data:1, read\ng, alice, editor\n"}, "x"
    )
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle, searches=False)
    assert snapshot is not None
    asked, _ = build_filter_request("alice", "read", "data")
    assert asked is not None
    bare = Decider(snapshot)
    assert bare.decide(ask(id="1")).allowed
    with pytest.raises(LookupError, match="without searches"):
        bare.filter(asked)
    assert Decider(with_searches(snapshot)).filter(asked).passes("", "1", "")


def test_every_rule_that_matches_is_told() -> None:
    """`matching` has the rules that match in deciding order, the deciding one first; of rules that are alike, one."""
    both = model("g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act", p=WITH_EFFECT, e=BOTH)
    rows = (
        "p, alice, data, read, allow\np, editor, *, read, allow\np, editor, *, read, allow\n"
        "p, bob, data, read, deny\ng, alice, editor"
    )
    ours = decider(both, rows)
    assert ours.matching(ask()) == [0, 1]
    assert ours.matching(ask())[0] == ours.decide(ask()).rule
    assert ours.matching(ask("bob")) == [3]
    assert ours.matching(ask("eve")) == []
    assert ours.roles(ask()) == ("editor",)
