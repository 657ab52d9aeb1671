"""Reloads while clients ask without pause: every answer is one that some whole policy gives."""

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.sources.directory import read_directory
from authz_sidecar.sources.git import bundle_digest
from tests.server.sidecar import Sidecar, check_of, running_sidecar, until
from tests.server.test_reload import BOB_READS, QUICK, copy_bundle, replace_rows

RELOADS = 4
# More would keep the compiling process, which yields to all others, from a machine of two processors.
CLIENTS = 2
BATCH = check_pb2.BatchCheckRequest(checks=[check_of("bob"), check_of("alice")] * 100)


def version_of(policies: Path) -> str:
    """The version of a bundle outside git."""
    files, _ = read_directory(policies)
    assert files is not None
    return f"sha256:{bundle_digest(files)}"


def bob_is(sidecar: Sidecar, *, allowed: bool) -> bool:
    """Whether the policy that is served decides so about bob."""
    return sidecar.stub.Check(check_of("bob")).allowed is allowed


class CheckingClient(threading.Thread):
    """Asks one question in all ways, and holds each answer against what its policy version says.

    `expected` tells by version whether bob may read; alice may always. What is wrong is in `faults`.
    """

    def __init__(self, sidecar: Sidecar, expected: dict[str, bool]) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.seen: Counter[str] = Counter()
        self._sidecar = sidecar
        self._expected = expected
        self._ended = threading.Event()

    def run(self) -> None:
        """Ask until told to stop."""
        try:
            with self._sidecar.open_channel() as channel:
                self._ask(AuthorizationServiceStub(channel))
        except Exception as error:  # noqa: BLE001 - any failure is what the test looks for
            self.faults.append(repr(error))

    def stop(self) -> None:
        """Let it end, and wait for that."""
        self._ended.set()
        self.join(30)

    def _ask(self, stub: AuthorizationServiceStub) -> None:
        while not self._ended.is_set():
            for answer in [stub.Check(check_of("bob")) for _ in range(20)]:
                self._judge("bob", answer)
            results = stub.BatchCheck(BATCH).results
            if len({result.policy_version for result in results}) != 1:
                self.faults.append("a batch was answered from two policies")
            for check, result in zip(BATCH.checks, results, strict=True):
                self._judge(check.subject, result)
            asked = [check_pb2.CheckStreamRequest(check=check_of(subject)) for subject in ("bob", "alice") * 10]
            for request, response in zip(asked, stub.CheckStream(iter(asked)), strict=True):
                self._judge(request.check.subject, response.result)

    def _judge(self, subject: str, answer: check_pb2.CheckResponse) -> None:
        self.seen[answer.policy_version] += 1
        wanted = subject == "alice" or self._expected.get(answer.policy_version)
        if answer.allowed is not wanted:
            self.faults.append(f"{subject}: {answer}")


@pytest.fixture(params=[1, 2], ids=["alone", "two-workers"])
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Sidecar, list[CheckingClient]]]:
    """A bundle of one's own, a sidecar that follows it, and clients that ask without pause."""
    policies = copy_bundle(tmp_path / "policies")
    expected = {
        version_of(policies): False,
        version_of(copy_bundle(tmp_path / "open", BOB_READS)): True,
    }
    with running_sidecar(*QUICK, "--workers", str(request.param), policies=policies) as sidecar:
        running = [CheckingClient(sidecar, expected) for _ in range(CLIENTS)]
        for client in running:
            client.start()
        try:
            yield policies, sidecar, running
        finally:
            for client in running:
                client.stop()


def test_no_answer_is_wrong_or_missing_while_policies_change(
    clients: tuple[Path, Sidecar, list[CheckingClient]],
) -> None:
    """Through good and broken bundles in turn no call fails, and each answer is right for the version it names."""
    policies, sidecar, running = clients
    closed = (policies / "policy.csv").read_text()
    for turn in range(RELOADS):
        rows = closed if turn % 2 else closed + BOB_READS
        replace_rows(policies, rows + "p, editor\n")
        until(lambda: "refused" in sidecar.ready()[1])
        replace_rows(policies, rows)
        until(partial(bob_is, sidecar, allowed=turn % 2 == 0))
        until(lambda: "refused" not in sidecar.ready()[1])
    for client in running:
        client.stop()
    assert [client.faults for client in running] == [[]] * len(running)
    seen = sum((client.seen for client in running), Counter[str]())
    assert len(seen) == 2, seen
    assert sidecar.metric("authz_policy_reloads_total", outcome="loaded") == RELOADS + 1
    assert sidecar.metric("authz_policy_reloads_total", outcome="refused") == RELOADS
