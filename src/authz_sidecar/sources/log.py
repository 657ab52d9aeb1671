"""Which commits changed a folder: git's history, simplified as `git log -- FOLDER` does it."""

import heapq
from collections.abc import Iterator

from authz_sidecar.sources.objects import Objects
from authz_sidecar.sources.tree import LinkError, PathFinder


def walk_history(objects: Objects, start: str, folder: str, *, first_parent: bool = False) -> Iterator[str]:
    """The ids of the commits from `start` back that changed `folder`, by the time of the commit, newest first.

    Where a parent of a merge has the same folder, only that parent is followed. Raises RepositoryError.
    """
    trees: dict[str, str | None] = {}

    def tree(commit: str) -> str | None:
        """The id of the folder's tree; None where there is none."""
        root = objects.links(commit).tree
        if root not in trees:
            try:
                trees[root] = PathFinder(objects, root).find(folder).id
            except LinkError:
                trees[root] = None
        return trees[root]

    # Newest first; of two at the same second, the one that was found first, which is nearer to the start.
    pending = [(-objects.links(start).committed, 0, start)]
    seen = {start}
    found = 1
    while pending:
        _, _, commit = heapq.heappop(pending)
        here = tree(commit)
        parents = objects.links(commit).parents[: 1 if first_parent else None]
        same = next((parent for parent in parents if tree(parent) == here), None)
        if same is not None:
            parents = (same,)
        elif parents or here is not None:
            yield commit
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(pending, (-objects.links(parent).committed, found, parent))
                found += 1
