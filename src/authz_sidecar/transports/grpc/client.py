"""The other end of a call: a running sidecar is asked with values and answers with values.

Only the methods that the command line needs; other clients use the generated stub.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import msgspec
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2, policy_service_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar._proto.authz.v1.policy_service_pb2_grpc import PolicyServiceStub
from authz_sidecar.engine.refresh import Refreshed, RefreshOutcome
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.certificates import ClientTls
from authz_sidecar.transports.grpc.errors import DETAILS_KEY, ErrorReason
from authz_sidecar.transports.grpc.tls import client_credentials
from authz_sidecar.values import Decision, Explanation, NearMiss, Reason, Request, Rule, Span, Violation

# From here on not every whole number is a double, which is what a number of a Struct is.
FIRST_INEXACT = 2**53
_KNOWN_REASONS: dict[int, Reason] = {check_pb2.Reason.Value(f"REASON_{reason.name}"): reason for reason in Reason}

_OUTCOMES: dict[int, RefreshOutcome] = {int(outcome): outcome for outcome in RefreshOutcome}


class CallFailedError(Exception):
    """A call that was not answered: its status, and what the server says of it.

    `violations` are those of INVALID_ARGUMENT, their fields as `build_request` names them. `retry_after` says in how
    many seconds the server may take the call; None where it does not say. `serving` is the policy that it serves where
    that is not the one that was asked for, else None. `reason` is what ErrorInfo names, "" where there is none.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        serving: str | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.serving = serving
        self.reason = reason


class InexactNumberError(Exception):
    """A whole number that the wire would change; `field` is the part of the request that holds it."""

    def __init__(self, field: str, number: int) -> None:
        super().__init__(f"{field} holds the number {number}, which the wire would round")
        self.field = field


class UnknownReasonError(Exception):
    """An answer with a reason that this version does not know."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the server gives a reason that this version does not know: number {number}")


class Told(msgspec.Struct, frozen=True):
    """A decision as a sidecar tells it. `subject` is who was decided for, where the request named it by a credential or
    as somebody to act for, and `actor` who acts for it; both "" otherwise."""

    decision: Decision
    policy_version: str
    directory_revision: int
    decision_id: str
    subject: str = ""
    actor: str = ""


def channel_options(tls: ClientTls | None = None, *, apart: bool = False) -> list[tuple[str, int | str]]:
    """The options of a channel to a sidecar; `apart` gives it a connection of its own."""
    options: list[tuple[str, int | str]] = [
        # Meant for the open internet: a proxy does not know the way to this machine's loopback.
        ("grpc.enable_http_proxy", 0),
        # Whoever asks decides whether to ask again.
        ("grpc.enable_retries", 0),
    ]
    if tls is not None and tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    if apart:
        options.append(("grpc.use_local_subchannel_pool", 1))
    return options


class SidecarClient:
    """One connection to a sidecar, in the name of whom `credential` stands for ("" for nobody), in clear text without
    `tls`. `timeout` bounds each call, in seconds; a call that is not answered raises CallFailedError."""

    def __init__(self, address: Address, timeout: float, credential: str = "", tls: ClientTls | None = None) -> None:
        options = channel_options(tls)
        self._channel = (
            grpc.insecure_channel(str(address), options=options)
            if tls is None
            else grpc.secure_channel(str(address), client_credentials(tls), options=options)
        )
        self._authorization = AuthorizationServiceStub(self._channel)
        self._credential = credential
        self._metadata = (("authorization", f"Bearer {credential}"),) if credential else ()
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def _ask(self, method: Callable[..., Any], message: Message) -> Any:
        """Call a method that asks who calls."""
        try:
            return method(message, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise read_failure(error) from None

    def check(self, request: Request, minimum: str = "", on_behalf_of: str = "") -> Told:
        """Ask for the decision; the time of the request is the server's. A request without a subject asks for whom the
        connection's credential stands. `minimum` is the commit that the policy must contain ("": any policy does),
        `on_behalf_of` the user for whom the subject acts ("" for itself). Raises InexactNumberError as well."""
        message = check_message(request, minimum, on_behalf_of, self._credential)
        try:
            return read_answer(self._authorization.Check(message, timeout=self._timeout))
        except grpc.RpcError as error:
            raise read_failure(error) from None

    def explain(self, request: Request, minimum: str = "", on_behalf_of: str = "") -> tuple[Told, Explanation]:
        """Ask for the decision and its grounds. Rules come without their row numbers, which are the server's own."""
        check = check_message(request, minimum, on_behalf_of, self._credential)
        try:
            answer = self._authorization.Explain(explain_pb2.ExplainRequest(check=check), timeout=self._timeout)
            return read_explanation(answer)
        except grpc.RpcError as error:
            raise read_failure(error, inside="check.") from None

    def refresh(self) -> Refreshed:
        """Have the server look at its policies, and say what came of it. With a directory it needs a credential."""
        answer = self._ask(PolicyServiceStub(self._channel).Refresh, policy_service_pb2.RefreshRequest())
        # A number that is not known is no good news.
        outcome = _OUTCOMES.get(answer.outcome, RefreshOutcome.FAILED)
        return Refreshed(outcome, answer.policy_version, answer.found_version, answer.why)


