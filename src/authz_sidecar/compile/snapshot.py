"""The snapshot: everything a decision needs, as immutable plain data.

It holds dicts, tuples, strings, integers and small expression trees, and no Python code, so that another
process can be given the same snapshot. Closures are built from it by `decide`.
"""

from array import array

import msgspec

from authz_sidecar.compile.access import KeyAccess, PlanLine, RoleAccess
from authz_sidecar.compile.index import BranchIndex
from authz_sidecar.compile.names import NameSet
from authz_sidecar.compile.planner import describe_branch
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.search import LinkSearch, SectionSearch
from authz_sidecar.model.expression import Expr, Token
from authz_sidecar.model.model import Effect, Model, Section
from authz_sidecar.values import RuleTable
from authz_sidecar.values.directory_rules import DirectoryRules

_SUBJECT = Token("sub")


class SectionIndex(msgspec.Struct, frozen=True):
    """One selectable section (`r/p/e/m`, or `r2/p2/e2/m2`) in compiled form.

    `order` maps a rank to its row in the rule table (None: the same number). Ranks below `denials` deny; where
    denials and allowances mix in one order (priority effects) `effects` has a byte per rank, 1 for deny. `names` are
    the distinct values of each of the rules' fields that a subject or a role is looked up in.
    """

    section: Section
    branches: tuple[BranchIndex, ...]
    order: "array[int] | None"
    denials: int
    effects: bytes | None
    conditions: dict[str, dict[str, Expr]]
    names: dict[str, NameSet]

    def row(self, rank: int) -> int:
        """The row of the rule table that a rank stands for."""
        return rank if self.order is None else self.order[rank]

    @property
    def role_field(self) -> str:
        """The field of the rules that names whom they are for, a role or an identity; "" where none does."""
        for branch in self.branches:
            for access in (*branch.plan.sets, *branch.plan.keys):
                if isinstance(access, RoleAccess) and access.name == _SUBJECT:
                    return access.field
                if isinstance(access, KeyAccess) and access.token == _SUBJECT.name:
                    return access.field
        return ""

    def role_of(self, table: RuleTable, row: int) -> str:
        """Whom a row of the rule table is for; "" where no field says it."""
        field = self.role_field
        return table.columns[self.section.fields.index(field)][row] if field else ""


class Snapshot(msgspec.Struct, frozen=True):
    """A compiled bundle: `tables` by ptype, `graphs` by role definition, `sections` by suffix.

    `searches` (by suffix) and `link_searches` (by role definition) find rules and links for questions about many
    objects; a snapshot that was compiled without them has those of patterned links alone.
    `directory_rules` is what the bundle says about identities that live in a directory.
    """

    name: str
    model: Model
    tables: dict[str, RuleTable]
    graphs: dict[str, RoleGraph]
    sections: dict[str, SectionIndex]
    searches: dict[str, SectionSearch]
    link_searches: dict[str, LinkSearch]
    directory_rules: DirectoryRules = DirectoryRules()

    @property
    def rules(self) -> dict[str, RuleTable]:
        """The rule table of each section."""
        return {suffix: self.tables[index.section.ptype] for suffix, index in self.sections.items()}

    def describe(self, suffix: str = "") -> list[list[PlanLine]]:
        """What `authz-sidecar plan` prints, a list of lines for each branch of the section's matcher."""
        index = self.sections[suffix]
        described: list[list[PlanLine]] = []
        for branch in index.branches:
            lines = describe_branch(branch.plan, suffix)
            residual = len(set(branch.residual_of.values()))
            probes = sum(
                _entries(table, len(shape.sets))
                for shape in branch.shapes
                for table in (shape.table.values() if shape.domain else (shape.table,))
            )
            lines.append(
                PlanLine(
                    "scanned",
                    f"{_count(len(branch.shapes), 'table')}, {probes} entries; rules that keep a condition: "
                    f"{len(branch.residual_of)}",
                    _count(residual, "different condition") if residual else "nothing is scanned",
                )
            )
            described.append(lines)
        return described


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _entries(table: dict[object, object], depth: int) -> int:
    """How many ranks a table holds (flat leaves count by pairs)."""
    if not depth:
        return sum(len(entry) if isinstance(entry, tuple) else 1 for entry in table.values())
    total = 0
    for leaf in table.values():
        if isinstance(leaf, dict):
            total += _entries(leaf, depth - 1)
        elif isinstance(leaf, tuple):
            total += sum(len(entry) if isinstance(entry, tuple) else 1 for entry in leaf[1::2])
    return total


__all__ = ["Effect", "PlanLine", "SectionIndex", "Snapshot"]
