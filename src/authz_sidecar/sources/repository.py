"""The git repository that holds policies: its revisions, and a bundle at any of them.

Bare repositories, linked work trees, shallow and partial clones are read alike. A work tree is preferred to a bare
repository: what looks like one inside of a work tree is content, which anybody who proposes a change may have written.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.wording import quote
from authz_sidecar.sources.commit import Commit
from authz_sidecar.sources.log import walk_history
from authz_sidecar.sources.objects import Objects, RepositoryError, damaged
from authz_sidecar.sources.revision import resolve_revision
from authz_sidecar.sources.tree import LinkError, NothingThereError, PathFinder, read_tree
from authz_sidecar.values.diagnostic import Diagnostic

if TYPE_CHECKING:
    from dulwich.repo import Repo

__all__ = ["Repository", "RepositoryError"]

# Extensions of git's that change nothing for who reads objects that are there.
_HARMLESS_EXTENSIONS = (b"partialclone", b"preciousobjects", b"noop")
_MAX_SHALLOW_BYTES = 64 << 20


class Repository:
    """A repository that is open; `close` it, or use it as a context.

    `root` is its work tree, None in a bare one; `objects` reads its objects.
    """

    def __init__(self, repo: "Repo") -> None:
        self.repo = repo
        self.root = None if repo.bare else Path(repo.path).resolve()
        self._place = self.root or Path(repo.controldir()).resolve()
        common = Path(repo.commondir())
        # git marks the packs that came from somebody who promised to have the rest.
        partial = any((common / "objects" / "pack").glob("*.promisor"))
        self.objects = Objects(repo.object_store, _shallow(common), partial)

    @classmethod
    def open(cls, path: Path) -> "Repository":
        """The repository that holds `path`, which need not exist: in a bare one, what follows its directory is the
        folder inside (`policies.git/config`). Where a link leads is looked at last. Raises RepositoryError."""
        with damaged(f"the repository of {quote(path)}"):
            starts = (_spelled(path), path.resolve())
            folders = tuple(dict.fromkeys(folder for start in starts for folder in (start, *start.parents)))
            for folder in folders:
                if (folder / ".git").exists() and (found := _open(folder)):
                    return found
            for folder in folders:
                if (folder / "HEAD").is_file() and (found := _open(folder)):
                    return found
        raise RepositoryError(
            f"{quote(path)} is not in a git repository",
            "name a folder of a work tree, or `REPOSITORY.git/FOLDER` in a bare repository",
        )

    def __enter__(self) -> "Repository":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give its files back."""
        self.repo.close()

    @property
    def shallow(self) -> bool:
        """Whether the clone leaves out the older part of the history."""
        return bool(self.objects.shallow)

    @property
    def head(self) -> Commit | None:
        """The commit that is checked out; None before the first. Raises RepositoryError."""
        with damaged("HEAD"):
            try:
                id = self.repo.head().decode("ascii")
            except KeyError:
                return None
        return self.commit(id)

    def folder(self, path: Path) -> str:
        """Where `path` lies in the repository: a path from its root, "" for the root. Raises RepositoryError.

        Links inside of the repository are kept: each commit has its own, and a change that puts a link in the folder's
        place must not choose what it is compared with.
        """
        try:
            spelled = _spelled(path)
            for above in (*reversed(spelled.parents), spelled):
                real = above.resolve()
                if real.is_relative_to(self._place):
                    inside = real.relative_to(self._place) / spelled.relative_to(above)
                    return "" if inside == Path() else inside.as_posix()
        except (OSError, RuntimeError):
            pass
        raise RepositoryError(
            f"{quote(path)} lies outside of the repository {quote(self._place)}", "name a folder of the repository"
        )

    def resolve(self, revision: str) -> str:
        """The id of the commit that `revision` names: a branch, a tag, an id or the beginning of one, `HEAD`, with
        `~2`, `^`, `^2`, `@{upstream}`, or `A...B` for where A and B parted. Raises RepositoryError."""
        return resolve_revision(self.repo, self.objects, revision)

    def commit(self, id: str) -> Commit:
        """The commit of this id; raises RepositoryError."""
        return self.objects.commit(id)

    def tree(self, commit: str, folder: str) -> str | None:
        """The id of what the commit has at `folder`: equal ids are equal content. None if it has nothing there.
        Raises RepositoryError."""
        try:
            return PathFinder(self.objects, self.objects.links(commit).tree).find(folder).id
        except LinkError:
            return None

    def lacks(self, commit: str, folder: str) -> bool:
        """Whether the commit has nothing at `folder`. A link that leads nowhere is something. Raises
        RepositoryError."""
        try:
            PathFinder(self.objects, self.objects.links(commit).tree).find(folder)
        except NothingThereError:
            return True
        except LinkError:
            return False
        return False

    def read_bundle(self, commit: str, folder: str) -> tuple[BundleFiles | None, list[Diagnostic]]:
        """The files of the bundle in `folder` of the commit, or None with findings, as `read_directory` has them.
        Raises RepositoryError if git does not hold what it should."""
        return read_tree(self.objects, self.objects.links(commit).tree, folder, commit)

    def history(
        self, commit: str, folder: str, limit: int | None = None, *, first_parent: bool = False
    ) -> Iterator[Commit]:
        """The commits up to `commit` that changed what is in `folder`, newest first, at most `limit`.

        As `git log -- FOLDER`: where a merge brought nothing new against one of its parents, only that parent is
        followed. With `first_parent` the merged side is not followed at all, and the merge stands for it. The last
        commit of a shallow clone (`Commit.edge`) is listed if it has the folder, since what was before it is not
        known. Raises RepositoryError.
        """
        found = walk_history(self.objects, commit, folder, first_parent=first_parent)
        for count, id in enumerate(found):
            if limit is not None and count >= limit:
                return
            yield self.commit(id)

    def commit_files(
        self,
        changes: Mapping[str, bytes | None],
        message: str,
        branch: str | None = None,
        *,
        author: str | None = None,
    ) -> str:
        """Commit exactly `changes` (path from the root of the repository -> content, None to remove the file) on top of
        HEAD, and return the id of the commit.

        On the branch that is checked out (`branch` None, or its name), the files and their entries in git's index are
        brought to what is committed; whatever else is staged, changed or new stays as it is. On another `branch`, which
        must be new, the commit is made without touching work tree or index. `author` is `Name <address>`, by default
        who commits, whom git's environment and configuration name. No hooks are run.

        Raises RepositoryError: a file has changes beside these (in the work tree or staged), a merge or the like is
        under way, git does not know who commits, commits are to be signed, somebody else is writing, there is nothing
        to commit.
        """
        # Readers do without.
        from authz_sidecar.sources.committing import commit_files

        return commit_files(self.repo, self.objects, self.root, changes, message, branch, author)


