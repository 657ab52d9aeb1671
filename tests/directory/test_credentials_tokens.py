"""Access tokens: made, extended by use, revoked and removed."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text

from authz_sidecar.directory.credentials import tokens
from authz_sidecar.directory.credentials.use import Use
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, AssignmentRecord, Issued, TokenRecord
from authz_sidecar.directory.storage.schema import KEYS, TOKENS
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DAY, YEAR, DirectoryRules, KindRules, TokenRules
from authz_sidecar.values.identity import Authenticated
from tests.directory.credential_scene import ADMIN, NOW, PASSWORD, Scene

MINUTES = 15 * 60.0


@pytest.fixture
def scene(emptied_store: Store) -> Scene:
    """A directory with two users and a service account."""
    return Scene(emptied_store)


def create(scene: Scene, identity: str = "alice") -> Issued:
    """A new token."""
    issued: Issued = scene.credentials.create_token(ADMIN, identity).record
    return issued


def token_of(issued: Issued) -> TokenRecord:
    """The record of a token."""
    assert isinstance(issued.record, TokenRecord)
    return issued.record


def holds_until(scene: Scene, issued: Issued) -> float:
    """Until when a sidecar that has all changes says that a token holds."""
    found = scene.ask(issued.secret)
    assert isinstance(found, Authenticated)
    return found.expires


def test_a_users_token_slides(scene: Scene) -> None:
    """By default a user's token lasts 15 minutes from its last use, and 12 hours from its making."""
    token = token_of(create(scene))
    assert (token.expires_at, token.sliding_seconds, token.ends_at) == (NOW + MINUTES, MINUTES, NOW + DAY / 2)
    assert token.created_by == "admin"


def test_a_service_accounts_token_does_not_slide(scene: Scene) -> None:
    """By default a service account's token lasts five years."""
    issued = create(scene, "robot")
    token = token_of(issued)
    assert (token.expires_at, token.sliding_seconds, token.ends_at) == (NOW + 5 * YEAR, 0.0, None)
    scene.time += 5 * YEAR - 1
    assert holds_until(scene, issued) == token.expires_at
    assert scene.use.waiting == 0
    scene.time += 1
    assert scene.ask(issued.secret) is Reason.CREDENTIAL_EXPIRED


def test_the_role_sets_the_lifetime(scene: Scene) -> None:
    """Holders of a role with tokens of its own get those while they hold it; of several, those that end first."""
    service = AssignmentRecord(identity="alice", role="SERVICE", company="acme", expires_at=NOW + 60)
    scene.identities.create_assignment(ADMIN, service)
    assert token_of(create(scene)).expires_at == NOW + 5 * YEAR
    scene.rules = DirectoryRules(
        roles=scene.rules.roles,
        role_tokens={**scene.rules.role_tokens, "CLIENT": TokenRules(60.0, sliding=False, most_seconds=0.0)},
    )
    scene.identities.create_assignment(ADMIN, AssignmentRecord(identity="alice", role="CLIENT", company="acme"))
    assert token_of(create(scene)).expires_at == NOW + 60
    scene.time += 60
    assert token_of(create(scene)).expires_at == NOW + 120


def test_a_sliding_token_always_ends(scene: Scene) -> None:
    """Rules of a sliding token without a maximum age get one all the same."""
    scene.rules = DirectoryRules(users=KindRules(tokens=TokenRules(60.0, sliding=True, most_seconds=0.0)))
    assert token_of(create(scene)).ends_at == NOW + DAY / 2


def test_use_extends_a_token(scene: Scene) -> None:
    """A token that is used holds for its lifetime again, at once and without a write."""
    issued = create(scene)
    revision = scene.store.state().revision
    scene.time += 600
    assert holds_until(scene, issued) == NOW + 600 + MINUTES
    scene.time += MINUTES - 1
    assert holds_until(scene, issued) == scene.time + MINUTES
    assert scene.store.state().revision == revision
    scene.time += MINUTES
    assert scene.ask(issued.secret) is Reason.CREDENTIAL_EXPIRED


