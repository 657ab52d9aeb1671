"""Which rules are covered by others: every request that one matches, another matches too, and decides.

Rules that ask the same of a request are one group. A group is covered by a group that asks for less: it leaves free
what the other binds, or binds a role that goes with the other's, or a pattern that takes the other's in. Groups are
looked up by what they bind, so that no two rules are ever compared and the work grows with their number.

What is said is exact, failing conditions included (`Coverage.may_cover`); where it cannot be told, nothing is said.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple, TypeAlias

from authz_sidecar.compile.access import KeyAccess, PatternAccess, RoleAccess, SetAccess
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.model import Effect
from authz_sidecar.review.reach import BranchRules, RuleShape, domain_of
from authz_sidecar.review.widening import MAX_WIDER, PatternForms, WiderPatterns, WiderRoles

UNCONDITIONAL = "True"

# A rule's shape in each branch of the matcher, None where it never matches.
Shapes: TypeAlias = tuple[RuleShape | None, ...]
# The accesses that are left free in each branch, a bit for each; None for branches that do not matter.
Frees: TypeAlias = tuple[int | None, ...]
Texts: TypeAlias = tuple[str | None, ...]
Access: TypeAlias = KeyAccess | SetAccess
# Groups by what they leave free; by their conditions and effect; by the values that they bind.
View: TypeAlias = dict[Frees, dict[tuple[Texts, bool | None], dict[tuple[str, ...], list[int]]]]
Widen: TypeAlias = Callable[[int], tuple[str, ...]]


class Kind(NamedTuple):
    """What the groups of one shape share: the branches in which they match, and there what they leave free and which
    condition is left to them; and whether one of these may fail."""

    alive: tuple[int, ...]
    frees: Frees
    texts: Texts
    fallible: bool


class Group(NamedTuple):
    """Rules that ask the same: their rows in deciding order, and the rank of the first. `denies` is None where the
    order decides and not the effect."""

    kind: Kind
    rows: list[int]
    rank: int
    denies: bool | None


class Coverage:
    """The coverage among the rules of one section.

    `shapes` holds each row's shapes by branch, None for a row that is left out as it decides nothing.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        index: SectionIndex,
        branches: Sequence[BranchRules],
        shapes: Sequence[Shapes | None],
        forms: PatternForms,
    ) -> None:
        table = snapshot.tables[index.section.ptype]
        effect = index.section.effect
        fallible = any(branch.fallible for branch in index.branches)
        # Elsewhere it does not matter which of two rules of one effect comes first.
        self.ordered = effect in (Effect.PRIORITY, Effect.SUBJECT_PRIORITY) or (
            effect is Effect.ALLOW_OVERRIDE and fallible
        )
        self._branches = branches
        self._shapes = shapes
        self._columns = dict(zip(index.section.fields, table.columns, strict=True))
        self._roles = WiderRoles(snapshot)
        self._patterns: dict[tuple[str, str], WiderPatterns] = {}
        self._forms = forms
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self._fields: dict[Frees, list[str]] = {}
        self._lookups: dict[Frees, list[tuple[list[str], Widen | None]]] = {}
        self._wider_frees: dict[Kind, list[Frees]] = {}
        self.groups = self._group(range(len(table)) if index.order is None else index.order)
        self._views = self._build_views()

    def _group(self, order: Sequence[int]) -> list[Group]:
        groups: list[Group] = []
        found: dict[tuple[object, ...], Group] = {}
        effects = self._columns.get("eft")
        for rank, row in enumerate(order):
            shapes = self._shapes[row]
            if shapes is None:
                continue
            kind = self._kind(shapes)
            denies = None if self.ordered else effects is not None and effects[row] == "deny"
            key = (kind, denies, self._values(kind.frees, row))
            group = found.get(key)
            if group is None:
                group = found[key] = Group(kind, [], rank, denies)
                groups.append(group)
            group.rows.append(row)
        return groups

    def _kind(self, shapes: Shapes) -> Kind:
        key = tuple([None if shape is None else (shape.free, shape.text) for shape in shapes])
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(
                tuple([number for number, shape in enumerate(shapes) if shape is not None]),
                tuple([None if shape is None else shape.free for shape in shapes]),
                tuple([None if shape is None else shape.text for shape in shapes]),
                any(shape is not None and may_fail(shape.residual) for shape in shapes),
            )
        return kind

    def _bound(self, frees: Frees) -> Iterator[tuple[int, Access]]:
        """The accesses that are not left free, each with the number of its branch."""
        for number, free in enumerate(frees):
            if free is not None:
                for place, access in enumerate(self._branches[number].accesses):
                    if not free >> place & 1:
                        yield number, access

    def _fields_of(self, frees: Frees) -> list[str]:
        fields = self._fields.get(frees)
        if fields is None:
            fields = self._fields[frees] = sorted({access.field for _, access in self._bound(frees)})
        return fields

    def _values(self, frees: Frees, row: int) -> tuple[str, ...]:
        return tuple([self._columns[field][row] for field in self._fields_of(frees)])

    def _build_views(self) -> dict[tuple[int, ...], View]:
        """For each set of branches in which some group matches: the groups that match in all of these at least."""
        views: dict[tuple[int, ...], View] = {kind.alive: {} for kind in self._kinds.values()}
        # For each kind, where its groups stand: the view, what they leave free in it, and their conditions there.
        placed: dict[Kind, list[tuple[View, Frees, Texts]]] = {
            kind: [
                (
                    view,
                    tuple([free if at in alive else None for at, free in enumerate(kind.frees)]),
                    tuple([text if at in alive else None for at, text in enumerate(kind.texts)]),
                )
                for alive, view in views.items()
                if set(alive) <= set(kind.alive)
            ]
            for kind in self._kinds.values()
        }
        for number, group in enumerate(self.groups):
            for view, frees, texts in placed[group.kind]:
                by_values = view.setdefault(frees, {}).setdefault((texts, group.denies), {})
                by_values.setdefault(self._values(frees, group.rows[0]), []).append(number)
        return views

    def covering(self, number: int) -> Iterator[int]:
        """The groups that cover a group, roughly those that ask for least first."""
        group = self.groups[number]
        kind = group.kind
        view = self._views[kind.alive]
        row = group.rows[0]
        unconditional = tuple([None if text is None else UNCONDITIONAL for text in kind.texts])
        conditions = (unconditional,) if unconditional == kind.texts else (unconditional, kind.texts)
        for frees in self._wider_shapes(kind, view):
            by_condition = view[frees]
            keys: list[tuple[str, ...]] | None = None
            for texts in conditions:
                for denies in (None,) if self.ordered else (True, False):
                    by_values = by_condition.get((texts, denies))
                    if by_values is None or not self.may_cover(group, denies):
                        continue
                    if keys is None:
                        keys = self._keys(frees, row)
                    for key in keys:
                        for other in by_values.get(key, ()):
                            if other != number and (not self.ordered or self.groups[other].rank < group.rank):
                                yield other

    @staticmethod
    def may_cover(group: Group, denies: bool | None) -> bool:
        """Whether a group that matches all that `group` matches decides in its place; `denies` is its effect.

        An allow does not outweigh a deny. And where every rule is read, a condition that fails denies in spite of any
        allow: a rule with such a condition would be missed.
        """
        return denies is not False or (not group.denies and not group.kind.fallible)

    def _wider_shapes(self, kind: Kind, view: View) -> list[Frees]:
        wider = self._wider_frees.get(kind)
        if wider is None:
            wider = [frees for frees in view if _leaves_free(frees, kind.frees)]
            wider.sort(key=lambda frees: -sum((free or 0).bit_count() for free in frees))
            self._wider_frees[kind] = wider
        return wider

    def _keys(self, frees: Frees, row: int) -> list[tuple[str, ...]]:
        """The values under which covering groups stand: the rule's own, or wider ones."""
        choices: list[tuple[str, ...]] = []
        for column, widen in self._lookup(frees):
            value = column[row]
            choices.append((value,) if widen is None else (*widen(row), value))
        if prod(map(len, choices)) > MAX_WIDER:
            choices = [choice[-1:] for choice in choices]
        return list(product(*choices))

    def _lookup(self, frees: Frees) -> list[tuple[list[str], Widen | None]]:
        """For each bound field its column, and what finds the wider values of a row where there may be any."""
        found = self._lookups.get(frees)
        if found is None:
            found = self._lookups[frees] = [
                (self._columns[field], self._widen(field, frees)) for field in self._fields_of(frees)
            ]
        return found

    def _widen(self, field: str, frees: Frees) -> Widen | None:
        column = self._columns[field]
        accesses = [(number, access) for number, access in self._bound(frees) if access.field == field]
        roles = [(number, access) for number, access in accesses if isinstance(access, RoleAccess)]
        functions = {access.function for _, access in accesses if isinstance(access, PatternAccess)}
        if len(roles) == len(accesses):
            leads_on = self._roles.leads_on({access.definition for _, access in roles})
            return lambda row: (
                self._roles.wider(
                    column[row], [(access.definition, self._domain(number, access, row)) for number, access in roles]
                )
                if leads_on(column[row])
                else ()
            )
        if len(functions) == 1 and all(isinstance(access, PatternAccess) for _, access in accesses):
            (function,) = functions
            patterns = self._patterns.get((function, field))
            if patterns is None:
                patterns = self._patterns[function, field] = WiderPatterns(function, column, self._forms)
            wider = patterns.wider
            return lambda row: wider(column[row])
        return None

    def _domain(self, number: int, access: RoleAccess, row: int) -> str | None:
        shapes = self._shapes[row]
        shape = None if shapes is None else shapes[number]
        return None if shape is None else domain_of(access, self._branches[number], row, shape)


def _leaves_free(wide: Frees, narrow: Frees) -> bool:
    """Whether the first leaves free all that the second leaves free."""
    return all(not (mine or 0) & ~(free or 0) for free, mine in zip(wide, narrow, strict=True))
