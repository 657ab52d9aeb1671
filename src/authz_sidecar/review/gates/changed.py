"""Which changes of access a gate about changes is about."""

from collections.abc import Iterator

import msgspec

from authz_sidecar.bundle.gates import ChangesOf
from authz_sidecar.review.access.boxes import intersect
from authz_sidecar.review.access.change import Box, Change, Inexact, Kind, Side
from authz_sidecar.review.gates.example import find_example
from authz_sidecar.review.gates.names import any_matches, pairs_of
from authz_sidecar.review.gates.scene import Asked
from authz_sidecar.review.gates.subjects import named_roles
from authz_sidecar.review.gates.violation import Example, Line
from authz_sidecar.review.gates.wording import what_phrase, who_phrase
from authz_sidecar.review.gates.world import World
from authz_sidecar.review.report.wording import Name, Phrase, role_name
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.rule import RuleTable


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """One change that a gate is about, in words, with a request and the lines that make it."""

    phrase: Phrase
    examples: tuple[Example, ...] = ()
    lines: tuple[Line, ...] = ()
    exact: bool = True


def changes_of(asked: Asked, predicate: ChangesOf) -> Iterator[Changed]:
    """All that changes of what the gate is about, in the order of the diff. Nothing without a base."""
    scene = asked.scene
    if scene.base is None:
        return
    chosen = named_roles(asked, predicate.roles)
    boxes = asked.boxes(predicate)
    for change in (*scene.diff.roles, *scene.diff.identities):
        if predicate.only_gained and not change.gained:
            continue
        if predicate.roles and chosen.isdisjoint(change.subjects):
            continue
        if change.roles and not predicate.roles:
            # What an identity has through a role is told of the role.
            continue
        inside = _first_inside(change.box, boxes)
        if inside is not None:
            yield _of_change(asked, change, inside, chosen)
    for inexact in scene.diff.inexact:
        if predicate.roles and inexact.subjects and chosen.isdisjoint(inexact.subjects):
            continue
        inside = _first_inside(inexact.box, boxes)
        if inside is not None:
            yield _of_inexact(inexact, inside)
    yield from _of_definitions(asked, predicate, scene.base)
    if predicate.roles:
        yield from _of_holders(asked, predicate, chosen, scene.base)


def _first_inside(box: Box, boxes: tuple[Box, ...]) -> Box | None:
    return next((inside for one in boxes if (inside := intersect(box, one)) is not None), None)


def _of_change(asked: Asked, change: Change, inside: Box, chosen: frozenset[str]) -> Changed:
    subjects = tuple([name for name in change.subjects if not chosen or name in chosen])
    scene = asked.scene
    side: Side = "head" if change.gained or scene.base is None else "base"
    world = scene.base if side == "base" and scene.base is not None else scene.head
    example = find_example(inside, change.kind, subjects[0] if subjects else "", True, side, world.material)
    plural = change.kind is not Kind.ANYONE and len(subjects) > 1
    verb = ("gain" if change.gained else "lose") + ("" if plural else "s")
    return Changed(
        phrase=(*who_phrase(change.kind, subjects), f" {verb} ", *what_phrase(inside)),
        examples=(example,) if example else (),
        lines=tuple([Line(cause.side, cause.rule) for cause in change.causes]),
    )


def _of_inexact(inexact: Inexact, inside: Box) -> Changed:
    lines = [Line("head", rule) for rule in inexact.added] + [Line("base", rule) for rule in inexact.removed]
    return Changed(
        phrase=("access to ", *what_phrase(inside), f" may change and cannot be compared: {inexact.why}"),
        lines=tuple(lines) or tuple([Line("head", rule) for rule in inexact.responsible]),
        exact=False,
    )


def _of_definitions(asked: Asked, predicate: ChangesOf, base: World) -> Iterator[Changed]:
    """Data domains that stand for something else, and roles that come or go."""
    before, after = base.bundle, asked.scene.head.bundle
    for name in sorted({*before.data_domains, *after.data_domains}):
        if not any_matches(predicate.data_domains, name):
            continue
        old, new = pairs_of([name], before), pairs_of([name], after)
        if (new - old) if predicate.only_gained else (new != old):
            yield Changed(phrase=("the data domain ", Name(name), " stands for other objects or actions"))
    if predicate.roles and not predicate.only_gained:
        for name in sorted(before.roles.keys() ^ after.roles.keys()):
            if any_matches([asked.written(role) for role in predicate.roles], ROLE_PREFIX + name):
                verb = " is no longer defined" if name in before.roles else " is new"
                yield Changed(phrase=("the role ", Name(name), verb))


def _of_holders(asked: Asked, predicate: ChangesOf, chosen: frozenset[str], base: World) -> Iterator[Changed]:
    """Links to the roles that stand on one side only, to roles that inherit from them, too; and groups that are mapped
    to them."""
    scene = asked.scene
    for definition in scene.head.bundle.model.roles:
        old = base.bundle.tables.get(definition)
        new = scene.head.bundle.tables[definition]
        before = {} if old is None else _links_to(chosen, old, base)
        after = _links_to(chosen, new, scene.head)
        for values, row in after.items():
            if values not in before:
                yield Changed(phrase=_link(values, " is given the role "), lines=(Line("head", new.rule(row)),))
        for values, row in before.items():
            if values not in after and old is not None and not predicate.only_gained:
                yield Changed(phrase=_link(values, " no longer has the role "), lines=(Line("base", old.rule(row)),))
    mapped, maps = _mappings_to(chosen, base), _mappings_to(chosen, scene.head)
    for values in [one for one in maps if one not in mapped]:
        yield Changed(phrase=("the group ", *_link(values, " is mapped to the role ")))
    for values in [one for one in mapped if one not in maps]:
        if not predicate.only_gained:
            yield Changed(phrase=("the group ", *_link(values, " is no longer mapped to the role ")))


def _links_to(chosen: frozenset[str], table: RuleTable, world: World) -> dict[tuple[str, ...], int]:
    """The rows of a table of links that give one of the roles, by what they say."""
    gives = {role: not chosen.isdisjoint(world.holdings.above(role)) for role in set(table.columns[1])}
    return {table.values(row): row for row in range(len(table)) if gives[table.columns[1][row]]}


def _mappings_to(chosen: frozenset[str], world: World) -> dict[tuple[str, ...], None]:
    """The group mappings that give one of the roles: group, role and company."""
    return {
        (mapping.group, ROLE_PREFIX + role, mapping.company or "*"): None
        for mapping in world.bundle.group_mappings
        for role in mapping.roles
        if not chosen.isdisjoint(world.holdings.above(ROLE_PREFIX + role))
    }


def _link(values: tuple[str, ...], verb: str) -> Phrase:
    where: Phrase = (" in ", Name(values[2])) if len(values) > 2 and values[2] != "*" else ()
    return (Name(values[0]), verb, Name(role_name(values[1])), *where)
