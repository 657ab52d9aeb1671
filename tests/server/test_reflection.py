"""Server reflection of a running sidecar, in both versions."""

from collections.abc import Sequence

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest as Asked

from tests.server.sidecar import Sidecar

VERSIONS = ["v1", "v1alpha"]
SERVICES = [
    "authz.v1.AuthorizationService",
    "authz.v1.PolicyService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def ask(sidecar: Sidecar, version: str, *requests: Asked) -> Sequence[reflection_pb2.ServerReflectionResponse]:
    """What one stream answers to some requests; the messages of both versions look the same on the wire."""
    stream = sidecar.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=Asked.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(stream(iter(requests), timeout=10))


def test_reflection_lists_the_services(sidecar: Sidecar, version: str) -> None:
    """Both versions list every service of the port."""
    (answer,) = ask(sidecar, version, Asked(list_services=""))
    assert [service.name for service in answer.list_services_response.service] == SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_describes_each_service(sidecar: Sidecar, version: str, service: str) -> None:
    """The files that describe a listed service are enough to build its descriptor, and say so by name as well."""
    (answer,) = ask(sidecar, version, Asked(file_containing_symbol=service))
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(files):
        pool.Add(file)
    methods = pool.FindServiceByName(service).methods_by_name
    assert methods
    (named,) = ask(sidecar, version, Asked(file_by_filename=files[0].name))
    assert named.file_descriptor_response == answer.file_descriptor_response


@pytest.mark.parametrize(
    "request_",
    [
        Asked(file_containing_symbol="no.such.Symbol"),
        Asked(file_by_filename="no/such/file.proto"),
        Asked(file_containing_symbol="google.rpc.Status"),
    ],
    ids=["unknown-symbol", "unknown-file", "a-symbol-that-is-not-served"],
)
def test_reflection_survives_the_unknown(sidecar: Sidecar, version: str, request_: Asked) -> None:
    """What is not known is answered NOT_FOUND, and the same stream answers the next request."""
    unknown, known = ask(sidecar, version, request_, Asked(list_services=""))
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert unknown.original_request == request_
    assert len(known.list_services_response.service) == len(SERVICES)


def test_reflection_refuses_an_empty_request(sidecar: Sidecar, version: str) -> None:
    """A request that asks nothing is answered INVALID_ARGUMENT."""
    (answer,) = ask(sidecar, version, Asked())
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_reflection_knows_that_there_are_no_extensions(sidecar: Sidecar, version: str) -> None:
    """A message of the API has no extensions, and a lookup of one is answered NOT_FOUND."""
    numbers, extension = ask(
        sidecar,
        version,
        Asked(all_extension_numbers_of_type="authz.v1.CheckRequest"),
        Asked(
            file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="authz.v1.CheckRequest", extension_number=100
            )
        ),
    )
    assert numbers.all_extension_numbers_response.base_type_name == "authz.v1.CheckRequest"
    assert not numbers.all_extension_numbers_response.extension_number
    assert extension.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
