"""A grant that never decides, since others cover it.

What it does: finds grants all of whose requests are decided by another: a wider one (`*`, a pattern, a larger scope, a
role that is held as well) with the same outcome, a deny that outweighs it, or under `priority` any that comes first. A
grant in YAML is told when all the rules that it makes are covered. Nothing is told where it is not certain, and a
condition that may fail is never taken to be covered by an allow where its failure would deny.

Why it is bad: the policy reads as if the grant mattered. Whoever narrows it changes nothing, and whoever withdraws the
other gives it effect again.

Example: `- {object: case, actions: [read], scope: own}` beside `- {object: case, actions: ["*"]}`

Use instead: the wider grant alone, or a narrower one in its place. Removing a grant that this rule names changes no
decision.
"""

from collections.abc import Iterator

from authz_sidecar.review.material import Material
from authz_sidecar.review.redundancy import Redundancy, Redundant
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, Severity

CODE = "shadowed-grant"


def _find(material: Material) -> Iterator[Diagnostic]:
    for found in material.redundant(Redundancy.SHADOWED):
        yield Diagnostic(
            found.table.span(found.row),
            CODE,
            _message(found, material.noun),
            f"remove this {material.noun}; no decision depends on it",
            Severity.WARNING,
        )


_VERBS = {"allow": "allows", "deny": "denies"}


def _message(found: Redundant, noun: str) -> str:
    own, other = _effect(found, found.row), _effect(found, found.by[0])
    more = len(found.by) - 1
    who = file_and_line(found.table.span(found.by[0])) + (f" and {more} more" if more else "")
    decides = other if more else _VERBS[other]
    if own == other:
        decides = f"already {decides}"
    elif own == "deny":
        # An allow outweighs a deny by its place alone.
        decides = f"{'come' if more else 'comes'} first and {decides}"
    return f"this {noun} never decides: {who} {decides} all that it {_VERBS[own]}"


def _effect(found: Redundant, row: int) -> str:
    fields = found.section.section.fields
    return found.table.columns[fields.index("eft")][row] if "eft" in fields else "allow"


RULE = LintRule(CODE, "Grant that never decides", "0.1.0", _find, __doc__)
