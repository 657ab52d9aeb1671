"""The role graph: who is linked to which role, by domain."""

from collections.abc import Iterable

import msgspec

from authz_sidecar.compile.buckets import PatternBuckets, bucket_patterns
from authz_sidecar.compile.names import NameSet, name_set
from authz_sidecar.model.model import RoleDefinition
from authz_sidecar.model.patterns import PatternError, compile_pattern
from authz_sidecar.values import Diagnostic, RuleTable

Roles = str | tuple[str, ...]
Links = dict[str, dict[str, Roles]]


class RoleGraph(msgspec.Struct, frozen=True):
    """All links of one role definition.

    `links[domain][name]` is the role, or the tuple of roles, of `name`; the domain is "" where the definition has
    none. With matching functions, `names` and `domains` find the patterns that cover a name or a domain, and
    `members` lists the known names that a role pattern covers. `conditions` holds the time window of each link of
    a conditional definition, by (domain, name, role); `subjects` are all names that some link gives a role, and
    `inheriting` those of them that are roles too, in whatever domain.
    """

    definition: str
    has_domain: bool
    links: Links
    subjects: NameSet
    inheriting: set[str] = set()
    names: PatternBuckets | None = None
    domains: PatternBuckets | None = None
    members: dict[str, tuple[str, ...]] = {}
    conditions: dict[tuple[str, str, str], tuple[str, str]] = {}

    @property
    def conditional(self) -> bool:
        """Whether who holds what depends on the request's time."""
        return bool(self.conditions)


def build_graph(
    definition: RoleDefinition,
    table: RuleTable,
    role_matching: str,
    domain_matching: str,
    link_condition: str,
    probed: Iterable[str],
) -> tuple[RoleGraph, list[Diagnostic]]:
    """The graph of one definition; `probed` are the rule values that are looked up in it.

    Refuses cycles, and links of a conditional definition that no condition is declared for.
    """
    links: Links = {}
    conditions: dict[tuple[str, str, str], tuple[str, str]] = {}
    diagnostics: list[Diagnostic] = []
    names, roles = table.columns[0], table.columns[1]
    domains: Iterable[str] = table.columns[2] if definition.has_domain else [""] * len(table)
    for name, role, domain in zip(names, roles, domains, strict=True):
        held = links.get(domain)
        if held is None:
            held = links[domain] = {}
        before = held.get(name)
        if before is None:
            held[name] = role
        elif isinstance(before, str):
            if before != role:
                held[name] = (before, role)
        elif role not in before:
            held[name] = (*before, role)
    if definition.parameters:
        diagnostics += _read_conditions(definition, table, link_condition, role_matching, conditions)
    diagnostics += _find_cycles(links, table, definition)
    if not diagnostics:
        diagnostics += check_patterns(table, role_matching, (0, 1)) + check_patterns(table, domain_matching, (2,))
    if diagnostics:
        role_matching = domain_matching = ""
    subjects = name_set(names)
    return (
        RoleGraph(
            definition.name,
            definition.has_domain,
            links,
            subjects,
            {role for role in set(roles) if role in subjects},
            bucket_patterns(role_matching, dict.fromkeys(names)) if role_matching else None,
            bucket_patterns(domain_matching, links) if domain_matching else None,
            _members(role_matching, roles, [*dict.fromkeys(names), *probed]) if role_matching else {},
            conditions,
        ),
        diagnostics,
    )


def check_patterns(table: RuleTable, function: str, columns: tuple[int, ...]) -> list[Diagnostic]:
    """A diagnostic for each distinct value of `columns` that `function` cannot take as a pattern."""
    found: list[Diagnostic] = []
    if not function:
        return found
    for column in columns:
        seen: set[str] = set()
        for row, text in enumerate(table.columns[column]):
            if text in seen:
                continue
            seen.add(text)
            try:
                compile_pattern(function, text)
            except PatternError as error:
                found.append(pattern_diagnostic(table, row, error))
    return found


