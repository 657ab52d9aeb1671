"""The process that compiles a bundle, so that the process that answers checks does not stall meanwhile.

`python -m authz_sidecar.sources.builder FD LINEAGE_FD DIGEST DIR` reads and compiles the bundle in DIR, writes the
snapshot to the open file FD, the commits that it contains to LINEAGE_FD, and a `BuildReport` to standard output. With
the DIGEST of what is served, a bundle of the same content is not compiled again. `REPOSITORY COMMIT FOLDER` in the
place of DIR is the bundle in a folder of a commit, read from git's objects.
"""

import gc
import os
import sys
from pathlib import Path

import msgspec

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.transfer import dump_snapshot
from authz_sidecar.review.held_roles import places_of
from authz_sidecar.sources.ancestry import read_lineage
from authz_sidecar.sources.build import BuildReport, CommitOrigin
from authz_sidecar.sources.cache import open_exactly
from authz_sidecar.sources.load import LoadedBundle, load_bundle, load_files
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values import Severity
from authz_sidecar.values.lineage import Lineage, is_commit

# A report is for people: more findings than these are counted only.
MAX_DIAGNOSTICS = 200
WRITE_BYTES = 1 << 20


def build(origin: Path | CommitOrigin, fd: int, lineage_fd: int, known_digest: str) -> BuildReport:
    """Compile the bundle of `origin` into the file `fd`, and what commits it contains into `lineage_fd`."""
    try:
        loaded, lineage = _load(origin)
    except RepositoryError as error:
        return BuildReport(origin.commit if isinstance(origin, CommitOrigin) else "", unreadable=error.message)
    with os.fdopen(lineage_fd, "wb", closefd=False) as file:
        file.write(lineage.to_bytes())
    diagnostics = list(loaded.diagnostics)
    report = BuildReport(loaded.policy_version, loaded.digest)
    if loaded.bundle is not None and loaded.digest == known_digest:
        report.unchanged = True
        return report
    if loaded.bundle is not None:
        snapshot, found = compile_bundle(loaded.bundle)
        diagnostics += found
        if snapshot is not None and not any(d.severity is Severity.ERROR for d in diagnostics):
            with os.fdopen(fd, "wb", buffering=WRITE_BYTES, closefd=False) as file:
                dump_snapshot(snapshot, file.write)
            report.built = True
            report.roles = places_of(snapshot.directory_rules)
            report.rules = sum(len(table) for table in snapshot.tables.values())
    report.errors = sum(d.severity is Severity.ERROR for d in diagnostics)
    report.warnings = len(diagnostics) - report.errors
    # Errors first: the report may not have room for all.
    diagnostics.sort(key=lambda d: (d.severity is not Severity.ERROR, d.sort_key))
    report.diagnostics = diagnostics[:MAX_DIAGNOSTICS]
    return report


def _load(origin: Path | CommitOrigin) -> tuple[LoadedBundle, Lineage]:
    if isinstance(origin, CommitOrigin):
        with open_exactly(Path(origin.repository)) as repository:
            read = repository.read_bundle(origin.commit, origin.folder)
            lineage = read_lineage(repository.objects, origin.commit)
        return load_files(*read, lambda _files, _digest: origin.commit), lineage
    loaded = load_bundle(origin)
    # Changes that are not committed come after a commit.
    commit = loaded.policy_version.partition("+")[0]
    if not is_commit(commit):
        return loaded, Lineage()
    try:
        with Repository.open(origin) as repository:
            return loaded, read_lineage(repository.objects, commit)
    # The files were read: a repository that fails only now must not stop them from being served.
    except RepositoryError:
        return loaded, Lineage.of([bytes.fromhex(commit)], complete=False)


def main() -> None:
    """The process."""
    fd, lineage_fd, (known_digest, *place) = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    origin = Path(place[0]) if len(place) == 1 else CommitOrigin(*place)
    # It ends before a search for garbage would pay.
    gc.disable()
    report = build(origin, fd, lineage_fd, known_digest)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.flush()
    # Nor is it worth the time to take the policy apart.
    os._exit(0)


if __name__ == "__main__":
    main()
