"""`/metrics`: what is counted, exactly, and under names of which there are few."""

import re
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar.engine.counts import CHECKS, SECONDS
from authz_sidecar.engine.status import OUTCOMES
from authz_sidecar.values import Reason
from tests.server.sidecar import SERVICE, Sidecar, check_of, failure_of, running_sidecar, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
DOCUMENTED = re.compile(r"^\| `(authz_\w+)` \| (counter|gauge|histogram) \| (.*) \|$", re.MULTILINE)
EXPOSED = re.compile(r"^# TYPE (authz_\w+) (\w+)$", re.MULTILINE)
CHECK, BATCH, STREAM, EXPLAIN = (
    f"{SERVICE.full_name}/{name}" for name in ("Check", "BatchCheck", "CheckStream", "Explain")
)
HEALTH = "grpc.health.v1.Health/Check"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def quiet() -> Iterator[Sidecar]:
    """A sidecar that nobody has called yet."""
    with running_sidecar() as sidecar:
        yield sidecar


def samples(sidecar: Sidecar) -> Samples:
    """All samples of our own by name and labels."""
    families = text_string_to_metric_families(sidecar.get("/metrics")[1])
    found = [sample for family in families for sample in family.samples if sample.name.startswith("authz_")]
    result = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}
    assert len(result) == len(found)
    return result


def by_label(found: Samples, name: str, label: str) -> dict[str, float]:
    """The samples of one name by one label, those that are 0 left out."""
    return {dict(labels)[label]: value for (sample, labels), value in found.items() if sample == name and value}


def calls(found: Samples) -> dict[tuple[str, str], float]:
    """Ended calls by method and code."""
    return {
        (dict(labels)["method"], dict(labels)["code"]): value
        for (sample, labels), value in found.items()
        if sample == "authz_calls_total"
    }


def test_every_metric_is_documented(sidecar: Sidecar) -> None:
    """The metrics of the operator's manual are those that are exposed, each of the type that it says, or are absent
    as it says."""
    exposed = set(EXPOSED.findall(sidecar.get("/metrics")[1]))
    rows = DOCUMENTED.findall(DOCUMENT.read_text(encoding="utf-8"))
    documented = {(name, kind): text for name, kind, text in rows}
    assert len(documented) == len(rows)
    assert exposed <= documented.keys()
    assert all("absent" in documented[metric] for metric in documented.keys() - exposed)


def test_the_form_is_that_of_prometheus(sidecar: Sidecar) -> None:
    """The type of the answer names the text form, every family has a help text, and the process is measured as well."""
    with urllib.request.urlopen(f"http://{sidecar.http}/metrics", timeout=10) as response:
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = list(text_string_to_metric_families(response.read().decode()))
    assert all(family.documentation for family in families)
    names = {sample.name for family in families for sample in family.samples}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= names


def test_before_the_first_call(quiet: Sidecar) -> None:
    """A new sidecar shows its policy, since when, every reason and outcome, and no calls."""
    now = time.time()
    found = samples(quiet)
    assert found["authz_policy_info", frozenset({("policy_version", quiet.policy_version)})] == 1
    plain = {name: value for (name, labels), value in found.items() if not labels}
    assert now - 60 < plain["authz_policy_loaded_timestamp_seconds"] <= now
    assert 0 <= plain["authz_policy_age_seconds"] < 60
    assert 0 < plain["authz_policy_reload_duration_seconds"] < 60
    gauges = ("authz_policy_refused", "authz_workers", "authz_worker_restarts_total", "authz_calls_in_flight")
    assert [plain[name] for name in gauges] == [0, 1, 0, 0]

    assert not calls(found)
    decisions = "authz_decisions_total"
    reasons = {dict(labels)["reason"]: value for (name, labels), value in found.items() if name == decisions}
    assert reasons == dict.fromkeys([reason.label for reason in Reason], 0)
    outcomes = {dict(labels)["outcome"]: value for (name, labels), value in found.items() if "reloads_total" in name}
    assert outcomes == dict.fromkeys(OUTCOMES, 0) | {"loaded": 1}


