"""`authz-sidecar serve`: the server, from the command line to its settings."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Unpack

import click

from authz_sidecar.cli.address import AddressType
from authz_sidecar.cli.decision_log import decision_log_options
from authz_sidecar.cli.directory import VARIABLE
from authz_sidecar.cli.findings import count_line, finding_lines
from authz_sidecar.cli.git_source import GitOptions, git_options, git_settings, source_option
from authz_sidecar.cli.limits import LimitOptions, limit_options
from authz_sidecar.cli.option import NumberRange, color_option
from authz_sidecar.cli.place import Places, require_directory
from authz_sidecar.cli.sectioned_command import SectionedCommand
from authz_sidecar.cli.served_directory import served_directory_options
from authz_sidecar.cli.shadow import shadow_options, shadow_settings
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.server.early import EarlyBuild
from authz_sidecar.server.log_sink import sink_problem
from authz_sidecar.server.settings import (
    DIRECTORY_STALENESS,
    DecisionLogSettings,
    DirectorySettings,
    LogSettings,
    RefusedBundleError,
    ServeSettings,
    ShadowSettings,
    StartError,
)
from authz_sidecar.sources.credentials import take_variable
from authz_sidecar.sources.source import GitSettings
from authz_sidecar.transports.address import SOCKET_MODE, Address, AddressError, SocketAccess
from authz_sidecar.transports.certificates import TlsError, TlsFiles
from authz_sidecar.values.limits import Limits

DEFAULT_GRPC = "127.0.0.1:50051"
DEFAULT_HTTP = "127.0.0.1:8080"
DEFAULT_GRACE = 10.0
DEFAULT_INTERVAL = 0.5
MAX_WORKERS = 64

EXAMPLES = """\b
Examples:
  authz-sidecar serve --policies policies
  authz-sidecar serve --policies 'git+https://git.example.com/policies.git?ref=main&path=policies'
  authz-sidecar serve --workers 2 --grpc 127.0.0.1:50051 --http 127.0.0.1:8080
  authz-sidecar serve --directory directory.db
  authz-sidecar serve --grpc unix:/run/authz/grpc.sock --socket-mode 0660 --socket-owner :apps
