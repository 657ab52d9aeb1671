"""Where two histories parted, told by the parents that commits name and by nothing else.

Grafts, `refs/replace` and commit graphs, which git would follow, are left alone, and the times of commits, which their
authors choose, say only what is looked at first.
"""

import heapq

from authz_sidecar.sources.objects import Objects

_OURS, _THEIRS, _BELOW = 1, 2, 4


def merge_base(objects: Objects, one: str, other: str) -> str | None:
    """The newest commit that both contain and that no other such commit contains (git-merge-base(1)); None where they
    share none that the clone has. Raises RepositoryError."""
    found = _common(objects, one, other)
    best = [commit for commit in found if len(found) == 1 or not _contained(objects, commit, found)]
    return min(best, key=lambda commit: (-objects.links(commit).committed, commit), default=None)


def _common(objects: Objects, one: str, other: str) -> list[str]:
    """Commits of both, among them every one that no other contains."""
    marks = {one: _OURS}
    marks[other] = marks.get(other, 0) | _THEIRS
    waiting = [(-objects.links(commit).committed, commit) for commit in marks]
    heapq.heapify(waiting)
    # Those that wait and are not known to lie below a common commit.
    open_ = set(marks)
    found: list[str] = []
    while open_:
        _, commit = heapq.heappop(waiting)
        open_.discard(commit)
        mark = marks[commit]
        if mark == _OURS | _THEIRS:
            found.append(commit)
            mark |= _BELOW
        for parent in objects.links(commit).parents:
            known = marks.get(parent, 0)
            if known | mark == known:
                continue
            marks[parent] = known | mark
            heapq.heappush(waiting, (-objects.links(parent).committed, parent))
            if marks[parent] & _BELOW:
                open_.discard(parent)
            else:
                open_.add(parent)
    return [commit for commit in dict.fromkeys(found) if not marks[commit] & _BELOW]


def _contained(objects: Objects, commit: str, others: list[str]) -> bool:
    """Whether one of the `others` has `commit` before it."""
    seen = {other for other in others if other != commit}
    pending = list(seen)
    while pending:
        for parent in objects.links(pending.pop()).parents:
            if parent == commit:
                return True
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return False
