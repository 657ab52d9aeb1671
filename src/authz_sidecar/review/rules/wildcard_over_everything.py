"""A grant of everything to a company role or to an identity.

What it does: finds grants of every action (`*`) on every object type (`*`), without an id, a condition or the scope
`own`, in a role that is `assigned: company` and among the `grants` of an assignment. A platform role may be the
administrator's, and is not told.

Why it is bad: each object type and action that is ever added to the manifest is given away at once, to customers too,
and nobody is asked.

Example: `CLIENT_ADMIN: {assigned: company, grants: [{object: "*", actions: ["*"]}]}`

Use instead: the object types and actions by name, or a data domain.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.definitions import Grant
from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.wording import quote
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.values import Diagnostic, Severity

CODE = "wildcard-over-everything"


def _find(material: Material) -> Iterator[Diagnostic]:
    for name, role in material.bundle.roles.items():
        if role.assigned == "company":
            for grant in role.grants:
                if _is_everything(grant):
                    yield _finding(grant, f"the company role {quote(name)}")
    for assignment in material.bundle.assignments:
        for grant in assignment.grants:
            if _is_everything(grant):
                yield _finding(grant, quote(assignment.subject))


def _is_everything(grant: Grant) -> bool:
    return (
        grant.object == ANY
        and ANY in grant.actions
        and grant.effect == "allow"
        and grant.id == ANY
        and grant.scope != "own"
        and not grant.when
    )


def _finding(grant: Grant, who: str) -> Diagnostic:
    return Diagnostic(
        grant.span,
        CODE,
        f"{who} is granted every action on every object type, those to come included",
        "name the object types and actions that are meant",
        Severity.WARNING,
    )


RULE = LintRule(CODE, "Grant of everything to a company role or an identity", "0.1.0", _find, __doc__)
