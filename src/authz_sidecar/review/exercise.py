"""Which grants the policy tests exercise: the share of what a policy says that a test would notice.

A grant is exercised by a test that passes, whose request the grant matches, and whose decision is the grant's effect:
an allow by a test that is allowed, a deny by one that is denied by rule. Grants that are written once and make several
rules, one for each type and action, count once for each of these; what roles inherit counts where it is written.
"""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import CaseResult
from authz_sidecar.review.reach import Holders
from authz_sidecar.values import Reason, Request, RuleTable, Span
from authz_sidecar.values.request import ROLE_PREFIX

Counts: TypeAlias = dict[tuple[str, ...], int]


class ExercisedGrant(msgspec.Struct, frozen=True):
    """A grant and how often tests exercise it.

    `rows` are its rows in the rule table of `section`, `holder` the role, or the identity, that it is written for,
    `fields` those of its first row by name; `tests` counts the tests that exercise it. A grant that was `removed`
    stands in the base alone; a test exercises it by the opposite decision.
    """

    section: str
    rows: tuple[int, ...]
    span: Span
    holder: str
    fields: dict[str, str]
    allows: bool
    tests: int
    removed: bool = False


class Exercise(msgspec.Struct, frozen=True):
    """The grants that a request can reach, in the order in which they are written, and how many others there are:
    `unheld` belong to roles that the bundle gives nobody, `redundant` are such that no decision depends on them."""

    grants: tuple[ExercisedGrant, ...]
    unheld: int = 0
    redundant: int = 0

    @property
    def exercised(self) -> int:
        """How many grants some test exercises."""
        return sum(grant.tests > 0 for grant in self.grants)

    @property
    def missing(self) -> tuple[ExercisedGrant, ...]:
        """The grants that no test exercises."""
        return tuple([grant for grant in self.grants if not grant.tests])

    def of_effect(self, allows: bool) -> "Exercise":
        """The grants that allow, or those that deny."""
        return Exercise(tuple([grant for grant in self.grants if grant.allows is allows]))

    @property
    def share(self) -> float:
        """The share of grants that are exercised, from 0 to 1; 1 where there are none."""
        return self.exercised / len(self.grants) if self.grants else 1.0


def measure_exercise(material: Material, results: Iterable[CaseResult]) -> Exercise:
    """Which grants of the bundle the tests exercised whose `results` these are."""
    asked = passed_requests(results)
    grants: list[ExercisedGrant] = []
    unheld = redundant = 0
    held = _held_roles(material)
    for index in material.snapshot.sections.values():
        table = material.snapshot.tables[index.section.ptype]
        counts = row_counts(material, index, asked, opposite=False)
        left_out = material.redundant_rows(index.section.suffix)
        for rows in grants_of(material, table):
            if left_out.issuperset(rows):
                redundant += 1
            elif held is not None and _unheld(index, table, rows, held):
                unheld += 1
            else:
                grants.append(exercised_grant(index, table, rows, counts))
    return Exercise(tuple(grants), unheld, redundant)


def passed_requests(results: Iterable[CaseResult]) -> list[tuple[CaseResult, Request]]:
    """The results that passed, with what they asked."""
    return [
        (result, request) for result in results if result.passed and (request := result.test.request()[0]) is not None
    ]


def row_counts(
    material: Material, index: SectionIndex, asked: list[tuple[CaseResult, Request]], *, opposite: bool
) -> Counts:
    """For the fields of each row of a section, how many requests it matches that were decided by a rule of its effect,
    or with `opposite` decided otherwise than it says; none has no entry."""
    fields, table = index.section.fields, material.snapshot.tables[index.section.ptype]
    effects = table.columns[fields.index("eft")] if "eft" in fields else None
    # Of rules with the same fields one is told for all.
    counts: dict[tuple[str, ...], int] = {}
    for result, request in asked:
        decision = result.decision
        if request.section != index.section.suffix:
            continue
        if not opposite and decision.reason not in (Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE):
            continue
        for row in material.decider.matching(request):
            if ((effects is None or effects[row] != "deny") == decision.allowed) is not opposite:
                values = table.values(row)
                counts[values] = counts.get(values, 0) + 1
    return counts


def _unheld(index: SectionIndex, table: RuleTable, rows: list[int], held: frozenset[str]) -> bool:
    """Whether all of the rows are for roles that nobody holds."""
    if "sub" not in index.section.fields:
        return False
    subjects = table.columns[index.section.fields.index("sub")]
    return all(subjects[row].startswith(ROLE_PREFIX) and subjects[row] not in held for row in rows)


def grants_of(material: Material, table: RuleTable) -> list[list[int]]:
    """The rows of each grant: in YAML those that differ in their role alone and are written in one place."""
    if material.bundle.form == "casbin":
        return [[row] for row in range(len(table))]
    grants: dict[tuple[object, ...], list[int]] = {}
    for row in range(len(table)):
        grants.setdefault((table.span(row), *table.values(row)[1:]), []).append(row)
    return list(grants.values())


def _held_roles(material: Material) -> frozenset[str] | None:
    """The names that some identity of the bundle holds; None where links do not tell it."""
    held: frozenset[str] = frozenset()
    for graph in material.snapshot.graphs.values():
        holders = Holders(graph)
        if not holders.tells:
            return None
        held |= holders.anywhere("subject")
    return held


def exercised_grant(
    index: SectionIndex, table: RuleTable, rows: list[int], counts: Counts, *, removed: bool = False
) -> ExercisedGrant:
    """The grant that `rows` make; `counts` says how many tests exercise each row."""
    rule = table.rule(rows[0])
    fields = dict(zip(index.section.fields, rule.values, strict=True))
    holder = rule.via[-1] if rule.via else fields.get("sub", rule.values[0] if rule.values else "")
    return ExercisedGrant(
        index.section.suffix,
        tuple(rows),
        rule.span,
        holder,
        fields,
        fields.get("eft", "allow") != "deny",
        sum([counts.get(values, 0) for values in {table.values(row) for row in rows}]),
        removed,
    )
