"""`needs_approval`: changes of some access need somebody's approval.

Gained and lost access counts, and so do another meaning of a data domain that the gate names, and of roles that it
names who holds them and whether they exist. Approvals come only from `ReviewFacts.approved_by`: who runs the review
knows them, and nothing that a pull request carries can add one.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.gates import NeedsApproval
from authz_sidecar.review.gates.approval import APPROVE, is_approved, missing_phrase
from authz_sidecar.review.gates.changed import changes_of
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.violation import Finding


def find_needs_approval(asked: Asked) -> Iterator[Finding]:
    """The changes that lack approval."""
    predicate = asked.predicate(NeedsApproval)
    if is_approved(predicate.approval, asked.scene.facts):
        return
    for changed in changes_of(asked, predicate):
        yield Finding(
            detail=(*changed.phrase, ", and ", *missing_phrase(predicate.approval, asked.scene.facts)),
            help=APPROVE,
            shown=changed.exact,
            examples=changed.examples,
            lines=changed.lines,
        )
