"""Secrets are nowhere but with whom they were given to."""

import logging
import traceback
from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from authz_sidecar.directory.storage.errors import DirectoryError
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.schema import METADATA
from authz_sidecar.directory.storage.secrets import parse
from authz_sidecar.directory.storage.store import Store
from tests.directory.credential_scene import ADMIN, PASSWORD, Scene

WRONG = "a password that is wrong"
NEW = "a password that comes later"
CALLER = Actor("", address="ipv4:198.51.100.7:4711", call="call-2")


@pytest.fixture
def scene(emptied_store: Store, caplog: pytest.LogCaptureFixture) -> Scene:
    """A directory, with everything that is logged."""
    caplog.set_level(logging.DEBUG)
    return Scene(emptied_store)


def refusals(scene: Scene, key: str) -> Iterator[str]:
    """Everything that errors tell, with what they were raised with."""
    for operation in (
        lambda: scene.credentials.sign_in(CALLER, "alice", WRONG, CALLER.address),
        lambda: scene.credentials.sign_in(CALLER, WRONG, WRONG, CALLER.address),
        lambda: scene.credentials.sign_in_jwt(CALLER, key, CALLER.address),
        lambda: scene.credentials.set_password(ADMIN, "robot", NEW),
        lambda: scene.credentials.set_password(ADMIN, "alice", PASSWORD[:11]),
        lambda: scene.credentials.create_key(ADMIN, "alice", "ci"),
        lambda: scene.credentials.get_key(key),
        lambda: scene.credentials.revoke_token(ADMIN, key),
        lambda: scene.credentials.create_token(ADMIN, "nobody"),
    ):
        with pytest.raises(DirectoryError) as error:
            operation()
        found = error.value
        yield f"{found!r} {found} {found.help} {found.violations!r} {found.details!r}"
        yield "".join(traceback.format_exception_only(found))


def stored(scene: Scene) -> bytes:
    """All that the database has: every byte of the file and what belongs to it, or every row of every table."""
    path = scene.store.path
    if path is not None:
        return b"".join(part.read_bytes() for part in sorted(path.parent.glob(f"{path.name}*")))
    tables = [repr(scene.rows(table)) for table in METADATA.sorted_tables]
    return "\n".join(tables).encode()


def test_secrets_are_nowhere(scene: Scene, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Keys, tokens and passwords are neither in the store and its audit nor in the log, errors or printed values."""
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    key = scene.key(idempotency_key="call-1")
    rotated = scene.rotate(key.record.id, idempotency_key="call-2")
    signed_in = scene.credentials.sign_in(CALLER, "alice", PASSWORD, CALLER.address).record
    made = scene.credentials.create_token(ADMIN, "robot").record
    shown = [repr(issued) + str(issued) for issued in (key, rotated, signed_in, made)]
    shown += [repr(scene.ask(issued.secret)) for issued in (key, rotated, signed_in, made)]
    scene.time += 3600
    scene.ask(made.secret)
    scene.use.flush()
    shown += refusals(scene, key.secret)
    scene.credentials.revoke_tokens(ADMIN, "alice")
    scene.credentials.revoke_key(ADMIN, key.record.id)
    # The log says it too, once, when notes of use cannot be written.
    scene.use.note_key(key.record.id, scene.time)
    with scene.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE keys RENAME TO gone"))
    assert not scene.use.flush()
    with scene.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO keys"))
    assert "could not be written" in caplog.text
    printed = capfd.readouterr()
    told = "\n".join(
        (*shown, caplog.text, *(repr(vars(record)) for record in caplog.records), printed.out, printed.err)
    ).encode()
    for place in (told, stored(scene)):
        for issued in (key, rotated, signed_in, made):
            parsed = parse(issued.secret)
            assert parsed is not None
            assert parsed.id.encode() in place
            assert parsed.secret.encode() not in place
        for password in (PASSWORD, WRONG, NEW):
            assert password.encode() not in place


def test_secrets_are_in_no_statement(emptied_store: Store) -> None:
    """What the database is sent has digests alone, so that a log of its statements has no secret either."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append(f"{statement} {parameters!r}")

    event.listen(emptied_store.engine, "before_cursor_execute", note)
    scene = Scene(emptied_store)
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    secrets = [
        scene.key().secret,
        scene.credentials.sign_in(CALLER, "alice", PASSWORD, CALLER.address).record.secret,
    ]
    with pytest.raises(DirectoryError):
        scene.credentials.sign_in(CALLER, "alice", WRONG, CALLER.address)
    event.remove(emptied_store.engine, "before_cursor_execute", note)
    statements = "\n".join(sent)
    assert "INSERT INTO keys" in statements
    for text_of in secrets:
        parsed = parse(text_of)
        assert parsed is not None
        assert parsed.secret not in statements
    assert PASSWORD not in statements
    assert WRONG not in statements
