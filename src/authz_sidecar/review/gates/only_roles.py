"""`only_roles`: nobody may make these requests except by these roles.

No other role, held or not, no identity by grants of its own or by a wildcard, and nobody whom the policies do not name.
A role that inherits from one that may is another role.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.gates import OnlyRoles
from authz_sidecar.review.access.change import Kind
from authz_sidecar.review.gates.must_stay_denied import Told, allowed_finding
from authz_sidecar.review.gates.names import any_matches
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.subjects import less, named_roles
from authz_sidecar.review.gates.violation import Finding
from authz_sidecar.review.report.wording import names_phrase
from authz_sidecar.values.texts import ANY


def find_only_roles(asked: Asked) -> Iterator[Finding]:
    """Who may although only others should."""
    predicate = asked.predicate(OnlyRoles)
    may = named_roles(asked, predicate.roles)
    strangers = less(ANY, predicate.identities)
    demand = ("is for ", *names_phrase(list(predicate.roles)), " only")
    told = Told()
    for piece in asked.pieces(asked.boxes(predicate), may, predicate.only_gained):
        left = tuple(
            [
                name
                for name in piece.subjects
                if name not in may and not (piece.kind is not Kind.ROLE and any_matches(predicate.identities, name))
            ]
        )
        if piece.kind is Kind.ANYONE and not any(one.intersect(piece.names) for one in strangers):
            continue
        if (left or not piece.subjects) and told.is_new(piece, left):
            yield allowed_finding(asked, piece, left, demand, predicate.only_gained)
