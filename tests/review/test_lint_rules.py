"""Lint: what it makes of a bundle's findings, and the rules about the effect."""

import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.lint import lint_bundle
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import Diagnostic, Severity, Span

MODEL = """\
[request_definition]
r = sub, obj, act
r2 = sub, act
[policy_definition]
p = sub, obj, act, eft
p2 = sub, act, eft
[policy_effect]
e = {e}
e2 = {e2}
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
m2 = r2.sub == p2.sub && r2.act == p2.act
"""
DENY_OVERRIDE = "!some(where (p.eft == deny))"
SAFE_EFFECTS = [
    "some(where (p.eft == allow))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
]


def findings_of(e: str, e2: str, diagnostics: tuple[Diagnostic, ...] = ()) -> list[Diagnostic]:
    """What lint finds in a bundle with these two effects."""
    model = MODEL.format(e=e, e2=e2.replace("p.eft", "p2.eft"))
    bundle, problems = parse_bundle({"model.conf": model.encode()}, "small")
    assert bundle is not None, problems
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    return list(lint_bundle(bundle, snapshot, diagnostics).findings)


@pytest.mark.parametrize("effect", SAFE_EFFECTS)
def test_effects_that_deny_by_default_are_clean(effect: str) -> None:
    """No finding where a request that no rule allows is denied."""
    assert findings_of(effect, effect) == []


def test_an_effect_that_allows_by_default_is_found_in_each_section() -> None:
    """The warning stands at the section that has the effect, and says what to use instead."""
    (finding,) = findings_of(SAFE_EFFECTS[0], DENY_OVERRIDE)
    assert (finding.code, finding.severity) == ("effect-allows-by-default", Severity.WARNING)
    assert finding.span.file == "model.conf"
    assert finding.span.line in (9, 12)
    assert finding.message == "`e2` allows every request that no rule denies"
    assert "some(where (p.eft == allow)) && !some(where (p.eft == deny))" in finding.help
    assert len(findings_of(DENY_OVERRIDE, DENY_OVERRIDE)) == 2


def test_diagnostics_of_the_load_are_findings_once_and_sorted() -> None:
    """The load's diagnostics come with those of the rules, in order of place, duplicates dropped."""
    late = Diagnostic(Span("z.csv", 1, 1), "rule-width", "late", "")
    early = Diagnostic(Span("a.csv", 2, 1), "rule-width", "early", "")
    findings = findings_of(DENY_OVERRIDE, SAFE_EFFECTS[0], (late, early, late))
    assert [finding.span.file for finding in findings] == ["a.csv", "model.conf", "z.csv"]


def test_a_bundle_that_does_not_load_has_its_diagnostics_alone() -> None:
    """Without a bundle no rule runs and nothing is lost."""
    only = Diagnostic(Span("model.conf"), "model-missing", "the bundle has no `model.conf`", "add one")
    assert lint_bundle(None, None, [only]).findings == (only,)


def test_each_rule_is_announced_before_it_runs_and_comments_are_judged_last() -> None:
    """Who waits is told which rule is at work, and how many there are."""
    model = MODEL.format(e=SAFE_EFFECTS[0], e2=SAFE_EFFECTS[0].replace("p.eft", "p2.eft"))
    bundle, _ = parse_bundle({"model.conf": model.encode()}, "small")
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    told: list[tuple[str, int, int]] = []
    lint_bundle(bundle, snapshot, (), watch=lambda *step: told.append(step))
    codes = [code for code, _, _ in told]
    assert codes == [*sorted({rule.code for rule in RULES if rule.by_default} - {"unused-ignore"}), "unused-ignore"]
    assert [(number, of) for _, number, of in told] == [(number, len(told)) for number in range(1, len(told) + 1)]
