"""Errors of calls: what a client is told, in the forms of google.rpc (AIP-193).

A deny is no error. An error carries a status code, a sentence, an `ErrorInfo` that programs can act on, for
INVALID_ARGUMENT a `BadRequest` with each violation, and for what may succeed later a `RetryInfo`. The sentence is ours:
no detail of a fault is repeated in it, and no value of the request but names, in the refusals of administration.
"""

import enum
from collections.abc import Sequence

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from authz_sidecar.values import Violation

DOMAIN = "authz-sidecar"
DETAILS_KEY = "grpc-status-details-bin"
# Names a call in the log and in the ErrorInfo of a fault.
REQUEST_ID = "request_id"
# Statuses travel in metadata, which clients bound at 8 kB. Violations beyond this many are counted only.
MAX_VIOLATIONS = 20


class ErrorReason(enum.StrEnum):
    """The `reason` of an ErrorInfo: a closed set that clients may rely on."""

    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    INVALID_CHECK = "INVALID_CHECK"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    STREAM_TOO_LONG = "STREAM_TOO_LONG"
    ANSWER_TOO_LARGE = "ANSWER_TOO_LARGE"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    TOO_MANY_WATCHES = "TOO_MANY_WATCHES"
    DEADLINE_PASSED = "DEADLINE_PASSED"
    SERVER_DRAINING = "SERVER_DRAINING"
    POLICY_VERSION_NOT_CONTAINED = "POLICY_VERSION_NOT_CONTAINED"
    DIRECTORY_REVISION_NOT_REACHED = "DIRECTORY_REVISION_NOT_REACHED"
    AUDIT_QUEUE_FULL = "AUDIT_QUEUE_FULL"
    CREDENTIAL_NOT_SUPPORTED = "CREDENTIAL_NOT_SUPPORTED"
    ON_BEHALF_OF_NOT_SUPPORTED = "ON_BEHALF_OF_NOT_SUPPORTED"
    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    # The caller of administration: `credential_refused` says which is told to whom.
    INVALID_CREDENTIAL = "INVALID_CREDENTIAL"
    CREDENTIAL_EXPIRED = "CREDENTIAL_EXPIRED"
    CREDENTIAL_REVOKED = "CREDENTIAL_REVOKED"
    CREDENTIAL_INACTIVE = "CREDENTIAL_INACTIVE"
    INACTIVE_CALLER = "INACTIVE_CALLER"
    STALE_DIRECTORY = "STALE_DIRECTORY"
    NO_POLICY = "NO_POLICY"
    NOT_PERMITTED = "NOT_PERMITTED"
    COMPANY_NOT_HELD = "COMPANY_NOT_HELD"
    # What administration refuses.
    INVALID_REQUEST = "INVALID_REQUEST"
    RECORD_NOT_FOUND = "RECORD_NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    LIMIT_REACHED = "LIMIT_REACHED"
    NOT_POSSIBLE_NOW = "NOT_POSSIBLE_NOW"
    JUSTIFICATION_REQUIRED = "JUSTIFICATION_REQUIRED"
    SIGN_IN_FAILED = "SIGN_IN_FAILED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_CORRUPT = "STORE_CORRUPT"
    NO_SUCH_VERSION = "NO_SUCH_VERSION"
    NO_VERSIONS = "NO_VERSIONS"
    NO_DIRECTORY = "NO_DIRECTORY"
    REVIEW_TOO_LONG = "REVIEW_TOO_LONG"
    REFRESH_SWITCHED_OFF = "REFRESH_SWITCHED_OFF"
    INTERNAL_ERROR = "INTERNAL_ERROR"


# To repeat such a call as it is would fail again.
_HOPELESS = frozenset(
    (
        ErrorReason.BATCH_TOO_LARGE,
        ErrorReason.STREAM_TOO_LONG,
        ErrorReason.ANSWER_TOO_LARGE,
        ErrorReason.LIMIT_REACHED,
    )
)
# Tells clients that repeat calls by themselves not to (gRFC A6).
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")


class CallError(Exception):
    """Ends a call with a status other than OK; `retry_after` says in how many seconds it may succeed."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: ErrorReason,
        violations: Sequence[Violation] = (),
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = metadata or {}
        self.retry_after = retry_after

    @property
    def metadata_of_call(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata that the call ends with."""
        details = (DETAILS_KEY, self.status().SerializeToString())
        return (details, _NO_RETRY) if self.reason in _HOPELESS else (details,)

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status that travels with the call's own status; their code and message are equal."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.violations:
            bad_request = error_details_pb2.BadRequest()
            for violation in self.violations[:MAX_VIOLATIONS]:
                bad_request.field_violations.add(field=violation.field, description=violation.description)
            status.details.add().Pack(bad_request)
        info = error_details_pb2.ErrorInfo(reason=self.reason.value, domain=DOMAIN, metadata=self.metadata)
        status.details.add().Pack(info)
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(self.retry_after * 1000))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


