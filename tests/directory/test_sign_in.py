"""Sign-in with a password, and with a JWT of an identity provider."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from authz_sidecar.directory.credentials import lockout
from authz_sidecar.directory.credentials import passwords as passwords_module
from authz_sidecar.directory.credentials.lockout import count_address
from authz_sidecar.directory.credentials.passwords import Passwords
from authz_sidecar.directory.jwt.verification import JwtVerifier
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.directory.storage.records import Actor, AssignmentRecord, IdentityRecord, Issued, TokenRecord
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, AUDIT, FAILURES, IDENTITIES, PASSWORDS, TOKENS
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values import Reason
from authz_sidecar.values.directory_rules import DirectoryRules, GroupFacts, KindRules, RoleFacts
from authz_sidecar.values.identity import Authenticated, IdentityKind
from tests.directory.credential_scene import ADMIN, NOW, PASSWORD, Scene, quick_passwords
from tests.directory.identity_provider import ISSUER, claims_of, ec_key, issuer_of, public, sign, verifier_of

CALLER = Actor("", address="ipv4:198.51.100.7:4711", call="call-2")
FAR = "ipv4:198.51.100.7:4711"
ELSEWHERE = "ipv4:203.0.113.9:4711"
WRONG = "not the password"
ANOTHER = "another long password"
ACCENTED = ("café au lait, s'il vous plaît", "cafe\u0301 au lait, s'il vous plai\u0302t")


@pytest.fixture
def scene(emptied_store: Store) -> Scene:
    """A directory in which `alice` and `bob` have passwords."""
    scene = Scene(emptied_store)
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    return scene


def sign_in(scene: Scene, identity: str = "alice", password: str = PASSWORD, address: str = FAR) -> Issued:
    """A token for a password."""
    issued: Issued = scene.credentials.sign_in(CALLER, identity, password, address).record
    return issued


def fail(scene: Scene, identity: str = "alice", password: str = WRONG, address: str = FAR) -> DirectoryError:
    """How a sign-in fails."""
    with pytest.raises(DirectoryError) as error:
        sign_in(scene, identity, password, address)
    return error.value


def last_audit(scene: Scene) -> dict[str, object]:
    """The newest record of the audit."""
    record: dict[str, object] = msgspec.json.decode(max(scene.rows(AUDIT), key=lambda row: row.sequence).record)
    return record


def test_a_password_gives_a_token(scene: Scene) -> None:
    """Who knows the password gets a token of their own, and the audit has it before they do."""
    issued = sign_in(scene)
    found = scene.ask(issued.secret)
    assert isinstance(found, Authenticated)
    assert (found.identity.id, found.credential) == ("alice", f"token:{issued.record.id}")
    assert isinstance(issued.record, TokenRecord)
    assert issued.record.created_by == "alice"
    record = last_audit(scene)
    assert (record["action"], record["actor"], record["subject"]) == ("sign_in.succeeded", "alice", "alice")
    assert (record["object_id"], record["address"], record["call_id"]) == (issued.record.id, FAR, "call-2")


def test_failures_are_one_answer(scene: Scene) -> None:
    """No such user, no password, another password, a service account and a name that nobody can have: one answer."""
    answers = {
        (error.fault, error.message, error.help, tuple(error.details.items()), error.retry_after)
        for error in (
            fail(scene, "alice", WRONG),
            fail(scene, "nobody", PASSWORD),
            fail(scene, "bob", PASSWORD),
            fail(scene, "robot", PASSWORD),
            fail(scene, "a\x00b", PASSWORD),
            fail(scene, "\ud800", PASSWORD),
            fail(scene, "x" * 5000, PASSWORD),
            fail(scene, "alice", "x" * 5000),
            fail(scene, "alice", ""),
            fail(scene, "alice", "\ud800" * 12),
        )
    }
    assert len(answers) == 1
    assert answers.pop()[:2] == (Fault.UNAUTHENTICATED, "the sign-in failed")


def test_failures_are_audited(scene: Scene) -> None:
    """The audit has each failure with cause and address; a name that nobody has may be a password and is left out."""
    for identity, subject, cause in (
        ("alice", "alice", "wrong_password"),
        ("bob", "bob", "no_password"),
        ("my secret passw0rd", None, "unknown"),
    ):
        fail(scene, identity)
        record = last_audit(scene)
        assert (record["action"], record["address"]) == ("sign_in.failed", FAR)
        assert record.get("subject") == subject
        assert record["after"] == {"cause": cause}
    assert "my secret" not in repr(scene.rows(AUDIT)) + repr(scene.rows(FAILURES))


def test_an_answer_waits_for_the_audit(scene: Scene) -> None:
    """Where the audit cannot be written nobody is signed in, and nobody is refused."""
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO gone")
    for password in (PASSWORD, WRONG):
        assert fail(scene, password=password).fault in {Fault.UNAVAILABLE, Fault.CORRUPT}
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO audit")
    assert scene.rows(TOKENS) == []


def test_every_failure_costs_one_hash(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known and unknown users, without a password or locked, cost one verification with the same parameters."""
    verified: list[str] = []
    verify = PasswordHasher.verify

    def spy(self: PasswordHasher, hash: str, password: bytes) -> bool:
        verified.append(hash)
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", spy)
    for _ in range(6):
        fail(scene)
    for identity in ("nobody", "bob", "robot", "\ud800"):
        fail(scene, identity)
    assert len(verified) == 10
    assert len({repr(extract_parameters(hash)) for hash in verified}) == 1


