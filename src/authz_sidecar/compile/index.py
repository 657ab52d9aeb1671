"""The index builder: a branch's rules as hash tables, so that deciding never walks the rules.

Rules are grouped by shape (which of their fields are free, such as `*`), and each shape has one table: a key made of
the fields compared for equality leads to a leaf. A leaf is a rank (or ranks), or, where roles or patterns
are probed, a mapping from role or prefix to the next leaf; up to four entries it is one flat tuple
(name, rank, name, rank…), which is a third of the size of a dict.

A rank is a rule's place in the order in which the effect reads rules: the smallest matching rank decides.
INVARIANT: ranks are inserted in ascending order, and in one leaf each residual keeps only its first rank.
"""

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, NamedTuple

import msgspec

from authz_sidecar.compile.access import BranchPlan, PatternAccess
from authz_sidecar.compile.fold import FALSE, TRUE, conjoin, specialise
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.model.expression import Call, Const, Expr, Token
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.model.semantics import fields_of, write_expression
from authz_sidecar.values import RuleTable
from authz_sidecar.values.request import SOURCES

FLAT_LIMIT = 8
# Rules with different conditions under one key and role: each is evaluated for a request that gets there.
MAX_CONDITIONS_IN_LEAF = 10_000
# Tokens that the object's company fills.
DOMAIN_TOKENS = frozenset(token for token, source in SOURCES.items() if source == "company")


class Shape(msgspec.Struct, frozen=True):
    """The rules that constrain the same fields: `keys` and `sets` are the access paths in force, in plan order.

    With a `domain` token the table leads from the domain to a table of its own: what a company's requests touch stays
    together in memory, and companies share their keys. `lengths` holds, for each set that is a pattern access, the
    prefix lengths in use (empty for role sets).
    """

    domain: str
    keys: tuple[str, ...]
    sets: tuple[int, ...]
    lengths: tuple[tuple[int, ...], ...]
    table: dict[Any, Any]


class BranchIndex(msgspec.Struct, frozen=True):
    """The compiled form of one branch.

    `residual_of` gives the number of the condition that the rule of a rank still has to meet; `residuals` are
    those conditions by number (0 stands for none). `fallible` are the numbers of those whose evaluation may fail.
    """

    plan: BranchPlan
    shapes: tuple[Shape, ...]
    residual_of: dict[int, int]
    residuals: tuple[Expr, ...]
    fallible: set[int]


def build_branch(
    plan: BranchPlan,
    table: RuleTable,
    fields: tuple[str, ...],
    rows: list[int] | range,
    conditions: Mapping[str, Mapping[str, Expr]],
) -> BranchIndex:
    """Index the rules of `table` in the order of `rows` (rank → row).

    `conditions[field][text]` is the parsed condition that a rule carries in `field`.
    """
    return _Builder(plan, table, fields, conditions).build(rows)


def deciding_fields(plan: BranchPlan) -> list[str]:
    """The fields of a rule that tell its shape and its conditions: all that `classify` reads, sorted."""
    read = [*plan.statics, *plan.residual]
    read += [access.free_when for access in (*plan.keys, *plan.sets) if access.free_when is not None]
    return sorted(frozenset[str]().union(*[fields_of(expr) for expr in read]))


def classify(
    plan: BranchPlan, values: Mapping[str, str], parsed: Mapping[str, Mapping[str, Expr]]
) -> tuple[int, Expr] | None:
    """A rule as a branch sees it: its shape, a bit for each access path that it leaves free (keys, then sets), and
    the condition that is left to it; None when it can never match in this branch.

    `values` holds its deciding fields, `parsed` the conditions that rules carry, by field and text.
    """
    conditions = {field: texts[values[field]] for field, texts in parsed.items() if field in values}
    for expr in plan.statics:
        if specialise(expr, values, conditions) == FALSE:
            return None
    residual = conjoin([specialise(expr, values, conditions) for expr in plan.residual])
    if residual == FALSE:
        return None
    mask = 0
    for place, access in enumerate((*plan.keys, *plan.sets)):
        if access.free_when is not None and specialise(access.free_when, values, conditions) == TRUE:
            mask |= 1 << place
    return mask, residual


class LeafLimitError(Exception):
    """One request would have to try the conditions of too many rules; `row` is the rule that is one too many."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class _RuleClass(NamedTuple):
    """What rules with the same values in the conditions' fields share: their shape, and the condition left to them."""

    mask: int
    residual: Expr
    number: int


