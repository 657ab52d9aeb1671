"""The process that tells the versions of the policies, and what differs between two: `policy_review` says what it is
asked."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from authz_sidecar.directory.review.policy_review import (
    Answer,
    DiffOrder,
    Order,
    PolicyPlace,
    Refused,
    Version,
    Versions,
    VersionsOrder,
)
from authz_sidecar.sources.cache import open_exactly
from authz_sidecar.sources.commit import Commit
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values.lineage import is_commit

JUSTIFICATION = "justification"
# Beside checks there is time.
NICENESS = 10
OOM_SCORE, MOST_OOM_SCORE = Path("/proc/self/oom_score_adj"), "1000"


def list_versions(order: VersionsOrder) -> Versions:
    """The commits along the branch that changed the policies; a merge stands for what it merged. Raises
    RepositoryError."""
    with _opened(order.place) as (repository, folder):
        head = repository.head if order.place.folder is None else None
        start = order.after or (head.id if head is not None else _first_known(repository, order.tips))
        # A page token is a client's: what it names is looked at as a version, or not at all.
        found: list[Commit] = []
        following = ""
        history = repository.history(start, folder, first_parent=True)
        for commit in history:
            if commit.id == order.after:
                continue
            if len(found) == order.limit:
                following = found[-1].id
                break
            found.append(commit)
        active = ""
        if is_commit(order.served):
            # What is served may be a later commit that left the policies as they were.
            newest = next(repository.history(order.served, folder, 1, first_parent=True), None)
            active = "" if newest is None else newest.id
    return Versions(tuple([_version(commit, active) for commit in found]), following)


@contextlib.contextmanager
def _opened(place: PolicyPlace) -> Iterator[tuple[Repository, str]]:
    """The repository of the policies and their folder in it."""
    if place.folder is None:
        with Repository.open(Path(place.path)) as repository:
            yield repository, repository.folder(Path(place.path))
    else:
        with open_exactly(Path(place.path)) as repository:
            yield repository, place.folder


def _first_known(repository: Repository, tips: tuple[str, ...]) -> str:
    for tip in tips:
        with contextlib.suppress(RepositoryError):
            return repository.commit(tip).id
    raise RepositoryError("the commit that is served is not in the repository", "refresh, and try again")


def _version(commit: Commit, active: str) -> Version:
    return Version(
        commit.id,
        commit.committed,
        commit.author,
        commit.subject,
        "\n".join(commit.trailer(JUSTIFICATION)),
        commit.id == active,
    )


def answer(order: Order) -> Answer:
    """What comes of an order."""
    try:
        if isinstance(order, VersionsOrder):
            return list_versions(order)
        return _diff(order)
    except RepositoryError as error:
        return Refused(error.message, error.help)


def _diff(order: DiffOrder) -> Answer:
    # Much that a list of versions does without.
    from authz_sidecar.directory.review.policy_comparison import ReviewError, diff_versions
    from authz_sidecar.directory.storage.errors import DirectoryError

    try:
        with _opened(order.place) as (repository, folder):
            return diff_versions(order, repository, folder)
    except ReviewError as error:
        return error.refused
    except DirectoryError as error:
        return Refused(error.message, error.help)


def main() -> None:
    """The process."""
    os.nice(NICENESS)
    # Where memory runs out, the comparison ends and not the server. Other systems than Linux have no such file.
    with contextlib.suppress(OSError):
        OOM_SCORE.write_text(MOST_OOM_SCORE)
    order: Order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(answer(order)))


if __name__ == "__main__":
    main()
