"""Boxes and cells are sets of requests: what algebra says of them holds request by request."""

import random
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.review.access.boxes import area_of, contains, intersect, joined, merge, subtract
from authz_sidecar.review.access.change import SELF, Box, Kind
from authz_sidecar.review.access.partition import Classes, complement
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.values import Request
from authz_sidecar.values.texts import ANY, Texts, texts, values_of
from tests.review.access.casbin_families import family
from tests.review.access.test_diff_against_pycasbin import material_of

WORDS = ("a", "b", "ab", "abc", "abd", "ba", "x")
UNIVERSE = ("", "a", "b", "ab", "abc", "abd", "aba", "abcd", "ba", "x", "bx")
sets = st.builds(
    texts,
    st.lists(st.sampled_from(("", *WORDS)), max_size=3),
    st.lists(st.sampled_from(("", *WORDS)), max_size=2),
    st.lists(st.sampled_from(WORDS), max_size=2),
    st.lists(st.sampled_from(WORDS), max_size=2),
).filter(bool)
boxes = st.builds(
    lambda of_type, action, owner: Box(type=of_type, action=action, owner=owner),
    sets,
    st.sampled_from((ANY, values_of(["a"]), values_of(["a", "b"]))),
    st.sampled_from((ANY, values_of([SELF]), Texts(prefixes=("",), except_values=frozenset((SELF,))))),
)
REQUESTS = [
    Request("sue", action, type, "", "", owner, type)
    for type, action, owner in product(UNIVERSE, "abc", ("", "sue", "bob"))
]


def members(box: Box) -> set[int]:
    """The requests of the universe that are in a box."""
    return {at for at, request in enumerate(REQUESTS) if contains(box, "sue", request)}


@given(sets, st.lists(sets, min_size=1, max_size=4))
def test_sets_of_texts_are_cut_into_classes(one: Texts, several: list[Texts]) -> None:
    """A set and its complement share no text and hold every one; classes hold each text in one of their sets."""
    for text in UNIVERSE:
        assert (text in one) + sum(text in part for part in complement(one)) == 1
    classes = Classes(several)
    parts = classes.join([atom for atom in classes.atoms if any(atom.sample in part for part in several)])
    for text in UNIVERSE:
        assert sum(text in part for part in parts) == any(text in part for part in several)


@given(boxes, boxes, st.lists(boxes, max_size=4))
def test_boxes_are_sets_of_requests(one: Box, other: Box, more: list[Box]) -> None:
    """Intersection, difference and merging hold the requests that sets of requests would."""
    both = intersect(one, other)
    assert (members(both) if both is not None else set()) == members(one) & members(other)
    left = [members(box) for box in subtract(one, more)]
    assert sum(map(len, left)) == len(set[int]().union(*left))
    assert set[int]().union(*left) == members(one) - set[int]().union(*map(members, more))
    merged = merge([one, other, *more])
    assert set[int]().union(*map(members, merged)) == set[int]().union(*map(members, [one, other, *more]))
    assert len(merged) <= len({one, other, *more})


def test_boxes_that_differ_in_one_part_become_one() -> None:
    """Four boxes of two types and two actions are one."""
    four = [Box(type=values_of([type]), action=values_of([action])) for type in "ab" for action in "cd"]
    assert joined([area_of(box) for box in four]) == [area_of(Box(type=values_of("ab"), action=values_of("cd")))]


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_cells_are_a_partition_on_which_both_sides_decide_alike(seed: int) -> None:
    """Each request is in one cell, or in one part that is not exact, and a cell says what deciders decide."""
    found = family(random.Random(seed))  # noqa: S311 - test data
    base, head = [material_of(policy.files) for policy in found.policies[:2]]
    space = AccessSpace(base, head)
    known = {*space.roles, *space.identities}
    for subject in {request.subject for request in found.requests}:
        kind = Kind.ROLE if subject in space.roles else Kind.IDENTITY if subject in known else Kind.ANYONE
        cells = space.cells(kind, subject)
        for asked in found.requests:
            request = space.canonical(asked)
            if request.subject != subject:
                continue
            inside = [cell for cell in cells.cells if contains(cell.box, subject, request)]
            unknown = [one for one in cells.inexact if contains(one.box, subject, request)]
            assert len(inside) + len(unknown) == 1, (found.policies[:2], request, inside, unknown)
            for cell in inside:
                decisions = (base.decider.decide(request).allowed, head.decider.decide(request).allowed)
                assert decisions == (cell.base, cell.head)
