"""Which grants the policy tests exercise: the share of what a policy says that a test would notice.

A grant is exercised by a test that passes and whose decision rests on it alone: the request matches it, and no other
grant that decides the same way. Without it the request would be decided otherwise, or by the lack of a rule. A test
that several grants answer exercises none of them, since it would pass without any one of these. Grants that are written
once and make several rules, one for each type and action, count once for each of these; what roles inherit counts where
it is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import TypeAlias

import msgspec

from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.review.material import Material
from authz_sidecar.review.policy_tests import CaseResult
from authz_sidecar.review.reach import Holders
from authz_sidecar.values import Reason, Request, RuleTable, Span
from authz_sidecar.values.request import ROLE_PREFIX

Values: TypeAlias = tuple[str, ...]
BY_RULE = (Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE)


class ExercisedGrant(msgspec.Struct, frozen=True):
    """A grant and how often tests exercise it.

    `rows` are its rows in the rule table of `section`, `holder` the role, or the identity, that it is written for,
    `fields` those of its first row by name; `tests` counts the tests that exercise it, and `shared` those that would
    but for other grants that answer them too. A grant that was `removed` stands in the base alone; a test exercises it
    by the opposite decision.
    """

    section: str
    rows: tuple[int, ...]
    span: Span
    holder: str
    fields: dict[str, str]
    allows: bool
    tests: int = 0
    shared: int = 0
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

    @property
    def percent(self) -> float:
        """The same in percent, cut after one digit, so that 100 means all."""
        return 1000 * self.exercised // len(self.grants) / 10 if self.grants else 100.0

    def reaches(self, percent: float) -> bool:
        """Whether the share is at least that."""
        return 100 * self.exercised >= percent * len(self.grants)


def measure_exercise(material: Material, results: Iterable[CaseResult]) -> Exercise:
    """Which grants of the bundle the tests exercised whose `results` these are."""
    written = GrantsInForce(material)
    tests = [0] * len(written.grants)
    shared = [0] * len(written.grants)
    for result, request in passed_requests(results):
        if result.decision.reason in BY_RULE:
            deciding = written.deciding(request)
            counts = tests if len(deciding) == 1 else shared
            for number in deciding:
                counts[number] += 1
    return Exercise(
        tuple(
            [
                msgspec.structs.replace(grant, tests=tests[number], shared=shared[number])
                for number, grant in enumerate(written.grants)
            ]
        ),
        written.unheld,
        written.redundant,
    )


def passed_requests(results: Iterable[CaseResult]) -> Iterator[tuple[CaseResult, Request]]:
    """The results that passed, with what they asked."""
    for result in results:
        request = result.test.request()[0] if result.passed else None
        if request is not None:
            yield result, request


class GrantsInForce:
    """The `grants` of a bundle that a request can reach and that some decision depends on, in the order in which they
    are written; `unheld` and `redundant` count the others, as in `Exercise`."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self.grants: list[ExercisedGrant] = []
        self.unheld = self.redundant = 0
        # By section, the grants that say the fields of a row. Of rules that say the same, one is told for all.
        self._saying: dict[str, dict[Values, set[int]]] = {}
        held = _held_roles(material)
        for index in material.snapshot.sections.values():
            self._read(index, held)

    def _read(self, index: SectionIndex, held: frozenset[str] | None) -> None:
        table = self._material.snapshot.tables[index.section.ptype]
        left_out = self._material.redundant_rows(index.section.suffix)
        found: list[list[int]] = []
        for rows in grants_of(self._material, table):
            if left_out.issuperset(rows):
                self.redundant += 1
            elif held is not None and _unheld(index, table, rows, held):
                self.unheld += 1
            else:
                found.append(rows)
        said = [{table.values(row) for row in rows} for rows in found]
        repeated = _repeated(said)
        self.redundant += len(repeated)
        saying = self._saying[index.section.suffix] = {}
        for number, rows in enumerate(found):
            if number not in repeated:
                for values in said[number]:
                    saying.setdefault(values, set()).add(len(self.grants))
                self.grants.append(_grant(index, table, rows))

    def deciding(self, request: Request) -> set[int]:
        """The numbers of the grants on which the decision of a request rests: those that it matches and that decide as
        the first of them does, up to one that decides otherwise."""
        index = self._material.snapshot.sections.get(request.section)
        matching = self._material.decider.matching(request)
        if index is None or not matching:
            return set()
        table = self._material.snapshot.tables[index.section.ptype]
        effects = table.columns[index.section.fields.index("eft")] if "eft" in index.section.fields else None
        if effects is not None:
            first = effects[matching[0]] == "deny"
            matching = list(takewhile(lambda row: (effects[row] == "deny") is first, matching))
        saying = self._saying[request.section]
        return set[int]().union(*[saying.get(table.values(row), ()) for row in matching])


def _repeated(said: list[set[Values]]) -> set[int]:
    """The numbers of grants all of whose rules others have too; of those that have the same, one is none of these."""
    counts = Counter(values for rules in said for values in rules)
    repeated: set[int] = set()
    for number in sorted(range(len(said)), key=lambda number: len(said[number])):
        if all(counts[values] > 1 for values in said[number]):
            repeated.add(number)
            counts.subtract(said[number])
    return repeated


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


def _grant(index: SectionIndex, table: RuleTable, rows: list[int]) -> ExercisedGrant:
    """The grant that `rows` make, without tests."""
    rule = table.rule(rows[0])
    fields = dict(zip(index.section.fields, rule.values, strict=True))
    holder = rule.via[-1] if rule.via else fields.get("sub", rule.values[0] if rule.values else "")
    allows = fields.get("eft", "allow") != "deny"
    return ExercisedGrant(index.section.suffix, tuple(rows), rule.span, holder, fields, allows)
