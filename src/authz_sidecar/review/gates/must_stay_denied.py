"""`must_stay_denied`: none of these subjects may make any of these requests.

Whole sets are compared, so that one request that is allowed breaks it. What an identity is allowed only because it
holds one of `except_roles` does not count, and a role means whoever holds it and nothing else.
"""

from collections.abc import Iterator

from authz_sidecar.bundle.gates import MustStayDenied
from authz_sidecar.review.access.change import Kind
from authz_sidecar.review.gates.scene import Asked, Piece, shown
from authz_sidecar.review.gates.subjects import Choice
from authz_sidecar.review.gates.violation import Finding
from authz_sidecar.review.gates.wording import is_many, what_phrase, who_phrase
from authz_sidecar.review.report.wording import Phrase


def find_must_stay_denied(asked: Asked) -> Iterator[Finding]:
    """What is allowed in spite of the gate."""
    predicate = asked.predicate(MustStayDenied)
    choice = Choice(asked, predicate)
    told = Told()
    whom = choice.whom
    if whom is None:
        return
    for piece in asked.pieces(asked.boxes(predicate), choice.without, predicate.only_gained, whom):
        subjects = (
            choice.of(piece.kind, piece.subjects, piece.names) if piece.exact else choice.of_unknown(piece.subjects)
        )
        if subjects is not None and told.is_new(piece, subjects):
            yield allowed_finding(asked, piece, subjects, ("must stay denied",), predicate.only_gained)


class Told:
    """Keeps what identities may do through their roles from being told beside the roles: those come first."""

    def __init__(self) -> None:
        self._roles: set[str] = set()

    def is_new(self, piece: Piece, subjects: tuple[str, ...]) -> bool:
        """Whether a piece is to be told."""
        if piece.kind is Kind.ROLE and piece.exact:
            self._roles.update(subjects)
        return not piece.exact or self._roles.isdisjoint(piece.roles)


def allowed_finding(
    asked: Asked, piece: Piece, subjects: tuple[str, ...], demand: Phrase, only_gained: bool = False
) -> Finding:
    """That these subjects are allowed what a gate does not let them; `demand` says what the gate says."""
    if not piece.exact:
        return Finding(
            detail=(
                "whether ",
                *who_phrase(piece.kind, subjects),
                " may do ",
                *what_phrase(piece.box),
                f" cannot be compared: {piece.why}",
            ),
            help="keep rules that no finite comparison covers out of what the gate is about, or name it more narrowly",
            shown=False,
            lines=piece.lines,
        )
    who = subjects[0] if subjects else ""
    examples, lines = shown(asked.scene, piece.kind, who, piece.box, piece.lines, piece.names)
    verb = "gain" if only_gained else "are allowed" if is_many(piece.kind, subjects) else "is allowed"
    verb = f"{verb}s" if verb == "gain" and not is_many(piece.kind, subjects) else verb
    return Finding(
        detail=(
            *who_phrase(piece.kind, subjects, piece.names),
            f" {verb} ",
            *what_phrase(piece.box),
            ", which ",
            *demand,
        ),
        help="take the access away; what the gate says is changed by a pull request of its own",
        examples=examples,
        lines=lines,
    )
