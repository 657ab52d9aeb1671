"""API keys: made, changed, rotated and revoked, within what the bundle permits."""

from collections.abc import Callable

import msgspec
import pytest

from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, KeyRecord
from authz_sidecar.directory.storage.schema import AUDIT, KEYS
from authz_sidecar.directory.storage.secrets import SecretKind, hash_secret, parse
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DAY, YEAR, DirectoryRules, KeyRules, KindRules
from authz_sidecar.values.identity import Authenticated
from tests.directory.credential_scene import ADMIN, NOW, Scene


@pytest.fixture
def scene(emptied_store: Store) -> Scene:
    """A directory with two users and a service account."""
    return Scene(emptied_store)


def refusal(error: pytest.ExceptionInfo[DirectoryError]) -> tuple[Fault, str]:
    """Kind and sentence of a refusal."""
    return error.value.fault, error.value.message


def test_a_key_is_made(scene: Scene) -> None:
    """Identities of both kinds get keys, which stand for them once the change is seen."""
    for identity in ("alice", "robot"):
        issued = scene.key(identity)
        parsed = parse(issued.secret)
        assert parsed is not None
        assert isinstance(issued.record, KeyRecord)
        assert (parsed.kind, parsed.id) == (SecretKind.KEY, issued.record.id)
        assert (issued.record.created_by, issued.record.created_at) == ("admin", NOW)
        assert issued.record.revision == scene.revisions[-1]
        assert scene.credentials.get_key(parsed.id) == issued.record
        found = scene.ask(issued.secret)
        assert isinstance(found, Authenticated)
        assert (found.identity.id, found.credential) == (identity, f"key:{parsed.id}")


def test_only_the_digest_of_a_secret_is_stored(scene: Scene) -> None:
    """The row of a key has the SHA-256 of its secret."""
    issued = scene.key()
    parsed = parse(issued.secret)
    assert parsed is not None
    (row,) = scene.rows(KEYS)
    assert bytes(row.hash) == hash_secret(parsed.secret)


def test_the_audit_says_who_made_a_key_and_not_its_secret(scene: Scene) -> None:
    """The record has who, for whom, which key, why and from where."""
    issued = scene.key(justification="for the nightly run")
    record = msgspec.json.decode(max(scene.rows(AUDIT), key=lambda row: row.sequence).record)
    assert record["action"] == "key.create"
    assert (record["actor"], record["subject"], record["company"]) == ("admin", "alice", "acme")
    assert (record["object_type"], record["object_id"]) == ("sidecar.credential", issued.record.id)
    assert record["justification"] == "for the nightly run"
    assert record["after"]["name"] == "ci"
    assert record["policy_version"] == "v1"


def test_names_of_keys_are_checked(scene: Scene) -> None:
    """A name has 1 to 80 characters on one line, without white space around it."""
    for name in ("", " ci", "ci ", "a\nb", "a\tb", "a\x00b", "a" * 81, "\ud800"):
        with pytest.raises(DirectoryError) as error:
            scene.key(name=name)
        assert (error.value.fault, error.value.violations[0].field) == (Fault.INVALID, "name"), repr(name)
        assert error.value.help
    assert scene.key(name="é" * 80).secret


def test_the_name_of_a_key_is_unique_among_those_that_hold(scene: Scene) -> None:
    """Two keys of an identity have different names, unless one of them has ended; those of others do not matter."""
    first = scene.key(name="ci", expires_at=NOW + 60)
    with pytest.raises(DirectoryError) as error:
        scene.key(name="ci")
    assert refusal(error) == (Fault.ALREADY_EXISTS, "`alice` has an API key `ci`")
    assert error.value.details == {"id": first.record.id}
    scene.key("bob", "ci")
    scene.time += 60
    second = scene.key(name="ci")
    scene.credentials.revoke_key(ADMIN, second.record.id)
    scene.key(name="ci")


def test_the_number_of_keys_is_limited(scene: Scene) -> None:
    """The eleventh key of a user who may have ten is refused, and the error names the limit."""
    keys = [scene.key(name=f"key {number}") for number in range(10)]
    with pytest.raises(DirectoryError) as error:
        scene.key(name="one more")
    assert refusal(error) == (Fault.LIMIT, "`alice` has 10 API keys; a user may have at most 10")
    assert error.value.details == {"limit_name": "identities.users.keys.max", "limit": "10", "count": "10"}
    # One that is switched off may be switched on again, so it counts; one that is revoked does not.
    scene.credentials.update_key(ADMIN, keys[0].record.id, {"active": False})
    with pytest.raises(DirectoryError, match="at most 10"):
        scene.key(name="one more")
    scene.credentials.revoke_key(ADMIN, keys[0].record.id)
    scene.key(name="one more")


