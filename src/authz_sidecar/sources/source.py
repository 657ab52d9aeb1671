"""Where a server takes its policies from: a directory on this machine, or a branch of a git repository."""

import contextlib
import os
import random
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Protocol

import msgspec

from authz_sidecar.sources.build import Build, CommitOrigin
from authz_sidecar.sources.cache import GitCache, default_cache, make_private
from authz_sidecar.sources.credentials import Credentials
from authz_sidecar.sources.fetch import Fetch, FetchOrder
from authz_sidecar.sources.remote import Remote
from authz_sidecar.sources.transport import SshFiles
from authz_sidecar.sources.watch import Sight, look

# Many servers that were started at once do not ask at once for good.
JITTER = 0.1


class GitSettings(msgspec.Struct, frozen=True):
    """How to follow a repository. Nothing in it is a secret.

    `cache` is a directory ("": the user's own, or one for this run). The remote is looked at every `interval` seconds
    (0: only when asked), for at most `seconds` and `max_bytes`. `remembers` says that what is taken is what a next run
    must contain, and may fall back on. The rest is as in FetchOrder.
    """

    remote: Remote
    cache: str = ""
    interval: float = 30.0
    seconds: float = 60.0
    max_bytes: int = 1 << 30
    at: str = ""
    allow_rewind: bool = False
    allowed_signers: str = ""
    credentials_file: str = ""
    ssh: SshFiles = SshFiles()
    remembers: bool = True


class LookError(Exception):
    """The source cannot be looked at now; what was seen before still stands. A message and a remedy."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class PolicySource(Protocol):
    """Where policies come from. Its methods do I/O and are called in threads, one at a time."""

    # Whether looking leaves this machine: how long ago it was is then worth telling.
    remote: bool
    # When a look succeeded last, in a run before this one (seconds since 1970-01-01 UTC; 0: never).
    looked_at: float

    def pause(self) -> float:
        """Seconds until the next look; 0: until somebody asks."""

    def look(self) -> Sight:
        """See what is there; raises LookError."""

    def kept(self) -> Sight | None:
        """What was served last and may be served again where `look` fails; None for nothing."""

    def build(self, sight: Sight, known_digest: str = "", *, background: bool = False) -> Build:
        """Begin to compile what was seen; raises BuildError."""

    def took(self, version: str) -> None:
        """This version is served from now on."""

    def distrust(self) -> None:
        """What was seen could not be read: begin anew at the next look."""

    def close(self) -> None:
        """Give back what it holds, and end a look that is going on."""


class DirectorySource:
    """The bundle in the directory `path`, looked at every `interval` seconds (0: only when asked)."""

    remote = False
    looked_at = 0.0

    def __init__(self, path: Path, interval: float) -> None:
        self._path = path
        self._interval = interval

    def pause(self) -> float:
        """Seconds until the next look."""
        return self._interval

    def look(self) -> Sight:
        """See what is there. Raises nothing: a directory that is gone is something to see, too."""
        return look(self._path)

    def kept(self) -> Sight | None:
        """Nothing: what is not there now is not known."""
        return None

    def build(self, sight: Sight, known_digest: str = "", *, background: bool = False) -> Build:
        """Begin to compile what is there; raises BuildError."""
        return Build(self._path, known_digest, background=background)

    def took(self, version: str) -> None:
        """Nothing to remember."""

    def distrust(self) -> None:
        """Nothing to begin anew."""

    def close(self) -> None:
        """Nothing to give back."""


def find_clone(settings: GitSettings) -> Path | None:
    """Where GitSource has its clone, for others to read; None where that is known to it alone."""
    folder = Path(settings.cache) if settings.cache else default_cache(os.environ)
    return None if folder is None else GitCache(folder.resolve(), settings.remote).repository


class GitSource:
    """The bundle on a ref of a remote repository. Raises CacheError where there is no place for its clone."""

    remote = True

    def __init__(self, settings: GitSettings, credentials: Credentials | None) -> None:
        self._settings = settings
        self._credentials = credentials
        self._own = ""
        folder = Path(settings.cache) if settings.cache else default_cache(os.environ)
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="authz-git-"))
            self._own = str(folder)
        # Where links lead to, once and for all: whoever owns a link could turn it elsewhere.
        with contextlib.suppress(RuntimeError):
            folder = folder.resolve()
        self._folder = folder
        make_private(self._folder)
        self._cache = GitCache(self._folder, settings.remote)
        self._served = ""
        self._kept = ""
        self._fresh = False
        self.looked_at = 0.0
        # Guards `_fetch` and `_closed`: `close` comes from another thread than `look`.
        self._guard = threading.Lock()
        self._fetch: Fetch | None = None
        self._closed = False

    def pause(self) -> float:
        """Seconds until the next look, a little more or less each time."""
        return self._settings.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - nobody gains by guessing

    def look(self) -> Sight:
        """Fetch what is new, and see whether it may be served; raises LookError."""
        settings = self._settings
        order = FetchOrder(
            settings.remote,
            str(self._folder),
            settings.seconds,
            settings.max_bytes,
            settings.at,
            self._served,
            settings.allow_rewind,
            settings.allowed_signers,
            settings.credentials_file,
            self._credentials,
            settings.ssh,
            self._fresh,
        )
        with self._guard:
            if self._closed:
                raise LookError("the server is stopping")
            try:
                fetch = self._fetch = Fetch(order)
            except OSError as error:
                raise LookError(f"the fetching process cannot be started: {error.strerror}") from error
        report = fetch.result()
        self._kept, self.looked_at = report.kept, report.looked_at
        if report.problem:
            raise LookError(report.problem, report.help)
        self._fresh = False
        return self._sight(report.commit, report.refused)

    def kept(self) -> Sight | None:
        """The commit that was served last, as the last look has found it in the clone."""
        return self._sight(self._kept) if self._kept else None

    def build(self, sight: Sight, known_digest: str = "", *, background: bool = False) -> Build:
        """Begin to compile the commit that was seen; raises BuildError."""
        origin = CommitOrigin(str(self._cache.repository), sight.version, self._settings.remote.folder)
        return Build(origin, known_digest, background=background)

    def took(self, version: str) -> None:
        """Remember the commit, also for the next run."""
        self._served = version
        if not self._settings.remembers:
            return
        # Where there is no room the next run only knows less.
        with contextlib.suppress(OSError):
            self._cache.keep_served(version)

    def distrust(self) -> None:
        """Clone anew at the next look."""
        self._fresh = True

    def close(self) -> None:
        """End a fetch that is going on, and remove a clone that was made for this run only."""
        with self._guard:
            self._closed = True
            if self._fetch is not None:
                self._fetch.kill()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    @staticmethod
    def _sight(commit: str, refused: str = "") -> Sight:
        return Sight(commit, None, settled=True, version=commit, refused=refused)
