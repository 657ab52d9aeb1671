"""The rules that can apply to some object of a question, each with the objects that its compared fields leave.

Found through the search index by the subject's roles, the action and the type; what a hash finds is compared.
"""

from array import array
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

from authz_sidecar.compile.access import KeyAccess, PatternAccess, RoleAccess
from authz_sidecar.compile.index import DOMAIN_TOKENS, BranchIndex, Shape
from authz_sidecar.compile.search import Search, ShapeSearch, known_accesses
from authz_sidecar.decide.holdings import Held
from authz_sidecar.decide.path import OPEN_TOKENS, Path, Paths
from authz_sidecar.decide.question import Question
from authz_sidecar.model.expression import Const, RoleCall, Token
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.values import Request, RuleTable
from authz_sidecar.values.request import SOURCES
from authz_sidecar.values.texts import Texts, prefix_of

Column = list[str]


class _Choice(NamedTuple):
    """An access path whose text is known in part: what the search is asked for.

    `source` is the part of the request that is compared with a rule's field, "" where it is not the whole field.
    """

    access: KeyAccess | RoleAccess | PatternAccess
    column: Column
    source: str
    lengths: tuple[int, ...]


class _Finder:
    """What a question does with the rules of one shape."""

    __slots__ = ("by_company", "calls", "choices", "opens", "search", "tests")

    def __init__(self, shape: Shape, search: ShapeSearch, branch: BranchIndex, columns: Mapping[str, Column]) -> None:
        keys = len(branch.plan.keys)
        accesses = (*branch.plan.keys, *branch.plan.sets)
        self.search: Search = search.ranks
        self.by_company = bool(shape.domain)
        known = known_accesses(branch.plan, search.bound)
        self.choices: list[_Choice] = []
        # Comparisons of fields with open parts of the object, pattern tests on what is known, and open role calls.
        self.opens: list[tuple[Column, str, bool, str]] = []
        self.tests: list[tuple[Column, str, str]] = []
        self.calls: list[tuple[Column, RoleAccess]] = []
        for place in search.bound:
            access = accesses[place]
            column = columns[access.field]
            if place in known:
                lengths = shape.lengths[shape.sets.index(place - keys)] if place >= keys else ()
                source = SOURCES[access.token] if isinstance(access, KeyAccess) and access.token != "obj" else ""
                self.choices.append(_Choice(access, column, source, lengths))
            if isinstance(access, RoleAccess):
                if place not in known:
                    self.calls.append((column, access))
            elif access.token in OPEN_TOKENS:
                function = access.function if isinstance(access, PatternAccess) else ""
                self.opens.append((column, OPEN_TOKENS[access.token], access.token == "obj", function))
            elif isinstance(access, PatternAccess):
                self.tests.append((column, access.function, SOURCES[access.token]))


class Candidates:
    """The candidates among the rules of one branch; `order` maps a rank to its row (None: the same number)."""

    def __init__(
        self,
        branch: BranchIndex,
        searches: tuple[ShapeSearch, ...],
        fields: tuple[str, ...],
        table: RuleTable,
        order: "array[int] | None",
    ) -> None:
        columns = {name: table.columns[place] for place, name in enumerate(fields)}
        self._order = order
        self._finders = [
            _Finder(shape, search, branch, columns) for shape, search in zip(branch.shapes, searches, strict=True)
        ]

    def find(self, question: Question, path: Path) -> Iterator[tuple[int, Path]]:
        """The candidates, by rank, each with the paths that its compared fields leave of `path`.

        Raises TooManyError where looking at all of them would take too long.
        """
        for finder in self._finders:
            yield from self._find(finder, question, path)

    def _find(self, finder: _Finder, question: Question, path: Path) -> Iterator[tuple[int, Path]]:
        request = question.request
        holdings = [_held(choice.access, question) for choice in finder.choices]
        wanted = [
            list(held) if held is not None else _wanted(choice, request)
            for choice, held in zip(finder.choices, holdings, strict=True)
        ]
        order = self._order
        for parts in product(*wanted):
            begin: Path | None = path
            equal: list[tuple[Column, str]] = []
            for choice, held, part in zip(finder.choices, holdings, parts, strict=True):
                if held is not None:
                    equal.append((choice.column, part))
                    begin = None if begin is None else _narrowed(begin, held[part], part)
                elif choice.source:
                    equal.append((choice.column, part))
            if begin is None:
                continue
            opens, rest = finder.opens, finder.tests or finder.calls
            ranks = _ranks(finder.search, "\0".join(parts), begin.company if finder.by_company else None)
            question.spend(len(ranks))
            for rank in ranks:
                row = rank if order is None else order[rank]
                for column, part in equal:
                    if column[row] != part:
                        break
                else:
                    left = begin
                    for column, open_part, of_name, function in opens:
                        compared = _compared(left, question, column[row], open_part, of_name, function)
                        if compared is None:
                            break
                        left = compared
                    else:
                        compared = left
                    if compared is None:
                        continue
                    if rest:
                        for one in _rest(finder, question, row, left):
                            yield rank, one
                    else:
                        yield rank, left


