"""The clone of a remote repository on this machine: private, shared in turns, and made anew when it is damaged.

```
CACHE/                      mode 0700, the user's own
    <digest of the URL>/
        lock                held while somebody fetches
        repository.git/     a bare repository; of `git+file` it only refers to the objects where they are
        looked-<digest>     its time: when the ref was last seen; one for each ref and folder
        served-<digest>     the commit that was served last from it
```
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from authz_sidecar.sources.objects import COMMIT, RepositoryError
from authz_sidecar.sources.remote import Remote
from authz_sidecar.sources.repository import Repository
from authz_sidecar.values.lineage import is_commit

if TYPE_CHECKING:
    from dulwich.repo import Repo

# Each change brings a pack; looking through very many is slow.
MAX_PACKS = 200
_DIGITS = 16
# Where dulwich refers to another repository's objects.
_ALTERNATES = Path("objects") / "info" / "alternates"
_REFS = "refs/authz/"


class CacheError(Exception):
    """The cache directory cannot be used: a message and a remedy."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def default_cache(environment: "os._Environ[str] | dict[str, str]") -> Path | None:
    """The user's cache directory for this, made if need be; None where the user can have none."""
    base = environment.get("XDG_CACHE_HOME") or (
        os.path.join(environment["HOME"], ".cache") if environment.get("HOME") else ""  # noqa: PTH118 - may be ""
    )
    if not base or not Path(base).is_absolute():
        return None
    place = Path(base) / "authz-sidecar" / "git"
    try:
        make_private(place)
    except CacheError:
        return None
    return place if os.access(place, os.W_OK | os.X_OK) else None


