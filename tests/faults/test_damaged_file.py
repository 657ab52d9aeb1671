"""A sidecar whose file is damaged: before it starts, and while it serves."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar.audit.verification import verify
from authz_sidecar.directory.backup.backup import backup, restore
from authz_sidecar.directory.storage.store import Store
from tests.faults.scene import Client, Scene, ask, reason, refused_start
from tests.server.sidecar import Failure, Sidecar, until

PAGE = 4096
PEOPLE = 10


def fold_log(path: Path) -> None:
    """Move what is in the log into the file, so that the file has everything."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()


def spoil(path: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def spoil_pages(path: Path) -> None:
    """All but the first page."""
    spoil(path, PAGE, b"\x5a" * (path.stat().st_size - PAGE))


def cut(path: Path) -> None:
    """The second half is gone."""
    os.truncate(path, path.stat().st_size // PAGE // 2 * PAGE)


@pytest.mark.parametrize("damage", [spoil_pages, cut])
def test_a_file_that_is_damaged_under_a_sidecar(file_scene: Scene, damage: Callable[[Path], None]) -> None:
    """Whatever is done to its file a running sidecar gives no wrong answer: checks go on by what is known, and
    administration is right, or refused as damaged. A sidecar that would start on it is refused, and leaves it as it is.
    With a backup restored in its place the first one goes on."""
    path, saved = Path(file_scene.url), file_scene.folder / "saved.backup"
    with file_scene.served() as (sidecar, root):
        people = [f"p{number}" for number in range(PEOPLE)]
        for id in people:
            root.create(id, "CLERK")
        key = root.create_key("p0").secret
        store = Store.open(file_scene.url)
        backup(store, saved)
        store.close()
        fold_log(path)
        damage(path)
        damaged = path.read_bytes()
        said = refused_start(file_scene)
        assert "is refused: " in said
        assert "damaged" in said
        assert "help: restore a backup" in said
        refusals = [refusal for number in range(12) if (refusal := _administer(root, number))]
        assert refusals
        for refusal in refusals:
            assert "damaged" in refusal
            assert "restore a backup" in refusal
        assert_right(sidecar, people, key)
        assert path.read_bytes() == damaged

        for file in path.parent.glob(f"{path.name}*"):
            file.rename(file_scene.folder / f"damaged{file.suffix}")
        # It is there once it is whole: what is followed is never empty.
        restore(saved, str(path))
        until(lambda: "unseen" not in sidecar.ready()[1]["directory"])
        made = root.create("after", "CLERK").directory_revision
        assert made > PEOPLE
        assert_right(sidecar, [*people, "after"], key)
        assert set(root.identities()) == {"root", "after", *people}
    store = Store.open(file_scene.url)
    with store.read() as connection:
        assert verify(connection).intact
    store.close()


def _administer(root: Client, number: int) -> str:
    """Read or change something: "" if it was done, and right; otherwise the refusal."""
    try:
        if number % 3 == 0:
            found = root.ask(root.directory.GetIdentity, directory.GetIdentityRequest(id="p7")).identity
            assert (found.id, found.company) == ("p7", "acme")
        elif number % 3 == 1:
            assert len(root.identities()) == PEOPLE + 1
        else:
            root.create(f"late{number}", "CLERK")
    except grpc.RpcError as error:
        failure = Failure(error)
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT"), failure.message
        return failure.message
    return ""


def assert_right(sidecar: Sidecar, people: list[str], key: str) -> None:
    """Everybody is allowed what was given, and nobody more."""
    for id in people:
        assert ask(sidecar, id).allowed
        assert not ask(sidecar, id, "delete").allowed
    assert ask(sidecar, credential=key).allowed
    assert ask(sidecar, "nobody").reason == reason("UNKNOWN_SUBJECT")