def test_expired_keys_do_not_count(scene: Scene) -> None:
    """A key that has expired makes room for another."""
    for number in range(10):
        scene.key(name=f"key {number}", expires_at=NOW + 60 + number)
    scene.time += 60
    scene.key(name="one more")
    with pytest.raises(DirectoryError, match="at most 10"):
        scene.key(name="and another")


def test_every_key_can_be_rotated_at_the_limit(scene: Scene) -> None:
    """With as many keys as it may have an identity can rotate each of them, and make no other one."""
    keys = [scene.key(name=f"key {number}") for number in range(10)]
    rotated = [scene.rotate(key.record.id) for key in keys]
    assert all(scene.works(issued.secret) for issued in (*keys, *rotated))
    with pytest.raises(DirectoryError, match="at most 10"):
        scene.key(name="one more")
    for key in keys:
        scene.credentials.revoke_key(ADMIN, key.record.id)
    with pytest.raises(DirectoryError, match="at most 10"):
        scene.key(name="one more")


def test_rotations_do_not_pile_up(scene: Scene) -> None:
    """A key that is being replaced is not rotated again, nor is the new one before the old one has ended."""
    first = scene.key()
    second = scene.rotate(first.record.id)
    with pytest.raises(DirectoryError) as error:
        scene.rotate(first.record.id)
    assert error.value.fault is Fault.PRECONDITION
    assert error.value.details == {"replaced_by": second.record.id}
    with pytest.raises(DirectoryError) as error:
        scene.rotate(second.record.id)
    assert error.value.fault is Fault.PRECONDITION
    assert error.value.details == {"replaces": first.record.id}
    scene.credentials.revoke_key(ADMIN, first.record.id)
    third = scene.rotate(second.record.id)
    # The new one is found to be wrong and given up: the old one can be rotated once more.
    scene.credentials.revoke_key(ADMIN, third.record.id)
    scene.rotate(second.record.id)


def test_rotation_keeps_name_switch_and_lifetime(scene: Scene) -> None:
    """The new key is called like the old one, is switched as it was, and lasts as long as it was to last."""
    old = scene.key("robot", expires_at=NOW + YEAR)
    scene.credentials.update_key(ADMIN, old.record.id, {"active": False})
    scene.time += 100 * DAY
    rotated = scene.rotate(old.record.id)
    new = rotated.record
    assert isinstance(new, KeyRecord)
    assert (new.identity, new.name, new.active, new.rotated_from) == ("robot", "ci", False, old.record.id)
    assert new.expires_at == scene.time + YEAR
    assert rotated.secret != old.secret
    assert rotated.replaced.expires_at == NOW + YEAR
    assert scene.credentials.get_key(old.record.id) == rotated.replaced


def test_the_old_key_expires_after_the_overlap(scene: Scene) -> None:
    """Both keys are good during the overlap, then the new one alone."""
    old = scene.key()
    new = scene.rotate(old.record.id, overlap_seconds=3600)
    assert new.replaced.expires_at == NOW + 3600
    scene.time += 3599
    assert scene.works(old.secret)
    assert scene.works(new.secret)
    scene.time += 1
    assert scene.ask(old.secret) is Reason.CREDENTIAL_EXPIRED
    assert scene.works(new.secret)


def test_an_overlap_lengthens_nothing(scene: Scene) -> None:
    """An old key that expires before the end of the overlap expires when it would have."""
    old = scene.key(expires_at=NOW + 60)
    assert scene.rotate(old.record.id, overlap_seconds=3600).replaced.expires_at == NOW + 60


def test_without_an_overlap_the_old_key_holds_until_it_is_revoked(scene: Scene) -> None:
    """Old and new are good together for as long as it takes, and revoking the old one ends the rotation."""
    old = scene.key()
    new = scene.rotate(old.record.id)
    scene.time += 10 * YEAR
    assert scene.works(old.secret)
    scene.credentials.revoke_key(ADMIN, old.record.id)
    assert scene.ask(old.secret) is Reason.CREDENTIAL_REVOKED
    assert scene.works(new.secret)


