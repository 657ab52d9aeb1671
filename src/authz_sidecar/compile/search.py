"""The search index: rules by what a question about many objects knows of them, role links by name and by role.

A check knows the whole request and finds one leaf. `FilterObjects` knows subject, action and type, and asks for all
rules that can apply to some object. A search is a sorted list of hashes beside the numbers that they stand for: twelve
bytes a rule or link, found by bisection, whatever the policy. The hash is a CRC, the same in every process;
whoever looks something up compares what is found, so that two texts with one hash do no harm.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from zlib import crc32

import msgspec

from authz_sidecar.compile.access import BranchPlan, KeyAccess, PatternAccess, RoleAccess
from authz_sidecar.compile.fold import TRUE, specialise
from authz_sidecar.compile.index import DOMAIN_TOKENS, BranchIndex, Shape
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.model.expression import Attribute, Const, Expr, RoleCall, Token
from authz_sidecar.model.model import Section
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.model.semantics import children, fields_of
from authz_sidecar.values import RuleTable

# Tokens that the question itself fills.
KNOWN_TOKENS = frozenset(("sub", "act", "type"))
_OBJECT_PARTS = ("company", "id", "owner")


class Search(msgspec.Struct, frozen=True):
    """Numbers (`entries`) by a pair of texts: `hashes`, ascending, hold the first one's hash above the second one's."""

    hashes: "array[int]"
    entries: "array[int]"

    def find(self, first: str, second: str | None = None) -> "array[int]":
        """The entries of a pair, or of all pairs with this first text; of others too, whose hash is the same."""
        low = crc32(first.encode()) << 32
        high = low + (1 << 32)
        if second is not None:
            low += crc32(second.encode())
            high = low + 1
        start = bisect_left(self.hashes, low)
        return self.entries[start : bisect_left(self.hashes, high, start)]


class ShapeSearch(msgspec.Struct, frozen=True):
    """The rules of one shape, as ranks, by the texts of `known_accesses` and then by domain.

    `bound` are the places of the shape's access paths (keys, then sets).
    """

    bound: tuple[int, ...]
    ranks: Search


class LinkSearch(msgspec.Struct, frozen=True):
    """Rows of a role definition by name and domain, and by role and domain; None where no question asks for them."""

    by_name: Search | None
    by_role: Search | None


class SectionSearch(msgspec.Struct, frozen=True):
    """The searches of one section: for each branch, one for each of its shapes."""

    branches: tuple[tuple[ShapeSearch, ...], ...]


class _Checksums(dict[str, int]):
    """The checksum of each text that is asked for, such as the few domains of many links."""

    def __missing__(self, text: str) -> int:
        checksum = self[text] = crc32(text.encode())
        return checksum


def build_search(firsts: Iterable[str], seconds: Iterable[str]) -> Search:
    """A search that finds the number of each pair by its two texts."""
    low = _Checksums()
    return _sorted(
        array("Q", [crc32(first.encode()) << 32 | low[second] for first, second in zip(firsts, seconds, strict=True)])
    )


def _sorted(hashes: "array[int]", numbers: "array[int] | None" = None) -> Search:
    """A search of `numbers` by `hashes`; without numbers, of the places in `hashes`."""
    order = array("I", sorted(range(len(hashes)), key=hashes.__getitem__))
    entries = order if numbers is None else array("I", [numbers[at] for at in order])
    return Search(array("Q", [hashes[at] for at in order]), entries)


def build_section_search(
    section: Section, branches: tuple[BranchIndex, ...], table: RuleTable, order: "array[int] | None"
) -> SectionSearch:
    """The searches of a section's branches; `order` maps a rank to its row (None: the same number)."""
    columns = {name: table.columns[place] for place, name in enumerate(section.fields)}
    return SectionSearch(
        tuple(
            [
                tuple([_build_shape(branch.plan, shape, columns, order) for shape in branch.shapes])
                for branch in branches
            ]
        )
    )


def known_accesses(plan: BranchPlan, bound: tuple[int, ...]) -> list[int]:
    """The places of the access paths in `bound` whose text, or a part of it, is known with subject, action and type."""
    accesses = (*plan.keys, *plan.sets)
    return [place for place in bound if _is_known(accesses[place])]


def _is_known(access: KeyAccess | RoleAccess | PatternAccess) -> bool:
    if isinstance(access, RoleAccess):
        name, domain = access.name, access.domain
        return (isinstance(name, Const) or name.name in KNOWN_TOKENS) and (
            domain is None or isinstance(domain, Const) or domain.name in KNOWN_TOKENS | DOMAIN_TOKENS
        )
    return access.token in KNOWN_TOKENS or access.token == "obj"


def type_part(name: str) -> str | None:
    """The beginning of an object's name that its type makes, the colon included; None for the name of no object."""
    kind, colon, rest = name.partition(":")
    return kind + colon if kind and rest else None


