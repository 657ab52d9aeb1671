"""A condition that always holds.

What it does: finds `when` of a grant that holds for every request which the grant matches: a constant, or a comparison
that the grant's own object type, id or action settles; in plain Casbin conditions that are constant, the literals
`true` and `True` excepted. A condition that never holds is an `unreachable-grant`.

Why it is bad: the grant reads as if it were narrowed, and is not.

Example: `- {object: case, actions: [read], when: r.type == "case"}`

Use instead: the grant without `when`, which decides the same, or the condition that was meant.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import Assignment, Grant, Role
from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.fold import TRUE, specialise
from authz_sidecar.model.expression import Expr
from authz_sidecar.review.material import Material
from authz_sidecar.review.reach import filled
from authz_sidecar.review.rules.rule import Edit, EditKind, LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "needless-condition"

# What rows write where they have no condition.
_NO_CONDITION = frozenset(("true", "True"))


def _find(material: Material) -> Iterator[Diagnostic]:
    yield from _in_grants(material) if material.bundle.form == "yaml" else _in_rows(material)


def _in_grants(material: Material) -> Iterator[Diagnostic]:
    conditions: dict[str, Expr] = {}
    for index in material.snapshot.sections.values():
        conditions.update(index.conditions.get("when", {}))
    holders: tuple[Role | Assignment, ...] = (*material.bundle.roles.values(), *material.bundle.assignments)
    for holder in holders:
        for grant in holder.grants:
            if grant.when and _always_holds(grant, conditions[grant.when.strip()]):
                yield Diagnostic(
                    grant.key_span("when"),
                    CODE,
                    f"the condition {quote(grant.when.strip())} always holds here",
                    "remove `when`, or write the condition that is meant",
                    Severity.WARNING,
                )


def _always_holds(grant: Grant, condition: Expr) -> bool:
    # Each rule that the grant makes has a type and an action of its own.
    for kind in grant.types:
        for action in grant.actions:
            known = {"type": kind, "action": action, "id": grant.id}
            values = {source: value for source, value in known.items() if not value.endswith(ANY)}
            if specialise(filled(condition, values), {}, {}) != TRUE:
                return False
    return True


def _in_rows(material: Material) -> Iterator[Diagnostic]:
    for index in material.snapshot.sections.values():
        table = material.snapshot.tables[index.section.ptype]
        for field, conditions in index.conditions.items():
            constant = {text for text, expr in conditions.items() if specialise(expr, {}, {}) == TRUE} - _NO_CONDITION
            if not constant:
                continue
            for row, text in enumerate(table.columns[index.section.fields.index(field)]):
                if text in constant:
                    yield Diagnostic(
                        table.span(row),
                        CODE,
                        f"the condition {quote(text)} always holds",
                        "write `True`, or the condition that is meant",
                        Severity.WARNING,
                    )


def _fix(material: Material, finding: Diagnostic) -> Iterator[Edit]:
    if material.bundle.form == "yaml":
        yield Edit(EditKind.REMOVE_ENTRY, finding.span)


RULE = LintRule(CODE, "Condition that always holds", "0.1.0", _find, __doc__, fix=_fix)
