"""What counting and logging cost a check: `python -m bench.accounting check`.

The same method is called through the server's table of methods, as grpcio calls it: with counts, with counts that do
nothing, and with a line of the decision log for each, in turn. The log is a file in memory where there is one, and what
its thread does meanwhile is part of the time.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from authz_sidecar._proto.authz.v1 import authorization_service_pb2, check_pb2
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.engine import Counts, Engine
from authz_sidecar.engine.counts import MethodCounts
from authz_sidecar.server.decision_log import DecisionLog
from authz_sidecar.server.settings import DecisionLogSettings
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.transports.grpc.admission import Gate
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.transports.grpc.methods import MethodTable
from authz_sidecar.transports.grpc.service import AuthorizationService
from authz_sidecar.values.limits import Limits
from bench.measure import median, settle

SERVICE = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
POLICIES = Path(__file__).parent.parent / "policies"
ROUNDS, CALLS = 15, 5_000


class _NoCounts(MethodCounts):
    """Counts nothing."""

    def end(self, code: str, seconds: float) -> None:
        """Do nothing."""


class _Details:
    method = f"/{SERVICE.full_name}/Check"
    invocation_metadata = (("user-agent", "bench"), ("te", "trailers"))


class _Context:
    @staticmethod
    def time_remaining() -> None:
        """No deadline."""


def methods(log: DecisionLog | None = None, *, counting: bool = True) -> MethodTable:
    """The methods of a server on the default bundle."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    engine = Engine(None if log is None else log.record)
    engine.load(snapshot, "f" * 40)
    counts = Counts() if counting else Counts(methods={f"{SERVICE.full_name}/Check": _NoCounts()})
    gate = Gate("calls", 10, ErrorReason.TOO_MANY_CALLS, "calls")
    table = MethodTable(counts, Limits().message_bytes)
    table.add(SERVICE, AuthorizationService(engine, Limits()), lambda _method: gate)
    return table


def seconds(table: MethodTable, data: bytes) -> float:
    """How long the calls take."""
    details: Any = _Details()
    context: Any = _Context()
    started = time.perf_counter()
    for _ in range(CALLS):
        call = table.service(details).unary_unary(data, context)
        try:
            call.send(None)
        except StopIteration:
            continue
    return time.perf_counter() - started


def check() -> dict[str, float]:
    """Microseconds a check, in pairs: what counts and what a line of the decision log add."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        log = DecisionLog(DecisionLogSettings(f"{folder}/decisions.jsonl"))
        result = _compare(log)
        log.close()
    if log.dropped or log.written != ROUNDS * CALLS:
        raise SystemExit(f"{log.dropped} dropped, {log.written} written")
    return result


def _compare(log: DecisionLog) -> dict[str, float]:
    thing = check_pb2.Object(type="folder", id="42", company="acme", owner="acme-client")
    data = check_pb2.CheckRequest(subject="acme-client", action="update", object=thing).SerializeToString()
    tables = (
        methods(counting=False),
        methods(),
        methods(log),
    )
    settle()
    rounds = [[seconds(table, data) / CALLS * 1e6 for table in tables] for _ in range(ROUNDS)][1:]
    return {
        "check_us": median([counted for _, counted, _ in rounds]),
        "counts_us": median([counted - bare for bare, counted, _ in rounds]),
        "line_us": median([logged - counted for _, counted, logged in rounds]),
    }


if __name__ == "__main__":
    print(json.dumps({"check": check}[sys.argv[1]]()))
