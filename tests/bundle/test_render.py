"""Rendering to plain Casbin: the same tables when read back, the same decisions in pycasbin."""

import json
from pathlib import Path

import casbin
import pytest
from casbin.persist.adapters.string_adapter import StringAdapter
from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.render import RenderError, render_bundle, row_problem
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import Request, build_request
from tests.bundle.expectations import RBAC, read, rows_bundle, yaml_bundle
from tests.decide.casbin_judge import enforcer, judge

POLICIES = Path(__file__).resolve().parents[2] / "policies"
IDENTITY = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8)


def rows(bundle: Bundle) -> dict[str, list[tuple[str, ...]]]:
    """All rows of all tables, in order."""
    return {name: [table.values(row) for row in range(len(table))] for name, table in bundle.tables.items()}


def pycasbin(rendered: dict[str, str]) -> casbin.Enforcer:
    """The judge, loaded with what was rendered."""
    model = casbin.Enforcer.new_model(text=rendered["model.conf"])
    return casbin.Enforcer(model, StringAdapter(rendered["policy.csv"]))


def test_the_default_bundle_reads_back_the_same() -> None:
    """What `render` writes for `policies/` is a plain bundle with the same model and tables."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    rendered = render_bundle(bundle)
    assert set(rendered) == {"model.conf", "policy.csv"}
    again = read(rendered)
    assert again.form == "casbin"
    assert again.model.sections == bundle.model.sections
    assert rows(again) == rows(bundle)


def test_pycasbin_decides_the_default_bundle_as_its_tests_expect() -> None:
    """Casbin is the judge: every policy test of `policies/` comes out as expected on the rendered text."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    rendered = render_bundle(bundle)
    judge = casbin.Enforcer(
        casbin.Enforcer.new_model(text=rendered["model.conf"]), StringAdapter(rendered["policy.csv"])
    )
    asked = [test for test in bundle.tests if test.request()[0] is not None]
    wrong = [
        test.name
        for test in asked
        if judge.enforce(test.subject, test.company, test.type, test.id, test.action, test.owner) != test.allowed
    ]
    assert wrong == []
    assert len(asked) > 1900


class Attributed(str):
    """Text that has attributes too, as pycasbin reads `r.obj.X`."""

    __slots__ = ("level", "team")

    level: int
    team: str


def test_pycasbin_decides_the_extended_form() -> None:
    """Conditions and id patterns are plain Casbin as well."""
    policy = """\
roles:
  A:
    assigned: company
    grants:
      - {object: folder, id: "draft-*", actions: [read]}
      - {object: report, actions: [read], when: 'r.obj.level < 3 && r.sub.team == "x"'}
assignments: [{subject: bob, roles: [A], company: acme}]
"""
    rendered = render_bundle(read(yaml_bundle(policy, EXTENDED)))
    judge = casbin.Enforcer(
        casbin.Enforcer.new_model(text=rendered["model.conf"]), StringAdapter(rendered["policy.csv"])
    )

    def allowed(type: str, id: str, level: int) -> bool:
        subject, object = Attributed("bob"), Attributed(type)
        subject.team, object.level = "x", level
        answer: bool = judge.enforce(subject, "acme", type, id, "read", "", object, {})
        return answer

    assert allowed("folder", "draft-1", 9)
    assert not allowed("folder", "final-1", 9)
    assert allowed("report", "1", 2)
    assert not allowed("report", "1", 3)


@given(st.lists(st.tuples(IDENTITY, IDENTITY, st.sampled_from(["*", "7", "a b", "x"]), IDENTITY), max_size=5))
@settings(max_examples=120, deadline=None)
def test_what_is_rendered_reads_back_or_is_refused(links: list[tuple[str, str, str, str]]) -> None:
    """Either the same tables come back, or rendering raises; a value never becomes another row."""
    bundle = read(rows_bundle("", RBAC))
    for subject, role, id, domain in links:
        bundle.tables["g"].append((subject, role, domain), bundle.tables["g"].file_number("x"), 1)
        bundle.tables["p"].append((subject, domain, id, role, "allow"), bundle.tables["p"].file_number("x"), 1)
    try:
        rendered = render_bundle(bundle)
    except RenderError:
        assert any(map(row_problem, (value for link in links for value in link)))
        return
    assert rows(read(rendered)) == rows(bundle)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\nb", "holds a control character"),
        ("a\tb", "holds a control character"),
        (" a", "begins or ends with white space"),
        ("a\u00a0", "begins or ends with white space"),
        ("a,b", "has a comma outside brackets"),
        ("a(b", "has unbalanced brackets"),
        ("a)b(", "has unbalanced brackets"),
        ("é" * 2049, "is longer than 4,096 bytes"),
        ("\ud800", "is not valid UTF-8"),
        ("(a, b)", ""),
        ("#a", ""),
        ('"a"', ""),
        ("", ""),
    ],
)
def test_what_a_row_cannot_hold(value: str, problem: str) -> None:
    """Rows have no quoting: each value that would not come back is refused with the reason."""
    assert row_problem(value) == problem


