"""`separation_of_duties`: nobody may have two of these duties in the same company.

A duty is to hold one of some roles, inherited ones included, or to be allowed one of some requests. Judged are every
identity that the policies name, every role by itself (whoever holds it has all that it gives), every group mapping,
and anyone else. A role of the platform is held in every company.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations

import msgspec

from authz_sidecar.bundle.gates import Duty, SeparationOfDuties
from authz_sidecar.review.access.boxes import intersect
from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.gates.names import any_matches, chosen_roles
from authz_sidecar.review.gates.scene import Asked, shown
from authz_sidecar.review.gates.subjects import named_roles
from authz_sidecar.review.gates.violation import Example, Finding, Line
from authz_sidecar.review.gates.wording import what_phrase, who_phrase
from authz_sidecar.review.report.wording import Name, Phrase, company_phrase, joined, role_name
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, Texts, values_of


class Part(msgspec.Struct, frozen=True):
    """One way in which somebody has a duty: in these companies, by a role that is held, or by requests (`box`)."""

    company: Texts
    role: str = ""
    box: Box | None = None
    exact: bool = True
    why: str = ""
    lines: tuple[Line, ...] = ()

    @property
    def phrase(self) -> Phrase:
        """The duty, in words."""
        if self.box is not None:
            return ("may do ", *what_phrase(self.box)) if self.exact else ("perhaps may do ", *what_phrase(self.box))
        return ("holds the role ", Name(role_name(self.role)), " ", *company_phrase(self.company))


Parts = dict[tuple[Kind, str], list[Part]]
"""By subject, the ways in which it has one duty. The name "" stands for everybody, of a part that is not exact."""


def find_separation_of_duties(asked: Asked) -> Iterator[Finding]:
    """Who has two duties that are to be kept apart."""
    predicate = asked.predicate(SeparationOfDuties)
    excepted = named_roles(asked, predicate.except_roles)
    duties = [_has(asked, duty, excepted) for duty in predicate.duties]
    subjects = {subject for has in duties for subject in has if subject[1] or subject[0] is Kind.ANYONE}
    # Roles come first: who holds one that breaks the gate by itself is told with the role.
    broken: set[str] = set()
    for kind, name in sorted(subjects, key=lambda subject: (subject[0] is not Kind.ROLE, subject)):
        if name in excepted or (kind is Kind.IDENTITY and any_matches(predicate.except_identities, name)):
            continue
        if kind is Kind.IDENTITY and not broken.isdisjoint(asked.scene.head.holdings.by_role(name)):
            continue
        parts = [[*has.get((kind, name), ()), *has.get((Kind.IDENTITY, ""), ())] for has in duties]
        for finding in _pairs(asked, predicate, kind, name, parts):
            if kind is Kind.ROLE:
                broken.add(name)
            yield finding
    yield from _groups(asked, predicate, excepted, duties)


def _has(asked: Asked, duty: Duty, excepted: frozenset[str]) -> Parts:
    return _by_roles(asked, duty, excepted) if duty.roles else _by_requests(asked, duty, excepted)


def _by_requests(asked: Asked, duty: Duty, excepted: frozenset[str]) -> Parts:
    found: Parts = {}
    for piece in asked.pieces(asked.boxes(duty), excepted):
        part = Part(piece.box.company, box=piece.box, exact=piece.exact, why=piece.why, lines=piece.lines)
        for name in piece.subjects or ("",):
            found.setdefault((piece.kind, name), []).append(part)
    return found


def _by_roles(asked: Asked, duty: Duty, excepted: frozenset[str]) -> Parts:
    found: Parts = {}
    holdings = asked.scene.head.holdings
    # What is held by an excepted role alone does not count.
    left = asked.scene.head.holdings_without(excepted)
    duties = frozenset(chosen_roles(duty.roles, asked.written, holdings.roles)) - excepted
    if not duties:
        return found
    for role in sorted(holdings.roles - excepted):
        for one in sorted(holdings.above(role) & duties):
            found.setdefault((Kind.ROLE, role), []).append(Part(ANY, role=one))
    for name in holdings.identities:
        held = left.by_role(name)
        for role in sorted(duties & held.keys()):
            found.setdefault((Kind.IDENTITY, name), []).append(Part(held[role], role=role))
    return found


def _pairs(
    asked: Asked, predicate: SeparationOfDuties, kind: Kind, name: str, duties: list[list[Part]], who: Phrase = ()
) -> Iterator[Finding]:
    """The first pair of ways in which a subject has two duties, for each two duties."""
    for ones, others in combinations(duties, 2):
        pair = _meeting(ones, others, predicate.across_companies)
        if pair is not None:
            yield _finding(asked, kind, name, *pair, who=who)


def _meeting(ones: Iterable[Part], others: list[Part], anywhere: bool) -> tuple[Part, Part] | None:
    """Two parts in the same company: exact ones, if there are some."""
    found: tuple[Part, Part] | None = None
    for one in ones:
        for other in others:
            if anywhere or one.company.intersect(other.company):
                if one.exact and other.exact:
                    return one, other
                found = found or (one, other)
    return found


def _finding(asked: Asked, kind: Kind, name: str, one: Part, other: Part, who: Phrase = ()) -> Finding:
    company = one.company.intersect(other.company)
    examples: list[Example] = []
    lines: list[Line] = []
    for part in (one, other):
        if part.box is None or not part.exact:
            lines += part.lines or _links_of(asked, name, part)
            continue
        # Both requests are of the same company, where there is one.
        here = intersect(part.box, Box(company=company)) if company else part.box
        requests, causes = shown(asked.scene, kind, name, here or part.box, part.lines)
        examples += requests
        lines += causes
    exact = one.exact and other.exact
    help = "take one of the two away" if exact else "keep rules that no finite comparison covers out of these duties"
    return Finding(
        detail=(*(who or who_phrase(kind, (name,) if name else ())), " ", *joined([one.phrase, other.phrase], " and ")),
        help=help,
        shown=exact,
        examples=tuple(examples),
        lines=tuple(dict.fromkeys(lines)),
    )


def _links_of(asked: Asked, name: str, part: Part) -> list[Line]:
    """The links that give a role, or for a role where it is defined."""
    bundle = asked.scene.head.bundle
    found: list[Line] = []
    for definition in bundle.model.roles:
        table = bundle.tables[definition]
        for row, left in enumerate(table.columns[0]):
            if left == name and part.role in asked.scene.head.holdings.above(table.columns[1][row]):
                found.append(Line("head", table.rule(row)))
    return found[:3]


def _groups(
    asked: Asked, predicate: SeparationOfDuties, excepted: frozenset[str], duties: list[Parts]
) -> Iterator[Finding]:
    """Groups of the identity provider, whose members hold all the roles that are mapped to them."""
    groups: dict[str, list[tuple[str, Texts]]] = {}
    for mapping in asked.scene.head.bundle.group_mappings:
        where = values_of((mapping.company,)) if mapping.company else ANY
        for role in mapping.roles:
            if ROLE_PREFIX + role not in excepted:
                groups.setdefault(mapping.group, []).append((ROLE_PREFIX + role, where))
    for group, roles in sorted(groups.items()):
        # A role by itself has been judged.
        if len(roles) < 2:
            continue
        has_parts: list[list[Part]] = []
        for has in duties:
            parts: list[Part] = []
            for role, where in roles:
                for part in has.get((Kind.ROLE, role), ()):
                    company = part.company.intersect(where)
                    if company:
                        parts.append(msgspec.structs.replace(part, company=company))
            has_parts.append(parts)
        yield from _pairs(asked, predicate, Kind.ROLE, roles[0][0], has_parts, who=("the group ", Name(group)))
