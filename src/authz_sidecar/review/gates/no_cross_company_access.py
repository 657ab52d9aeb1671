"""`no_cross_company_access`: nobody reaches objects of a company in which they hold nothing.

An identity is at home in the companies in which it holds a role or has a grant of its own. A role is judged by somebody
who holds it, in one company or on the platform, and nothing else. Objects of the platform belong to no company.
"""

from collections.abc import Iterator

import msgspec

from authz_sidecar.bundle.gates import NoCrossCompanyAccess
from authz_sidecar.model.model import Effect
from authz_sidecar.review.access.boxes import intersect
from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.access.conditions import Asker
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.gates.example import any_example
from authz_sidecar.review.gates.must_stay_denied import allowed_finding
from authz_sidecar.review.gates.names import any_matches
from authz_sidecar.review.gates.scene import Asked, Piece, inexact_piece, shown
from authz_sidecar.review.gates.subjects import less, named_roles
from authz_sidecar.review.gates.violation import Finding, Line
from authz_sidecar.review.gates.wording import what_phrase, who_phrase
from authz_sidecar.review.gates.world import Probes
from authz_sidecar.values.texts import ANY, NOTHING, Texts, texts, values_of

_IDENTITIES = frozenset((Kind.IDENTITY,))
_ROLES = frozenset((Kind.ROLE,))
_STRANGERS = frozenset((Kind.ANYONE,))
_DEMAND = ("is in a company in which they hold nothing",)


def find_no_cross_company_access(asked: Asked) -> Iterator[Finding]:
    """Who reaches objects of a company that is not theirs."""
    predicate = asked.predicate(NoCrossCompanyAccess)
    probes = asked.scene.head.probes
    if probes is None:
        yield Finding(
            detail=("the model asks in no company which roles somebody holds, so that no company is anybody's own",),
            help="use a role definition with a domain that is the object's company, or remove the gate",
            shown=False,
        )
        return
    excepted = named_roles(asked, predicate.except_roles)
    for box in asked.boxes(predicate):
        yield from _by_roles(asked, predicate, excepted, probes, box)
        yield from _by_identities(asked, predicate, excepted, box)


def _by_identities(
    asked: Asked, predicate: NoCrossCompanyAccess, excepted: frozenset[str], box: Box
) -> Iterator[Finding]:
    """Named identities, and anyone else."""
    inside = _within(box, NOTHING)
    if inside is None:
        return
    strangers = less(ANY, predicate.except_identities)
    looked_at = _reaching_away(asked)
    named = asked.pieces([inside], excepted, predicate.only_gained, Region(subjects=looked_at, kinds=_IDENTITIES))
    turned = tuple(sorted(asked.scene.turned))
    became = asked.pieces([inside], excepted, predicate.only_gained, Region(subjects=turned, kinds=_ROLES))
    others = asked.pieces([inside], excepted, predicate.only_gained, Region(kinds=_STRANGERS))
    for piece in (*(named if looked_at else ()), *(became if turned else ()), *others):
        if piece.kind is Kind.ANYONE and not any(one.intersect(piece.names) for one in strangers):
            continue
        if piece.kind is Kind.ANYONE or not piece.subjects:
            yield allowed_finding(asked, piece, (), _DEMAND, predicate.only_gained)
            continue
        # Identities with the same homes are told together.
        together: dict[Box, list[str]] = {}
        for name in piece.subjects:
            if name in excepted or any_matches(predicate.except_identities, name):
                continue
            away = _within(piece.box, asked.scene.head.homes(name))
            if away is not None:
                together.setdefault(away, []).append(name)
        for away, names in together.items():
            left = msgspec.structs.replace(piece, box=away, subjects=tuple(names))
            yield allowed_finding(asked, left, left.subjects, _DEMAND, predicate.only_gained)


def _reaching_away(asked: Asked) -> tuple[str, ...]:
    """The identities to whom any rule applies in a company that is not their home: most are looked at no further."""
    scene = asked.scene
    sections = scene.space.sections.values()
    effects = {index.section.effect for index in scene.head.material.snapshot.sections.values()}
    if Effect.DENY_OVERRIDE in effects:
        # What no rule denies is allowed there, to whomever no rule applies too.
        return scene.space.identities
    found: list[str] = []
    for name in scene.space.identities:
        homes = scene.head.homes(name)
        views = [view for section in sections for view in section.views(Kind.IDENTITY, Asker(name))]
        if any(view.head and _within(Box(company=view.companies), homes) for view in views):
            found.append(name)
    return tuple(found)


def _by_roles(
    asked: Asked, predicate: NoCrossCompanyAccess, excepted: frozenset[str], probes: Probes, box: Box
) -> Iterator[Finding]:
    """Roles, by what a holder of each reaches away from home."""
    away = _within(box, values_of((probes.home,)))
    if away is None:
        return
    subjects = tuple(name for name, role in probes.roles.items() if role not in excepted)
    region = Region(box=away, subjects=subjects, kinds=_IDENTITIES)
    base = None
    if predicate.only_gained and asked.scene.base is not None:
        old = asked.scene.base.probes
        # Only where both sides have the same probes can they be compared; else all that is there counts as gained.
        base = old.material if old is not None and old.roles == probes.roles and old.home == probes.home else None
    if not subjects:
        return
    found = diff_access(base, probes.material, within=region)
    for change in found.identities:
        roles = tuple(dict.fromkeys(probes.roles[name] for name in change.subjects if name in probes.roles))
        if not change.gained or not roles:
            continue
        lines = [Line("head", cause.rule) for cause in change.causes if cause.rule.span.line]
        # The company that was made up to hold the roles in means nothing to a reader.
        company = change.box.company
        company = texts(
            company.values, company.prefixes, company.except_values - {probes.home}, company.except_prefixes
        )
        box = msgspec.structs.replace(change.box, company=company)
        example, given = shown(asked.scene, Kind.ROLE, roles[0], box, lines)
        if not example:
            one = any_example(box, Kind.ROLE, roles[0], "head", asked.scene.head.material)
            example = (msgspec.structs.replace(one, allowed=True),) if one else ()
        yield Finding(
            detail=(
                "holders of ",
                *who_phrase(Kind.ROLE, roles),
                " are allowed ",
                *what_phrase(box),
                ", which ",
                *_DEMAND,
            ),
            help="narrow the grants to the company of the role, or name a role of the platform in `except_roles`",
            examples=example,
            lines=given,
        )
    for inexact in found.inexact:
        names = [probes.roles[name] for name in inexact.subjects if name in probes.roles]
        if intersect(inexact.box, away) is not None and (names or not inexact.subjects):
            piece = inexact_piece(inexact)
            left = Piece(Kind.ROLE, tuple(names), piece.box, exact=False, why=piece.why, lines=piece.lines)
            yield allowed_finding(asked, left, left.subjects, _DEMAND)


def _within(box: Box, homes: Texts) -> Box | None:
    """The part of a box that lies in companies other than these, and not on the platform. Homes take nothing away."""
    company = box.company.intersect(texts((), ("",), ("", *homes.values), homes.prefixes))
    return msgspec.structs.replace(box, company=company) if company else None
