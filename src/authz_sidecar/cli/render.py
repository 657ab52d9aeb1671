"""`authz-sidecar render`: a bundle as plain Casbin, or a published form of the standard model."""

from pathlib import Path

import click

from authz_sidecar.bundle.render import RenderError, render_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.cli.loading import require_bundle
from authz_sidecar.cli.option import Directory, color_option, policies_argument
from authz_sidecar.cli.terminal import FAINT, CommandError, Terminal, visible

MODELS = {"basic": BASIC, "extended": EXTENDED}
# What the reader of a bundle takes for part of it.
BUNDLE_SUFFIXES = (".conf", ".csv", ".yaml", ".yml")


EXAMPLES = """\b
Examples:
  authz-sidecar render policies --output casbin
  authz-sidecar render --model extended > policies/model.conf
"""


@click.command(name="render", epilog=EXAMPLES)
@policies_argument
@click.option(
    "--output",
    metavar="DIR",
    type=Directory(path_type=Path),
    help="Write the files into this directory, which must be empty or not exist.",
)
@click.option("--force", is_flag=True, help="Write over files of the same names in --output.")
@click.option(
    "--model",
    type=click.Choice(tuple(MODELS)),
    help="Print this form of the standard model of YAML bundles, and read no bundle.",
)
@color_option
def command(policies: Path, output: Path | None, force: bool, model: str | None, color: str) -> None:
    """Print the bundle in DIR (default: ./policies) as plain Casbin: the same decisions, in any Casbin."""
    terminal = Terminal(color)
    if model is not None:
        if output is not None:
            raise click.UsageError("`--model` prints to standard output and takes no `--output`")
        click.echo(MODELS[model], nl=False)
        return
    compiled = require_bundle(terminal, policies)
    try:
        files = render_bundle(compiled.bundle)
    except RenderError as error:
        raise CommandError(terminal, (error.message, error.help)) from error
    if output is None:
        for name, text in files.items():
            terminal.result(((f"==> {name} <==", FAINT),))
            terminal.text(text)
        return
    try:
        _write(terminal, output, files, force)
    except OSError as error:
        raise CommandError(terminal, (f"cannot write to `{output}`: {error.strerror}", "")) from error
    terminal.note((f"wrote {', '.join(files)} to {visible(str(output))}",))


def _write(terminal: Terminal, output: Path, files: dict[str, str], force: bool) -> None:
    """Write `files` into `output`, each at once; raises CommandError rather than mix them with other policies."""
    if output.is_dir() and any(output.iterdir()):
        if not force:
            raise CommandError(
                terminal,
                (f"`{output}` is not empty", "name another directory, or give `--force` to write over its files"),
            )
        present = [path.relative_to(output).as_posix() for path in output.rglob("*")]
        others = sorted(name for name in present if name.endswith(BUNDLE_SUFFIXES) and name not in files)
        if others:
            raise CommandError(
                terminal,
                (
                    f"`{output}` holds other policies, which would count as part of the result: {', '.join(others)}",
                    "name another directory, or remove them",
                ),
            )
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        # A reader sees the old file or the new one, and a link is replaced rather than written through.
        unfinished = output / f".{name}.new"
        unfinished.unlink(missing_ok=True)
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(output / name)
