"""Roles that an identity holds in the directory, as links of the model's role definition `g`.

They count for the subject of the request alone: what the directory knows of others is no argument of a decision. An
identity's id is a name and never a pattern; a company is a pattern where the bundle matches domains, as in its links.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.patterns import PatternError, compile_pattern
from authz_sidecar.values import Request
from authz_sidecar.values.directory_rules import RoleFacts
from authz_sidecar.values.identity import ANY, PLATFORM, Identity
from authz_sidecar.values.request import ROLE_PREFIX

DEFINITION = "g"
# Different combinations of roles that are remembered; a full cache is emptied.
MAX_TRANSLATED = 32_768
# What a platform role's `assigned` is.
_ON_PLATFORM = "platform"
# Domains that are the platform's, or nobody's, in YAML bundles and in plain ones.
_YAML_COMPANIES: Mapping[str, str | None] = {ANY: PLATFORM, "": None}
_CASBIN_COMPANIES: Mapping[str, str | None] = {"": None}
_ONE_PLACE: Mapping[str, str | None] = {"": PLATFORM}


class Links(NamedTuple):
    """What the directory adds to a walk in one domain: the roles right above `subject`."""

    subject: str
    roles: tuple[str, ...]


NO_LINKS = Links("", ())


class DirectoryLinks:
    """Reads what identities hold as links of one snapshot's `g`.

    `odd_companies` are the companies of the domains that are not called like one (None: no company's).
    """

    def __init__(self, snapshot: Snapshot, graph: RoleGraph) -> None:
        rules = snapshot.directory_rules
        self._snapshot = snapshot
        self._graph = graph
        self._facts: Mapping[str, RoleFacts] = rules.roles
        self.yaml = rules.form != "casbin"
        self._prefix = ROLE_PREFIX if self.yaml else ""
        self.odd_companies = _YAML_COMPANIES if self.yaml else _CASBIN_COMPANIES if graph.has_domain else _ONE_PLACE
        # Domains whose company is not called like them, and those in which a role may lead to others: with the company
        # whose roles are held there.
        self.apart = {**self.odd_companies, **{domain: self._company(domain) for domain in self._leading()}}
        self.translated: dict[tuple[bool, tuple[str, ...]], tuple[str, ...]] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._names: list[str] | None = None

    def _company(self, domain: str) -> str | None:
        return self.odd_companies.get(domain, domain)

    def _leading(self) -> Iterator[str]:
        """The domains in which the bundle links a role of its own to another: any of them may be held, also one that
        stands on no link's right side."""
        graph = self._graph
        names = {name for role in self._facts if (name := self._prefix + role) in graph.subjects}
        for domain, held in graph.links.items() if names else ():
            few, many = (names, held) if len(names) < len(held) else (held, names)
            if any(name in many for name in few):
                yield domain

    def of(self, request: Request, domain: str) -> Links:
        """The links of a request's subject in one domain."""
        identity = request.identity
        if identity is None:
            return NO_LINKS
        roles = self.roles(identity, domain, request.time)
        return Links(request.subject, roles) if roles else NO_LINKS

    def roles(self, identity: Identity, domain: str, time: float) -> tuple[str, ...]:
        """The roles right above an identity in a domain of the model, as the model names them."""
        by_company = identity.roles.by_company
        if self._graph.domains is not None:
            places = dict.fromkeys([*by_company, *[one.company for one in identity.timed]])
            found = [self._in_company(identity, place, time) for place in places if self._reaches(place, domain)]
            return tuple(dict.fromkeys([role for roles in found for role in roles]))
        company = self._company(domain)
        return () if company is None else self._in_company(identity, company, time)

    def pairs(self, identity: Identity, time: float) -> Iterator[tuple[str, str]]:
        """All its links: role and domain."""
        for company in dict.fromkeys([*identity.roles.by_company, *[one.company for one in identity.timed]]):
            domain = self._domain(company)
            if domain is not None:
                for role in self._in_company(identity, company, time):
                    yield role, domain

    def windows(self, identity: Identity, names: Iterable[str]) -> list[tuple[float, float]]:
        """When it holds one of these roles (as the directory names them), wherever: from, and until just before."""
        wanted = frozenset(names)
        for company, held in identity.roles.by_company.items():
            if not wanted.isdisjoint(held) and self._domain(company) is not None:
                for name in wanted.intersection(held):
                    if self._fits(name, company):
                        return [(float("-inf"), float("inf"))]
        return [
            (one.begins, one.ends)
            for one in identity.timed
            if one.role in wanted and self._domain(one.company) is not None and self._fits(one.role, one.company)
        ]

    def translate(self, company: str, held: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the directory, held in a company, as the model's: without those that the bundle lacks or that do
        not fit how the bundle assigns them."""
        at = (company == PLATFORM, held)
        found = self.translated.get(at)
        if found is None:
            roles: dict[str, None] = {}
            for name in held:
                if self._fits(name, company):
                    roles[self._prefix + name] = None
                    roles.update(dict.fromkeys(self._covered(name)))
            found = tuple(roles)
            if len(self.translated) >= MAX_TRANSLATED:
                self.translated.clear()
            self.translated[at] = found
        return found

    def _in_company(self, identity: Identity, company: str, time: float) -> tuple[str, ...]:
        held = identity.roles.by_company.get(company, ())
        if identity.timed:
            now = [one.role for one in identity.timed if one.company == company and one.holds(time)]
            held = (*held, *now) if now else held
        return self.translate(company, held) if held else ()

    def _fits(self, name: str, company: str) -> bool:
        facts = self._facts.get(name)
        return facts is not None and (facts.assigned == _ON_PLATFORM) == (company == PLATFORM)

    def _domain(self, company: str) -> str | None:
        """The domain of the model that a company is; None where nobody can hold a role in it."""
        if company == PLATFORM:
            return ANY if self.yaml else None if self._graph.has_domain else ""
        if self.yaml:
            # No company is called like the platform's domain.
            return None if company == ANY else company
        return company if self._graph.has_domain else None

    def _reaches(self, company: str, domain: str) -> bool:
        """Whether a link in a company counts in a domain."""
        place = self._domain(company)
        if place is None or place == domain or self._graph.domains is None:
            return place is not None and place == domain
        try:
            return compile_pattern(self._graph.domains.function, place).test(domain)
        except (PatternError, ValueError):
            return False

    def _covered(self, role: str) -> tuple[str, ...]:
        """The known names that a role covers which is a pattern and stands in no link of the bundle: what the graph's
        `members` are for those that do."""
        graph = self._graph
        if graph.names is None or role in graph.members:
            return ()
        found = self._members.get(role)
        if found is None:
            try:
                pattern = compile_pattern(graph.names.function, role)
            except PatternError:
                return ()
            covers_others = pattern.kind != "exact" or pattern.literal != role
            names = [name for name in self._known_names() if name != role and pattern.test(name)]
            found = self._members[role] = tuple(names) if covers_others else ()
        return found

    def _known_names(self) -> list[str]:
        """The names of links, and those of rules that are looked up among roles."""
        if self._names is None:
            names = dict.fromkeys(self._snapshot.tables[DEFINITION].columns[0])
            for index in self._snapshot.sections.values():
                for branch in index.branches:
                    for access in branch.plan.sets:
                        if isinstance(access, RoleAccess) and access.definition == DEFINITION:
                            names.update(dict.fromkeys(index.names[access.field]))
            self._names = list(names)
        return self._names


def directory_links(snapshot: Snapshot) -> DirectoryLinks | None:
    """The reader for a snapshot; None where its model has no role definition `g`."""
    graph = snapshot.graphs.get(DEFINITION)
    return None if graph is None else DirectoryLinks(snapshot, graph)
