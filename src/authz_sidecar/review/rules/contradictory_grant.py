"""A grant that allows what another denies.

What it does: finds an allow and a deny of the same set: one role (or identity), the same object type, id, action, scope
and condition, also where lists of `objects` and `actions` have some of it in common; in plain Casbin rows that differ
in their effect alone. The one that loses is told.

Why it is bad: one of the two is a mistake, and which of them cannot be read from the policy.

Example: `- {object: case, actions: [read, delete]}` beside `- {object: case, actions: [delete], effect: deny}`

Use instead: the one that is meant. To keep an action from a wildcard (`actions: ["*"]`), a deny is right and is not
told.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.redundancy import Redundancy
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line, holder_of
from authz_sidecar.values import Diagnostic, Severity

CODE = "contradictory-grant"

_VERBS = {"allow": "allows", "deny": "denies"}


def _find(material: Material) -> Iterator[Diagnostic]:
    for found in material.redundant(Redundancy.CONTRADICTED):
        names = found.section.section.fields
        fields = dict(zip(names, found.table.values(found.row), strict=True))
        winner = dict(zip(names, found.table.values(found.by[0]), strict=True))
        span, other = found.table.span(found.row), found.table.span(found.by[0])
        verb, opposite = _VERBS[fields["eft"]], _VERBS[winner["eft"]]
        if found.whole:
            message = f"this {material.noun} {verb} what {file_and_line(other)} {opposite}, which wins"
            help = "keep the one of the two that is meant"
        else:
            what = f"{quote(fields['act'])} of {quote(fields['type'])}"
            message = f"{what} is allowed to {holder_of(fields['sub'])} here and denied by {file_and_line(other)}"
            help = f"remove {what} from one of the two"
        yield Diagnostic(span, CODE, message, help, Severity.WARNING)


RULE = LintRule(CODE, "Grant that allows what another denies", "0.1.0", _find, __doc__)