def test_a_refused_value_is_named_with_its_place() -> None:
    """The error says which value, where it was written, and what to do."""
    policy = 'roles: {A: {assigned: company}}\nassignments: [{subject: "a, b", roles: [A], company: acme}]\n'
    with pytest.raises(RenderError) as caught:
        render_bundle(read(yaml_bundle(policy)))
    assert caught.value.message == "the value `a, b` at policy.yaml:2:15 has a comma outside brackets"
    assert caught.value.help == "rows of plain Casbin have no quoting; change the value"


@pytest.mark.parametrize("name", ["demo", "true", "12", 'a "b"\\', "é: #", "- x"])
def test_matching_functions_are_rendered_in_a_manifest(name: str) -> None:
    """A bundle that declares them reads back with them, whatever its name."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    manifest = f'name: "{quoted}"\nschema_version: 1\ncasbin:\n  role_matching: {{g2: keyMatch2}}\n'
    bundle = read(rows_bundle("g2, /a/:id, files\n", **{"manifest.yaml": manifest}))
    again = read(render_bundle(bundle))
    assert again.name == bundle.name == name
    assert again.role_matching == {"g2": "keyMatch2"}
    assert rows(again) == rows(bundle)


ATTRIBUTES = ("label", "level", "p", "r", "items", "title", "team", "eval")
TEXTS = (
    *("top!", "a&&b", "a || b", "r.x", "p.x", "p", "r2.y", "har.x", "!= 1", "a#b", "(a, b)", "eval(p.when)", "eval(x)"),
    *("plain", "it's", '"', "a\\b", "é", "and", "x or y", "!"),
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """A condition over attributes and texts of which many mean something to pycasbin's rewriting."""
    name = draw(st.sampled_from(ATTRIBUTES))
    path = f"r.{draw(st.sampled_from(('obj', 'context')))}.{name}"
    if draw(st.integers(0, 3)) == 0:
        path = f"r.context.{draw(st.sampled_from(('p', 'map', 'r')))}.{name}"
    text = draw(st.sampled_from(TEXTS)).replace("\\", "\\\\")
    mark = draw(st.sampled_from("'\""))
    literal = mark + text.replace(mark, "\\" + mark) + mark
    gap = draw(st.sampled_from(("", " ")))
    condition = draw(
        st.sampled_from(
            (
                f"{path}{gap}=={gap}{literal}",
                f"({path} != {literal})",
                f"{path} in [{literal}, 'plain']",
                f"!({path} == {literal})",
            )
        )
    )
    if draw(st.booleans()):
        condition += f"{gap}{draw(st.sampled_from(('&&', '||')))}{gap}r.act == 'read'"
    return condition


@st.composite
def conditional_requests(draw: st.DrawFn) -> Request:
    """A request that has all the attributes, each a text that some condition names."""
    values = {name: draw(st.sampled_from(TEXTS)) for name in ATTRIBUTES}
    context = values | {part: dict(values) for part in ("p", "map", "r")}
    request, violations = build_request(
        draw(st.sampled_from(("bob", "eve"))),
        draw(st.sampled_from(("read", "create"))),
        type="folder",
        id=draw(st.sampled_from(("1", "draft-1"))),
        company="acme",
        object_attributes=values,
        context=context,
    )
    assert request is not None, violations
    return request


