"""The keys of one issuer as they are now: a thread fetches them, and whoever verifies a token reads an attribute.

Keys are fetched at the start, as often as the file of issuers or the server says, and when a token names a key that is
not among them, though not more often than `Pace.unknown_seconds`. What was fetched last stays when a fetch fails, until
it is too old. Nothing here is waited for by a call.
"""

import logging
import os
import random
import ssl
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from authz_sidecar.bundle.wording import counted, quote
from authz_sidecar.directory.jwt.issuers import Issuer
from authz_sidecar.directory.jwt.jwks import MAX_BYTES, NO_KEYS, JwksError, KeySet, parse_key_set
from authz_sidecar.directory.jwt.key_fetch import Fetched, FetchError, fetch_keys

logger = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """How long a fetch may take, how often unknown keys may cause one, the waits after fetches that failed (each twice
    the one before, up to the last), and how often a file is read; in seconds."""

    fetch_seconds: float = 10.0
    unknown_seconds: float = 30.0
    first_wait_seconds: float = 1.0
    last_wait_seconds: float = 300.0
    file_seconds: float = 5.0
    least_seconds: float = 60.0


USUAL_PACE = Pace()


class KeyStatus(msgspec.Struct, frozen=True):
    """What is known of an issuer's keys: how many, when they were seen last (seconds since 1970-01-01 UTC; None:
    never), how many fetches have ended, how many have failed since the last good one, and why the last one did. `good`
    and `bad` are all fetches by how they ended, and `staleness` for how many seconds the keys have not been seen, which
    before the first good fetch is since they were wanted."""

    issuer: str
    keys: int
    seen_at: float | None
    fetches: int
    failures: int
    problem: str
    good: int
    bad: int
    staleness: float


