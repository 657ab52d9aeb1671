"""A running sidecar that does not answer a call: why, and what to do about it."""

import re
from typing import TYPE_CHECKING

from authz_sidecar.cli.question import violation_problem

if TYPE_CHECKING:
    from authz_sidecar.cli.connection import Connection
    from authz_sidecar.transports.grpc.client import CallFailedError, InexactNumberError

Problem = tuple[str, str]
# What grpcio writes before the reason why there is no connection: the status, and the address once more.
_BEFORE_REASON = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: \S+: ")
# What the library of the handshake says, what that comes to, and the remedy.
_HANDSHAKES = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is of none of the authorities in `--tls-ca`, or does not hold now",
        "give `--tls-ca` the certificate of the authority that issued it",
    ),
    (
        "Hostname Verification Check failed",
        "the server's certificate has another name",
        "give `--tls-server-name` a name that it has",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "it does not speak TLS",
        "give `--server` the address of one that does, or leave `--tls-ca` away",
    ),
)


def call_problems(error: "CallFailedError", connection: "Connection") -> list[Problem]:
    """Why there is no answer, each with its remedy."""
    server = connection.address
    if error.violations:
        return [violation_problem(violation) for violation in error.violations]
    match error.code.name:
        case "UNAVAILABLE":
            return [_unanswered(error, connection)]
        case "DEADLINE_EXCEEDED":
            return [
                (
                    f"no answer from `{server}` within {connection.timeout:g} s",
                    "give `--timeout` more seconds, or see what keeps the server busy",
                )
            ]
        case "UNIMPLEMENTED" if error.reason in ("CREDENTIAL_NOT_SUPPORTED", "ON_BEHALF_OF_NOT_SUPPORTED"):
            return [
                (
                    f"the server at `{server}` has no directory of identities",
                    "name one that runs `serve --directory`, or ask about a SUBJECT alone",
                )
            ]
        case "UNIMPLEMENTED":
            return [
                (
                    f"the server at `{server}` does not take this call: {error.message}",
                    "give `--server` the gRPC address of an authz-sidecar of this version",
                )
            ]
        case "FAILED_PRECONDITION" if error.serving is not None:
            serving = f"it serves {error.serving}" if error.serving else "it serves no policy"
            return [
                (
                    f"the server at `{server}` does not serve that policy yet: {serving}",
                    f"`authz-sidecar refresh --server {server}` has it look now, and says what keeps it from more",
                )
            ]
        case "RESOURCE_EXHAUSTED" if error.reason or error.retry_after is not None:
            # What the gRPC library finds too large has neither, and comes out so again.
            when = "later" if error.retry_after is None else f"in {max(error.retry_after, 0.0):g} s"
            return [(f"the server at `{server}` refuses the call: {error.message}", f"ask again {when}")]
    return [
        (
            f"the call to `{server}` failed with {error.code.name}: {error.message}",
            "the server's log says more; give `--server` the gRPC address of an authz-sidecar",
        )
    ]


def _unanswered(error: "CallFailedError", connection: "Connection") -> Problem:
    no_answer = f"no answer from `{connection.address}`"
    for said, told, help in _HANDSHAKES:
        if said in error.message:
            return f"{no_answer}: {told}", help
    if connection.tls_ca is None:
        hint = "one with TLS needs `--tls-ca FILE`"
    elif connection.tls_client_cert is None:
        hint = "one that wants certificates of clients needs `--tls-client-cert FILE` and `--tls-client-key FILE`"
    else:
        hint = "your certificate has to be of an authority that it knows, and to hold now"
    help = f"give `--server` what follows `grpc=` in the ready line of `authz-sidecar serve`; {hint}"
    return f"{no_answer}: {_reason(error.message)}", help


def _reason(message: str) -> str:
    reason = _BEFORE_REASON.sub("", message)
    return reason[:1].lower() + reason[1:]


def inexact_problem(error: "InexactNumberError") -> Problem:
    """A number that cannot be sent, and what to give instead."""
    return str(error), "give a smaller number, or text in double quotes"
