"""The commits that a change brings: those of its head that its base does not have."""

import heapq

from authz_sidecar.sources.commit import Commit
from authz_sidecar.sources.repository import Repository

# A change with more commits than this is none that a person wrote.
MAX_COMMITS = 10_000


def commits_between(repository: Repository, base: str, head: str) -> list[Commit]:
    """The commits up to `head` that are not among those up to `base` (as `git log BASE..HEAD`), newest first, at most
    `MAX_COMMITS`. At the edge of a shallow clone the walk ends. Raises RepositoryError."""
    objects = repository.objects
    theirs = {base}
    ours: list[str] = []
    waiting = [(-objects.links(commit).committed, commit) for commit in dict.fromkeys((head, base))]
    heapq.heapify(waiting)
    queued = {commit for _, commit in waiting}
    seen = set(queued)
    oldest = 0
    # Newest first from both ends, until all that waits is the base's and older than all that is told: commits of one
    # second come in any order, and one of the head's may turn out to be the base's too.
    while waiting and len(ours) < MAX_COMMITS and not (queued <= theirs and (not ours or waiting[0][0] > oldest)):
        moment, commit = heapq.heappop(waiting)
        queued.discard(commit)
        if commit not in theirs:
            ours.append(commit)
            oldest = moment
        for parent in objects.links(commit).parents:
            if commit in theirs:
                _claim(parent, theirs, seen, queued, repository)
            if parent not in seen:
                seen.add(parent)
                queued.add(parent)
                heapq.heappush(waiting, (-objects.links(parent).committed, parent))
    return [repository.commit(commit) for commit in ours if commit not in theirs]


def _claim(commit: str, theirs: set[str], seen: set[str], queued: set[str], repository: Repository) -> None:
    """Count a commit as the base's, and with it what was looked at before it and found by way of it."""
    claimed = [commit]
    while claimed:
        one = claimed.pop()
        if one not in theirs:
            theirs.add(one)
            if one in seen and one not in queued:
                claimed += repository.objects.links(one).parents
