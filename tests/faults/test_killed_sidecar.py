"""A sidecar that is killed while clients change the directory through it."""

import queue
from concurrent.futures import ThreadPoolExecutor

import grpc

from tests.faults.scene import Client, Scene, ask, check_whole
from tests.server.sidecar import Sidecar

CLIENTS, CREATES, BEFORE = 4, 250, 200


def create_until_it_ends(
    sidecar: Sidecar, secret: str, client: int, numbers: range, acknowledged: "queue.SimpleQueue[str]"
) -> int:
    """Create one identity after the other, each under its own idempotency key, until a call fails: the number of the
    first that is not acknowledged."""
    with sidecar.open_channel() as channel:
        caller = Client(channel, secret)
        for number in numbers:
            id = f"c{client}-{number}"
            try:
                made = caller.create(id, "CLERK", key=id)
            except grpc.RpcError as error:
                # The connection is cut, or nobody is there.
                return number if error.code() is grpc.StatusCode.UNAVAILABLE else -1
            assert made.identity.id == id
            acknowledged.put(id)
    return numbers.stop


def test_what_was_acknowledged_outlives_the_sidecar(scene: Scene) -> None:
    """Killed with -9 in the middle of 1,000 creates by four clients a sidecar loses nothing that it acknowledged and
    leaves nothing half done; each client repeats the one that it does not know of under its key, and goes on."""
    acknowledged: queue.SimpleQueue[str] = queue.SimpleQueue()
    with ThreadPoolExecutor(CLIENTS) as threads:
        with scene.served() as (sidecar, _):
            going = [
                threads.submit(create_until_it_ends, sidecar, scene.root, client, range(CREATES), acknowledged)
                for client in range(CLIENTS)
            ]
            known = {acknowledged.get(timeout=60) for _ in range(BEFORE)}
            sidecar.process.kill()
            sidecar.process.wait(60)
            reached = [future.result(60) for future in going]
            while not acknowledged.empty():
                known.add(acknowledged.get())
        unknown = {f"c{client}-{number}" for client, number in enumerate(reached)}
        assert BEFORE <= len(known) == sum(reached) < CLIENTS * CREATES
        found = check_whole(scene.url) - {"root"}
        assert known <= found <= known | unknown
        with scene.served() as (sidecar, root):
            assert set(root.identities()) == found | {"root"}
            assert all(ask(sidecar, id).allowed for id in found)
            assert [ask(sidecar, id).allowed for id in unknown - found] == [False] * len(unknown - found)
            again = [
                threads.submit(create_until_it_ends, sidecar, scene.root, client, range(begin, begin + 5), acknowledged)
                for client, begin in enumerate(reached)
            ]
            assert [future.result(60) for future in again] == [begin + 5 for begin in reached]
    everybody = {f"c{client}-{number}" for client, begin in enumerate(reached) for number in range(begin + 5)}
    assert check_whole(scene.url) == everybody | {"root"}