"""


class ServeCommand(SectionedCommand):
    """`serve`, whose options are many."""

    sections: ClassVar = {
        "Directory of identities": (
            *("directory", "companies", "issuers", "allow_orphans", "audit_key", "audit_checkpoints"),
        ),
        "Policies from git": (
            *("git_interval", "git_timeout", "git_max_bytes", "git_cache", "git_credentials", "git_ssh_key"),
            *("git_known_hosts", "git_insecure", "at", "allow_rewind", "require_signed", "allowed_signers"),
        ),
        "Logs": (
            *("log_format", "log_level", "log_decisions", "decision_log", "decision_log_sample"),
            *("decision_log_attributes", "decision_log_mask", "decision_log_mask_key", "decision_log_max_bytes"),
            *("decision_log_max_age", "decision_log_keep"),
        ),
        "Shadow": ("shadow", "shadow_sample"),
        "Limits": LimitOptions.__annotations__,
    }


class ModeType(click.ParamType[int]):
    """Permissions in octal digits."""

    name = "MODE"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read `value`; fails as click does."""
        if isinstance(value, int):
            return value
        try:
            mode = int(value, 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o777:
            self.fail(f"`{value}` is not a mode: write it in octal digits, such as `0660`", param, ctx)
        return mode


class OwnerType(click.ParamType[tuple[int, int]]):
    """`USER`, `USER:GROUP` or `:GROUP`, each a name or a number; what is left away stays as it is (-1)."""

    name = "USER[:GROUP]"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read `value`; fails as click does."""
        if isinstance(value, tuple):
            return value
        user, _, group = value.partition(":")
        try:
            return _user(user), _group(group)
        except KeyError as error:
            self.fail(f"there is no {error.args[0]} here: give a name that this machine knows, or a number", param, ctx)


def _user(name: str) -> int:
    import pwd

    if not name or name.isdecimal():
        return int(name or -1)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise KeyError(f"user `{name}`") from None


def _group(name: str) -> int:
    import grp

    if not name or name.isdecimal():
        return int(name or -1)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise KeyError(f"group `{name}`") from None


@click.command(name="serve", cls=ServeCommand, epilog=EXAMPLES)
@source_option
@click.option(
    "--grpc",
    type=AddressType(),
    default=DEFAULT_GRPC,
    show_default=True,
    help="Where gRPC listens: `host:port` or `unix:/path`.",
)
@click.option(
    "--http",
    type=AddressType(),
    default=DEFAULT_HTTP,
    show_default=True,
    help="Where HTTP listens: `host:port` or `unix:/path`.",
)
@click.option("--tls-cert", metavar="FILE", help="Speak TLS over gRPC, with this certificate and its chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate (PEM).")
@click.option(
    "--tls-client-ca", metavar="FILE", help="Let in only clients with a certificate of these authorities (PEM)."
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Allow to listen where other machines may reach it, though callers are not authenticated.",
)
@click.option(
    "--socket-mode", type=ModeType(), default=f"{SOCKET_MODE:04o}", show_default=True, help="Mode of Unix sockets."
)
@click.option("--socket-owner", type=OwnerType(), help="Owner of Unix sockets. Default: who runs the server.")
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that answer, on one TCP port.",
)
@click.option(
    "--grace",
    type=NumberRange(min=0, max=3600),
    default=DEFAULT_GRACE,
    show_default=True,
    metavar="SECONDS",
    help="How long accepted calls may take to finish once the server is told to stop.",
)
@click.option("--wait-for-policies", is_flag=True, help="Start, not ready, also while the bundle does not load.")
@click.option(
    "--watch-interval",
    type=NumberRange(min=0, max=3600),
    default=DEFAULT_INTERVAL,
    show_default=True,
    metavar="SECONDS",
    help="How often to look for changed policies in a directory; 0: only on SIGHUP and `refresh`.",
)
@git_options
@click.option(
    "--max-staleness",
    type=NumberRange(min=0),
    metavar="SECONDS",
    help="Not ready once the policies or the directory have not been seen for so long; 0: ready all the same. "
    f"[default: {DIRECTORY_STALENESS:.0f} for the directory, 0 for the policies]",
)
@click.option("--no-refresh-rpc", is_flag=True, help="Do not let clients have the policies looked at.")
@click.option(
    "--log-format",
    type=click.Choice(("auto", "json", "text")),
    default="auto",
    show_default=True,
    help="Form of the log on standard error; `auto` is text on a terminal.",
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="info",
    show_default=True,
    help="Least level that is logged.",
)
@decision_log_options
@shadow_options
@served_directory_options
@limit_options
@color_option
def command(
    policies: Path | str,
    grpc: Address,
    http: Address,
    tls_cert: str | None,
    tls_key: str | None,
    tls_client_ca: str | None,
    insecure: bool,
    socket_mode: int,
    socket_owner: tuple[int, int] | None,
    workers: int,
    grace: float,
    wait_for_policies: bool,
    watch_interval: float,
    git: GitOptions,
    max_staleness: float | None,
    no_refresh_rpc: bool,
    log_format: str,
    log_level: str,
    decision_log: DecisionLogSettings,
    shadow: ShadowSettings,
    directory: Callable[[Terminal, float | None], DirectorySettings | None],
    color: str,
    **limits: Unpack[LimitOptions],
) -> None:
    """Answer checks over gRPC from a bundle of policies, and follow it as it changes.

    When both ports listen, one line on standard output says where: `ready grpc=… http=… policy_version=…`.
    SIGTERM and SIGINT let accepted calls finish and exit 0; a second one stops at once; SIGHUP reads the policies
    anew. Exits 2 when the server cannot start.
    """
    terminal = Terminal(color)
    tls = _tls_files(terminal, tls_cert, tls_key, tls_client_ca)
    if not insecure:
        _require_protected(terminal, grpc, http, tls)
    if workers > 1 and grpc.path:
        raise CommandError(
            terminal,
            (
                f"{workers} workers cannot share the Unix socket `{grpc}`",
                "listen on a TCP port such as `127.0.0.1:50051`, or leave `--workers` away",
            ),
        )
    repository = git_settings(terminal, policies, git)
    if not wait_for_policies and isinstance(policies, Path):
        require_directory(terminal, policies)
    if decision_log.path and (problem := sink_problem(decision_log.path)):
        help = "name a file in a directory that the server can write, or `-` for standard output"
        raise CommandError(terminal, (f"the decision log cannot be written: {problem}", help))
    if log_format == "auto":
        log_format = "text" if sys.stderr.isatty() else "json"
    settings = ServeSettings(
        os.fspath(policies),
        grpc,
        http,
        SocketAccess(socket_mode, *(socket_owner or (-1, -1))),
        workers,
        grace,
        watch_interval,
        wait_for_policies,
        Limits(**limits),
        LogSettings(log_format, log_level),
        tls,
        decision_log,
        git=repository,
        refresh=not no_refresh_rpc,
        max_staleness=max_staleness or 0.0,
        shadow=shadow_settings(terminal, shadow, repository, git.settings, insecure=git.insecure),
        directory=directory(terminal, max_staleness),
    )
    try:
        _run(settings)
    except (AddressError, TlsError, StartError) as error:
        raise CommandError(terminal, (error.message, error.help)) from error
    except RefusedBundleError as error:
        raise _refusal(terminal, policies, repository, error) from error


def _run(settings: ServeSettings) -> None:
    # There may be a password in it, which no process that is started needs to know.
    take_variable(os.environ, VARIABLE)
    # Compiling goes on while this process imports the rest, which takes as long.
    # Where a repository is fetched there may be a password in the environment, which is to be taken out before.
    fetches = settings.git or settings.shadow.git
    early = None if fetches else EarlyBuild.begin(Path(settings.policies))
    try:
        _serve(settings, early)
    finally:
        if early is not None:
            early.build.close()


def _serve(settings: ServeSettings, early: EarlyBuild | None) -> None:
    # The gRPC library writes lines of its own, one for each failed handshake, past our log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import uvloop

    from authz_sidecar.server.log import configure_log
    from authz_sidecar.server.serve import serve

    configure_log(settings.log)
    uvloop.run(serve(settings, early, click.echo))


def _tls_files(terminal: Terminal, certificate: str | None, key: str | None, client_ca: str | None) -> TlsFiles | None:
    """The files of TLS; None without it. Refuses part of what it takes."""
    if certificate and key:
        return TlsFiles(certificate, key, client_ca or "")
    given = {"--tls-cert": certificate, "--tls-key": key, "--tls-client-ca": client_ca}
    names = [f"`{name}`" for name, file in given.items() if file]
    if not names:
        return None
    missing = " and ".join(f"`{name}`" for name in ("--tls-cert", "--tls-key") if not given[name])
    raise CommandError(
        terminal,
        (
            f"{' and '.join(names)} cannot be had without {missing}",
            f"give {missing} as well, or leave TLS away altogether",
        ),
    )


def _require_protected(terminal: Terminal, grpc: Address, http: Address, tls: TlsFiles | None) -> None:
    """Refuse to show a port to other machines unless its callers are authenticated, which is by certificates only."""
    problems = []
    instead = "listen on `127.0.0.1` or a `unix:` socket, or give `--insecure` if something else protects the port"
    if not grpc.is_local and (tls is None or not tls.client_ca):
        what = "callers are not authenticated" if tls else "calls are neither encrypted nor authenticated"
        options = "`--tls-client-ca`" if tls else "`--tls-cert`, `--tls-key` and `--tls-client-ca`"
        problems.append(
            (
                f"`{grpc}` can be reached from other machines, and {what}",
                f"authenticate callers by {options}, or {instead}",
            )
        )
    if not http.is_local:
        problems.append(
            (
                f"`{http}` can be reached from other machines, and HTTP is neither encrypted nor authenticated",
                instead,
            )
        )
    if problems:
        raise CommandError(terminal, *problems)


def _refusal(
    terminal: Terminal, policies: Path | str, repository: GitSettings | None, error: RefusedBundleError
) -> CommandError:
    """Everything that is wrong with the bundle, as `lint` shows it."""
    from authz_sidecar.sources.directory import read_directory

    report = error.report
    if isinstance(policies, Path):
        places = Places(policies, read_directory(policies)[0] or {})
    else:
        # Paths in the repository; what stands there is in git.
        places = Places(Path(repository.remote.folder if repository else ""), {})
    for diagnostic in report.diagnostics:
        terminal.note(*finding_lines(diagnostic, places))
    shown = [found for found in report.diagnostics if found.severity == "error"]
    more = f", of which {len(shown)} are shown" if report.errors > len(shown) else ""
    count = count_line(shown) if not more else f"{report.errors} errors"
    return CommandError(terminal, (f"the bundle in `{policies}` does not load: {count}{more}", ""))
