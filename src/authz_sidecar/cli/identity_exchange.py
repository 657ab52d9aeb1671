"""Identities in files: CSV for people and spreadsheets, JSON lines for programs and for `--identities` of `diff`."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from authz_sidecar.cli.administration import Administration, AdministrationOptions, administration
from authz_sidecar.cli.listing import all_records
from authz_sidecar.cli.option import EXPORT_SUFFIXES, export_format
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Terminal, Written, end, visible
from authz_sidecar.directory.administration.identity_import import Imported, ImportFailure, ImportRow
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import HAND, AssignmentRecord, IdentityRecord
from authz_sidecar.transports.grpc.administration.client import AdministrationClient
from authz_sidecar.transports.grpc.client import CallFailedError
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.spreadsheet import escape_cell, unescape_cell

FIELDS = ("id", "kind", "company", "active", "name", "description", "roles", "flags")
MAX_LINE = 1 << 20
KINDS = {kind.label: kind for kind in IdentityKind}
# What a file may change of an identity that is there; what it does not say of them stays.
CHANGED = ("active", "name", "description", "flags")
YES = {"yes": True, "true": True, "1": True, "": None, "no": False, "false": False, "0": False}
REFUSED = 1
# An export has names of people.
OWNER_ONLY = 0o600
# What ends an import through a server, since every further call would fail as well.
ENDING = ("UNAVAILABLE", "UNAUTHENTICATED", "DEADLINE_EXCEEDED")
SHOWN = 20
EXISTS = ("it exists", "give `--update` to change it to what the file says")


class RowError(Exception):
    """A line that is no identity."""


def import_file(
    terminal: Terminal, path: Path, updating: bool, justification: str, dry_run: bool, options: AdministrationOptions
) -> None:
    """Make the identities of a file; ends with 1 where some were refused."""
    # The first of them, each with its line.
    refused: list[tuple[int, str, str]] = []
    unread = 0

    def good(rows: Iterator[tuple[ImportRow | None, int, str]]) -> Iterator[ImportRow]:
        nonlocal unread
        for row, line, problem in rows:
            if row is not None:
                yield row
                continue
            unread += 1
            if len(refused) < SHOWN:
                refused.append((line, "", problem))

    with administration(terminal, options) as directory, Progress(terminal) as progress:
        progress.step("importing identities")
        rows = good(read_rows(terminal, path))
        if isinstance(directory, AdministrationClient):
            done = _import_by_calls(directory, rows, updating, justification, dry_run, progress)
        else:
            done = directory.import_identities(
                rows,
                existing="update" if updating else "refuse",
                justification=justification,
                dry_run=dry_run,
                progress=lambda done: progress.step(f"importing identities: {done.rows:,}"),
            )
    refused += [(failure.row, failure.id, _told(failure.error, updating)) for failure in done.failures]
    refused = sorted(refused)[:SHOWN]
    failed = unread + done.failed
    if options["form"] == "json":
        shown = [{"line": line, "id": id, "why": problem} for line, id, problem in refused]
        counts = {"made": done.created, "changed": done.updated, "unchanged": done.unchanged, "refused": failed}
        terminal.result((json.dumps({**counts, "dry_run": dry_run, "refusals": shown}),))
    else:
        for line, id, problem in refused:
            terminal.note(
                (visible(f"refused: {path}:{line}: {id}: {problem}" if id else f"refused: {path}:{line}: {problem}"),)
            )
        if failed > len(refused):
            terminal.note((f"and {failed - len(refused):,} more",))
        would = "would be " if dry_run else ""
        made, changed = f"{would}made {done.created:,}", f"{would}changed {done.updated:,}"
        terminal.result((f"{made}, {changed}, unchanged {done.unchanged:,}, refused {failed:,}",))
    if failed:
        end(REFUSED)


def _told(error: DirectoryError, updating: bool) -> str:
    taken = error.fault is Fault.ALREADY_EXISTS and any(found.field == "identity.id" for found in error.violations)
    if taken and not updating:
        return f"{EXISTS[0]}; {EXISTS[1]}"
    return f"{error.message}; {error.help}" if error.help else error.message


def _import_by_calls(
    directory: AdministrationClient,
    rows: Iterator[ImportRow],
    updating: bool,
    justification: str,
    dry_run: bool,
    progress: Progress,
) -> Imported:
    """The same through a server, which has no call for many: one after the other."""
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    failures: list[ImportFailure] = []
    failed = looked_at = 0
    for row in rows:
        looked_at += 1
        progress.advance()
        try:
            counts[_import_row(directory, row, updating, justification, dry_run)] += 1
        except DirectoryError as error:
            refusal = error
        except CallFailedError as error:
            if error.code.name in ENDING:
                raise
            refusal = DirectoryError(Fault.INVALID, error.message)
        else:
            continue
        failed += 1
        if len(failures) < SHOWN:
            failures.append(ImportFailure(row.row, row.record.id, refusal))
    return Imported(looked_at, counts["created"], counts["updated"], counts["unchanged"], failed, tuple(failures))


def _import_row(
    directory: AdministrationClient, row: ImportRow, updating: bool, justification: str, dry_run: bool
) -> str:
    known = _known(directory, row.record.id)
    if known is None:
        home = [role for role, company in row.roles if company is None or company == row.record.company]
        directory.create_identity(row.record, home, justification=justification, dry_run=dry_run)
        if not dry_run:
            for role, company in row.roles:
                if company is not None and company != row.record.company:
                    _assign(directory, row, role, company, justification, dry_run)
        return "created"
    if not updating:
        raise DirectoryError(Fault.ALREADY_EXISTS, *EXISTS)
    if (known.kind, known.company) != (row.record.kind, row.record.company):
        raise DirectoryError(Fault.CONFLICT, "it exists with another kind or company", "import it under another id")
    held = {(found.role, found.company) for found in all_records(directory.list_assignments, identity=row.record.id)}
    changes = {
        field: getattr(row.record, field) for field in row.fields if getattr(row.record, field) != getattr(known, field)
    }
    roles = {role for role, _ in held}
    missing = [
        (role, company)
        for role, company in row.roles
        if ((role, company) not in held if company is not None else role not in roles)
    ]
    if changes:
        directory.update_identity(row.record.id, changes, justification=justification, dry_run=dry_run)
    for role, company in missing:
        _assign(directory, row, role, company, justification, dry_run)
    return "updated" if changes or missing else "unchanged"


def _assign(
    directory: AdministrationClient, row: ImportRow, role: str, company: str | None, justification: str, dry_run: bool
) -> None:
    """Assign a role; with no company where it belongs, which only the server knows: it takes just one of both."""
    places = [company] if company is not None else list(dict.fromkeys((row.record.company, "")))
    for place in places:
        record = AssignmentRecord(identity=row.record.id, role=role, company=place, justification=justification)
        try:
            directory.create_assignment(record, dry_run=dry_run)
        except CallFailedError as error:
            if error.code.name != "INVALID_ARGUMENT" or place == places[-1]:
                raise
        else:
            return


def _known(directory: AdministrationClient, id: str) -> IdentityRecord | None:
    try:
        return directory.get_identity(id)
    except CallFailedError as error:
        if error.code.name == "NOT_FOUND":
            return None
        raise


# --- reading


def read_rows(terminal: Terminal, path: Path) -> Iterator[tuple[ImportRow | None, int, str]]:
    """The identities of a file, line by line, or what is wrong with a line. Raises CommandError for what is no such
    file at all."""
    try:
        # Spreadsheets begin a file with a byte-order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rows(terminal, file, path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CommandError(
            terminal, (f"`{path}` cannot be read: {reason}", "name a file that `identities export` could have written")
        ) from None


def _rows(terminal: Terminal, file: IO[str], path: Path) -> Iterator[tuple[ImportRow | None, int, str]]:
    return _json_rows(file) if path.suffix.lower() in EXPORT_SUFFIXES["jsonl"] else _csv_rows(terminal, file, path)


def _json_rows(file: IO[str]) -> Iterator[tuple[ImportRow | None, int, str]]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise RowError("the line is no JSON mapping")
            yield _row(number, data), number, ""
        except (RowError, ValueError, RecursionError) as error:
            told = str(error) if isinstance(error, RowError) else "the line is not JSON"
            yield None, number, told


def _csv_rows(terminal: Terminal, file: IO[str], path: Path) -> Iterator[tuple[ImportRow | None, int, str]]:
    reader = csv.DictReader(file, strict=True)
    header = reader.fieldnames or ()
    unknown = [f"the column `{name}` is not known" for name in header if name not in FIELDS]
    twice = [f"the column `{name}` is there twice" for name in header if header.count(name) > 1]
    what = next(iter(unknown + twice if "id" in header else ["there is no column `id`"]), "")
    if what:
        raise CommandError(terminal, (f"`{path}`: {what}", f"the first line names the columns: {', '.join(FIELDS)}"))
    while True:
        try:
            cells = next(reader)
            if None in cells:
                raise RowError("the line has more cells than there are columns")
            plain = {name: unescape_cell(value or "") for name, value in cells.items() if value is not None}
            yield _row(reader.line_num, plain | _lists(plain)), reader.line_num, ""
        except StopIteration:
            return
        except (RowError, csv.Error) as error:
            yield None, reader.line_num, str(error)


def _lists(cells: Mapping[str, str]) -> dict[str, Any]:
    """The cells that hold more than one value: `ADMIN; CLIENT@acme`, and `flag=on; other=off`."""
    lists: dict[str, Any] = {}
    if "roles" in cells:
        roles = [part.strip() for part in cells["roles"].split(";") if part.strip()]
        lists["roles"] = [
            {"role": role, "company": company} for role, _, company in [part.partition("@") for part in roles]
        ]
    if "flags" in cells:
        parts = [part.strip().partition("=") for part in cells["flags"].split(";") if part.strip()]
        if any(value not in ("on", "off") for _, _, value in parts):
            raise RowError("flags are written `NAME=on; NAME=off`")
        lists["flags"] = {name: value == "on" for name, _, value in parts}
    if "active" in cells:
        if cells["active"].lower() not in YES:
            raise RowError("`active` is `yes` or `no`")
        lists["active"] = YES[cells["active"].lower()]
    return lists


def _row(line: int, data: Mapping[str, Any]) -> ImportRow:
    unknown = sorted(set(data) - set(FIELDS) - {"grants"})
    if unknown:
        raise RowError(f"the field `{unknown[0]}` is not known")
    if data.get("grants"):
        raise RowError("grants of an identity are not imported; make them with `authz-sidecar grants create`")
    kind = KINDS.get(str(data.get("kind") or "user").replace("-", "_"))
    if kind is None:
        raise RowError("`kind` is `user` or `service_account`")
    texts: dict[str, Any] = {name: data.get(name) or "" for name in ("id", "company", "name", "description")}
    flags, active, roles = data.get("flags") or {}, data.get("active"), data.get("roles") or []
    # Who is there already, and switched off, is not switched on by a file that does not say so.
    active = True if active is None else active
    if not all(isinstance(value, str) for value in texts.values()) or not texts["id"]:
        raise RowError("`id`, `company`, `name` and `description` are texts, and `id` is not empty")
    if not isinstance(active, bool) or not isinstance(flags, dict) or not isinstance(roles, list):
        raise RowError("`active` is true or false, `flags` a mapping and `roles` a list")
    if not all(isinstance(on, bool) for on in flags.values()):
        raise RowError("`flags` maps names to true or false")
    record = IdentityRecord(kind=kind, active=active, flags=flags, **texts)
    said = tuple(name for name in CHANGED if data.get(name) is not None)
    return ImportRow(record, tuple([_role(item) for item in roles]), line, said)


def _role(item: Any) -> tuple[str, str | None]:
    if isinstance(item, str):
        return item, None
    if isinstance(item, dict) and isinstance(item.get("role"), str) and isinstance(item.get("company") or "", str):
        return item["role"], item.get("company") or None
    raise RowError("a role is its name, or a mapping with `role` and `company`")


# --- writing


def export_file(terminal: Terminal, output: Path | None, company: str | None, options: AdministrationOptions) -> None:
    """Write all identities."""
    shape = export_format(options["form"], output)
    with administration(terminal, options) as directory, Progress(terminal) as progress:
        progress.step("exporting identities")
        roles: dict[str, list[AssignmentRecord]] = {}
        left_out = 0
        for found in all_records(directory.list_assignments):
            # Imported again, it would be held by hand and for good.
            if found.source != HAND or found.begins_at is not None or found.expires_at is not None:
                left_out += 1
            else:
                roles.setdefault(found.identity, []).append(found)
        if left_out:
            why = "which are held for a time, from groups or by default"
            terminal.note((f"roles left out: {left_out:,}, {why}",))
        if output is None:
            _write(terminal.lines, shape, _identities(directory, company, progress), roles)
            return
        written = io.StringIO(newline="")
        _write(written, shape, _identities(directory, company, progress), roles)
    from authz_sidecar.sources.writing import replace_file

    try:
        replace_file(output, written.getvalue().encode("utf-8"), OWNER_ONLY)
    except OSError as error:
        problem = f"`{output}` cannot be written: {error.strerror}"
        raise CommandError(terminal, (problem, "name a file in a directory of yours")) from None


def _identities(directory: Administration, company: str | None, progress: Progress) -> Iterator[IdentityRecord]:
    for record in all_records(directory.list_identities, company=company):
        progress.advance()
        yield record


def _write(
    file: Written, shape: str, records: Iterator[IdentityRecord], roles: Mapping[str, list[AssignmentRecord]]
) -> None:
    if shape == "jsonl":
        for record in records:
            file.write(json.dumps(_json(record, roles.get(record.id, []))) + "\n")
        return
    writer = csv.writer(file)
    writer.writerow(FIELDS)
    for record in records:
        held = "; ".join(
            f"{found.role}@{found.company}" if found.company else found.role for found in roles.get(record.id, [])
        )
        flags = "; ".join(f"{name}={'on' if on else 'off'}" for name, on in sorted(record.flags.items()))
        active = "yes" if record.active else "no"
        cells = (
            record.id,
            record.kind.label,
            record.company,
            active,
            record.name,
            record.description,
            held,
            flags,
        )
        writer.writerow([escape_cell(cell) for cell in cells])


def _json(record: IdentityRecord, held: list[AssignmentRecord]) -> dict[str, Any]:
    data: dict[str, Any] = {"id": record.id, "kind": record.kind.label}
    for field in ("company", "name", "description"):
        if getattr(record, field):
            data[field] = getattr(record, field)
    if not record.active:
        data["active"] = False
    if record.flags:
        data["flags"] = dict(record.flags)
    if held:
        data["roles"] = [
            {"role": found.role, "company": found.company} if found.company else found.role for found in held
        ]
    return data
