"""A sidecar to which ten thousand wrong keys are shown."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import grpc
from sqlalchemy import func, select

from authz_sidecar._proto.authz.v1 import check_pb2, credential_service_pb2
from authz_sidecar.directory.storage.schema import METADATA
from authz_sidecar.directory.storage.secrets import SecretKind, checksum, create_secret
from authz_sidecar.directory.storage.store import Store
from tests.faults.scene import SECONDS, Client, Scene, ask, check_whole, reason
from tests.server.sidecar import Sidecar, check_of, failure_of

BATCHES, WRONG = 100, 100
MORE_BYTES = 24 << 20


def wrong_keys(right: str) -> Iterator[str]:
    """Without end, no two alike: of nobody, with another secret, another checksum, or more behind it, tokens of nobody,
    and no keys at all."""
    _, id, secret, _ = right.split("_")
    for number in count():
        new = create_secret(SecretKind.KEY).text
        yield new
        text = f"azk_{id}_{new.split('_')[2]}"
        yield f"{text}_{checksum(text)}"
        yield f"azk_{id}_{secret}_{number:06}"
        yield f"{right}{number}"
        yield create_secret(SecretKind.TOKEN).text
        yield f"eyJhbGciOiJub25lIn0.{new}."
        yield f"{new}x"


def resident_bytes(sidecar: Sidecar) -> int:
    """The memory of a sidecar."""
    pages = Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def rows(url: str) -> dict[str, int]:
    """How many rows each table has."""
    store = Store.open(url, migrate=False, check=False)
    with store.read() as connection:
        found = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }
    store.close()
    return found


def series(sidecar: Sidecar) -> set[str]:
    """The names and labels of all samples of the metrics."""
    return {line.rpartition(" ")[0] for line in sidecar.get("/metrics")[1].splitlines() if not line.startswith("#")}


def test_ten_thousand_wrong_keys(file_scene: Scene) -> None:
    """Each is denied for the same reason, right keys among them are answered all along, and nothing grows by it: not
    the store, not what is held in memory, not the metrics, not the log."""
    with file_scene.served() as (sidecar, root):
        root.create("ann", "CLERK")
        key = root.create_key("ann").secret
        assert ask(sidecar, credential=key).allowed
        wrong = wrong_keys(key)
        # What a first batch needs is there before anything is measured.
        _ask_all(sidecar, wrong, key)
        before = (rows(file_scene.url), series(sidecar), len(sidecar.log))
        memory = resident_bytes(sidecar)
        for _ in range(BATCHES):
            _ask_all(sidecar, wrong, key)
        assert resident_bytes(sidecar) - memory < MORE_BYTES
        assert (rows(file_scene.url), series(sidecar), len(sidecar.log)) == before
        denied = sidecar.metric("authz_authentications_total", outcome="invalid_credential")
        assert denied == (BATCHES + 1) * WRONG
        assert sidecar.metric("authz_directory_credentials") == 2
        # Callers of the administration are refused likewise.
        for _ in range(50):
            caller = Client(sidecar.channel, next(wrong))
            failure = failure_of(partial(caller.create, "eve", "ADMIN", company=""))
            assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIAL")
            assert key not in str(failure.status)
        assert rows(file_scene.url) == before[0]
        # Each sign-in that fails is in the audit, but names of nobody, which may be passwords, are kept nowhere.
        for number in range(4):
            message = credential_service_pb2.SignInRequest(identity=f"nobody{number}", password=next(wrong))
            failure = failure_of(partial(root.credentials.SignIn, message, timeout=SECONDS))
            assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_FAILED")
        assert rows(file_scene.url) == before[0] | {"audit": before[0]["audit"] + 4, "failures": 1}
        assert ask(sidecar, credential=key).allowed
    assert check_whole(file_scene.url) == {"root", "ann"}


def _ask_all(sidecar: Sidecar, wrong: Iterator[str], right: str) -> None:
    checks = [check_of("", credential=next(wrong)) for _ in range(WRONG)]
    checks.insert(WRONG // 2, check_of("", credential=right))
    answer = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks), timeout=SECONDS)
    results = list(answer.results)
    assert results.pop(WRONG // 2).allowed
    assert {(result.allowed, result.reason, result.subject) for result in results} == {
        (False, reason("INVALID_CREDENTIAL"), "")
    }
