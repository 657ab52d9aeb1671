"""Tests against the table of roles: which cells a test has allowed, and which it has shown to be refused.

As with grants, what several roles of a subject allow is shown for none of them.
"""

from collections.abc import Iterable

import msgspec

from authz_sidecar.review.exercise import passed_requests
from authz_sidecar.review.material import Material
from authz_sidecar.review.matrix import AccessMatrix, Level, access_matrix
from authz_sidecar.review.policy_tests import CaseResult
from authz_sidecar.values import Reason
from authz_sidecar.values.request import ROLE_PREFIX

Cell = tuple[str, str, str]


class CellShare(msgspec.Struct, frozen=True):
    """How many of some cells are tested: those that a role grants by a test that is allowed, those that it does not by
    one that is denied."""

    granted: int = 0
    granted_tested: int = 0
    refused: int = 0
    refused_tested: int = 0

    @property
    def complete(self) -> bool:
        """Whether every cell is tested."""
        return (self.granted, self.refused) == (self.granted_tested, self.refused_tested)

    @property
    def tested(self) -> int:
        """How many cells are tested, either way."""
        return self.granted_tested + self.refused_tested


class ExercisedMatrix(msgspec.Struct, frozen=True):
    """The matrix of a bundle with what passing tests have shown: cells (role, type, action) that a role of the subject
    allowed and nothing else of it, and cells of the roles of a subject that was denied."""

    matrix: AccessMatrix
    allowed: frozenset[Cell]
    denied: frozenset[Cell]

    def share(self, role: str, kind: str) -> CellShare:
        """The actions of one type for one role."""
        counts = [0, 0, 0, 0]
        for action in self.matrix.types[kind]:
            refused = self.matrix.level(role, kind, action) is Level.NONE
            tested = (role, kind, action) in (self.denied if refused else self.allowed)
            counts[2 * refused] += 1
            counts[2 * refused + 1] += tested
        return CellShare(*counts)

    def total(self) -> CellShare:
        """All cells."""
        shares = [self.share(role, kind) for role in self.matrix.roles for kind in self.matrix.types]
        return CellShare(
            sum(share.granted for share in shares),
            sum(share.granted_tested for share in shares),
            sum(share.refused for share in shares),
            sum(share.refused_tested for share in shares),
        )


def exercise_matrix(material: Material, results: Iterable[CaseResult]) -> ExercisedMatrix:
    """What the tests with these `results` show of the matrix of a bundle in YAML."""
    allowed: set[Cell] = set()
    denied: set[Cell] = set()
    table = material.snapshot.tables["p"]
    holders, effects = table.columns[0], table.columns[material.snapshot.sections[""].section.fields.index("eft")]
    for result, request in passed_requests(results):
        told, names = denied, set[str]()
        if result.decision.reason is Reason.NO_MATCHING_RULE:
            names.update(material.decider.roles(request))
        elif result.decision.reason is Reason.DENIED_BY_RULE:
            names.update(holders[row] for row in material.decider.matching(request) if effects[row] == "deny")
        elif result.decision.reason is Reason.ALLOWED_BY_RULE:
            told, names = allowed, {holders[row] for row in material.decider.matching(request)}
            if len(names) > 1:
                continue
        told.update(
            (name.removeprefix(ROLE_PREFIX), request.type, request.action)
            for name in names
            if name.startswith(ROLE_PREFIX)
        )
    return ExercisedMatrix(access_matrix(material.bundle), frozenset(allowed), frozenset(denied))
