"""Which version of the policies this is: the git commit that holds exactly the files that were read.

Only git's objects are read, with dulwich: no git program, no hooks and no filters are run.
"""

import hashlib
import posixpath
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from authz_sidecar.bundle.files import is_policy

if TYPE_CHECKING:
    from dulwich.objects import Tree
    from dulwich.repo import Repo

_MAX_LINKS = 8
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
    """The current commit and whether its tree holds exactly `files` at `path`; None outside git."""
    # Imported where needed: outside git it is never loaded.
    from dulwich.errors import NotGitRepository
    from dulwich.objects import Commit, Tree
    from dulwich.repo import Repo

    try:
        repository = Repo.discover(str(path))
    except NotGitRepository:
        return None
    with repository:
        if repository.bare:
            return None
        try:
            head = repository.head()
        except KeyError:
            return None  # no commit yet
        commit = repository[head]
        if not isinstance(commit, Commit):
            return None
        inside = path.relative_to(Path(repository.path).resolve()).parts
        folder = repository[commit.tree]
        for part in inside:
            if not isinstance(folder, Tree) or part.encode() not in folder:
                return None  # not tracked
            folder = repository[folder[part.encode()][1]]
        if not isinstance(folder, Tree):
            return None
        tracked = {name: blob for name, blob in _walk(repository, folder, "") if is_policy(name)}
        if not tracked:
            return None
        clean = tracked.keys() == files.keys() and all(
            _same(repository, tracked, name, data) for name, data in files.items()
        )
        return head.decode("ascii"), clean


def _walk(repository: "Repo", folder: "Tree", prefix: str) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Every file below `folder`: its path, mode and object id."""
    pending = [(folder, prefix)]
    while pending:
        tree, prefix = pending.pop()
        for entry in tree.iteritems():
            name = prefix + entry.path.decode("utf-8", "surrogateescape")
            if stat.S_ISDIR(entry.mode):
                below = repository[entry.sha]
                pending.append((below, name + "/"))  # type: ignore[arg-type]  # a directory entry names a tree
            else:
                yield name, (entry.mode, entry.sha)


def _same(repository: "Repo", tracked: Mapping[str, tuple[int, bytes]], name: str, data: bytes) -> bool:
    """Whether the commit has `data` under `name`, following links inside the bundle as the reader did."""
    for _ in range(_MAX_LINKS):
        found = tracked.get(name)
        if found is None:
            return False
        mode, sha = found
        content: bytes = repository[sha].as_raw_string()
        if not stat.S_ISLNK(mode):
            # git may have written the line ends of the platform; the policies are the same.
            return data == content or data.replace(b"\r\n", b"\n") == content
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), content.decode()))
    return False
