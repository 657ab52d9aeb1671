"""What the rules of one side say, apart from whom they are about: an area, an effect, and a condition that stays open.

Rules that say the same are one statement, on either side, so that a policy seen by a subject is a set of statements: an
integer with a bit for each. Two sides that come to the same set decide alike, whatever rules and roles it comes from.
Where the order of rules matters a statement is a rule.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from authz_sidecar.compile.access import KeyAccess, PatternAccess, RoleAccess
from authz_sidecar.compile.index import classify, deciding_fields
from authz_sidecar.compile.planner import may_fail
from authz_sidecar.compile.snapshot import SectionIndex, Snapshot
from authz_sidecar.model.expression import And, Call, Const, Expr, RoleCall, Token
from authz_sidecar.model.model import Effect
from authz_sidecar.model.semantics import children, write_expression
from authz_sidecar.review.access.boxes import PARTS, Area
from authz_sidecar.review.access.change import Side
from authz_sidecar.review.access.conditions import (
    EVERYWHERE,
    Areas,
    Asker,
    ConditionReader,
    NeedsSubjectError,
    both,
    normal,
)
from authz_sidecar.review.access.holdings import SideRoles
from authz_sidecar.values.request import SOURCES
from authz_sidecar.values.texts import Texts

_IN_ORDER = (Effect.PRIORITY, Effect.SUBJECT_PRIORITY)


class Statement(NamedTuple):
    """`area` by the numbers of its texts; `condition` is text that stands for what is not known of it, `fails` says
    whether evaluating that may fail. `place` is the rule and branch where the order matters."""

    area: tuple[int, ...]
    allows: bool
    condition: str = ""
    fails: bool = False
    place: tuple[object, ...] = ()


class Book:
    """The statements of both sides of a section, numbered; and the sets of texts in them."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._numbers: dict[Statement, int] = {}
        self.texts: list[Texts] = []
        self._texts: dict[Texts, int] = {}

    def number(self, statement: Statement) -> int:
        """The bit of a statement."""
        found = self._numbers.get(statement)
        if found is None:
            found = self._numbers[statement] = len(self.statements)
            self.statements.append(statement)
        return found

    def areas(self, areas: list[Area]) -> list[tuple[int, ...]]:
        """Areas by the numbers of their texts."""
        return [tuple([self.text(texts) for texts in area]) for area in areas]

    def text(self, texts: Texts) -> int:
        """The number of a set of texts."""
        found = self._texts.get(texts)
        if found is None:
            found = self._texts[texts] = len(self.texts)
            self.texts.append(texts)
        return found

    def area(self, statement: int) -> Area:
        """The area of a statement."""
        company, type, id, action, owner = [self.texts[number] for number in self.statements[statement].area]
        return (company, type, id, action, owner)


class Said:
    """What a rule comes to in a branch; `masks` remembers its statements, those that deny and those that allow."""

    __slots__ = ("areas", "condition", "fails", "masks")

    def __init__(self, areas: list[tuple[int, ...]], condition: str, fails: bool) -> None:
        self.areas = areas
        self.condition = condition
        self.fails = fails
        self.masks: list[int | None] = [None, None]


class Binding(NamedTuple):
    """How a branch compares rules with the subject: `definition` is "" where the rule's field is the subject's name.

    `domain` is None where the definition has none, a text, or `REQUESTED` for the company of the request.
    """

    place: int
    field: str
    definition: str = ""
    domain: str | None = None

    @property
    def by_company(self) -> bool:
        """Whether roles count in the company of the request."""
        return self.domain == REQUESTED


REQUESTED = "\0company"
# What depends on who asks.
_LATE = Said([], "", False)


