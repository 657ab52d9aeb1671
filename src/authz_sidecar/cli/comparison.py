"""Two sides of a comparison, read and compiled for a command, with the identities of a file or of a directory beside
both if there are any."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.cli.findings import count_line, finding_lines
from authz_sidecar.cli.loading import CompiledBundle, compile_loaded, require_compiled
from authz_sidecar.cli.place import Places, require_directory
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.review.report.access_report import Side
from authz_sidecar.sources.load import LoadedBundle
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import DirectorySide, RevisionSide, find_side
from authz_sidecar.values import Diagnostic, Severity

if TYPE_CHECKING:
    # Read where there are identities beside a bundle.
    from authz_sidecar.bundle.identities import IdentitiesFile

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class ComparedSide(msgspec.Struct, frozen=True):
    """One side: `compiled` is None where it has no policy. `side` is what reports say of it."""

    compiled: CompiledBundle | None
    side: Side


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, what is to be said about them, and kinds (`user`, `service_account`) of identities beside theirs."""

    base: ComparedSide
    head: ComparedSide
    notes: tuple[str, ...] = ()
    kinds: Mapping[str, str] = {}


class _Found(msgspec.Struct, frozen=True):
    """A side before its bundle is compiled; `loaded` is None where it has no policy. `root` is where its files stand,
    `name` what messages call it and `called` what the user did."""

    at: DirectorySide | RevisionSide
    loaded: LoadedBundle | None
    root: Path
    name: str
    called: str


class _Beside(msgspec.Struct, frozen=True):
    """Identities that count beside those of the bundles: where they stand (`file`, and `places` to show them), and what
    messages call that. What comes from elsewhere than a file is taken as far as it goes."""

    content: "IdentitiesFile"
    file: str
    name: str
    places: Places
    noun: str
    lenient: bool = False


def read_comparison(
    terminal: Terminal,
    base: str,
    head: str | None,
    policies: Path,
    *,
    identities: Path | None,
    directory: str | None,
    links: bool,
) -> Comparison:
    """Read and compile both sides: revisions, or directories, as `sources.side` tells them apart; None for `head` is
    the directory `policies` as it is. A base without that folder is one without policy. `identities` is a file, and
    `directory` the URL of a directory, whose identities count beside those of the bundles. `links` says whether reports
    will link to lines of commits.

    Raises CommandError, after the findings were shown, where a side or the identities file has errors.
    """
    try:
        found = [_find(terminal, base, policies, True), _find(terminal, head, policies, False)]
        notes: list[str] = []
        if found[0].loaded is None:
            notes.append(f"`{base}` has no policies in `{policies}`: everything in them is new")
        kinds: dict[str, str] = {}
        outside: set[str] = set()
        besides = [] if identities is None else [_read_identities(terminal, identities)]
        if directory is not None:
            besides.append(_read_directory(terminal, directory))
            notes += _misplaced(terminal, directory, found[1])
        for beside in besides:
            found, told = _with_identities(terminal, found, beside)
            notes += told
            outside.add(beside.file)
            kinds |= {record.id: record.kind for record in beside.content.identities}
        sides = [_compile(terminal, one, frozenset(outside), links) for one in found]
    except RepositoryError as error:
        raise CommandError(terminal, (error.message, error.help)) from None
    return Comparison(base=sides[0], head=sides[1], notes=tuple(notes), kinds=kinds)


def _find(terminal: Terminal, text: str | None, policies: Path, may_lack: bool) -> _Found:
    at = find_side(text, policies)
    with Progress(terminal) as progress:
        progress.step(f"reading {text or policies}")
        if isinstance(at, DirectorySide):
            require_directory(terminal, at.path)
            return _Found(at, at.load(), at.path, str(at.path), text or str(at.path))
        name = f"{at.commit[:12]}:{at.folder or '.'}"
        with Repository.open(policies) as repository:
            if may_lack and repository.lacks(at.commit, at.folder):
                return _Found(at, None, policies, name, text or name)
        return _Found(at, at.load(), policies, name, text or name)