def test_extensions_are_written_for_others(scene: Scene) -> None:
    """What is written of an extension makes other sidecars follow: the revision rises, and the store has it."""
    issued = create(scene)
    revision = scene.store.state().revision
    scene.time += 600
    scene.ask(issued.secret)
    assert scene.use.waiting == 1
    assert scene.use.flush()
    assert scene.use.waiting == 0
    assert scene.store.state().revision == revision + 1
    (row,) = scene.rows(TOKENS)
    assert (row.expires_at, row.revision) == (NOW + 600 + MINUTES, revision + 1)
    scene.load()
    facts = scene.copy.token(issued.record.id)
    assert facts is not None
    assert facts.expires == NOW + 600 + MINUTES


def test_a_request_is_no_write(scene: Scene) -> None:
    """A thousand uses within a tenth of the lifetime extend nothing and leave nothing to write."""
    issued = create(scene)
    for _ in range(1000):
        scene.time += 0.08
        assert isinstance(scene.authenticator.authenticate(issued.secret, scene.time), Reason | Authenticated)
    assert scene.use.waiting == 0
    scene.time = NOW + MINUTES / 10
    assert holds_until(scene, issued) == scene.time + MINUTES
    assert scene.use.waiting == 1


def test_nothing_extends_a_token_past_its_end(scene: Scene) -> None:
    """However often it is used, a sliding token ends at its maximum age."""
    issued = create(scene)
    ends = NOW + DAY / 2
    while scene.time < ends - 800:
        scene.time += 800
        assert scene.works(issued.secret)
        scene.use.flush()
    assert holds_until(scene, issued) == ends
    scene.time = ends - 0.001
    assert scene.works(issued.secret)
    scene.use.flush()
    assert [row.expires_at for row in scene.rows(TOKENS)] == [ends]
    scene.time = ends
    assert scene.ask(issued.secret) is Reason.CREDENTIAL_EXPIRED


def test_extensions_survive_a_failed_write(scene: Scene) -> None:
    """Where the store takes nothing, a token is extended in memory, and written once the store is back."""
    issued, key = create(scene), scene.key()
    scene.time += 600
    assert scene.works(issued.secret)
    assert scene.works(key.secret)
    with scene.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE tokens RENAME TO gone"))
    assert not scene.use.flush()
    assert scene.use.failures == 1
    scene.time += 600
    assert isinstance(scene.authenticator.authenticate(issued.secret, scene.time), Authenticated)
    with scene.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO tokens"))
    assert scene.use.flush()
    (row,) = scene.rows(TOKENS)
    assert row.expires_at == scene.time + MINUTES


def test_an_extension_brings_nothing_back(scene: Scene) -> None:
    """A token that was revoked stays revoked when its extension is written, and one that is gone stays gone."""
    revoked, gone = create(scene), create(scene, "bob")
    scene.time += 600
    assert scene.works(revoked.secret)
    assert scene.works(gone.secret)
    scene.credentials.revoke_token(ADMIN, revoked.record.id)
    scene.identities.delete_identity(ADMIN, "bob")
    assert scene.use.flush()
    (row,) = scene.rows(TOKENS)
    assert row.expires_at == scene.time
    assert scene.ask(revoked.secret) is Reason.CREDENTIAL_REVOKED
    assert scene.ask(gone.secret) is Reason.INVALID_CREDENTIAL


def test_an_extension_shortens_nothing(scene: Scene) -> None:
    """Of two sidecars that extend a token, the later extension stands, whichever is written last."""
    issued = create(scene)
    other = Use(scene.store, lambda: scene.time)
    scene.time += 600
    scene.ask(issued.secret)
    other.extend(issued.record.id, NOW + MINUTES, MINUTES, NOW + DAY / 2, NOW + 700)
    assert other.flush()
    assert scene.use.flush()
    assert [row.expires_at for row in scene.rows(TOKENS)] == [NOW + 700 + MINUTES]
    assert holds_until(scene, issued) == NOW + 700 + MINUTES


def test_memory_of_extensions_is_given_back(scene: Scene) -> None:
    """Once the copy has an extension, or it has run out, nothing of it is kept."""
    issued = create(scene)
    scene.time += 600
    scene.ask(issued.secret)
    scene.ask(scene.key().secret)
    scene.use.flush()
    scene.ask(issued.secret)
    scene.time += DAY
    scene.use.flush()
    assert not vars(scene.use)["_extended"]
    assert not vars(scene.use)["_noted"]