def make_calls(sidecar: Sidecar) -> None:
    """A series of calls that end in every usual way."""
    stub = sidecar.stub
    raw: Any = sidecar.channel.unary_unary(f"/{CHECK}")
    for check in [
        *[check_of()] * 3,
        *[check_of(id="secret")] * 2,
        check_of(action="delete"),
        check_of(company="globex"),
        check_of(subject="mallory"),
        check_of(section="3"),
    ]:
        stub.Check(check)
    failing: list[Any] = [
        lambda: stub.Check(check_of(action="")),
        lambda: stub.Check(check_of(subject="", credential="key")),
        lambda: stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of()] * 1001)),
        lambda: list(stub.CheckStream(iter([check_pb2.CheckStreamRequest(check=check_of(on_behalf_of="carol"))]))),
        lambda: raw(b"\xff\xff"),
    ]
    for call in failing:
        failure_of(call)
    for count in (0, 1, 2, 3, 50, 1000):
        stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of()] * count))
    stub.BatchCheck(check_pb2.BatchCheckRequest(checks=[check_of(), check_pb2.CheckRequest()]))
    list(stub.CheckStream(check_pb2.CheckStreamRequest(check=check) for check in [check_of(), check_of(action="")]))
    stub.Explain(explain_pb2.ExplainRequest(check=check_of()))
    health_pb2_grpc.HealthStub(sidecar.channel).Check(health_pb2.HealthCheckRequest())


def test_counts_are_exact(quiet: Sidecar) -> None:
    """After a series of calls each has been counted once, by method and code, and each decision by its reason."""
    began = time.monotonic()
    make_calls(quiet)
    passed = time.monotonic() - began
    expected = {
        (CHECK, "OK"): 9,
        (CHECK, "INVALID_ARGUMENT"): 2,
        (CHECK, "UNIMPLEMENTED"): 1,
        (BATCH, "OK"): 7,
        (BATCH, "RESOURCE_EXHAUSTED"): 1,
        (STREAM, "OK"): 1,
        (STREAM, "UNIMPLEMENTED"): 1,
        (EXPLAIN, "OK"): 1,
        (HEALTH, "OK"): 1,
    }
    # A client may have its error before the server has counted it.
    until(lambda: sum(calls(samples(quiet)).values()) >= sum(expected.values()))
    found = samples(quiet)
    assert calls(found) == expected
    assert by_label(found, "authz_decisions_total", "reason") == {
        "allowed_by_rule": 3 + 1056 + 1 + 1 + 1,
        "denied_by_rule": 2,
        "no_matching_rule": 1,
        "no_role_in_company": 1,
        "unknown_subject": 1,
        "evaluation_error": 1,
        "invalid_request": 2,
    }
    assert not by_label(found, "authz_calls_refused_total", "limit")
    assert found["authz_calls_in_flight", frozenset()] == 0

    sizes = (0, 1, 2, 2, 3, 50, 1000)
    buckets = by_label(found, "authz_batch_size_bucket", "le")
    assert buckets == {f"{bound:g}": sum(size <= bound for size in sizes) for bound in CHECKS} | {"+Inf": len(sizes)}
    assert found["authz_batch_size_sum", frozenset()] == sum(sizes)
    assert found["authz_batch_size_count", frozenset()] == len(sizes)

    counted = by_label(found, "authz_call_duration_seconds_count", "method")
    methods = {method for method, _ in expected}
    assert counted == {name: sum(n for (method, _), n in expected.items() if method == name) for name in methods}
    seconds = by_label(found, "authz_call_duration_seconds_sum", "method")
    assert seconds.keys() == methods
    # Calls were made one after another.
    assert 0 < sum(seconds.values()) < passed
    for name in methods:
        bounds = [
            (float(dict(labels)["le"]), value)
            for (sample, labels), value in found.items()
            if sample == "authz_call_duration_seconds_bucket" and ("method", name) in labels
        ]
        assert [bound for bound, _ in sorted(bounds)] == [*SECONDS, float("inf")]
        assert [value for _, value in sorted(bounds)] == sorted(value for _, value in bounds)
        assert max(value for _, value in bounds) == counted[name]


def test_callers_make_no_names(quiet: Sidecar) -> None:
    """Methods and paths that are not served, and whatever stands in requests, add nothing to the names in metrics."""
    make_calls(quiet)
    until(lambda: (STREAM, "UNIMPLEMENTED") in calls(samples(quiet)))
    before = samples(quiet).keys()
    for path in ("/no.such.Service/Check", f"/{SERVICE.full_name}/Drop", f"/{SERVICE.full_name}/", "/x", f"//{CHECK}"):
        method: Any = quiet.channel.unary_unary(path)
        assert failure_of(partial(method, b"")).code is grpc.StatusCode.UNIMPLEMENTED
    health: Any = health_pb2_grpc.HealthStub(quiet.channel)
    for number in range(20):
        name = f"name-{number}"
        check = check_of(name, name, name, name, name)
        quiet.stub.Check(check, metadata=(("x-request-id", name),))
        failure_of(partial(health.Check, health_pb2.HealthCheckRequest(service=name)))
        assert quiet.get(f"/{name}")[0] == 404
    until(lambda: calls(samples(quiet)).get((HEALTH, "NOT_FOUND")) == 20)
    added = samples(quiet).keys() - before
    assert added == {("authz_calls_total", frozenset({("method", HEALTH), ("code", "NOT_FOUND")}))}
