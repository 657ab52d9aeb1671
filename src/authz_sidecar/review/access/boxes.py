"""Boxes as sets: intersection, difference, and few boxes for many."""

from collections.abc import Iterable
from typing import TypeAlias

from authz_sidecar.review.access.change import SELF, Box
from authz_sidecar.review.access.partition import Classes, complement
from authz_sidecar.values import Request
from authz_sidecar.values.texts import ANY, Texts, unite

PARTS = ("company", "type", "id", "action", "owner")
# The parts of a box without its section, in the order of `PARTS`.
Area: TypeAlias = tuple[Texts, Texts, Texts, Texts, Texts]
FULL: Area = (ANY, ANY, ANY, ANY, ANY)


def area_of(box: Box) -> Area:
    """A box without its section."""
    return (box.company, box.type, box.id, box.action, box.owner)


def box_of(area: Area, section: str) -> Box:
    """The box of an area in a section."""
    return Box(*area, section)


def contains(box: Box, subject: str, request: Request) -> bool:
    """Whether the request of `subject` is in the box."""
    return (
        request.section == box.section
        and request.company in box.company
        and request.type in box.type
        and request.id in box.id
        and request.action in box.action
        and (SELF if request.owner == subject else request.owner) in box.owner
    )


def intersect(a: Box, b: Box) -> Box | None:
    """The requests that are in both; None if there are none."""
    if a.section != b.section:
        return None
    area = meet(area_of(a), area_of(b))
    return None if area is None else box_of(area, a.section)


def subtract(box: Box, boxes: Iterable[Box]) -> list[Box]:
    """The requests of `box` that are in none of `boxes`, as disjoint boxes."""
    left = without([area_of(box)], [area_of(other) for other in boxes if other.section == box.section])
    return [box_of(area, box.section) for area in left]


def merge(boxes: Iterable[Box]) -> list[Box]:
    """The same requests in fewer boxes, as few as is seen at a glance; disjoint ones stay disjoint."""
    by_section: dict[str, list[Area]] = {}
    for box in boxes:
        by_section.setdefault(box.section, []).append(area_of(box))
    return [box_of(area, section) for section, areas in by_section.items() for area in joined(areas)]


def meet(a: Area, b: Area) -> Area | None:
    """What is in both areas; None if nothing is."""
    met: list[Texts] = []
    for one, other in zip(a, b, strict=True):
        both = one.intersect(other)
        if not both.values and not both.prefixes:
            return None
        met.append(both)
    return (met[0], met[1], met[2], met[3], met[4])


def without(areas: list[Area], taken: Iterable[Area]) -> list[Area]:
    """What is in `areas` and not in `taken`; disjoint areas stay disjoint."""
    for less in taken:
        left: list[Area] = []
        for area in areas:
            if meet(area, less) is None:
                left.append(area)
                continue
            rest = list(area)
            for place in range(len(PARTS)):
                for outside in complement(less[place]):
                    beside = rest[place].intersect(outside)
                    if beside:
                        piece = [*rest[:place], beside, *rest[place + 1 :]]
                        left.append((piece[0], piece[1], piece[2], piece[3], piece[4]))
                rest[place] = rest[place].intersect(less[place])
        areas = left
    return areas


def joined(areas: Iterable[Area]) -> list[Area]:
    """The areas, those joined that differ in one part alone, until none are left."""
    left = list(dict.fromkeys(areas))
    changed = len(left) > 1
    while changed:
        changed = False
        for place in (3, 4, 2, 1, 0):
            groups: dict[tuple[Texts, ...], list[Area]] = {}
            for area in left:
                groups.setdefault((*area[:place], *area[place + 1 :]), []).append(area)
            if len(groups) == len(left):
                continue
            following: list[Area] = []
            for same in groups.values():
                sets = [area[place] for area in same]
                first = same[0]
                together = union(sets) if len(sets) > 1 else sets
                # What has to be cut anew is better left as it is.
                for one in together if len(together) < len(sets) else sets:
                    piece = [*first[:place], one, *first[place + 1 :]]
                    following.append((piece[0], piece[1], piece[2], piece[3], piece[4]))
            changed = changed or len(following) < len(left)
            left = following
    return left


def union(sets: list[Texts]) -> list[Texts]:
    """The texts that are in one of the sets, in as few sets as is simple."""
    if all(not one.except_values and not one.except_prefixes for one in sets):
        return unite(sets)
    classes = Classes(sets)
    return classes.join([atom for atom in classes.atoms if any(atom.sample in one for one in sets)])
