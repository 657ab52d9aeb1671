"""`authz-sidecar audit list`, `follow` and `export`: the records of a store, or of a running sidecar those that the
caller may read."""

import contextlib
import functools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

import click

from authz_sidecar.audit.record import ACTIONS
from authz_sidecar.bundle.wording import listed, suggest
from authz_sidecar.cli.administration import administration_problems, chosen_directory, directory_problems
from authz_sidecar.cli.connecting import connect, read_credential
from authz_sidecar.cli.connection import Connection, ServerCommand, connection_options
from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.instant import parse_instant, parse_since
from authz_sidecar.cli.option import color_option, export_format, export_format_option, format_option
from authz_sidecar.cli.terminal import FAINT, HELP, WARNING, CommandError, Line, Terminal, visible
from authz_sidecar.values.instant import shown_time

if TYPE_CHECKING:
    from authz_sidecar.audit.reading import AuditFilter, Entry
    from authz_sidecar.directory.storage.store import Store
    from authz_sidecar.transports.grpc.administration.audit_client import AuditClient

Command = TypeVar("Command", bound=Callable[..., Any])
LIMIT = 1000
FOLLOW_SECONDS = 0.5
FOLLOW_PAGE = 500
KINDS = tuple(dict.fromkeys(action.partition(".")[0] for action in ACTIONS))


class RecordOptions(TypedDict):
    """What the options of `record_options` give a command."""

    filter: "AuditFilter"
    connection: Connection
    directory: str | None
    color: str


def record_options(command: Command) -> Command:
    """Which records, and from where."""

    @functools.wraps(command)
    def collect(
        *args: Any,
        identity: str,
        actor: str,
        subject: str,
        company: str | None,
        action: tuple[str, ...],
        since: float | None,
        until: float | None,
        **rest: Any,
    ) -> Any:
        from authz_sidecar.audit.reading import AuditFilter
        from authz_sidecar.values.request import value_problem

        for value in (identity, actor, subject, company or "", *action):
            problem = value_problem(value)
            if problem:
                raise click.BadParameter(f"`{visible(value)}` {problem}")
        _warn_of_unknown(Terminal(rest["color"]), action)
        filter = AuditFilter(
            actor=actor,
            subject=subject,
            identity=identity,
            company=company,
            actions=action,
            begins=since,
            ends=until,
        )
        return command(*args, filter=filter, **rest)

    for option in reversed(
        (
            click.option("--identity", default="", metavar="ID", help="Done by it, to it or on its behalf."),
            click.option("--actor", default="", metavar="ID", help="Done by it."),
            click.option("--subject", default="", metavar="ID", help="Done to it."),
            click.option("--company", metavar="C", help="Of this company; the empty text stands for the platform."),
            click.option(
                "--action",
                multiple=True,
                metavar="ACTION",
                help=f"Such as `key.revoke`, or `key` for all of these; may be repeated. Kinds: {', '.join(KINDS)}.",
            ),
            click.option(
                "--since", callback=_read(parse_since), metavar="WHEN", help="From then: `7d`, a day, a time."
            ),
            click.option("--until", callback=_read(parse_until), metavar="WHEN", help="Before then: a day or a time."),
            connection_options("Ask the sidecar that listens there for gRPC"),
            directory_option("Read this store itself: a file, or the URL of a database."),
            color_option,
        )
    ):
        collect = option(collect)
    return cast("Command", collect)


def _warn_of_unknown(terminal: Terminal, actions: tuple[str, ...]) -> None:
    """Say which of `actions` no record has; a server of a later release may have them."""
    for action in actions:
        if action not in KINDS and action not in ACTIONS:
            help = suggest(action, (*KINDS, *ACTIONS), f"its kind is one of {listed(KINDS)}")
            terminal.note((("warning:", WARNING), f" no record of this release has the action `{visible(action)}`"))
            terminal.note(("  ", ("help:", HELP), f" {help}"))


def parse_until(text: str) -> float:
    """The end of a period: a day in UTC, whose first moment it is, or an RFC 3339 time; raises click.BadParameter."""
    try:
        return parse_since(text) if "-" in text else parse_instant(text)
    except click.BadParameter:
        examples = "`2026-01-31` or `2026-01-31T12:00:00Z`"
        raise click.BadParameter(f"`{text}` is no time such as {examples}") from None


def _read(parse: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
        return None if value is None else parse(value)

    return read


@click.command(name="list", cls=ServerCommand)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="At most so many, the last of them.",
)
@format_option("text", "json")
@record_options
def list_records(limit: int, form: str, **options: Unpack[RecordOptions]) -> None:
    """Show records, the oldest first."""
    terminal = Terminal(options["color"])
    directory = chosen_directory(terminal, options["connection"], options["directory"])
    if directory is None:
        with _client(terminal, options["connection"]) as client:
            found = deque(client.list_audit_records(options["filter"]), limit + 1)
    else:
        from authz_sidecar.audit.reading import read_last

        with _store(terminal, directory) as store, store.read() as connection:
            found = deque(read_last(connection, options["filter"], limit + 1))
    if len(found) > limit:
        found.popleft()
        terminal.note(((f"there are earlier ones: `--limit` shows more than {limit}", FAINT),))
    terminal.result(*[_line(entry, form) for entry in found])


@click.command(name="follow", cls=ServerCommand)
@click.option(
    "--after", type=click.IntRange(min=0), metavar="N", help="Begin after the record with this number; 0: at the first."
)
@format_option("text", "json")
@record_options
def follow(after: int | None, form: str, **options: Unpack[RecordOptions]) -> None:
    """Show records as they are written, until you stop it."""
    terminal = Terminal(options["color"])
    directory = chosen_directory(terminal, options["connection"], options["directory"])
    if directory is None:
        with _client(terminal, options["connection"]) as client:
            _show(terminal, form, client.follow_audit_records(options["filter"], after))
    else:
        with _store(terminal, directory) as store:
            _show(terminal, form, _followed(store, options["filter"], after))


