"""`max_new_grants`: a change gives at most so many new grants, or to so many identities.

A grant is a (role, object type, action, scope) that is gained, whatever its companies and ids. Scopes are `own`,
`others'`, some owners, and anybody's. A wildcard counts for every type and action that the bundle declares; in a plain
Casbin bundle for the types and actions that are named, and once for all others. What an identity gains counts with the
identity in the role's place, unless a role that it holds now may do it: that is an assignment. Whatever anyone gains
counts too. Identities are counted who gain any access, by whatever way.
"""

from collections.abc import Iterable, Iterator

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.gates import MaxNewGrants
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.boxes import intersect, subtract
from authz_sidecar.review.access.change import Box, Change, Kind
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.gates.example import find_example
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.violation import Example, Finding, Line
from authz_sidecar.review.gates.wording import what_phrase
from authz_sidecar.values.texts import Texts, texts

_OTHERS = "\0others"

Grant = tuple[str, str, str, str]


def find_max_new_grants(asked: Asked) -> Iterator[Finding]:
    """That a limit is exceeded, or may be."""
    predicate = asked.predicate(MaxNewGrants)
    if asked.scene.base is None:
        return
    boxes = asked.boxes(predicate)
    first: dict[Grant, tuple[Change, Box]] = {}
    gaining: dict[str, Change] = {}
    for change in (*asked.scene.diff.roles, *asked.scene.diff.identities):
        if not change.gained:
            continue
        for box in filter(None, [intersect(change.box, one) for one in boxes]):
            if change.kind is Kind.IDENTITY:
                for name in change.subjects:
                    gaining.setdefault(name, change)
            for grant, where in _grants(asked, change, box):
                first.setdefault(grant, (change, where))
    unknown = [one for one in asked.scene.diff.inexact if any(intersect(one.box, box) for box in boxes)]
    if predicate.grants is not None and len(first) > predicate.grants:
        change, box = next(iter(first.values()))
        yield _finding(
            asked,
            f"{counted(len(first), 'new grant')}; at most {predicate.grants:,} may come in one change",
            [change for change, _ in first.values()],
            (change.kind, change.subjects[0] if change.subjects else "", box),
        )
    if predicate.identities is not None and len(gaining) > predicate.identities:
        name, change = next(iter(sorted(gaining.items())))
        yield _finding(
            asked,
            f"{counted(len(gaining), 'identity', 'identities')} gain access; at most {predicate.identities:,} may"
            " in one change",
            gaining.values(),
            (Kind.IDENTITY, name, next(filter(None, [intersect(change.box, one) for one in boxes]))),
        )
    for one in unknown:
        yield Finding(
            detail=("how much access to ", *what_phrase(one.box), f" is gained cannot be counted: {one.why}"),
            help="change rules that no finite comparison covers by themselves",
            shown=False,
            lines=tuple([Line("head", rule) for rule in one.added] or [Line("head", rule) for rule in one.responsible]),
        )


def _finding(asked: Asked, words: str, changes: Iterable[Change], where: tuple[Kind, str, Box]) -> Finding:
    kind, subject, box = where
    example: Example | None = find_example(box, kind, subject, True, "head", asked.scene.head.material)
    lines = dict.fromkeys(Line(cause.side, cause.rule) for change in changes for cause in change.causes)
    return Finding(
        detail=(words,),
        help="split the change, so that each part can be reviewed by itself",
        examples=(example,) if example else (),
        lines=tuple(lines),
    )


def _grants(asked: Asked, change: Change, box: Box) -> Iterator[tuple[Grant, Box]]:
    for name in change.subjects or ("",):
        left = [box]
        if change.kind is Kind.IDENTITY:
            left = subtract(box, _by_roles(asked, name, box))
        for part in left:
            for kind, action in _cells(part, asked.scene.head.bundle):
                yield (name, kind, action, part.scope), part


def _by_roles(asked: Asked, name: str, box: Box) -> list[Box]:
    """What the roles that an identity holds may do where it holds them."""
    held = asked.scene.head.holdings.by_role(name)
    if not held:
        return []
    found = asked.scene.access(Region(box=box, subjects=tuple(sorted(held)), kinds=frozenset((Kind.ROLE,))))
    theirs = [
        intersect(change.box, Box(company=held[role], section=change.box.section))
        for change in found.roles
        if change.gained
        for role in change.subjects
        if role in held
    ]
    return [both for both in theirs if both is not None]


def _cells(box: Box, bundle: Bundle) -> Iterator[tuple[str, str]]:
    types = bundle.manifest.known_types
    if bundle.manifest.object_types and bundle.form == "yaml":
        yield from (
            (kind, action)
            for kind, of in types.items()
            # What takes in every type counts as what the manifest declares.
            if kind in box.type and (kind not in OWN_TYPES or box.type.finite)
            for action in of.actions
            if action in box.action
        )
        return
    for kind in _values(box.type):
        for action in _values(box.action):
            yield kind, action


def _values(of: Texts) -> list[str]:
    """The values of a set, and one more for all that it has by beginnings."""
    rest = of.intersect(texts((), ("",), of.values))
    return [*sorted(text for text in of.values if text in of), *([_OTHERS] if rest else [])]
