"""`authz-sidecar audit verify`, `checkpoint`, `prune` and `key`: what keeps an audit provable, at the store itself."""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from authz_sidecar.cli.administration import directory_problems, operator_name
from authz_sidecar.cli.command_group import CommandGroup
from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.expiry import PeriodType
from authz_sidecar.cli.option import color_option, format_option
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, CommandError, Terminal, end, visible
from authz_sidecar.values.instant import time_text

if TYPE_CHECKING:
    from authz_sidecar.audit.retention import Plan
    from authz_sidecar.audit.verification import Report
    from authz_sidecar.directory.storage.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])
BROKEN = 1

_FILE = click.Path(path_type=Path)
_CHECKPOINTS_HELP = "File of checkpoints, kept outside the store: JSON lines."


def checkpoints_option(command: Command) -> Command:
    """`--audit-checkpoints FILE`, where it is needed."""
    return click.option(
        "--audit-checkpoints", "checkpoints", metavar="FILE", type=_FILE, required=True, help=_CHECKPOINTS_HELP
    )(command)


def key_option(command: Command) -> Command:
    """`--audit-key FILE`."""
    return click.option(
        "--audit-key",
        "key_file",
        metavar="FILE",
        type=_FILE,
        required=True,
        help="Private key that signs checkpoints (PEM, Ed25519), which only you may read.",
    )(command)


def earlier_option(command: Command) -> Command:
    """`--audit-public-key FILE`, of keys that have been replaced."""
    return click.option(
        "--audit-public-key",
        "earlier",
        metavar="FILE",
        type=_FILE,
        multiple=True,
        help="Public key of an earlier private key (PEM), whose checkpoints are in the store still; may be repeated.",
    )(command)


@click.command(name="verify")
@click.option(
    "--audit-public-key",
    "public_keys",
    metavar="FILE",
    type=_FILE,
    multiple=True,
    help="Public key of checkpoints (PEM); may be repeated, where the key was changed.",
)
@click.option(
    "--audit-checkpoints",
    "checkpoints",
    metavar="FILE",
    type=_FILE,
    multiple=True,
    help=f"{_CHECKPOINTS_HELP} May be repeated, where several write their own.",
)
@click.option(
    "--newest-within",
    type=PeriodType(),
    metavar="PERIOD",
    help="Fail, too, if what no checkpoint covers is older than this, such as `1h`.",
)
@directory_option("The store: a file, or the URL of a database.")
@format_option("text", "json")
@color_option
def verify(
    public_keys: tuple[Path, ...],
    checkpoints: tuple[Path, ...],
    newest_within: float | None,
    directory: str | None,
    form: str,
    color: str,
) -> None:
    """Walk all of the audit: is every record there, in order, as it was written, and as checkpoints say?

    Exits 0 when it is whole, 1 when it is not, 2 when that could not be found out.
    """
    from authz_sidecar.audit.checkpoint import CheckpointFile
    from authz_sidecar.audit.signing import PublicKey
    from authz_sidecar.audit.verification import verify as walk

    terminal = Terminal(color)
    if (checkpoints or newest_within is not None) and not public_keys:
        raise CommandError(
            terminal,
            (
                "without the public key nobody knows who made the checkpoints",
                "give `--audit-public-key FILE`, which `audit key create` wrote beside the private key",
            ),
        )
    with _store(terminal, directory) as store, Progress(terminal) as progress:
        keys = [PublicKey.load(path) for path in public_keys]
        for path in checkpoints:
            if not path.is_file():
                help = "name the file that `serve --audit-checkpoints` or `audit checkpoint` writes"
                raise CommandError(terminal, (f"there is no file `{path}`", help))
        lines = itertools.chain.from_iterable(CheckpointFile(path).lines() for path in checkpoints)
        with store.read() as connection:
            report = walk(connection, keys=keys, lines=lines, progress=_shown(progress, "verifying the audit"))
            late = newest_within is not None and _uncovered(connection, report, time.time() - newest_within)
    if form == "json":
        terminal.result((json.dumps(_data(report, late=late)),))
    else:
        _tell(terminal, report, late=late)
    end(0 if report.intact and not late else BROKEN)


