"""The counts in Prometheus' text form."""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from authz_sidecar.engine import Counts, DirectoryStatus, PolicyStatus
from authz_sidecar.engine.counts import Histogram
from authz_sidecar.values import Reason


def metrics_text(
    counts: Counts,
    status: PolicyStatus,
    candidate: PolicyStatus,
    workers: int,
    restarts: int,
    expires: dt.datetime | None = None,
    clock: Callable[[], float] = time.time,
    *,
    directory: DirectoryStatus = DirectoryStatus(),  # noqa: B008 - nobody changes it
) -> bytes:
    """All metrics of a sidecar. Their labels are names of ours, current policy versions and the identity providers that
    the operator names, so that there are few.

    `candidate` is the policy in the shadow, `expires` the end of the certificate that new connections get, and
    `directory` how that of identities stands.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(
        _Families(
            [
                *_of_counts(counts),
                *_of_policy(status, clock()),
                *_of_shadow(candidate),
                *_of_directory(directory, counts),
                *_of_audit(directory, counts),
                *_of_issuers(directory, counts),
                *_of_workers(workers, restarts),
                *_of_certificate(expires),
            ]
        )
    )
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_counts(counts: Counts) -> Iterator[Metric]:
    decisions = CounterMetricFamily("authz_decisions", "Decisions by reason.", labels=("reason",))
    for reason in Reason:
        decisions.add_metric((reason.label,), counts.decisions[reason])
    yield decisions
    calls = CounterMetricFamily("authz_calls", "Ended gRPC calls by method and status code.", labels=("method", "code"))
    seconds = HistogramMetricFamily(
        "authz_call_duration_seconds", "From the acceptance of a gRPC call to its answer.", labels=("method",)
    )
    for method, counted in sorted(counts.methods.items()):
        for code, number in sorted(counted.codes.items()):
            calls.add_metric((method, code), number)
        seconds.add_metric((method,), *_buckets(counted.seconds))
    yield calls
    yield seconds
    batches = HistogramMetricFamily("authz_batch_size", "Checks in a BatchCheck.")
    batches.add_metric((), *_buckets(counts.batches))
    yield batches
    refused = CounterMetricFamily("authz_calls_refused", "Calls refused at a limit.", labels=("limit",))
    for limit, number in sorted(counts.refused.items()):
        refused.add_metric((limit,), number)
    yield refused
    yield GaugeMetricFamily("authz_calls_in_flight", "Accepted calls that have not ended.", value=counts.in_flight)
    yield CounterMetricFamily("authz_decision_log_written", "Lines of the decision log.", value=counts.logged)
    yield CounterMetricFamily(
        "authz_decision_log_dropped", "Decisions that should have been in it.", value=counts.log_dropped
    )
    shadow = CounterMetricFamily(
        "authz_shadow_decisions", "Decisions of the shadow policy against those served.", labels=("outcome",)
    )
    for outcome, number in counts.shadow.items():
        shadow.add_metric((outcome,), number)
    yield shadow
    yield CounterMetricFamily(
        "authz_shadow_dropped", "Decisions that the shadow policy had no time for.", value=counts.shadow_dropped
    )


def _of_policy(status: PolicyStatus, now: float) -> Iterator[Metric]:
    served = InfoMetricFamily("authz_policy", "The policy that answers.")
    if status.policy_version:
        served.add_metric((), {"policy_version": status.policy_version})
    yield served
    yield GaugeMetricFamily(
        "authz_policy_loaded_timestamp_seconds", "When it was loaded; 0 before the first.", value=status.loaded_at
    )
    yield GaugeMetricFamily(
        "authz_policy_age_seconds",
        "How long it has been served; 0 before the first.",
        value=max(0.0, now - status.loaded_at) if status.policy_version else 0.0,
    )
    reloads = CounterMetricFamily("authz_policy_reloads", "What became of changed policies.", labels=("outcome",))
    for outcome, number in status.reloads.items():
        reloads.add_metric((outcome,), number)
    yield reloads
    yield GaugeMetricFamily(
        "authz_policy_refused",
        "1 while the directory holds a policy that was refused.",
        value=int(status.refused is not None),
    )
    refused = InfoMetricFamily("authz_policy_refusal", "The policy that was refused, while there is one.")
    if status.refused is not None:
        refused.add_metric((), {"policy_version": status.refused.policy_version})
    yield refused
    yield GaugeMetricFamily(
        "authz_policy_reload_duration_seconds", "How long the newest reload took.", value=status.seconds
    )
    yield GaugeMetricFamily(
        "authz_policy_staleness_seconds",
        "How long ago the directory or the repository of the policies was seen; 0 before the first policy.",
        value=status.staleness(now),
    )
    looks = CounterMetricFamily("authz_policy_looks", "Looks at it.", labels=("outcome",))
    for outcome, number in status.looks.items():
        looks.add_metric((outcome,), number)
    yield looks


def _of_shadow(candidate: PolicyStatus) -> Iterator[Metric]:
    named = InfoMetricFamily("authz_shadow_policy", "The candidate that decides beside the policy that answers.")
    if candidate.policy_version:
        named.add_metric((), {"policy_version": candidate.policy_version})
    yield named
    yield GaugeMetricFamily(
        "authz_shadow_refused",
        "1 while the newest candidate cannot be had.",
        value=int(candidate.refused is not None or bool(candidate.unseen)),
    )


def _of_directory(directory: DirectoryStatus, counts: Counts) -> Iterator[Metric]:
    for name, text, value in (
        ("revision", "Revision of the directory that answers; 0 without one.", directory.revision),
        ("staleness_seconds", "How long ago its store was seen; 0 without one.", round(directory.staleness, 3)),
        ("identities", "Identities that are held in memory.", directory.identities),
        ("credentials", "API keys and access tokens that are held in memory.", directory.credentials),
        ("audit_waiting", "Decisions that are still to be written to the audit.", directory.waiting),
    ):
        yield GaugeMetricFamily(f"authz_directory_{name}", text, value=value)
    lag = HistogramMetricFamily(
        "authz_directory_follow_lag_seconds", "From a change of the directory to decisions that are made by it."
    )
    lag.add_metric((), *_buckets(counts.directory_lag))
    yield lag
    authentications = CounterMetricFamily(
        "authz_authentications", "Credentials by what they were found to be.", labels=("outcome",)
    )
    for outcome, number in counts.authentications.items():
        authentications.add_metric((outcome,), number)
    yield authentications


def _of_audit(directory: DirectoryStatus, counts: Counts) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "authz_directory_audit_left_out",
        "Decisions that could never be written to the audit, and are in the log alone.",
        value=counts.audit_left_out,
    )
    age = GaugeMetricFamily(
        "authz_directory_audit_checkpoint_age_seconds", "How long ago the audit was last signed for, if it ever was."
    )
    if directory.checkpoint_age is not None:
        age.add_metric((), round(directory.checkpoint_age, 3))
    yield age
    for name, text, failing in (
        ("audit_failing", "1 while decisions cannot be written to the audit.", directory.audit_failing),
        ("audit_checkpoint_failing", "1 while the audit cannot be signed for.", directory.checkpoint_failing),
    ):
        yield GaugeMetricFamily(f"authz_directory_{name}", text, value=int(failing))


def _of_issuers(directory: DirectoryStatus, counts: Counts) -> Iterator[Metric]:
    keys = GaugeMetricFamily("authz_issuer_keys", "Keys of an identity provider.", labels=("issuer",))
    staleness = GaugeMetricFamily(
        "authz_issuer_keys_staleness_seconds",
        "How long ago they were seen; before the first time, since when they are wanted.",
        labels=("issuer",),
    )
    for one in directory.issuers:
        keys.add_metric((one.issuer,), one.keys)
        staleness.add_metric((one.issuer,), round(one.staleness, 3))
    yield keys
    yield staleness
    looks = CounterMetricFamily("authz_issuer_keys_looks", "Looks at them.", labels=("issuer", "outcome"))
    for issuer, outcomes in counts.key_looks.items():
        for outcome, number in outcomes.items():
            looks.add_metric((issuer, outcome), number)
    yield looks


def _of_workers(workers: int, restarts: int) -> Iterator[Metric]:
    yield GaugeMetricFamily("authz_workers", "Processes that answer checks.", value=workers)
    yield CounterMetricFamily("authz_worker_restarts", "Workers that died and were replaced.", value=restarts)


def _of_certificate(expires: dt.datetime | None) -> Iterator[Metric]:
    if expires is not None:
        yield GaugeMetricFamily(
            "authz_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of new gRPC connections expires.",
            value=expires.timestamp(),
        )


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Prometheus counts each bucket with those below it."""
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.buckets), strict=True)), histogram.total
