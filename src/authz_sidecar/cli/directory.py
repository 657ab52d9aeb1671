"""`--directory URL` on the command line: a SQLite file, or a PostgreSQL database by its URL."""

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import click

from authz_sidecar.cli.option import Command
from authz_sidecar.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    # The database is loaded by commands that open one.
    from authz_sidecar.bundle.identities import IdentitiesFile
    from authz_sidecar.directory.storage.store import Store
    from authz_sidecar.review.held_roles import AssignedRole, HeldRole, RolesTogether

VARIABLE = "AUTHZ_DIRECTORY"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# What libpq reads from the query of a URL and nobody else may see.
_SECRETS = frozenset({"password", "sslpassword"})


def directory_option(
    help: str = "The directory of identities: a SQLite file, or `postgresql://HOST/DATABASE`.",
) -> Callable[[Command], Command]:
    """`--directory URL`, as the argument `directory` (None where it is not given). A URL with a password in it is taken
    from the environment only: every user of a machine can read command lines."""

    def decorate(command: Command) -> Command:
        return click.option(
            "--directory",
            metavar="URL",
            envvar=VARIABLE,
            show_envvar=True,
            callback=_check_directory,
            help=help,
        )(command)

    return decorate


def directory_problem(url: str) -> tuple[str, str] | None:
    """What keeps `url` from naming a directory, and the remedy; None where nothing does. Neither repeats the URL, in
    which there may be a password."""
    found = _SCHEME.match(url)
    if not url or "\0" in url:
        return "it is empty or no text", "name a file, or `postgresql://HOST/DATABASE`"
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme == SQLITE:
        if not url[len(found[0]) :].startswith("/") or len(url) == len(found[0]) + 1:
            return (
                "it names no file",
                "write the path of the file alone",
            )
        return None
    if scheme != POSTGRESQL:
        return f"it begins with `{scheme}://`", "it is a file, `sqlite:///FILE` or `postgresql://HOST/DATABASE`"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "it is no URL", "write `postgresql://USER@HOST:PORT/DATABASE`, with reserved characters as `%XX`"
    return None


def sqlite_file(url: str) -> Path | None:
    """The file that `url` names; None for a database by URL."""
    found = _SCHEME.match(url)
    if found is None:
        return Path(url)
    return Path(url[len(found[0]) + 1 :]) if found[1].lower() == SQLITE else None


@contextlib.contextmanager
def open_store(terminal: Terminal, url: str, *, create: bool = False, migrate: bool = True) -> "Iterator[Store]":
    """The store of a directory, for the time of a command; with `create` a file that is not there is made. Raises
    CommandError where it cannot be opened."""
    from authz_sidecar.directory.storage.errors import DirectoryError
    from authz_sidecar.directory.storage.store import Store

    file = sqlite_file(url)
    if file is not None and not create and not file.is_file():
        help = "`--directory` names the file that `serve --directory` uses, or `postgresql://HOST/DATABASE`"
        raise CommandError(terminal, (f"there is no directory `{file}`", help))
    try:
        store = Store.open(url, migrate=migrate)
    except DirectoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    try:
        yield store
    finally:
        store.close()


def read_identities(terminal: Terminal, url: str) -> "IdentitiesFile":
    """What the identities of a directory hold now, as an exported file has it; raises CommandError."""
    from authz_sidecar.directory.review.exported import exported_identities
    from authz_sidecar.directory.storage.errors import DirectoryError

    with open_store(terminal, url, migrate=False) as store:
        try:
            return exported_identities(store)
        except DirectoryError as error:
            raise CommandError(terminal, (error.message, error.help)) from None


def read_held_roles(terminal: Terminal, url: str) -> "list[HeldRole]":
    """The roles that identities of a directory hold, with some of them; raises CommandError."""
    from authz_sidecar.directory.review.orphans import held_roles
    from authz_sidecar.directory.storage.errors import DirectoryError

    with open_store(terminal, url, migrate=False) as store:
        try:
            with store.read() as connection:
                return held_roles(connection, time.time())
        except DirectoryError as error:
            raise CommandError(terminal, (error.message, error.help)) from None


def read_roles_together(terminal: Terminal, url: str, roles: Collection[str]) -> "list[RolesTogether]":
    """Those of `roles` that identities of a directory hold together, with some of them; raises CommandError."""
    from authz_sidecar.directory.administration.primary_roles import roles_together
    from authz_sidecar.directory.storage.errors import DirectoryError

    with open_store(terminal, url, migrate=False) as store:
        try:
            with store.read() as connection:
                return roles_together(connection, roles, time.time())
        except DirectoryError as error:
            raise CommandError(terminal, (error.message, error.help)) from None


def read_misplaced_roles(terminal: Terminal, url: str, assigned: "Iterable[AssignedRole]") -> "list[HeldRole]":
    """The roles that identities of a directory hold where they do not belong, by it or `assigned` by a bundle, with
    some of them; raises CommandError."""
    from authz_sidecar.directory.review.misplaced_roles import misplaced_roles
    from authz_sidecar.directory.storage.errors import DirectoryError

    with open_store(terminal, url, migrate=False) as store:
        try:
            with store.read() as connection:
                return misplaced_roles(connection, time.time(), assigned)
        except DirectoryError as error:
            raise CommandError(terminal, (error.message, error.help)) from None


def has_password(url: str) -> bool:
    """Whether a password stands in `url`."""
    if _SCHEME.match(url) is None:
        return False
    try:
        parts = urlsplit(url)
        return parts.password is not None or any(
            name.lower() in _SECRETS for name, _ in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError:
        # It is refused in any case, and is not to be repeated.
        return True


def _check_directory(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    problem = directory_problem(url)
    if problem is not None:
        raise click.BadParameter(f"{problem[0]}; {problem[1]}", context, parameter)
    given = context.get_parameter_source(parameter.name or "")
    if given is click.core.ParameterSource.COMMANDLINE and has_password(url):
        raise click.BadParameter(
            f"there is a password in it, which every user of this machine could read; give the URL as {VARIABLE}",
            context,
            parameter,
        )
    return url
