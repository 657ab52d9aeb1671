"""The names that two policies know: roles, identities, and how names begin that patterns take in."""

from collections.abc import Iterator
from typing import NamedTuple

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.access import KeyAccess, PatternAccess
from authz_sidecar.model.expression import Call, Compare, Const, Expr, In, RoleCall, Token
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.model.semantics import children
from authz_sidecar.review.access.conditions import constants_of, normal
from authz_sidecar.review.access.partition import Classes
from authz_sidecar.review.access.statements import SectionRules
from authz_sidecar.values.request import ROLE_PREFIX, value_problem
from authz_sidecar.values.texts import Texts, prefix_of, texts, values_of

_PEOPLE = (Token("sub"), Token("owner"))


class Stranger(NamedTuple):
    """Somebody whom no rule names: what such names are among, and one of them."""

    names: Texts
    sample: str


class Names:
    """Collects names. A name that something holds is a role, and so is one that begins as roles of YAML bundles do; any
    other that is compared with a subject or an owner, or that holds a role, is an identity."""

    def __init__(self) -> None:
        self._roles: dict[str, None] = {}
        self._others: dict[str, None] = {}
        self.beginnings: set[str] = set()

    def add(self, rules: SectionRules, bundle: Bundle) -> None:
        """The names of one section on one side."""
        self._roles.update(dict.fromkeys([ROLE_PREFIX + name for name in bundle.roles]))
        definitions: set[str] = set()
        section = rules.index.section
        conditions = [parsed for texts in rules.index.conditions.values() for parsed in texts.values()]
        for expr in (section.matcher, *conditions):
            definitions.update(self._read(normal(expr)))
        for branch in rules.branches:
            if branch.binding is not None:
                self._others.update(dict.fromkeys(branch.bound))
            for access in branch.accesses:
                if isinstance(access, KeyAccess | PatternAccess) and access.token in ("sub", "owner"):
                    column = rules.table.columns[section.fields.index(access.field)]
                    function = access.function if isinstance(access, PatternAccess) else ""
                    for text in dict.fromkeys(column):
                        if not function and branch.binding is not None and access.field == branch.binding.field:
                            continue
                        self._add_text(text, function)
        for definition in sorted(definitions):
            graph = rules.snapshot.graphs[definition]
            for held in graph.links.values():
                for name, roles in held.items():
                    self._add_text(name, graph.names.function if graph.names is not None else "")
                    self._roles.update(dict.fromkeys((roles,) if isinstance(roles, str) else roles))

    def _add_text(self, text: str, function: str) -> None:
        pattern = compile_pattern(function, text) if function else None
        if pattern is None or pattern.kind != "prefix":
            self._others[text] = None
        if pattern is not None:
            if pattern.kind == "exact":
                self._others[pattern.literal] = None
            else:
                self.beginnings.add(pattern.literal)

    def _read(self, expr: Expr) -> Iterator[str]:
        """Takes the names in an expression; gives the role definitions that it asks about subjects."""
        match expr:
            case Compare() | In() if any(part in _PEOPLE for part in children(expr)):
                self._others.update(dict.fromkeys(constants_of(expr)))
            case Call(function, (Token(name), Const(pattern))) if Token(name) in _PEOPLE:
                self._add_text(str(pattern), function)
            case RoleCall(definition, (first, role, *_)) if first in _PEOPLE:
                yield definition
                if isinstance(role, Const):
                    self._roles[str(role.value)] = None
        for part in children(expr):
            yield from self._read(part)

    @property
    def strangers(self) -> list[Stranger]:
        """Those that no rule names, told apart by how patterns say that names begin; the first has any other name."""
        named = values_of([*self._roles, *self._others])
        classes = Classes([named, *[prefix_of(beginning) for beginning in self.beginnings]])
        opened = sorted([atom for atom in classes.atoms if atom.open])
        return [
            Stranger(
                texts(
                    (),
                    (atom.value,),
                    (),
                    [other.value for other in opened if other.value.startswith(atom.value) and other != atom],
                ),
                atom.sample,
            )
            for atom in opened
        ]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles, sorted."""
        return tuple(sorted({*self._roles, *[name for name in self._others if name.startswith(ROLE_PREFIX)]}))

    @property
    def identities(self) -> tuple[str, ...]:
        """The identities that a request may name, sorted."""
        roles = set(self.roles)
        return tuple(sorted([name for name in self._others if name and name not in roles and not value_problem(name)]))
