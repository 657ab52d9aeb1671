"""Where a candidate policy comes from that is named beside those that are served: a revision of their repository, or a
directory."""

from pathlib import Path

from authz_sidecar.sources.build import Build, BuildError, CommitOrigin
from authz_sidecar.sources.objects import RepositoryError
from authz_sidecar.sources.repository import Repository
from authz_sidecar.sources.side import DirectorySide, RevisionSide, find_side
from authz_sidecar.sources.source import LookError
from authz_sidecar.sources.watch import Sight, look


class CandidateSource:
    """What `text` names beside the directory `policies`, as `find_side` reads it, at each look anew: a branch is
    followed. It is looked at every `interval` seconds (0: only when asked)."""

    remote = False
    looked_at = 0.0

    def __init__(self, text: str, policies: Path, interval: float) -> None:
        self._text = text
        self._policies = policies
        self._interval = interval

    def pause(self) -> float:
        """Seconds until the next look."""
        return self._interval

    def look(self) -> Sight:
        """See which commit it is now, or what is in the directory; raises LookError."""
        try:
            side = find_side(self._text, self._policies)
        except RepositoryError as error:
            raise LookError(error.message, error.help) from error
        if isinstance(side, DirectorySide):
            return look(side.path)
        return Sight(side.folder, None, settled=True, version=side.commit)

    def kept(self) -> Sight | None:
        """Nothing: what is not there now is not known."""
        return None

    def build(self, sight: Sight, known_digest: str = "", *, background: bool = False) -> Build:
        """Begin to compile what was seen; raises BuildError."""
        if not sight.version:
            return Build(Path(self._text), known_digest, background=background)
        side = RevisionSide(self._policies, sight.version, str(sight.entries))
        return Build(_origin(side), known_digest, background=background)

    def took(self, version: str) -> None:
        """Nothing to remember."""

    def distrust(self) -> None:
        """Nothing to begin anew."""

    def close(self) -> None:
        """Nothing to give back."""


def _origin(side: RevisionSide) -> CommitOrigin:
    try:
        with Repository.open(side.policies) as repository:
            place = repository.root or Path(repository.repo.controldir()).resolve()
    except RepositoryError as error:
        raise BuildError(error.message) from error
    return CommitOrigin(str(place), side.commit, side.folder)