@given(st.data(), st.lists(st.tuples(conditions(), st.sampled_from(("allow", "deny"))), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_casbin_decides_what_is_rendered_or_it_is_refused(data: st.DataObject, grants: list[tuple[str, str]]) -> None:
    """Conditions that pycasbin would rewrite into others are refused; all that is rendered it decides alike."""
    written = [
        f"      - {{object: folder, actions: [read, create], effect: {effect}, when: {json.dumps(when)}}}"
        for when, effect in grants
    ]
    policy = "\n".join(
        (
            "roles:",
            "  A:",
            "    assigned: company",
            "    grants:",
            *written,
            "assignments: [{subject: bob, roles: [A], company: acme}]",
            "",
        )
    )
    bundle = read(yaml_bundle(policy, EXTENDED))
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    try:
        rendered = render_bundle(bundle)
    except RenderError as error:
        event(error.message.rpartition(": ")[2].partition("`")[0])
        return
    event("rendered")
    ours, theirs = Decider(snapshot), enforcer(rendered["model.conf"], rendered["policy.csv"])
    for request in data.draw(st.lists(conditional_requests(), min_size=4, max_size=8)):
        assert judge(theirs, request) == ours.decide(request).allowed, (policy, request)


REWRITES = "choose a value without `!`, `&&`, `||`, `#`, `eval(` and a `r.` or `p.` at the beginning of a word"


@pytest.mark.parametrize(
    ("condition", "message", "help"),
    [
        ('r.obj.x == "top!"', 'Casbin rewrites the text `"top!"` in spite of its quotes', REWRITES),
        ('r.obj.x == "a&&b"', 'Casbin rewrites the text `"a&&b"` in spite of its quotes', REWRITES),
        ('r.obj.x == "see r.x"', 'Casbin rewrites the text `"see r.x"` in spite of its quotes', REWRITES),
        (
            "r.obj.p.x == 1",
            "Casbin rewrites `r.obj.p.x`, an attribute of which is called like a request or a rule",
            "give the attribute another name than `r` or `p`",
        ),
        (
            "r.context.keys == 1",
            "Casbin does not find the attribute `keys`, a name of Python's own",
            "give the attribute another name",
        ),
    ],
)
def test_a_condition_that_casbin_would_change_is_refused(condition: str, message: str, help: str) -> None:
    """The error names the condition with its place, what Casbin does to it, and the remedy."""
    grant = f"{{object: folder, actions: [read], when: {json.dumps(condition)}}}"
    policy = f"roles:\n  A:\n    assigned: company\n    grants:\n      - {grant}\n"
    with pytest.raises(RenderError) as caught:
        render_bundle(read(yaml_bundle(policy, EXTENDED)))
    place = f"the condition `{condition}` at policy.yaml:5:9 cannot be written for Casbin: "
    assert (caught.value.message, caught.value.help) == (place + message, help)


def test_a_condition_is_given_the_blanks_that_casbin_needs() -> None:
    """`a&&b` is one word to Casbin; the same condition with blanks is not."""
    grant = '{object: folder, actions: [read], when: \'r.id=="1"&&r.act=="read"\'}'
    policy = f"roles:\n  A:\n    assigned: company\n    grants:\n      - {grant}\n"
    rendered = render_bundle(read(yaml_bundle(policy, EXTENDED)))
    assert ', r.id == "1" && r.act == "read"\n' in rendered["policy.csv"]


@pytest.mark.parametrize(
    ("matcher", "problem"),
    [
        ('r.sub == p.sub && r.act == "a#b"', 'Casbin rewrites the text `"a#b"` in spite of its quotes'),
        ('r.sub == p.sub && r.act == "eval(x)"', 'Casbin rewrites the text `"eval(x)"` in spite of its quotes'),
        ("r.sub == p.sub&&r.act == p.act", "Casbin reads `r.sub == p.sub&&r.act == p.act` as something else"),
        ("r.sub == p.sub && eval( p.act )", "Casbin reads `r.sub == p.sub && eval( p.act )` as something else"),
        (
            "r.sub == p.sub && r.obj.title == p.obj",
            "Casbin does not find the attribute `title`, a name of Python's own",
        ),
    ],
)
def test_a_matcher_that_casbin_would_change_is_refused(matcher: str, problem: str) -> None:
    """A plain bundle's own matcher is rendered as it stands, or not at all."""
    model = f"{RBAC.partition('[matchers]')[0]}[matchers]\nm = {matcher}\n"
    line = model.count("\n")
    with pytest.raises(RenderError) as caught:
        render_bundle(read(rows_bundle("", model)))
    assert caught.value.message == f"the matcher at model.conf:{line}:5 cannot be written for Casbin: {problem}"


def test_the_matchers_of_numbered_sections_are_rendered() -> None:
    """`m2` reads `r2` and `p2`; Casbin rewrites these as it should."""
    second = "r2 = sub, act\np2 = sub, act\nm2 = r2.sub == p2.sub && r2.act == p2.act && !(r2.act == 'x')\n"
    lines = dict(zip("rpm", second.splitlines(), strict=True))
    model = RBAC.replace("[policy_definition]", lines["r"] + "\n[policy_definition]", 1)
    model = model.replace("[role_definition]", lines["p"] + "\n[role_definition]", 1) + lines["m"] + "\n"
    assert "p2, bob, read" in render_bundle(read(rows_bundle("p2, bob, read\n", model)))["policy.csv"]
