"""`authz-sidecar directory`: the store of a directory itself, by whoever runs it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from authz_sidecar.cli.administration import directory_problems, operator_name
from authz_sidecar.cli.change_options import company_option, justification_option
from authz_sidecar.cli.columns import show_fields
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.expiry import expires_option
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.secret_output import secret_options, show_secret
from authz_sidecar.cli.terminal import CommandError, Terminal, visible
from authz_sidecar.values.instant import time_text

if TYPE_CHECKING:
    from authz_sidecar.directory.backup.backup import BackupReport, Form

EXAMPLES = """\b
Examples:
  authz-sidecar directory bootstrap root --role ADMIN --directory identities.db --output root-key.csv
  authz-sidecar directory status --directory identities.db
  authz-sidecar directory backup --directory identities.db --output identities-2027-01-31.backup
  authz-sidecar directory restore identities-2027-01-31.backup --directory restored.db
"""


@click.group(name="directory", cls=CommandGroup, epilog=EXAMPLES)
def command() -> None:
    """The store of a directory: set it up, bring it forward, back it up and restore it."""


def _required(terminal: Terminal, directory: str | None) -> str:
    if directory is None:
        raise CommandError(
            terminal, ("no directory is named", "give `--directory` with the store's file, or the URL of its database")
        )
    return directory


@command.command(name="bootstrap")
@click.argument("id")
@click.option("--role", required=True, metavar="ROLE", help="The role that the first administrator holds.")
@company_option("The company that it belongs to; by default none.")
@click.option("--name", default="", metavar="TEXT", help="What people call it.")
@expires_option("When its API key stops; by default never, where the bundle allows it.")
@secret_options
@justification_option
@directory_option()
@policies_option
@format_option("text", "json")
@color_option
def bootstrap_directory(
    id: str,
    role: str,
    company: str,
    name: str,
    expires: float | None,
    output: Path | None,
    shape: str | None,
    justification: str,
    directory: str | None,
    policies: Path,
    form: str,
    color: str,
) -> None:
    """Make the first administrator, the user ID, with an API key. It can be done once; a store that is not there yet is
    made."""
    from authz_sidecar.cli.policy_view import policy_view, require_policies
    from authz_sidecar.decide.decider import Decider
    from authz_sidecar.directory.credentials.bootstrap import bootstrap
    from authz_sidecar.directory.storage.errors import DirectoryError
    from authz_sidecar.directory.storage.records import Actor, IdentityRecord
    from authz_sidecar.values.identity import IdentityKind

    terminal = Terminal(color)
    url = _required(terminal, directory)
    bundle = require_policies(terminal, policies)
    with show_secret(terminal, form, output, shape) as show, open_store(terminal, url, create=True) as store:
        try:
            made = bootstrap(
                store,
                Actor(operator_name()),
                IdentityRecord(id=id, kind=IdentityKind.USER, company=company, name=name),
                role,
                policy_view(bundle),
                decider=Decider(bundle.snapshot),
                expires_at=expires,
                justification=justification,
            )
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
        show(made.key)


@command.command(name="status")
@directory_option()
@format_option("text", "json")
@color_option
def status(directory: str | None, form: str, color: str) -> None:
    """Say where the store stands: its revision, what it holds, and its audit."""
    from sqlalchemy import Table, func, select

    from authz_sidecar.directory.storage import schema
    from authz_sidecar.directory.storage.change import read_state

    terminal = Terminal(color)
    with open_store(terminal, _required(terminal, directory), migrate=False) as store, store.read() as connection:
        state = read_state(connection, store.shown)

        def number(table: Table) -> int:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

        facts = {
            "store": store.shown,
            "revision": state.revision,
            "audit_records": state.audit_sequence,
            "bootstrapped": state.bootstrapped_at is not None,
            "identities": number(schema.IDENTITIES),
            "assignments": number(schema.ASSIGNMENTS),
            "grants": number(schema.GRANTS),
            "shares": number(schema.SHARES),
            "keys": number(schema.KEYS),
            "tokens": number(schema.TOKENS),
        }
    if form == "json":
        terminal.result((json.dumps(facts),))
        return
    show_fields(
        terminal,
        {name: ("yes" if value else "no") if isinstance(value, bool) else str(value) for name, value in facts.items()},
    )


@command.command(name="migrate")
@directory_option()
@format_option("text", "json")
@color_option
def migrate(directory: str | None, form: str, color: str) -> None:
    """Make a store's tables, or bring those of an earlier release forward. `serve` does so, too, when it starts."""
    terminal = Terminal(color)
    with open_store(terminal, _required(terminal, directory), create=True) as store:
        if form == "json":
            terminal.result((json.dumps({"store": store.shown}),))
        else:
            terminal.result((f"{visible(store.shown)} has the tables of this release",))


