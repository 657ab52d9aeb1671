"""A grant that is written twice.

What it does: finds rows with the same fields, and grants of one role (or of one identity) that give it the same action
on the same objects once more, also where lists of `objects` and `actions` come to the same.

Why it is bad: whoever withdraws one of the two believes that the access is gone.

Example: `- {object: case, actions: [read]}` and further down `- {objects: [case, report], actions: [read]}`

Use instead: one of the two. Removing the other changes no decision.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.redundancy import Redundancy
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line, holder_of
from authz_sidecar.values import Diagnostic, Severity

CODE = "duplicate-grant"


def _find(material: Material) -> Iterator[Diagnostic]:
    for found in material.redundant(Redundancy.DUPLICATE):
        span, first = found.table.span(found.row), found.table.span(found.by[0])
        if found.whole:
            others = f" and {len(found.by) - 1} more" if len(found.by) > 1 else ""
            message = f"this {material.noun} is written twice: {file_and_line(first)}{others} has it already"
            help = f"remove this {material.noun}; no decision depends on it"
        else:
            fields = dict(zip(found.section.section.fields, found.table.values(found.row), strict=True))
            action, kind = quote(fields["act"]), quote(fields["type"])
            message = f"{action} of {kind} is granted to {holder_of(fields['sub'])} twice"
            if first == span:
                help = "name each type and action once"
            else:
                message += f": {file_and_line(first)} has it already"
                help = f"remove {action} of {kind} from one of the two"
        yield Diagnostic(span, CODE, message, help, Severity.WARNING)


RULE = LintRule(CODE, "Grant that is written twice", "0.1.0", _find, __doc__)
