"""The commits before a commit: which a policy contains, and whether one commit leads to another."""

import heapq
from collections.abc import Iterator

from authz_sidecar.sources.objects import COMMIT, Objects, RepositoryError
from authz_sidecar.values.lineage import Lineage

# So many commits of a history are known to a server, the newest: two megabytes, and about two seconds to read.
MAX_LINEAGE = 100_000
# Further than this nobody looks for a commit.
MAX_WALK = 1_000_000

_PARENT = b"parent "
_COMMITTER = b"committer "


class AncestryError(Exception):
    """The history is longer than is looked at."""


def read_lineage(objects: Objects, commit: str) -> Lineage:
    """The commit and those before it, at most `MAX_LINEAGE`; raises RepositoryError if the commit itself cannot be
    read. Where older ones cannot, the lineage is not complete."""
    found: list[bytes] = []
    complete = not objects.shallow
    walk = walk_back(objects, commit)
    try:
        for id in walk:
            if len(found) == MAX_LINEAGE:
                complete = False
                break
            found.append(bytes.fromhex(id))
    except RepositoryError:
        if not found:
            raise
        complete = False
    return Lineage.of(found, complete=complete)


def contains(objects: Objects, newer: str, older: str) -> bool:
    """Whether `older` is `newer` or one of the commits before it; raises RepositoryError, and AncestryError where the
    history is too long to tell."""
    for number, id in enumerate(walk_back(objects, newer)):
        if id == older:
            return True
        if number >= MAX_WALK:
            raise AncestryError(f"the history has more than {MAX_WALK:,} commits")
    return False


def walk_back(objects: Objects, commit: str) -> Iterator[str]:
    """The commit and those before it, each once, newest first as far as their times tell; raises RepositoryError."""
    seen = {commit}
    when, parents = _links(objects, commit)
    waiting = [(-when, commit, parents)]
    while waiting:
        _, id, parents = heapq.heappop(waiting)
        yield id
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                when, grandparents = _links(objects, parent)
                heapq.heappush(waiting, (-when, parent, grandparents))


def _links(objects: Objects, id: str) -> tuple[int, list[str]]:
    """When a commit was made, and its parents: read by hand, since a long history is read whole."""
    raw = objects.content(id, COMMIT)
    parents: list[str] = []
    when = 0
    for line in raw.partition(b"\n\n")[0].split(b"\n"):
        if line.startswith(_PARENT):
            parents.append(line[len(_PARENT) :].decode("ascii", "replace"))
        elif line.startswith(_COMMITTER):
            moment = line.rsplit(b" ", 2)[1:2]
            when = int(moment[0]) if moment and moment[0].isdigit() else 0
            break
    return when, [] if id in objects.shallow else parents