class _Layout(NamedTuple):
    """What placing the rules of one shape takes: their table, the column of the domain (None: it is no part of them),
    those of the keys, and of each set, with its access if that is a pattern's."""

    table: dict[Any, Any]
    domain: list[str] | None
    keys: list[list[str]]
    sets: list[tuple[list[str], PatternAccess | None]]


class _Builder:
    def __init__(
        self,
        plan: BranchPlan,
        table: RuleTable,
        fields: tuple[str, ...],
        conditions: Mapping[str, Mapping[str, Expr]],
    ) -> None:
        self.plan = plan
        self.columns = {name: table.columns[place] for place, name in enumerate(fields)}
        self.conditions = conditions
        self.residual_of: dict[int, int] = {}
        # By text, since as values 1, 1.0 and True would be one.
        self.numbers: dict[str, int] = {write_expression(TRUE): 0}
        self.residuals: list[Expr] = [TRUE]
        self.placed: set[tuple[Any, ...]] = set()
        self.tables: dict[int, dict[Any, Any]] = {}
        self.lengths: dict[int, list[set[int]]] = {}
        self.accesses = (*plan.keys, *plan.sets)
        self.domain = next((access for access in plan.keys if access.token in DOMAIN_TOKENS), None)
        # One key object for all the tables that have it.
        self.shared: dict[Any, Any] = {}
        self.layouts: dict[int, _Layout] = {}
        self.patterns = [
            (1 << (len(plan.keys) + place), access)
            for place, access in enumerate(plan.sets)
            if isinstance(access, PatternAccess)
        ]

    def build(self, rows: list[int] | range) -> BranchIndex:
        plan = self.plan
        mixed = deciding_fields(plan)
        considered = plan.statics or plan.residual or any(access.free_when is not None for access in self.accesses)
        if considered or any(isinstance(access, PatternAccess) for access in plan.sets) or len(plan.sets) > 1:
            self._insert_each(rows, mixed)
        else:
            self._insert_plain(rows)
        shapes = tuple([self._shape(mask) for mask in self.tables])
        fallible = {number for number, residual in enumerate(self.residuals) if may_fail(residual)}
        return BranchIndex(plan, shapes, self.residual_of, tuple(self.residuals), fallible)

    def _shape(self, mask: int) -> Shape:
        keys = len(self.plan.keys)
        bound = [access for place, access in enumerate(self.plan.keys) if not mask >> place & 1]
        domain = self.domain.token if self.domain in bound and self.domain is not None else ""
        return Shape(
            domain,
            tuple([access.token for access in bound if access is not self.domain]),
            tuple([place for place in range(len(self.plan.sets)) if not mask >> (keys + place) & 1]),
            tuple([tuple(sorted(lengths)) for lengths in self.lengths.get(mask, [])]),
            self.tables[mask],
        )

    def _insert_plain(self, rows: list[int] | range) -> None:
        """Rules without wildcards or conditions: the common case, a million times over."""
        if not rows:
            return
        columns = [
            _in_order(self.columns[access.field], rows) for access in self.plan.keys if access is not self.domain
        ]
        keys: Iterable[Any] = columns[0] if len(columns) == 1 else zip(*columns, strict=True) if columns else repeat(())
        domains = _in_order(self.columns[self.domain.field], rows) if self.domain else repeat("")
        names = _in_order(self.columns[self.plan.sets[0].field], rows) if self.plan.sets else None
        tables: dict[str, dict[Any, Any]] = {}
        shared = self.shared.setdefault
        for rank, (domain, key, name) in enumerate(zip(domains, keys, names or repeat(""), strict=False)):
            if rank == len(rows):
                break
            table = tables.get(domain)
            if table is None:
                table = tables[domain] = {}
            leaf = table.get(key)
            if leaf is None:
                table[shared(key, key)] = rank if names is None else (name, rank)
            elif names is not None and name not in leaf:
                if leaf.__class__ is dict:
                    leaf[name] = rank
                else:
                    table[key] = _grown(leaf, name, rank)
        self.tables[0] = tables if self.domain else tables[""]
        self.lengths[0] = [set() for _ in self.plan.sets]

    def _insert_each(self, rows: list[int] | range, mixed: list[str]) -> None:
        seen: dict[tuple[str, ...], _RuleClass | None] = {}
        mixed_columns = [self.columns[name] for name in mixed]
        for rank, row in enumerate(rows):
            values = tuple([column[row] for column in mixed_columns])
            if values not in seen:
                seen[values] = self._class_of(dict(zip(mixed, values, strict=True)))
            rule_class = seen[values]
            if rule_class is not None:
                self._insert(rank, row, rule_class)

    def _class_of(self, values: dict[str, str]) -> "_RuleClass | None":
        """A rule's shape and what is left of its conditions; None when it can never match in this branch."""
        found = classify(self.plan, values, self.conditions)
        return None if found is None else _RuleClass(*found, self._number(found[1]))

    def _number(self, residual: Expr) -> int:
        number = self.numbers.setdefault(write_expression(residual), len(self.residuals))
        if number == len(self.residuals):
            self.residuals.append(residual)
        return number

    def _insert(self, rank: int, row: int, rule_class: "_RuleClass") -> None:
        mask, number = rule_class.mask, rule_class.number
        for bit, access in self.patterns:
            # A pattern such as `*` asks nothing of the request.
            if self._matches_all(access, row):
                mask |= bit
        layout = self.layouts.get(mask)
        if layout is None:
            layout = self.layouts[mask] = self._layout(mask)
        table, domain = layout.table, ""
        if layout.domain is not None:
            domain = layout.domain[row]
            table = table.setdefault(domain, {})
        names: list[str] = []
        tests: list[Expr] = []
        for place, (column, access_of_pattern) in enumerate(layout.sets):
            value = column[row]
            if access_of_pattern is not None:
                pattern = compile_pattern(access_of_pattern.function, value)
                if pattern.kind != "exact":
                    self.lengths[mask][place].add(len(pattern.literal))
                if pattern.kind == "test":
                    tests.append(Call(access_of_pattern.function, (Token(access_of_pattern.token), Const(value))))
                value = probe_name(pattern.kind, pattern.literal)
            names.append(value)
        if tests:
            number = self._number(conjoin([*tests, rule_class.residual]))
        keys = layout.keys
        key: Any = keys[0][row] if len(keys) == 1 else tuple([column[row] for column in keys])
        key = self.shared.setdefault(key, key)
        place_of_condition = (mask, domain, key, *names, number)
        if place_of_condition in self.placed:
            return
        self.placed.add(place_of_condition)
        if number:
            self.residual_of[rank] = number
        if _place(table, [key, *names], rank) > MAX_CONDITIONS_IN_LEAF:
            raise LeafLimitError(row)

    def _layout(self, mask: int) -> "_Layout":
        """How the rules of a shape are placed; makes its table."""
        plan = self.plan
        bound = [access for place, access in enumerate(plan.keys) if not mask >> place & 1]
        domain = self.domain if self.domain in bound else None
        sets = [access for place, access in enumerate(plan.sets) if not mask >> (len(plan.keys) + place) & 1]
        self.tables[mask] = {}
        self.lengths[mask] = [set() for _ in sets]
        return _Layout(
            self.tables[mask],
            None if domain is None else self.columns[domain.field],
            [self.columns[access.field] for access in bound if access is not domain],
            [(self.columns[access.field], access if isinstance(access, PatternAccess) else None) for access in sets],
        )

    def _matches_all(self, access: PatternAccess, row: int) -> bool:
        pattern = compile_pattern(access.function, self.columns[access.field][row])
        return pattern.kind == "prefix" and not pattern.literal