def test_only_who_has_the_password_learns_of_the_switch(scene: Scene) -> None:
    """An identity that is switched off is told so with the right password, and gets no token."""
    scene.identities.update_identity(ADMIN, "alice", {"active": False})
    assert fail(scene).message == "the sign-in failed"
    error = fail(scene, password=PASSWORD)
    assert (error.fault, error.message) == (Fault.UNAUTHENTICATED, "the identity is switched off")
    assert scene.rows(TOKENS) == []


def test_an_identity_is_locked_after_failures(scene: Scene) -> None:
    """After five failures the right password is refused as a wrong one would be, until the lock is over."""
    wrong = [fail(scene, address=ELSEWHERE) for _ in range(5)]
    locked = fail(scene, password=PASSWORD)
    assert (locked.fault, locked.message, locked.help, locked.retry_after) == (
        wrong[0].fault,
        wrong[0].message,
        wrong[0].help,
        None,
    )
    assert last_audit(scene)["after"] == {"cause": "locked"}
    scene.time += 60
    assert sign_in(scene).secret


def test_locks_get_longer(scene: Scene) -> None:
    """Each further failure doubles the lock, up to an hour; attempts during a lock do not lengthen it."""
    for _ in range(4):
        fail(scene, address="")
    lengths = []
    for _ in range(9):
        fail(scene, address="")
        record = last_audit(scene)
        assert isinstance(record["after"], dict)
        lengths.append(record["after"]["locked_seconds"])
        before = scene.rows(FAILURES)
        fail(scene, password=PASSWORD, address="")
        assert scene.rows(FAILURES) == before
        scene.time += lengths[-1]
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert sign_in(scene).secret
    assert scene.rows(FAILURES) == []


def test_failures_are_forgotten(scene: Scene) -> None:
    """A right password, a new password and a day without failures each begin the count anew."""

    def fail_four_times() -> None:
        for _ in range(4):
            fail(scene, address="")

    fail_four_times()
    sign_in(scene)
    fail_four_times()
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    fail_four_times()
    scene.time += 86_401
    fail_four_times()
    assert sign_in(scene).secret


def test_a_new_password_ends_a_lock(scene: Scene) -> None:
    """An administrator who sets a password lets the user in at once."""
    for _ in range(5):
        fail(scene)
    scene.credentials.set_password(ADMIN, "alice", PASSWORD)
    assert sign_in(scene).secret


