"""Policies from git on the command line of `serve`: a URL in the place of a directory, and the options that go with
it."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec

from authz_sidecar.cli.option import DEFAULT_POLICIES, Directory, NumberRange
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.remote import Remote, RemoteError, is_remote, parse_remote
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.source import GitSettings
from authz_sidecar.sources.transport import SshFiles
from authz_sidecar.values.lineage import is_commit

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_INTERVAL = 30.0
DEFAULT_TIMEOUT = 60.0
DEFAULT_BYTES = 1 << 30


class SourceType(Directory):
    """A directory, or the URL of a repository, which stays text."""

    name = "DIR|URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read `value`; fails as click does."""
        return value if isinstance(value, str) and is_remote(value) else super().convert(value, param, ctx)


class GitOptions(msgspec.Struct, frozen=True):
    """What the options of `git_options` give a command."""

    settings: Callable[[Remote], GitSettings]
    insecure: bool
    at: str
    require_signed: bool
    allowed_signers: str


def source_option(command: Command) -> Command:
    """`--policies DIR|URL`."""
    return click.option(
        "--policies",
        metavar="DIR|URL",
        default=DEFAULT_POLICIES,
        show_default=True,
        type=SourceType(path_type=Path),
        help="The bundle's directory, or a repository: `git+https://HOST/PATH?ref=BRANCH&path=FOLDER`, also "
        "`git+ssh://` and `git+file://`.",
    )(command)


_OPTIONS = (
    click.option(
        "--git-interval",
        type=NumberRange(min=0, max=86_400),
        default=DEFAULT_INTERVAL,
        show_default=True,
        metavar="SECONDS",
        help="How often to look at the repository; 0: only on SIGHUP and `refresh`.",
    ),
    click.option(
        "--git-timeout",
        type=NumberRange(min=1, max=3600),
        default=DEFAULT_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="How long one look at the repository may take, with all that it fetches.",
    ),
    click.option(
        "--git-max-bytes",
        type=click.IntRange(1 << 20, 1 << 40),
        default=DEFAULT_BYTES,
        show_default=True,
        metavar="N",
        help="How much one fetch may bring.",
    ),
    click.option(
        "--git-cache",
        metavar="DIR",
        help="Where the clone is kept, for this user alone. Default: in the user's cache directory, or for this run.",
    ),
    click.option(
        "--git-credentials",
        metavar="FILE",
        help="File of `https://USER:PASSWORD@HOST` lines, for `git+https`.",
    ),
    click.option("--git-ssh-key", metavar="FILE", help="Private key for `git+ssh`."),
    click.option("--git-known-hosts", metavar="FILE", help="Hosts that `git+ssh` may talk to, with their keys."),
    click.option("--git-insecure", is_flag=True, help="Allow `git+http`, which is not encrypted, to other machines."),
    click.option("--at", metavar="COMMIT", help="Serve this commit of the ref's history, and stay on it."),
    click.option("--allow-rewind", is_flag=True, help="Serve also what does not contain the commit served before."),
    click.option("--require-signed", is_flag=True, help="Serve only commits that an allowed signer has signed (SSH)."),
    click.option(
        "--allowed-signers",
        metavar="FILE",
        help="Who may sign, as ssh-keygen(1) has it; not in the repository.",
    ),
)


def git_options(command: Command) -> Command:
    """The options of policies from git, which give the command one argument, `git`: GitOptions."""

    @functools.wraps(command)
    def collect(
        *args: Any,
        git_interval: float,
        git_timeout: float,
        git_max_bytes: int,
        git_cache: str | None,
        git_credentials: str | None,
        git_ssh_key: str | None,
        git_known_hosts: str | None,
        git_insecure: bool,
        at: str | None,
        allow_rewind: bool,
        require_signed: bool,
        allowed_signers: str | None,
        **rest: Any,
    ) -> Any:
        def settings(remote: Remote) -> GitSettings:
            return GitSettings(
                remote,
                git_cache or "",
                git_interval,
                git_timeout,
                git_max_bytes,
                at or "",
                allow_rewind,
                allowed_signers or "",
                git_credentials or "",
                SshFiles(git_ssh_key or "", git_known_hosts or ""),
            )

        options = GitOptions(settings, git_insecure, at or "", require_signed, allowed_signers or "")
        return command(*args, git=options, **rest)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return cast(Command, collect)


def git_settings(terminal: Terminal, policies: Path | str, options: GitOptions) -> GitSettings | None:
    """How to follow the repository that `policies` names; None for a directory. Raises CommandError."""
    if options.require_signed != bool(options.allowed_signers):
        given, missing = ("--require-signed", "--allowed-signers FILE")[:: 1 if options.require_signed else -1]
        raise CommandError(
            terminal,
            (f"`{given}` says nothing without `{missing}`", f"give `{missing}` as well, or leave both away"),
        )
    if isinstance(policies, Path):
        # INVARIANT: what restricts is never ignored.
        for name, value in (("--at", options.at), ("--require-signed", options.require_signed)):
            if value:
                raise CommandError(
                    terminal,
                    (
                        f"`{name}` is for policies from git, and `{policies}` is a directory",
                        "give a URL such as `git+file:///srv/policies.git?ref=main&path=policies`",
                    ),
                )
        return None
    try:
        remote = parse_remote(policies, insecure=options.insecure)
    except RemoteError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    if options.at and not is_commit(options.at):
        raise CommandError(
            terminal,
            ("`--at` is not a commit in full", "give all 40 hexadecimal digits, as `git rev-parse` prints them"),
        )
    settings = options.settings(remote)
    _require_outside(terminal, settings)
    return settings


def _require_outside(terminal: Terminal, settings: GitSettings) -> None:
    """Refuse allowed signers that the repository itself could name."""
    if not settings.allowed_signers:
        return
    file = Path(settings.allowed_signers).resolve()
    if not file.is_file():
        raise CommandError(
            terminal, (f"there is no file `{settings.allowed_signers}`", "name the allowed signers, one a line")
        )
    inside = [Path(settings.cache).resolve()] if settings.cache else []
    if settings.remote.scheme == "file":
        inside += _folders_of(Path(settings.remote.path))
    if any(file.is_relative_to(folder) for folder in inside):
        raise CommandError(
            terminal,
            (
                f"the allowed signers in `{settings.allowed_signers}` lie in the repository that they are to judge",
                "keep the file where only the operator of the server writes",
            ),
        )


def _folders_of(repository: Path) -> list[Path]:
    """Where a repository on this machine has its files: its own directory, its work tree, and the repository that a
    linked work tree belongs to."""
    found = [repository.resolve()]
    # Whether there is one is told later.
    with contextlib.suppress(RepositoryError), Repository.open(repository) as opened:
        common = Path(opened.repo.commondir()).resolve()
        found += [common, *([opened.root.resolve()] if opened.root else [])]
        # The main work tree, which a linked one shares its history with.
        found += [common.parent] if common.name == ".git" else []
    return found
