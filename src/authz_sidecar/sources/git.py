"""Which version of the policies this is: the git commit that holds exactly the files that were read.

Only git's objects are read, with dulwich: no git program, no hooks and no filters are run.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.sources.objects import blob_id
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.tree import list_policies

_DIRTY_DIGITS = 12


def policy_version(path: Path, files: Mapping[str, bytes], digest: str) -> str:
    """The version of the bundle at `path` of which `files` were read; `digest` is their `bundle_digest`.

    `<commit>` (40 hex digits) if the files are those of the current commit; `<commit>+dirty.<12 hex digits>` if
    the directory is tracked and they differ; `sha256:<64 hex digits>` of the files where no commit holds the
    directory, or where the repository cannot be read.
    """
    try:
        found = _compare_with_head(path.resolve(), files)
    # A damaged, foreign or half-written repository must not stop the policies from being served, and can fail in
    # any way while it is parsed; the digest names the same content.
    except Exception:  # noqa: BLE001  # see above
        found = None
    if found is None:
        return f"sha256:{digest}"
    commit, clean = found
    return commit if clean else f"{commit}+dirty.{digest[:_DIRTY_DIGITS]}"


def bundle_digest(files: Mapping[str, bytes]) -> str:
    """The SHA-256 of names and contents, in hex: equal for equal files, wherever they lie."""
    digest = hashlib.sha256()
    for name in sorted(files):
        path, content = name.encode("utf-8", "surrogateescape"), files[name]
        digest.update(b"%d %d\n" % (len(path), len(content)))
        digest.update(path)
        digest.update(content)
    return digest.hexdigest()


def _compare_with_head(path: Path, files: Mapping[str, bytes]) -> tuple[str, bool] | None:
    """The current commit and whether its tree holds exactly `files` at `path`; None outside git, where no commit
    holds the folder, and in a bare repository."""
    with Repository.open(path) as repository:
        head = repository.head
        if repository.root is None or head is None:
            return None
        findings = Findings()
        tracked = list_policies(repository.objects, head.tree, repository.folder(path), findings)
        if not tracked:
            return None
        clean = not findings.refused and tracked.keys() == files.keys()
        return head.id, clean and all(_same(place.id, files[name]) for name, place in tracked.items())


def _same(id: str, data: bytes) -> bool:
    """Whether the blob `id` holds `data`."""
    # git may have written the line ends of the platform; the policies are the same.
    return blob_id(data, len(id)) == id or blob_id(data.replace(b"\r\n", b"\n"), len(id)) == id
