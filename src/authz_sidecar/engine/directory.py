"""What the engine sees of a directory of identities: who is who at one revision, and whom a credential stands for."""

from typing import Protocol

from authz_sidecar.values import Reason
from authz_sidecar.values.identity import Authenticated, Identity


class DirectoryView(Protocol):
    """A directory in memory. It changes between calls only, never while one runs without yielding."""

    @property
    def revision(self) -> int:
        """Which state it is in."""

    def identity(self, id: str) -> Identity | None:
        """The identity of this id; None where there is none, or none that is held here."""

    def is_elsewhere(self, id: str) -> bool:
        """Whether there is an identity of this id that is not held here, as it has to do with other companies alone."""

    @property
    def companies(self) -> frozenset[str] | None:
        """The companies that it holds identities of; None for all."""

    def holds(self, company: str) -> bool:
        """Whether it holds all identities that may have to do with a company, or with the platform ("")."""


class CredentialReader(Protocol):
    """Tells whom a credential stands for, from memory."""

    def authenticate(self, credential: str, now: float) -> Authenticated | Reason:
        """Whom it stands for at `now` (seconds since 1970-01-01 UTC), or why it stands for nobody: also where
        the directory has not been seen for longer than credentials are trusted. Raises nothing."""