def test_overlaps_are_checked(scene: Scene) -> None:
    """An overlap is a time of up to ten years."""
    old = scene.key()
    for overlap in (-1, float("nan"), float("inf"), 1e12):
        with pytest.raises(DirectoryError) as error:
            scene.rotate(old.record.id, overlap_seconds=overlap)
        assert error.value.violations[0].field == "overlap_seconds", overlap


def test_ended_keys_are_not_rotated(scene: Scene) -> None:
    """A key that is revoked or has expired stays so: neither rotation nor a change brings it back."""
    revoked, expired = scene.key(name="a"), scene.key(name="b", expires_at=NOW + 60)
    scene.credentials.revoke_key(ADMIN, revoked.record.id)
    scene.time += 60
    for key, why in ((revoked, "is revoked"), (expired, "has expired")):
        for operation in (
            scene.rotate,
            lambda key: scene.credentials.update_key(ADMIN, key, {"active": True}),
            lambda key: scene.credentials.update_key(ADMIN, key, {"expires_at": None}),
        ):
            with pytest.raises(DirectoryError, match=why) as error:
                operation(key.record.id)
            assert error.value.fault is Fault.PRECONDITION


def test_the_lifetime_of_a_key_is_in_a_window(scene: Scene) -> None:
    """Where the bundle sets a window, a key outside it is refused with the limit, for rotations as for new ones."""
    old = scene.key("robot", "old")
    for lasts, message, limit in (
        (None, "an API key of a service account needs an expiry", "expiry_max"),
        (179 * DAY, "an API key of a service account lasts at least 180 days, not 179 days", "expiry_min"),
        (731 * DAY, "an API key of a service account lasts at most 2 years, not 731 days", "expiry_max"),
        (60.0, "an API key of a service account lasts at least 180 days, not 1 minute", "expiry_min"),
    ):
        expires_at = None if lasts is None else NOW + lasts
        with pytest.raises(DirectoryError) as error:
            scene.key("robot", expires_at=expires_at)
        assert refusal(error) == (Fault.INVALID, message)
        assert error.value.help == "have it expire in 180 days to 2 years"
        assert error.value.details["limit_name"] == f"identities.service_accounts.keys.{limit}"
        if lasts is not None:
            with pytest.raises(DirectoryError, match="lasts at"):
                scene.rotate(old.record.id, expires_at=expires_at)


def test_both_ends_of_the_window_are_in_it(scene: Scene) -> None:
    """Its ends are taken, and whoever computes them by a clock that differs by seconds is not refused."""
    for lasts in (180 * DAY, 2 * YEAR, 180 * DAY - 30, 2 * YEAR + 30):
        record = scene.key("robot", f"key {lasts}", expires_at=NOW + lasts).record
        assert record.expires_at == NOW + lasts


def test_a_window_may_have_one_end(scene: Scene) -> None:
    """With one bound alone every key needs an expiry on the right side of it."""
    for rules, wrong in ((KeyRules(least_seconds=DAY), 3600.0), (KeyRules(most_seconds=DAY), 2 * DAY)):
        scene.rules = DirectoryRules(users=KindRules(keys=rules))
        for expires_at in (None, NOW + wrong):
            with pytest.raises(DirectoryError) as error:
                scene.key(expires_at=expires_at)
            assert error.value.fault is Fault.INVALID
            assert "limit" in error.value.details
        assert scene.key(name=f"key {wrong}", expires_at=NOW + DAY).secret


def test_a_narrower_window_holds_for_the_next_key(scene: Scene) -> None:
    """Rotation under a bundle that has been made stricter gives a key of the longest lifetime that it permits."""
    old = scene.key("robot", expires_at=NOW + 2 * YEAR)
    scene.rules = DirectoryRules(service_accounts=KindRules(keys=KeyRules(most_seconds=YEAR)))
    assert scene.rotate(old.record.id).record.expires_at == NOW + YEAR


def test_a_key_does_not_expire_in_the_past(scene: Scene) -> None:
    """What is no time in the future is refused."""
    for expires_at in (NOW, NOW - 1, 0.0, float("nan"), float("inf"), -1.0, 1e300):
        with pytest.raises(DirectoryError) as error:
            scene.key(expires_at=expires_at)
        assert error.value.violations[0].field == "expire_time", expires_at


def test_a_key_is_switched_off_and_on(scene: Scene) -> None:
    """A key that is switched off says so to who has it, and is good again once it is switched on."""
    issued = scene.key()
    off = scene.credentials.update_key(ADMIN, issued.record.id, {"active": False}).record
    assert (off.active, off.revision) == (False, scene.revisions[-1])
    assert scene.ask(issued.secret) is Reason.CREDENTIAL_INACTIVE
    scene.credentials.update_key(ADMIN, issued.record.id, {"active": True})
    assert scene.works(issued.secret)
    assert scene.audited()[-3:] == ["key.create", "key.update", "key.update"]


