"""The files of a bundle in a commit: a tree of git's to what `read_directory` would read of a checkout of it.

The same names, limits, findings and rules for links hold, so that a revision and its checkout are one bundle. Two
things differ, since git has no files but what is in its trees: a submodule, whose files are in another repository, is
an error, and so is a file whose content git only points to (Git LFS).
"""

import posixpath
import stat
from typing import NamedTuple

from authz_sidecar.bundle.files import BundleFiles, is_known, is_policy, max_bytes
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.text import size_problem
from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.limits import BundleBounds, kind_problem, link_problem, name_problem, unreadable_problem
from authz_sidecar.sources.objects import BLOB, MAX_PATH_BYTES, Entry, Objects
from authz_sidecar.values.diagnostic import Diagnostic
from authz_sidecar.values.span import Span

# What a system follows before it calls a path a circle.
_MAX_LINKS = 40
# Steps along links in one bundle: far more than any has, and a second of work.
_MAX_STEPS = 1_000_000
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Place(NamedTuple):
    """Where something really stands in a tree, links followed: its path from the root of the repository, its mode
    and its id."""

    path: str
    mode: int
    id: str


class LinkError(Exception):
    """A path that leads nowhere."""


class NothingThereError(LinkError):
    """A path that the tree does not have, with no link on its way."""


def read_tree(objects: Objects, root: str, folder: str, commit: str) -> tuple[BundleFiles | None, list[Diagnostic]]:
    """Read every file of the bundle in `folder` ("" for all) of the tree `root`, which is that of `commit`: the files,
    or None with findings if any of them cannot be read whole. Raises RepositoryError for what git does not hold."""
    findings = Findings()
    places = list_policies(objects, root, folder, findings)
    if places is None:
        findings.error(
            Span("."),
            "bundle-missing",
            f"the commit {quote(commit[:12])} has no folder {quote(folder or '.')}",
            "name a revision in which the policies lie where they lie now, or another folder with `--policies`",
        )
        return None, findings.sorted()
    bounds = BundleBounds(findings)
    files: dict[str, bytes] = {}
    for name, place in sorted(places.items()):
        if not is_known(name):
            files[name] = b""  # refused by its name; its content does not matter
            continue
        data = objects.content(place.id, BLOB)
        if len(data) > (limit := max_bytes(name)):
            size_problem(len(data), limit, name, findings)
        elif data.startswith(_LFS_POINTER):
            findings.error(
                Span(name),
                "file-kind",
                f"the content of {quote(name)} is not in git: Git LFS keeps it",
                "keep policies in git itself: `git lfs migrate export --include=PATH`",
            )
        elif bounds.take(name, len(data)):
            files[name] = data
    name = posixpath.basename(folder) or "."
    return (None if findings.refused else BundleFiles(files, name)), findings.sorted()


def list_policies(objects: Objects, root: str, folder: str, findings: Findings) -> dict[str, Place] | None:
    """Where each policy file of the bundle in `folder` stands; None if there is no such folder. Findings tell what is
    wrong with names and links. Raises RepositoryError for what git does not hold."""
    try:
        start = PathFinder(objects, root).find(folder)
    except LinkError:
        return None
    if not stat.S_ISDIR(start.mode):
        return None
    return _TreeWalk(objects, root, start, findings).policies()


class PathFinder:
    """Follows paths from the root of a tree, through links inside of it."""

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects = objects
        self._root = root
        self._steps = 0

    def find(self, path: str) -> Place:
        """What stands at `path`; raises LinkError."""
        # Each step down is kept, so that `..` goes back up.
        way = [Place("", stat.S_IFDIR, self._root)]
        pending = [part for part in reversed(path.split("/")) if part]
        links = 0
        while pending:
            part = pending.pop()
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise LinkError("leads too far: the bundle has too many links")
            if part == ".":
                continue
            if part == "..":
                if len(way) == 1:
                    raise LinkError("leads out of the repository")
                way.pop()
                continue
            above = way[-1]
            if not stat.S_ISDIR(above.mode):
                raise LinkError("leads nowhere: not a directory")
            entry = self._objects.entries(above.id).get(part)
            if entry is None:
                error = LinkError if links else NothingThereError
                raise error("leads nowhere: no such file or directory")
            if not stat.S_ISLNK(entry.mode):
                way.append(Place(posixpath.join(above.path, part), entry.mode, entry.id))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise LinkError("leads nowhere: the path is a circle")
            target = self._objects.link(entry.id)
            if target.startswith("/"):
                raise LinkError("leads out of the repository")
            pending += [part for part in reversed(target.split("/")) if part]
        return way[-1]


class _TreeWalk:
    """One walk over the folder `start` of the tree `root`, as the reader of directories does it."""

    def __init__(self, objects: Objects, root: str, start: Place, findings: Findings) -> None:
        self._objects = objects
        self._finder = PathFinder(objects, root)
        self._start = start
        self._findings = findings
        self._found: dict[str, Place] = {}

    def policies(self) -> dict[str, Place]:
        """Visit every entry."""
        bounds = BundleBounds(self._findings)
        # Each folder comes with the real folders above it, so that a link to one of them is seen as a circle.
        pending = [("", self._start, frozenset((self._start.path,)))]
        while pending:
            prefix, folder, above = pending.pop()
            for entry in sorted(self._objects.entries(folder.id).values()):
                if entry.name.startswith("."):
                    continue
                if not bounds.count():
                    return self._found
                name = prefix + entry.name
                if name_problem(name, self._findings):
                    continue
                real = self._real(folder, entry, name)
                if real is None:
                    continue
                if not stat.S_ISDIR(real.mode):
                    self._take(name, real)
                elif real.path in above:
                    link_problem(name, "leads back to a folder that holds it", self._findings)
                elif len(name.encode()) > MAX_PATH_BYTES:
                    unreadable_problem(name, "file name too long", self._findings)
                else:
                    pending.append((name + "/", real, above | {real.path}))
        return self._found

    def _real(self, folder: Place, entry: Entry, name: str) -> Place | None:
        path = posixpath.join(folder.path, entry.name)
        if not stat.S_ISLNK(entry.mode):
            return Place(path, entry.mode, entry.id)
        try:
            real = self._finder.find(path)
        except LinkError as error:
            link_problem(name, str(error), self._findings)
            return None
        # INVARIANT inside-the-directory: what decides is what the named directory holds.
        if self._start.path and real.path != self._start.path and not real.path.startswith(f"{self._start.path}/"):
            link_problem(name, "leads out of the bundle directory", self._findings)
            return None
        return real

    def _take(self, name: str, place: Place) -> None:
        if stat.S_ISREG(place.mode):
            if is_policy(name):
                self._found[name] = place
        elif stat.S_IFMT(place.mode) == 0o160000:
            self._findings.error(
                Span(name),
                "file-kind",
                f"{quote(name)} is a submodule: its files are in another repository",
                "move the files here, or name the folder of that repository with `--policies`",
            )
        elif is_policy(name):
            kind_problem(name, self._findings)
