"""Why the directory refuses something: a closed set of kinds, a sentence, and the remedy."""

import enum
from collections.abc import Mapping, Sequence

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.storage.secrets import without_secrets
from authz_sidecar.values import Violation


class Fault(enum.StrEnum):
    """What kind of refusal it is."""

    # A value is not what may stand there; the violations say which.
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    # The record has changed since its etag was read.
    CONFLICT = "conflict"
    # A number that the bundle sets is reached.
    LIMIT = "limit"
    # The state of the directory or the bundle does not permit it, such as a role that is in use.
    PRECONDITION = "precondition"
    # The bundle asks for a justification.
    JUSTIFICATION = "justification"
    # Too many attempts.
    LOCKED = "locked"
    # A password or token that is not right.
    UNAUTHENTICATED = "unauthenticated"
    # The store cannot be reached, or not written.
    UNAVAILABLE = "unavailable"
    # The store's content is not what we wrote.
    CORRUPT = "corrupt"


class DirectoryError(Exception):
    """A refusal. `help` says what to do; `details` are facts for programs, such as `{"limit": "25"}`."""

    def __init__(
        self,
        fault: Fault,
        message: str,
        help: str = "",
        *,
        violations: Sequence[Violation] = (),
        details: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        # What was given is repeated, and may be a credential in the wrong place.
        message = without_secrets(message)
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.help = without_secrets(help)
        self.violations = tuple(
            [Violation(without_secrets(found.field), without_secrets(found.description)) for found in violations]
        )
        self.details = {name: without_secrets(value) for name, value in (details or {}).items()}
        self.retry_after = retry_after


def not_found(noun: str, id: str) -> DirectoryError:
    """The refusal of an id that nothing has."""
    return DirectoryError(Fault.NOT_FOUND, f"there is no {noun} {quote(id)}", "list them to see which there are")
