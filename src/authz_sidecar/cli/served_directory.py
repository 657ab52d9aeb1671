"""The options of `serve` about a directory of identities."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from authz_sidecar.cli.directory import directory_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.server.settings import DIRECTORY_STALENESS, DirectorySettings
from authz_sidecar.values.request import value_problem

Command = TypeVar("Command", bound=Callable[..., Any])


class CompaniesType(click.ParamType[tuple[str, ...]]):
    """Names of companies, separated by commas."""

    name = "COMPANY,…"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Read `value`; fails as click does."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
        for name in names:
            if problem := value_problem(name):
                self.fail(f"`{name}` {problem}: name companies as requests do", param, ctx)
        if not names:
            self.fail("no company is named: leave the option away to hold all", param, ctx)
        return names


_OPTIONS = (
    directory_option(
        "Know the identities, credentials and roles of this directory: a SQLite file, which is made if it is not "
        "there, or `postgresql://HOST/DATABASE`."
    ),
    click.option(
        "--companies",
        type=CompaniesType(),
        help="Hold only the identities that have to do with these companies or the platform; deny on others.",
    ),
    click.option("--issuers", metavar="FILE", help="Identity providers whose JWTs are credentials (YAML)."),
    click.option(
        "--allow-orphans", is_flag=True, help="Serve also a bundle that drops roles which identities of it hold."
    ),
    click.option("--audit-key", metavar="FILE", help="Sign for the audit with this private key (PEM)."),
    click.option(
        "--audit-checkpoints",
        metavar="FILE",
        help="Where the signed checkpoints are written: JSON lines, kept outside the directory.",
    ),
)


def served_directory_options(command: Command) -> Command:
    """The options of the directory, which give the command one argument, `directory`: a function that makes settings of
    the longest time in seconds that the store may be out of sight (None: the default); None without a directory."""

    @functools.wraps(command)
    def collect(
        *args: Any,
        directory: str | None,
        companies: tuple[str, ...] | None,
        issuers: str | None,
        allow_orphans: bool,
        audit_key: str | None,
        audit_checkpoints: str | None,
        **rest: Any,
    ) -> Any:
        def settings(terminal: Terminal, max_staleness: float | None) -> DirectorySettings | None:
            given = {
                "--companies": companies,
                "--issuers": issuers,
                "--allow-orphans": allow_orphans,
                "--audit-key": audit_key,
                "--audit-checkpoints": audit_checkpoints,
            }
            if directory is None:
                for name, value in given.items():
                    if value:
                        raise CommandError(
                            terminal, (f"`{name}` is about a directory of identities", "name it with `--directory`")
                        )
                return None
            if bool(audit_key) != bool(audit_checkpoints):
                one, other = ("--audit-key", "--audit-checkpoints")[:: 1 if audit_key else -1]
                raise CommandError(terminal, (f"`{one}` cannot be had without `{other}`", f"give `{other}` as well"))
            return DirectorySettings(
                directory,
                companies or (),
                issuers or "",
                DIRECTORY_STALENESS if max_staleness is None else max_staleness,
                allow_orphans,
                audit_key or "",
                audit_checkpoints or "",
            )

        return command(*args, directory=settings, **rest)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return cast(Command, collect)
