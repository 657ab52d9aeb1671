"""Identities of an exported file beside the assignments of bundles, through the checks that assignments pass."""

from collections.abc import Iterator, Sequence

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Assignment, Grant
from authz_sidecar.bundle.expansion import expand_policy
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.identities import HeldRole, IdentitiesFile, IdentityRecord
from authz_sidecar.bundle.policy_checks import Vocabulary, check_policy
from authz_sidecar.bundle.policy_files import Policy
from authz_sidecar.bundle.standard_model import Form, form_of
from authz_sidecar.bundle.wording import counted, quote, suggest
from authz_sidecar.bundle.yaml_nodes import YamlMap
from authz_sidecar.values.diagnostic import Diagnostic, Severity
from authz_sidecar.values.span import Span

ROLES = "g"
# What an identity may not be given by a pull request, but holds if an export says so: it is told, and compared.
_TOLERATED = frozenset({"assignment-limit", "assignment-duplicate", "role-sole", "role-primary"})
# A directory may keep a flag of somebody whose role is gone.
_TOLERATED_OF_DIRECTORIES = _TOLERATED | {"flag-role"}


class Merged(msgspec.Struct, frozen=True):
    """A bundle with the identities of a file beside its own. `notes` are sentences about what it could not take."""

    bundle: Bundle
    notes: tuple[str, ...]


class _Refusal(msgspec.Struct, frozen=True):
    """Why a side does not take a part of the file: what a note counts, and the error where no side takes it."""

    note: str
    code: str
    message: str
    help: str


