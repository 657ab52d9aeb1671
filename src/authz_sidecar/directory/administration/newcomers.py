"""Identities that are being made, one or many at once: checked against the policy, the store and each other, then
written together."""

import contextlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select

from authz_sidecar.bundle.wording import counted, listed, quote, suggest
from authz_sidecar.directory.administration.field_checks import (
    DESCRIPTION_BYTES,
    NAME_BYTES,
    check_attributes,
    check_company,
    check_id,
    check_justification,
    check_text,
    check_value,
    need_justification,
)
from authz_sidecar.directory.administration.holdings import (
    Holding,
    check_added,
    check_always_held,
    check_home,
    check_role,
    company_of,
    in_bundle,
    uncovered,
)
from authz_sidecar.directory.administration.look_alikes import is_hidden
from authz_sidecar.directory.administration.operation import invalid
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import (
    MOST_ASSIGNMENTS,
    audit_assignment,
    check_holds_roles,
    default_assignments,
    kind_rules,
    kind_words,
    made_assignment,
)
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import HAND, AssignmentRecord, IdentityRecord
from authz_sidecar.directory.storage.rows import ROWS_AT_ONCE, audited, columns
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, IDENTITIES
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DirectoryRules
from authz_sidecar.values.identity import IdentityKind


def fold_name(name: str) -> str:
    """A name as it is compared where names are unique: without regard to case, to how its letters are composed, to the
    width of spaces, and to characters that nobody sees."""
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if not is_hidden(letter))
    return " ".join(seen.casefold().split())


def check_identity(rules: DirectoryRules, record: IdentityRecord) -> None:
    """What an identity is given, without the store. Raises DirectoryError(INVALID)."""
    check_id(record.id, "identity.id")
    if record.kind not in tuple(IdentityKind):
        raise invalid("identity.kind", "an identity is a user or a service account", "say which")
    check_company(record.company, "identity.company")
    check_name(rules, record.kind, record.name)
    check_description(record.description)
    check_flags(rules, record.flags, ())
    check_attributes(record.attributes, "identity.attributes")


def check_name(rules: DirectoryRules, kind: IdentityKind, name: str) -> None:
    """A name of an identity of that kind."""
    most = kind_rules(rules, kind)
    if most.name_length and len(name) > most.name_length:
        raise invalid(
            "identity.name",
            f"names of {kind_words(kind)} have at most {counted(most.name_length, 'character')}; this one has"
            f" {len(name):,}",
            "shorten it",
            limit_name=f"identities.{kind_words(kind).replace(' ', '_')}.name_length",
            limit=str(most.name_length),
        )
    check_text(name, "identity.name", "the name", NAME_BYTES)
    check_value(name, "identity.name", "the name")
    if most.unique_names and not name:
        raise invalid("identity.name", f"{kind_words(kind)} have names here", "give a name that no other has")


def check_description(description: str) -> None:
    """A description of an identity."""
    check_text(description, "identity.description", "the description", DESCRIPTION_BYTES)


def check_flags(rules: DirectoryRules, flags: Mapping[str, Any], known: Collection[str]) -> None:
    """Flags that the policy defines; `known` ones, which are set already, may be left from an older policy."""
    for name, on in flags.items():
        field = f"identity.flags.{name}"
        if not isinstance(on, bool):
            raise invalid(field, f"the flag {quote(name)} is on or off", "give `true` or `false`")
        if name not in rules.flags and name not in known:
            names = sorted(rules.flags)
            otherwise = f"the policy defines {listed(names, 'and')}" if names else "the policy defines no flags"
            raise invalid(field, f"unknown flag {quote(name)}", suggest(name, names, otherwise))


