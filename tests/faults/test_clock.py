"""A sidecar on a machine whose clock is put forward and back while it serves."""

import time
from collections.abc import Iterator

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as audit
from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar.audit.checkpoint import CheckpointFile
from authz_sidecar.audit.signing import create_key
from authz_sidecar.audit.verification import verify
from authz_sidecar.directory.storage.schema import KEYS
from authz_sidecar.directory.storage.store import Store
from tests.faults.scene import Client, Scene, ask, check_whole, reason
from tests.faults.stepped_clock import SteppedClock
from tests.server.sidecar import failure_of

HOUR, DAY = 3600.0, 86_400.0
WORD = "a password for ann"


@pytest.fixture
def clock(file_scene: Scene) -> SteppedClock:
    """A clock that is right until a test steps it."""
    return SteppedClock(file_scene.folder / "clock")


def at(seconds: float) -> Timestamp:
    """A moment so far from now."""
    return Timestamp(seconds=round(time.time() + seconds))


def test_what_ends_by_the_clock(file_scene: Scene, clock: SteppedClock) -> None:
    """Keys, tokens and assignments for an emergency end when the clock says so, whether it got there by waiting or by a
    step, and hold again when it is put back; no step makes the directory stale."""
    with file_scene.served(command=clock.command) as (sidecar, root):
        root.create("ann", "CLERK")
        root.set_password("ann", WORD)
        short, lasting = root.create_key("ann", "short", expire_time=at(HOUR)).secret, root.create_key("ann").secret
        token = root.sign_in("ann", WORD).access_token
        emergency = record.RoleAssignment(
            identity="ann",
            role="CARETAKER",
            company="acme",
            break_glass=True,
            expire_time=at(4 * HOUR),
            justification="the cellar is under water",
        )
        root.ask(root.directory.CreateRoleAssignment, directory.CreateRoleAssignmentRequest(assignment=emergency))

        def holds() -> tuple[str, str, str, bool]:
            answers = [ask(sidecar, credential=secret) for secret in (lasting, short, token)]
            assert sidecar.ready()[0] == 200
            assert sidecar.metric("authz_directory_staleness_seconds") < 60
            names = [
                "allowed" if answer.allowed else "expired" if answer.reason == reason("CREDENTIAL_EXPIRED") else "?"
                for answer in answers
            ]
            lasts, shorts, tokens = names
            return lasts, shorts, tokens, bool(ask(sidecar, "ann", "delete").allowed)

        for hours, expected in (
            (0.0, ("allowed", "allowed", "allowed", True)),
            (2.0, ("allowed", "expired", "expired", True)),
            (5.0, ("allowed", "expired", "expired", False)),
            (400 * 24, ("allowed", "expired", "expired", False)),
            (-24.0, ("allowed", "allowed", "allowed", True)),
            (0.0, ("allowed", "allowed", "allowed", True)),
        ):
            clock.step(hours * HOUR)
            assert holds() == expected, hours
        # A sign-in and a break-glass assignment are measured by the clock as it is now.
        clock.step(DAY)
        assert ask(sidecar, credential=root.sign_in("ann", WORD).access_token).allowed
        failure = failure_of(
            lambda: root.ask(
                root.directory.CreateRoleAssignment, directory.CreateRoleAssignmentRequest(assignment=emergency)
            )
        )
        assert "expire" in f"{failure.message}{failure.violations}"


def test_a_clock_that_goes_back_breaks_no_order(file_scene: Scene, clock: SteppedClock) -> None:
    """Changes that are made after the clock was put back follow those before: in revisions, in the audit and what is
    signed for it, in pages and in streams; and a time of last use is never lost for an earlier one."""
    key, file = file_scene.folder / "audit.key", file_scene.folder / "checkpoints.jsonl"
    public, _ = create_key(key)
    signing = ("--audit-key", str(key), "--audit-checkpoints", str(file))
    began = time.time()
    with file_scene.served(*signing, command=clock.command) as (sidecar, root):
        for number in range(3):
            root.create(f"before{number}", "CLERK", key=f"before{number}")
        used = root.create_key("before0")
        assert ask(sidecar, credential=used.secret).allowed
    # Its end has written the time of last use, and signed.
    clock.step(-DAY)
    with file_scene.served(*signing, command=clock.command) as (sidecar, root):
        assert ask(sidecar, credential=used.secret).allowed
        for number in range(3):
            root.create(f"after{number}", "CLERK", key=f"after{number}")
        clock.step(-2 * DAY)
        last = root.create("last", "CLERK").directory_revision
        # What was asked before the step is known under its key.
        assert root.create("after2", "CLERK", key="after2").directory_revision == last
        assert root.create("before2", "CLERK", key="before2").directory_revision == last
        made = list(_made(root))
        assert made == ["root", "before0", "before1", "before2", "after0", "after1", "after2", "last"]
        following = audit.FollowAuditRecordsRequest(after_sequence=0)
        stream = root.ask(root.audit.FollowAuditRecords, following)
        sequences = [next(stream).record.sequence for _ in range(14)]
        stream.cancel()
        assert sequences == list(range(1, 15))
        assert set(root.identities()) == set(made)
        listed = root.ask(root.credentials.GetKey, credential.GetKeyRequest(id=used.key.id)).key
        assert listed.last_use_time.seconds >= int(began)
        assert ask(sidecar, "last").allowed
    assert check_whole(file_scene.url) == set(made)
    store = Store.open(file_scene.url)
    with store.read() as connection:
        assert connection.execute(select(KEYS.c.last_used_at).where(KEYS.c.id == used.key.id)).scalar_one() >= began
        report = verify(connection, keys=(public,), lines=CheckpointFile(file).lines())
        assert report.intact, report.findings
        assert report.covered == report.last
    store.close()


def _made(root: Client) -> Iterator[str]:
    """The subjects of `identity.create`, a page of two at a time."""
    token = ""
    while True:
        filter = audit.AuditFilter(actions=["identity.create"])
        message = audit.ListAuditRecordsRequest(filter=filter, page_size=2, page_token=token)
        page = root.ask(root.audit.ListAuditRecords, message)
        yield from (found.subject for found in page.records)
        token = page.next_page_token
        if not token:
            return
