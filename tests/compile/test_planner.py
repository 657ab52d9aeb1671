"""What each conjunct of a matcher becomes, and into which branches a matcher is split."""

import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import standard_model
from authz_sidecar.compile.access import BranchPlan, KeyAccess, PatternAccess, RoleAccess
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.planner import MAX_BRANCHES, describe_branch, may_fail, plan_section
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.conf import parse_model
from authz_sidecar.model.expression import Const, Token
from authz_sidecar.model.semantics import write_expression

MODEL = """
[request_definition]
r = sub, dom, type, obj, act, ip, context
[policy_definition]
p = sub, dom, obj, act, start, end, rule
[role_definition]
g = _, _, _
g2 = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = {matcher}
"""


def plan(matcher: str) -> tuple[BranchPlan, ...]:
    """The branches of a matcher."""
    model, diagnostics = parse_model(MODEL.format(matcher=matcher))
    assert model is not None, diagnostics
    return plan_section(model.sections[""])


def only(matcher: str) -> BranchPlan:
    """The branch of a matcher that has one."""
    (branch,) = plan(matcher)
    return branch


def became(branch: BranchPlan) -> dict[str, str]:
    """For each conjunct of a branch, the first word of what it became."""
    return {line.conjunct: line.access.split()[0] for line in describe_branch(branch)}


@pytest.mark.parametrize(
    ("conjunct", "became_this"),
    [
        ("r.sub == p.sub", "hash"),
        ("p.act == r.act", "hash"),
        ('p.obj == "*" || r.obj == p.obj', "hash"),
        ('r.act == p.act || p.act == "*" || p.act == "any"', "hash"),
        ("g(r.sub, p.sub, r.dom)", "role"),
        ('g(r.sub, p.sub, "*")', "role"),
        ('g("guest", p.sub, r.dom)', "role"),
        ("g2(r.obj, p.obj)", "role"),
        ('p.sub == "*" || g(r.sub, p.sub, r.dom)', "role"),
        ("keyMatch(r.obj, p.obj)", "pattern"),
        ("keyMatch5(r.obj, p.obj)", "pattern"),
        ("regexMatch(r.act, p.act)", "pattern"),
        ("globMatch(r.obj, p.obj)", "pattern"),
        ('p.obj == "any" || keyMatch2(r.obj, p.obj)', "pattern"),
        ('r.act != "delete"', "guard"),
        ('r.act == "read" || r.act == "list"', "guard"),
        ('g(r.sub, "admin", r.dom)', "guard"),
        ('keyMatch(r.obj, "/public/*")', "guard"),
        ("r.sub == r.obj", "guard"),
        ('p.act != "delete"', "filter"),
        ('p.act == "a" || p.obj == "b"', "filter"),
        ('p.act in ["read", "list"]', "filter"),
        ("r.obj != p.obj", "residual"),
        ("!(r.act == p.act)", "residual"),
        ('r.act in [p.act, "audit"]', "residual"),
        ("r.obj != p.obj || r.act != p.act", "residual"),
        ("g(r.sub, p.sub, p.dom)", "residual"),
        ("g(p.sub, r.sub, r.dom)", "residual"),
        ("eval(p.rule)", "residual"),
    ],
)
def test_a_conjunct_becomes_its_access_path(conjunct: str, became_this: str) -> None:
    """Each kind of conjunct becomes what answers it with the least work."""
    branch = only(f'({conjunct}) && p.sub != "nobody"')
    assert list(became(branch).values()) == [became_this, "filter"]


@pytest.mark.parametrize(
    "conjunct",
    [
        "r.sub.age > 18",
        "r.obj.team == p.obj",
        "r.sub.active",
        "r.context.mfa",
        "r.ip == p.obj",
        'r.ip == "10.0.0.1"',
        "r.act < p.act",
        'r.act < "m"',
        "ipMatch(r.obj, p.obj)",
        'ipMatch(r.obj, "10.0.0.0/8")',
        "timeMatch(p.start, p.end)",
        'timeMatch("_", "2030-01-01 00:00:00")',
        "r.act in r.sub.actions",
        "r.obj in p.obj",
        "keyMatch(r.obj.path, p.obj)",
        "r.sub.age + 1 == 3",
        "g(r.sub.boss, p.sub, r.dom)",
        'p.obj == "*" || r.obj.team == p.obj',
        'ipMatch(p.obj, "10.0.0.0/8") || r.act == p.act',
        '!(r.sub.age > 18) && r.act == "read" || r.ip == "x"',
    ],
)
def test_whatever_may_fail_is_residual(conjunct: str) -> None:
    """A conjunct that may fail is asked of candidates only, also where it reads nothing of the rule."""
    branch = only(f"({conjunct}) && r.sub == p.sub")
    assert len(branch.residual) == 1
    assert may_fail(branch.residual[0])
    assert not branch.guards
    assert [access.field for access in branch.keys] == ["sub"]