def test_an_address_is_locked_after_failures(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After twenty failures an address is refused before anything is hashed for it; others are not."""
    for number in range(20):
        fail(scene, f"nobody{number}")
    monkeypatch.setattr(scene.credentials._passwords, "is_right", None)  # noqa: SLF001 - nothing is to be hashed
    error = fail(scene, password=PASSWORD)
    assert (error.fault, error.retry_after) == (Fault.LOCKED, 60)
    assert error.message == "too many failed sign-ins from this address"
    monkeypatch.undo()
    assert sign_in(scene, address=ELSEWHERE).secret
    scene.time += 60
    assert sign_in(scene).secret
    # The right password of one is no reason to forget what others tried from there.
    fail(scene, "nobody")
    assert fail(scene).retry_after == 120


def test_locks_hold_on_every_sidecar(scene: Scene) -> None:
    """Failures are counted in the store, so that another sidecar refuses too."""
    for _ in range(5):
        fail(scene)
    other = type(scene.credentials)(
        scene.store, scene.credentials.policy, lambda: scene.time, passwords=quick_passwords()
    )
    with pytest.raises(DirectoryError, match="the sign-in failed"):
        other.sign_in(CALLER, "alice", PASSWORD, ELSEWHERE)


def test_a_clock_that_is_put_back_locks_nobody_for_long(scene: Scene) -> None:
    """A lock that was set by a clock a year ahead holds nobody out."""
    scene.time += 365 * 86_400
    for _ in range(5):
        fail(scene)
    scene.time = NOW
    assert sign_in(scene).secret


def test_attempts_at_once_are_counted_one_by_one(scene: Scene) -> None:
    """Of many guesses at the same time only as many count as one after the other would."""
    barrier = threading.Barrier(8)

    def guess(number: int) -> bool:
        barrier.wait()
        try:
            sign_in(scene, password=PASSWORD if number == 7 else WRONG, address="")
        except DirectoryError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        right = list(pool.map(guess, range(8)))
    (row,) = [row for row in scene.rows(FAILURES) if row.subject == "identity:alice"] or [None]
    failures = 0 if row is None else row.failures
    assert failures <= 5
    assert sum(right) <= 1
    assert scene.audited().count("sign_in.failed") == 8 - sum(right)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("ipv4:192.0.2.1:4711", "address:192.0.2.1"),
        ("192.0.2.1", "address:192.0.2.1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:4711", "address:2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:4711", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "address:2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.1]:1", "address:192.0.2.1"),
        ("ipv6:[fe80::1%25eth0]:1", "address:fe80::/64"),
        ("ipv4:127.0.0.1:4711", None),
        ("ipv6:[::1]:4711", None),
        ("unix:", None),
        ("unix:/run/authz.sock", None),
        ("", None),
        ("somewhere", None),
    ],
)
def test_addresses_are_counted_by_network(address: str, subject: str | None) -> None:
    """Ports do not matter, a network of IPv6 is one, and what is on this machine is the application, not a user."""
    counted = count_address(address)
    assert (None if counted is None else counted.subject) == subject


def test_the_table_of_failures_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fail, a bounded number of rows stays, and those of locks are the last to go."""
    monkeypatch.setattr(lockout, "MAX_ROWS", 8)
    for _ in range(5):
        fail(scene, address="")
    for number in range(30):
        fail(scene, f"nobody{number}", address=f"192.0.2.{number}")
    rows = {row.subject for row in scene.rows(FAILURES)}
    assert len(rows) <= 8
    assert "identity:alice" in rows
    scene.time += 86_401
    fail(scene, "nobody", address="198.51.100.99")
    assert "identity:alice" not in {row.subject for row in scene.rows(FAILURES)}


def test_passwords_are_checked(scene: Scene) -> None:
    """A password has 12 to 1,024 bytes of UTF-8, and is not the id."""
    scene.identities.create_identity(ADMIN, IdentityRecord(id="long-enough-id", kind=IdentityKind.USER, company="acme"))
    for password in (
        "short", "é" * 5, "elevenbytes", "x" * 1025, "é" * 513, "\ud800" * 12, "long-enough-id", "LONG-enough-ID"
    ):  # fmt: skip
        with pytest.raises(DirectoryError) as error:
            scene.credentials.set_password(ADMIN, "long-enough-id", password)
        assert (error.value.fault, error.value.violations[0].field) == (Fault.INVALID, "password"), repr(password)
    for good in ("é" * 6, "x" * 1024, "            ", "\x00" * 12):
        scene.credentials.set_password(ADMIN, "alice", good)
        assert sign_in(scene, password=good).secret


def test_a_password_is_the_same_however_it_is_typed(scene: Scene) -> None:
    """An accent that is one character or two makes no difference."""
    scene.credentials.set_password(ADMIN, "alice", ACCENTED[0])
    assert sign_in(scene, password=ACCENTED[1]).secret


def test_service_accounts_have_no_password(scene: Scene) -> None:
    """A service account never signs in with a password: none can be set, and one left from before is no good."""
    with pytest.raises(DirectoryError) as error:
        scene.credentials.set_password(ADMIN, "robot", PASSWORD)
    assert error.value.fault is Fault.PRECONDITION
    assert sign_in(scene).secret
    scene.rules = DirectoryRules(users=KindRules(passwords=False))
    assert fail(scene, password=PASSWORD).message == "the sign-in failed"


def test_a_new_password_ends_what_the_old_one_gave(scene: Scene) -> None:
    """Tokens of sign-ins end with the password, those that an administrator made and keys do not."""
    signed_in = sign_in(scene)
    made, key = scene.credentials.create_token(ADMIN, "alice").record, scene.key()
    scene.credentials.set_password(ADMIN, "alice", ANOTHER)
    assert scene.ask(signed_in.secret) is Reason.CREDENTIAL_REVOKED
    assert scene.works(made.secret)
    assert scene.works(key.secret)
    fail(scene, password=PASSWORD)
    assert sign_in(scene, password=ANOTHER).secret


def test_a_password_is_taken_away(scene: Scene) -> None:
    """Without a password nobody signs in; taking away what is not there is no change."""
    scene.credentials.set_password(ADMIN, "alice", "")
    assert scene.rows(PASSWORDS) == []
    fail(scene, password=PASSWORD)
    assert last_audit(scene)["after"] == {"cause": "no_password"}
    before = scene.audited()
    scene.credentials.set_password(ADMIN, "alice", "")
    assert scene.audited() == before
    assert "password.remove" in before


def test_a_dry_run_sets_no_password(scene: Scene) -> None:
    """A dry run leaves the password as it is."""
    scene.credentials.set_password(ADMIN, "alice", ANOTHER, dry_run=True)
    assert sign_in(scene).secret


def test_passwords_are_hashed_with_argon2id() -> None:
    """The stored text is argon2id with the low-memory profile of RFC 9106, and each has a salt of its own."""
    passwords = Passwords()
    one, other = passwords.hash(PASSWORD), passwords.hash(PASSWORD)
    assert one != other
    assert extract_parameters(one) == RFC_9106_LOW_MEMORY
    assert passwords.is_right(PASSWORD, one)
    assert not passwords.is_right(PASSWORD, None)
    assert not passwords.is_right(PASSWORD, "no hash at all")
    assert one.startswith("$argon2id$")


def test_a_hash_is_made_anew_when_its_parameters_change(scene: Scene) -> None:
    """The next sign-in with the right password replaces a hash of other parameters; a wrong one does not."""
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    before = scene.rows(PASSWORDS)[0].hash
    later = type(scene.credentials)(
        scene.store, scene.credentials.policy, lambda: scene.time, passwords=Passwords(stronger)
    )
    with pytest.raises(DirectoryError):
        later.sign_in(CALLER, "alice", WRONG, FAR)
    assert scene.rows(PASSWORDS)[0].hash == before
    later.sign_in(CALLER, "alice", PASSWORD, FAR)
    assert extract_parameters(scene.rows(PASSWORDS)[0].hash).time_cost == 2
    assert later.sign_in(CALLER, "alice", PASSWORD, FAR).record.secret


def test_hashing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two passwords are hashed at a time, some wait, and more are refused at once."""
    monkeypatch.setattr(passwords_module, "WAITING", 3)
    begun, release = threading.Semaphore(0), threading.Event()
    most = [0, 0]

    class Slow(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            most[0] += 1
            most[1] = max(most)
            begun.release()
            assert release.wait(30)
            most[0] -= 1
            return True

    passwords = Passwords(Slow(time_cost=1, memory_cost=8, parallelism=1))
    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(passwords.is_right, PASSWORD, "$hash") for _ in range(5)]
        for _ in range(2):
            assert begun.acquire(timeout=30)
        deadline = time.monotonic() + 30
        while True:
            # All five are admitted once the next one is not.
            try:
                assert passwords._admitted.acquire(blocking=False) is False  # noqa: SLF001
                break
            except AssertionError:
                passwords._admitted.release()  # noqa: SLF001
                assert time.monotonic() < deadline
        with pytest.raises(DirectoryError) as error:
            passwords.is_right(PASSWORD, None)
        assert (error.value.fault, error.value.retry_after) == (Fault.LOCKED, 1.0)
        release.set()
        assert all(one.result(30) for one in running)
    assert most[1] <= 2
    assert not passwords.is_right(PASSWORD, None)


def test_who_signs_in_too_often_loses_the_oldest_token(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in is never refused for the number of tokens: the one that would stop first ends."""
    monkeypatch.setattr("authz_sidecar.directory.credentials.tokens.MOST_TOKENS", 2)
    issued = []
    for _ in range(3):
        scene.time += 1
        issued.append(sign_in(scene))
    assert [scene.works(token.secret) for token in issued] == [False, True, True]


# --- JWTs

GROUP_RULES = DirectoryRules(
    roles={"READER": RoleFacts("company"), "WRITER": RoleFacts("company"), "ADMIN": RoleFacts("platform")},
    groups=(
        GroupFacts("readers", ("READER",), "acme"),
        GroupFacts("writers", ("WRITER",), "acme"),
        GroupFacts("admins", ("ADMIN",)),
    ),
)


@pytest.fixture
def verifiers(tmp_path: Path) -> Iterator[Callable[..., JwtVerifier]]:
    """Makes verifiers of one issuer each, whose keys are in a file."""
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public(ec_key())]}))
    with ExitStack() as stack:

        def verifier(**more: object) -> JwtVerifier:
            issuer = issuer_of({"file": "keys.json"}, prefix="idp:", **more)
            return stack.enter_context(verifier_of(issuer, folder=tmp_path))[0]

        yield verifier