def test_a_key_can_be_made_to_expire_earlier_only(scene: Scene) -> None:
    """A later expiry, or none, is refused; an earlier one is taken."""
    issued = scene.key(expires_at=NOW + DAY)
    for later in (None, NOW + 2 * DAY):
        with pytest.raises(DirectoryError) as error:
            scene.credentials.update_key(ADMIN, issued.record.id, {"expires_at": later})
        assert error.value.violations[0].field == "key.expire_time"
    assert scene.credentials.update_key(ADMIN, issued.record.id, {"expires_at": NOW + 60}).record.expires_at == NOW + 60
    forever = scene.key(name="forever")
    assert scene.credentials.update_key(ADMIN, forever.record.id, {"expires_at": NOW + 5}).record.expires_at == NOW + 5


def test_a_key_is_renamed(scene: Scene) -> None:
    """Another name is taken unless another key has it, and the same one is no change."""
    one, _ = scene.key(name="one"), scene.key(name="two")
    with pytest.raises(DirectoryError) as error:
        scene.credentials.update_key(ADMIN, one.record.id, {"name": "two"})
    assert error.value.fault is Fault.ALREADY_EXISTS
    assert scene.credentials.update_key(ADMIN, one.record.id, {"name": "three"}).record.name == "three"
    before = len(scene.audited()), scene.store.state().revision
    scene.credentials.update_key(ADMIN, one.record.id, {"name": "three"})
    assert (len(scene.audited()), scene.store.state().revision) == before


def test_nothing_else_of_a_key_can_be_changed(scene: Scene) -> None:
    """What a key is, and whose, never changes; values of another type are refused."""
    issued = scene.key()
    refused: tuple[dict[str, object], ...] = (
        {"identity": "bob"},
        {"hash": b""},
        {"id": "x"},
        {"active": 1},
        {"name": 5},
        {"expires_at": "soon"},
        {"expires_at": True},
        {},
    )
    for changes in refused:
        with pytest.raises(DirectoryError) as error:
            scene.credentials.update_key(ADMIN, issued.record.id, changes)
        assert error.value.fault is Fault.INVALID, changes


def test_a_key_that_has_changed_is_not_overwritten(scene: Scene) -> None:
    """An update with the etag of an older state is a conflict."""
    issued = scene.key()
    scene.credentials.update_key(ADMIN, issued.record.id, {"name": "two"}, expect=issued.record.revision)
    with pytest.raises(DirectoryError) as error:
        scene.credentials.update_key(ADMIN, issued.record.id, {"name": "three"}, expect=issued.record.revision)
    assert error.value.fault is Fault.CONFLICT


def test_a_key_is_revoked_for_good(scene: Scene) -> None:
    """A revoked key is refused at once and stays revoked; revoking it again changes nothing."""
    issued = scene.key()
    revoked = scene.credentials.revoke_key(ADMIN, issued.record.id, justification="leaked")
    assert revoked.record.revoked_at == NOW
    assert scene.ask(issued.secret) is Reason.CREDENTIAL_REVOKED
    scene.time += 60
    again = scene.credentials.revoke_key(ADMIN, issued.record.id)
    assert (again.record, again.revision) == (revoked.record, revoked.revision)
    assert scene.audited().count("key.revoke") == 1


def test_a_key_stops_with_its_identity(scene: Scene) -> None:
    """Switching an identity off stops its keys at once, and deleting it removes them."""
    issued = scene.key()
    scene.identities.update_identity(ADMIN, "alice", {"active": False})
    assert scene.ask(issued.secret) is Reason.INACTIVE_SUBJECT
    scene.identities.update_identity(ADMIN, "alice", {"active": True})
    assert scene.works(issued.secret)
    scene.identities.delete_identity(ADMIN, "alice")
    assert scene.ask(issued.secret) is Reason.INVALID_CREDENTIAL
    assert scene.rows(KEYS) == []


def test_a_key_outlives_who_made_it(scene: Scene) -> None:
    """Keys that somebody made for others go on when that somebody is gone."""
    bob = Actor("bob")
    issued = scene.credentials.create_key(bob, "robot", "ci", expires_at=NOW + YEAR).record
    scene.identities.delete_identity(ADMIN, "bob")
    assert scene.works(issued.secret)
    assert scene.credentials.get_key(issued.record.id).created_by == "bob"