def probe_name(kind: str, literal: str) -> str:
    """The name under which a pattern stands in a leaf: `=` and the value, or `^` and the literal beginning."""
    return ("=" if kind == "exact" else "^") + literal


def _in_order(column: list[str], rows: list[int] | range) -> list[str]:
    return column if isinstance(rows, range) else [column[row] for row in rows]


def _grown(leaf: tuple[Any, ...], name: str, entry: Any) -> Any:
    grown = (*leaf, name, entry)
    return grown if len(grown) <= FLAT_LIMIT else dict(zip(grown[::2], grown[1::2], strict=True))


def _place(store: Any, path: list[Any], rank: int) -> int:
    """Put `rank` at the end of `path`; gives how many ranks stand there then."""
    *inner, last = path
    if len(path) == 2:
        # One set: the leaf may be flat.
        key, name = path
        leaf = store.get(key)
        if leaf is None:
            store[key] = (name, rank)
            return 1
        if leaf.__class__ is tuple:
            if name in leaf[::2]:
                at = leaf.index(name) + 1
                entry = _with_rank(leaf[at], rank)
                store[key] = (*leaf[:at], entry, *leaf[at + 1 :])
                return len(entry)
            store[key] = _grown(leaf, name, rank)
            return 1
        store, last = leaf, name
    else:
        for step in inner:
            store = store.setdefault(step, {})
    entry = store.get(last)
    store[last] = rank if entry is None else _with_rank(entry, rank)
    return 1 if entry is None else len(store[last])


def _with_rank(entry: Any, rank: int) -> tuple[int, ...]:
    return (*entry, rank) if isinstance(entry, tuple) else (entry, rank)