@pytest.fixture
def jwt_scene(emptied_store: Store, verifiers: Callable[..., JwtVerifier]) -> Scene:
    """A directory whose identities an identity provider of acme signs in."""
    jwts = verifiers(create=True, claims={"groups": "groups"}, roles=["READER", "WRITER"])
    return Scene(emptied_store, GROUP_RULES, jwts=jwts)


def token(**claims: object) -> str:
    """A token of the identity provider."""
    return sign(ec_key(), "ES256", claims_of(**claims))


def roles_of(scene: Scene, identity: str) -> set[tuple[str, str, str]]:
    """What an identity holds, and where it has that from."""
    return {(row.role, row.company, row.source) for row in scene.rows(ASSIGNMENTS) if row.identity == identity}


def test_a_jwt_gives_a_token(jwt_scene: Scene) -> None:
    """A good JWT is traded for a token of the identity, which is made where the issuer says so."""
    issued = jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["readers"]), FAR).record
    found = jwt_scene.ask(issued.secret)
    assert isinstance(found, Authenticated)
    assert (found.identity.id, found.identity.company) == ("idp:alice", "acme")
    assert found.identity.roles.by_company == {"acme": ("READER",)}
    record = last_audit(jwt_scene)
    assert (record["action"], record["actor"]) == ("sign_in.succeeded", "idp:alice")
    assert record["credential"] == f"jwt:{ISSUER}"
    assert jwt_scene.audited()[-3:] == ["identity.create", "assignment.create", "sign_in.succeeded"]


