"""A `*` that is no wildcard.

What it does: finds values with `*` in fields that the matcher compares to the letter (`r.obj == p.obj`), or looks up as
a role without a matching function; a matcher that says `p.obj == "*" || …` has its wildcard. It looks at plain Casbin
bundles; each value of a field is told once.

Why it is bad: the rule is meant to match many values and matches one, which is spelled with an asterisk. As an allow it
gives nothing, and as a deny it lets everything through.

Example: `p, ann, /reports/*, read` with `m = r.sub == p.sub && r.obj == p.obj && r.act == p.act`

Use instead: a matcher that knows patterns (`keyMatch(r.obj, p.obj)`), or one that knows the wildcard.
"""

from collections.abc import Iterator, Mapping

from authz_sidecar.bundle.wording import counted, quote
from authz_sidecar.compile.access import KeyAccess, PatternAccess, RoleAccess
from authz_sidecar.compile.fold import TRUE, specialise
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.expression import Expr
from authz_sidecar.model.semantics import fields_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "literal-wildcard"


def _find(material: Material) -> Iterator[Diagnostic]:
    if material.bundle.form != "casbin":
        return
    for index in material.snapshot.sections.values():
        table = material.snapshot.tables[index.section.ptype]
        for field, wildcards in _literal_fields(index, material.snapshot).items():
            rows: dict[str, list[int]] = {}
            for row, value in enumerate(table.columns[index.section.fields.index(field)]):
                if "*" in value:
                    rows.setdefault(value, []).append(row)
            for value, having in rows.items():
                if any(specialise(free, {field: value}, {}) == TRUE for free in wildcards):
                    continue
                more = f", here and in {counted(len(having) - 1, 'other row')}" if len(having) > 1 else ""
                yield Diagnostic(
                    table.span(having[0]),
                    CODE,
                    f"{quote(value)} is compared to the letter as {quote(f'p{index.section.suffix}.{field}')}{more}",
                    "use a matching function such as `keyMatch` in the matcher, or name what is meant",
                    Severity.WARNING,
                )


def _literal_fields(index: SectionIndex, snapshot: Snapshot) -> Mapping[str, list[Expr]]:
    """The fields of rules that are compared to the letter in every branch, each with what makes a wildcard of it."""
    found: dict[str, list[Expr]] = {}
    other: set[str] = set()
    for branch in index.branches:
        plan = branch.plan
        for expr in (*plan.residual, *plan.statics):
            other |= fields_of(expr)
        for access in (*plan.keys, *plan.sets):
            if not _is_literal(access, snapshot) or (
                access.free_when and fields_of(access.free_when) != {access.field}
            ):
                other.add(access.field)
            else:
                found.setdefault(access.field, []).extend([access.free_when] if access.free_when else [])
    return {field: wildcards for field, wildcards in found.items() if field not in other}


def _is_literal(access: KeyAccess | RoleAccess | PatternAccess, snapshot: Snapshot) -> bool:
    if isinstance(access, RoleAccess):
        graph = snapshot.graphs[access.definition]
        links = snapshot.tables[access.definition]
        # Somebody may hold a role that is called so.
        return graph.names is None and not graph.members and not any("*" in role for role in set(links.columns[1]))
    return isinstance(access, KeyAccess)


RULE = LintRule(CODE, "Asterisk that is no wildcard", "0.1.0", _find, __doc__)