def _held(access: KeyAccess | RoleAccess | PatternAccess, question: Question) -> Mapping[str, Held] | None:
    """The roles that an access path asks for; None if it asks for none."""
    if not isinstance(access, RoleAccess):
        return None
    name = _known_text(access.name, question.request)
    if isinstance(access.domain, Token) and access.domain.name in DOMAIN_TOKENS:
        return question.holdings.by_company(access.definition, name)
    domain = "" if access.domain is None else _known_text(access.domain, question.request)
    return question.holdings.in_domain(access.definition, name, domain)


def _known_text(side: Token | Const, request: Request) -> str:
    if isinstance(side, Const):
        return str(side.value)
    text: str = getattr(request, SOURCES[side.name])
    return text


def _wanted(choice: _Choice, request: Request) -> list[str]:
    """The texts under which rules stand that may match."""
    if choice.source:
        return [getattr(request, choice.source)]
    access = choice.access
    if isinstance(access, RoleAccess):
        raise TypeError("roles are looked up by holdings")
    if access.token == "obj":
        return [request.type + ":", ""] if isinstance(access, PatternAccess) else [request.type + ":"]
    text: str = getattr(request, SOURCES[access.token])
    return ["=" + text, *["^" + text[:length] for length in choice.lengths if length <= len(text)]]


def _narrowed(path: Path, where: Held, role: str) -> Path | None:
    left = path.narrowed("company", where.companies)
    return left if where.exact or left is None else left.given(f"the subject holds `{role}` there")


def _compared(path: Path, question: Question, value: str, part: str, of_name: bool, function: str) -> Path | None:
    """What comparing an open part with a rule's field leaves. A pattern that has to be tested besides stands in the
    conditions that the rule keeps."""
    if function:
        pattern = compile_pattern(function, value)
        if pattern.kind != "exact":
            begun = question.part_texts(of_name, part, prefix_of(pattern.literal))
            return path.narrowed(part, begun) if begun else None
        value = pattern.literal
    if part == "id":
        if of_name:
            begin = question.type_part
            if not value.startswith(begin):
                return None
            value = value[len(begin) :]
        # Every object has an id.
        if not value:
            return None
    if part == "company" and path.company.only == value:
        return path
    return path.narrowed(part, Texts(frozenset((value,))))


def _rest(finder: _Finder, question: Question, row: int, path: Path) -> Paths:
    """What is left of a path by pattern tests on what is known, and by role calls on what is open."""
    for column, function, source in finder.tests:
        if not compile_pattern(function, column[row]).test(getattr(question.request, source)):
            return []
    paths = [path]
    for column, access in finder.calls:
        more = () if access.domain is None else (access.domain,)
        call = RoleCall(access.definition, (access.name, Const(column[row]), *more))
        paths = [left for one in paths for left in question.holds(call, one)]
    return paths


def _ranks(search: Search, key: str, companies: Texts | None) -> "array[int] | list[int]":
    """The ranks that stand under a key, for these companies where the search tells companies apart."""
    if companies is not None and companies.only is not None:
        found = search.find(key, companies.only)
    else:
        found = search.find(key)
        if companies is not None and companies.finite and len(companies.values) * 4 < len(found):
            apart = [search.find(key, company) for company in companies.values]
            found = array("I", [rank for ranks in apart for rank in ranks])
    return found