def test_groups_are_applied_at_each_sign_in(jwt_scene: Scene) -> None:
    """Who joins a group gets its roles at the next sign-in, who leaves loses them; what was given by hand stays."""
    jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["readers"]), FAR)
    by_hand = AssignmentRecord(identity="idp:alice", role="READER", company="globex")
    jwt_scene.identities.create_assignment(ADMIN, by_hand)
    jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["writers"]), FAR)
    hand = ("READER", "globex", "hand")
    assert roles_of(jwt_scene, "idp:alice") == {hand, ("WRITER", "acme", "group:writers")}
    jwt_scene.credentials.sign_in_jwt(CALLER, token(), FAR)
    assert roles_of(jwt_scene, "idp:alice") == {hand}


def test_somebody_new_needs_a_role_from_a_group(jwt_scene: Scene) -> None:
    """Where every identity has a role, who is made at a sign-in has it from a group at once, or is not made."""
    jwt_scene.rules = msgspec.structs.replace(GROUP_RULES, role_required=True, roles_per_identity=1)
    jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["writers", "readers", "admins"]), FAR)
    assert roles_of(jwt_scene, "idp:alice") == {("READER", "acme", "group:readers")}
    with pytest.raises(DirectoryError, match="every identity has a role") as error:
        jwt_scene.credentials.sign_in_jwt(CALLER, token(sub="eve", groups=["admins"]), FAR)
    assert error.value.fault is Fault.PRECONDITION
    assert "idp:eve" not in {row.id for row in jwt_scene.rows(IDENTITIES)}


