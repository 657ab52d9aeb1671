"""Which commit last touched a line: git-blame(1), for some lines of the files of one folder.

From the commit in question back, each commit hands the lines that a parent has too on to that parent, and answers for
the rest. A file that was renamed is followed, as long as it stays in the folder or the whole folder was moved.
"""

import heapq
import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from authz_sidecar.bundle.files import MAX_FILES
from authz_sidecar.sources.commit import Commit
from authz_sidecar.sources.line_matching import match_lines, split_lines
from authz_sidecar.sources.objects import BLOB, Objects
from authz_sidecar.sources.tree import LinkError, PathFinder

# A second for some thousand commits; the history of policies is seldom longer.
MAX_COMMITS = 50_000
# As git: a file that keeps less than half of its lines is a new one.
_RENAMED = 0.5
_MAX_CANDIDATES = 200
_MAX_RENAMED_BYTES = 4 << 20
_KEPT_FILES = 64

LineKey: TypeAlias = tuple[str, int]
"""A file of the bundle and a line of it, counted from 1."""


class Origin(msgspec.Struct, frozen=True):
    """Where a line comes from: the commit that last touched it, and its file (from the root of the repository) and line
    there. `commit` is None for a line that is not committed.

    `older` says that the line is at least as old as that: the `clone` ends there, or the `search` did.
    """

    commit: Commit | None
    file: str = ""
    line: int = 0
    older: Literal["", "clone", "search"] = ""


def blame_lines(
    objects: Objects,
    commit: str,
    folder: str,
    lines: Mapping[str, Collection[int]],
    content: Mapping[str, bytes] | None = None,
    *,
    limit: int = MAX_COMMITS,
    visited: Callable[[], None] | None = None,
) -> dict[LineKey, Origin]:
    """The origin of each of `lines` (file of the bundle in `folder` -> line numbers) as they stand in `commit`, or in
    `content` where that is given, which is the work tree on top of it.

    Looks at no more than `limit` commits and calls `visited` for each. Lines beyond the end of a file are left out.
    Raises RepositoryError.
    """
    return _Blame(objects, folder, limit, visited).run(commit, lines, content)


def newest(origins: Iterable[Origin]) -> Origin:
    """Of the lines of one thing the one that was touched last; raises ValueError if there is none."""
    return max(
        origins,
        key=lambda origin: (origin.commit is None, origin.commit.committed if origin.commit else 0, not origin.older),
    )


Pending: TypeAlias = list[tuple[int, LineKey]]
"""Lines of a version of a file, counted from 0, and the lines in question that they became."""