class Branch:
    """The rules of one branch of a matcher by what they want of the subject."""

    def __init__(self, section: "SectionRules", number: int) -> None:
        index = section.index.branches[number]
        self.number = number
        self.plan = index.plan
        self.accesses = (*index.plan.keys, *index.plan.sets)
        self.binding = _binding_of(self.accesses)
        self._section = section
        fields = section.index.section.fields
        self.columns = [section.table.columns[fields.index(access.field)] for access in self.accesses]
        self._deciding = deciding_fields(index.plan)
        self._deciding_columns = [section.table.columns[fields.index(name)] for name in self._deciding]
        self._classes: dict[tuple[str, ...], tuple[int, tuple[Expr, ...]] | None] = {}
        # The columns that tell what a rule says, whoever it is for; what rules said that are alike in them.
        self._telling = [
            column
            for field, column in zip(section.index.section.fields, section.table.columns, strict=True)
            if field in self._deciding
            or field
            in [access.field for access in self.accesses if self.binding is None or access.field != self.binding.field]
        ]
        self._said: dict[tuple[str, ...], Said] = {}
        # Rows by what their bound field says; those that anybody reaches.
        self.bound: dict[str, list[int]] = {}
        self.open: list[int] = []
        self._masks: dict[str | None, tuple[int, list[int]]] = {}
        self._rows: dict[str | None, dict[int, list[int]]] = {}
        self._sort()

    def _sort(self) -> None:
        binding = self.binding
        rows = self._section.rows
        if binding is None:
            self.open = [row for row in rows if self._class(row) is not None]
            return
        column = self.columns[binding.place]
        bound = self.bound
        names = column if isinstance(rows, range) else [column[row] for row in rows]
        if not self._deciding:
            for row, name in zip(rows, names, strict=True):
                bound.setdefault(name, []).append(row)
            return
        free = 1 << binding.place
        columns = self._deciding_columns
        deciding = zip(
            *columns if isinstance(rows, range) else [[one[row] for row in rows] for one in columns], strict=True
        )
        classes = self._classes
        for row, name, values in zip(rows, names, deciding, strict=True):
            found = classes[values] if values in classes else self._class(row)
            if found is None:
                continue
            if found[0] & free:
                self.open.append(row)
            elif name in bound:
                bound[name].append(row)
            else:
                bound[name] = [row]

    def is_open(self, row: int) -> bool:
        """Whether anybody reaches the rule."""
        found = self._class(row)
        return found is not None and (self.binding is None or bool(found[0] >> self.binding.place & 1))

    def _class(self, row: int) -> tuple[int, tuple[Expr, ...]] | None:
        """What a rule's deciding fields make of it: the accesses it leaves free, and the conditions left."""
        values = tuple([column[row] for column in self._deciding_columns])
        try:
            return self._classes[values]
        except KeyError:
            pass
        found = classify(self.plan, dict(zip(self._deciding, values, strict=True)), self._section.index.conditions)
        made = None
        if found is not None:
            parts = found[1].operands if isinstance(found[1], And) else (found[1],)
            made = (found[0], tuple([normal(part) for part in parts]))
        self._classes[values] = made
        return made

    def mask(self, name: str | None) -> tuple[int, list[int]]:
        """The statements of the rules for a name (None: for anybody), and the rows that depend on who asks."""
        found = self._masks.get(name)
        if found is None:
            late: list[int] = []
            by_mask: dict[int, list[int]] = {}
            for row in self.open if name is None else self.bound.get(name, ()):
                said = self.said(row, None)
                if said is _LATE:
                    late.append(row)
                else:
                    mask = self.statements(row, said)
                    if mask in by_mask:
                        by_mask[mask].append(row)
                    else:
                        by_mask[mask] = [row]
            self._rows[name] = by_mask
            found = self._masks[name] = (joined_mask(by_mask), late)
        return found

    def rows(self, name: str | None, mask: int) -> list[int]:
        """The rows for a name that do not depend on who asks and say one of these statements."""
        self.mask(name)
        return [row for one, rows in self._rows[name].items() if one & mask for row in rows]

    def statements(self, row: int, said: Said, condition: str = "") -> int:
        """The bits of what a row says; `condition` is what else is not known."""
        section = self._section
        allows = section.allows(row)
        if section.ordered or condition:
            place = section.place(row, self.number) if section.ordered else ()
            return self._number(said, allows, " && ".join(filter(None, (condition, said.condition))), place)
        found = said.masks[allows]
        if found is None:
            found = said.masks[allows] = self._number(said, allows, said.condition, ())
        return found

    def _number(self, said: Said, allows: bool, condition: str, place: tuple[object, ...]) -> int:
        mask = 0
        for area in said.areas:
            mask |= 1 << self._section.book.number(Statement(area, allows, condition, said.fails, place))
        return mask

    def said(self, row: int, asker: Asker | None) -> Said:
        """What a row says to who asks; `_LATE` where that matters and nobody is named."""
        key = tuple([column[row] for column in self._telling])
        said = self._said.get(key)
        if said is not None and (said is not _LATE or asker is None):
            return said
        found = self._class(row)
        if found is None:
            return Said([], "", False)
        free, residual = found
        binding = self.binding
        values = tuple(
            [
                column[row] if not free >> place & 1 and (binding is None or place != binding.place) else None
                for place, column in enumerate(self.columns)
            ]
        )
        try:
            said = self._read(values, residual, asker)
        except NeedsSubjectError:
            said = _LATE
        if asker is None:
            self._said[key] = said
        return said

    def _read(self, values: tuple[str | None, ...], residual: tuple[Expr, ...], asker: Asker | None) -> Said:
        reader = self._section.reader
        found = EVERYWHERE
        conditions: list[str] = []

        def narrow(areas: Areas, expr: Expr) -> None:
            nonlocal found
            met = both(found, Areas(areas.areas))
            found = Areas(met.areas)
            if not (areas.exact and met.exact):
                conditions.append(self._section.text(expr))

        for access, value in zip(self.accesses, values, strict=True):
            if value is None:
                continue
            if isinstance(access, KeyAccess):
                narrow(reader.token_is(access.token, Texts(frozenset((value,))), asker), Const(True))
            elif isinstance(access, PatternAccess):
                areas = reader.matches(access.function, access.token, value, asker)
                narrow(areas, Call(access.function, (Token(access.token), Const(value))))
            else:
                areas = reader.holds_role(access.definition, access.name, value, access.domain, asker)
                more = () if access.domain is None else (access.domain,)
                narrow(areas, RoleCall(access.definition, (access.name, Const(value), *more)))
            if not found.areas:
                return Said([], "", False)
        for guard in self._section.guards[self.number]:
            narrow(reader.where(guard, asker), guard)
        for place, part in enumerate(residual):
            if may_fail(part):
                conditions.append(self._section.text(And(residual[place:]) if place + 1 < len(residual) else part))
                return Said(self._section.book.areas(found.areas), " && ".join(conditions), True)
            narrow(reader.where(part, asker), part)
        return Said(self._section.book.areas(found.areas), " && ".join(conditions), False)