def test_a_repeated_create_gives_the_key_without_its_secret(scene: Scene) -> None:
    """Under the same idempotency key a create or a rotation happens once; the secret is given once."""
    more = {"idempotency_key": "call-7"}
    first, again = scene.key(**more), scene.key(**more)
    assert again.record == first.record
    assert first.secret
    assert again.secret == ""
    assert len(scene.rows(KEYS)) == 1
    rotated = scene.rotate(first.record.id, idempotency_key="call-8")
    repeated = scene.rotate(first.record.id, idempotency_key="call-8")
    assert (repeated.record, repeated.replaced, repeated.secret) == (rotated.record, rotated.replaced, "")
    assert scene.works(rotated.secret)
    with pytest.raises(DirectoryError) as error:
        scene.key(name="another", **more)
    assert error.value.fault is Fault.CONFLICT


def test_a_dry_run_makes_nothing(scene: Scene) -> None:
    """A dry run says what would come of it, with no secret, or refuses what would be refused."""
    before = scene.store.state().revision
    planned = scene.key(dry_run=True)
    assert planned.record.identity == "alice"
    assert planned.secret == ""
    assert scene.rows(KEYS) == []
    issued = scene.key()
    assert scene.rotate(issued.record.id, dry_run=True).secret == ""
    scene.credentials.revoke_key(ADMIN, issued.record.id, dry_run=True)
    scene.credentials.update_key(ADMIN, issued.record.id, {"active": False}, dry_run=True)
    assert scene.works(issued.secret)
    assert scene.store.state().revision == before + 1
    with pytest.raises(DirectoryError, match="has an API key"):
        scene.key(dry_run=True)


def test_keys_are_listed(scene: Scene) -> None:
    """Keys are listed by identity or company, page by page, those that have ended only where that is asked."""
    keys = sorted(scene.key(name=f"key {number}").record.id for number in range(5))
    other = scene.key("bob").record.id
    ended = scene.key(name="ended").record.id
    scene.credentials.revoke_key(ADMIN, ended)
    expired = scene.key(name="expired", expires_at=NOW + 60).record.id
    scene.time += 60
    listed: list[str] = []
    token = ""
    while True:
        page = scene.credentials.list_keys(identity="alice", page_size=2, page_token=token)
        listed += [key.id for key in page.records]
        token = page.next_page_token
        if not token:
            break
    assert listed == keys
    ids = {key.id for key in scene.credentials.list_keys(identity="alice", include_ended=True).records}
    assert ids == {*keys, ended, expired}
    assert [key.id for key in scene.credentials.list_keys(company="globex").records] == [other]
    assert len(scene.credentials.list_keys().records) == 6
    assert scene.credentials.list_keys(company="nowhere").records == ()


def test_what_is_not_there_is_not_found(scene: Scene) -> None:
    """Operations on keys and identities that do not exist say so."""
    operations: tuple[Callable[[str], object], ...] = (
        scene.credentials.get_key,
        lambda key: scene.credentials.update_key(ADMIN, key, {"active": True}),
        lambda key: scene.credentials.rotate_key(ADMIN, key),
        lambda key: scene.credentials.revoke_key(ADMIN, key),
        lambda key: scene.credentials.create_key(ADMIN, key, "ci"),
        lambda key: scene.credentials.list_keys(identity=key or "nobody"),
    )
    for id in ("", "nothing", "a\x00b", "x" * 5000):
        for operation in operations:
            with pytest.raises(DirectoryError) as error:
                operation(id)
            assert error.value.fault is Fault.NOT_FOUND, id


def test_ended_keys_are_kept_in_bounds(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys come and go, a bounded number of ended ones stays, the newest of them."""
    monkeypatch.setattr("authz_sidecar.directory.credentials.credential_administration.MOST_ENDED", 3)
    made = []
    for number in range(6):
        scene.time += 1
        made.append(scene.key(name=f"key {number}"))
        scene.credentials.revoke_key(ADMIN, made[-1].record.id)
    last = scene.key(name="last")
    assert {row.id for row in scene.rows(KEYS)} == {*(key.record.id for key in made[3:]), last.record.id}
    assert scene.ask(made[5].secret) is Reason.CREDENTIAL_REVOKED
    assert scene.ask(made[0].secret) is Reason.INVALID_CREDENTIAL
    assert scene.works(last.secret)