def test_keys_know_when_they_were_used(scene: Scene) -> None:
    """The time of a key's last use is written to about a minute, and touches nothing that others follow."""
    issued = scene.key()
    revision, audited = scene.store.state().revision, scene.audited()
    scene.time += 10
    for _ in range(50):
        assert scene.works(issued.secret)
        scene.time += 1
    assert scene.use.waiting == 1
    scene.use.flush()
    assert scene.credentials.get_key(issued.record.id).last_used_at == NOW + 10
    scene.time += 60
    scene.works(issued.secret)
    scene.use.flush()
    assert scene.credentials.get_key(issued.record.id).last_used_at == NOW + 120
    assert (scene.store.state().revision, scene.audited()) == (revision, audited)
    assert scene.credentials.get_key(issued.record.id).revision == issued.record.revision


def test_a_refused_key_was_not_used(scene: Scene) -> None:
    """Wrong secrets, and keys that are refused, leave no time of use."""
    off = scene.key()
    scene.credentials.update_key(ADMIN, off.record.id, {"active": False})
    scene.ask(off.secret)
    scene.ask(off.secret[:-10])
    assert scene.use.waiting == 0


def test_use_is_written_in_the_background(scene: Scene) -> None:
    """The thread writes by itself, and stopping writes what is left."""
    written = threading.Event()

    class Telling(Use):
        def flush(self) -> bool:
            done = super().flush()
            if done and not self.waiting and scene.rows(KEYS)[0].last_used_at:
                written.set()
            return done

    key = scene.key()
    use = Telling(scene.store, lambda: scene.time, seconds=0.01)
    use.start()
    use.note_key(key.record.id, NOW)
    assert written.wait(30)
    use.note_key(key.record.id, NOW + 100)
    use.stop()
    assert scene.rows(KEYS)[0].last_used_at == NOW + 100
    assert not [thread for thread in threading.enumerate() if thread.name == "credential-use"]


def test_many_uses_are_few_transactions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush writes everything in transactions of a bounded size."""
    monkeypatch.setattr("authz_sidecar.directory.credentials.use.MAX_ROWS", 4)
    keys = [scene.key(name=f"key {number}").record.id for number in range(10)]
    for id in keys:
        scene.use.note_key(id, NOW)
    assert scene.use.flush()
    assert [row.last_used_at for row in scene.rows(KEYS)] == [NOW] * 10


def test_one_token_is_revoked(scene: Scene) -> None:
    """A revoked token is refused at once, another of the same identity goes on, and it happens once."""
    one, other = create(scene), create(scene)
    assert scene.credentials.revoke_token(ADMIN, one.record.id, justification="lost").record.revoked_at == NOW
    assert scene.ask(one.secret) is Reason.CREDENTIAL_REVOKED
    assert scene.works(other.secret)
    scene.credentials.revoke_token(ADMIN, one.record.id)
    assert scene.audited().count("token.revoke") == 1


def test_all_tokens_of_an_identity_are_revoked(scene: Scene) -> None:
    """Revoking all says how many held, and leaves those of others and its keys alone."""
    mine, key, other = [create(scene) for _ in range(3)], scene.key(), create(scene, "bob")
    scene.credentials.revoke_token(ADMIN, mine[0].record.id)
    assert scene.credentials.revoke_tokens(ADMIN, "alice").record == 2
    assert [scene.ask(token.secret) for token in mine] == [Reason.CREDENTIAL_REVOKED] * 3
    assert scene.works(key.secret)
    assert scene.works(other.secret)
    assert scene.credentials.revoke_tokens(ADMIN, "alice").record == 0


def test_tokens_are_listed(scene: Scene) -> None:
    """Tokens that hold are listed page by page."""
    ids = sorted(create(scene).record.id for _ in range(3))
    revoked = create(scene)
    scene.credentials.revoke_token(ADMIN, revoked.record.id)
    create(scene, "bob")
    first = scene.credentials.list_tokens("alice", page_size=2)
    second = scene.credentials.list_tokens("alice", page_size=2, page_token=first.next_page_token)
    assert [token.id for token in (*first.records, *second.records)] == ids
    assert second.next_page_token == ""
    scene.time += MINUTES
    assert scene.credentials.list_tokens("alice").records == ()
    assert scene.credentials.get_token(ids[0]).id == ids[0]


def test_what_is_not_there_is_not_found(scene: Scene) -> None:
    """Operations on tokens and identities that do not exist say so."""
    for operation in (
        lambda: scene.credentials.get_token("a\x00b"),
        lambda: scene.credentials.revoke_token(ADMIN, "nothing"),
        lambda: scene.credentials.revoke_tokens(ADMIN, "nobody"),
        lambda: scene.credentials.create_token(ADMIN, "nobody"),
        lambda: scene.credentials.list_tokens("nobody"),
    ):
        with pytest.raises(DirectoryError) as error:
            operation()
        assert error.value.fault is Fault.NOT_FOUND


def test_an_identity_that_is_switched_off_gets_no_token(scene: Scene) -> None:
    """It would be good for nothing; those that it has stop, and go on when it is switched on again."""
    issued = create(scene)
    scene.identities.update_identity(ADMIN, "alice", {"active": False})
    with pytest.raises(DirectoryError) as error:
        create(scene)
    assert error.value.fault is Fault.PRECONDITION
    assert scene.ask(issued.secret) is Reason.INACTIVE_SUBJECT
    scene.identities.update_identity(ADMIN, "alice", {"active": True})
    assert scene.works(issued.secret)


def test_the_number_of_tokens_is_limited(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity has a bounded number of tokens that hold, and the error names the bound."""
    monkeypatch.setattr(tokens, "MOST_TOKENS", 3)
    for _ in range(3):
        create(scene)
    with pytest.raises(DirectoryError) as error:
        create(scene)
    assert (error.value.fault, error.value.details) == (Fault.LIMIT, {"limit": "3"})
    scene.time += MINUTES
    create(scene)


