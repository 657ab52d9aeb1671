"""From a method of ours to a method of a gRPC service.

A method takes a message (or an iterator of messages) and answers, or raises `CallError`. Which methods a service has,
of which messages and whether they stream, is read from its descriptor, so that a method cannot be forgotten.
Messages are parsed here and not by grpcio, which would answer bytes that do not parse with UNKNOWN and the detail
of the fault.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from authz_sidecar.transports.grpc.errors import DETAILS_KEY, CallError, internal_error, malformed_message

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any], Awaitable[Message]]
Stream = Callable[[Any], AsyncIterator[Message]]


def service_handlers(descriptor: ServiceDescriptor, service: object, name: str = "") -> grpc.GenericRpcHandler:
    """The handlers of all methods of a service, each a method of `service` of the same name.

    `name` serves them under another name than the descriptor's. Raises AttributeError for a method that `service`
    lacks.
    """
    handlers = {method.name: _handler(method, getattr(service, method.name)) for method in descriptor.methods}
    return grpc.method_handlers_generic_handler(name or descriptor.full_name, handlers)


def _handler(descriptor: MethodDescriptor, method: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    parse = _parser(GetMessageClass(descriptor.input_type))
    serialize = GetMessageClass(descriptor.output_type).SerializeToString
    match descriptor.client_streaming, descriptor.server_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler(_unary(method, parse), response_serializer=serialize)
        case False, True:
            return grpc.unary_stream_rpc_method_handler(
                _stream(lambda data: method(parse(data))), response_serializer=serialize
            )
        case True, True:
            return grpc.stream_stream_rpc_method_handler(
                _stream(lambda chunks: method(_parsed(chunks, parse))), response_serializer=serialize
            )
    raise TypeError(f"{descriptor.full_name} streams in a way that no service here needs")


def _parser(kind: type[Message]) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError:
            raise malformed_message() from None

    return parse


async def _parsed(chunks: AsyncIterator[bytes], parse: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    async for chunk in chunks:
        yield parse(chunk)


# INVARIANT: in both forms whatever a method raises becomes an error of the call, so that no fault is ever read as
# an allow.


def _unary(method: Unary, parse: Callable[[bytes], Message]) -> Callable[[bytes, Context], Awaitable[Message]]:
    async def call(data: bytes, context: Context) -> Message:
        try:
            return await method(parse(data))
        except Exception as error:  # noqa: BLE001 - see INVARIANT
            return await _abort(context, error)

    return call


def _stream(method: Stream) -> Callable[[Any, Context], AsyncIterator[Message]]:
    async def call(asked: Any, context: Context) -> AsyncIterator[Message]:
        try:
            async for message in method(asked):
                yield message
        except Exception as error:  # noqa: BLE001 - see INVARIANT
            await _abort(context, error)

    return call


async def _abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the error and its details; what is no CallError is a fault of ours, which the log tells."""
    if isinstance(error, CallError):
        failure = error
    else:
        logger.error("a call failed", exc_info=error)
        failure = internal_error()
    details = ((DETAILS_KEY, failure.status().SerializeToString()),)
    await context.abort(failure.code, failure.message, details)
