"""Which rules match a request, and which roles count for it, beside what is decided."""

from pathlib import Path

import pytest

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import Reason, Request
from tests.review.small_bundle import plain_material

ROOT = Path(__file__).parents[2]
MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = priority, sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = priority(p.eft) || deny
[matchers]
m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act && (r.obj != "x" || r.sub.level > 3)
"""
POLICY = """\
p, 30, ann, note, read, allow
p, 10, editor, no*, read, deny
p, 20, ann, note, write, allow
p, 5, ann, x, read, allow
g, ann, editor
"""


@pytest.mark.parametrize("name", ["policies", "examples/viewer", "examples/kissflow"])
def test_the_first_one_decides(name: str) -> None:
    """For every policy test of a bundle, the first rule that matches is what decides, and where none decides, none
    matches."""
    bundle = load_bundle(ROOT / name).bundle
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    decider = Decider(snapshot)
    requests = [request for test in bundle.tests if (request := test.request()[0]) is not None]
    assert len(requests) > 500
    for request in requests:
        decision = decider.decide(request)
        by_rule = decision.reason in (Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE)
        assert decider.matching(request)[:1] == ([decision.rule] if by_rule else [])


def test_what_cannot_be_evaluated_does_not_match() -> None:
    """A rule whose condition fails is none that matches, and neither is any rule of an invalid request."""
    decider = plain_material(MODEL, POLICY).decider
    request = Request("ann", "read", object="x")
    assert decider.decide(request).reason is Reason.EVALUATION_ERROR
    assert decider.matching(request) == []
    assert decider.matching(Request("ann", "read", object="note", section="7")) == []


def test_roles_of_a_request() -> None:
    """The roles that a subject holds are told without itself, and none in a section that is not there."""
    decider = plain_material(MODEL, POLICY).decider
    assert decider.roles(Request("ann", "read", object="note")) == ("editor",)
    assert decider.roles(Request("ann", "read", object="note", section="7")) == ()