class Newcomers:
    """Identities that one change makes: `expect` them all, `add` each, `write` them at the end."""

    def __init__(self, change: Change, view: PolicyView) -> None:
        self._change = change
        self._view = view
        self._identities: list[IdentityRecord] = []
        self._assignments: list[AssignmentRecord] = []
        self._justifications: list[str] = []
        self.existing: set[str] = set()
        self._names: dict[tuple[str, IdentityKind, str], str] = {}
        self._counts: dict[tuple[str, IdentityKind], int] = {}

    def expect(self, records: Sequence[IdentityRecord]) -> None:
        """Look up at once what is to be known of the store: ids and names that are taken."""
        for some in _portions([record.id for record in records]):
            query = select(IDENTITIES.c.id).where(IDENTITIES.c.id.in_(some))
            self.existing.update(self._change.connection.execute(query).scalars())
        self.expect_names([record for record in records if kind_rules(self._view.rules, record.kind).unique_names])

    def expect_names(self, records: Sequence[IdentityRecord]) -> None:
        """Look up which of the names are taken."""
        places: dict[tuple[str, IdentityKind], list[str]] = {}
        for record in records:
            places.setdefault((record.company, record.kind), []).append(fold_name(record.name))
        for (company, kind), names in places.items():
            for some in _portions(names):
                query = select(IDENTITIES.c.folded_name, IDENTITIES.c.id).where(
                    IDENTITIES.c.company == company,
                    IDENTITIES.c.kind == int(kind),
                    IDENTITIES.c.folded_name.in_(some),
                )
                for name, id in self._change.connection.execute(query):
                    self._names[company, kind, name] = id

    def add(
        self,
        record: IdentityRecord,
        roles: Sequence[tuple[str, str]],
        justification: str = "",
        by_groups: Collection[tuple[str, str, str]] = (),
    ) -> IdentityRecord:
        """Make an identity that holds `roles`, as (role, company), and `by_groups`, as (role, company, source), but for
        those of them that may not be held beside others. Raises DirectoryError."""
        rules = self._view.rules
        check_justification(justification)
        if record.id in self.existing:
            raise DirectoryError(
                Fault.ALREADY_EXISTS,
                f"there is an identity {quote(record.id)} already",
                "choose another id, or change the one that is there",
                violations=[Violation("identity.id", "is taken")],
            )
        self._check_count(record)
        self.check_name_free(record)
        change = self._change
        made = made_identity(record, change)
        holdings: list[Holding] = in_bundle(self._view.held(record.id))
        for holding in holdings:
            check_home(rules, record.id, record.company, holding, "identity.company")
        given = []
        if roles:
            check_holds_roles(rules, record)
            if len(roles) > MOST_ASSIGNMENTS:
                raise invalid("roles", f"at most {MOST_ASSIGNMENTS:,} roles are taken", "give fewer")
        for index, (role, company) in enumerate(roles):
            field = f"roles[{index}]"
            check_role(rules, role, company, field, field)
            facts = rules.roles.get(role)
            if facts is not None and facts.sensitive:
                need_justification(justification, f"the role {quote(role)}", "justification")
            holding = Holding(role, company, HAND)
            check_home(rules, record.id, record.company, holding, field)
            if any((held.role, held.company, held.source) == (role, company, HAND) for held in holdings):
                raise invalid(field, f"the role {quote(role)} is given twice", "name it once")
            check_added(rules, record.id, holdings, holding)
            holdings.append(holding)
            given.append(
                AssignmentRecord(
                    identity=record.id, role=role, company=company, source=HAND, justification=justification
                )
            )
        for role, company, source in sorted(by_groups):
            holding = Holding(role, company, source)
            with contextlib.suppress(DirectoryError):
                check_home(rules, record.id, record.company, holding, "identity.company")
                check_added(rules, record.id, holdings, holding)
                holdings.append(holding)
                given.append(AssignmentRecord(identity=record.id, role=role, company=company, source=source))
        gaps = uncovered(holdings, change.now)
        defaults = default_assignments(self._view, made, gaps, change.now)
        if rules.role_required and not defaults and kind_rules(rules, record.kind).roles:
            check_always_held(record.id, (), gaps)
        self._identities.append(made)
        self._justifications.append(justification)
        self._assignments += [made_assignment(assignment, change) for assignment in (*given, *defaults)]
        self.existing.add(record.id)
        self._names[record.company, record.kind, fold_name(record.name)] = record.id
        if (record.company, record.kind) in self._counts:
            self._counts[record.company, record.kind] += 1
        return made

    def _check_count(self, record: IdentityRecord) -> None:
        """The number of identities of one kind in a company, or on the platform."""
        most = kind_rules(self._view.rules, record.kind).most
        if not most:
            return
        place = (record.company, record.kind)
        if place not in self._counts:
            query = (
                select(func.count())
                .select_from(IDENTITIES)
                .where(IDENTITIES.c.company == record.company, IDENTITIES.c.kind == int(record.kind))
            )
            self._counts[place] = self._change.connection.execute(query).scalar_one()
        if self._counts[place] >= most:
            where = "in a company" if record.company else "on the platform"
            has = f"{quote(record.company)} has" if record.company else "it has"
            nouns = kind_words(record.kind)
            raise DirectoryError(
                Fault.LIMIT,
                f"at most {counted(most, nouns.removesuffix('s'))} {where}; {has} {self._counts[place]:,}",
                f"delete one, or raise `identities.{nouns.replace(' ', '_')}.max` in the manifest",
                violations=[Violation("identity.company", "has as many as it may have")],
                details={
                    "limit_name": f"identities.{nouns.replace(' ', '_')}.max",
                    "limit": str(most),
                    "count": str(self._counts[place]),
                },
            )

    def check_name_free(self, record: IdentityRecord) -> None:
        """Refuse a name that another has, where names are unique. `expect_names` was told of it."""
        if not kind_rules(self._view.rules, record.kind).unique_names:
            return
        holder = self._names.get((record.company, record.kind, fold_name(record.name)))
        if holder is not None and holder != record.id:
            where = f"in {quote(record.company)}" if record.company else "on the platform"
            raise DirectoryError(
                Fault.ALREADY_EXISTS,
                f"names of {kind_words(record.kind)} are unique {where}; {quote(holder)} is called"
                f" {quote(record.name)} already",
                "choose another name; case makes no difference",
                violations=[Violation("identity.name", "is taken")],
            )

    def write(self) -> None:
        """Write them, with what they hold and the audit."""
        change = self._change
        rows = [{**columns(record), "folded_name": fold_name(record.name)} for record in self._identities]
        for some in _portions(rows):
            change.connection.execute(insert(IDENTITIES), some)
        for some in _portions([columns(assignment) for assignment in self._assignments]):
            change.connection.execute(insert(ASSIGNMENTS), some)
        for record, justification in zip(self._identities, self._justifications, strict=True):
            change.touch("identity", record.id)
            change.audit(
                "identity.create",
                subject=record.id,
                company=record.company,
                object_type="sidecar.identity",
                object_id=record.id,
                after=audited(record),
                justification=justification,
                policy_version=self._view.policy_version,
            )
        for assignment in self._assignments:
            audit_assignment(change, self._view, "assignment.create", None, assignment)


def made_identity(record: IdentityRecord, change: Change) -> IdentityRecord:
    """`record` as the change keeps it."""
    fields = {name: getattr(record, name) for name in IdentityRecord.__struct_fields__}
    return IdentityRecord(
        **{
            **fields,
            "kind": IdentityKind(record.kind),
            "created_by": change.actor.id,
            "created_at": change.now,
            "updated_at": change.now,
            "revision": change.revision,
        }
    )


def placed(rules: DirectoryRules, home: str, roles: Iterable[str]) -> list[tuple[str, str]]:
    """Roles by name as (role, company): each where it may be held by somebody of the company `home`."""
    return [(role, company_of(rules, role, home)) for role in roles]


def _portions(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[begin : begin + ROWS_AT_ONCE]