class _Blame:
    def __init__(self, objects: Objects, folder: str, limit: int, visited: Callable[[], None] | None) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._visited = visited or (lambda: None)
        self._origins: dict[LineKey, Origin] = {}
        # By commit, then by the path of a file in it from the root of the repository.
        self._suspects: dict[str, dict[str, Pending]] = {}
        self._queue: list[tuple[int, int, str]] = []
        self._lines: dict[str, list[bytes]] = {}

    def run(
        self, start: str, lines: Mapping[str, Collection[int]], content: Mapping[str, bytes] | None
    ) -> dict[LineKey, Origin]:
        self._begin(start, lines, content)
        for _ in range(self._limit):
            if not self._queue:
                break
            commit = heapq.heappop(self._queue)[2]
            self._visited()
            self._visit(commit, self._suspects.pop(commit))
        for commit, files in self._suspects.items():
            for path, pending in files.items():
                self._settle(commit, path, pending, "search")
        return self._origins

    def _begin(self, start: str, lines: Mapping[str, Collection[int]], content: Mapping[str, bytes] | None) -> None:
        """Suspect `start` of every line; those that only `content` has are not committed."""
        finder = PathFinder(self._objects, self._objects.links(start).tree)
        for name, numbers in lines.items():
            try:
                place = finder.find(posixpath.join(self._folder, name))
                committed = self._file(place.id) if stat.S_ISREG(place.mode) else []
            except LinkError:
                place, committed = None, []
            if content is None:
                same = list(range(len(committed)))
            else:
                now = split_lines(content.get(name, b""))
                # git may have written the line ends of the platform.
                if not any(line.endswith(b"\r") for line in committed):
                    now = [line.removesuffix(b"\r") for line in now]
                same = match_lines(committed, now)
            pending: Pending = []
            for number in sorted(set(numbers)):
                if not 0 < number <= len(same):
                    continue
                if same[number - 1] < 0:
                    self._origins[name, number] = Origin(None)
                else:
                    pending.append((same[number - 1], (name, number)))
            if place is not None:
                self._suspect(start, place.path, pending)

    def _suspect(self, commit: str, path: str, pending: Pending) -> None:
        if not pending:
            return
        files = self._suspects.get(commit)
        if files is None:
            files = self._suspects[commit] = {}
            heapq.heappush(self._queue, (-self._objects.links(commit).committed, len(self._queue), commit))
        files.setdefault(path, []).extend(pending)

    def _visit(self, commit: str, files: dict[str, Pending]) -> None:
        links = self._objects.links(commit)
        trees = [self._objects.links(parent).tree for parent in links.parents]
        for path, pending in files.items():
            here = _blob(self._objects, links.tree, path)
            # A parent that has the very file answers for all of it, whatever the others have.
            whole = next((index for index, tree in enumerate(trees) if _blob(self._objects, tree, path) == here), None)
            if whole is not None:
                self._suspect(links.parents[whole], path, pending)
                continue
            left = pending
            for parent, tree in zip(links.parents, trees, strict=True):
                if not left or here is None:
                    break
                there = path if _blob(self._objects, tree, path) else self._renamed(links.tree, tree, path, here)
                before = _blob(self._objects, tree, there) if there else None
                if before is None or there is None:
                    continue
                same = match_lines(self._file(before), self._file(here))
                handed = [(same[number], key) for number, key in left if same[number] >= 0]
                left = [(number, key) for number, key in left if same[number] < 0]
                self._suspect(parent, there, handed)
            self._settle(commit, path, left, "clone" if commit in self._objects.shallow else "")

    def _settle(self, commit: str, path: str, pending: Pending, older: Literal["", "clone", "search"]) -> None:
        if pending:
            found = self._objects.commit(commit)
            for number, key in pending:
                self._origins[key] = Origin(found, path, number + 1, older)

    def _file(self, id: str) -> list[bytes]:
        lines = self._lines.get(id)
        if lines is None:
            lines = split_lines(self._objects.content(id, BLOB))
            if len(self._lines) >= _KEPT_FILES:
                self._lines.clear()
            self._lines[id] = lines
        return lines

    def _renamed(self, tree: str, parent: str, path: str, id: str) -> str | None:
        """What the file at `path` was called in the tree `parent`, which has none there: a file that is gone since,
        the same or at least half the same."""
        gone = []
        for candidate, blob in _files(self._objects, parent, self._folder):
            if _blob(self._objects, tree, candidate) is None:
                if blob == id:
                    return candidate
                gone.append((candidate, blob))
        here = self._file(id)
        size = sum(map(len, here))
        counts = Counter(here)
        best, share = None, _RENAMED
        for candidate, blob in gone[:_MAX_CANDIDATES]:
            content = self._objects.content(blob, BLOB)
            if max(size, len(content)) > _MAX_RENAMED_BYTES:
                continue
            kept = sum(len(line) * count for line, count in (counts & Counter(split_lines(content))).items())
            alike = kept / max(size, len(content), 1)
            if alike >= share and (best is None or alike > share):
                best, share = candidate, alike
        return best


def _blob(objects: Objects, tree: str, path: str) -> str | None:
    """The id of the file at `path`, through no links; None if there is none."""
    *folders, name = path.split("/")
    for folder in folders:
        entry = objects.entries(tree).get(folder)
        if entry is None or not stat.S_ISDIR(entry.mode):
            return None
        tree = entry.id
    entry = objects.entries(tree).get(name)
    return entry.id if entry is not None and stat.S_ISREG(entry.mode) else None


def _files(objects: Objects, tree: str, folder: str) -> Iterator[tuple[str, str]]:
    """Path and id of the files below `folder`, or of all files where there is no such folder: at most as many as a
    bundle may have."""
    top = tree
    prefix = folder
    for part in folder.split("/") if folder else ():
        entry = objects.entries(top).get(part)
        if entry is None or not stat.S_ISDIR(entry.mode):
            top, prefix = tree, ""
            break
        top = entry.id
    pending = [(prefix, top)]
    seen = 0
    while pending:
        prefix, current = pending.pop()
        for entry in objects.entries(current).values():
            seen += 1
            if seen > MAX_FILES:
                return
            path = posixpath.join(prefix, entry.name)
            if stat.S_ISDIR(entry.mode):
                pending.append((path, entry.id))
            elif stat.S_ISREG(entry.mode):
                yield path, entry.id