def make_private(folder: Path) -> None:
    """Make the directory, or see that it is ours alone: who may write there decides what is served. Raises
    CacheError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
    except OSError as error:
        raise CacheError(
            f"the cache directory `{folder}` cannot be made: {(error.strerror or 'unknown reason').lower()}",
            "name a directory that the user who runs the sidecar may write with `--git-cache`",
        ) from error
    if facts.st_uid != os.geteuid():
        raise CacheError(
            f"the cache directory `{folder}` belongs to another user, who could change what is served",
            "name another one with `--git-cache`",
        )
    if facts.st_mode & 0o077:
        raise CacheError(
            f"others may enter the cache directory `{folder}`: its mode is {stat.S_IMODE(facts.st_mode):04o}",
            f"`chmod 0700 {folder}`",
        )


class GitCache:
    """The place of one remote in a cache directory."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        self._place = folder / _digest(remote.repository)
        self._remote = remote
        what = _digest(f"{remote.ref}\0{remote.folder}")
        self._looked = self._place / f"looked-{what}"
        self._served = self._place / f"served-{what}"
        self._ref = f"{_REFS}{what}"

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self._place / "repository.git"

    @property
    def served(self) -> str:
        """The commit that was served last; "" for none."""
        try:
            commit = self._served.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return commit if is_commit(commit) else ""

    @property
    def looked_at(self) -> float:
        """When the ref was last seen, in seconds since 1970-01-01 UTC; 0 for never."""
        try:
            return self._looked.stat().st_mtime
        except OSError:
            return 0.0

    def keep_served(self, commit: str) -> None:
        """Remember the commit that is served; raises OSError."""
        with tempfile.NamedTemporaryFile("w", dir=self._place, prefix="served.", delete=False) as file:
            try:
                file.write(f"{commit}\n")
                file.flush()
                Path(file.name).replace(self._served)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise

    def keep_looked(self) -> None:
        """Remember that the ref has been seen now; raises OSError."""
        self._looked.touch(mode=0o600)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that writes there; raises CacheError. Waits for as long as another does."""
        make_private(self._place.parent)
        make_private(self._place)
        try:
            handle = os.open(self._place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(self._place, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def open(self) -> Repository:
        """Open the clone, made first if there is none. Hold the lock. Raises RepositoryError if it is damaged, and
        CacheError."""
        try:
            if not self.repository.exists():
                self._make()
            if self._remote.scheme == "file":
                self._refer()
        except OSError as error:
            raise _unusable(self._place, error) from error
        repository = open_exactly(self.repository)
        if len(list(repository.repo.object_store.packs)) > MAX_PACKS:
            repository.close()
            raise RepositoryError("the clone has too many packs")
        return repository

    def set_aside(self) -> Path:
        """Put the clone where `put_back` finds it. Hold the lock. Whoever reads it finds it missing and tries again."""
        aside = Path(tempfile.mkdtemp(dir=self._place, prefix="discarded.")) / "repository.git"
        with contextlib.suppress(FileNotFoundError):
            self.repository.rename(aside)
        return aside

    def put_back(self, aside: Path) -> None:
        """Have again what was set aside, in the place of what was made since."""
        if aside.exists():
            self.set_aside()
            aside.rename(self.repository)

    def discard_rest(self) -> None:
        """Do away with what was set aside. Hold the lock."""
        for doomed in self._place.glob("discarded.*"):
            shutil.rmtree(doomed, ignore_errors=True)

    def known(self, repository: Repository) -> list[bytes]:
        """The newest commits that the clone holds, for the other side to leave out."""
        names = repository.repo.refs.as_dict(_REFS.rstrip("/").encode())  # type: ignore[arg-type]  # names are bytes
        return [id for id in names.values() if id in repository.repo.object_store]

    def add(self, repository: Repository, pack: Any) -> None:
        """Take the pack in the open file `pack`; raises what damaged packs raise."""
        pack.seek(0)
        repository.repo.object_store.add_thin_pack(pack.read, None)

    def keep_edge(self, repository: Repository, commits: set[bytes]) -> None:
        """Remember the commits whose parents the remote does not hold, that their parents are not missed."""
        if commits:
            repository.repo.update_shallow(commits, None)  # type: ignore[arg-type]  # ids are bytes
            repository.objects.shallow |= {commit.decode("ascii") for commit in commits}

    def keep_tip(self, repository: Repository, commit: str) -> None:
        """Remember the newest commit of the ref in the clone."""
        repository.repo.refs[self._ref.encode()] = commit.encode()  # type: ignore[index, assignment]  # names are bytes

    def _make(self) -> None:
        from dulwich.repo import Repo

        fresh = Path(tempfile.mkdtemp(dir=self._place, prefix="discarded."))
        Repo.init_bare(str(fresh)).close()
        fresh.rename(self.repository)

    def _refer(self) -> None:
        """Take the objects of a repository on this machine from where they are."""
        with contextlib.closing(open_local(self._remote)) as source:
            objects = Path(source.object_store.path).resolve()
            edge = b"".join(b"%s\n" % commit for commit in sorted(source.get_shallow()))
        text = f"{objects}\n"
        alternates = self.repository / _ALTERNATES
        if not alternates.exists() or alternates.read_text() != text:
            alternates.parent.mkdir(exist_ok=True)
            alternates.write_text(text)
        shallow = self.repository / "shallow"
        if edge or shallow.exists():
            shallow.write_bytes(edge)


def open_exactly(path: Path) -> Repository:
    """The repository at `path` itself, never one around it; raises RepositoryError."""
    opened: Repository = _opened(path, RepositoryError(f"there is no repository at `{path}`"), Repository)
    return opened


def open_local(remote: Remote) -> "Repo":
    """The repository that a `git+file` URL names; raises RepositoryError."""
    missing = RepositoryError(
        f"there is no repository at `{remote.path}`", "name the directory that holds `.git`, or a bare repository"
    )
    opened: Repo = _opened(Path(remote.path), missing, lambda repo: repo)
    return opened


def _opened(path: Path, missing: RepositoryError, make: "Callable[[Repo], Any]") -> Any:
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo

    try:
        return make(Repo(str(path)))
    except NotGitRepository:
        raise missing from None
    # A damaged or foreign repository can fail in any way while it is opened.
    except Exception as error:
        raise RepositoryError(f"the repository `{path}` cannot be read: {type(error).__name__}") from error


def has_commit(repository: Repository, commit: str) -> bool:
    """Whether the clone holds the commit."""
    try:
        repository.objects.content(commit, COMMIT)
    except RepositoryError:
        return False
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def _unusable(place: Path, error: OSError) -> CacheError:
    return CacheError(
        f"the cache directory `{place}` cannot be used: {(error.strerror or 'unknown reason').lower()}",
        "make room there, or name another directory with `--git-cache`",
    )
