"""The diff of two policies against brute force: every request of a whole space, decided by pycasbin on both sides."""

import random
from collections import Counter
from collections.abc import Mapping
from itertools import permutations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.access.boxes import contains
from authz_sidecar.review.access.change import AccessDiff, Kind
from authz_sidecar.review.access.diff import diff_space
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.access.space import AccessSpace
from authz_sidecar.review.material import Material
from authz_sidecar.values import Request
from tests.review.access.casbin_families import decided
from tests.review.access.casbin_families import family as random_family
from tests.review.access.yaml_families import ROLES, definitions_family, every_request, holder
from tests.review.access.yaml_families import decided as decided_rows

PAIRS = 500


def material_of(files: dict[str, bytes]) -> Material:
    """A bundle under review."""
    bundle, problems = parse_bundle(files, "family")
    assert bundle is not None, problems
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    return Material(bundle, snapshot)


def told(space: AccessSpace, diff: AccessDiff, asked: Request, role: str = "") -> bool | str | None:
    """What a diff says of a request, by whoever holds `role` if one is given: gained, lost, nothing, or that it does
    not know."""
    request = space.canonical(asked)
    if role:
        owner = role if request.owner == request.subject else request.owner
        request = msgspec.structs.replace(request, subject=role, owner=owner)
    subject = request.subject
    named = subject in space.roles or subject in space.identities
    found: set[bool] = set()
    for change in (*diff.roles, *diff.identities):
        anybody = change.kind is Kind.ANYONE and not named and subject in change.names
        if (anybody or subject in change.subjects) and contains(change.box, subject, request):
            found.add(change.gained)
    unknown = any(
        (subject in one.subjects or (not (one.subjects or named) and subject in one.names))
        and contains(one.box, subject, request)
        for one in diff.inexact
    )
    assert len(found) + unknown <= 1, (found, unknown, request)
    return "unknown" if unknown else found.pop() if found else None


def compare(
    pair: tuple[object, object],
    answers: tuple[list[bool], list[bool]],
    space: AccessSpace,
    requests: tuple[Request, ...],
    roles: Mapping[str, str],
) -> Counter[str]:
    """Hold a diff against both sides' answers."""
    diff = diff_space(space, Region())
    counts: Counter[str] = Counter()
    for request, before, after in zip(requests, *answers, strict=True):
        said = told(space, diff, request, roles.get(request.subject, ""))
        if said == "unknown":
            counts["unknown"] += 1
            continue
        expected = None if before == after else after
        assert said is expected, (pair, request, before, after, said)
        counts["changed" if expected is not None else "same"] += 1
    return counts


def test_a_request_changes_if_and_only_if_the_diff_says_so() -> None:
    """Over more than 500 pairs of random policies, a diff tells exactly the requests that pycasbin decides otherwise;
    hardly any it does not know."""
    counts: Counter[str] = Counter()

    @settings(max_examples=44)
    @given(st.integers(0, 2**32))
    def compare_family(seed: int) -> None:
        family = random_family(random.Random(seed))  # noqa: S311 - test data
        materials = [material_of(policy.files) for policy in family.policies]
        answers = [
            decided(policy, material.decider, family.requests)
            for policy, material in zip(family.policies, materials, strict=True)
        ]
        for one, other in permutations(range(len(materials)), 2):
            space = AccessSpace(materials[one], materials[other])
            pair = (family.policies[one], family.policies[other])
            counts.update(compare(pair, (answers[one], answers[other]), space, family.requests, {}))
            counts["pairs"] += 1

    compare_family()
    assert counts["pairs"] >= PAIRS
    assert counts["changed"] > 10 * counts["pairs"]
    assert counts["unknown"] < (counts["same"] + counts["changed"]) / 10


def test_a_diff_of_definitions_is_complete_for_identities_and_for_holders_of_each_role() -> None:
    """Over random YAML bundles, a diff tells exactly what pycasbin decides otherwise on their rows: of identities, of
    anybody, and, by the changes of a role, of somebody who holds that role and nothing else."""
    counts: Counter[str] = Counter()
    requests = tuple(every_request())
    roles = {holder(role): f"role:{role}" for role in ROLES}

    @settings(max_examples=4)
    @given(st.integers(0, 2**32))
    def compare_family(seed: int) -> None:
        family = definitions_family(random.Random(seed))  # noqa: S311 - test data
        materials = [material_of(definitions.files) for definitions in family]
        answers = [decided_rows(material, requests) for material in materials]
        for one, other in permutations(range(len(materials)), 2):
            space = AccessSpace(materials[one], materials[other])
            pair = (answers[one], answers[other])
            counts.update(compare((family[one].files, family[other].files), pair, space, requests, roles))
            counts["pairs"] += 1

    compare_family()
    assert counts["changed"] > 10 * counts["pairs"]
    assert counts["unknown"] < (counts["same"] + counts["changed"]) / 10
