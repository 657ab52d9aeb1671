"""`authz-sidecar fmt`: lay out a bundle's files the canonical way."""

from collections.abc import Mapping
from pathlib import Path

import click

from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.correcting import diff_lines, write_changes
from authz_sidecar.cli.option import color_option, policies_argument
from authz_sidecar.cli.place import Places, require_directory
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import PLACE, CommandError, Terminal, end, visible
from authz_sidecar.sources.directory import read_directory

UNTIDY = 1
MODEL = "model.conf"

EXAMPLES = """\b
Examples:
  authz-sidecar fmt
  authz-sidecar fmt --check policies
  authz-sidecar fmt --diff
"""


@click.command(name="fmt", epilog=EXAMPLES)
@policies_argument
@click.option("--check", is_flag=True, help="Name the files that are laid out otherwise, and change nothing.")
@click.option("--diff", "only_diff", is_flag=True, help="Show what would change, and change nothing.")
@color_option
def command(policies: Path, check: bool, only_diff: bool, color: str) -> None:
    """Lay out the YAML and CSV files of the bundle in DIR (default: ./policies) the canonical way.

    Indentation, spaces, blank lines and quotes become the same everywhere. Data, the order of what is written, and
    comments stay. Exits 0 when all is well, with --check or --diff 1 where a file is laid out otherwise, and 2 where
    one cannot be laid out.
    """
    # Imported where asked for: only this command needs it.
    from authz_sidecar.bundle.canonical import CanonicalError, canonical_text

    terminal = Terminal(color)
    require_directory(terminal, policies)
    found, diagnostics = read_directory(policies)
    if found is None:
        raise CommandError(terminal, *[(f"{problem.span}: {problem.message}", problem.help) for problem in diagnostics])
    files: Mapping[str, bytes] = found
    if MODEL not in files:
        # Any directory has some YAML.
        raise CommandError(
            terminal,
            (f"`{policies}` holds no bundle: it has no `{MODEL}`", "name the directory that holds that file"),
        )
    places = Places(policies, files)
    changed: dict[str, bytes] = {}
    problems: list[tuple[str, str]] = []
    with Progress(terminal) as progress:
        for number, (file, content) in enumerate(files.items(), 1):
            progress.step(f"laying out file {number} of {len(files)}")
            try:
                laid_out = canonical_text(file, content)
            except CanonicalError as error:
                problems.append((f"`{places.path(file)}` cannot be laid out: {error}", error.help))
                continue
            if laid_out != content:
                changed[file] = laid_out
    # What cannot be laid out ends the command with 2, where standard output stays empty.
    show = terminal.note if problems else terminal.result
    if only_diff:
        show(*diff_lines(files, changed, policies))
    elif check:
        show(*[((visible(places.path(file)), PLACE), " is not laid out the canonical way") for file in changed])
        if changed:
            terminal.note((f"{counted(len(changed), 'file')} to lay out: run `authz-sidecar fmt`",))
    else:
        write_changes(terminal, policies, files, changed)
        terminal.note((f"laid out {len(changed):,} of {counted(len(files), 'file')}",))
    if problems:
        raise CommandError(terminal, *problems)
    end(UNTIDY if changed and (check or only_diff) else 0)