class _Side:
    """The identities of a file as one bundle takes them. What it does not take is in `refused`, by its place in the
    file; each entry is a part that some other side may take."""

    def __init__(self, content: IdentitiesFile, bundle: Bundle, lenient: bool) -> None:
        self._bundle = bundle
        self._lenient = lenient
        self._form: Form = form_of(bundle.model) or "extended"
        self._findings = Findings()
        self.refused: dict[tuple[Span, str], _Refusal] = {}
        self.diagnostics: list[Diagnostic] = []
        self.bundle = self._defined(content) if bundle.form == "yaml" else self._rows(content)

    def _refuse(self, span: Span, what: str, refusal: _Refusal) -> None:
        self.refused[span, what] = refusal

    # --- YAML definitions

    def _defined(self, content: IdentitiesFile) -> Bundle:
        bundle = self._bundle
        known = {
            (assignment.subject, role, assignment.company)
            for assignment in bundle.assignments
            for role in assignment.roles
        }
        extra = [
            assignment
            for record in content.identities
            for assignment in self._assignments(record)
            # The bundle says so too.
            if not (assignment.roles and (assignment.subject, assignment.roles[0], assignment.company) in known)
        ]
        policy = Policy(
            roles=dict(bundle.roles),
            data_domains=dict(bundle.data_domains),
            flags=dict(bundle.flags),
            assignments=[*bundle.assignments, *extra],
            group_mappings=list(bundle.group_mappings),
        )
        checked = Findings()
        check_policy(policy, bundle.manifest, self._form, checked)
        places = {(assignment.node.file, assignment.node.line) for assignment in extra}
        files = {file for file, _ in places}
        tolerated = _TOLERATED_OF_DIRECTORIES if self._lenient else _TOLERATED
        self.diagnostics = [
            found if found.code not in tolerated else msgspec.structs.replace(found, severity=Severity.WARNING)
            for found in checked.sorted()
            if found.span.file in files and found.code != "too-many"
        ]
        if any(found.severity is Severity.ERROR for found in self.diagnostics):
            return bundle
        tables = expand_policy(policy, bundle.manifest, self._form, self._findings)
        self.diagnostics += self._findings.sorted()
        return msgspec.structs.replace(bundle, tables=tables, assignments=tuple(policy.assignments))

    def _assignments(self, record: IdentityRecord) -> Iterator[Assignment]:
        for index, held in enumerate(record.roles):
            span = record.value_span("roles", index)
            company = self._place(record, held, span)
            if company is not None:
                yield _assignment(span, subject=record.id, roles=[held.role], company=company)
        denied = self._denied(record)
        if denied:
            yield _assignment(record.span, subject=record.id, grants=denied)
        grants = [grant for grant in record.grants if self._takes(grant)]
        flags = {name: on for name, on in record.flags.items() if self._knows_flag(record, name)}
        if grants or flags:
            yield _assignment(record.span, subject=record.id, grants=grants, flags=flags, company=record.company)

    def _denied(self, record: IdentityRecord) -> list[Grant]:
        """What no identity of its kind may do, as denials of its own."""
        settings = self._bundle.manifest.identities
        kind = settings.users if record.kind == "user" else settings.service_accounts
        found = [Grant.model_construct(object=one.object, actions=one.actions, effect="deny") for one in kind.denied]
        for grant in found:
            grant.__dict__["node"] = YamlMap(record.span.file, record.span.line, record.span.column)
        return found

    def _place(self, record: IdentityRecord, held: HeldRole, span: Span) -> str | None:
        """The company in which the role is held ("" for the platform); None where this side has no such role."""
        roles = self._bundle.roles
        role = roles.get(held.role)
        if role is None:
            self._unknown_role(held.role, span, list(roles))
            return None
        if role.assigned == "platform":
            if not held.company:
                return ""
            self._refuse(
                span,
                held.role,
                _Refusal(
                    f"{quote(held.role)} is a platform role there, and held in a company",
                    "assignment-company",
                    f"the platform role {quote(held.role)} is held in the company {quote(held.company)}",
                    f"remove `company`; {quote(held.role)} belongs to no company and holds everywhere",
                ),
            )
            return None
        company = held.company or record.company
        if not company:
            self._refuse(
                span,
                held.role,
                _Refusal(
                    f"{quote(held.role)} is a company role there, and held in none",
                    "assignment-company",
                    f"the company role {quote(held.role)} is held without a company",
                    "give the role or the identity its `company`",
                ),
            )
            return None
        return company

    def _unknown_role(self, name: str, span: Span, known: Sequence[str]) -> None:
        self._refuse(
            span,
            name,
            _Refusal(
                f"there is no role {quote(name)}",
                "unknown-role",
                f"unknown role {quote(name)}",
                suggest(name, known, "export the roles that the bundle defines"),
            ),
        )

    def _takes(self, grant: Grant) -> bool:
        vocabulary = Vocabulary(self._bundle.manifest, self._findings)
        if vocabulary.covers(grant.types, grant.actions):
            return not self._lenient or self._can_say(grant)
        self._refuse(
            grant.span,
            "grant",
            _Refusal(
                "grants of object types or actions that are not declared there",
                "unknown-action",
                "the grant names an object type or action that the manifest does not declare",
                "export grants of declared object types and actions",
            ),
        )
        return False

    def _can_say(self, grant: Grant) -> bool:
        """Whether the model has what the grant needs; that of a file is told with its place."""
        if self._form == "extended" or not (grant.when or (grant.id.endswith("*") and grant.id != "*")):
            return True
        note = "conditions and id patterns need the extended form of the standard model"
        self._refuse(grant.span, "form", _Refusal(note, "", "", ""))
        return False

    def _knows_flag(self, record: IdentityRecord, name: str) -> bool:
        if name in self._bundle.flags:
            return True
        self._refuse(
            record.value_span("flags", name),
            name,
            _Refusal(
                f"there is no flag {quote(name)}",
                "unknown-flag",
                f"unknown flag {quote(name)}",
                suggest(name, list(self._bundle.flags), "export the flags that the bundle defines"),
            ),
        )
        return False

    # --- plain Casbin

    def _rows(self, content: IdentitiesFile) -> Bundle:
        bundle = self._bundle
        table = bundle.tables.get(ROLES)
        definition = bundle.model.roles.get(ROLES)
        first = content.identities[0].span if content.identities else Span("")
        if self._lenient and (table is None or definition is None or definition.parameters):
            for record in content.identities:
                self._refuse(record.span, "", _Refusal("the model has no plain role definition `g`", "", "", ""))
            return bundle
        if table is None or definition is None or definition.parameters:
            self.diagnostics.append(
                Diagnostic(
                    first,
                    "assignment-company",
                    "the model of the bundle has no plain role definition `g`",
                    "leave `--identities` away; its roles would be rows of `g`",
                )
            )
            return bundle
        subjects = {value for name, rows in bundle.tables.items() if name.startswith("p") for value in rows.columns[0]}
        known = subjects | set(table.columns[1])
        merged = table.copy()
        present = set(zip(*table.columns, strict=True))
        for record in content.identities:
            for field in ("grants", "flags"):
                if self._lenient and getattr(record, field):
                    note = f"{quote(field)} are for bundles with YAML definitions"
                    self._refuse(record.span, field, _Refusal(note, "", "", ""))
                elif getattr(record, field):
                    self.diagnostics.append(
                        Diagnostic(
                            record.key_span(field),
                            "field-value",
                            f"{quote(field)} is for bundles with YAML definitions",
                            "give roles only; rules of identities are rows of `p`",
                        )
                    )
            for index, held in enumerate(record.roles):
                span = record.value_span("roles", index)
                if held.role not in known:
                    self._unknown_role(held.role, span, sorted(known))
                    continue
                row: tuple[str, ...] = (record.id, held.role)
                if definition.has_domain:
                    company = held.company or record.company
                    if not company:
                        self._refuse(
                            span,
                            held.role,
                            _Refusal(
                                f"{quote(held.role)} is held in no company",
                                "assignment-company",
                                f"the role {quote(held.role)} is held without a company",
                                "give the role or the identity its `company`",
                            ),
                        )
                        continue
                    row = (*row, company)
                if row not in present:
                    present.add(row)
                    merged.append(row, merged.file_number(span.file), span.line, span.column)
        return msgspec.structs.replace(bundle, tables={**bundle.tables, ROLES: merged})


