"""git's objects by id: commits, trees and blobs as values, and what is missing or damaged as one kind of error.

Only objects are read, with dulwich: no git program, no hooks and no filters are run.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.commit import Commit, CommitLinks, read_commit, read_links

if TYPE_CHECKING:
    from dulwich.object_store import DiskObjectStore

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
KINDS = {COMMIT: "commit", TREE: "tree", BLOB: "file", TAG: "tag"}
UNSHALLOW = "fetch the rest with `git fetch --unshallow`; in a workflow, check out with `fetch-depth: 0`"

# A tag may name a tag; a longer chain is nobody's.
MAX_TAGS = 16
# The longest path that a system can have (Linux), and so the longest link.
MAX_PATH_BYTES = 4096
# Commits, and entries of trees, that are kept: what lies between two revisions is mostly the same.
_CACHED_COMMITS = 1 << 14
_CACHED_ENTRIES = 1 << 17


class RepositoryError(Exception):
    """A repository does not give what was asked of it: a message and a remedy ("" for none)."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Entry(NamedTuple):
    """One name in a tree; `name` holds surrogates where it is not UTF-8."""

    name: str
    mode: int
    id: str


class Objects:
    """The objects of one repository. `shallow` are the commits whose parents the clone does not hold; `partial` says
    that files may be missing since the clone left them out."""

    def __init__(self, store: "DiskObjectStore", shallow: frozenset[str], partial: bool) -> None:
        self.store = store
        self.shallow = shallow
        self.partial = partial
        self._commits: dict[str, CommitLinks] = {}
        self._trees: dict[str, Mapping[str, Entry]] = {}
        self._entries = 0
        self._targets: dict[str, str] = {}

    def raw(self, id: str) -> tuple[int, bytes]:
        """Kind and content of an object; raises RepositoryError if it is missing or damaged."""
        with damaged(f"the object {quote(id)}"):
            try:
                return self.store.get_raw(id.encode("ascii"))  # type: ignore[arg-type]  # an id is text to us
            except KeyError:
                raise self._missing(id) from None

    def content(self, id: str, kind: int) -> bytes:
        """The content of an object of this kind; raises RepositoryError."""
        found, content = self.raw(id)
        if found != kind:
            raise RepositoryError(f"{quote(id)} is a {KINDS.get(found, 'delta')}, not a {KINDS[kind]}")
        return content

    def commit(self, id: str) -> Commit:
        """The commit `id`; raises RepositoryError."""
        raw = self.content(id, COMMIT)
        with damaged(f"the commit {quote(id)}"):
            return read_commit(id, raw, id in self.shallow)

    def links(self, id: str) -> CommitLinks:
        """Tree and parents of the commit `id`, without parents at the edge of a shallow clone; raises
        RepositoryError."""
        known = self._commits.get(id)
        if known is None:
            raw = self.content(id, COMMIT)
            with damaged(f"the commit {quote(id)}"):
                known = read_links(raw)
            if id in self.shallow:
                known = CommitLinks(known.tree, (), known.committed)
            if len(self._commits) >= _CACHED_COMMITS:
                self._commits.clear()
            self._commits[id] = known
        return known

    def entries(self, id: str) -> Mapping[str, Entry]:
        """The entries of the tree `id` by name; raises RepositoryError."""
        known = self._trees.get(id)
        if known is None:
            raw = self.content(id, TREE)
            with damaged(f"the tree {quote(id)}"):
                from dulwich.objects import parse_tree

                known = {}
                for name, mode, sha in parse_tree(raw, len(id) // 2):
                    text = name.decode("utf-8", "surrogateescape")
                    # No checkout has such a tree, and readers would differ in what they make of it.
                    if text in known or not text or "/" in text:
                        raise RepositoryError(
                            f"the tree {quote(id)} is damaged: the name {quote(ascii(text)[1:-1])} "
                            + ("stands in it twice" if text in known else "is none"),
                            "`git fsck` tells more; fetch it again, or clone anew",
                        )
                    known[text] = Entry(text, mode, sha.decode("ascii"))
            self._entries += len(known)
            if self._entries > _CACHED_ENTRIES:
                self._trees.clear()
                self._entries = len(known)
            self._trees[id] = known
        return known

    def link(self, id: str) -> str:
        """Where the symbolic link that the blob `id` is leads to; raises RepositoryError."""
        known = self._targets.get(id)
        if known is None:
            content = self.content(id, BLOB)
            if len(content) > MAX_PATH_BYTES or b"\0" in content:
                raise RepositoryError(f"the symbolic link {quote(id)} names no path", "replace the link by the file")
            known = self._targets[id] = content.decode("utf-8", "surrogateescape")
        return known

    def peel(self, id: str) -> tuple[int, str]:
        """Kind and id of what `id` names, through annotated tags; raises RepositoryError."""
        for _ in range(MAX_TAGS):
            kind, content = self.raw(id)
            if kind != TAG:
                return kind, id
            with damaged(f"the tag {quote(id)}"):
                id = content.partition(b"\n")[0].removeprefix(b"object ").decode("ascii")
        raise RepositoryError(f"the tag {quote(id)} leads through more than {MAX_TAGS} tags")

    def beginning_with(self, prefix: str) -> list[str]:
        """The ids that begin with `prefix`; raises RepositoryError."""
        with damaged("the object store"):
            return sorted({found.decode("ascii") for found in self.store.iter_prefix(prefix.encode("ascii"))})

    def _missing(self, id: str) -> RepositoryError:
        if self.shallow:
            return RepositoryError(f"the object {quote(id)} is missing: the clone is shallow", UNSHALLOW)
        if self.partial:
            return RepositoryError(
                f"the object {quote(id)} is missing: the clone is partial and has not fetched it",
                "fetch everything with `git fetch --refetch --no-filter`, or clone without `--filter`",
            )
        return RepositoryError(
            f"the object {quote(id)} is missing from the repository",
            "`git fsck` lists what is missing; fetch it, or clone anew",
        )


def blob_id(data: bytes, digits: int = 40) -> str:
    """The id that a file of this content has; `digits` is 40, or 64 in a repository that uses SHA-256."""
    algorithm = hashlib.sha256 if digits == 64 else hashlib.sha1
    return algorithm(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def damaged(what: str) -> Iterator[None]:
    """Make one RepositoryError of all the ways in which reading damaged or hostile data can fail."""
    try:
        yield
    except RepositoryError:
        raise
    except OSError as error:
        raise RepositoryError(
            f"{what} cannot be read: {(error.strerror or 'unknown reason').lower()}",
            "let the user that runs this read the repository",
        ) from error
    # What parses a pack or a tree fails in whatever way its bytes make it fail.
    except Exception as error:
        raise RepositoryError(
            f"{what} is damaged: {type(error).__name__}", "`git fsck` tells more; fetch it again, or clone anew"
        ) from error
