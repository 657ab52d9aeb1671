"""`must_stay_allowed`: each of these subjects may make every one of these requests.

A role means whoever holds it and nothing else; one of companies is judged in companies, since that is where it is held.
One request of the set that is denied breaks the gate.
"""

from collections.abc import Iterator

import msgspec

from authz_sidecar.bundle.gates import MustStayAllowed
from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.gates.example import find_example, lines_of
from authz_sidecar.review.gates.names import any_matches
from authz_sidecar.review.gates.scene import Asked, inexact_piece
from authz_sidecar.review.gates.subjects import Choice, known_roles
from authz_sidecar.review.gates.violation import Example, Finding
from authz_sidecar.review.gates.wording import what_phrase, who_phrase
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, Texts, texts

_COMPANIES = texts((), ("",), ("",))


def find_must_stay_allowed(asked: Asked) -> Iterator[Finding]:
    """What is denied in spite of the gate."""
    predicate = asked.predicate(MustStayAllowed)
    choice = Choice(asked, predicate)
    space = asked.scene.space
    boxes = asked.boxes(predicate)
    for role in sorted(choice.roles):
        for box in boxes:
            company = box.company.intersect(_COMPANIES) if _is_of_companies(asked, role) else box.company
            if company:
                yield from _denied(asked, Kind.ROLE, role, msgspec.structs.replace(box, company=company))
    known = {*space.identities, *[name for name in predicate.identities if not name.endswith("*")]}
    roles = frozenset(known_roles(asked))
    for name in sorted(known | asked.scene.turned):
        if choice.is_meant(name) if name in roles else choice.is_identity(name):
            # An identity that the policies do not name is decided as anyone of that name.
            kind = Kind.IDENTITY if name in space.identities or name in roles else Kind.ANYONE
            for box in boxes:
                yield from _denied(asked, kind, name, box)
    for stranger in space.strangers:
        if predicate.anyone and not any_matches(predicate.except_identities, stranger.sample):
            for box in boxes:
                yield from _denied(asked, Kind.ANYONE, stranger.sample, box, stranger.names)


def _is_of_companies(asked: Asked, role: str) -> bool:
    roles = asked.scene.head.bundle.roles
    name = role.removeprefix(ROLE_PREFIX)
    return name in roles and roles[name].assigned == "company"


def _denied(asked: Asked, kind: Kind, subject: str, box: Box, names: Texts | None = None) -> Iterator[Finding]:
    """What of `box` is denied to a subject; `names` are those of anyone, whom the subject stands for."""
    who = who_phrase(Kind.IDENTITY if names is None and kind is Kind.ANYONE else kind, (subject,), names or ANY)
    found = asked.scene.space.cells(kind, subject, box)
    for cell in found.cells:
        if cell.head:
            continue
        if kind is Kind.ANYONE:
            # The cell's own example is by somebody of another name.
            shown = find_example(cell.box, kind, subject, False, "head", asked.scene.head.material)
        else:
            shown = Example("head", cell.example, False, kind)
        yield Finding(
            detail=(*who, " is denied ", *what_phrase(cell.box), ", which must stay allowed"),
            help="give the access back; what the gate says is changed by a pull request of its own",
            examples=(shown,) if shown else (),
            lines=lines_of(shown, asked.scene.head) if shown else (),
        )
    for one in found.inexact:
        yield Finding(
            detail=("whether ", *who, " may do all of ", *what_phrase(one.box), f" cannot be compared: {one.why}"),
            help="grant it by a rule without a condition, or name what the gate is about more narrowly",
            shown=False,
            lines=inexact_piece(one).lines,
        )
