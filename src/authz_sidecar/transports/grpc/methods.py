"""From a method of ours to a method of a gRPC service: admission, parsing, errors, counting.

A method takes a message (or an iterator of messages) and its `Call`, and answers by bytes or a message, or raises
`CallError`. Which methods a
service has, of which messages and whether they stream, is read from its descriptor, so that a method cannot be
forgotten. Messages are parsed here and not by grpcio, which would answer bytes that do not parse with UNKNOWN and the
detail of the fault.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio
import msgspec
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from authz_sidecar.engine import Counts
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import (
    REQUEST_ID,
    CallError,
    answer_too_large,
    deadline_passed,
    internal_error,
    malformed_message,
)

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Message | bytes
# Callers name a call with this metadata key; the name comes back in the initial metadata and stands in our log.
REQUEST_ID_KEY = "x-request-id"
AUTHORIZATION_KEY = "authorization"
MAX_REQUEST_ID = 128

_now = time.perf_counter
_OK = grpc.StatusCode.OK.name
_CANCELLED = grpc.StatusCode.CANCELLED.name


class Method:
    """One method of a service, named `package.Service/Method` as it is served.

    What it takes, who answers, at which gate it is admitted, and what is counted.
    """

    __slots__ = ("answer", "answer_bytes", "counts", "gate", "kind", "name", "parse")

    def __init__(
        self,
        name: str,
        descriptor: MethodDescriptor,
        answer: Any,
        gate: Gate,
        counts: Counts,
        answer_bytes: int,
        *,
        facts: bool = False,
    ) -> None:
        self.name = name
        self.answer = answer
        self.answer_bytes = answer_bytes
        self.gate = gate
        self.counts = counts.method(name)
        self.parse = _parser(GetMessageClass(descriptor.input_type))
        try:
            kinds = _KNOWN_KINDS if facts else _KINDS
            self.kind = kinds[bool(descriptor.client_streaming), bool(descriptor.server_streaming)]
        except KeyError:
            raise TypeError(f"{descriptor.full_name} streams in a way that no service here needs") from None


class Call:
    """One call, from its acceptance to its end: grpcio's handler of it, made anew for each.

    grpcio keeps it for as long as the call lives, so that its end is seen even where the method is never reached, as
    when a client leaves without having sent its message. `id` is the caller's name of the call ("" for none).
    """

    __slots__ = ("_inside", "id", "method", "started")

    # What grpcio reads of a handler.
    request_streaming = False
    response_streaming = False
    request_deserializer = None
    response_serializer = None

    def __init__(self, method: Method, call_id: str) -> None:
        self.method = method
        self.id = call_id
        self.started = _now()
        self._inside = True

    def leave(self, code: str) -> None:
        """The method has ended; done once."""
        if self._inside:
            self._inside = False
            method = self.method
            gate = method.gate
            # What `Gate.leave` does, without its call where there is no wider gate: this is done for every check.
            if gate.wider is None:
                gate.in_flight -= 1
            else:
                gate.leave()
            method.counts.end(code, _now() - self.started)

    def __del__(self) -> None:
        if self._inside:
            self.leave(_CANCELLED)


class UnaryCall(Call):
    """One message, one answer."""

    __slots__ = ()

    async def unary_unary(self, data: bytes, context: Context) -> bytes:
        """What grpcio calls."""
        # INVARIANT: here and in the streams whatever a method raises becomes an error of the call, so that no fault
        # is ever read as an allow.
        code = _CANCELLED
        try:
            remaining = context.time_remaining()
            # Its types do not say that it is None without a deadline.
            if remaining is not None and remaining <= 0:  # type: ignore[redundant-expr]
                raise deadline_passed()
            if self.id:
                await _return_id(self, context)
            method = self.method
            answer = method.answer(method.parse(data), self)
            # Check answers at once, and in bytes; a coroutine would cost it a microsecond.
            if answer.__class__ is not bytes:
                message: Answer = await answer
                answer = message if isinstance(message, bytes) else message.SerializeToString()
            if len(answer) > method.answer_bytes:
                raise answer_too_large(method.answer_bytes)
        except Exception as error:  # noqa: BLE001 - see INVARIANT
            failure = _failure(self, error)
            code = failure.code.name
            await _abort(context, failure)
        else:
            code = _OK
            return answer
        finally:
            self.leave(code)


class AnswerStreamCall(Call):
    """One message, a stream of answers."""

    __slots__ = ()
    response_streaming = True

    async def unary_stream(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """What grpcio calls."""
        async for raw in _streamed(self, lambda: self.method.answer(self.method.parse(data), self), context):
            yield raw


class StreamCall(Call):
    """A stream of messages, a stream of answers."""

    __slots__ = ()
    request_streaming = True
    response_streaming = True

    async def stream_stream(self, chunks: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """What grpcio calls."""
        messages = _parsed(chunks, self.method.parse)
        async for raw in _streamed(self, lambda: self.method.answer(messages, self), context):
            yield raw


class CallFacts(msgspec.Struct, frozen=True):
    """What a method of administration knows of a call beside its message.

    `authorization` are the values of that metadata key as they came, `address` is where the call came from (a host
    without its port, or "unix"), `deadline` is a time of `time.monotonic` (None: there is none), `id` the caller's name
    of the call ("" for none). A repr of it shows no credential.
    """

    authorization: tuple[str, ...]
    address: str
    deadline: float | None
    id: str

    def __repr__(self) -> str:
        return f"CallFacts(address={self.address!r}, id={self.id!r})"

    @property
    def is_over(self) -> bool:
        """Whether its deadline has passed: nobody waits for the answer any more."""
        return self.deadline is not None and self.deadline <= time.monotonic()


class _KnownCall(Call):
    """A call whose method is told the facts of it."""

    __slots__ = ("_facts",)

    @property
    def facts(self) -> CallFacts:
        """The facts; raises AttributeError before the call has begun."""
        facts: CallFacts = self._facts
        return facts

    def _know(self, context: Context) -> None:
        found = [value for key, value in context.invocation_metadata() or () if key == AUTHORIZATION_KEY]
        remaining = context.time_remaining()
        self._facts = CallFacts(
            tuple(value for value in found if isinstance(value, str)),
            peer_address(context.peer()),
            # Its types do not say that it is None without a deadline.
            None if remaining is None else time.monotonic() + remaining,  # type: ignore[redundant-expr]
            self.id,
        )


class KnownUnaryCall(_KnownCall, UnaryCall):
    """One message, one answer, with the facts of the call."""

    __slots__ = ()

    async def unary_unary(self, data: bytes, context: Context) -> bytes:
        """What grpcio calls."""
        self._know(context)
        return await super().unary_unary(data, context)


class KnownAnswerStreamCall(_KnownCall, AnswerStreamCall):
    """One message, a stream of answers, with the facts of the call."""

    __slots__ = ()

    async def unary_stream(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """What grpcio calls."""
        self._know(context)
        async for raw in super().unary_stream(data, context):
            yield raw


class RefusedCall(Call):
    """A call that is over a limit. It is handled as a stream, whatever the method is, so that no message is awaited."""

    __slots__ = ("_refusal",)
    request_streaming = True
    response_streaming = True

    def __init__(self, method: Method, refusal: CallError) -> None:
        super().__init__(method, "")
        self._inside = False
        self._refusal = refusal
        method.counts.end(refusal.code.name, 0.0)

    async def stream_stream(self, chunks: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """What grpcio calls."""
        await _abort(context, self._refusal)
        yield b""  # type: ignore[unreachable]  # it makes this a generator


_KINDS: dict[tuple[bool, bool], type[Call]] = {
    (False, False): UnaryCall,
    (False, True): AnswerStreamCall,
    (True, True): StreamCall,
}
# Of services whose methods are told the facts of a call; no such method takes a stream.
_KNOWN_KINDS: dict[tuple[bool, bool], type[Call]] = {
    (False, False): KnownUnaryCall,
    (False, True): KnownAnswerStreamCall,
}


class MethodTable(grpc.GenericRpcHandler):
    """The methods of all services by path: where grpcio asks for the handler of each call.

    A message of an answer may have `answer_bytes`; grpcio alone would log a larger one as a fault and count it as OK.
    """

    def __init__(self, counts: Counts, answer_bytes: int) -> None:
        self._counts = counts
        self._answer_bytes = answer_bytes
        self._methods: dict[str, Method] = {}

    def add(
        self,
        descriptor: ServiceDescriptor,
        service: object,
        gates: Callable[[MethodDescriptor], Gate],
        name: str = "",
        *,
        facts: bool = False,
    ) -> None:
        """Serve all methods of a service, each a method of `service` of the same name, admitted at `gates(method)`.

        `name` serves them under another name than the descriptor's. With `facts` their calls are `KnownUnaryCall` or
        `KnownAnswerStreamCall`. Raises AttributeError for a method that `service` lacks.
        """
        for method in descriptor.methods:
            path = f"{name or descriptor.full_name}/{method.name}"
            gate = gates(method)
            # A limit that has not refused anything yet is shown too, so that the first refusal is seen as a rise.
            self._counts.refused.setdefault(gate.name, 0)
            answer = getattr(service, method.name)
            self._methods[f"/{path}"] = Method(
                path, method, answer, gate, self._counts, self._answer_bytes, facts=facts
            )

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of one call; None for a method that is not served."""
        method = self._methods.get(details.method)
        if method is None:
            return None
        gate = method.gate
        if gate.wider is None and gate.in_flight < gate.limit:
            # What `enter` does, without its call.
            gate.in_flight += 1
        else:
            full = gate.enter()
            if full is not None:
                self._counts.refuse(full.name)
                return RefusedCall(method, full.refusal)
        return method.kind(method, _request_id(details.invocation_metadata))