@click.command(name="checkpoint")
@key_option
@earlier_option
@checkpoints_option
@click.option(
    "--after-restore",
    is_flag=True,
    help="The store was set back to a backup: declare checkpoints of what was lost void.",
)
@directory_option("The store: a file, or the URL of a database.")
@color_option
def checkpoint(
    key_file: Path,
    earlier: tuple[Path, ...],
    checkpoints: Path,
    after_restore: bool,
    directory: str | None,
    color: str,
) -> None:
    """Sign for where the audit ends now, after verifying what came since the last checkpoint.

    Exits 0 when it is signed for, 1 when the audit is broken and nothing was signed, 2 when it failed.
    """
    from authz_sidecar.audit.checkpoint import CheckpointFile
    from authz_sidecar.audit.checkpoint_writer import BrokenChainError, CheckpointWriter
    from authz_sidecar.audit.signing import PublicKey, SigningKey

    terminal = Terminal(color)
    with _store(terminal, directory) as store:
        signing = SigningKey.load(key_file)
        before = [PublicKey.load(path) for path in earlier]
        writer = CheckpointWriter(store.read, _writing(store), signing, CheckpointFile(checkpoints), earlier=before)
        try:
            if after_restore:
                made, compared = writer.restart()
                terminal.note(((f"checkpoints of records after {made.restored_from} hold no longer", FAINT),))
                found = [finding for finding in compared.findings if finding.kind.value != "checkpoint"]
                terminal.note(*[(visible(finding.message),) for finding in found])
            else:
                signed = writer.run_once(force=True)
                if signed is None:
                    terminal.note((("nothing has come since the last checkpoint", FAINT),))
                    return
                made = signed
        except BrokenChainError as error:
            _tell(terminal, error.report)
            end(BROKEN)
    terminal.result((f"record {made.sequence} at {time_text(made.time)}, signed with {signing.public.id}",))


@click.command(name="prune")
@click.option(
    "--older-than", type=PeriodType(), required=True, metavar="PERIOD", help="Remove what is older, such as `365d`."
)
@click.option("--justification", default="", metavar="TEXT", help="Why; the audit keeps it.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it is removed.")
@key_option
@earlier_option
@checkpoints_option
@directory_option("The store: a file, or the URL of a database.")
@color_option
def prune(
    older_than: float,
    justification: str,
    dry_run: bool,
    yes: bool,
    key_file: Path,
    earlier: tuple[Path, ...],
    checkpoints: Path,
    directory: str | None,
    color: str,
) -> None:
    """Remove old records, behind a signed seal from which the rest is verified. Export them first.

    Exits 0 when they are removed or there are none, 1 when the audit is broken and nothing was removed, 2 when it
    failed.
    """
    from authz_sidecar.audit.checkpoint import CheckpointFile
    from authz_sidecar.audit.checkpoint_writer import BrokenChainError
    from authz_sidecar.audit.retention import Retention
    from authz_sidecar.audit.signing import PublicKey, SigningKey
    from authz_sidecar.directory.storage.records import Actor

    terminal = Terminal(color)
    with _store(terminal, directory) as store, Progress(terminal) as progress:
        actor = Actor(operator_name())
        retention = Retention(
            store.read,
            lambda: store.change(actor, time.time()),
            SigningKey.load(key_file),
            CheckpointFile(checkpoints),
            earlier=[PublicKey.load(path) for path in earlier],
        )
        try:
            plan = retention.plan(time.time() - older_than, _shown(progress, "verifying the audit"))
        except BrokenChainError as error:
            _tell(terminal, error.report)
            end(BROKEN)
        _show_plan(terminal, plan, dry_run=dry_run)
        if dry_run or not plan.records:
            return
        if not yes:
            _confirm(terminal)
        retention.remove(plan, justification=justification, progress=_shown(progress, "removing records"))
    terminal.note((f"removed {plan.records:,} records",))


@click.group(name="key", cls=CommandGroup)
def key() -> None:
    """Keys that sign checkpoints."""


@key.command(name="create")
@click.argument("file", type=_FILE)
@color_option
def create(file: Path, color: str) -> None:
    """Make a key: the private one in FILE, which only you may read, the public one in FILE.pub.

    Keep FILE where whoever can change the store cannot read it, and FILE.pub with those who verify.
    """
    from authz_sidecar.audit.signing import KeyFileError, create_key

    terminal = Terminal(color)
    try:
        public, beside = create_key(file)
    except KeyFileError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    terminal.result((f"{public.id} {visible(str(file))} {visible(str(beside))}",))


