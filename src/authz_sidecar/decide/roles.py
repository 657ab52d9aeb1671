"""Who holds which role: closures over a role graph, cached within a bound."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, NoReturn

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.names import NameSet
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.decide.directory_links import NO_LINKS, DirectoryLinks, Links
from authz_sidecar.model.expression import Const, Token
from authz_sidecar.model.patterns import compile_pattern, time_match
from authz_sidecar.model.semantics import EvaluationError
from authz_sidecar.values import Request
from authz_sidecar.values.request import SOURCES

# Closures kept per probe. A full cache is emptied: refilling costs about a microsecond an entry, while evicting one by
# one would cost each request something.
MAX_CACHED = 32_768

Roles = Callable[[Request], frozenset[str]]


def next_roles(graph: RoleGraph, name: str, domain: str, time: float, more: Links = NO_LINKS) -> Iterator[str]:
    """The roles directly above `name` in `domain`, in the order of the policy, then those that the directory adds."""
    for place in _domains(graph, domain):
        held = graph.links.get(place)
        if held is None:
            continue
        sources = [name]
        if graph.names is not None:
            sources += [pattern for pattern in graph.names.matching(name) if pattern != name]
        for source in sources:
            value = held.get(source, ())
            for role in (value,) if isinstance(value, str) else value:
                if graph.conditions:
                    start, end = graph.conditions[place, source, role]
                    if not time_match(start, end, time):
                        continue
                yield role
    yield from graph.members.get(name, ())
    if name == more.subject:
        yield from more.roles


def _domains(graph: RoleGraph, domain: str) -> list[str]:
    if graph.domains is None:
        return [domain]
    return [domain, *[pattern for pattern in graph.domains.matching(domain) if pattern != domain]]


def held_roles(graph: RoleGraph, name: str, domain: str, time: float, more: Links = NO_LINKS) -> frozenset[str]:
    """All roles of `name` in `domain`, `name` itself included. `more` is what the directory adds in this domain."""
    found = {name}
    waiting = [name]
    while waiting:
        for role in next_roles(graph, waiting.pop(), domain, time, more):
            if role not in found:
                found.add(role)
                waiting.append(role)
    return frozenset(found)


def role_path(
    graph: RoleGraph, name: str, domain: str, time: float, target: str, more: Links = NO_LINKS
) -> tuple[str, ...]:
    """The shortest way from `name` to `target`, both included; empty when there is none."""
    before: dict[str, str] = {}
    waiting = [name]
    for current in waiting:
        if current == target:
            path = [current]
            while path[-1] != name:
                path.append(before[path[-1]])
            return tuple(reversed(path))
        for role in next_roles(graph, current, domain, time, more):
            if role != name and role not in before:
                before[role] = current
                waiting.append(role)
    return ()


def covers(graph: RoleGraph, held: frozenset[str], name: str, role: str) -> bool:
    """Whether `name`, who holds `held`, holds `role`: it is among them, or a role that is a pattern matches it."""
    if role in held:
        return True
    if graph.names is None:
        return False
    function = graph.names.function
    return any(pattern != name and compile_pattern(function, pattern).test(role) for pattern in held)


class _Alone(dict[str, frozenset[str]]):
    """What a rule names of who is, or holds, one name only: a set for each name, made when it is first asked for.

    To be asked for the policy's own names only, or it would grow with the requests.
    """

    __slots__ = ("_named",)

    def __init__(self, named: "set[str] | NameSet") -> None:
        super().__init__()
        self._named = named

    def __missing__(self, name: str) -> frozenset[str]:
        found = self[name] = frozenset((name,)) if name in self._named else NOBODY
        return found


class RoleProbe:
    """The roles that a request's subject (or object) holds and that some rule names.

    A name that no rule is about cannot lead to a rule, so most answers shrink to one role, and to none for a subject
    of another company. Whoever holds one role that inherits nothing, which is nearly everybody, is answered from the
    graph itself; longer closures are cached, within a bound, unless time matters.

    `roles` answers requests whose subject no directory knows, `known` those with an identity, `of` both.
    """

    __slots__ = ("_cache", "_closures", "_directory", "_domain", "_named", "_read_domain", "_read_name", "graph",
                 "known", "roles")  # fmt: skip

    def __init__(
        self, graph: RoleGraph, access: RoleAccess, named: NameSet, directory: DirectoryLinks | None = None
    ) -> None:
        self.graph = graph
        self._named = named.quickest
        self._read_name = _reader(access.name)
        self._domain = access.domain
        self._read_domain = _reader(access.domain)
        self._directory = directory
        # By name and domain, and with what the directory adds; then by what is held in the directory alone.
        self._cache: dict[tuple[object, ...], frozenset[str]] = {}
        self._closures: dict[tuple[object, ...], frozenset[str]] = {}
        plain = graph.names is None and graph.domains is None and not graph.conditions and not graph.members
        if isinstance(access.domain, Token) and SOURCES[access.domain.name] != "company":
            plain = False
        self.roles: Roles = self._direct() if plain else self._walk
        self.known: Roles = self.roles
        if directory is not None:
            of_subject = access.name == Token("sub")
            self.known = self._direct_known(directory) if plain and of_subject else self._walk_known

    def of(self, request: Request) -> frozenset[str]:
        """The roles, whether or not a directory knows the subject."""
        return self.roles(request) if request.identity is None else self.known(request)

    def all_roles(self, request: Request) -> frozenset[str]:
        """All roles, the name itself included."""
        domain = self._read_domain(request)
        more = NO_LINKS if self._directory is None else self._directory.of(request, domain)
        return held_roles(self.graph, self._read_name(request), domain, request.time, more)

    def close(self) -> list[dict[Any, Any]]:
        """Let go of the closures that lead back here; gives the caches."""
        self.roles = self.known = closed
        return [self._cache, self._closures]

    def _direct(self) -> Roles:
        read_name, walk, named = self._read_name, self._walk, self._named
        links, domain = self.graph.links.get, self._domain
        by_company = isinstance(domain, Token)
        fixed = links("" if domain is None else str(domain.value)) if not isinstance(domain, Token) else None
        alone = _Alone(named)
        # They are few, so that asking costs no cold memory.
        inheriting = self.graph.inheriting

        def roles(request: Request) -> frozenset[str]:
            name = read_name(request)
            held = links(request.company) if by_company else fixed
            if held is not None:
                role = held.get(name)
                if role is not None:
                    if role.__class__ is str and role not in inheriting and name not in named:
                        return alone[role]
                    return walk(request)
            return alone[name] if name in named else NOBODY

        return roles

    def _direct_known(self, directory: DirectoryLinks) -> Roles:
        """`_direct` for a subject whom the directory knows. The bundle says nothing of nearly all of them: what they
        hold is then what others hold too, and is worked out once for all."""
        walk, named, links, closures = self._walk_known, self._named, self.graph.links.get, self._closures
        # The same roles come to the same in all companies, but where they are roles of roles; and on the platform,
        # where other roles may be held.
        apart = directory.apart
        fixed = None if isinstance(self._domain, Token) else self._read_domain(Request("", ""))

        def roles(request: Request) -> frozenset[str]:
            identity = request.identity
            domain = request.company if fixed is None else fixed
            held = links(domain)
            if identity is None or identity.timed or (held is not None and request.subject in held):
                return walk(request)
            if domain in apart:
                company = apart[domain]
                own = None if company is None else identity.roles.by_company.get(company)
                at: tuple[object, ...] = (own, domain)
            else:
                own = at = identity.roles.by_company.get(domain, ())
            if request.subject in named:
                return walk(request)
            if not own:
                return NOBODY
            found = closures.get(at)
            if found is None:
                found = self._closure(directory.of(request, domain), domain, request.time)
                if len(closures) >= MAX_CACHED:
                    closures.clear()
                closures[at] = found
            return found

        return roles

    def _walk(self, request: Request) -> frozenset[str]:
        at = (self._read_name(request), self._read_domain(request))
        found = self._cache.get(at)
        if found is None:
            found = frozenset([role for role in held_roles(self.graph, *at, request.time) if role in self._named])
            if not self.graph.conditions:
                self._remember(at, found)
        return found

    def _walk_known(self, request: Request) -> frozenset[str]:
        name, domain = self._read_name(request), self._read_domain(request)
        more = NO_LINKS if self._directory is None else self._directory.of(request, domain)
        if not more.roles:
            return self.roles(request)
        at = (name, domain, more)
        found = self._cache.get(at)
        if found is None:
            held = held_roles(self.graph, name, domain, request.time, more)
            found = frozenset([role for role in held if role in self._named])
            if not self.graph.conditions:
                self._remember(at, found)
        return found

    def _closure(self, more: Links, domain: str, time: float) -> frozenset[str]:
        """The roles of a name of which nothing else is known than what the directory adds."""
        if not more.roles:
            return NOBODY
        held = held_roles(self.graph, more.subject, domain, time, more)
        return frozenset([role for role in held if role in self._named])

    def _remember(self, at: tuple[object, ...], found: frozenset[str]) -> None:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[at] = found


NOBODY: frozenset[str] = frozenset()
_ANYONE = frozenset(("",))


def anyone(_request: Request) -> frozenset[str]:
    """What stands in for a probe where a matcher asks for no roles: never empty, and nobody looks into it."""
    return _ANYONE


def closed(_request: Request) -> NoReturn:
    """What a closed decider does when it is asked: its snapshot may be half gone, and an answer from it wrong."""
    raise RuntimeError("the decider is closed: its policy has been replaced")


def _reader(side: Token | Const | None) -> Callable[[Request], str]:
    if isinstance(side, Token):
        read: Callable[[Request], str] = attrgetter(SOURCES[side.name])
        return read
    value = "" if side is None else str(side.value)
    return lambda _request: value


def require_text(value: object, what: str) -> str:
    """`value`, which must be text to name a role or a domain."""
    if not isinstance(value, str):
        raise EvaluationError(f"{what} is not text")
    return value
