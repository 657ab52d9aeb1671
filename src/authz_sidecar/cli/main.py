"""The `authz-sidecar` command: a registry of commands, one file each, imported only when one is called.

A command module has a `command`: a click command. It ends by returning, by `ctx.exit(code)` or by a
`click.ClickException`. Two rules hold for every command and are kept here: each option can be given as the
environment variable `AUTHZ_<OPTION>`, and whatever keeps a command from answering exits 2, so that 1 always
means "deny", "findings" or "changes".
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from authz_sidecar.cli.terminal import CommandError, Terminal

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

LAZY: dict[str, str] = {
    "serve": "authz_sidecar.cli.serve:command",
    "init": "authz_sidecar.cli.init:command",
    "check": "authz_sidecar.cli.check:command",
    "refresh": "authz_sidecar.cli.refresh:command",
    "rollback": "authz_sidecar.cli.rollback:command",
    "lint": "authz_sidecar.cli.lint:command",
    "fmt": "authz_sidecar.cli.fmt:command",
    "test": "authz_sidecar.cli.test:command",
    "who-can": "authz_sidecar.cli.who_can:command",
    "what-can": "authz_sidecar.cli.what_can:command",
    "matrix": "authz_sidecar.cli.matrix:command",
    "role": "authz_sidecar.cli.role:command",
    "assign": "authz_sidecar.cli.assign:command",
    "whoami": "authz_sidecar.cli.whoami:command",
    "identities": "authz_sidecar.cli.identities:command",
    "assignments": "authz_sidecar.cli.assignments:command",
    "grants": "authz_sidecar.cli.grants:command",
    "shares": "authz_sidecar.cli.shares:command",
    "keys": "authz_sidecar.cli.keys:command",
    "tokens": "authz_sidecar.cli.tokens:command",
    "directory": "authz_sidecar.cli.store:command",
    "audit": "authz_sidecar.cli.audit:command",
    "replay": "authz_sidecar.cli.replay:command",
    "unused": "authz_sidecar.cli.unused:command",
    "diff": "authz_sidecar.cli.diff:command",
    "history": "authz_sidecar.cli.history:command",
    "blame": "authz_sidecar.cli.blame:command",
    "render": "authz_sidecar.cli.render:command",
    "plan": "authz_sidecar.cli.plan:command",
    "bench": "authz_sidecar.cli.bench:command",
    "completion": "authz_sidecar.cli.completion:command",
    "version": "authz_sidecar.cli.version:command",
}

# Shown by `--help`, which therefore imports no command.
SUMMARIES: dict[str, str] = {
    "serve": "Answer checks over gRPC from a bundle of policies.",
    "init": "Write a starter bundle.",
    "check": "Decide one request and say why.",
    "refresh": "Have a running server look at its policies now.",
    "rollback": "Commit the policies of an earlier commit anew.",
    "lint": "Show everything that is wrong with a bundle.",
    "fmt": "Lay out a bundle's files the canonical way.",
    "test": "Run a bundle's policy tests.",
    "who-can": "Show everybody who may do an action to an object.",
    "what-can": "Show everything that an identity or a role may do.",
    "matrix": "Show what each role may do, as a table.",
    "role": "Change what a role may do.",
    "assign": "Give an identity a role, or take it away.",
    "whoami": "Show whom a credential stands for.",
    "identities": "Administer the users and service accounts of a directory.",
    "assignments": "Administer the roles that identities of a directory hold.",
    "grants": "Administer grants of single identities of a directory.",
    "shares": "Administer what is shared with single identities of a directory.",
    "keys": "Administer API keys.",
    "tokens": "Administer access tokens and passwords.",
    "directory": "Set up, inspect, back up and restore a directory's store.",
    "audit": "Show, export and verify who changed what in a directory.",
    "replay": "Decide a decision log anew under another policy and show what changes.",
    "unused": "Show the grants that no logged decision needed.",
    "diff": "Show who gains and who loses which access between two versions.",
    "history": "Show when and why the access of a role changed.",
    "blame": "Show the commit behind every grant.",
    "render": "Print a bundle as plain Casbin.",
    "plan": "Show how the matcher was compiled and what it scans.",
    "bench": "Load a running server for a moment and show its rate.",
    "completion": "Print the script that lets a shell complete commands.",
    "version": "Show the versions that matter for a report.",
}

# Titles of the parts of that list, each before the command that begins it.
SECTIONS: dict[str, str] = {
    "serve": "Begin, serve and ask",
    "lint": "Work on a bundle",
    "who-can": "See and change who may do what",
    "whoami": "Administer a directory of identities",
    "replay": "Review changes and their effects",
    "render": "Look inside and measure",
    "completion": "About this program",
}

PROGRAM = "authz-sidecar"
# Set by the scripts that `completion` prints; click names it so.
COMPLETE = "_AUTHZ_SIDECAR_COMPLETE"
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; raises UnknownCommandError, which guesses what was meant."""
        if not ctx.resilient_parsing and args[0] not in LAZY and not args[0].startswith("-"):
            from authz_sidecar.cli.usage import UnknownCommandError

            raise UnknownCommandError(args[0], list(LAZY), ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Commands and options that begin so; no command is imported for it."""
        from click.shell_completion import CompletionItem

        commands = [CompletionItem(name, help=SUMMARIES[name]) for name in LAZY if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `SUMMARIES`, in its parts."""
        parts: dict[str, list[tuple[str, str]]] = {}
        for name in LAZY:
            if name in SECTIONS:
                part = parts[SECTIONS[name]] = []
            part.append((name, SUMMARIES[name]))
        width = max(map(len, LAZY))
        for title, commands in parts.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in commands])


def name_environment(command: click.Command) -> None:
    """Give every option of `command` that names no environment variable its `AUTHZ_<OPTION>`."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None and parameter.name != "help":
            longest = max(parameter.opts, key=len)
            parameter.envvar = "AUTHZ_" + longest.lstrip("-").replace("-", "_").upper()
            parameter.show_envvar = True
    if isinstance(command, click.Group):
        for part in command.commands.values():
            name_environment(part)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A policy-as-code authorization sidecar: it answers from Casbin policies that are kept in git.

    `authz-sidecar init` writes a first bundle, and `authz-sidecar COMMAND --help` explains each command.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code.

    click's own `main` is not used: it makes exit code 1 of a broken pipe, which means "deny" to a script.
    """
    try:
        if arguments is None and (instruction := os.environ.get(COMPLETE)):
            return _complete(instruction)
        with cli.make_context(PROGRAM, list(sys.argv[1:] if arguments is None else arguments)) as context:
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
    if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        from authz_sidecar.cli.usage import usage_problem

        error = CommandError(Terminal(), usage_problem(error))
    error.show()


def _complete(instruction: str) -> int:
    """Answer a shell that completes a command line; `instruction` is `bash_complete` and the like."""
    from click.shell_completion import shell_complete

    return TOOL_FAILED if shell_complete(cli, {}, PROGRAM, COMPLETE, instruction) else 0


def _unread() -> int:
    """The reader of our output has left. Python flushes standard output once more on exit: give it a place to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return TOOL_FAILED


def main() -> NoReturn:
    """The entry point of the installed command."""
    sys.exit(run())