def _read_identities(terminal: Terminal, path: Path) -> _Beside:
    """The identities of a file; raises CommandError."""
    from authz_sidecar.bundle.identities import MAX_BYTES, parse_identities

    # No file of a bundle is called so.
    file = str(path) if "/" in str(path) else f"./{path}"
    try:
        with path.open("rb") as stream:
            # What has no size, such as a pipe, can be without end.
            size = path.stat().st_size
            data = stream.read(MAX_BYTES + 1) if size <= MAX_BYTES else b""
    except OSError as error:
        problem = f"cannot read `{path}`: {(error.strerror or 'unknown reason').lower()}"
        raise CommandError(terminal, (problem, "`--identities` names an exported identities file")) from None
    if max(size, len(data)) > MAX_BYTES:
        raise CommandError(terminal, (f"`{path}` is larger than {MAX_BYTES:,} bytes", "export fewer identities"))
    findings = Findings()
    content = parse_identities(data, file, findings)
    places = Places(Path(), {file: data})
    if content is None:
        _refuse(terminal, str(path), findings.sorted(), places)
    return _Beside(content, file, str(path), places, "the identities file")


def _read_directory(terminal: Terminal, url: str) -> _Beside:
    """The identities of a directory; raises CommandError."""
    from authz_sidecar.bundle.identities import DIRECTORY_FILE
    from authz_sidecar.cli.directory import read_identities

    with Progress(terminal) as progress:
        progress.step("reading the directory")
        content = read_identities(terminal, url)
    places = Places(Path(), {}, frozenset((DIRECTORY_FILE,)))
    return _Beside(content, DIRECTORY_FILE, DIRECTORY_FILE, places, "the directory", lenient=True)


def _misplaced(terminal: Terminal, directory: str, head: _Found) -> list[str]:
    """Notes on identities of the directory that hold roles where they do not belong, if head asks for that; raises
    CommandError."""
    from authz_sidecar.cli.directory import read_misplaced_roles
    from authz_sidecar.review.held_roles import bundle_assignments, misplaced_notes

    bundle = None if head.loaded is None else head.loaded.bundle
    if bundle is None or not bundle.manifest.identities.own_company_only:
        return []
    return misplaced_notes(read_misplaced_roles(terminal, directory, bundle_assignments(bundle)))


def _with_identities(terminal: Terminal, found: list[_Found], beside: _Beside) -> tuple[list[_Found], list[str]]:
    """The sides with identities beside their own, and notes; raises CommandError."""
    from authz_sidecar.bundle.identity_merge import merge_identities

    bundles = {
        at: one.loaded.bundle
        for at, one in enumerate(found)
        if one.loaded is not None and one.loaded.bundle is not None
    }
    names = ("base", "head")
    merged, diagnostics = merge_identities(
        beside.content, [(names[at], bundle) for at, bundle in bundles.items()], lenient=beside.lenient
    )
    if any(finding.severity is Severity.ERROR for finding in diagnostics):
        _refuse(terminal, beside.name, diagnostics, beside.places)
    notes: list[str] = []
    found = list(found)
    for at, result in zip(bundles, merged, strict=True):
        loaded = found[at].loaded
        if loaded is not None:
            replaced = msgspec.structs.replace(loaded, bundle=result.bundle)
            found[at] = msgspec.structs.replace(found[at], loaded=replaced)
        notes += result.notes
    if diagnostics:
        notes.append(f"{count_line(diagnostics)} in {beside.noun}, which a bundle would show")
    return found, notes


def _refuse(terminal: Terminal, name: str, diagnostics: Sequence[Diagnostic], places: Places) -> NoReturn:
    for diagnostic in diagnostics:
        terminal.note(*finding_lines(diagnostic, places))
    errors = [finding for finding in diagnostics if finding.severity is Severity.ERROR]
    raise CommandError(terminal, (f"`{name}` cannot be used: {count_line(errors)}", ""))


def _compile(terminal: Terminal, found: _Found, outside: frozenset[str], links: bool) -> ComparedSide:
    at = found.at
    shown = Places(found.root, {}).path("")
    side = Side(name=found.called, folder="" if shown == "." else shown, outside=outside)
    commit = at.commit if isinstance(at, RevisionSide) else ""
    if found.loaded is None:
        return ComparedSide(None, msgspec.structs.replace(side, commit=commit))
    see = f"see `authz-sidecar lint {found.root}`" if isinstance(at, DirectorySide) else ""
    with Progress(terminal) as progress:
        read = compile_loaded(found.loaded, progress, found.root, at.files)
    remedy = f"the places are those of `{found.called}`; name a revision that loads" if commit else ""
    compiled = require_compiled(terminal, read, found.name, see, remedy)
    path = ""
    if isinstance(at, RevisionSide):
        path = at.folder
    elif links and _COMMIT.fullmatch(compiled.policy_version):
        commit = compiled.policy_version
        with Repository.open(at.path) as repository:
            path = repository.folder(at.path)
    return ComparedSide(
        compiled,
        msgspec.structs.replace(
            side, policy_version=compiled.policy_version, bundle=compiled.bundle, commit=commit, path=path
        ),
    )
