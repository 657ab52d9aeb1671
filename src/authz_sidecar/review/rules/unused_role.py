"""A role that nobody holds.

What it does: finds roles that no assignment and no group mapping gives and no other role inherits; in plain Casbin
subjects of rules that begin with `role:` and are nobody's role. With `lint --directory` what the directory holds counts
too. A bundle that assigns nothing at all has its identities elsewhere, and where no directory is named none of its
roles is told. Nor are `sole` roles, which grant nothing and are there to be given, and the
manifest's `built_in_roles`.

Why it is bad: its grants are reviewed and kept for nobody, or its name is misspelt where it is assigned.

Example: `roles: {CLERK: …, INTERN: …}` with assignments of `CLERK` alone

Use instead: an assignment, `built_in_roles` for a role that identities elsewhere may be given, or no such role.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.wording import quote
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "unused-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    found, remedy = (
        (
            _defined(material.bundle, material.held_roles),
            "assign it, name it in the manifest's `built_in_roles`, or remove it",
        )
        if material.bundle.form == "yaml"
        else (_named(material.snapshot, material.held_roles), "link somebody to it, or remove its rules")
    )
    for span, name in found:
        yield Diagnostic(span, CODE, f"nobody holds the role {quote(name)}", remedy, Severity.WARNING)


def _defined(bundle: Bundle, held: frozenset[str] | None) -> Iterator[tuple[Span, str]]:
    """Roles of definitions."""
    used = {role for entry in bundle.assignments for role in entry.roles}
    used.update(role for mapping in bundle.group_mappings for role in mapping.roles)
    if not used and held is None:
        return
    used.update(held or ())
    used.update(parent for role in bundle.roles.values() for parent in role.inherits)
    used.update(bundle.manifest.built_in_roles)
    for name, role in bundle.roles.items():
        if name not in used and role.kind != "sole":
            yield role.span, name


def _named(snapshot: Snapshot, held_roles: frozenset[str] | None) -> Iterator[tuple[Span, str]]:
    """Roles that rows of rules name, where the name tells that it is a role and links tell who holds it."""
    for index in snapshot.sections.values():
        table = snapshot.tables[index.section.ptype]
        accesses = {
            (access.field, access.definition) for branch in index.branches for access in branch.plan.subject_roles
        }
        for field, definition in sorted(accesses):
            graph, links = snapshot.graphs[definition], snapshot.tables[definition]
            # With patterns among them, names do not tell who holds a role.
            if (not len(links) and held_roles is None) or graph.names is not None or graph.members:
                continue
            held = {*links.columns[1], *(held_roles or ())}
            seen: set[str] = set()
            for row, name in enumerate(table.columns[index.section.fields.index(field)]):
                if name not in seen and name.startswith(ROLE_PREFIX) and name not in held:
                    yield table.span(row), name
                seen.add(name)


RULE = LintRule(CODE, "Role that nobody holds", "0.1.0", _find, __doc__)
