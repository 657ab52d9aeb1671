"""Which roles an identity holds and where, by the names that a directory has for them: to be shown, decides nothing."""

from collections.abc import Iterable, Iterator

from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.directory_links import DEFINITION
from authz_sidecar.model.patterns import time_match
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import ANY, PLATFORM, Identity
from authz_sidecar.values.request import ROLE_PREFIX, SOURCES


def held_roles(identity: Identity, snapshot: Snapshot | None, time: float) -> tuple[tuple[str, str], ...]:
    """Roles and companies ("" for the platform), sorted: what the directory has at `time` (seconds since 1970-01-01
    UTC), and what the bundle assigns there, on the platform, and in the identity's company."""
    held = [(role, company) for company, roles in identity.roles.by_company.items() for role in roles]
    held += [(timed.role, timed.company) for timed in identity.timed if timed.holds(time)]
    if snapshot is not None:
        rules = snapshot.directory_rules
        held = [(role, company) for role, company in held if _fits(rules, role, company)]
        places = {PLATFORM, identity.company, *(company for _, company in held)}
        held += _assigned(snapshot, identity.id, places, time)
    return tuple(sorted(set(held)))


def assigned_roles(snapshot: Snapshot, subject: str, time: float) -> tuple[tuple[str, str], ...]:
    """Roles and companies that the bundle itself assigns to an identity, sorted."""
    graph = snapshot.graphs.get(DEFINITION)
    if graph is None:
        return ()
    yaml = snapshot.directory_rules.form != "casbin"
    return tuple(sorted(set(_assigned(snapshot, subject, [_company(domain, yaml) for domain in graph.links], time))))


def assigned_places(snapshot: Snapshot, subject: str) -> frozenset[str]:
    """The companies, "" for the platform, where the bundle gives an identity anything by its name: roles, at whatever
    time, and rules of its own."""
    yaml = snapshot.directory_rules.form != "casbin"
    found = {
        _company(domain, yaml)
        for graph in snapshot.graphs.values()
        for domain, links in graph.links.items()
        if subject in links
    }
    for suffix, index in snapshot.sections.items():
        field = index.role_field
        if not field or subject not in index.names[field]:
            continue
        table = snapshot.rules[suffix]
        fields = index.section.fields
        companies = [table.columns[fields.index(name)] for name in fields if SOURCES.get(name) == "company"]
        for row, whose in enumerate(table.columns[fields.index(field)]):
            if whose == subject:
                # Rules that name no company hold everywhere.
                found.update([_company(column[row], yaml) for column in companies] or [PLATFORM])
    return frozenset(found)


def _assigned(snapshot: Snapshot, subject: str, companies: Iterable[str], time: float) -> Iterator[tuple[str, str]]:
    graph = snapshot.graphs.get(DEFINITION)
    if graph is None:
        return
    yaml = snapshot.directory_rules.form != "casbin"
    for company in companies:
        domain = (company or ANY) if yaml else company
        for role in _linked(graph, subject, domain, time):
            yield role.removeprefix(ROLE_PREFIX) if yaml else role, company


def _linked(graph: RoleGraph, subject: str, domain: str, time: float) -> Iterator[str]:
    roles = graph.links.get(domain, {}).get(subject, ())
    for role in (roles,) if isinstance(roles, str) else roles:
        if not graph.conditions or time_match(*graph.conditions[domain, subject, role], time):
            yield role


def _company(domain: str, yaml: bool) -> str:
    return PLATFORM if yaml and domain == ANY else domain


def _fits(rules: DirectoryRules, role: str, company: str) -> bool:
    facts = rules.roles.get(role)
    return facts is not None and (facts.assigned == "platform") == (company == PLATFORM)
