"""Figures over the wire: `python -m bench.wire SCENARIO`, each scenario in a process of its own.

check    Check against a bare grpcio echo of the same message, one worker
batch    BatchCheck of 50 against Cerbos' CheckResources of 50, two workers
peer     Check against Cerbos' CheckResources of one, two workers
start    from exec to the ready line, and idle memory

Both sides of a comparison run at once and are loaded in turn, and the ratio is that of pairs. What a server answers is
verified with a stock client before and after.
"""

import json
import random
import sys
import time
from collections.abc import Callable

import grpc
from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.sources.load import load_bundle
from bench import cerbos
from bench.data import Question
from bench.h2load import BATCH_CHECK, CHECK, STREAMS, STREAMS_OF_BATCHES, SkippedError, requests_per_second
from bench.measure import median
from bench.servers import ROOT, Server, echo_command, memory_mb, running, sidecar_command

POLICIES = ROOT / "policies"
ROUNDS = 9
SECONDS = 2.0
STARTS = 11
BATCH = 50
TIMEOUT = 10
# An own-scope rule of the default bundle decides it, the costlier of its two kinds.
OWN_FOLDER: Question = ("acme-client", "update", "folder", "42", "acme", "acme-client")
Rate = Callable[[], float]


def check_message(question: Question) -> check_pb2.CheckRequest:
    """A question as the message of Check."""
    subject, action, kind, id, company, owner = question
    thing = check_pb2.Object(type=kind, id=id, company=company, owner=owner)
    return check_pb2.CheckRequest(subject=subject, action=action, object=thing)


def alternate(ours: Rate, theirs: Rate) -> dict[str, object]:
    """The rates of both sides over all rounds, measured in turn, and the ratios of the pairs."""
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    return {
        "ours_per_s": median([pair[0] for pair in pairs]),
        "theirs_per_s": median([pair[1] for pair in pairs]),
        "ratio": median([pair[0] / pair[1] for pair in pairs]),
        "ratios": sorted(pair[0] / pair[1] for pair in pairs),
    }


def check() -> dict[str, object]:
    """Requests per second of one worker on the default bundle, against the echo."""
    message = check_message(OWN_FOLDER)
    with running(*sidecar_command(POLICIES)) as sidecar:
        answer = _ask(sidecar, message)
        with running(*echo_command(answer.SerializeToString())) as echo:
            used = [0.0, 0.0]

            def rate(server: Server, side: int) -> float:
                before = server.processor_seconds()
                per_second = requests_per_second(server.address, CHECK, message.SerializeToString(), SECONDS)
                used[side] += (server.processor_seconds() - before) / per_second
                return per_second

            result = alternate(lambda: rate(sidecar, 0), lambda: rate(echo, 1))
            echoed = _ask(echo, message)
        again = _ask(sidecar, message)
    if not (
        answer.allowed and again.allowed and echoed == answer and len(again.decision_id) >= len(echoed.decision_id)
    ):
        raise SystemExit("the answers are wrong")
    return {**result, "processor_ratio": used[1] / used[0]}


def _ask(server: Server, message: check_pb2.CheckRequest) -> check_pb2.CheckResponse:
    with grpc.insecure_channel(server.address) as channel:
        return AuthorizationServiceStub(channel).Check(message, timeout=TIMEOUT)


def batch() -> dict[str, object]:
    """Decisions per second in calls of 50, against Cerbos."""
    return _against_cerbos(BATCH)


def peer() -> dict[str, object]:
    """Decisions per second in calls of one, against Cerbos."""
    return _against_cerbos(1)


def _against_cerbos(size: int) -> dict[str, object]:
    """The same questions by one subject, `size` in a call, to both servers with two workers each."""
    loaded = load_bundle(POLICIES)
    if loaded.bundle is None:
        raise SystemExit("policies/ does not load")
    kinds = [(name, action) for name, kind in loaded.bundle.manifest.object_types.items() for action in kind.actions]
    chance = random.Random(7)
    questions: list[Question] = [OWN_FOLDER]
    while len(questions) < size:
        kind, action = chance.choice(kinds)
        owner = chance.choice(("acme-client", "somebody"))
        company = "acme" if chance.random() < 0.9 else "globex"
        questions.append(("acme-client", action, kind, str(chance.randrange(1000)), company, owner))
    checks = [check_message(question) for question in questions]
    ours = check_pb2.BatchCheckRequest(checks=checks) if size > 1 else checks[0]
    method = BATCH_CHECK if size > 1 else CHECK
    with (
        running(*sidecar_command(POLICIES, "--workers", "2")) as sidecar,
        cerbos.running(loaded.bundle) as their_server,
        grpc.insecure_channel(sidecar.address) as channel,
        grpc.insecure_channel(their_server.address) as their_channel,
    ):
        stub, client = AuthorizationServiceStub(channel), cerbos.CerbosClient(their_channel)
        theirs = client.request(questions, ["CLIENT"], "acme")

        def answers() -> list[bool]:
            """What both say, which is the same."""
            asked = check_pb2.BatchCheckRequest(checks=checks)
            allowed = [answer.allowed for answer in stub.BatchCheck(asked, timeout=TIMEOUT).results]
            if client.ask(theirs) != allowed or len(allowed) != size:
                raise SystemExit("the servers disagree")
            return allowed

        before = answers()

        def rate(server: Server, called: str, message: Message) -> float:
            streams = STREAMS_OF_BATCHES if size > 1 else STREAMS
            return size * requests_per_second(server.address, called, message.SerializeToString(), SECONDS, streams)

        result = alternate(
            lambda: rate(sidecar, method, ours), lambda: rate(their_server, cerbos.CHECK_RESOURCES, theirs)
        )
        if answers() != before:
            raise SystemExit("the answers are wrong")
    return {**result, "allowed": sum(before) / size, "request_bytes": [ours.ByteSize(), theirs.ByteSize()]}


def start() -> dict[str, object]:
    """Seconds to the ready line on the default bundle, and the memory of the processes once they have answered."""
    seconds: list[float] = []
    memory: list[dict[str, float]] = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with running(*sidecar_command(POLICIES)) as sidecar:
            seconds.append(time.perf_counter() - started)
            _ask(sidecar, check_message(OWN_FOLDER))
            memory.append(memory_mb(sidecar.pid))
    return {
        "median_s": median(seconds),
        "range_s": [min(seconds), max(seconds)],
        "rss_mb": median([found["rss"] for found in memory]),
        "pss_mb": median([found["pss"] for found in memory]),
    }


SCENARIOS = {"check": check, "batch": batch, "peer": peer, "start": start}

if __name__ == "__main__":
    try:
        print(json.dumps(SCENARIOS[sys.argv[1]]()))
    except SkippedError as missing:
        print(json.dumps({"skipped": str(missing)}))
