"""One side of a comparison: a revision of the repository that holds the policies, or a directory."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.blame import LineKey, Origin, blame_lines
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.load import LoadedBundle, load_bundle, load_files
from authz_sidecar.sources.objects import RepositoryError, damaged
from authz_sidecar.sources.repository import Repository


class DirectorySide(msgspec.Struct, frozen=True):
    """The bundle in a directory, as it is now."""

    path: Path

    def load(self) -> LoadedBundle:
        """Read and check it. Raises nothing for what it meets there."""
        return load_bundle(self.path)

    def files(self) -> BundleFiles | None:
        """Its files alone; None if they cannot be read."""
        return read_directory(self.path)[0]


class RevisionSide(msgspec.Struct, frozen=True):
    """The bundle in `folder` of a commit of the repository that holds `policies`."""

    policies: Path
    commit: str
    folder: str

    def load(self) -> LoadedBundle:
        """Read and check it; the version is the commit. Raises RepositoryError."""
        with Repository.open(self.policies) as repository:
            read = repository.read_bundle(self.commit, self.folder)
        return load_files(*read, lambda _files, _digest: self.commit)

    def files(self) -> BundleFiles | None:
        """Its files alone; None if they cannot be read. Raises RepositoryError."""
        with Repository.open(self.policies) as repository:
            return repository.read_bundle(self.commit, self.folder)[0]


def blame_side(
    side: DirectorySide | RevisionSide,
    lines: Mapping[str, Collection[int]],
    visited: Callable[[], None] | None = None,
) -> dict[LineKey, Origin]:
    """The origin of each of these lines (file of the bundle -> line numbers): what of a directory is not in the last
    commit is not committed. `visited` is called for each commit that is looked at. Raises RepositoryError, also where
    the directory is not in git."""
    if isinstance(side, RevisionSide):
        with Repository.open(side.policies) as repository:
            return blame_lines(repository.objects, side.commit, side.folder, lines, visited=visited)
    with Repository.open(side.path) as repository:
        head = repository.head
        if head is None:
            return {(name, number): Origin(None) for name, numbers in lines.items() for number in numbers}
        folder = repository.folder(side.path)
        with damaged(f"the bundle {quote(side.path)}"):
            content = {name: (side.path / name).read_bytes() for name in lines}
        return blame_lines(repository.objects, head.id, folder, lines, content, visited=visited)


def find_side(text: str | None, policies: Path) -> DirectorySide | RevisionSide:
    """What `text` names beside the policies in the directory `policies`.

    A directory is written as one: `.`, `..`, or with `./`, `../` or `/` at the beginning or `/` at the end. Everything
    else is a revision of the repository that holds `policies`, and the same folder in it: a directory that is called
    like a revision could be anybody's, and must not stand in for it. Outside of git there are only directories. None
    is the directory `policies`, and in a bare repository its HEAD. Raises RepositoryError.
    """
    if text is None:
        return _current(policies)
    path = Path(text)
    if text in (".", "..") or text.startswith(("./", "../", "/")) or text.endswith("/"):
        return DirectorySide(path)
    return _revision(text, policies, path)


def load_side(text: str | None, policies: Path) -> LoadedBundle:
    """Read and check the bundle that `find_side` finds. Raises RepositoryError."""
    return find_side(text, policies).load()


def _current(policies: Path) -> DirectorySide | RevisionSide:
    if not (policies / "model.conf").is_file():
        try:
            with Repository.open(policies) as repository:
                if repository.root is None:
                    return RevisionSide(policies, repository.resolve("HEAD"), repository.folder(policies))
        except RepositoryError:
            # That it is no directory either is said by who reads it.
            pass
    return DirectorySide(policies)


def _revision(text: str, policies: Path, path: Path) -> DirectorySide | RevisionSide:
    """The revision `text`; outside of git the directory `path`."""
    try:
        repository = Repository.open(policies)
    except RepositoryError:
        if path.is_dir():
            return DirectorySide(path)
        raise
    with repository:
        try:
            return RevisionSide(policies, repository.resolve(text), repository.folder(policies))
        except RepositoryError as error:
            if text and path.is_dir():
                raise RepositoryError(
                    error.message, f"for the directory of that name write {quote(f'./{path}')}"
                ) from None
            raise