def test_groups_give_what_their_issuer_may_give(jwt_scene: Scene) -> None:
    """A group that the bundle maps to a role that is not the issuer's to give, gives nothing."""
    jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["admins", "readers"]), FAR)
    assert roles_of(jwt_scene, "idp:alice") == {("READER", "acme", "group:readers")}


def test_nobody_is_made_unless_the_issuer_says_so(emptied_store: Store, verifiers: Callable[..., JwtVerifier]) -> None:
    """Without `create` an identity that the directory does not have is refused, and signed in once it has it."""
    scene = Scene(emptied_store, GROUP_RULES, jwts=verifiers())
    with pytest.raises(DirectoryError) as error:
        scene.credentials.sign_in_jwt(CALLER, token(), FAR)
    assert (error.value.fault, error.value.message) == (Fault.UNAUTHENTICATED, "the sign-in failed")
    assert last_audit(scene)["after"] == {"cause": "unknown"}
    assert "idp:alice" not in {row.id for row in scene.rows(IDENTITIES)}
    scene.identities.create_identity(ADMIN, IdentityRecord(id="idp:alice", kind=IdentityKind.USER, company="acme"))
    assert scene.credentials.sign_in_jwt(CALLER, token(), FAR).record.secret


def test_nobody_is_made_who_is_called_like_a_role(jwt_scene: Scene) -> None:
    """In a plain Casbin bundle a subject of the name of a role has its rights: a sign-in makes none."""
    jwt_scene.rules = DirectoryRules(form="casbin", roles={"idp:alice": RoleFacts("")})
    with pytest.raises(DirectoryError, match="the sign-in failed"):
        jwt_scene.credentials.sign_in_jwt(CALLER, token(), FAR)
    assert jwt_scene.credentials.sign_in_jwt(CALLER, token(sub="bob"), FAR).record.secret
    assert "idp:alice" not in {row.id for row in jwt_scene.rows(IDENTITIES)}


def test_a_jwt_is_good_for_its_issuers_identities(jwt_scene: Scene) -> None:
    """An identity of another company or kind than the token's, or one that is switched off, is not signed in."""
    for record, cause in (
        (IdentityRecord(id="idp:alice", kind=IdentityKind.USER, company="globex"), "other_identity"),
        (IdentityRecord(id="idp:alice", kind=IdentityKind.SERVICE_ACCOUNT, company="acme"), "other_identity"),
        (IdentityRecord(id="idp:alice", kind=IdentityKind.USER, company="acme", active=False), "inactive"),
    ):
        jwt_scene.identities.create_identity(ADMIN, record)
        with pytest.raises(DirectoryError) as error:
            jwt_scene.credentials.sign_in_jwt(CALLER, token(groups=["readers"]), FAR)
        assert error.value.fault is Fault.UNAUTHENTICATED
        assert last_audit(jwt_scene)["after"] == {"cause": cause}
        assert roles_of(jwt_scene, "idp:alice") == set()
        assert jwt_scene.rows(TOKENS) == []
        jwt_scene.identities.delete_identity(ADMIN, "idp:alice")


