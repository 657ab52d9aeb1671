"""Which of the grants that changed between two policies the tests exercise."""

from collections.abc import Iterable

from msgspec.structs import replace

from authz_sidecar.review.access.change import Kind
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.exercise import Exercise, ExercisedGrant, GrantsInForce, passed_requests
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import CaseResult
from authz_sidecar.values import Rule


def changed_since(base: Material | None, head: Material, whole: Exercise, results: Iterable[CaseResult]) -> Exercise:
    """What the tests of `head`, with these `results`, exercise of the grants that changed: those that `base` has not
    (None: it has none), and those that `base` has and without which `head` decides otherwise.

    `whole` is what they exercise of all of `head`. A grant that was given to another role, or changed, is a new one. A
    removed grant is exercised by a test that it would have decided and that is now decided otherwise.
    """
    before = {} if base is None else _rows_by_section(base)
    grants = [
        grant
        for grant in whole.grants
        if any(_values(head, grant.section, row) not in before.get(grant.section, ()) for row in grant.rows)
    ]
    if base is not None:
        grants += _removed(base, head, results)
    return Exercise(tuple(grants))


def _removed(base: Material, head: Material, results: Iterable[CaseResult]) -> list[ExercisedGrant]:
    after = _rows_by_section(head)
    written = GrantsInForce(base)
    gone: dict[int, ExercisedGrant] = {}
    for number, grant in enumerate(written.grants):
        rows = [row for row in grant.rows if _values(base, grant.section, row) not in after.get(grant.section, ())]
        if rows:
            gone[number] = replace(grant, rows=tuple(rows), removed=True)
    if not gone:
        return []
    lost = _lost_rules(base, head)
    tests = dict.fromkeys(gone, 0)
    for result, request in passed_requests(results):
        for number in written.deciding(request) & gone.keys():
            tests[number] += gone[number].allows is not result.decision.allowed
    return [
        replace(grant, tests=tests[number])
        for number, grant in gone.items()
        if any((grant.span, _values(base, grant.section, row)) in lost for row in grant.rows)
    ]


def _lost_rules(base: Material, head: Material) -> set[tuple[object, ...]]:
    """Place and fields of the rules of `base` without which somebody's access is another one, or may be."""
    diff = diff_access(base, head, within=Region(kinds=frozenset((Kind.IDENTITY, Kind.ANYONE))))
    rules: list[Rule] = [rule for part in diff.inexact for rule in part.removed]
    rules += [cause.rule for change in diff.identities for cause in change.causes if cause.side == "base"]
    return {(rule.span, rule.values) for rule in rules}


def _rows_by_section(material: Material) -> dict[str, set[tuple[str, ...]]]:
    return {suffix: set(zip(*table.columns, strict=True)) for suffix, table in material.snapshot.rules.items()}


def _values(material: Material, section: str, row: int) -> tuple[str, ...]:
    return material.snapshot.rules[section].values(row)
