"""One test for each row of "Intended differences" in docs/models.md, with both sides where both can be shown."""

import datetime as dt
import itertools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import casbin
import pytest
from casbin.util.builtin_operators import time_match_func

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.values import Decision, Reason, Request, Severity, build_request
from tests.decide.casbin_judge import Raised, decider, enforcer, judge

ALLOW = "some(where (p.eft == allow))"
NO_DENY = "!some(where (p.eft == deny))"
PLAIN = "r.sub == p.sub && r.obj == p.obj && r.act == p.act"
BY_ROLE = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
RULE = "p, alice, data, read"


def model(
    matcher: str = PLAIN,
    *,
    r: str = "sub, obj, act",
    p: str = "sub, obj, act",
    g: str = "",
    e: str = ALLOW,
) -> str:
    """A model text; `g` holds whole definitions."""
    roles = f"[role_definition]\n{g}\n" if g else ""
    return (
        f"[request_definition]\nr = {r}\n[policy_definition]\np = {p}\n{roles}"
        f"[policy_effect]\ne = {e}\n[matchers]\nm = {matcher}\n"
    )


ROLES = model(BY_ROLE, g="g = _, _")


def ask(subject: str = "alice", name: str = "data", action: str = "read", **more: Any) -> Request:
    """A request; what else it holds is given by name."""
    request, violations = build_request(subject, action, type=name, **more)
    assert request is not None, violations
    return request


def theirs(made: casbin.Enforcer, request: Request) -> bool | str:
    """What pycasbin decides, or `raises`."""
    try:
        return judge(made, request)
    except Raised:
        return "raises"


def in_casbin(text: str, policy: str = RULE, request: Request | None = None) -> bool | str:
    """What pycasbin makes of a model, a policy and a request, or `raises`, be it at load or at the request."""
    try:
        made = enforcer(text, policy)
    except Exception:  # noqa: BLE001 - whatever it raises, it does not load
        return "raises"
    return theirs(made, request or ask())


def ours(text: str, policy: str = RULE, request: Request | None = None) -> Decision:
    """What we decide."""
    return decider(text, policy).decide(request or ask())


def findings(text: str, policy: str = RULE, manifest: str = "") -> set[tuple[str, Severity]]:
    """Codes and severities of what loading finds wrong."""
    files = {"model.conf": text.encode(), "policy.csv": policy.encode()}
    if manifest:
        files["manifest.yaml"] = f"name: judged\nschema_version: 1\ncasbin:\n  {manifest}\n".encode()
    bundle, found = parse_bundle(files, "judged")
    if bundle is not None:
        found = [*found, *compile_bundle(bundle)[1]]
    return {(finding.code, finding.severity) for finding in found}


def refused(text: str, policy: str = RULE, manifest: str = "") -> set[str]:
    """The codes of the errors that loading ends with."""
    return {code for code, severity in findings(text, policy, manifest) if severity is Severity.ERROR}


# Policies


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("g, alice, admin, surplus", True),
        ("g, alice", "raises"),
        ("g, alice, admin\np, admin, data", "raises"),
        ("g, alice, admin\np, admin, data, read, surplus", "raises"),
    ],
)
def test_row_width(row: str, says: bool | str) -> None:
    """A long role row is cut by pycasbin and other wrong rows fail in it; here each is an error at load."""
    policy = row if "p," in row else f"{row}\np, admin, data, read"
    assert in_casbin(ROLES, policy) == says
    assert refused(ROLES, policy) == {"rule-width"}


def test_unknown_effect() -> None:
    """An effect that is neither `allow` nor `deny` does nothing in pycasbin and is an error here."""
    text = model(p="sub, obj, act, eft", e=NO_DENY)
    policy = "p, alice, data, read, denied"
    assert in_casbin(text, policy) is True
    assert refused(text, policy) == {"rule-effect"}


