"""A command with so many options that its help lists them in sections."""

from collections.abc import Collection, Mapping
from typing import ClassVar

import click


class SectionedCommand(click.Command):
    """A click command whose help has, behind its other options, the `sections`: titles, and the names of arguments of
    the command that the options of each fill."""

    sections: ClassVar[Mapping[str, Collection[str]]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of no section first."""
        titles = {name: title for title, names in self.sections.items() for name in names}
        lists: dict[str, list[tuple[str, str]]] = {"Options": [], **{title: [] for title in self.sections}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                lists[titles.get(parameter.name or "", "Options")].append(record)
        for title, records in lists.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
