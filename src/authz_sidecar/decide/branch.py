"""One branch of the matcher at work: its tables with the getters that make their keys, its probes and conditions."""

from typing import Any

from authz_sidecar.compile.access import PatternAccess
from authz_sidecar.compile.index import BranchIndex, Shape
from authz_sidecar.decide.evaluate import Condition, Evaluator
from authz_sidecar.decide.roles import RoleProbe
from authz_sidecar.decide.tokens import read_tokens
from authz_sidecar.values import Request
from authz_sidecar.values.request import SOURCES

# Conditions kept as closures per branch; a policy may carry a different one in every rule.
MAX_CONDITIONS = 16_384
# How a shape's leaves are read: a rank as it is, by the branch's one role set, or by any sets.
NO_SET, ROLE_SET, ANY_SETS = range(3)


class OrderMattersError(Exception):
    """A candidate's condition may fail, so the candidates must be tried in the order of the rules."""


class Branch:
    """A branch of the matcher with its closures: what `SectionDecider` walks for each request."""

    __slots__ = (
        "conditions",
        "decisive",
        "evaluator",
        "fallible",
        "guard",
        "index",
        "of_subject",
        "only_probe",
        "probes",
        "residual_of",
        "safe_conditions",
        "shapes",
        "tokens",
    )

    def __init__(self, index: BranchIndex, evaluator: Evaluator, probes: list[RoleProbe | None]) -> None:
        self.index = index
        self.evaluator = evaluator
        guards = index.plan.guards
        self.guard: Condition | None = evaluator.guard(guards) if guards else None
        self.probes = probes
        # The loop reads it once for all shapes.
        self.only_probe = found[0] if len(found := [probe for probe in probes if probe is not None]) == 1 else None
        # Whether what is held tells that the subject is known: an object's roles do not.
        self.of_subject = bool(index.plan.subject_roles)
        # For a pattern set, the part of the request that is matched.
        self.tokens = [SOURCES[access.token] if isinstance(access, PatternAccess) else "" for access in index.plan.sets]
        self.residual_of = index.residual_of
        self.fallible = index.fallible
        self.conditions: dict[int, Condition] = {}
        self.safe_conditions: dict[int, Condition] = {}
        self.shapes = [
            (
                # Whatever the model calls it, the domain is the object's company.
                bool(shape.domain),
                read_tokens(shape.keys),
                shape.table.get,
                self._access_of(shape),
                shape,
            )
            for shape in index.shapes
        ]
        # The probe whose empty answer rules the whole branch out: one that every rule here is found through. A rule
        # for anybody (`p.sub == "*"`) is also for who holds no role.
        self.decisive = next(
            (
                probe
                for at, probe in enumerate(probes)
                if probe is not None and all(at in shape.sets for shape in index.shapes)
            ),
            None,
        )

    def _access_of(self, shape: Shape) -> int:
        if not shape.sets:
            return NO_SET
        only_set = self.probes[shape.sets[0]] if len(shape.sets) == 1 else None
        return ROLE_SET if only_set is not None and only_set is self.only_probe else ANY_SETS

    def condition(self, number: int) -> Condition:
        """The condition of that number, whether or not it may fail."""
        found = self.conditions.get(number)
        if found is None:
            if len(self.conditions) >= MAX_CONDITIONS:
                self.conditions.clear()
            found = self.conditions[number] = self.evaluator.condition(self.index.residuals[number])
        return found

    def safe_condition(self, number: int) -> Condition:
        """The condition of that number; raises OrderMattersError for one that may fail."""
        found = self.safe_conditions.get(number)
        if found is None:
            if number in self.fallible:
                raise OrderMattersError
            found = self.condition(number)
            if len(self.safe_conditions) < MAX_CONDITIONS:
                self.safe_conditions[number] = found
        return found

    def set_values(self, shape: Shape, request: Request) -> list[frozenset[str]]:
        """For each set of the shape, the names to look for in a leaf."""
        values: list[frozenset[str]] = []
        for place, at in enumerate(shape.sets):
            probe = self.probes[at]
            if probe is not None:
                values.append(probe.of(request))
                continue
            text: str = getattr(request, self.tokens[at])
            size = len(text)
            names = ["^" + text[:length] for length in shape.lengths[place] if length <= size]
            values.append(frozenset(["=" + text, *names]))
        return values


def find_ranks(leaf: Any, values: list[frozenset[str]]) -> list[int]:
    """The ranks in a leaf, below the given names, level by level."""
    level = [leaf]
    for names in values:
        below: list[Any] = []
        for entry in level:
            if isinstance(entry, tuple):
                below += [entry[at + 1] for at in range(0, len(entry), 2) if entry[at] in names]
            elif len(entry) < len(names):
                below += [child for name, child in entry.items() if name in names]
            else:
                below += [entry[name] for name in names if name in entry]
        level = below
    ranks: list[int] = []
    for entry in level:
        if isinstance(entry, tuple):
            ranks += entry
        else:
            ranks.append(entry)
    return ranks
