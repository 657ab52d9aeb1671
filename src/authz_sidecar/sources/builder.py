"""The process that compiles a bundle, so that the process that answers checks does not stall meanwhile.

`python -m authz_sidecar.sources.builder FD DIR [DIGEST]` reads and compiles the bundle in DIR, writes the snapshot to
the open file FD and a `BuildReport` to standard output. With the DIGEST of what is served, a bundle of the same content
is not compiled again.
"""

import gc
import os
import sys
from pathlib import Path

import msgspec

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.transfer import dump_snapshot
from authz_sidecar.sources.build import BuildReport
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values import Severity

# A report is for people: more findings than these are counted only.
MAX_DIAGNOSTICS = 200
WRITE_BYTES = 1 << 20


def build(path: Path, fd: int, known_digest: str) -> BuildReport:
    """Compile the bundle at `path` into the file `fd`."""
    loaded = load_bundle(path)
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
            report.rules = sum(len(table) for table in snapshot.tables.values())
    report.errors = sum(d.severity is Severity.ERROR for d in diagnostics)
    report.warnings = len(diagnostics) - report.errors
    # Errors first: the report may not have room for all.
    diagnostics.sort(key=lambda d: (d.severity is not Severity.ERROR, d.sort_key))
    report.diagnostics = diagnostics[:MAX_DIAGNOSTICS]
    return report


def main() -> None:
    """The process."""
    fd, path, known_digest = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    # It ends before a search for garbage would pay.
    gc.disable()
    report = build(path, fd, known_digest)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.flush()
    # Nor is it worth the time to take the policy apart.
    os._exit(0)


if __name__ == "__main__":
    main()
