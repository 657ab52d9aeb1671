"""Counting, and adding up what several processes have counted."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.engine import Counts
from authz_sidecar.engine.counts import CHECKS, SECONDS, Histogram, MethodCounts
from authz_sidecar.values import Reason

values = st.floats(0, 10) | st.sampled_from(SECONDS)
ends = st.tuples(st.sampled_from(["a/Check", "a/Watch"]), st.sampled_from(["OK", "CANCELLED"]), values)
refusals = st.sampled_from(["calls", "streams"])
events = st.lists(ends | refusals | st.sampled_from(Reason) | st.integers(0, 2000))


def count(counts: Counts, happened: list[tuple[str, str, float] | str | Reason | int]) -> Counts:
    """Count calls that end, calls that are refused, decisions and batches."""
    for event in happened:
        match event:
            case (method, code, seconds):
                counts.method(method).end(code, seconds)
            case str():
                counts.refuse(event)
            case Reason():
                counts.decisions[event] += 1
            case checks:
                counts.batches.observe(checks)
    return counts


def rounded(counts: Counts) -> Counts:
    """The same with sums of seconds as they are whatever the order of adding."""
    for method in counts.methods.values():
        method.seconds.total = round(method.seconds.total, 6)
    return counts


@given(events, events)
def test_two_processes_count_as_one(
    one: list[tuple[str, str, float] | str | Reason | int], two: list[tuple[str, str, float] | str | Reason | int]
) -> None:
    """What two processes have counted adds up to what one would have counted, and they go on with their own counts."""
    other = count(Counts(), two)
    before = msgspec.json.encode(other)
    total = Counts()
    total.add(count(Counts(), one))
    total.add(other)
    assert rounded(total) == rounded(count(count(Counts(), one), two))
    assert msgspec.json.encode(other) == before


@given(events)
def test_counts_travel_between_processes(happened: list[tuple[str, str, float] | str | Reason | int]) -> None:
    """Counts are the same after they were written and read."""
    counts = count(Counts(), happened)
    assert msgspec.json.decode(msgspec.json.encode(counts), type=Counts) == counts


def test_calls_in_flight_add_up() -> None:
    """Calls in flight of all processes are added."""
    total = Counts(in_flight=2)
    total.add(Counts(in_flight=3))
    assert total.in_flight == 5


def test_an_observation_falls_into_the_bucket_that_ends_at_or_above_it() -> None:
    """A value on a bound counts in the bucket of that bound, one above all bounds in the last."""
    histogram = Histogram.of((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1000.0):
        histogram.observe(value)
    assert (histogram.buckets, histogram.total) == ([2, 2, 2], 1006.6)


@given(st.lists(values))
def test_every_observation_is_in_one_bucket(observed: list[float]) -> None:
    """The buckets hold as many as were observed, each up to its bound."""
    histogram = Histogram.of(SECONDS)
    for value in observed:
        histogram.observe(value)
    assert sum(histogram.buckets) == len(observed)
    for place, bound in enumerate(SECONDS):
        assert sum(histogram.buckets[: place + 1]) == sum(value <= bound for value in observed)


def test_processes_do_not_share_what_they_count() -> None:
    """Two sets of counts are two sets of counts."""
    one, two = Counts(), Counts()
    one.decisions[Reason.NO_POLICY] += 1
    one.batches.observe(1)
    one.method("a/Check").end("OK", 1)
    one.refuse("calls")
    assert two == Counts()
    MethodCounts().end("OK", 1)
    assert MethodCounts() == MethodCounts()


def test_bounds_rise() -> None:
    """Bounds of buckets rise, so that each value has one bucket."""
    for bounds in (SECONDS, CHECKS):
        assert sorted(set(bounds)) == list(bounds)


def test_every_reason_can_be_counted() -> None:
    """There is a place for every reason."""
    counts = Counts()
    for reason in Reason:
        counts.decisions[reason] += 1
    assert sum(counts.decisions) == len(Reason)


def test_looks_at_keys_add_up_by_issuer() -> None:
    """Looks at keys of two processes add up by issuer and outcome, and so do decisions that the audit never had."""
    one = Counts(key_looks={"a": {"ok": 1, "failed": 2}}, audit_left_out=1)
    one.add(Counts(key_looks={"a": {"ok": 3, "failed": 0}, "b": {"ok": 1}}, audit_left_out=2))
    assert one.key_looks == {"a": {"ok": 4, "failed": 2}, "b": {"ok": 1}}
    assert one.audit_left_out == 3
