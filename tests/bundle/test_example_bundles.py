"""The example bundles: rendered as plain Casbin, with pycasbin as the judge of their policy tests."""

from pathlib import Path

import casbin
import pytest
from casbin.persist.adapters import StringAdapter

from authz_sidecar.bundle.render import render_bundle
from authz_sidecar.bundle.standard_model import form_of
from authz_sidecar.sources.load import load_bundle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUNDLES = sorted(path.parent for path in EXAMPLES.glob("*/model.conf"))


def test_the_four_systems_are_there() -> None:
    """Each system has its bundle."""
    assert [path.name for path in BUNDLES] == ["clinia", "e6data", "kissflow", "viewer"]


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_pycasbin_decides_an_example_as_its_tests_expect(path: Path) -> None:
    """Casbin is the judge: every policy test of an example comes out as expected on the rendered text."""
    bundle = load_bundle(path).bundle
    assert bundle is not None
    assert form_of(bundle.model) == "basic"
    rendered = render_bundle(bundle)
    judge = casbin.Enforcer(
        casbin.Enforcer.new_model(text=rendered["model.conf"]), StringAdapter(rendered["policy.csv"])
    )
    wrong = [
        test.name
        for test in bundle.tests
        if test.request()[0] is not None
        and judge.enforce(test.subject, test.company, test.type, test.id, test.action, test.owner) != test.allowed
    ]
    assert wrong == []