@command.command(name="backup")
@directory_option()
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), required=True, help="A new file.")
@click.option(
    "--as",
    "shape",
    type=click.Choice(("sqlite", "lines")),
    help="A file of SQLite, which is the default for a store in one, or lines of JSON.",
)
@format_option("text", "json")
@color_option
def backup(directory: str | None, output: Path, shape: "Form | None", form: str, color: str) -> None:
    """Copy the store as it is now into FILE, while sidecars serve and change it.

    The file holds the hashes of keys and passwords: keep it as you keep the store.
    """
    from authz_sidecar.directory.backup.backup import backup as copy_store
    from authz_sidecar.directory.storage.errors import DirectoryError

    terminal = Terminal(color)
    with open_store(terminal, _required(terminal, directory)) as store, Progress(terminal) as progress:
        progress.step("writing the backup")
        try:
            report = copy_store(store, output, form=shape)
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
    _show_backup(terminal, form, output, report)


@command.command(name="restore")
@click.argument("file", type=click.Path(path_type=Path))
@directory_option()
@click.option("--replace", is_flag=True, help="Also where the store holds something, which is lost.")
@justification_option
@format_option("text", "json")
@color_option
def restore(file: Path, directory: str | None, replace: bool, justification: str, form: str, color: str) -> None:
    """Fill a store from a backup; SQLite and PostgreSQL take each other's. Sidecars that follow it read it anew.

    Credentials that were revoked after the backup was made are good again: look through the audit, and revoke them.
    """
    from authz_sidecar.directory.backup.backup import restore as fill_store
    from authz_sidecar.directory.storage.errors import DirectoryError
    from authz_sidecar.directory.storage.records import Actor

    terminal = Terminal(color)
    url = _required(terminal, directory)
    with Progress(terminal) as progress:
        progress.step("restoring the backup")
        try:
            done = fill_store(file, url, actor=Actor(operator_name()), replace=replace, justification=justification)
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
    if form == "json":
        restored = {"file": str(file), "backup_revision": done.backup.revision, "revision": done.revision}
        terminal.result((json.dumps(restored),))
    else:
        told = f"restored revision {done.backup.revision} of {visible(str(file))} as revision {done.revision}"
        terminal.result((told,))
    terminal.note(("where the audit is signed for, sign anew: `authz-sidecar audit checkpoint --after-restore`",))


@command.command(name="verify-backup")
@click.argument("file", type=click.Path(path_type=Path))
@format_option("text", "json")
@color_option
def verify_backup(file: Path, form: str, color: str) -> None:
    """Read a backup through, and say what it holds, or what is wrong with it."""
    from authz_sidecar.directory.backup.backup import verify
    from authz_sidecar.directory.storage.errors import DirectoryError

    terminal = Terminal(color)
    with Progress(terminal) as progress:
        progress.step("reading the backup")
        try:
            report = verify(file)
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
    _show_backup(terminal, form, file, report)


def _show_backup(terminal: Terminal, form: str, file: Path, report: "BackupReport") -> None:
    if form == "json":
        import msgspec

        data = msgspec.to_builtins(report) | {"made_at": time_text(report.made_at)}
        terminal.result((json.dumps({"file": str(file)} | data),))
        return
    rows = sum(report.rows.values())
    terminal.result(
        (f"{visible(str(file))}: revision {report.revision}, {rows:,} rows, audit to {report.audit_sequence:,}",),
        (f"sha256 {report.digest}",),
    )