def test_unknown_ptype() -> None:
    """A row of an undefined ptype is skipped by pycasbin, one without a ptype fails in it; both are errors here."""
    assert in_casbin(model(), f"{RULE}\np7, bob, data, read") is True
    assert in_casbin(model(), f"{RULE}\n, bob, data, read") == "raises"
    for row in ("p7, bob, data, read", ", bob, data, read"):
        assert refused(model(), f"{RULE}\n{row}") == {"rule-ptype"}


def test_plain_values() -> None:
    """Quotes belong to a value in both and are reported here; unbalanced brackets and control characters are
    errors here."""
    quoted = 'p, "alice", data, read'
    assert in_casbin(model(), quoted) is False
    assert not ours(model(), quoted).allowed
    assert findings(model(), quoted) == {("rule-quotes", Severity.WARNING)}
    assert in_casbin(model(), quoted, ask('"alice"')) is True
    assert ours(model(), quoted, ask('"alice"')).allowed
    nested = "p, alice, f(a, b), read"
    assert in_casbin(model(), nested, ask(name="f(a, b)")) is True
    assert ours(model(), nested, ask(name="f(a, b)")).allowed
    for unbalanced in ("p, alice, data), read", "p, alice, (data, read"):
        assert in_casbin(model(), unbalanced) == "raises"
        assert refused(model(), unbalanced) == {"rule-brackets"}
    # A bracket is closed by a bracket of the other kind in pycasbin, and so here.
    assert in_casbin(model(), "p, alice, (data], read", ask(name="(data]")) is True
    assert ours(model(), "p, alice, (data], read", ask(name="(data]")).allowed
    tabbed = "p, alice, da\tta, read"
    assert in_casbin(model(), tabbed) is False
    assert refused(model(), tabbed) == {"rule-value"}


def test_priority_number() -> None:
    """Priorities are numbers or texts to pycasbin, which fails on a mixture; here they are whole numbers."""
    text = model(p="priority, sub, obj, act, eft", e="priority(p.eft) || deny")
    numbers = "p, 10, alice, data, read, deny\np, 9, alice, data, read, allow"
    assert in_casbin(text, numbers) is True
    assert ours(text, numbers).allowed
    texts = numbers.replace("10", "late").replace("9", "early")
    assert in_casbin(text, texts) is True
    mixed = numbers.replace("10", "late")
    assert in_casbin(text, mixed) == "raises"
    negative = numbers.replace("9", "-9").replace("10", "-10")
    assert in_casbin(text, negative) is False
    for policy in (texts, mixed, negative):
        assert refused(text, policy) == {"rule-priority"}


@pytest.mark.parametrize("effect", [ALLOW, NO_DENY, f"{ALLOW} && {NO_DENY}", "priority(p.eft) || deny"])
def test_empty_policy(effect: str) -> None:
    """Without rules pycasbin asks the matcher about empty fields, and fails with `eval`; here all is denied."""
    empty = "# no rules"
    anyone = model('r.sub == "alice"', e=effect)
    assert in_casbin(anyone, empty) is True
    assert ours(anyone, empty) == Decision(False, Reason.NO_MATCHING_RULE)
    assert in_casbin(model(e=effect), empty) is (effect == NO_DENY)
    assert not ours(model(e=effect), empty).allowed
    carried = model("eval(p.rule)", p="rule", e=effect)
    assert in_casbin(carried, empty) == "raises"
    assert not ours(carried, empty).allowed


def chain(length: int, times: str = "") -> str:
    """A rule for the last of a chain of roles and the links from alice to it."""
    names = ["alice", *[f"role{number}" for number in range(length)]]
    links = [f"g, {low}, {high}{times}" for low, high in itertools.pairwise(names)]
    return "\n".join([f"p, {names[-1]}, data, read", *links])


