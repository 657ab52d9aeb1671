"""The HTTP port of a running sidecar."""

import http.client
import json

import pytest

from tests.server.sidecar import Sidecar


def test_healthz_says_that_the_process_answers(sidecar: Sidecar) -> None:
    """`/healthz` is 200."""
    assert sidecar.get("/healthz") == (200, '{"status":"ok"}')


def test_readyz_names_the_policy(sidecar: Sidecar) -> None:
    """`/readyz` is 200 and names the policy version of the ready line."""
    status, body = sidecar.get("/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready", "policy_version": sidecar.policy_version})


@pytest.mark.parametrize("path", ["/", "/healthz/", "/policies", "/../etc/passwd"])
def test_other_paths_are_not_found(sidecar: Sidecar, path: str) -> None:
    """Nothing else is served."""
    connection = http.client.HTTPConnection(sidecar.http, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status in {404, 307}


def test_states_are_only_read(sidecar: Sidecar) -> None:
    """POST is not allowed, and answers are neither cached nor signed by the server's name."""
    connection = http.client.HTTPConnection(sidecar.http, timeout=10)
    connection.request("POST", "/readyz", body=b"{}")
    response = connection.getresponse()
    response.read()
    assert response.status == 405
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.headers["cache-control"] == "no-store"
    assert "server" not in response.headers


def test_a_large_head_is_refused(sidecar: Sidecar) -> None:
    """A request head of a megabyte is refused, and the server lives."""
    connection = http.client.HTTPConnection(sidecar.http, timeout=10)
    connection.request("GET", "/healthz", headers={"x-large": "a" * 1_000_000})
    assert connection.getresponse().status == 400
    connection.close()
    assert sidecar.get("/healthz")[0] == 200
