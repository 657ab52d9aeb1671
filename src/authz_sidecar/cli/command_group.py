"""A group of commands, such as `authz-sidecar keys`: its list is not cut, and it guesses what was meant."""

import click

from authz_sidecar.cli.connection import ServerCommand


class CommandGroup(click.Group):
    """A click group whose help has the whole first sentence of each command, in the order of the names."""

    command_class = ServerCommand

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; click itself cuts what does not fit on a line."""
        with formatter.section("Commands"):
            # Longer than any sentence.
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(10_000)) for name in sorted(self.commands)]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; raises UnknownCommandError, which guesses what was meant."""
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            from authz_sidecar.cli.usage import UnknownCommandError

            raise UnknownCommandError(args[0], sorted(self.commands), ctx)
        return super().resolve_command(ctx, args)
