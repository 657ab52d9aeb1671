"""Import of many identities: in transactions of bounded size, one after the other, with a report for each row."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Literal, TypeAlias

import msgspec

from authz_sidecar.bundle.wording import listed, quote
from authz_sidecar.directory.administration.field_checks import check_justification, need_justification
from authz_sidecar.directory.administration.holdings import check_role, company_of
from authz_sidecar.directory.administration.identities import change_identity
from authz_sidecar.directory.administration.newcomers import Newcomers, check_identity
from authz_sidecar.directory.administration.operation import Operations, invalid
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import HeldRoles, check_holds_roles
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import HAND, Actor, AssignmentRecord, IdentityRecord
from authz_sidecar.directory.storage.rows import find_identity

Existing: TypeAlias = Literal["refuse", "skip", "update"]

ROWS_AT_ONCE = 500
FIELDS = ("active", "name", "description", "flags", "attributes")
KEPT_FAILURES = 1_000


class ImportRow(msgspec.Struct, frozen=True):
    """One identity to import: `roles` are (role, company), company None for the place that the role says. `row` is its
    place in its file, for messages. `fields` are those of FIELDS that it says something of: others are left as they are
    where the identity is there already."""

    record: IdentityRecord
    roles: tuple[tuple[str, str | None], ...] = ()
    row: int = 0
    fields: tuple[str, ...] = FIELDS


class ImportFailure(msgspec.Struct, frozen=True):
    """A row that was left out, and why."""

    row: int
    id: str
    error: DirectoryError


class Imported(msgspec.Struct, frozen=True):
    """What came of an import so far: counts of identities, the revision of the last transaction, and the first thousand
    `failures` of `failed`. `rows` are those that were looked at."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: tuple[ImportFailure, ...] = ()
    revision: int = 0


class ImportOperations(Operations):
    """Imports."""

    def import_identities(
        self,
        actor: Actor,
        rows: Iterable[ImportRow],
        *,
        existing: Existing = "refuse",
        justification: str = "",
        dry_run: bool = False,
        progress: Callable[[Imported], None] | None = None,
    ) -> Imported:
        """Make the identities of `rows`, 500 in a transaction; a row that is refused is left out and reported.

        An identity that is there already is refused, left as it is, or with `update` given what the row says of its
        name, description, switch, flags and attributes, and those of its roles that it does not hold: none is taken
        away. `progress` is told after each transaction. A dry run undoes each transaction, so that it does not see what
        only several of them together would reach, such as a limit.

        Raises DirectoryError(UNAVAILABLE): what `progress` was told is in the store, and importing again with `skip` or
        `update` goes on.
        """
        view = self.policy()
        check_justification(justification)
        imported = Imported(revision=self.store.state().revision)
        seen: set[str] = set()
        for some in _portions(rows):
            work = partial(
                self._import, view=view, rows=some, existing=existing, justification=justification, seen=seen
            )
            results, revision = self.perform(actor, work, dry_run=dry_run)
            failures = [result for result in results if isinstance(result, ImportFailure)]
            imported = Imported(
                imported.rows + len(results),
                imported.created + results.count("created"),
                imported.updated + results.count("updated"),
                imported.unchanged + results.count("unchanged"),
                imported.failed + len(failures),
                (*imported.failures, *failures)[:KEPT_FAILURES],
                revision,
            )
            if progress is not None:
                progress(imported)
        return imported

    @staticmethod
    def _import(
        change: Change,
        view: PolicyView,
        rows: list[ImportRow],
        existing: Existing,
        justification: str,
        seen: set[str],
    ) -> list[str | ImportFailure]:
        newcomers = Newcomers(change, view)
        results: list[str | ImportFailure] = []
        checked: list[tuple[int, ImportRow]] = []
        for row in rows:
            try:
                check_identity(view.rules, row.record)
                if row.record.id in seen:
                    raise invalid(
                        "identity.id", f"the identity {quote(row.record.id)} is there twice", "leave one of them out"
                    )
            except DirectoryError as error:
                results.append(ImportFailure(row.row, row.record.id, error))
                continue
            seen.add(row.record.id)
            checked.append((len(results), row))
            results.append("unchanged")
        newcomers.expect([row.record for _, row in checked])
        there = [(index, row) for index, row in checked if row.record.id in newcomers.existing]
        for index, row in checked:
            if row.record.id in newcomers.existing and existing != "refuse":
                continue
            try:
                newcomers.add(row.record, _roles(view, row), justification)
                results[index] = "created"
            except DirectoryError as error:
                results[index] = ImportFailure(row.row, row.record.id, error)
        newcomers.write()
        if existing == "update":
            for index, row in there:
                try:
                    with change.part():
                        results[index] = _update(change, view, row, justification)
                except DirectoryError as error:
                    if error.fault in (Fault.UNAVAILABLE, Fault.CORRUPT):
                        raise
                    results[index] = ImportFailure(row.row, row.record.id, error)
        return results


def _roles(view: PolicyView, row: ImportRow) -> list[tuple[str, str]]:
    home = row.record.company
    return [(role, company_of(view.rules, role, home) if company is None else company) for role, company in row.roles]


def _update(change: Change, view: PolicyView, row: ImportRow, justification: str) -> str:
    record = row.record
    before = find_identity(change.connection, record.id)
    fixed = [name for name in ("kind", "company") if getattr(before, name) != getattr(record, name)]
    if fixed:
        raise DirectoryError(
            Fault.CONFLICT,
            f"{listed(fixed, 'and')} of the identity {quote(record.id)} cannot be changed",
            "import it under another id",
        )
    fields = {name: getattr(record, name) for name in row.fields}
    after = change_identity(change, view, before, fields, justification)
    held = HeldRoles(change, view, before)
    known = {(assignment.role, assignment.company) for assignment in held.given} | set(view.held(record.id))
    missing = [pair for pair in dict.fromkeys(_roles(view, row)) if pair not in known]
    if missing:
        check_holds_roles(view.rules, before)
    for role, company in missing:
        check_role(view.rules, role, company, "roles", "roles")
        facts = view.rules.roles.get(role)
        if facts is not None and facts.sensitive:
            need_justification(justification, f"the role {quote(role)}", "justification")
        held.add(
            AssignmentRecord(identity=record.id, role=role, company=company, source=HAND, justification=justification)
        )
    if missing:
        held.settle()
    return "updated" if missing or after is not before else "unchanged"


def _portions(rows: Iterable[ImportRow]) -> Iterator[list[ImportRow]]:
    waiting = iter(rows)
    while some := list(islice(waiting, ROWS_AT_ONCE)):
        yield some