def check_message(
    request: Request, minimum: str = "", on_behalf_of: str = "", credential: str = ""
) -> check_pb2.CheckRequest:
    """The message that asks a request; its `time` has no place there. The `credential` is sent where the request has no
    subject, and nowhere else. Raises InexactNumberError."""
    message = check_pb2.CheckRequest(
        subject=request.subject,
        credential="" if request.subject else credential,
        object=check_pb2.Object(type=request.type, id=request.id, company=request.company, owner=request.owner),
        action=request.action,
        section=request.section,
        minimum_policy_version=minimum,
        on_behalf_of=on_behalf_of,
    )
    # An empty Struct says as much as none, and costs the server more.
    if request.object_attributes:
        message.object.attributes.CopyFrom(_struct("object.attributes", request.object_attributes))
    if request.subject_attributes:
        message.subject_attributes.CopyFrom(_struct("subject_attributes", request.subject_attributes))
    if request.context:
        message.context.CopyFrom(_struct("context", request.context))
    return message


def _struct(field: str, values: Mapping[str, Any]) -> struct_pb2.Struct:
    for number in _whole_numbers(values):
        if abs(number) > FIRST_INEXACT:
            raise InexactNumberError(field, number)
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _whole_numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _whole_numbers(inner)


def read_answer(message: check_pb2.CheckResponse, detail: str = "", source: str = "") -> Told:
    """The answer in a message; raises UnknownReasonError."""
    return Told(
        Decision(message.allowed, read_reason(message.reason), detail=detail, source=source),
        message.policy_version,
        message.directory_revision,
        message.decision_id,
        message.subject,
        message.actor,
    )


def read_reason(number: int) -> Reason:
    """The reason of a number; raises UnknownReasonError."""
    reason = _KNOWN_REASONS.get(number)
    if reason is None:
        raise UnknownReasonError(number)
    return reason


def reason_label(number: int) -> str:
    """The name of a reason, `no_matching_rule`; a number that this version does not know keeps its number."""
    reason = _KNOWN_REASONS.get(number)
    return f"reason_{number}" if reason is None else reason.label


def read_explanation(message: explain_pb2.ExplainResponse) -> tuple[Told, Explanation]:
    """The answer and its grounds in a message; raises UnknownReasonError."""
    answer = read_answer(message.result, message.detail, message.source)
    misses = [
        NearMiss(_read_rule(miss.rule), miss.field, miss.wanted, miss.got, miss.sentence)
        for miss in message.near_misses
    ]
    shown = [message.rule] if message.HasField("rule") else [miss.rule for miss in message.near_misses]
    return answer, Explanation(
        answer.decision,
        _read_rule(message.rule) if message.HasField("rule") else None,
        tuple(message.role_path),
        tuple(message.roles),
        tuple(misses),
        tuple(shown[0].fields) if shown else (),
    )


def _read_rule(message: explain_pb2.Rule) -> Rule:
    span = Span(message.file, message.line, message.column)
    return Rule(message.ptype, tuple(message.values), span, tuple(message.via))


def read_failure(error: grpc.RpcError, inside: str = "") -> CallFailedError:
    """What a call ended with. `inside` is left away from the fields of violations: where the check lies in the
    message."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return CallFailedError(grpc.StatusCode.UNKNOWN, str(error))
    violations: list[Violation] = []
    retry_after = serving = None
    reason = ""
    # The two kinds of errors have metadata of two types, both of which are pairs.
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        for kind in _details(value) if key == DETAILS_KEY else ():
            if isinstance(kind, error_details_pb2.BadRequest):
                violations += [
                    Violation(found.field.removeprefix(inside), found.description) for found in kind.field_violations
                ]
            elif isinstance(kind, error_details_pb2.RetryInfo):
                retry_after = kind.retry_delay.ToMilliseconds() / 1000
            else:
                reason = kind.reason
                if reason == ErrorReason.POLICY_VERSION_NOT_CONTAINED:
                    serving = kind.metadata.get("policy_version", "")
    return CallFailedError(error.code(), error.details() or "", violations, retry_after, serving, reason)


def _details(value: bytes) -> Iterator[Any]:
    """The BadRequest, RetryInfo and ErrorInfo in a google.rpc.Status; what does not parse has none."""
    try:
        details = status_pb2.Status.FromString(value).details
        for detail in details:
            for kind in (error_details_pb2.BadRequest(), error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()):
                if detail.Unpack(kind):
                    yield kind
    except DecodeError:
        return
