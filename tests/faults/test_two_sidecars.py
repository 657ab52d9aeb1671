"""Two sidecars that change one directory at the same time."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc

from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from tests.faults.scene import Scene, ask, check_whole, reason
from tests.server.sidecar import Failure, Sidecar, until

ACCOUNTS, KEYS = 25, 10


def outcome(call: Future[Any], limit: str) -> str:
    """Whether a call was done, or refused by a limit."""
    error = call.exception(60)
    if error is None:
        return "done"
    failure = Failure(error)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"), failure.message
    assert failure.info.metadata["limit"] == limit
    return "refused"


def knows(sidecar: Sidecar, everybody: set[str], secrets: list[str]) -> bool:
    """Whether a sidecar allows all of them by name, and by key."""
    by_name = all(ask(sidecar, id).allowed for id in everybody)
    return by_name and all(ask(sidecar, credential=secret).allowed for secret in secrets)


def follows(sidecar: Sidecar, revision: int) -> bool:
    """Whether it has a revision."""
    return bool(ask(sidecar, "ann").directory_revision >= revision)


def test_two_that_write_at_once(scene: Scene) -> None:
    """Limits hold exactly however many ask for the last place through two sidecars at once; revisions have no gaps;
    both know everything; and what one revokes the other denies."""
    with ExitStack() as stack:
        served = [stack.enter_context(scene.served()) for _ in range(2)]
        threads = stack.enter_context(ThreadPoolExecutor(8))
        sidecars, clients = zip(*served, strict=True)

        def make(number: int) -> None:
            clients[number % 2].create(f"robot{number}", "CLERK", kind=record.IDENTITY_KIND_SERVICE_ACCOUNT)

        going = [threads.submit(make, number) for number in range(ACCOUNTS + 15)]
        assert Counter(outcome(call, "25") for call in going) == {"done": ACCOUNTS, "refused": 15}

        clients[0].create("ann", "CLERK")

        def make_key(number: int) -> str:
            return str(clients[number % 2].create_key("ann", f"key{number}").secret)

        calls = [threads.submit(make_key, number) for number in range(KEYS + 6)]
        assert Counter(outcome(call, "10") for call in calls) == {"done": KEYS, "refused": 6}
        secrets = [call.result() for call in calls if call.exception() is None]

        everybody = {"root", "ann"} | {
            f"robot{number}" for number, call in enumerate(going) if call.exception() is None
        }
        for client, sidecar in zip(clients, sidecars, strict=True):
            assert set(client.identities()) == everybody
            until(partial(knows, sidecar, everybody, secrets))

        for number, secret in enumerate(secrets[:4]):
            here, there = number % 2, 1 - number % 2
            revoked = clients[here].revoke_key(secret.split("_")[1])
            assert ask(sidecars[here], credential=secret).reason == reason("CREDENTIAL_REVOKED")
            until(partial(follows, sidecars[there], revoked.directory_revision))
            assert ask(sidecars[there], credential=secret).reason == reason("CREDENTIAL_REVOKED")
        clients[1].create_key("ann", "in the place of one that was revoked")
    assert check_whole(scene.url) == everybody
