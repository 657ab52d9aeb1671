"""Which of the grants that changed between two policies the tests exercise."""

from collections.abc import Iterable

from authz_sidecar.review.exercise import (
    Exercise,
    ExercisedGrant,
    exercised_grant,
    grants_of,
    passed_requests,
    row_counts,
)
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import CaseResult
from authz_sidecar.review.suggestion import CaseFinder


def changed_since(base: Material | None, head: Material, whole: Exercise, results: Iterable[CaseResult]) -> Exercise:
    """What the tests of `head`, with these `results`, exercise of the grants that changed: those that `base` has not
    (None: it has none), and those that `base` has and whose access `head` gives no more.

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
    asked = passed_requests(results)
    after = _rows_by_section(head)
    suggestions = CaseFinder(base)
    found: list[ExercisedGrant] = []
    for suffix, index in base.snapshot.sections.items():
        table = base.snapshot.tables[index.section.ptype]
        counts = row_counts(base, index, asked, opposite=True)
        for rows in grants_of(base, table):
            gone = [row for row in rows if table.values(row) not in after.get(suffix, ())]
            if not gone:
                continue
            grant = exercised_grant(index, table, gone, counts, removed=True)
            request = suggestions.suggest(grant).request
            # What others still give, or nobody could reach, is not lost.
            if request is not None and head.decider.decide(request).allowed is not grant.allows:
                found.append(grant)
    return found


def _rows_by_section(material: Material) -> dict[str, set[tuple[str, ...]]]:
    return {suffix: set(zip(*table.columns, strict=True)) for suffix, table in material.snapshot.rules.items()}


def _values(material: Material, section: str, row: int) -> tuple[str, ...]:
    return material.snapshot.rules[section].values(row)