def _build_shape(
    plan: BranchPlan, shape: Shape, columns: dict[str, list[str]], order: "array[int] | None"
) -> ShapeSearch:
    entries = _walk(shape)
    first = next(entries)
    rank = first[3][0]
    bound = _bound(plan, columns, rank if order is None else order[rank])
    accesses = (*plan.keys, *plan.sets)
    # Where in the table's key, or in the names that lead to a rank, each known text stands.
    keys = [place for place in bound if place < len(plan.keys)]
    if shape.domain:
        keys.remove(next(place for place in keys if plan.keys[place].token in DOMAIN_TOKENS))
    sets = [place for place in bound if place >= len(plan.keys)]
    readers = [
        (place in keys, (keys if place in keys else sets).index(place), accesses[place])
        for place in known_accesses(plan, bound)
    ]
    hashes, ranks = array("Q"), array("I")
    low = _Checksums()
    several = len(keys) > 1
    for place, key, names, found in chain((first,), entries):
        parts: list[str] = []
        for in_key, at, access in readers:
            text = (key[at] if several else key) if in_key else names[at]
            if not isinstance(access, RoleAccess) and access.token == "obj":
                part = _object_part(text, isinstance(access, PatternAccess))
                if part is None:
                    break
                text = part
            parts.append(text)
        else:
            checksum = crc32("\0".join(parts).encode()) << 32 | low[place]
            for number in found:
                hashes.append(checksum)
                ranks.append(number)
    return ShapeSearch(bound, _sorted(hashes, ranks))


def _object_part(text: str, is_pattern: bool) -> str | None:
    """What a rule's object, or the beginning of its pattern (`=` or `^` and the text), tells of the type.

    "" where it tells nothing, None where no object has such a name.
    """
    if not is_pattern:
        return type_part(text)
    if text[0] == "=":
        return type_part(text[1:])
    kind, colon, _ = text[1:].partition(":")
    return kind + colon if colon else ""


def _bound(plan: BranchPlan, columns: dict[str, list[str]], row: int) -> tuple[int, ...]:
    """The access paths that the rule in `row`, and with it every rule of its shape, does not leave free."""
    bound: list[int] = []
    for place, access in enumerate((*plan.keys, *plan.sets)):
        free = access.free_when
        if free is not None:
            values = {name: columns[name][row] for name in fields_of(free)}
            if specialise(free, values, {}) == TRUE:
                continue
        if isinstance(access, PatternAccess):
            pattern = compile_pattern(access.function, columns[access.field][row])
            if pattern.kind == "prefix" and not pattern.literal:
                continue
        bound.append(place)
    return tuple(bound)


def _walk(shape: Shape) -> Iterator[tuple[str, Any, tuple[str, ...], tuple[int, ...]]]:
    """Everything in a shape's table: domain, key, names of its sets, and the ranks there."""
    depth = len(shape.sets)
    for domain, table in shape.table.items() if shape.domain else (("", shape.table),):
        for key, leaf in table.items():
            if depth == 1:
                pairs = zip(leaf[::2], leaf[1::2], strict=True) if leaf.__class__ is tuple else leaf.items()
                for name, entry in pairs:
                    yield domain, key, (name,), entry if entry.__class__ is tuple else (entry,)
            else:
                yield from _descend(domain, key, (), leaf, depth)


def _descend(
    domain: str, key: Any, names: tuple[str, ...], leaf: Any, depth: int
) -> Iterator[tuple[str, Any, tuple[str, ...], tuple[int, ...]]]:
    if not depth:
        yield domain, key, names, leaf if leaf.__class__ is tuple else (leaf,)
        return
    for name, below in leaf.items():
        yield from _descend(domain, key, (*names, name), below, depth - 1)


def build_link_search(
    graph: RoleGraph, table: RuleTable, sections: Iterable[tuple[Section, dict[str, dict[str, Expr]]]]
) -> LinkSearch:
    """The searches that questions on these sections (with the conditions that their rules carry) ask of a graph."""
    by_company = by_object = False
    for section, conditions in sections:
        for expr in (section.matcher, *[parsed for texts in conditions.values() for parsed in texts.values()]):
            for call in _calls(expr, graph.definition):
                by_object = by_object or _reads_object(call.arguments[0])
                by_company = by_company or graph.has_domain
    if not by_company and not by_object:
        return LinkSearch(None, None)
    names, roles = table.columns[0], table.columns[1]
    domains = table.columns[2] if graph.has_domain else [""] * len(names)
    return LinkSearch(
        build_search(names, domains) if by_company else None,
        build_search(roles, domains) if by_object else None,
    )


def _calls(expr: Expr, definition: str) -> Iterator[RoleCall]:
    if isinstance(expr, RoleCall) and expr.definition == definition:
        yield expr
    for part in children(expr):
        yield from _calls(part, definition)


def _reads_object(expr: Expr) -> bool:
    match expr:
        case Token(name):
            return name not in KNOWN_TOKENS and (name in DOMAIN_TOKENS or name in ("obj", "id", "owner"))
        case Attribute(Token("obj"), name):
            return name in _OBJECT_PARTS
    return False
