"""Who holds which role where: what a question about many companies asks of a role graph.

A check asks for one name in one company. Here a name's roles are found with the companies in which it holds them, and
the names that hold a role, from the link search, so that the cost is that of the links in question.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.search import LinkSearch
from authz_sidecar.decide.directory_links import DEFINITION, NO_LINKS, DirectoryLinks, Links
from authz_sidecar.decide.roles import held_roles
from authz_sidecar.model.patterns import compile_pattern, time_match
from authz_sidecar.values import RuleTable
from authz_sidecar.values.identity import Identity
from authz_sidecar.values.texts import ANY, NOTHING, Texts, prefix_of, texts, values_of

# Names that hold one role, and steps of one walk: past these, the answer is not worked out.
MAX_HOLDERS = 10_000


class TooManyError(Exception):
    """Working out the exact answer would take longer than a server can spare; the message says what is too many."""


class Held(NamedTuple):
    """The companies in which a role is held; without `exact`, in some of them perhaps not."""

    companies: Texts
    exact: bool


_ANYWHERE = Held(ANY, True)


class Holdings:
    """The holdings of one moment, remembered for one question. Those of `identity` that `directory` reads count too."""

    def __init__(
        self,
        graphs: Mapping[str, RoleGraph],
        tables: Mapping[str, RuleTable],
        searches: Mapping[str, LinkSearch],
        time: float,
        company: str | None,
        identity: Identity | None = None,
        directory: DirectoryLinks | None = None,
    ) -> None:
        self._graphs = graphs
        self._tables = tables
        self._searches = searches
        self._time = time
        self._company = company
        self._identity = identity
        self._directory = directory
        self._subject = ""
        # Role and domain of the links that the directory adds, in their order.
        self._added: dict[tuple[str, str], None] = {}
        if identity is not None and directory is not None:
            self._subject = identity.id
            self._added = dict.fromkeys(directory.pairs(identity, time))
        self._by_company: dict[tuple[str, str], dict[str, Held]] = {}
        self._in_domain: dict[tuple[str, str, str], dict[str, Held]] = {}

    def in_domain(self, definition: str, name: str, domain: str) -> dict[str, Held]:
        """The roles of `name` in one domain, itself included: held whatever the object's company."""
        at = (definition, name, domain)
        found = self._in_domain.get(at)
        if found is None:
            roles = held_roles(self._graphs[definition], name, domain, self._time, self._more(definition, domain))
            found = self._in_domain[at] = dict.fromkeys(roles, _ANYWHERE)
        return found

    def _more(self, definition: str, domain: str) -> Links:
        """What the directory adds to the links of a definition in one domain."""
        identity, directory = self._identity, self._directory
        if not self._added or definition != DEFINITION or identity is None or directory is None:
            return NO_LINKS
        return Links(self._subject, directory.roles(identity, domain, self._time))

    def by_company(self, definition: str, name: str) -> dict[str, Held]:
        """The roles of `name`, itself included, each with the companies in which it holds the role."""
        if self._company is not None:
            return self.in_domain(definition, name, self._company)
        found = self._by_company.get((definition, name))
        if found is None:
            graph = self._graphs[definition]
            plain = not (graph.names or graph.domains or graph.members or graph.conditions)
            found = self._plainly(graph, name) if plain else self._walk(graph, name)
            self._by_company[definition, name] = found
        return found

    def covering(self, definition: str, held: Mapping[str, Held], name: str, role: str) -> Held:
        """Where `name`, who has these holdings, holds `role`, or a role that is a pattern and matches it."""
        graph = self._graphs[definition]
        if graph.names is None:
            return held.get(role, Held(NOTHING, True))
        function = graph.names.function
        companies, exact = NOTHING, True
        for one, where in held.items():
            if one == role or (one != name and compile_pattern(function, one).test(role)):
                companies, exact = _joined(companies, where.companies), exact and where.exact
        return Held(companies, exact)

    def holders(self, definition: str, role: str, domain: str | None) -> dict[str, frozenset[str]] | None:
        """The names, other than `role` itself, that hold it, by domain: in one, or in each that has any (None).

        None where they are not to be listed: too many, or patterns among them.
        """
        graph = self._graphs[definition]
        search = self._searches[definition].by_role
        if search is None or graph.names is not None or graph.members or graph.domains is not None:
            return None
        table = self._tables[definition]
        names, roles = table.columns[0], table.columns[1]
        domains = table.columns[2] if graph.has_domain else None
        found: dict[str, set[str]] = {}
        waiting: list[tuple[str, str | None]] = [(role, domain)]
        steps = 0
        while waiting:
            wanted, inside = waiting.pop()
            for row in search.find(wanted, inside):
                steps += 1
                if steps > MAX_HOLDERS:
                    return None
                place = "" if domains is None else domains[row]
                if roles[row] != wanted or (inside is not None and place != inside):
                    continue
                name = names[row]
                known = found.setdefault(place, set())
                if name not in known and self._holds_now(graph, place, name, wanted):
                    known.add(name)
                    waiting.append((name, place))
            for added, place in self._added if definition == DEFINITION else ():
                if added == wanted and inside in (None, place):
                    known = found.setdefault(place, set())
                    if self._subject not in known:
                        known.add(self._subject)
                        waiting.append((self._subject, place))
        return {place: frozenset(known) for place, known in found.items() if known}

    def _holds_now(self, graph: RoleGraph, domain: str, name: str, role: str) -> bool:
        if not graph.conditions:
            return True
        start, end = graph.conditions[domain, name, role]
        return time_match(start, end, self._time)

    def _links(self, graph: RoleGraph, name: str) -> Iterator[tuple[str, str]]:
        """The links of `name`: role and domain."""
        search = self._searches[graph.definition].by_name
        if search is None:
            raise LookupError(f"no question was expected to ask where roles of `{graph.definition}` are held")
        names, roles, domains = self._tables[graph.definition].columns[:3]
        for row in search.find(name):
            if names[row] == name:
                yield roles[row], domains[row]
        if name == self._subject and graph.definition == DEFINITION:
            yield from self._added

    def _plainly(self, graph: RoleGraph, name: str) -> dict[str, Held]:
        companies: dict[str, set[str]] = {}
        inheriting = graph.inheriting
        for role, domain in self._links(graph, name):
            further = role in inheriting or role == self._subject
            more = self._more(graph.definition, domain)
            for one in held_roles(graph, role, domain, self._time, more) if further else (role,):
                companies.setdefault(one, set()).add(domain)
        found = {role: Held(values_of(places), True) for role, places in companies.items()}
        found[name] = _ANYWHERE
        return found

    def _walk(self, graph: RoleGraph, name: str) -> dict[str, Held]:
        """The same where names, roles or domains may be patterns, or links have times: each way up narrows the
        companies in which it can be gone."""
        start = (name, ANY, True)
        reached = {start}
        waiting = [start]
        while waiting:
            current, companies, exact = waiting.pop()
            steps = [(role, companies, exact) for role in graph.members.get(current, ())]
            sources = [current]
            if graph.names is not None:
                sources += [pattern for pattern in graph.names.matching(current) if pattern != current]
            for source in sources:
                for role, domain in self._links(graph, source):
                    added = source == self._subject and (role, domain) in self._added
                    if added or self._holds_now(graph, domain, source, role):
                        where = _domain_companies(graph, domain)
                        steps.append((role, companies.intersect(where.companies), exact and where.exact))
            for step in steps:
                if step[1] and step not in reached:
                    reached.add(step)
                    waiting.append(step)
            if len(reached) > MAX_HOLDERS:
                raise TooManyError(f"the subject holds roles in more than {MAX_HOLDERS:,} ways")
        found: dict[str, Held] = {}
        for role, companies, exact in reached:
            before = found.get(role, Held(NOTHING, True))
            found[role] = Held(_joined(before.companies, companies), before.exact and exact)
        return found


def _domain_companies(graph: RoleGraph, domain: str) -> Held:
    """The companies that a link in `domain` counts for."""
    if graph.domains is None:
        return Held(values_of((domain,)), True)
    pattern = compile_pattern(graph.domains.function, domain)
    if pattern.kind == "exact":
        return Held(values_of((domain, pattern.literal)), True)
    # A company that is called as the pattern is written has the link too.
    return Held(texts((domain,), (pattern.literal,)), pattern.kind == "prefix")


def _joined(one: Texts, other: Texts) -> Texts:
    """Both together: sets of companies take nothing away, so that this is always a set."""
    joined = one.union(other)
    return prefix_of("") if joined is None else joined
