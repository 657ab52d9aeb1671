"""Two names that differ in how they are written only.

What it does: finds two roles, two companies, two identities, two groups, two data domains, two flags or two object
types whose names are the same but for letter case, the separators `-`, `_`, `.` and space, and characters of other
widths. In plain Casbin it looks at what rules and links name as subject, role and company.

Why it is bad: names are compared to the letter. One of the two is usually a slip, and whoever reads the policy takes
the access of one for that of the other.

Example: `company: acme` in nine assignments and `company: Acme` in the tenth

Use instead: one spelling, or names that are told apart at a glance.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Assignment, GroupMapping
from authz_sidecar.bundle.wording import quote
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.compile.access import KeyAccess, RoleAccess
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.expression import Token
from authz_sidecar.review.material import Material
from authz_sidecar.review.rules.rule import LintRule
from authz_sidecar.review.wording import file_and_line
from authz_sidecar.values import Diagnostic, RuleTable, Severity, Span
from authz_sidecar.values.request import SOURCES

CODE = "lookalike-name"

_SEPARATORS = str.maketrans("-. ", "___")


def _find(material: Material) -> Iterator[Diagnostic]:
    kinds = _defined(material.bundle) if material.bundle.form == "yaml" else _named(material.snapshot)
    for noun, names in kinds:
        first: dict[str, str] = {}
        places: dict[str, Span] = {}
        for name, span in names:
            if name in places:
                continue
            places[name] = span
            other = first.setdefault(_folded(name), name)
            if other != name:
                yield Diagnostic(
                    span,
                    CODE,
                    f"the {noun} {quote(name)} is written nearly like {quote(other)} at {file_and_line(places[other])}",
                    "write both alike if they are the same, or tell them apart",
                    Severity.WARNING,
                )


def _folded(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name).casefold()
    return name.lower().translate(_SEPARATORS)


_Names = Iterable[tuple[str, Span]]


def _defined(bundle: Bundle) -> Iterator[tuple[str, _Names]]:
    definitions: tuple[tuple[str, Mapping[str, Definition]], ...] = (
        ("object type", bundle.manifest.object_types),
        ("role", bundle.roles),
        ("data domain", bundle.data_domains),
        ("flag", bundle.flags),
    )
    for noun, named in definitions:
        yield noun, ((name, definition.span) for name, definition in named.items())
    entries: tuple[Assignment | GroupMapping, ...] = (*bundle.assignments, *bundle.group_mappings)
    yield "company", ((entry.company, entry.value_span("company")) for entry in entries if entry.company)
    yield "identity", ((entry.subject, entry.value_span("subject")) for entry in bundle.assignments)
    yield "group", ((entry.group, entry.value_span("group")) for entry in bundle.group_mappings)


def _named(snapshot: Snapshot) -> Iterator[tuple[str, _Names]]:
    subjects: list[tuple[RuleTable, int]] = []
    companies: list[tuple[RuleTable, int]] = []
    definitions: set[str] = set()
    for index in snapshot.sections.values():
        table = snapshot.tables[index.section.ptype]
        for branch in index.branches:
            for access in (*branch.plan.keys, *branch.plan.sets):
                at = (table, index.section.fields.index(access.field))
                if isinstance(access, RoleAccess) and access.name == Token("sub"):
                    subjects.append(at)
                    definitions.add(access.definition)
                elif isinstance(access, KeyAccess) and SOURCES[access.token] == "subject":
                    subjects.append(at)
                elif isinstance(access, KeyAccess) and SOURCES[access.token] == "company":
                    companies.append(at)
    for definition in sorted(definitions):
        links, graph = snapshot.tables[definition], snapshot.graphs[definition]
        if graph.names is None and not graph.members:
            subjects += [(links, 0), (links, 1)]
        if graph.has_domain and graph.domains is None:
            companies.append((links, 2))
    yield "subject", _in_columns(subjects)
    yield "company", _in_columns(companies)


def _in_columns(columns: Iterable[tuple[RuleTable, int]]) -> Iterator[tuple[str, Span]]:
    """Every name of the columns at the first row that has it."""
    seen: set[str] = set()
    for table, at in columns:
        for row, name in enumerate(table.columns[at]):
            if name not in seen:
                seen.add(name)
                yield name, table.span(row)


RULE = LintRule(CODE, "Two names that differ in how they are written only", "0.1.0", _find, __doc__)
