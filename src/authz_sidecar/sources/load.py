"""A path to a loaded bundle: read, checked, and named by its version."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.git import bundle_digest, policy_version
from authz_sidecar.values.diagnostic import Diagnostic, Severity


class LoadedBundle(msgspec.Struct, frozen=True):
    """What a path gave: the bundle (None if any finding is an error), all findings sorted, and the version and the
    digest of the files (both "" if they could not be read)."""

    bundle: Bundle | None
    diagnostics: tuple[Diagnostic, ...]
    policy_version: str
    digest: str

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The findings that refuse the bundle."""
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)


def load_bundle(path: Path) -> LoadedBundle:
    """Read and check the bundle at `path`. Raises nothing for what it meets there."""
    return load_files(*read_directory(path), lambda files, digest: policy_version(path, files, digest))


def load_files(
    files: BundleFiles | None, unread: list[Diagnostic], version: Callable[[BundleFiles, str], str]
) -> LoadedBundle:
    """Check the bundle of these files, or say what kept them from being read; `version` names them, given their
    digest."""
    if files is None:
        return LoadedBundle(None, tuple(unread), "", "")
    with collections_paused():
        bundle, findings = parse_bundle(files, files.name)
    diagnostics = sorted({*unread, *findings}, key=lambda diagnostic: diagnostic.sort_key)
    digest = bundle_digest(files)
    return LoadedBundle(bundle, tuple(diagnostics), version(files, digest), digest)


@contextmanager
def collections_paused() -> Iterator[None]:
    """Keep Python from searching for garbage while a bundle is built: nearly all that is made stays, and the
    searches are a third of the work. The limits of a bundle bound what is made meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
