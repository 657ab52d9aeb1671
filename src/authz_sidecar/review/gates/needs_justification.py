"""`needs_justification`: changes of some access need a reason.

A reason is the text of a trailer `Justification: …` of a commit of the change. It says why, and approves nothing: that
anybody can write one is the point. Too short a text, or one character over and over, is none.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.gates import NeedsJustification
from authz_sidecar.review.gates.changed import changes_of
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.violation import Finding

_LEAST_CHARACTERS = 5


def find_needs_justification(asked: Asked) -> Iterator[Finding]:
    """The changes that nothing justifies."""
    predicate = asked.predicate(NeedsJustification)
    given = [" ".join(text.split()) for text in asked.scene.facts.justifications]
    if any(_is_reason(text, predicate.min_length) for text in given):
        return
    why = "the reason that is given is too short" if any(given) else "no reason is given"
    for changed in changes_of(asked, predicate):
        yield Finding(
            detail=(*changed.phrase, f", and {why}"),
            help=f"say why in the commit's last lines: `Justification: …`, at least {predicate.min_length} characters",
            shown=changed.exact,
            examples=changed.examples,
            lines=changed.lines,
        )


def _is_reason(text: str, least: int) -> bool:
    return len(text) >= least and len(set(text.casefold())) >= min(_LEAST_CHARACTERS, least)
