"""Passwords: which are taken, how they are hashed (argon2id, RFC 9106), and how many are hashed at a time.

A hash takes 64 MiB and some 200 ms of a processor on purpose. At most `RUNNING` are worked out at once and `WAITING`
wait for their turn; more are refused at once, so that whoever guesses passwords keeps nobody from anything else.
"""

import base64
import threading
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import RFC_9106_LOW_MEMORY

from authz_sidecar.directory.storage.errors import DirectoryError, Fault

LEAST_BYTES, MOST_BYTES = 12, 1024
RUNNING, WAITING = 2, 16
# Longer waits are given up: the caller's deadline is near.
WAIT_SECONDS = 5.0

_Result = TypeVar("_Result")


def normalize(password: str) -> bytes | None:
    """What is hashed: UTF-8 of the normal form C (RFC 8265, section 4.2), so that it does not matter which keyboard
    wrote an accent. None for a text that is too long or no text of Unicode."""
    if len(password) > MOST_BYTES:
        return None
    try:
        data = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        return None
    return data if len(data) <= MOST_BYTES else None


def password_problem(password: str, identity: str) -> str:
    """Why a password is not taken for an identity; "" if it is."""
    data = normalize(password)
    if data is None or len(data) < LEAST_BYTES:
        return f"a password has {LEAST_BYTES} to {MOST_BYTES:,} bytes of UTF-8"
    if password.casefold() == identity.casefold():
        return "a password is not the identity's id"
    return ""


class Passwords:
    """Hashes and compares passwords, a few at a time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._admitted = threading.BoundedSemaphore(RUNNING + WAITING)
        self._running = threading.BoundedSemaphore(RUNNING)
        self._nobody = self._hash_of_nothing()

    def hash(self, password: str) -> str:
        """The hash of a password that `password_problem` has nothing against, with its parameters in it.

        DirectoryError(LOCKED) if too many are being hashed.
        """
        data = normalize(password)
        if data is None:
            raise DirectoryError(Fault.INVALID, "that is no password")
        return self._work(lambda: self._hasher.hash(data))

    def is_right(self, password: str, hash: str | None) -> bool:
        """Whether a password has this hash. Without one (nobody has that id, or no password) it takes as long and is
        wrong.

        DirectoryError(LOCKED) if too many are being hashed.
        """
        data = normalize(password)

        def compare() -> bool:
            try:
                return self._hasher.verify(hash or self._nobody, data or b"")
            except (Argon2Error, InvalidHashError):
                return False

        return self._work(compare) and hash is not None and data is not None

    def is_outdated(self, hash: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(hash)

    def _work(self, call: Callable[[], _Result]) -> _Result:
        if not self._admitted.acquire(blocking=False):
            raise _busy()
        try:
            if not self._running.acquire(timeout=WAIT_SECONDS):
                raise _busy()
            try:
                return call()
            finally:
                self._running.release()
        finally:
            self._admitted.release()

    def _hash_of_nothing(self) -> str:
        """A hash that costs what any other costs, and that no password has."""
        hasher = self._hasher
        cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        salt, digest = (
            base64.b64encode(bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
        )
        return f"$argon2id$v=19${cost}${salt}${digest}"


def _busy() -> DirectoryError:
    return DirectoryError(Fault.LOCKED, "too many sign-ins at once", "try again in a moment", retry_after=1.0)
