"""The kinds of gates, each with its evaluation."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from authz_sidecar.review.gates.max_new_grants import find_max_new_grants
from authz_sidecar.review.gates.must_stay_allowed import find_must_stay_allowed
from authz_sidecar.review.gates.must_stay_denied import find_must_stay_denied
from authz_sidecar.review.gates.needs_approval import find_needs_approval
from authz_sidecar.review.gates.needs_justification import find_needs_justification
from authz_sidecar.review.gates.no_cross_company_access import find_no_cross_company_access
from authz_sidecar.review.gates.only_roles import find_only_roles
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.separation_of_duties import find_separation_of_duties
from authz_sidecar.review.gates.violation import Finding


class GateKind(msgspec.Struct, frozen=True):
    """A kind of gate: how it is evaluated, and whether it judges a state of the policies or only a change of it."""

    find: Callable[[Asked], Iterable[Finding]]
    of_state: bool


KINDS: Mapping[str, GateKind] = {
    "no_cross_company_access": GateKind(find_no_cross_company_access, True),
    "only_roles": GateKind(find_only_roles, True),
    "separation_of_duties": GateKind(find_separation_of_duties, True),
    "max_new_grants": GateKind(find_max_new_grants, False),
    "needs_approval": GateKind(find_needs_approval, False),
    "needs_justification": GateKind(find_needs_justification, False),
    "must_stay_allowed": GateKind(find_must_stay_allowed, True),
    "must_stay_denied": GateKind(find_must_stay_denied, True),
}
