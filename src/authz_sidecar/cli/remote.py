"""A running sidecar on the command line: its address, and what to do about a call that it does not answer."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from authz_sidecar.cli.address import AddressType
from authz_sidecar.cli.question import violation_problem
from authz_sidecar.transports.address import Address

if TYPE_CHECKING:
    from authz_sidecar.transports.grpc.client import CallFailedError, InexactNumberError

Command = TypeVar("Command", bound=Callable[..., Any])
Problem = tuple[str, str]
MAX_TIMEOUT = 3600
# What grpcio writes before the reason why there is no connection: the status, and the address once more.
_BEFORE_REASON = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: \S+: ")


class ServerType(AddressType):
    """The address of a server to ask."""

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read `value`; fails as click does, with the remedy in the message."""
        address = super().convert(value, param, ctx)
        if not address.path and not address.port:
            self.fail(f"`{value}` names no port: give the one in the server's ready line", param, ctx)
        return address


def server_option(help: str, **attributes: Any) -> Callable[[Command], Command]:
    """`--server ADDR`."""
    return click.option("--server", type=ServerType(), help=help, **attributes)


def timeout_option(command: Command) -> Command:
    """`--timeout SECONDS`, of each call."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True, max=MAX_TIMEOUT),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How long the server may take to answer.",
    )(command)


def call_problems(error: "CallFailedError", server: Address, timeout: float) -> list[Problem]:
    """Why there is no answer, each with its remedy."""
    if error.violations:
        return [violation_problem(violation) for violation in error.violations]
    match error.code.name:
        case "UNAVAILABLE":
            return [
                (
                    f"no answer from `{server}`: {_reason(error.message)}",
                    (
                        "give `--server` what follows `grpc=` in the ready line of `authz-sidecar serve`; "
                        "one with TLS cannot be asked from here"
                    ),
                )
            ]
        case "DEADLINE_EXCEEDED":
            return [
                (
                    f"no answer from `{server}` within {timeout:g} s",
                    "give `--timeout` more seconds, or see what keeps the server busy",
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
        case "RESOURCE_EXHAUSTED":
            when = "later" if error.retry_after is None else f"in {error.retry_after:g} s"
            return [(f"the server at `{server}` refuses the call: {error.message}", f"ask again {when}")]
    return [
        (
            f"the call to `{server}` failed with {error.code.name}: {error.message}",
            "the server's log says more; give `--server` the gRPC address of an authz-sidecar",
        )
    ]


def _reason(message: str) -> str:
    reason = _BEFORE_REASON.sub("", message)
    return reason[:1].lower() + reason[1:]


def inexact_problem(error: "InexactNumberError") -> Problem:
    """A number that cannot be sent, and what to give instead."""
    return str(error), "give a smaller number, or text in double quotes"
