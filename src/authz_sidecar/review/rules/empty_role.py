"""A role that grants nothing.

What it does: finds roles without any rule, neither their own nor inherited. A `sole` role grants nothing by its kind,
and a role that a flag is for may be there for the flag; neither is told. In plain Casbin it finds roles that links give
and that no rule names, where the matcher looks for roles in a field of the rules.

Why it is bad: whoever is given the role believes to have access, and has none.

Example: `INTERN: {assigned: company}`, or `g, ann, role:intern` where no row of `p` names `role:intern`

Use instead: grants, `kind: sole` for a role that means no access, or no such role.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.expression import Field, RoleCall
from authz_sidecar.review.expressions import parts_of
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "empty-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    if material.bundle.form == "yaml":
        found = _defined(material)
        remedy = "give it grants, make it `kind: sole`, or remove it"
    else:
        found = _linked(material.snapshot)
        remedy = "correct its name, give it rules, or remove the link"
    for span, name in found:
        yield Diagnostic(span, CODE, f"the role {quote(name)} grants nothing", remedy, Severity.WARNING)


def _defined(material: Material) -> Iterator[tuple[Span, str]]:
    bundle = material.bundle
    flagged = {role for flag in bundle.flags.values() for role in flag.roles}
    subjects = material.allowances.subjects
    for name, role in bundle.roles.items():
        if role.kind != "sole" and name not in flagged and ROLE_PREFIX + name not in subjects:
            yield role.span, name


def _linked(snapshot: Snapshot) -> Iterator[tuple[Span, str]]:
    """Roles that links end in and nothing else names; each at the first link that gives it."""
    for definition, graph in snapshot.graphs.items():
        named = None if graph.names is not None or graph.members else _named(snapshot, definition)
        if named is None:
            continue
        links = snapshot.tables[definition]
        known = named.union(links.columns[0])
        for row, role in enumerate(links.columns[1]):
            if role not in known:
                known.add(role)
                yield links.span(row), role


def _named(snapshot: Snapshot, definition: str) -> set[str] | None:
    """The roles that rules ask for by `definition`; None where a matcher or a condition asks in another way too."""
    names: set[str] = set()
    for index in snapshot.sections.values():
        section = index.section
        conditions = [expr for texts in index.conditions.values() for expr in texts.values()]
        for call in parts_of((section.matcher, *conditions)):
            if not isinstance(call, RoleCall) or call.definition != definition:
                continue
            role = call.arguments[1]
            if not isinstance(role, Field):
                return None
            names.update(snapshot.tables[section.ptype].columns[section.fields.index(role.name)])
    return names


RULE = LintRule(CODE, "Role that grants nothing", "0.1.0", _find, __doc__)