def test_accesses_say_what_is_looked_up() -> None:
    """A plan names token, field, role definition, domain, function and place of each access, in matcher order."""
    branch = only('keyMatch(r.obj, p.obj) && r.act == p.act && (p.sub == "*" || g(r.sub, p.sub, "main"))')
    assert branch.keys == (KeyAccess("act", "act", 1),)
    pattern, role = branch.sets
    assert pattern == PatternAccess("keyMatch", "obj", "obj", 0)
    assert isinstance(role, RoleAccess)
    assert (role.definition, role.name, role.domain, role.field) == ("g", Token("sub"), Const("main"), "sub")
    assert role.position == 2
    assert role.free_when is not None
    assert write_expression(role.free_when) == 'p.sub == "*"'
    assert [write_expression(conjunct) for conjunct in branch.conjuncts] == [
        "keyMatch(r.obj, p.obj)",
        "r.act == p.act",
        'p.sub == "*" || g(r.sub, p.sub, "main")',
    ]


def test_a_rule_domain_that_equals_the_requests_is_the_requests() -> None:
    """`g(r.sub, p.sub, p.dom)` is a role closure in the request's domain where `r.dom == p.dom` stands beside it."""
    for matcher in ("g(r.sub, p.sub, p.dom) && r.dom == p.dom", "p.dom == r.dom && g(r.sub, p.sub, p.dom)"):
        branch = only(matcher)
        (role,) = branch.sets
        assert isinstance(role, RoleAccess)
        assert role.domain == Token("dom")
        assert not branch.residual
    # What equals another field says nothing of the domain.
    assert not only("g(r.sub, p.sub, p.dom) && r.act == p.act").sets
    # A rule for every domain is not one of the request's domain.
    free = only('g(r.sub, p.sub, p.dom) && (p.dom == "*" || r.dom == p.dom)')
    assert not free.sets
    assert [write_expression(part) for part in free.residual] == ["g(r.sub, p.sub, p.dom)"]


@pytest.mark.parametrize(
    ("matcher", "branches"),
    [
        ('r.sub == p.sub || r.sub == "root"', [["hash"], ["guard"]]),
        ('r.sub == p.sub && r.act == p.act || r.sub == "root"', [["hash", "hash"], ["guard"]]),
        ('(r.sub == p.sub || r.sub == "root") && r.act == p.act', [["hash", "hash"], ["guard", "hash"]]),
        ("r.sub == p.sub || g(r.sub, p.sub, r.dom)", [["hash"], ["role"]]),
        ('p.sub == "*" || r.sub == p.sub || g(r.sub, p.sub, r.dom)', [["filter"], ["hash"], ["role"]]),
        (
            "(r.sub == p.sub || r.obj == p.sub) && (r.act == p.act || r.act == p.obj)",
            [["hash", "hash"]] * 4,
        ),
        ("r.sub.age > 18 || r.sub == p.sub", [["residual"], ["hash"]]),
        ("True", [[]]),
        ("True && r.sub == p.sub", [["hash"]]),
        ("False", []),
        ("r.sub == p.sub && False", []),
    ],
)
def test_a_disjunction_with_an_access_path_splits(matcher: str, branches: list[list[str]]) -> None:
    """A disjunction is split where an alternative has an access path; the order of alternatives is kept."""
    assert [list(became(branch).values()) for branch in plan(matcher)] == branches


@pytest.mark.parametrize(
    "matcher",
    [
        'r.act == "read" || r.act == "list"',
        'p.act == "a" || p.obj == "b"',
        "r.obj != p.obj || r.act != p.act",
        'p.obj == "*" || r.obj == p.obj',
        'p.obj == "*" || r.obj.team == p.obj',
    ],
)
def test_other_disjunctions_stay_whole(matcher: str) -> None:
    """A disjunction that one probe, or none, answers is one conjunct."""
    assert len(only(matcher).conjuncts) == 1


