"""Changing the files of a bundle: what would change is shown as a diff, and what changes is written at once."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.loading import require_bundle
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, CommandError, Line, Terminal, visible
from authz_sidecar.review.baseline import Baseline
from authz_sidecar.review.choice import Choice
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.writing import WriteError, write_files


def correct_bundle(
    terminal: Terminal,
    policies: Path,
    choice: Choice,
    new_baseline: Callable[[], Baseline | None],
    only_diff: bool,
) -> bool:
    """Make the fixes of the lint rules of `choice` in the bundle in `policies`, or show them with `only_diff`; gives
    whether there are any. Raises CommandError where the bundle has errors or cannot be written."""
    # Imported where asked for: to judge a bundle, nothing is compared.
    from authz_sidecar.review.fixing import FixError, fix_bundle

    require_bundle(terminal, policies)
    files: Mapping[str, bytes] = read_directory(policies)[0] or {}
    with Progress(terminal) as progress:
        progress.step("fixing")
        try:
            fixed = fix_bundle(files, policies.name, choice, new_baseline)
        except FixError as error:
            raise CommandError(
                terminal, (f"nothing was fixed: {error}", "fix the findings by hand, and report this as a fault")
            ) from error
    if only_diff:
        terminal.result(*diff_lines(files, fixed.files, policies))
    elif fixed.files:
        write_changes(terminal, policies, files, fixed.files)
        terminal.note((f"made {counted(fixed.made, 'edit')} in {counted(len(fixed.files), 'file')}",))
    else:
        terminal.note(("there is nothing to fix",))
    if fixed.left:
        terminal.note((f"{counted(fixed.left, 'edit')} cannot be made: correct these places by hand",))
    return bool(fixed.files)


def write_changes(
    terminal: Terminal, policies: Path, before: Mapping[str, bytes], changed: Mapping[str, bytes]
) -> None:
    """Write changed files back; raises CommandError."""
    try:
        write_files(policies, before, changed)
    except WriteError as error:
        raise CommandError(terminal, (error.message, error.help)) from error


def diff_lines(before: Mapping[str, bytes], changed: Mapping[str, bytes], policies: Path) -> Iterator[Line]:
    """What changes in the files, as a unified diff."""
    places = Places(policies, before)
    for file in sorted(changed):
        name = places.path(file)
        old = before.get(file, b"").decode("utf-8", "replace").splitlines()
        new = changed[file].decode("utf-8", "replace").splitlines()
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm=""):
            style = (
                ALLOW if line.startswith("+") else DENY if line.startswith("-") else FAINT if line[:1] == "@" else ""
            )
            shown = visible(line.replace("\t", "    "))
            yield ((shown, style),) if style else (shown,)