def pattern_diagnostic(table: RuleTable, row: int, error: PatternError) -> Diagnostic:
    """The diagnostic of a PatternError in one row."""
    return Diagnostic(table.span(row), "pattern-syntax", error.message, error.help)


def _members(function: str, roles: Iterable[str], known: list[str]) -> dict[str, tuple[str, ...]]:
    """Which known names each role pattern covers: in Casbin a role that is a pattern is linked to them."""
    patterns = bucket_patterns(function, dict.fromkeys(roles))
    if not patterns.lengths:
        return {}
    members: dict[str, list[str]] = {}
    for name in dict.fromkeys(known):
        for pattern in patterns.matching(name):
            if pattern != name:
                members.setdefault(pattern, []).append(name)
    return {pattern: tuple(covered) for pattern, covered in members.items()}


def _read_conditions(
    definition: RoleDefinition,
    table: RuleTable,
    link_condition: str,
    role_matching: str,
    conditions: dict[tuple[str, str, str], tuple[str, str]],
) -> list[Diagnostic]:
    if not link_condition or role_matching:
        fault = (
            f"`{definition.name}` has both link conditions and a matching function"
            if link_condition
            else f"`{definition.name}` has link parameters, but no condition that reads them"
        )
        remedy = (
            "drop one of the two from the manifest"
            if link_condition
            else f"declare it in manifest.yaml: `casbin: {{link_conditions: {{{definition.name}: timeMatch}}}}`"
        )
        return [Diagnostic(definition.span, "role-condition", fault, remedy)]
    if definition.parameters != 2:
        return [
            Diagnostic(
                definition.span,
                "role-condition",
                f"`{definition.name}` has {definition.parameters} link parameters; `timeMatch` reads two",
                "define it as `_, _, (_, _)`, or with a domain `_, _, _, (_, _)`",
            )
        ]
    found: list[Diagnostic] = []
    for row in range(len(table)):
        values = table.values(row)
        domain = values[2] if definition.has_domain else ""
        window = (values[-2], values[-1])
        key = (domain, values[0], values[1])
        if conditions.setdefault(key, window) != window:
            found.append(
                Diagnostic(
                    table.span(row),
                    "role-condition",
                    f"`{values[0]}` is linked to `{values[1]}` twice, with different times",
                    "keep one of the two links",
                )
            )
    return found


def _find_cycles(links: Links, table: RuleTable, definition: RoleDefinition) -> list[Diagnostic]:
    """One diagnostic for each domain whose roles inherit in a circle, at one link of the circle."""
    found: list[Diagnostic] = []
    for domain, held in links.items():
        roles: set[str] = set()
        for value in held.values():
            if isinstance(value, str):
                roles.add(value)
            else:
                roles.update(value)
        inner = held.keys() & roles
        if not inner:
            continue
        circle = _circle(held, sorted(inner))
        if circle:
            place = f" in `{domain}`" if definition.has_domain else ""
            found.append(
                Diagnostic(
                    table.span(_row_of(table, circle[0], circle[1], domain if definition.has_domain else None)),
                    "role-cycle",
                    f"roles inherit in a circle{place}: " + " -> ".join([f"`{name}`" for name in circle]),
                    f"remove one of these `{definition.name}` rows",
                )
            )
    return found


def _circle(held: dict[str, Roles], starts: list[str]) -> list[str]:
    done: set[str] = set()
    for start in starts:
        if start in done:
            continue
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
                continue
            if name in on_path:
                return [*path[path.index(name) :], name]
            if name in done:
                continue
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            value = held.get(name, ())
            stack.extend((role, False) for role in ((value,) if isinstance(value, str) else value))
    return []


def _row_of(table: RuleTable, name: str, role: str, domain: str | None) -> int:
    for row in range(len(table)):
        values = table.values(row)
        if values[0] == name and values[1] == role and (domain is None or values[2] == domain):
            return row
    return 0