def test_role_depth() -> None:
    """PyCasbin follows nine links, ten where links are conditional; here a chain has no limit."""
    timed = model(BY_ROLE, g="g = _, _, (_, _)")
    assert in_casbin(ROLES, chain(9)) is True
    assert in_casbin(ROLES, chain(10)) is False
    assert in_casbin(timed, chain(10, ", _, _")) is True
    assert in_casbin(timed, chain(11, ", _, _")) is False
    for length in (9, 10, 11, 200):
        assert ours(ROLES, chain(length)).allowed
        assert ours(timed, chain(length, ", _, _")).allowed


def test_role_cycle() -> None:
    """Links in a circle decide in pycasbin and are an error here, also a link to oneself, in each domain."""
    circle = "p, admin, data, read\ng, alice, team\ng, team, admin\ng, admin, alice"
    assert in_casbin(ROLES, circle) is True
    assert refused(ROLES, circle) == {"role-cycle"}
    assert in_casbin(ROLES, f"{RULE}\ng, alice, alice") is True
    assert refused(ROLES, f"{RULE}\ng, alice, alice") == {"role-cycle"}
    # A circle only over two domains is none.
    domains = model("g(r.sub, p.sub, r.dom)", r="sub, dom", p="sub", g="g = _, _, _")
    across = "p, admin\ng, alice, admin, one\ng, admin, alice, two"
    assert in_casbin(domains, across, ask(company="one")) is True
    assert ours(domains, across, ask(company="one")).allowed


def test_role_patterns() -> None:
    """PyCasbin's answer can turn with the order of rows and with what was asked before; here neither matters."""
    rule, first, second = "p, /a/*, data, read", "g, x, /*", "g, x, /a/*"
    orders = [f"{rule}\n{first}\n{second}", f"{rule}\n{second}\n{first}"]
    matching = {"g": "keyMatch"}
    assert [judge(enforcer(ROLES, policy, matching), ask("/a/1")) for policy in orders] == [False, True]
    assert not any(decider(ROLES, policy, matching).decide(ask("/a/1")).allowed for policy in orders)
    policy = "p, *, data, read\ng, /a/1, /*\ng, y, *\ng, y, z"
    made, engine = enforcer(ROLES, policy, matching), decider(ROLES, policy, matching)
    assert judge(made, ask("/a/1")) is False
    before = engine.decide(ask("/a/1"))
    made = enforcer(ROLES, policy, matching)
    judge(made, ask("/a/2"))
    assert judge(made, ask("/a/1")) is True
    engine.decide(ask("/a/2"))
    assert engine.decide(ask("/a/1")) == before
    # What a name matches is itself a pattern, but does not pass on what it matches in turn.
    chained = "p, staff, data, read\ng, /a/1, other\ng, /a/[0-9]$, staff"
    assert judge(enforcer(ROLES, chained, {"g": "regexMatch"}), ask("/a/1/x")) is True
    assert not decider(ROLES, chained, {"g": "regexMatch"}).decide(ask("/a/1/x")).allowed
    assert decider(ROLES, chained, {"g": "regexMatch"}).decide(ask("/a/1")).allowed
    # A name holds the roles of the patterns it matches, and a role that is a pattern covers the names it matches.
    held = "p, staff, data, read\ng, /a/*, staff"
    assert decider(ROLES, held, matching).decide(ask("/a/1")).allowed
    covered = "p, /a/1, data, read\ng, alice, /a/*"
    assert decider(ROLES, covered, matching).decide(ask()).allowed


def test_link_kinds() -> None:
    """Beside a conditional definition, the links of plain ones are lost in pycasbin and count here."""
    policy = "p, admin, data, read\ng, alice, admin"
    assert in_casbin(ROLES, policy) is True
    both = model(BY_ROLE, g="g = _, _\ng2 = _, _, (_, _)")
    assert in_casbin(both, policy) is False
    assert ours(both, policy).allowed


TIMED = model(BY_ROLE, g="g = _, _, (_, _)")
YEAR_2001 = "2001-01-01 00:00:00, 2002-01-01 00:00:00"


