"""Every lint rule finds what its cases say, and the registry of rules is whole."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from authz_sidecar.review import rules
from authz_sidecar.review.choice import Choice
from authz_sidecar.review.fixing import fix_bundle
from authz_sidecar.review.rules.page import HEADINGS, rule_page, split_manual
from authz_sidecar.values import CODES
from authz_sidecar.values.codes import RETIRED
from tests.review.rule_cases import FOLDER, RuleCase, all_cases, findings_in, read_cases, shown

PAGES = Path(__file__).resolve().parents[2] / "docs" / "rules"
# Modules of the package that hold no rule.
NOT_RULES = {"rule", "page"}
CASES = list(all_cases())
RULES = {rule.code: rule for rule in rules.RULES}


@pytest.mark.parametrize(
    ("code", "case"), CASES, ids=[re.sub(r"\W+", "-", f"{code}-{case.name}") for code, case in CASES]
)
def test_a_rule_finds_what_its_case_says(code: str, case: RuleCase) -> None:
    """The findings of the rule are the listed ones, in order, each from its place to as much of its message as is
    given; what other rules find in the same bundle is their own matter."""
    found = [shown(finding) for finding in findings_in(case.bundle_files()) if finding.code == code]
    assert len(found) == len(case.findings), found
    for finding, wanted in zip(found, case.findings, strict=True):
        assert finding.startswith(wanted.removesuffix("…")), f"{finding!r} is not {wanted!r}"


FIXED = [(code, case) for code, case in CASES if case.fixed]


@pytest.mark.parametrize(
    ("code", "case"), FIXED, ids=[re.sub(r"\W+", "-", f"{code}-{case.name}") for code, case in FIXED]
)
def test_a_fix_leaves_what_its_case_says(code: str, case: RuleCase) -> None:
    """The fix of a rule leaves the files as its case has them, changes no other, and finds nothing more to fix."""
    files = case.bundle_files()
    fixed = fix_bundle(files, "case", Choice(select=(code,)), lambda: None)
    assert {file: content.decode() for file, content in fixed.files.items()} == case.fixed
    assert fixed.left == 0
    again = fix_bundle({**files, **fixed.files}, "case", Choice(select=(code,)), lambda: None)
    assert again.files == {}


def test_every_module_of_rules_is_in_the_registry_and_named_after_its_code() -> None:
    """A module holds one rule; the registry lists each once, in the order of their codes."""
    names = [module.name for module in pkgutil.iter_modules(rules.__path__) if module.name not in NOT_RULES]
    modules = [importlib.import_module(f"{rules.__name__}.{name}") for name in names]
    assert list(rules.RULES) == sorted((module.RULE for module in modules), key=lambda rule: rule.code)
    assert [module.RULE.code for module in modules] == [name.replace("_", "-") for name in names]
    assert [module.RULE.manual for module in modules] == [module.__doc__ for module in modules]


@pytest.mark.parametrize("code", RULES)
def test_every_rule_is_declared_and_documented(code: str) -> None:
    """Its code is in the table, its manual says what, why, an example and what instead, and its page is made of it."""
    rule = RULES[code]
    assert code in CODES
    assert re.fullmatch(r"[A-Z].*[^.]", rule.name)
    assert re.fullmatch(r"\d+\.\d+\.\d+", rule.since)
    summary, parts = split_manual(rule.manual or "")
    assert summary.endswith(".")
    assert tuple(parts) == HEADINGS
    assert all(parts.values())
    assert (PAGES / f"{code}.md").read_text(encoding="utf-8") == rule_page(rule), "run `python scripts/rule_pages.py`"


@pytest.mark.parametrize("code", RULES)
def test_every_rule_has_a_case_that_it_finds_and_one_that_it_passes(code: str) -> None:
    """A rule that finds everything, or nothing, is caught; so is a fix that is announced and never shown."""
    cases = read_cases(FOLDER / f"{code}.yaml")
    assert any(case.findings for case in cases)
    assert any(not case.findings for case in cases)
    assert any(case.fixed for case in cases) == (RULES[code].fix is not None)


def test_every_file_of_cases_and_every_page_belongs_to_a_rule() -> None:
    """What a rule that is gone has left behind is found."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == RULES.keys()
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == RULES.keys()


def test_retired_codes_are_not_used_again() -> None:
    """A code that was taken away stands in its own table alone, and what it names instead exists."""
    assert not RETIRED.keys() & CODES.keys()
    assert all(instead in CODES for instead in RETIRED.values() if instead)
