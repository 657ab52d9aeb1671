"""The format reference: its examples are a bundle, and it names every code."""

import re
from pathlib import Path

from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import CODES
from tests.bundle.expectations import read

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bundles.md").read_text(encoding="utf-8")
EXAMPLES = {found[1]: found[0] for found in re.finditer(r"^# (\S+\.yaml)\n(?:(?!```).*\n)+", PAGE, re.MULTILINE)}
# Codes of other families belong to `lint`, which has pages of its own.
FAMILIES = {"model", "expression", "pattern", "rule", "role", "bundle", "file", "yaml", "field", "manifest", "name"}
FAMILIES |= {"unknown", "grant", "assignment", "flag", "test", "too", "invisible"}


def test_the_examples_are_one_bundle() -> None:
    """What the page shows loads without a finding and has the tests that it describes."""
    bundle = read({"model.conf": EXTENDED, **EXAMPLES})
    assert set(bundle.roles) == {"AUDITOR", "CLERK", "CHIEF", "SIGNER", "NOBODY"}
    assert "access: case update as CLERK, others" in {test.name for test in bundle.tests}


def test_every_code_of_a_bundle_is_listed() -> None:
    """Each stands in the table with the words of the registry."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE.partition("## Diagnostic codes")[2], re.MULTILINE))
    linted = {rule.code for rule in RULES}
    assert rows == {
        code: fault for code, fault in CODES.items() if code.split("-")[0] in FAMILIES and code not in linted
    }
