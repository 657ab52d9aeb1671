"""A test of a denial whose subject is misspelt.

What it does: finds tests that expect a denial and give no reason, of a subject that the bundle does not know and whose
name is one letter away from one that it knows: one too many, one too few, another one, or two exchanged. Names that
differ in a digit are not told.

Why it is bad: nobody is called so, so the denial proves nothing, and the test passes whatever the policy says.

Example: `subject: alcie, …, expect: deny` where `alice` is assigned roles

Use instead: the name that is meant, or `reason: unknown_subject` where the stranger is.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "misspelt-test-subject"

SHORTEST_NAME = 5
MOST_NAMES = 500
_PART = 2


def _find(material: Material) -> Iterator[Diagnostic]:
    suspects = [test for test in material.bundle.tests if not test.allowed and test.reason is None]
    if not suspects:
        return
    known = _known_names(material.bundle)
    unknown = {test.subject for test in suspects} - known
    meant = _nearest(known, {name for name in unknown if not name.startswith(ROLE_PREFIX)})
    for test in suspects:
        if test.subject in meant:
            yield Diagnostic(
                test.span,
                CODE,
                f"the test expects a denial of {quote(test.subject)}, whom the bundle does not know",
                f"did you mean {quote(meant[test.subject])}? if nobody is called so, expect `reason: unknown_subject`",
                Severity.WARNING,
            )


def _known_names(bundle: Bundle) -> frozenset[str]:
    """Every name that a rule or a link has for a subject."""
    known = {assignment.subject for assignment in bundle.assignments}
    for role in bundle.model.roles:
        known.update(bundle.tables[role].columns[0])
    for section in bundle.model.sections.values():
        if "sub" in section.fields:
            known.update(bundle.tables[section.ptype].columns[section.fields.index("sub")])
    return frozenset(known)


def _nearest(known: frozenset[str], unknown: set[str]) -> dict[str, str]:
    """For each unknown name the first known one that is one letter away; names without one are left out."""
    # What is one letter away begins or ends alike, so that few pairs are compared.
    alike: dict[tuple[str, str], list[str]] = {}
    for name in sorted(name for name in unknown if len(name) >= SHORTEST_NAME)[:MOST_NAMES]:
        alike.setdefault((name[:_PART], ""), []).append(name)
        alike.setdefault(("", name[-_PART:]), []).append(name)
    found: dict[str, str] = {}
    for other in known if alike else ():
        for key in ((other[:_PART], ""), ("", other[-_PART:])):
            for name in alike.get(key, ()):
                if abs(len(name) - len(other)) <= 1 and _one_letter_away(name, other):
                    found[name] = min(other, found.get(name, other))
    return found


def _one_letter_away(one: str, other: str) -> bool:
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    first, second = one[start : len(one) - end], other[start : len(other) - end]
    if not (first + second).isalpha():
        return False
    return max(len(first), len(second)) == 1 or (len(first) == 2 and first == second[::-1])


RULE = LintRule(CODE, "Test of a denial whose subject is misspelt", "0.1.0", _find, __doc__)
