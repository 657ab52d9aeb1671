"""A bundle read and compiled for a command."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.cli.findings import count_line, finding_lines
from authz_sidecar.cli.place import Places, require_directory
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Line, Terminal, visible
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.load import LoadedBundle, load_bundle
from authz_sidecar.values import Diagnostic, Severity


class ReadBundle(msgspec.Struct, frozen=True):
    """What reading a directory gave: `bundle` and `snapshot` are None where `diagnostics` holds an error."""

    bundle: Bundle | None
    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...]
    policy_version: str
    places: Places


class CompiledBundle(msgspec.Struct, frozen=True):
    """A bundle without errors."""

    bundle: Bundle
    snapshot: Snapshot
    policy_version: str
    places: Places


def read_bundle(terminal: Terminal, policies: Path) -> ReadBundle:
    """Read and compile the bundle in `policies`; raises CommandError if that is no directory."""
    require_directory(terminal, policies)
    with Progress(terminal) as progress:
        progress.step("reading the policies")
        return compile_loaded(load_bundle(policies), progress, policies, lambda: read_directory(policies)[0])


def compile_loaded(
    loaded: LoadedBundle,
    progress: Progress,
    root: Path,
    files: Callable[[], BundleFiles | None],
    outside: frozenset[str] = frozenset(),
) -> ReadBundle:
    """Compile a bundle that was read. `root` is where its files stand, and `files` reads them again, which is done
    only where there are findings to show; `outside` are places that are not its files."""
    diagnostics = list(loaded.diagnostics)
    snapshot = None
    if loaded.bundle is not None:
        progress.step(f"compiling {loaded.bundle.rule_count:,} rules")
        snapshot, found = compile_bundle(loaded.bundle, searches=False)
        diagnostics += found
    return ReadBundle(
        loaded.bundle,
        snapshot,
        tuple(sorted(diagnostics, key=lambda diagnostic: diagnostic.sort_key)),
        loaded.policy_version,
        Places(root, (files() if diagnostics else None) or {}, outside),
    )


def require_bundle(terminal: Terminal, policies: Path, directory: str | None = None) -> CompiledBundle:
    """The bundle in `policies`, ready to decide. The identities of `directory` (the URL of one) count beside its own.

    A bundle with errors ends the command: they go to standard error and it exits 2. Warnings are counted there,
    so that a script's standard error stays short, and `lint` shows them.
    """
    read = read_bundle(terminal, policies) if directory is None else _read_beside(terminal, policies, directory)
    shown = str(policies)
    return require_compiled(terminal, read, shown, f"see `authz-sidecar lint {shown}`")


def _read_beside(terminal: Terminal, policies: Path, directory: str) -> ReadBundle:
    from authz_sidecar.bundle.identities import DIRECTORY_FILE
    from authz_sidecar.bundle.identity_merge import merge_identities
    from authz_sidecar.cli.directory import read_identities

    require_directory(terminal, policies)
    with Progress(terminal) as progress:
        progress.step("reading the policies")
        loaded = load_bundle(policies)
        if loaded.bundle is not None:
            progress.step("reading the directory")
            content = read_identities(terminal, directory)
            (merged,), _ = merge_identities(content, [("the bundle", loaded.bundle)], lenient=True)
            loaded = msgspec.structs.replace(loaded, bundle=merged.bundle)
            terminal.note(*[(visible(note),) for note in merged.notes])
        outside = frozenset((DIRECTORY_FILE,))
        return compile_loaded(loaded, progress, policies, lambda: read_directory(policies)[0], outside)


def require_compiled(terminal: Terminal, read: ReadBundle, name: str, see: str, remedy: str = "") -> CompiledBundle:
    """What was read, if it is without errors; `name` is what messages call it, `see` says where its warnings are shown,
    and `remedy` what to do about errors beside correcting them. Ends as `require_bundle` does."""
    errors = [found for found in read.diagnostics if found.severity is Severity.ERROR]
    if read.bundle is None or read.snapshot is None or errors:
        for diagnostic in read.diagnostics:
            terminal.note(*finding_lines(diagnostic, read.places))
        raise CommandError(terminal, (f"the bundle in `{name}` does not load: {count_line(errors)}", remedy))
    if read.diagnostics:
        note: Line = (visible(f"{count_line(read.diagnostics)} in `{name}`{see and f': {see}'}"),)
        terminal.note(note)
    return CompiledBundle(read.bundle, read.snapshot, read.policy_version, read.places)


def require_section(terminal: Terminal, snapshot: Snapshot, section: str) -> None:
    """Raises CommandError unless the model has the sections that `section` numbers ("": the unnumbered ones)."""
    if section in snapshot.sections:
        return
    numbers = ", ".join(f"`{number}`" for number in sorted(snapshot.sections) if number)
    raise CommandError(
        terminal,
        (
            f"the model has no sections numbered `{section}`" if section else "the model has no unnumbered sections",
            f"`--section` takes {numbers}" if numbers else "leave `--section` away: the model has only unnumbered ones",
        ),
    )
