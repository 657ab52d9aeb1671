"""Server reflection, `grpc.reflection.v1` and `v1alpha`.

grpcio-reflection brings v1alpha only. Both versions have the same messages under another package name, so that one
servicer answers both, and the description of v1 is made from that of v1alpha.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, policy_service_pb2
from authz_sidecar.transports.grpc.methods import Call

V1_SERVICE = "grpc.reflection.v1.ServerReflection"


def served_files(more: Iterable[FileDescriptor] = ()) -> descriptor_pool.DescriptorPool:
    """A pool with the files of the services of this server, `more` of them and what they import, and nothing else."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        pool.AddSerializedFile(file.serialized_pb)

    for module in (authorization_service_pb2, policy_service_pb2, health_pb2, reflection_pb2):
        add(module.DESCRIPTOR)
    for file in more:
        add(file)
    pool.AddSerializedFile(_describe_v1().SerializeToString())
    return pool


def _describe_v1() -> descriptor_pb2.FileDescriptorProto:
    """The description of `grpc.reflection.v1`: that of v1alpha under its own package name."""
    file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            # To set the name of a scalar's type, even to nothing, would be invalid.
            if field.type_name:
                field.type_name = _renamed(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type = _renamed(method.input_type)
            method.output_type = _renamed(method.output_type)
    return file


def _renamed(type_name: str) -> str:
    return type_name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")


class ReflectionService:
    """Answers what the server can say about `services`, which `files` describe beside those that every server has; its
    streams end when the server drains."""

    def __init__(self, services: Iterable[str], files: Iterable[FileDescriptor] = ()) -> None:
        self._services = sorted(services)
        self._pool = served_files(files)
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End all streams."""
        self._draining.set()

    async def ServerReflectionInfo(
        self, messages: AsyncIterator[reflection_pb2.ServerReflectionRequest], call: Call
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answer each request of a stream in turn; what is not known is an answer too, and the stream goes on."""
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                reading = asyncio.ensure_future(anext(messages, None))
                await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                message = reading.result()
                if message is None:
                    return
                answer = reflection_pb2.ServerReflectionResponse(original_request=message)
                try:
                    self._answer(message, answer)
                except KeyError:
                    _refuse(answer, grpc.StatusCode.NOT_FOUND, "not found")
                yield answer
        finally:
            draining.cancel()

    def _answer(
        self, message: reflection_pb2.ServerReflectionRequest, answer: reflection_pb2.ServerReflectionResponse
    ) -> None:
        """Fill in the answer; raises KeyError for what is not known."""
        match message.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename":
                _attach(answer, self._pool.FindFileByName(message.file_by_filename))
            case "file_containing_symbol":
                _attach(answer, self._pool.FindFileContainingSymbol(message.file_containing_symbol))
            case "file_containing_extension":
                wanted = message.file_containing_extension
                extended = self._pool.FindMessageTypeByName(wanted.containing_type)
                extension = self._pool.FindExtensionByNumber(extended, wanted.extension_number)
                _attach(answer, self._pool.FindFileContainingSymbol(extension.full_name))
            case "all_extension_numbers_of_type":
                extended = self._pool.FindMessageTypeByName(message.all_extension_numbers_of_type)
                numbers = sorted(found.number for found in self._pool.FindAllExtensions(extended))
                answer.all_extension_numbers_response.base_type_name = extended.full_name
                answer.all_extension_numbers_response.extension_number.extend(numbers)
            case _:
                _refuse(answer, grpc.StatusCode.INVALID_ARGUMENT, "the request asks nothing")


def _attach(answer: reflection_pb2.ServerReflectionResponse, file: FileDescriptor) -> None:
    """Put a file and everything it imports into the answer: the file first, and each before what it imports."""
    imported: dict[str, bytes] = {}

    def visit(visited: FileDescriptor) -> None:
        if visited.name in imported:
            return
        for dependency in visited.dependencies:
            visit(dependency)
        imported[visited.name] = visited.serialized_pb

    visit(file)
    answer.file_descriptor_response.file_descriptor_proto.extend(reversed(imported.values()))


def _refuse(answer: reflection_pb2.ServerReflectionResponse, code: grpc.StatusCode, message: str) -> None:
    answer.error_response.error_code = code.value[0]
    answer.error_response.error_message = message