@contextlib.contextmanager
def _store(terminal: Terminal, directory: str | None) -> "Iterator[Store]":
    from authz_sidecar.audit.checkpoint import CheckpointError
    from authz_sidecar.audit.signing import KeyFileError
    from authz_sidecar.directory.storage.errors import DirectoryError

    if directory is None:
        help = "give `--directory URL`: a server cannot be asked to prove itself"
        raise CommandError(terminal, ("no store is named", help))
    with open_store(terminal, directory, migrate=False) as store:
        try:
            yield store
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
        except (CheckpointError, KeyFileError) as error:
            raise CommandError(terminal, (error.message, error.help)) from None


def _writing(store: "Store") -> Callable[[], Any]:
    from authz_sidecar.audit.record import SIDECAR
    from authz_sidecar.directory.storage.records import Actor

    @contextlib.contextmanager
    def write() -> Iterator[Any]:
        with store.change(Actor(SIDECAR), time.time()) as change:
            yield change.connection

    return write


def _shown(progress: Progress, text: str) -> Callable[[int, int], None]:
    begun = False

    def show(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            progress.step(text, total)
            begun = True
        progress.reach(done)

    return show


def _uncovered(connection: Any, report: "Report", before: float) -> bool:
    """Whether a record that no signed checkpoint covers is older than `before`."""
    from sqlalchemy import text

    query = text("SELECT count(*) FROM audit WHERE sequence > :covered AND at < :before")
    return bool(connection.execute(query, {"covered": report.covered, "before": before}).scalar_one())


def _show_plan(terminal: Terminal, plan: "Plan", *, dry_run: bool) -> None:
    if not plan.records:
        terminal.note(("no record is so old",))
        return
    would = "would be" if dry_run else "are to be"
    terminal.note((f"{plan.records:,} records up to {plan.sequence} {would} removed",))


def _confirm(terminal: Terminal) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        help = "give `--yes`, or `--dry-run` to look only"
        raise CommandError(terminal, ("nobody is there to confirm the removal", help))
    if not click.confirm("Remove them?", default=False, err=True):
        raise CommandError(terminal, ("nothing was removed", ""))


def _tell(terminal: Terminal, report: "Report", *, late: bool = False) -> None:
    """What was found, for people."""
    for finding in report.findings:
        terminal.result((("broken:", DENY), f" {visible(finding.message)}"))
    if report.total > len(report.findings):
        terminal.result((f"and {report.total - len(report.findings):,} more findings",))
    if late:
        terminal.result((("broken:", DENY), " records are older than `--newest-within`, and no checkpoint covers them"))
    if report.intact and not late:
        terminal.result((("intact:", ALLOW), f" {_extent(report)}"))
    lines = []
    if report.start:
        lines.append(f"records up to {report.start} were removed behind a seal")
    if not report.signatures:
        lines.append("no public key was given: whoever can write the store could have made all of it up")
    elif report.covered < report.last:
        lines.append(
            f"signed checkpoints cover records up to {report.covered}; those after it are held by the chain alone"
        )
    else:
        lines.append(f"signed for up to the last record, at {time_text(report.covered_at)}")
    if report.set_aside:
        lines.append(f"{report.set_aside} checkpoints were declared void when the store was restored")
    terminal.result(*[((line, FAINT),) for line in lines])


def _extent(report: "Report") -> str:
    if not report.records:
        return "there are no records"
    return f"{report.records:,} records, {report.start + 1} to {report.last}"


def _data(report: "Report", *, late: bool) -> dict[str, Any]:
    return {
        "intact": report.intact and not late,
        "first": report.start + 1,
        "last": report.last,
        "records": report.records,
        "hash": report.hash.hex(),
        "covered": report.covered,
        "checkpoints": report.checkpoints,
        "void_checkpoints": report.set_aside,
        "signatures_checked": report.signatures,
        "uncovered_for_too_long": late,
        "findings": [
            {"kind": finding.kind.value, "sequence": finding.sequence, "message": finding.message}
            for finding in report.findings
        ],
        "findings_total": report.total,
    }