def peer_address(peer: str) -> str:
    """The host of a peer as grpcio names it (`ipv4:127.0.0.1:50123`, `ipv6:%5B::1%5D:50123`, `unix:`), without its
    port; "unix" for a Unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    if kind == "unix":
        return kind
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _request_id(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and len(value) <= MAX_REQUEST_ID:
            # What else came in could not go out again: metadata of gRPC is printable ASCII.
            return value if value.isascii() and value.isprintable() else ""
    return ""


def _parser(kind: type[Message]) -> Callable[[bytes], Message]:
    read = kind.FromString

    def parse(data: bytes) -> Message:
        try:
            return read(data)
        except DecodeError:
            raise malformed_message() from None

    return parse


async def _parsed(chunks: AsyncIterator[bytes], parse: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    async for chunk in chunks:
        yield parse(chunk)


async def _return_id(call: Call, context: Context) -> None:
    """Give the caller its name of the call back."""
    await context.send_initial_metadata(((REQUEST_ID_KEY, call.id),))


async def _streamed(call: Call, answers: Callable[[], AsyncIterator[Answer]], context: Context) -> AsyncIterator[bytes]:
    code = _CANCELLED
    try:
        if call.id:
            await _return_id(call, context)
        async for answer in answers():
            raw = answer if isinstance(answer, bytes) else answer.SerializeToString()
            if len(raw) > call.method.answer_bytes:
                raise answer_too_large(call.method.answer_bytes)
            yield raw
        code = _OK
    except Exception as error:  # noqa: BLE001 - see INVARIANT in UnaryCall
        failure = _failure(call, error)
        code = failure.code.name
        await _abort(context, failure)
    finally:
        call.leave(code)


def _failure(call: Call, error: Exception) -> CallError:
    """The error of the call; what is no CallError is a fault of ours, which the log tells under the call's name."""
    if isinstance(error, CallError):
        return error
    call_id = call.id or secrets.token_hex(8)
    logger.error("a call failed", exc_info=error, extra={"method": call.method.name, REQUEST_ID: call_id})
    return internal_error(call_id)


async def _abort(context: Context, failure: CallError) -> NoReturn:
    """End the call with the error and its details."""
    await context.abort(failure.code, failure.message, failure.metadata_of_call)
