"""Rendering to plain Casbin: the same tables when read back, the same decisions in pycasbin."""

from pathlib import Path

import casbin
import pytest
from casbin.persist.adapters.string_adapter import StringAdapter
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.render import RenderError, render_bundle, row_problem
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.sources.load import load_bundle
from tests.bundle.expectations import RBAC, read, rows_bundle, yaml_bundle

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