@click.command(name="export", cls=ServerCommand)
@export_format_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into this new file, which only you may read, and not to standard output.",
)
@record_options
def export(form: str, output: Path | None, **options: Unpack[RecordOptions]) -> None:
    """Write records as JSON lines, which can be verified anywhere, or as CSV for a spreadsheet."""
    from authz_sidecar.audit.export import csv_lines, json_lines

    terminal = Terminal(options["color"])
    form = export_format(form, output)
    with _records(terminal, options) as records, _output(terminal, output) as write:
        if form == "csv":
            for line in csv_lines(records):
                write(line)
        else:
            for line in json_lines(records):
                write(line + "\n")


@contextlib.contextmanager
def _client(terminal: Terminal, connection: Connection) -> "Iterator[AuditClient]":
    from authz_sidecar.transports.grpc.administration.audit_client import AuditClient

    credential = read_credential(terminal, connection)
    with connect(terminal, AuditClient, connection, credential, administration_problems) as client:
        yield client


@contextlib.contextmanager
def _store(terminal: Terminal, directory: str) -> "Iterator[Store]":
    from authz_sidecar.audit.reading import MovedAuditError, UnreadableRecordError
    from authz_sidecar.directory.storage.errors import DirectoryError

    with open_store(terminal, directory, migrate=False) as store:
        try:
            yield store
        except DirectoryError as error:
            raise CommandError(terminal, *directory_problems(error)) from None
        except UnreadableRecordError as error:
            help = "run `authz-sidecar audit verify`: it says what is wrong"
            raise CommandError(terminal, (str(error), help)) from None
        except MovedAuditError as error:
            raise CommandError(terminal, (str(error), "begin again")) from None


@contextlib.contextmanager
def _records(terminal: Terminal, options: RecordOptions) -> "Iterator[Iterable[Entry]]":
    directory = chosen_directory(terminal, options["connection"], options["directory"])
    if directory is None:
        with _client(terminal, options["connection"]) as client:
            yield client.list_audit_records(options["filter"])
        return
    from authz_sidecar.audit.reading import read_all

    with _store(terminal, directory) as store:
        yield read_all(store.read, options["filter"])


def _followed(store: "Store", filter: "AuditFilter", after: int | None) -> "Iterator[Entry]":
    from authz_sidecar.audit.reading import MovedAuditError, read_end, read_epoch, read_page

    with store.read() as connection:
        end, epoch = read_end(connection), read_epoch(connection)
    place = end if after is None else after
    if place > end:
        raise MovedAuditError
    while True:
        with store.read() as connection:
            page = read_page(connection, filter, after=place, size=FOLLOW_PAGE)
        if page.epoch != epoch:
            raise MovedAuditError
        yield from page.entries
        place = page.reached
        if not page.more:
            time.sleep(FOLLOW_SECONDS)


@contextlib.contextmanager
def _output(terminal: Terminal, path: Path | None) -> Iterator[Callable[[str], Any]]:
    if path is None:
        yield terminal.lines.write
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandError(terminal, (f"`{path}` exists", "name a new file")) from None
    except OSError as error:
        help = "name a file in a directory of yours"
        raise CommandError(terminal, (f"`{path}` cannot be written: {error.strerror}", help)) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file.write
    except BaseException:
        # Half an export would look like a whole one.
        path.unlink(missing_ok=True)
        raise


def _show(terminal: Terminal, form: str, entries: "Iterable[Entry]") -> None:
    for entry in entries:
        terminal.result(_line(entry, form))
        sys.stdout.flush()


def _line(entry: "Entry", form: str) -> Line:
    """A record as one line: what everybody needs first, and then what else is said."""
    if form == "json":
        # A terminal takes escapes in JSON as it takes them elsewhere.
        return (visible_json(entry.text),)
    record = entry.record
    what = f"{record.object_type}:{record.object_id}".strip(":")
    # Of a decision, which changes nothing, `after` says what was asked and why it came out so.
    decided = (record.after or {}) if record.decision_id else {}
    shown = [f"{record.sequence}", shown_time(record.time), record.action, f"actor={record.actor}"]
    facts = (
        ("on_behalf_of", record.on_behalf_of),
        ("subject", record.subject),
        ("company", record.company),
        ("object", what),
        ("asked", decided.get("action", "")),
        ("reason", decided.get("reason", "")),
        ("credential", record.credential),
        ("address", record.address),
        ("justification", f'"{record.justification}"' if record.justification else ""),
    )
    changed = _changed(record.before, record.after)
    shown += [f"{name}={value}" for name, value in facts if value]
    line = visible(" ".join(shown))
    return (line, (f" {visible(changed)}", FAINT)) if changed else (line,)


def visible_json(text: str) -> str:
    """A line of JSON of which a terminal shows every character."""
    if text.isascii() and text.isprintable():
        return text
    return json.dumps(json.loads(text), separators=(",", ":")).replace("\x7f", "\\u007f")


def _changed(before: Any, after: Any) -> str:
    """What is otherwise than before, where both are known."""
    if before is None or after is None:
        return ""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return ", ".join(f"{name}: {_value(name, before)} → {_value(name, after)}" for name in names)


def _value(name: str, data: Any) -> str:
    value = data.get(name)
    return shown_time(value) if name.endswith("_at") and isinstance(value, float) else json.dumps(value)