def test_a_bad_jwt_is_audited_and_refused(jwt_scene: Scene) -> None:
    """A JWT that is not taken signs nobody in; the audit has that it was tried, and nothing of what it said."""
    for jwt, cause in (
        ("nonsense", "invalid_credential"),
        ("a.b.c", "invalid_credential"),
        (token(aud="another"), "invalid_credential"),
        (token(exp=NOW - 100), "credential_expired"),
    ):
        with pytest.raises(DirectoryError) as error:
            jwt_scene.credentials.sign_in_jwt(CALLER, jwt, FAR)
        assert (error.value.fault, error.value.details) == (Fault.UNAUTHENTICATED, {"cause": cause})
        record = last_audit(jwt_scene)
        assert (record["action"], record["after"], record.get("subject")) == ("sign_in.failed", {"cause": cause}, None)
        assert jwt not in repr(record)


def test_bad_jwts_lock_an_address(jwt_scene: Scene) -> None:
    """Guessing by JWT is counted by address; tokens that were good until they expired are not."""
    for _ in range(25):
        with pytest.raises(DirectoryError):
            jwt_scene.credentials.sign_in_jwt(CALLER, token(exp=NOW - 100), FAR)
    assert jwt_scene.credentials.sign_in_jwt(CALLER, token(), FAR).record.secret
    for _ in range(20):
        with pytest.raises(DirectoryError, match="not taken"):
            jwt_scene.credentials.sign_in_jwt(CALLER, "a.b.c", FAR)
    with pytest.raises(DirectoryError) as error:
        jwt_scene.credentials.sign_in_jwt(CALLER, token(), FAR)
    assert error.value.fault is Fault.LOCKED


def test_without_issuers_no_jwt_is_taken(scene: Scene) -> None:
    """Where no issuers are configured every JWT is refused."""
    with pytest.raises(DirectoryError) as error:
        scene.credentials.sign_in_jwt(CALLER, token(), FAR)
    assert error.value.fault is Fault.UNAUTHENTICATED


def test_a_hash_of_other_parameters_tells_nothing_during_a_lock(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right password of an older hash is hashed once during a lock, as a wrong one is; not again for a new hash."""
    for _ in range(5):
        fail(scene)
    later = type(scene.credentials)(
        scene.store,
        scene.credentials.policy,
        lambda: scene.time,
        passwords=Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)),
    )
    monkeypatch.setattr(PasswordHasher, "hash", None)
    for password in (PASSWORD, WRONG):
        with pytest.raises(DirectoryError, match="the sign-in failed"):
            later.sign_in(CALLER, "alice", password, FAR)


def test_a_new_hash_keeps_nobody_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many passwords are being hashed to make a hash anew, the sign-in is good all the same."""
    before = scene.rows(PASSWORDS)[0].hash
    passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    later = type(scene.credentials)(scene.store, scene.credentials.policy, lambda: scene.time, passwords=passwords)

    def busy(_: str) -> str:
        raise DirectoryError(Fault.LOCKED, "too many sign-ins at once")

    monkeypatch.setattr(passwords, "hash", busy)
    assert scene.works(later.sign_in(CALLER, "alice", PASSWORD, FAR).record.secret)
    assert scene.rows(PASSWORDS)[0].hash == before


def test_people_who_mistype_do_not_lock_their_office(scene: Scene) -> None:
    """An address forgets a failure every ten minutes, so that one now and then never adds up to a lock; an identity
    does not."""
    for number in range(60):
        scene.time += 540
        assert fail(scene, f"nobody{number}").fault is Fault.UNAUTHENTICATED
    for number in range(10):
        scene.time += 30
        assert fail(scene, f"nobody{number}").fault is Fault.UNAUTHENTICATED
    assert sign_in(scene).secret
    for _ in range(4):
        fail(scene, address=ELSEWHERE)
        scene.time += 3600
    fail(scene, address=ELSEWHERE)
    assert fail(scene, password=PASSWORD).message == "the sign-in failed"


def test_an_address_forgets_no_more_than_time_has_passed(scene: Scene) -> None:
    """Two failures every ten minutes are one more than is forgotten: the twentieth locks, and so does the next one."""
    count = 0
    while fail(scene, f"nobody{count}").fault is Fault.UNAUTHENTICATED:
        count += 1
        scene.time += 600 if count % 2 == 0 else 0
        assert count < 100
    assert count == 39
