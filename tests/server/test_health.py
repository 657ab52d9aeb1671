"""`grpc.health.v1` of a running sidecar."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.server.sidecar import Sidecar, check_of, failure_of, running_sidecar

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
SERVICES = ["", "authz.v1.AuthorizationService", "authz.v1.PolicyService"]


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_serving_with_a_policy(sidecar: Sidecar, service: str) -> None:
    """The server as a whole and the service are SERVING once a policy is loaded."""
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


def test_health_of_an_unknown_service(sidecar: Sidecar) -> None:
    """Check of a service that is not served is NOT_FOUND."""
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    failure = failure_of(lambda: stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service")))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE")


def test_health_lists_all_services(sidecar: Sidecar) -> None:
    """List gives the status of every service."""
    statuses = health_pb2_grpc.HealthStub(sidecar.channel).List(health_pb2.HealthListRequest()).statuses
    assert {name: response.status for name, response in statuses.items()} == dict.fromkeys(SERVICES, SERVING)


def test_watch_of_an_unknown_service_stays_open(sidecar: Sidecar) -> None:
    """Watch of a service that is not served says SERVICE_UNKNOWN, and the stream does not end by itself."""
    watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(
        health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=1
    )
    assert next(watch).status == SERVICE_UNKNOWN
    assert failure_of(lambda: next(watch)).code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_watch_tells_of_the_drain_and_ends() -> None:
    """Watch says SERVING at once and NOT_SERVING when the server is told to stop; then the stream ends well."""
    with running_sidecar() as sidecar:
        watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        sidecar.process.terminate()
        assert [message.status for message in watch] == [NOT_SERVING]
        assert watch.code() is grpc.StatusCode.OK
        assert sidecar.wait() == (0, "")


def test_watchers_do_not_starve_checks(sidecar: Sidecar) -> None:
    """Checks are answered beside sixty open watches on connections of their own."""
    channels = [sidecar.open_channel() for _ in range(60)]
    try:
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            for channel in channels
        ]
        assert {next(watch).status for watch in watches} == {SERVING}
        assert sidecar.stub.Check(check_of(), timeout=10).allowed
    finally:
        for channel in channels:
            channel.close()