class LimitError(CallError):
    """A number that the bundle sets is reached; the quota names it. `subject` is whose number it is."""

    def __init__(self, message: str, subject: str, metadata: dict[str, str]) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, message, ErrorReason.LIMIT_REACHED, metadata=metadata)
        self._subject = subject

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status, with a QuotaFailure."""
        status = super().status()
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=self._subject, description=self.message)
        status.details.add().Pack(quota)
        return status


class InvalidCheckError(CallError):
    """A check that is invalid in itself. In a batch it becomes a denied item."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        shown = [violation.description for violation in violations[:MAX_VIOLATIONS]]
        if len(violations) > MAX_VIOLATIONS:
            shown.append(f"and {len(violations) - MAX_VIOLATIONS} more")
        message = "; ".join(shown)
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, message, ErrorReason.INVALID_CHECK, violations)

    def inside(self, field: str) -> "InvalidCheckError":
        """The same for a check that lies in `field` of the request message."""
        return InvalidCheckError([Violation(f"{field}.{found.field}", found.description) for found in self.violations])


def not_supported(reason: ErrorReason, message: str) -> CallError:
    """What the sidecar cannot honour is refused, never ignored."""
    return CallError(grpc.StatusCode.UNIMPLEMENTED, message, reason)


def version_not_contained(wanted: str, serving: str, complete: bool) -> CallError:
    """The policy that is served does not contain the commit that a check asks for: it may later."""
    message = "the policy that is served does not contain the commit of `minimum_policy_version`"
    if not complete:
        message += ", as far as its history is known here"
    return CallError(
        grpc.StatusCode.FAILED_PRECONDITION,
        message,
        ErrorReason.POLICY_VERSION_NOT_CONTAINED,
        metadata={"minimum_policy_version": wanted, "policy_version": serving},
    )


def revision_not_reached(wanted: int, revision: int) -> CallError:
    """The directory is not yet at the revision that a check asks for: it may be soon."""
    return CallError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "the directory has not reached `minimum_directory_revision` here",
        ErrorReason.DIRECTORY_REVISION_NOT_REACHED,
        metadata={"minimum_directory_revision": str(wanted), "directory_revision": str(revision)},
    )


def unwitnessed() -> CallError:
    """What belongs in the audit is there or is not answered, and the audit has no room now."""
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "the decision belongs in the audit, which has no room for it now; try again later",
        ErrorReason.AUDIT_QUEUE_FULL,
        retry_after=1.0,
    )


def malformed_message() -> CallError:
    """Bytes that are no message of the type that the method takes."""
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, "the message does not parse", ErrorReason.MALFORMED_MESSAGE)


def deadline_passed() -> CallError:
    """Nobody waits for the answer any more."""
    return CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed", ErrorReason.DEADLINE_PASSED)


def too_long(what: str, limit: int, reason: ErrorReason, remedy: str) -> CallError:
    """More checks than a call may have; the caller may go on at once in smaller portions."""
    description = f"{what} holds more than {limit} checks; {remedy}"
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        description,
        reason,
        [Violation(what, description)],
        {"limit": str(limit)},
        retry_after=0.0,
    )


def answer_too_large(limit: int) -> CallError:
    """More to say than a message may hold; the caller may go on at once in smaller portions."""
    message = f"the answer is larger than {limit} bytes; ask for less at once"
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        message,
        ErrorReason.ANSWER_TOO_LARGE,
        metadata={"limit": str(limit)},
        retry_after=0.0,
    )


def draining() -> CallError:
    """The server stops; another one, or this one restarted, takes the call."""
    message = "the server is stopping; try again"
    return CallError(grpc.StatusCode.UNAVAILABLE, message, ErrorReason.SERVER_DRAINING, retry_after=1.0)


def permission_denied(object_type: str, action: str) -> CallError:
    """The policy does not let the caller do this: whether what was named exists is not said."""
    return CallError(
        grpc.StatusCode.PERMISSION_DENIED,
        f"the policy does not let the caller do `{action}` on this `{object_type}`",
        ErrorReason.NOT_PERMITTED,
        metadata={"object_type": object_type, "action": action},
    )


def invalid_request(violations: Sequence[Violation]) -> CallError:
    """A request of administration that is invalid in itself; a violation's field is a path in its message."""
    shown = [violation.description for violation in violations[:MAX_VIOLATIONS]]
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(shown), ErrorReason.INVALID_REQUEST, violations)


def internal_error(request_id: str) -> CallError:
    """A fault of ours. The client learns nothing more than the name under which the log has the detail."""
    return CallError(
        grpc.StatusCode.INTERNAL, "internal error", ErrorReason.INTERNAL_ERROR, metadata={REQUEST_ID: request_id}
    )