def test_branches_are_bounded() -> None:
    """A matcher that would make more branches than the bound keeps its disjunctions as residuals."""
    pair = '(r.sub == p.sub && r.act != "{}" || r.obj == p.obj)'
    assert len(plan(" && ".join([pair.format(number) for number in range(4)]))) == MAX_BRANCHES
    whole = only(" && ".join([pair.format(number) for number in range(5)]))
    assert len(whole.residual) == 5
    alternatives = " || ".join([f'r.sub == p.sub && r.act == "{number}"' for number in range(MAX_BRANCHES)])
    assert len(plan(alternatives)) == MAX_BRANCHES
    assert len(only(f"{alternatives} || r.obj == p.obj").residual) == 1


@pytest.mark.parametrize("form", ["basic", "extended"])
def test_the_standard_model_has_two_branches(form: str) -> None:
    """One for roles held on the platform and one for those held in the company, and of the rest only the owner, and
    in the extended form the rule's condition, is asked of candidates."""
    section = standard_model("basic" if form == "basic" else "extended").sections[""]
    platform, company = plan_section(section)
    for branch, domain in ((platform, Const("*")), (company, Token("dom"))):
        roles = [access for access in branch.sets if isinstance(access, RoleAccess)]
        assert [(access.field, access.domain) for access in roles] == [("sub", domain)]
        patterns = [access.field for access in branch.sets if isinstance(access, PatternAccess)]
        keys = [access.field for access in branch.keys]
        assert keys + patterns == (["dom", "type", "id", "act"] if form == "basic" else ["dom", "type", "act", "id"])
        assert all(access.free_when is not None for access in branch.keys)
        residual = [write_expression(part) for part in branch.residual]
        conditions = ["eval(p.when)"] if form == "extended" else []
        assert residual == ['p.scope != "own" || r.sub == r.owner', *conditions]
    assert not platform.guards
    assert not platform.statics
    assert [write_expression(part) for part in company.guards] == ['r.dom != ""']
    assert [write_expression(part) for part in company.statics] == ['p.scope != "platform"']


def snapshot(matcher: str, rows: str) -> Snapshot:
    """A compiled model with a second section."""
    model = MODEL.format(matcher=matcher).replace("[policy_definition]", "r2 = sub, act\n[policy_definition]")
    model = model.replace("[role_definition]", "p2 = sub, act\n[role_definition]") + "m2 = p2.sub == r2.sub\n"
    bundle, diagnostics = parse_bundle({"model.conf": model.encode(), "policy.csv": rows.encode()}, "planned")
    assert bundle is not None, diagnostics
    compiled, diagnostics = compile_bundle(bundle)
    assert compiled is not None, diagnostics
    return compiled


def test_a_snapshot_describes_its_plan() -> None:
    """A description has a line for each conjunct, with access and cost, and ends with what the tables hold."""
    rows = """
p, admin, acme, *, read, _, _, True
p, admin, acme, data, read, _, _, r.sub.age > 18
p, viewer, acme, data, read, _, _, r.sub.age > 18
p, viewer, acme, data, delete, _, _, True
p2, alice, read
"""
    matcher = (
        'g(r.sub, p.sub, r.dom) && r.dom == p.dom && (p.obj == "*" || r.obj == p.obj) && r.act == p.act && '
        'r.type != "secret" && p.act != "delete" && eval(p.rule)'
    )
    compiled = snapshot(matcher, rows)
    (lines,) = compiled.describe()
    assert [(line.conjunct, line.access, line.cost) for line in lines] == [
        ("g(r.sub, p.sub, r.dom)", "role closure of g on p.sub", "one probe per role held"),
        ("r.dom == p.dom", "hash key on p.dom", "one probe"),
        ('p.obj == "*" || r.obj == p.obj', 'hash key on p.obj, free where p.obj == "*"', "one probe"),
        ("r.act == p.act", "hash key on p.act", "one probe"),
        ('r.type != "secret"', "guard on the request", "once per request"),
        ('p.act != "delete"', "filter on the rule", "when compiling"),
        ("eval(p.rule)", "residual", "once per candidate, where it does not fold away for the rule"),
        ("scanned", "2 tables, 3 entries; rules that keep a condition: 2", "1 different condition"),
    ]
    (second,) = compiled.describe("2")
    assert [(line.conjunct, line.access) for line in second] == [
        ("p2.sub == r2.sub", "hash key on p2.sub"),
        ("scanned", "1 table, 1 entries; rules that keep a condition: 0"),
    ]
    assert second[-1].cost == "nothing is scanned"


def test_patterns_are_described_by_their_prefixes() -> None:
    """A pattern set names its field and what a probe of it costs."""
    (line,) = describe_branch(only("keyMatch(r.obj, p.obj)"))
    assert line.access == "pattern prefixes on p.obj"
    assert line.cost == "one probe per prefix length, then the patterns of that prefix"
