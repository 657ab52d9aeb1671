"""Conditions as areas: for which requests of a subject an expression holds.

What compares a part of the request with a text, with a beginning, with the subject, or looks it up in a role graph is
told exactly. Anything else is not: the areas then hold more than the requests for which the expression holds, and the
expression's own text stands for what is not known.
"""

from collections.abc import Iterable
from typing import NamedTuple

from authz_sidecar.decide.tokens import OBJECT_PARTS
from authz_sidecar.model.expression import (
    And,
    Attribute,
    Call,
    Compare,
    Const,
    Expr,
    In,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.model.semantics import children, rebuild
from authz_sidecar.review.access.boxes import FULL, PARTS, Area, joined, meet, without
from authz_sidecar.review.access.change import SELF
from authz_sidecar.review.access.holdings import SideRoles
from authz_sidecar.values.request import SOURCES
from authz_sidecar.values.texts import ANY, Texts, prefix_of, texts, values_of

_TOKENS = {"company": "dom", "type": "type", "id": "id", "owner": "owner"}
_PLACES = {part: place for place, part in enumerate(PARTS)}
# Areas that one condition may come to; past them it is taken as it is written.
MAX_AREAS = 500


class Areas(NamedTuple):
    """Where something holds: in these areas; without `exact`, in some of their requests perhaps not."""

    areas: list[Area]
    exact: bool = True


NOWHERE = Areas([])
EVERYWHERE = Areas([FULL])


class Asker(NamedTuple):
    """Who asks: a name, or with `named` False any subject that is called as no rule says and begins as `name` does."""

    name: str
    named: bool = True


class NeedsSubjectError(Exception):
    """What an expression comes to depends on who asks."""


def normal(expr: Expr) -> Expr:
    """The expression with the parts of the object, such as `r.obj.owner`, as the tokens that say the same."""
    if isinstance(expr, Attribute) and expr.base == Token("obj") and expr.name in OBJECT_PARTS:
        return Token(_TOKENS[expr.name])
    return rebuild(expr, normal)


def tokens_of(expr: Expr) -> Iterable[str]:
    """The tokens that an expression reads."""
    if isinstance(expr, Token):
        yield expr.name
    for part in children(expr):
        yield from tokens_of(part)


def constants_of(expr: Expr) -> Iterable[str]:
    """The texts that an expression names."""
    if isinstance(expr, Const) and isinstance(expr.value, str):
        yield expr.value
    for part in children(expr):
        yield from constants_of(part)


class ConditionReader:
    """Reads conditions for one side. With `by_name` an object is told by its name alone: see `object_named`."""

    def __init__(self, roles: SideRoles, by_name: bool) -> None:
        self._roles = roles
        self._by_name = by_name

    def part(self, place: int, wanted: Texts) -> Areas:
        """Where a part is among `wanted`."""
        if not wanted:
            return NOWHERE
        area = [*FULL[:place], wanted, *FULL[place + 1 :]]
        return Areas([(area[0], area[1], area[2], area[3], area[4])])

    def object_named(self, name: str) -> Areas:
        """Where the object's name is `name`.

        The object `a:b` has the type `a` and the id `b`. Where nothing looks at the type or the id, an object without
        type is the one of its name, and only names without a colon at either end are told.
        """
        kind, colon, rest = name.partition(":")
        found: list[Area] = []
        if kind and rest:
            found.append((ANY, values_of((kind,)), values_of((rest,)), ANY, ANY))
        elif not colon:
            found.append((ANY, values_of((name,)), values_of(("",)), ANY, ANY))
        if not self._by_name and name:
            found.append((ANY, values_of(("",)), values_of((name,)), ANY, ANY))
        return Areas(found)

    def object_begun(self, prefix: str) -> Areas:
        """Where the object's name begins with `prefix`."""
        if not prefix:
            return EVERYWHERE
        kind, colon, rest = prefix.partition(":")
        found: list[Area] = []
        if not colon:
            found.append((ANY, prefix_of(prefix), ANY, ANY, ANY))
        elif kind:
            found.append((ANY, values_of((kind,)), texts((), (rest,), ("",)), ANY, ANY))
        if not self._by_name:
            found.append((ANY, values_of(("",)), prefix_of(prefix), ANY, ANY))
        return Areas(found)

    def token_is(self, token: str, wanted: Texts, asker: Asker | None) -> Areas:
        """Where what fills a token is among some values and beginnings."""
        source = SOURCES[token]
        if source == "subject":
            if asker is None:
                raise NeedsSubjectError
            return EVERYWHERE if asker.name in wanted else NOWHERE
        if source == "owner":
            if asker is None:
                raise NeedsSubjectError
            if asker.name in wanted:
                wanted = texts((*wanted.values, SELF), wanted.prefixes)
            return self.part(_PLACES["owner"], wanted)
        if source == "object":
            return _either(
                [
                    *[self.object_named(name) for name in sorted(wanted.values)],
                    *[self.object_begun(prefix) for prefix in wanted.prefixes],
                ]
            )
        return self.part(_PLACES[source], wanted)

    def matches(self, function: str, token: str, pattern: str, asker: Asker | None) -> Areas:
        """Where what fills a token matches a pattern."""
        compiled = compile_pattern(function, pattern)
        if compiled.kind == "exact":
            return self.token_is(token, values_of((compiled.literal,)), asker)
        if compiled.kind == "prefix":
            return self.token_is(token, prefix_of(compiled.literal), asker)
        if SOURCES[token] == "subject" and asker is not None and asker.named:
            return EVERYWHERE if compiled.test(asker.name) else NOWHERE
        return Areas(self.token_is(token, prefix_of(compiled.literal), asker).areas, exact=False)

    def holds_role(
        self, definition: str, name: Token | Const, role: str, domain: Token | Const | None, asker: Asker | None
    ) -> Areas:
        """Where `g(name, role, domain)` holds for what the request says of name and domain, as access paths ask it."""
        if isinstance(name, Token) and SOURCES[name.name] == "subject":
            if asker is None:
                raise NeedsSubjectError
            return self._held(definition, asker.name, role, domain, condition=False)
        if isinstance(name, Const):
            return self._held(definition, str(name.value), role, domain, condition=False)
        fixed = None if isinstance(domain, Token) else "" if domain is None else str(domain.value)
        found: list[Areas] = []
        for holding in self._roles.holding(definition, role, fixed):
            areas = self.token_is(name.name, holding.names, asker)
            if isinstance(domain, Token):
                areas = both(areas, self.token_is(domain.name, holding.domains, asker))
            found.append(Areas(areas.areas, areas.exact and holding.exact))
        return _either(found)

    def _held(self, definition: str, name: str, role: str, domain: Token | Const | None, condition: bool) -> Areas:
        """Where a known name holds a role; in a `condition`, patterns among its roles cover others."""
        roles = self._roles
        if not isinstance(domain, Token):
            place = "" if domain is None else str(domain.value)
            if condition:
                holds = roles.covers(definition, name, role, place)
            else:
                held = roles.in_domain(definition, name, place)
                holds = False if role not in held else held[role] or None
            return Areas([FULL], exact=False) if holds is None else EVERYWHERE if holds else NOWHERE
        if condition:
            where = roles.covered_where(definition, name, role)
        else:
            by_domain = roles.by_domain(definition, name)
            if role not in by_domain:
                return NOWHERE
            where = by_domain[role]
        if SOURCES[domain.name] in ("subject", "owner"):
            return Areas([FULL], exact=where.companies is ANY and where.exact)
        areas = self.token_is(domain.name, where.companies, None)
        return Areas(areas.areas, areas.exact and where.exact)

    def where(self, expr: Expr, asker: Asker | None, wanted: bool = True) -> Areas:
        """Where a normal expression that cannot fail holds, or with `wanted` False does not.

        Raises NeedsSubjectError if that depends on who asks and nobody does.
        """
        match expr:
            case Const(value):
                return EVERYWHERE if bool(value) is wanted else NOWHERE
            case Not(operand):
                return self.where(operand, asker, not wanted)
            case And(operands) | Or(operands):
                parts = [self.where(part, asker, wanted) for part in operands]
                if isinstance(expr, And) is not wanted:
                    return _either(parts)
                found = parts[0]
                for part in parts[1:]:
                    found = both(found, part)
                return found
        found = self._atom(expr, asker)
        if wanted:
            return found
        return Areas(without([FULL], found.areas)) if found.exact else Areas([FULL], exact=False)

    def _atom(self, expr: Expr, asker: Asker | None) -> Areas:
        match expr:
            case Compare("==", Token(left), Token(right)) if {left, right} == {"sub", "owner"}:
                return self.part(_PLACES["owner"], values_of((SELF,)))
            case Compare("==", Token(left), Token(right)) if (
                SOURCES.get(left, "context") == SOURCES.get(right) != "context"
            ):
                return EVERYWHERE
            case Compare("==", Token(token), Const(value)) | Compare("==", Const(value), Token(token)):
                if not isinstance(value, str):
                    return NOWHERE
                return self.token_is(token, values_of((value,)), asker)
            case Compare("!=", left, right):
                found = self._atom(Compare("==", left, right), asker)
                return Areas(without([FULL], found.areas)) if found.exact else Areas([FULL], exact=False)
            case In(Token(token), Sequence(items)) if all(isinstance(item, Const) for item in items):
                named = [item.value for item in items if isinstance(item, Const) and isinstance(item.value, str)]
                return self.token_is(token, values_of(named), asker)
            case Call(function, (Token(token), Const(pattern))) if function != "timeMatch":
                return self.matches(function, token, str(pattern), asker)
            case RoleCall(definition, (Token("sub"), Const(role), *rest)):
                if asker is None:
                    raise NeedsSubjectError
                domain = rest[0] if rest else None
                if isinstance(role, str) and (domain is None or isinstance(domain, Token | Const)):
                    return self._held(definition, asker.name, role, domain, condition=True)
        if asker is None and "sub" in tokens_of(expr):
            raise NeedsSubjectError
        return Areas([FULL], exact=False)


def both(one: Areas, other: Areas) -> Areas:
    """Where both hold."""
    if one.areas == [FULL] and one.exact:
        return other
    if other.areas == [FULL] and other.exact:
        return one
    exact = one.exact and other.exact
    met = [area for left in one.areas for right in other.areas if (area := meet(left, right)) is not None]
    return _bounded(Areas(joined(met) if len(met) > 1 else met, exact))


def _either(parts: list[Areas]) -> Areas:
    areas = [area for part in parts for area in part.areas]
    return _bounded(Areas(joined(areas) if len(areas) > 1 else areas, all(part.exact for part in parts)))


def _bounded(found: Areas) -> Areas:
    return found if len(found.areas) <= MAX_AREAS else Areas([FULL], exact=False)
