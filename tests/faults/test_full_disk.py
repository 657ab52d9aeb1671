"""A sidecar whose store cannot grow any more: a full disk, and a limit of the system on the size of files."""

import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as audit
from tests.faults.scene import Scene, ask, check_whole, reason
from tests.server.sidecar import Sidecar, failure_of, until

# Leaves a store hardly any room, and gives what makes room again.
Fill = Callable[[Scene, Sidecar], Callable[[], None]]
DISK_BYTES = 8 << 20
MOUNT = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs")


def _mount(folder: Path) -> bool:
    return os.geteuid() == 0 and subprocess.run((*MOUNT, folder), capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(("umount", folder), check=True)


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        mounted = _mount(Path(folder))
        if mounted:
            _unmount(Path(folder))
    return mounted


@pytest.fixture(params=["limit", *(["disk"] if _may_mount() else [])])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fill]:
    """Leaves a store hardly any room, and gives what makes room again. Where no disk may be mounted a limit on files
    is tested alone."""

    def limit(scene: Scene, sidecar: Sidecar) -> Callable[[], None]:
        process = sidecar.process.pid
        most = max(file.stat().st_size for file in scene.folder.glob("directory.db*")) + 300_000
        before = resource.prlimit(process, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

        def make_room() -> None:
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)

        return make_room

    def fill(scene: Scene, _: Sidecar) -> Callable[[], None]:
        filler = scene.folder / "filler"
        free = os.statvfs(scene.folder)
        with filler.open("wb") as file:
            file.write(bytes(free.f_bavail * free.f_frsize - 300_000))
        return filler.unlink

    if request.param == "limit":
        yield limit
        return
    assert _mount(tmp_path)
    yield fill
    _unmount(tmp_path)


def test_a_store_that_cannot_grow(full: Fill, tmp_path: Path) -> None:
    """Administration is refused as unavailable with a remedy, and leaves nothing behind; checks go on; what was
    acknowledged is kept; and with room again the same process goes on, with what it still had to write."""
    scene = Scene(tmp_path)
    with scene.served() as (sidecar, root):
        root.create("ann", "CLERK")
        key = root.create_key("ann")
        made = ["root", "ann"]
        make_room = full(scene, sidecar)
        refusals = 0
        for number in range(200):
            id = f"late{number}"
            try:
                root.create(id, "CLERK")
            except grpc.RpcError:
                refusals += 1
                if refusals == 5:
                    break
            else:
                made.append(id)
        assert refusals == 5
        assert len(made) > 3
        # Each takes more room than is left.
        for attempt in (
            lambda: root.create("x", "CLERK"),
            lambda: root.revoke_key(key.key.id),
            lambda: root.create_key("ann", "another"),
        ):
            failure = failure_of(attempt)
            assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "disk" in failure.message
            assert "; " in failure.message
            assert failure.retry_after
        for id in made:
            assert ask(sidecar, id).allowed
        for id in ("x", f"late{number}"):
            assert not ask(sidecar, id).allowed
        assert ask(sidecar, credential=key.secret).allowed
        assert sorted(root.identities()) == sorted(made)
        assert sidecar.ready()[0] == 200
        make_room()
        root.create("x", "CLERK")
        root.revoke_key(key.key.id)
        assert ask(sidecar, credential=key.secret).reason == reason("CREDENTIAL_REVOKED")
        assert ask(sidecar, "x").allowed
        found = root.ask(root.audit.ListAuditRecords, audit.ListAuditRecordsRequest(page_size=1000)).records
        assert [one.sequence for one in found] == list(range(1, len(found) + 1))
        until(lambda: sidecar.metric("authz_directory_staleness_seconds") < 1)
    assert check_whole(scene.url) == {*made, "x"}