def merge_identities(
    content: IdentitiesFile, bundles: Sequence[tuple[str, Bundle]], *, lenient: bool = False
) -> tuple[list[Merged], list[Diagnostic]]:
    """The bundles, each with what its side is called, with the identities of a file beside their own; and what is wrong
    with the file.

    What only one side takes (a role that the other does not define) is left out of the other and told in its notes;
    what no side takes is an error, or told in the same way where `lenient`: a directory may hold what is of no use.
    """
    sides = [_Side(content, bundle, lenient) for _, bundle in bundles]
    findings = Findings()
    for side in sides:
        for found in side.diagnostics:
            findings.add(found)
    merged: list[Merged] = []
    for (name, _), side in zip(bundles, sides, strict=True):
        counts: dict[str, int] = {}
        for part, refusal in side.refused.items():
            if not lenient and all(part in other.refused for other in sides):
                findings.error(part[0], refusal.code, refusal.message, refusal.help)
            else:
                counts[refusal.note] = counts.get(refusal.note, 0) + 1
        notes = tuple(
            f"{counted(count, 'exported entry', 'exported entries')} left out of {name}: {note}"
            for note, count in counts.items()
        )
        merged.append(Merged(side.bundle, notes))
    return merged, findings.sorted()


def _assignment(
    span: Span,
    *,
    subject: str,
    roles: Sequence[str] = (),
    company: str = "",
    grants: Sequence[Grant] = (),
    flags: dict[str, bool] | None = None,
) -> Assignment:
    """An assignment that stands at `span`; its parts were checked where they were read."""
    made = Assignment.model_construct(
        subject=subject, roles=list(roles), company=company, grants=list(grants), flags=flags or {}
    )
    made.__dict__["node"] = YamlMap(span.file, span.line, span.column)
    return made