def _spelled(path: Path) -> Path:
    """The absolute path with its links as they are, but for those that a `..` leads back from."""
    first, *parts = path.absolute().parts
    way = Path(first)
    for part in parts:
        way = way.resolve().parent if part == ".." else way / part
    return way


def _open(folder: Path) -> "Repository | None":
    from dulwich.config import ConfigFile, StackedConfig
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo, UnsupportedExtension, UnsupportedVersion

    class ReadRepo(Repo):
        """A repository that git may use more freely than dulwich does."""

        def get_config(self) -> "ConfigFile":
            """The configuration, without what is no hindrance to a reader. Files that it includes, which may well be
            content of the work tree, are nothing to a reader either."""
            path = str(Path(self.commondir()) / "config")

            def opened(name: str | os.PathLike[str]) -> IO[bytes]:
                if name != path:
                    raise OSError("not read")
                return Path(path).open("rb")

            try:
                config = ConfigFile.from_path(path, file_opener=opened)
            except FileNotFoundError:
                config = ConfigFile()
            for name in _HARMLESS_EXTENSIONS:
                try:
                    del config[(b"extensions",)][name]
                except KeyError:
                    continue
            return config

        def get_config_stack(self) -> "StackedConfig":
            """All of the configuration, for who commits."""
            return StackedConfig([super().get_config(), *StackedConfig.default_backends()])

    try:
        return Repository(ReadRepo(str(folder)))
    except NotGitRepository:
        return None
    except (UnsupportedExtension, UnsupportedVersion) as error:
        raise RepositoryError(
            f"the repository {quote(folder)} uses a form of git that is not read: {error}",
            "clone it in the usual form, for example with `git clone --no-local`",
        ) from error


def _shallow(place: Path) -> frozenset[str]:
    """The commits at the edge of a shallow clone; empty for a whole one."""
    try:
        with (place / "shallow").open("rb") as file:
            return frozenset(line.decode("ascii") for line in file.read(_MAX_SHALLOW_BYTES).split())
    except FileNotFoundError:
        return frozenset()