def test_link_times() -> None:
    """Times of a link mean nothing to pycasbin until code says so; here the link holds within them, and what would
    make that unclear is an error."""
    policy = f"p, admin, data, read\ng, alice, admin, {YEAR_2001}"
    assert in_casbin(TIMED, policy) is True
    assert not ours(TIMED, policy, ask(time=dt.datetime.now(dt.UTC).timestamp())).allowed
    twice = f"{policy}\ng, alice, admin, _, _"
    assert in_casbin(TIMED, twice) is True
    assert refused(TIMED, twice) == {"role-condition"}
    assert refused(TIMED, f"{policy}\ng, alice, admin, {YEAR_2001}") == set()
    assert refused(TIMED, policy, "role_matching: {g: keyMatch}") == {"role-condition"}
    # Declaring the condition says what holds anyway.
    assert refused(TIMED, policy, "link_conditions: {g: timeMatch}") == set()


def test_time() -> None:
    """PyCasbin asks the clock of the machine; here the request says what time it is, in UTC."""
    policy = f"p, admin, data, read\ng, alice, admin, {YEAR_2001}"
    made = enforcer(TIMED, policy)
    assert made.add_named_link_condition_func("g", "alice", "admin", time_match_func)
    start = dt.datetime(2001, 1, 1, tzinfo=dt.UTC).timestamp()
    for time, held in ((start, False), (start + 1, True), (start + 365 * 86_400, False)):
        assert judge(made, ask(time=time)) is False
        assert ours(TIMED, policy, ask(time=time)).allowed is held


# Models


def test_strict_conf() -> None:
    """An unknown section or a second definition passes in pycasbin, the last one winning; here each is an error."""
    notes = model() + "[notes]\nauthor = me\n"
    assert in_casbin(notes) is True
    assert refused(notes) == {"model-section"}
    twice = model() + 'm = r.sub == "nobody"\n'
    assert in_casbin(twice) is False
    assert refused(twice) == {"model-definition"}


def test_numbering() -> None:
    """PyCasbin stops reading at a gap in the numbers; here a gap is an error."""
    gap = model() + "m3 = no matcher at all\n"
    assert in_casbin(gap) is True
    assert "model-definition" in refused(gap)


def numbered(second: str, extra: str = "r2 = sub, obj, act", rules: str = "p2 = sub, obj, act") -> str:
    """A model with a second set; its parts are given."""
    text = model() + second
    text = text.replace("[policy_definition]", f"{extra}\n[policy_definition]")
    return text.replace("[policy_effect]", f"{rules}\n[policy_effect]")


def test_section_set() -> None:
    """A caller of pycasbin may mix the parts of sets; here a set is whole, and reads its own request and rules."""
    mixed = numbered("m2 = r2.sub == p.sub\n", rules="")
    made = enforcer(mixed, RULE)
    context = casbin.core_enforcer.EnforceContext("r2", "p", "e", "m2")
    assert made.enforce(context, "alice", "other", "other") is True
    assert "model-definition" in refused(mixed)
    assert "model-definition" in refused(numbered(""))
    assert refused(numbered("m2 = r2.sub == p.sub\n")) == {"expression-name"}
    assert refused(numbered("m2 = r2.sub == p2.sub\n")) == set()


def test_section_effect() -> None:
    """PyCasbin decides every set by `e`; here the set of `m2` is decided by `e2`."""
    text = numbered("m2 = r2.sub == p2.sub\n").replace("[matchers]", f"e2 = {NO_DENY.replace('p.', 'p2.')}\n[matchers]")
    policy = f"{RULE}\np2, bob, data, read"
    assert judge(enforcer(text, policy), ask(section="2")) is False
    assert ours(text, policy, ask(section="2")) == Decision(True, Reason.ALLOWED_WITHOUT_RULE)
    assert not ours(text, policy, ask("carol")).allowed


