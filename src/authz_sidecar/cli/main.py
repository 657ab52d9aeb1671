"""The `authz-sidecar` command: a registry of commands, one file each, imported only when one is called.

A command module has a `command`: a click command. It ends by returning, by `ctx.exit(code)` or by a
`click.ClickException`. Two rules hold for every command and are kept here: each option can be given as the
environment variable `AUTHZ_<OPTION>`, and whatever keeps a command from answering exits 2, so that 1 always
means "deny", "findings" or "changes".
"""

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from authz_sidecar.cli.terminal import visible

LAZY: dict[str, str] = {
    "serve": "authz_sidecar.cli.serve:command",
    "check": "authz_sidecar.cli.check:command",
    "lint": "authz_sidecar.cli.lint:command",
    "test": "authz_sidecar.cli.test:command",
    "render": "authz_sidecar.cli.render:command",
    "plan": "authz_sidecar.cli.plan:command",
    "version": "authz_sidecar.cli.version:command",
}

# Shown by `--help`, which therefore imports no command.
SUMMARIES: dict[str, str] = {
    "serve": "Answer checks over gRPC from a bundle of policies.",
    "check": "Decide one request and say why.",
    "lint": "Show everything that is wrong with a bundle.",
    "test": "Run a bundle's policy tests.",
    "render": "Print a bundle as plain Casbin.",
    "plan": "Show how the matcher was compiled and what it scans.",
    "version": "Show the versions that matter for a report.",
}

TOOL_FAILED = 2
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A click group whose commands are named in `LAZY` and imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the registry."""
        return list(LAZY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, with an environment variable for each of its options."""
        target = LAZY.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a click command")
        name_environment(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `SUMMARIES`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in LAZY])


def name_environment(command: click.Command) -> None:
    """Give every option of `command` that names no environment variable its `AUTHZ_<OPTION>`."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None and parameter.name != "help":
            longest = max(parameter.opts, key=len)
            parameter.envvar = "AUTHZ_" + longest.lstrip("-").replace("-", "_").upper()
            parameter.show_envvar = True


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A policy-as-code authorization sidecar: it answers from Casbin policies that are kept in git."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code.

    click's own `main` is not used: it makes exit code 1 of a broken pipe, which means "deny" to a script.
    """
    try:
        with cli.make_context("authz-sidecar", list(sys.argv[1:] if arguments is None else arguments)) as context:
            cli.invoke(context)
        code = 0
    except click.exceptions.Exit as end:
        code = end.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except click.ClickException as error:
        _show(error)
        code = TOOL_FAILED
    except BrokenPipeError:
        return _unread()
    except Exception:  # noqa: BLE001 - the last line of defence of the command
        # An uncaught exception would exit 1.
        traceback.print_exc()
        code = TOOL_FAILED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    return code


def _show(error: click.ClickException) -> None:
    """Write an error to standard error. What was typed is repeated in it, and must not act on the terminal."""
    shown = io.StringIO()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        error.ctx.color = True  # or click would drop what it takes for colours, unseen
    error.show(shown)  # a CommandError writes by itself, and escapes as it does
    for line in shown.getvalue().splitlines():
        click.echo(visible(line.expandtabs(4)), err=True)


def _unread() -> int:
    """The reader of our output has left. Python flushes standard output once more on exit: give it a place to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return TOOL_FAILED


def main() -> NoReturn:
    """The entry point of the installed command."""
    sys.exit(run())
