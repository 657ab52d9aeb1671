"""Traces of use: when API keys were used last, and access tokens that use extends.

Both are noted in memory as credentials come by, and written a few seconds later by a thread of their own, all together
in one transaction: checks wait for no disk, and a request is no write. A key is noted about once a minute, a token once
a tenth of its lifetime. An extension holds in this process at once and elsewhere when it is written, since other
sidecars follow it; when a key was used is for people, and nobody follows that.

Where the store cannot be written, times of last use are lost, and extensions are tried again: in memory they hold on,
at most to the end that each token has.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_

from authz_sidecar.audit.record import SIDECAR
from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import KEYS, TOKENS

if TYPE_CHECKING:
    from authz_sidecar.directory.storage.store import Store

logger = logging.getLogger(__name__)

# Seconds between uses of a key that are told apart.
RESOLUTION = 60.0
# The part of its lifetime that has to pass until a token is extended again.
EXTENSION_SHARE = 0.1
WRITE_SECONDS = 5.0
# Rows of one transaction: others have to wait for it.
MAX_ROWS = 5_000

_ACTOR = Actor(SIDECAR)


class Use:
    """Notes uses and writes them. `note_key` and `extend` are for the thread that authenticates; they do no I/O.

    Only credentials that were found right are noted, so it never holds more than the directory does. `clock` gives
    seconds since 1970-01-01 UTC; `seconds` is how often it writes.
    """

    def __init__(self, store: "Store", clock: Callable[[], float] = time.time, seconds: float = WRITE_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._seconds = seconds
        # Held while notes are changed, and by whoever writes, so that nothing is written twice.
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        # When each key was noted last, and which of that is not written yet.
        self._noted: dict[str, float] = {}
        self._keys: dict[str, float] = {}
        # Until when tokens are extended that the copy has with an earlier end, and which of that is not written yet.
        self._extended: dict[str, float] = {}
        self._tokens: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failures = 0

    def start(self) -> None:
        """Begin to write in the background."""
        self._thread = threading.Thread(target=self._run, name="credential-use", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()

    @property
    def waiting(self) -> int:
        """How many notes are not written yet."""
        return len(self._keys) + len(self._tokens)

    def note_key(self, id: str, now: float) -> None:
        """A key was used at `now`."""
        if abs(now - self._noted.get(id, float("-inf"))) < RESOLUTION:
            return
        with self._lock:
            self._noted[id] = self._keys[id] = now

    def expires(self, id: str, stored: float) -> float:
        """When a token stops that stops at `stored` in the directory's copy."""
        extended = self._extended.get(id)
        if extended is None:
            return stored
        if extended > stored:
            return extended
        with self._lock:
            self._extended.pop(id, None)
        return stored

    def extend(self, id: str, expires: float, sliding: float, ends: float, now: float) -> float:
        """Use at `now` of a token that stops at `expires`: gives when it stops now.

        It holds for another `sliding` seconds, not past `ends`; what would add less than a tenth of that is left.
        """
        wanted = min(now + sliding, ends)
        if wanted <= expires or (wanted < ends and wanted - expires < sliding * EXTENSION_SHARE):
            return expires
        with self._lock:
            self._extended[id] = self._tokens[id] = wanted
        return wanted

    def flush(self) -> bool:
        """Write what is noted; False if the store would not take all of it."""
        with self._writing:
            while keys_and_tokens := self._take():
                keys, tokens = keys_and_tokens
                try:
                    self._write(keys, tokens)
                except DirectoryError as error:
                    self.failures += 1
                    with self._lock:
                        for id, expires in tokens.items():
                            self._tokens.setdefault(id, expires)
                    logger.warning(
                        "the use of credentials could not be written",
                        extra={"cause": error.message, "keys": len(keys), "tokens": len(tokens)},
                    )
                    return False
            self._forget()
            return True

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.flush()
            except Exception:  # the thread has to live on; a fault in one round is logged
                logger.exception("the use of credentials could not be written")

    def _take(self) -> tuple[dict[str, float], dict[str, float]] | None:
        """Some of what is not written yet, no longer noted as such."""
        with self._lock:
            keys, tokens = _pop_some(self._keys), _pop_some(self._tokens)
        return (keys, tokens) if keys or tokens else None

    def _write(self, keys: Mapping[str, float], tokens: Mapping[str, float]) -> None:
        with self._store.change(_ACTOR, self._clock()) as change:
            if keys:
                change.connection.execute(
                    KEYS.update()
                    .where(
                        KEYS.c.id == bindparam("key"),
                        or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < bindparam("at")),
                    )
                    .values(last_used_at=bindparam("at")),
                    [{"key": id, "at": at} for id, at in keys.items()],
                )
            if tokens:
                # It is never shortened: another sidecar may have extended it further. What was revoked stays so.
                change.connection.execute(
                    TOKENS.update()
                    .where(
                        TOKENS.c.id == bindparam("token"),
                        TOKENS.c.revoked_at.is_(None),
                        TOKENS.c.expires_at < bindparam("until"),
                        or_(TOKENS.c.ends_at.is_(None), TOKENS.c.ends_at >= bindparam("until")),
                    )
                    .values(expires_at=bindparam("until"), revision=change.revision),
                    [{"token": id, "until": until} for id, until in tokens.items()],
                )
                for id in tokens:
                    change.touch("token", id)

    def _forget(self) -> None:
        """Forget what makes no difference any more: extensions that have run out, and uses of some time ago."""
        now = self._clock()
        with self._lock:
            for id in [id for id, expires in self._extended.items() if expires <= now and id not in self._tokens]:
                del self._extended[id]
            for id in [id for id, at in self._noted.items() if abs(now - at) >= RESOLUTION]:
                del self._noted[id]


def _pop_some(noted: dict[str, float]) -> dict[str, float]:
    taken: dict[str, float] = {}
    while noted and len(taken) < MAX_ROWS:
        id, value = noted.popitem()
        taken[id] = value
    return taken
