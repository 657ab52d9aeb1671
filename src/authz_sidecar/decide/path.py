"""A path: the objects for which a condition comes out in one way, as far as they can be told without the objects.

What is open is the object's company, id, owner and attributes: a path says in which sets the first three lie, and holds
the texts of what could not be said in that way.
"""

from typing import NamedTuple

from authz_sidecar.compile.index import DOMAIN_TOKENS
from authz_sidecar.decide.tokens import OBJECT_PARTS
from authz_sidecar.model.expression import Attribute, Const, Expr, Token
from authz_sidecar.model.semantics import children
from authz_sidecar.values.texts import ANY, Texts

# The part of the object that fills a token (`obj` is its name, of which the id is open).
OPEN_TOKENS = {"id": "id", "owner": "owner", "obj": "id", **dict.fromkeys(DOMAIN_TOKENS, "company")}
NO_PARTS: frozenset[str] = frozenset()
_ATTRIBUTES = frozenset(("attributes",))
_PART_SETS = {part: frozenset((part,)) for part in ("company", "id", "owner")}


class Path(NamedTuple):
    """Objects whose company, id and owner are in these sets and for which `conditions` (texts) hold besides."""

    company: Texts = ANY
    id: Texts = ANY
    owner: Texts = ANY
    conditions: tuple[str, ...] = ()

    def narrowed(self, part: str, wanted: Texts) -> "Path | None":
        """The path with `part` in `wanted` too; None if no object is left."""
        if wanted is ANY:
            return self
        before: Texts = getattr(self, part)
        left = wanted if before is ANY else before.intersect(wanted)
        return self.put(part, left) if left.values or left.prefixes else None

    def put(self, part: str, texts: Texts) -> "Path":
        """The path with another set for `part`."""
        company, id, owner, conditions = self
        if part == "id":
            return Path(company, texts, owner, conditions)
        return Path(texts, id, owner, conditions) if part == "company" else Path(company, id, texts, conditions)

    def given(self, condition: str) -> "Path":
        """The path with one more condition left open."""
        return self if condition in self.conditions else self._replace(conditions=(*self.conditions, condition))


Paths = list[Path]
EVERYTHING = Path()


def variable_of(expr: Expr) -> str | None:
    """Which open text an expression is: `company`, `id`, `owner`, or `obj`, the object's name."""
    match expr:
        case Token(name) if name in OPEN_TOKENS:
            return "obj" if name == "obj" else OPEN_TOKENS[name]
        case Attribute(Token("obj"), name) if name in _PART_SETS:
            return name
    return None


def open_parts_of(expr: Expr) -> frozenset[str]:
    """The open parts of the object that an expression depends on: `company`, `id`, `owner`, `attributes`."""
    match expr:
        case Const():
            return NO_PARTS
        case Token(name):
            return _PART_SETS[OPEN_TOKENS[name]] if name in OPEN_TOKENS else NO_PARTS
        case Attribute(Token("obj"), name):
            if name in _PART_SETS:
                return _PART_SETS[name]
            return NO_PARTS if name in OBJECT_PARTS else _ATTRIBUTES
    return NO_PARTS.union(*[open_parts_of(part) for part in children(expr)])