def test_effect_spelling() -> None:
    """White space in an effect is an error to pycasbin and nothing here."""
    text = model(e="some( where(p.eft==allow) )")
    assert in_casbin(text) == "raises"
    assert ours(text).allowed


def test_inline_comment() -> None:
    """A comment after a definition becomes part of a name in pycasbin and is an error here."""
    text = model(p="sub, obj, act # what it wants")
    assert in_casbin(text) == "raises"
    assert refused(text) == {"model-definition"}


def test_comment_quote() -> None:
    """PyCasbin cuts a matcher at a `#` in quotes and drops what continues a commented line; here the first is text
    and the second an error."""
    quoted = model('r.sub == p.sub && r.obj == "a#b"')
    assert in_casbin(quoted, request=ask(name="a#b")) == "raises"
    assert ours(quoted, request=ask(name="a#b")).allowed
    continued = model('r.sub == p.sub # who \\\n && r.obj == "never"')
    assert in_casbin(continued) is True
    assert refused(continued) == {"model-definition"}


# Matchers


def test_language() -> None:
    """PyCasbin runs methods and other Python in a matcher; here they are errors."""
    for matcher in ('r.obj.startswith("da")', 'r.obj[0] == "d"', '(r.sub if True else r.obj) == "alice"'):
        assert in_casbin(model(matcher)) is True, matcher
        assert refused(model(matcher)) <= {"expression-syntax", "expression-name"}
        assert refused(model(matcher)), matcher


def test_load_time() -> None:
    """An unknown name fails at each request in pycasbin and at load here."""
    for matcher in ("r.sub == p.subject", "r.subject == p.sub", "keyMatsch(r.obj, p.obj)"):
        assert in_casbin(model(matcher)) == "raises"
        assert refused(model(matcher)) == {"expression-name"}


def test_quoted_text() -> None:
    """PyCasbin rewrites what looks like an operator or a name inside quotes; here quoted text stays as it is."""
    for written in ("p.x", "r.x", "a&&b", "a||b", "a!b"):
        text = model(f'r.sub == p.sub && r.obj == "{written}"')
        assert in_casbin(text, request=ask(name=written)) is False
        assert ours(text, request=ask(name=written)).allowed


def test_operator_space() -> None:
    """`a&&b` without blanks fails in pycasbin and is two conditions here."""
    text = model("r.sub == p.sub&&r.obj == p.obj")
    assert in_casbin(text) == "raises"
    assert ours(text).allowed


def test_names_with_dots() -> None:
    """An attribute called `p` is rewritten by pycasbin and is an attribute here."""
    text = model('r.sub == p.sub && r.obj.p.x == "1"')
    request = ask(object_attributes={"p": {"x": "1"}})
    assert in_casbin(text, request=request) == "raises"
    assert ours(text, request=request).allowed