class KeySource:
    """Follows the keys of one issuer. `keys` is another object whenever they are others, and the same until then."""

    def __init__(self, issuer: Issuer, folder: Path, pace: Pace = USUAL_PACE) -> None:
        self.keys: KeySet = NO_KEYS
        self.issuer = issuer
        self._folder = folder
        self._pace = pace
        self._unknown = threading.Event()
        self._ended = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="issuer-keys", daemon=True)
        self._data = b""
        self._tag = ""
        self._context: ssl.SSLContext | None = None
        self._seen: float | None = None
        self._seen_at: float | None = None
        self._fetches = self._failures = self._good = self._bad = 0
        self._problem = ""
        self._wanted = time.monotonic()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End; a fetch that is under way is left to itself."""
        self._stopped.set()
        self._unknown.set()

    def ask(self) -> None:
        """A token names a key that is not here. Returns at once."""
        if not self._unknown.is_set():
            self._unknown.set()

    @property
    def settled(self) -> bool:
        """Whether the first fetch has ended, well or not."""
        return self._fetches > 0

    def wait(self, seconds: float, fetches: int = 1) -> bool:
        """Wait until so many fetches have ended since the start, well or not; whether they have."""
        with self._ended:
            return self._ended.wait_for(lambda: self._fetches >= fetches, max(seconds, 0.0))

    def status(self) -> KeyStatus:
        """How it stands, for metrics."""
        seen = self._wanted if self._seen is None else self._seen
        return KeyStatus(
            self.issuer.issuer,
            self.keys.size,
            self._seen_at,
            self._fetches,
            self._failures,
            self._problem,
            self._good,
            self._bad,
            max(0.0, time.monotonic() - seen),
        )

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Questions that came up to now are answered by the fetch that begins.
            self._unknown.clear()
            begun = time.monotonic()
            try:
                pause = self._look()
            except Exception as error:  # noqa: BLE001  # the thread must outlive whatever a server sends
                pause = self._fail(str(error) or type(error).__name__)
            with self._ended:
                self._fetches += 1
                self._ended.notify_all()
            due = time.monotonic() + pause
            if self._unknown.wait(pause):
                # INVARIANT unknown-keys-are-limited: tokens make two fetches no closer than this, and delay none.
                earliest = min(begun + self._pace.unknown_seconds, due)
                self._stopped.wait(max(earliest - time.monotonic(), 0.0))

    def _look(self) -> float:
        """Fetch once; how many seconds until the next time."""
        try:
            found = self._read_file() if self.issuer.jwks.file is not None else self._fetch()
            if found.data is not None and found.data != self._data:
                self._take(found.data)
        except (FetchError, JwksError) as error:
            return self._fail(str(error))
        if self._failures:
            logger.info("the keys of the issuer %s are there again", quote(self.issuer.issuer))
        self._tag = found.tag
        self._seen, self._seen_at = time.monotonic(), time.time()
        self._failures, self._problem = 0, ""
        self._good += 1
        if self.issuer.jwks.file is not None:
            return self._pace.file_seconds
        longest = float(self.issuer.jwks.refresh_seconds)
        pause: float = longest if found.max_age is None else min(max(found.max_age, self._pace.least_seconds), longest)
        # Sidecars that started together do not ask together for good.
        return pause * random.uniform(0.9, 1.0)  # noqa: S311  # no secret

    def _take(self, data: bytes) -> None:
        keys = parse_key_set(data, self.issuer.algorithms)
        name = quote(self.issuer.issuer)
        for note in keys.notes:
            logger.warning("keys of the issuer %s: %s", name, note)
        # Taken all the same: an issuer that withdraws every key means it.
        logger.log(logging.INFO if keys.size else logging.ERROR, "%s of the issuer %s", counted(keys.size, "key"), name)
        self.keys, self._data = keys, data

    def _fail(self, problem: str) -> float:
        name = quote(self.issuer.issuer)
        if problem != self._problem:
            logger.warning("the keys of the issuer %s cannot be had: %s", name, problem)
        self._failures, self._problem = self._failures + 1, problem
        self._bad += 1
        # What a server answers to this tag may be what cannot be used.
        self._tag = ""
        doubled = self._pace.first_wait_seconds * float(1 << min(self._failures - 1, 20))
        pause: float = min(doubled, self._pace.last_wait_seconds) * random.uniform(0.75, 1.25)  # noqa: S311  # no secret
        if self._seen is not None:
            left = self._seen + self.issuer.jwks.stale_seconds - time.monotonic()
            if left > 0:
                return min(pause, left)
            if self.keys is not NO_KEYS:
                logger.error("the keys of the issuer %s are too old: its tokens are refused", name)
                self.keys, self._data = NO_KEYS, b""
        return pause

    def _fetch(self) -> Fetched:
        jwks = self.issuer.jwks
        if jwks.url is None:
            raise FetchError("there is no URL")
        if self._context is None and jwks.url.startswith("https:"):
            try:
                authorities = str(self._folder / jwks.ca_file) if jwks.ca_file else None
                self._context = ssl.create_default_context(cafile=authorities)
            except OSError as error:
                raise FetchError(f"{quote(jwks.ca_file)} cannot be used: {error.strerror or error}") from None
        return fetch_keys(jwks.url, tag=self._tag, seconds=self._pace.fetch_seconds, context=self._context)

    def _read_file(self) -> Fetched:
        path = self._folder / (self.issuer.jwks.file or "")
        try:
            # Not waited for, should it be a pipe.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise FetchError(f"{quote(path)} is no file")
                return Fetched(stream.read(MAX_BYTES + 1))
        except OSError as error:
            raise FetchError(f"{quote(path)} cannot be read: {(error.strerror or 'unknown reason').lower()}") from None


class KeySources:
    """The sources of all issuers."""

    def __init__(self, issuers: Sequence[Issuer], folder: Path, pace: Pace = USUAL_PACE) -> None:
        self.by_issuer = {issuer.issuer: KeySource(issuer, folder, pace) for issuer in issuers}

    def start(self) -> None:
        """Begin to follow all of them."""
        for source in self.by_issuer.values():
            source.start()

    def stop(self) -> None:
        """End all of them."""
        for source in self.by_issuer.values():
            source.stop()

    @property
    def settled(self) -> bool:
        """Whether every first fetch has ended, well or not."""
        return all(source.settled for source in self.by_issuer.values())

    def wait(self, seconds: float) -> bool:
        """Wait for every first fetch to end, `seconds` in all; whether they have."""
        ends = time.monotonic() + seconds
        return all(source.wait(ends - time.monotonic()) for source in self.by_issuer.values())

    def status(self) -> tuple[KeyStatus, ...]:
        """How each stands, for metrics."""
        return tuple(source.status() for source in self.by_issuer.values())
