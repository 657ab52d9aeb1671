"""Who holds which role where, on one side: for a subject, and for what else a matcher looks up in a role graph."""

from collections.abc import Iterable
from typing import NamedTuple

from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.holdings import Held, Holdings, TooManyError
from authz_sidecar.decide.roles import covers, held_roles
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.values.texts import ANY, Texts, texts, values_of

_ANYWHERE = Held(ANY, True)


class Names(NamedTuple):
    """Names that hold a role in some domains; without `exact`, some of them perhaps not."""

    names: Texts
    domains: Texts
    exact: bool


class SideRoles:
    """The role graphs of one snapshot, asked about names."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._patterned = Holdings(snapshot.graphs, snapshot.tables, snapshot.link_searches, 0.0, None)
        self._domains: dict[str, dict[str, list[str]]] = {}
        self._held: dict[tuple[str, str], dict[str, Held]] = {}
        self._names: dict[tuple[str, str, str | None], list[Names]] = {}
        self._upward: dict[str, dict[str, dict[str, list[str]]]] = {}

    def domains(self, definition: str, name: str) -> list[str]:
        """The domains in which links name `name` as who holds something."""
        by_name = self._domains.get(definition)
        if by_name is None:
            by_name = self._domains[definition] = {}
            for domain, held in self._snapshot.graphs[definition].links.items():
                for one in held:
                    by_name.setdefault(one, []).append(domain)
        return by_name.get(name, [])

    def by_domain(self, definition: str, name: str) -> dict[str, Held]:
        """The roles of `name`, itself included, each with the domains in which it holds the role."""
        found = self._held.get((definition, name))
        if found is None:
            graph = self._snapshot.graphs[definition]
            if _is_plain(graph):
                found = self._plainly(graph, name)
            else:
                try:
                    found = self._patterned.by_company(definition, name)
                except TooManyError:
                    found = {role: Held(ANY, False) for held in graph.links.values() for role in _roles(held.values())}
                    found[name] = _ANYWHERE
            self._held[definition, name] = found
        return found

    def _plainly(self, graph: RoleGraph, name: str) -> dict[str, Held]:
        places: dict[str, set[str]] = {}
        for domain in self.domains(graph.definition, name):
            for role in closure(graph, name, domain):
                places.setdefault(role, set()).add(domain)
        # Whether a link with a time window counts depends on when one asks.
        found = {role: Held(values_of(domains), not graph.conditions) for role, domains in places.items()}
        found[name] = _ANYWHERE
        return found

    def in_domain(self, definition: str, name: str, domain: str) -> dict[str, bool]:
        """The roles of `name` in one domain ("" where the definition has none); False where the time decides."""
        graph = self._snapshot.graphs[definition]
        if graph.conditions:
            return {role: role == name for role in closure(graph, name, domain)}
        return dict.fromkeys(held_roles(graph, name, domain, 0.0), True)

    def covers(self, definition: str, name: str, role: str, domain: str) -> bool | None:
        """Whether a condition `g(name, role, domain)` holds; None where that depends on the time."""
        if name == role:
            return True
        graph = self._snapshot.graphs[definition]
        held = self.in_domain(definition, name, domain)
        if graph.conditions:
            return None if role in held else False
        return covers(graph, frozenset(held), name, role)

    def covered_where(self, definition: str, name: str, role: str) -> Held:
        """In which domains a condition `g(name, role, …)` holds."""
        if name == role:
            return _ANYWHERE
        held = self.by_domain(definition, name)
        graph = self._snapshot.graphs[definition]
        return (
            self._patterned.covering(definition, held, name, role)
            if graph.names is not None
            else held.get(role, Held(values_of(()), True))
        )

    def holding(self, definition: str, role: str, domain: str | None) -> list[Names]:
        """The names that hold `role` in `domain`, or, with None, in any, each with the domains."""
        key = (definition, role, domain)
        found = self._names.get(key)
        if found is None:
            graph = self._snapshot.graphs[definition]
            if domain is not None:
                found = [self._holding_in(graph, role, domain)]
            elif graph.domains is not None:
                found = [Names(ANY, ANY, False)]
            else:
                found = [Names(values_of((role,)), ANY, True)] if not graph.members else []
                for place in graph.links:
                    names = self._holding_in(graph, role, place)
                    found.append(Names(names.names, values_of((place,)), names.exact))
                if graph.members:
                    found.append(Names(ANY, ANY, False))
            self._names[key] = found
        return found

    def _holding_in(self, graph: RoleGraph, role: str, domain: str) -> Names:
        if graph.domains is not None:
            return Names(ANY, ANY, False)
        upward = self._upward_in(graph, domain)
        leading = {role}
        waiting = [role]
        values, prefixes, exact = {role}, list[str](), not graph.conditions
        covered: dict[str, list[str]] = {}
        for pattern, members in graph.members.items():
            for member in members:
                covered.setdefault(member, []).append(pattern)
        while waiting:
            reached = waiting.pop()
            for name in [*upward.get(reached, ()), *covered.get(reached, ())]:
                if name in leading:
                    continue
                leading.add(name)
                waiting.append(name)
                values.add(name)
                if graph.names is None or name not in graph.links.get(domain, {}):
                    continue
                # Whatever the pattern covers has its links.
                pattern_ = compile_pattern(graph.names.function, name)
                if pattern_.kind == "exact":
                    values.add(pattern_.literal)
                else:
                    prefixes.append(pattern_.literal)
                    exact = exact and pattern_.kind == "prefix"
                for known in upward:
                    if known not in leading and pattern_.test(known):
                        leading.add(known)
                        waiting.append(known)
        return Names(texts(values, prefixes), ANY, exact)

    def _upward_in(self, graph: RoleGraph, domain: str) -> dict[str, list[str]]:
        """For each role the names that links give it in a domain."""
        by_domain = self._upward.setdefault(graph.definition, {})
        found = by_domain.get(domain)
        if found is None:
            found = by_domain[domain] = {}
            for name, value in graph.links.get(domain, {}).items():
                for role in (value,) if isinstance(value, str) else value:
                    found.setdefault(role, []).append(name)
        return found


def _is_plain(graph: RoleGraph) -> bool:
    return graph.names is None and graph.domains is None and not graph.members


def _roles(values: Iterable[str | tuple[str, ...]]) -> Iterable[str]:
    for value in values:
        yield from (value,) if isinstance(value, str) else value


def closure(graph: RoleGraph, name: str, domain: str) -> frozenset[str]:
    """All that links in a domain give `name`, itself included, at whatever time."""
    held = graph.links.get(domain)
    if held is None:
        return frozenset((name,))
    found = {name}
    waiting = [name]
    while waiting:
        value = held.get(waiting.pop(), ())
        for role in (value,) if isinstance(value, str) else value:
            if role not in found:
                found.add(role)
                waiting.append(role)
    return frozenset(found)