class SectionRules:
    """The rules of one side of a section. `side` marks what the two sides may answer differently: a condition that asks
    for a role stands for itself where `shared` does not hold the role definition, whose links are then the same."""

    def __init__(
        self,
        snapshot: Snapshot,
        suffix: str,
        book: Book,
        by_name: bool,
        ordered: bool,
        side: Side,
        shared: frozenset[str],
    ) -> None:
        self.snapshot = snapshot
        self.index: SectionIndex = snapshot.sections[suffix]
        self.table = snapshot.tables[self.index.section.ptype]
        self.book = book
        self.ordered = ordered
        self.roles = SideRoles(snapshot)
        self.reader = ConditionReader(self.roles, by_name)
        self._side = side
        self._denies = self.index.denials > 0 or self.index.effects is not None
        self._shared = shared
        order = self.index.order
        self.rows: range | list[int] = range(len(self.table)) if order is None else list(order)
        self._ranks: Mapping[int, int] | None = None if order is None else {row: at for at, row in enumerate(order)}
        self.guards = [tuple([normal(guard) for guard in branch.plan.guards]) for branch in self.index.branches]
        self.branches = [Branch(self, number) for number in range(len(self.index.branches))]

    def rank(self, row: int) -> int:
        """The place of a row in the order in which the effect reads rules."""
        return row if self._ranks is None else self._ranks[row]

    def allows(self, row: int) -> bool:
        """Whether the rule allows where it decides."""
        if not self._denies:
            return True
        rank = self.rank(row)
        return rank >= self.index.denials and not (self.index.effects is not None and self.index.effects[rank])

    def held_by(self, name: str) -> frozenset[str]:
        """The roles that a name holds anywhere, as the branches of the matcher ask for them."""
        held: set[str] = set()
        for branch in self.branches:
            binding = branch.binding
            if binding is None or not binding.definition:
                continue
            if binding.by_company:
                held.update(self.roles.by_domain(binding.definition, name))
            else:
                held.update(self.roles.in_domain(binding.definition, name, binding.domain or ""))
        return frozenset(held - {name})

    def place(self, row: int, branch: int) -> tuple[object, ...]:
        """The rule of a row, as what it says, and the branch."""
        return (self.table.values(row), branch)

    def text(self, expr: Expr) -> str:
        """A condition as text, such that equal texts come out alike on both sides."""
        text = write_expression(expr, self.index.section.suffix)
        return text if self._shared.issuperset(_definitions(expr)) else f"{text} at {self._side}"

    @property
    def allows_by_default(self) -> bool:
        """Whether what no rule matches is allowed."""
        return self.index.section.effect is Effect.DENY_OVERRIDE and len(self.table) > 0


def is_ordered(index: SectionIndex) -> bool:
    """Whether a decision depends on the order of rules: by the effect, or as only an error before the first rule that
    matches denies."""
    effect = index.section.effect
    return effect in _IN_ORDER or (
        effect is Effect.ALLOW_OVERRIDE and any(branch.fallible for branch in index.branches)
    )


def joined_mask(masks: Iterable[int]) -> int:
    """All the bits."""
    joined = 0
    for mask in masks:
        joined |= mask
    return joined


def _definitions(expr: Expr) -> Iterator[str]:
    if isinstance(expr, RoleCall):
        yield expr.definition
    for part in children(expr):
        yield from _definitions(part)


def _binding_of(accesses: tuple[KeyAccess | PatternAccess | RoleAccess, ...]) -> Binding | None:
    for place, access in enumerate(accesses):
        if isinstance(access, KeyAccess) and access.token == "sub":
            return Binding(place, access.field)
    for place, access in enumerate(accesses):
        if isinstance(access, RoleAccess) and access.name == Token("sub"):
            domain = access.domain
            if domain is None:
                return Binding(place, access.field, access.definition)
            if isinstance(domain, Const):
                return Binding(place, access.field, access.definition, str(domain.value))
            if SOURCES[domain.name] == PARTS[0]:
                return Binding(place, access.field, access.definition, REQUESTED)
    return None
