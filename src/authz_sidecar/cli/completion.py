"""`authz-sidecar completion`: the script that lets a shell complete command lines."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from authz_sidecar.cli.main import COMPLETE, PROGRAM, cli

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  source <(authz-sidecar completion bash)                  # for this shell; in ~/.bashrc for every one
  authz-sidecar completion zsh > ~/.zfunc/_authz-sidecar   # a directory of $fpath
  authz-sidecar completion fish > ~/.config/fish/completions/authz-sidecar.fish
"""


@click.command(name="completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print the script with which a shell completes commands, options, their choices and directories.

    It calls `authz-sidecar` by that name, which must be found in PATH.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise TypeError(f"click completes no {shell}")
    # Not the class's own `source`: bash's runs a bash to see its version, and the shell that reads this knows its own.
    click.echo(ShellComplete.source(kind(cli, {}, PROGRAM, COMPLETE)))
