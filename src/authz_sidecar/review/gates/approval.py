"""Whether enough of those whose approval counts have approved."""

from authz_sidecar.bundle.gates import Approval
from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.gates.violation import ReviewFacts
from authz_sidecar.review.report.wording import Phrase, names_phrase


def is_approved(approval: Approval | None, facts: ReviewFacts) -> bool:
    """Whether the approval is there; None stands for that of anybody."""
    if approval is None:
        # An empty name is a variable that nobody set.
        return any(name.strip() for name in facts.approved_by)
    return len(set(approval.by).intersection(facts.approved_by)) >= approval.needed


def missing_phrase(approval: Approval | None, facts: ReviewFacts) -> Phrase:
    """Whose approval is missing."""
    if approval is None:
        return ("nobody has approved it",)
    have = sorted(set(approval.by).intersection(facts.approved_by))
    left = [name for name in dict.fromkeys(approval.by) if name not in have]
    more = approval.needed - len(have)
    if more == len(left):
        return ("it lacks the approval of ", *names_phrase(left))
    return (f"it lacks {counted(more, 'approval')} of ", *names_phrase(left))


APPROVE = "have it approved; who runs the review names them with `--approved-by`"
