"""A revision or a directory on the command line, read and compiled."""

from pathlib import Path

from authz_sidecar.cli.loading import CompiledBundle, compile_loaded, require_bundle, require_compiled
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import DirectorySide, find_side


def has_policies(terminal: Terminal, text: str, policies: Path) -> bool:
    """Whether there is anything at all where the bundle would stand at the revision `text`: there is nothing before the
    change that adds the policies. A directory is always taken for one. Raises CommandError."""
    try:
        side = find_side(text, policies)
        if isinstance(side, DirectorySide):
            return True
        with Repository.open(policies) as repository:
            return not repository.lacks(side.commit, side.folder)
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None


def require_side(terminal: Terminal, text: str | None, policies: Path) -> CompiledBundle:
    """The bundle at the revision or in the directory that `text` names, ready to decide; `policies` is the bundle's
    directory now, which is what None means.

    Ends as `require_bundle` does. Places of a revision are shown where the file would stand in `policies`.
    """
    try:
        side = find_side(text, policies)
        if isinstance(side, DirectorySide):
            return require_bundle(terminal, side.path)
        with Progress(terminal) as progress:
            progress.step(f"reading {text or 'HEAD'}")
            loaded = side.load()
            read = compile_loaded(loaded, progress, policies, side.files)
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    name = f"{side.commit[:12]}:{side.folder or '.'}"
    remedy = f"the places are those of `{text or 'HEAD'}`; name a revision that loads"
    return require_compiled(terminal, read, name, "", remedy)