def test_text_escapes() -> None:
    """All of Python's escapes are read in pycasbin, where one that is none stands for itself; here there are five."""
    for written, name in (("\\x61", "a"), ("\\u0061", "a")):
        text = model(f'r.obj == "{written}"')
        assert in_casbin(text, request=ask(name=name)) is True
        assert refused(text) == {"expression-syntax"}
    itself = model('r.obj == "\\d"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert in_casbin(itself, request=ask(name="\\d")) is True
    assert refused(itself) == {"expression-syntax"}
    doubled = model('r.obj == "a\\\\b"')
    assert in_casbin(doubled, request=ask(name="a\\b")) is True
    assert ours(doubled, request=ask(name="a\\b")).allowed


def test_boolean_attribute() -> None:
    """A bare attribute may be a float or anything inside `&&` in pycasbin; here it is a boolean or an error."""
    last = model("r.sub == p.sub && r.sub.level")
    inside = model("r.sub.level && r.sub == p.sub")
    for level, at_end, within in ((1.0, True, True), (5, "raises", True), ("x", "raises", True), (True, True, True)):
        request = ask(subject_attributes={"level": level})
        assert in_casbin(last, request=request) == at_end
        assert in_casbin(inside, request=request) == within
        expected = Reason.ALLOWED_BY_RULE if level is True else Reason.EVALUATION_ERROR
        assert ours(last, request=request).reason is expected
        assert ours(inside, request=request).reason is expected


def test_text_arithmetic() -> None:
    """PyCasbin repeats and formats texts with `*` and `%`; here those take numbers, and `+` two texts."""
    for matcher in ('r.obj == "da" * 2', 'r.obj == "%sda" % "da"'):
        assert in_casbin(model(matcher), request=ask(name="dada")) is True
        assert refused(model(matcher)) == {"expression-type"}
    joined = model('r.obj == "da" + "da"')
    assert in_casbin(joined, request=ask(name="dada")) is True
    assert ours(joined, request=ask(name="dada")).allowed


def test_text_in_brackets() -> None:
    """`in ("read")` asks for a part of the text in pycasbin and is an error here."""
    text = model('r.act in ("read")')
    assert in_casbin(text, request=ask(action="ea")) is True
    assert refused(text) == {"expression-type"}


def test_attribute_lookup() -> None:
    """A Python map's method hides an attribute of that name from pycasbin, not here."""
    text = model('r.context.items == "3"', r="sub, obj, act, context")
    request = ask(context={"items": "3"})
    assert in_casbin(text, request=request) is False
    assert ours(text, request=request).allowed


def carrying(matcher: str = "r.obj == p.obj && r.act == p.act && eval(p.rule)", e: str = ALLOW) -> str:
    """A model whose rules carry a condition."""
    return model(matcher, p="sub, obj, act, rule, eft", e=e)


def test_rule_condition_fields() -> None:
    """A condition in a rule may name the rule's fields in pycasbin and the request alone here."""
    policy = f"{RULE}, r.sub == p.sub, allow"
    assert in_casbin(carrying(), policy) is True
    assert refused(carrying(), policy) == {"expression-name"}


def test_rule_condition_scope() -> None:
    """An unbalanced condition changes the matcher around it in pycasbin and is an error here."""
    text = carrying("r.sub == p.sub && eval(p.rule)")
    policy = f'{RULE}, "(" != "x") or (")" != "a", allow'
    assert in_casbin(text, policy, ask("mallory", "other", "write")) is True
    assert refused(text, policy) == {"expression-syntax"}


def test_request_pattern() -> None:
    """A request can bring the pattern that lets it in to pycasbin; here patterns come from the policy."""
    text = model("r.sub == p.sub && keyMatch(p.obj, r.obj)")
    assert in_casbin(text, request=ask(name="*")) is True
    assert refused(text) == {"expression-type"}


def test_many_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyCasbin tries the conditions of all rules; here a bundle with too many for one request does not load."""
    monkeypatch.setattr("authz_sidecar.compile.index.MAX_CONDITIONS_IN_LEAF", 20)
    text = carrying("eval(p.rule)")
    rules = [f"p, alice, data, read, r.sub.age == {age}, allow" for age in range(21)]
    request = ask(subject_attributes={"age": 19})
    assert in_casbin(text, "\n".join(rules), request) is True
    assert ours(text, "\n".join(rules[:20]), request).allowed
    assert refused(text, "\n".join(rules)) == {"rule-conditions"}
    # Rules that carry the same condition count once.
    assert ours(text, "\n".join(rules[:20] * 2), request).allowed


def test_evaluation_error() -> None:
    """A missing attribute raises in pycasbin and denies here, with its reason."""
    text = model("r.sub == p.sub && r.sub.age > 18")
    assert in_casbin(text) == "raises"
    decision = ours(text)
    assert (decision.allowed, decision.reason) == (False, Reason.EVALUATION_ERROR)


def test_evaluation_order() -> None:
    """PyCasbin fails on any condition that it comes to; here one counts only where the rule's other fields match,
    and a rule that denies is not asked under `some(where (p.eft == allow))`."""
    fallible = "r.sub.age > 18"
    text = carrying(f"eval(p.rule) && {PLAIN}")
    elsewhere = f"p, bob, data, read, {fallible}, allow\n{RULE}, True, allow"
    assert in_casbin(text, elsewhere) == "raises"
    assert ours(text, elsewhere) == Decision(True, Reason.ALLOWED_BY_RULE, 1)
    denial = f"{RULE}, {fallible}, deny\n{RULE}, True, allow"
    assert in_casbin(text, denial) == "raises"
    assert ours(text, denial) == Decision(True, Reason.ALLOWED_BY_RULE, 1)
    # What could match counts, in the order of the rules, and wherever it stands if any rule may deny.
    here = f"{RULE}, {fallible}, allow\n{RULE}, True, allow"
    assert in_casbin(text, here) == "raises"
    assert ours(text, here).reason is Reason.EVALUATION_ERROR
    later = f"{RULE}, True, allow\n{RULE}, {fallible}, allow"
    assert in_casbin(text, later) is True
    assert ours(text, later) == Decision(True, Reason.ALLOWED_BY_RULE, 0)
    strict = carrying(f"{PLAIN} && eval(p.rule)", e=f"{ALLOW} && {NO_DENY}")
    assert in_casbin(strict, later) == "raises"
    assert ours(strict, later).reason is Reason.EVALUATION_ERROR
    assert in_casbin(strict, f"{later}\n{RULE}, True, deny") == "raises"
    assert ours(strict, f"{later}\n{RULE}, True, deny") == Decision(False, Reason.DENIED_BY_RULE, 2)


# Patterns

REGEX = model("r.sub == p.sub && regexMatch(r.obj, p.obj) && r.act == p.act")


def matches(text: str, pattern: str, value: str) -> tuple[bool | str, Decision | set[str]]:
    """Both sides of one pattern in a rule and one value in the request, which may be what no request may hold."""
    policy = f"p, alice, {pattern}, read"
    request = Request("alice", "read", type=value, object=value)
    problems = refused(text, policy)
    return in_casbin(text, policy, request), problems or ours(text, policy, request)


def test_matched_text() -> None:
    """PyCasbin matches any text; here an attribute that is matched has at most 1,024 characters."""
    text = model('r.sub == p.sub && regexMatch(r.obj.path, "a+$")')
    short, long = (ask(object_attributes={"path": "a" * length}) for length in (1024, 1025))
    assert in_casbin(text, request=short) is True
    assert ours(text, request=short).allowed
    assert in_casbin(text, request=long) is True
    assert ours(text, request=long).reason is Reason.EVALUATION_ERROR


def test_linear_regex() -> None:
    """Lookaround, back-references and their like match in pycasbin and are errors here."""
    for pattern, value in (("(?=d)data$", "data"), ("(?<!x)data$", "data"), (r"(a)\1$", "aa"), ("(?>a+)b$", "aab")):
        assert matches(REGEX, pattern, value) == (True, {"pattern-syntax"})


def test_invalid_pattern() -> None:
    """An invalid pattern raises in pycasbin when a request meets it; here it is an error at load."""
    assert matches(REGEX, "*", "data") == ("raises", {"pattern-syntax"})
    assert in_casbin(REGEX, f"{RULE}\np, alice, *, read") is True


def test_regex_ascii() -> None:
    """Digits, letters, spaces and ends of words are Unicode's in pycasbin and ASCII's here."""
    found = (True, Decision(False, Reason.NO_MATCHING_RULE))
    for pattern, value in ((r"\d$", "٣"), (r"\w$", "é"), (r"a\sb$", "a\u00a0b"), (r"a\sb$", "a\x0bb"), (r"a.\b", "aé")):
        assert matches(REGEX, pattern, value) == found, pattern
        assert matches(REGEX, pattern, "a") != found


def test_regex_end() -> None:
    """`$` also matches before a last line break in pycasbin and only at the end here."""
    assert matches(REGEX, "data$", "data\n") == (True, Decision(False, Reason.NO_MATCHING_RULE))
    assert matches(REGEX, "data$", "data") == (True, Decision(True, Reason.ALLOWED_BY_RULE, 0))


def test_regex_subset() -> None:
    """What two regular expression engines read differently matches in pycasbin and is an error here."""
    for pattern, value in ((r"data\Z", "data"), (r"a\Bb", "ab"), (r"\u0061", "a"), (r"\141", "a"), ("(a{,2})$", "aa")):
        assert matches(REGEX, pattern, value) == (True, {"pattern-syntax"}), pattern
    # Of set operators pycasbin warns, which tests turn into an error.
    assert matches(REGEX, "[a--b]", "a")[1] == {"pattern-syntax"}


def test_ip_pattern() -> None:
    """A pattern that is no address never matches in pycasbin and is an error here."""
    text = model("r.sub == p.sub && ipMatch(r.obj, p.obj)")
    assert matches(text, "10.0.0.0/8", "10.1.2.3") == (True, Decision(True, Reason.ALLOWED_BY_RULE, 0))
    assert matches(text, "ten", "10.1.2.3") == (False, {"pattern-syntax"})


def test_key_groups() -> None:
    """A group of its own makes a `keyMatch4` pattern raise in pycasbin where it matches; here it is an error."""
    text = model("r.sub == p.sub && keyMatch4(r.obj, p.obj)")
    assert matches(text, "/(a|b)/{x}", "/a/1") == ("raises", {"pattern-syntax"})
    assert matches(text, "/(a|b)/{x}", "/c/1") == (False, {"pattern-syntax"})
    assert matches(text, "/(?:a|b)/{x}", "/a/1") == (True, Decision(True, Reason.ALLOWED_BY_RULE, 0))


def test_glob_subset() -> None:
    """Globs on which shells differ match in pycasbin and are errors here."""
    text = model("r.sub == p.sub && globMatch(r.obj, p.obj)")
    for pattern, value in (("data{1..3}", "data2"), ("{a", "{a"), ("[[:alpha:]]", "a")):
        assert matches(text, pattern, value) == (True, {"pattern-syntax"}), pattern
    many = "{" + ",".join([str(number) for number in range(300)]) + "}"
    inside = model(f'globMatch(r.obj, "{many}")')
    assert in_casbin(inside, request=ask(name="299")) is True
    assert refused(inside) == {"pattern-syntax"}


def test_time_format() -> None:
    """What is no time raises at each request in pycasbin; here it is an error at load in the matcher and in links,
    and an evaluation error in other fields."""
    fields = model("r.sub == p.sub && timeMatch(p.start, p.end)", p="sub, start, end")
    policy = "p, alice, _, tomorrow"
    assert in_casbin(fields, policy) == "raises"
    assert ours(fields, policy).reason is Reason.EVALUATION_ERROR
    literal = model('timeMatch("_", "tomorrow")')
    assert in_casbin(literal) == "raises"
    assert refused(literal) == {"expression-type"}
    assert refused(TIMED, "p, admin, data, read\ng, alice, admin, _, tomorrow") == {"rule-condition-time"}


def test_every_row_has_its_test(request: pytest.FixtureRequest) -> None:
    """Each row of the table in docs/models.md has the test named after its id, and no test stands without a row."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    table = text.split('<a id="intended-differences"></a>', 1)[1]
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert len(rows) == len(set(rows))
    module: Mapping[str, object] = vars(request.module)
    tests = {name.removeprefix("test_").replace("_", "-") for name in module if name.startswith("test_")}
    assert tests - {"every-row-has-its-test"} == set(rows)
