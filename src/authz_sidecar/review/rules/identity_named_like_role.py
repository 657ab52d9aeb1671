"""An identity that is called like a role.

What it does: finds identities of assignments whose name is that of a role of the bundle, to the letter; in plain Casbin
subjects of links that are called like a role without its prefix `role:`.

Why it is bad: the identity is not the role and has nothing of its access, but whoever reads a request, a log or the
policy cannot tell which of the two is meant.

Example: `- {subject: CLERK, roles: [AUDITOR]}` where `CLERK` is a role

Use instead: another name for one of the two.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity, Span
from authz_sidecar.values.request import ROLE_PREFIX

CODE = "identity-named-like-role"


def _find(material: Material) -> Iterator[Diagnostic]:
    found = _assigned(material) if material.bundle.form == "yaml" else _linked(material)
    told: set[str] = set()
    for span, name in found:
        if name not in told:
            told.add(name)
            yield Diagnostic(
                span,
                CODE,
                f"the identity {quote(name)} is called like a role and is none",
                "give it another name, or assign the role to whoever is meant",
                Severity.WARNING,
            )


def _assigned(material: Material) -> Iterator[tuple[Span, str]]:
    for assignment in material.bundle.assignments:
        if assignment.subject in material.bundle.roles:
            yield assignment.value_span("subject"), assignment.subject


def _linked(material: Material) -> Iterator[tuple[Span, str]]:
    for definition in material.bundle.model.roles:
        links = material.bundle.tables[definition]
        roles = {role.removeprefix(ROLE_PREFIX) for role in set(links.columns[1]) if role.startswith(ROLE_PREFIX)}
        # A role that is linked to without the prefix is a role, whatever it is called.
        roles.difference_update(links.columns[1])
        for row, name in enumerate(links.columns[0]):
            if name in roles:
                yield links.span(row), name


RULE = LintRule(CODE, "Identity that is called like a role", "0.1.0", _find, __doc__)
