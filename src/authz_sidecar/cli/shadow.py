"""The options of a candidate policy beside the one that answers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec

from authz_sidecar.cli.option import NumberRange
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.server.settings import ShadowSettings
from authz_sidecar.sources.remote import RemoteError, is_remote, parse_remote
from authz_sidecar.sources.source import GitSettings

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--shadow",
        metavar="REV|DIR",
        help="Decide each request also by this candidate, and report what differs; answers are not touched.",
    ),
    click.option(
        "--shadow-sample",
        type=NumberRange(0, 1),
        default=1.0,
        show_default=True,
        metavar="SHARE",
        help="Share of requests that the candidate decides.",
    ),
)


def shadow_options(command: Command) -> Command:
    """The options of the candidate, which give the command one argument, `shadow`: ShadowSettings."""

    @functools.wraps(command)
    def collect(*args: Any, shadow: str | None, shadow_sample: float, **rest: Any) -> Any:
        return command(*args, shadow=ShadowSettings(shadow or "", shadow_sample), **rest)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return cast("Command", collect)


def shadow_settings(
    terminal: Terminal,
    shadow: ShadowSettings,
    policies: GitSettings | None,
    follow: Callable[[Any], GitSettings],
    *,
    insecure: bool,
) -> ShadowSettings:
    """Where the candidate comes from: beside policies from git a URL, a directory, or a ref of their repository.
    `follow` gives the settings of a repository. Raises CommandError.

    A candidate answers nobody: it may be on a branch that is rewritten, and unsigned.
    """
    text = shadow.text
    if is_remote(text):
        try:
            remote = parse_remote(text, insecure=insecure)
        except RemoteError as error:
            raise CommandError(terminal, (error.message.replace("policies", "shadow"), error.help)) from None
        git = follow(remote)
    elif policies is not None and text and not Path(text).is_absolute() and not text.startswith("."):
        git = policies
        git = msgspec.structs.replace(git, remote=msgspec.structs.replace(git.remote, ref=text))
    else:
        return shadow
    git = msgspec.structs.replace(git, at="", allow_rewind=True, allowed_signers="", remembers=False)
    return msgspec.structs.replace(shadow, git=git)