def test_ended_tokens_are_removed_after_a_while(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week after its end a token is removed, a bounded number of them whenever another one is made."""
    monkeypatch.setattr(tokens, "REMOVED_AT_ONCE", 2)
    old = [create(scene) for _ in range(3)]
    revoked = create(scene, "robot")
    scene.credentials.revoke_token(ADMIN, revoked.record.id)
    scene.time += MINUTES
    assert scene.ask(old[0].secret) is Reason.CREDENTIAL_EXPIRED
    scene.time += 7 * DAY + 1
    left = []
    for _ in range(3):
        create(scene)
        left.append(sum(row.expires_at < scene.time for row in scene.rows(TOKENS)))
    assert left == [2, 0, 0]
    assert scene.ask(old[0].secret) is Reason.INVALID_CREDENTIAL
    assert scene.ask(revoked.secret) is Reason.INVALID_CREDENTIAL


def test_a_dry_run_makes_no_token(scene: Scene) -> None:
    """A dry run gives no secret and leaves no token."""
    planned = scene.credentials.create_token(ADMIN, "alice", dry_run=True).record
    assert planned.secret == ""
    issued = create(scene)
    scene.credentials.revoke_token(ADMIN, issued.record.id, dry_run=True)
    assert scene.credentials.revoke_tokens(ADMIN, "alice", dry_run=True).record == 1
    assert scene.works(issued.secret)


def test_what_is_extended_but_not_written_is_revoked(scene: Scene) -> None:
    """Revoking all, and a new password, end tokens that a sidecar has extended past the end that the store knows."""
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    ends: tuple[tuple[Callable[[], object], int | None], ...] = (
        (lambda: scene.credentials.revoke_tokens(ADMIN, "alice").record, 0),
        (lambda: scene.credentials.set_password(ADMIN, "alice", PASSWORD).record, None),
    )
    for end, count in ends:
        issued: Issued = scene.credentials.sign_in(Actor(""), "alice", PASSWORD).record
        scene.time += MINUTES - 1
        assert scene.works(issued.secret)
        scene.time += 2
        assert scene.works(issued.secret)
        assert end() == count
        assert scene.ask(issued.secret) is Reason.CREDENTIAL_REVOKED
        assert scene.use.flush()
        assert scene.ask(issued.secret) is Reason.CREDENTIAL_REVOKED
        assert scene.credentials.list_tokens("alice").records == ()
