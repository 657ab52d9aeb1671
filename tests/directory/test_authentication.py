"""Whom credentials stand for, from a copy in memory."""

import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.jwt.identity import JwtCredentials
from authz_sidecar.directory.memory.copy import Contents, DirectoryCopy, KeyFacts, TokenFacts
from authz_sidecar.directory.storage import secrets
from authz_sidecar.directory.storage.secrets import NewSecret, SecretKind, create_secret
from authz_sidecar.values import Reason
from authz_sidecar.values.identity import FOREVER, Authenticated, Identity, IdentityKind
from tests.directory.identity_provider import ISSUER, claims_of, ec_key, issuer_of, public, sign, verifier_of

NOW = 1_800_000_000.0
ROBOT = Identity("robot", IdentityKind.SERVICE_ACCOUNT, "acme")
ASLEEP = Identity("asleep", IdentityKind.USER, "acme", active=False)


class Clock:
    """A clock that only goes forward when it is told to."""

    time = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return self.time


class Scene:
    """A copy with two identities, and credentials that are put into it."""

    def __init__(self, max_staleness: float = 0.0) -> None:
        self.clock = Clock()
        self.copy = DirectoryCopy(max_staleness=max_staleness)
        self.contents = Contents(identities={"robot": ROBOT, "asleep": ASLEEP}, keys={}, tokens={})
        self.copy.replace(self.contents)
        self.copy.see(0.0)
        self.authenticator = Authenticator(self.copy, clock=self.clock)

    def key(self, identity: str = "robot", **facts: object) -> NewSecret:
        """A key of the directory."""
        made = create_secret(SecretKind.KEY)
        self.contents.keys[made.id] = KeyFacts(made.hash, identity, **facts)  # type: ignore[arg-type]
        return made

    def token(self, identity: str = "robot", expires: float = NOW + 60, **facts: object) -> NewSecret:
        """A token of the directory."""
        made = create_secret(SecretKind.TOKEN)
        self.contents.tokens[made.id] = TokenFacts(made.hash, identity, expires, **facts)  # type: ignore[arg-type]
        return made

    def ask(self, text: str) -> Authenticated | Reason:
        """What the authenticator says."""
        return self.authenticator.authenticate(text, NOW)


@pytest.fixture
def scene() -> Scene:
    """A copy with two identities and no credential."""
    return Scene()


def with_secret_of(right: NewSecret, other: NewSecret) -> str:
    """The id of one and the secret of another, with a good checksum."""
    text = f"{right.text[:20]}_{other.text[21:64]}"
    return f"{text}_{secrets.checksum(text)}"


def test_a_key_stands_for_its_identity(scene: Scene) -> None:
    """A key gives its identity as the directory has it, its own name without the secret, and when it stops."""
    made = scene.key(expires=NOW + 5)
    assert scene.ask(made.text) == Authenticated(ROBOT, f"key:{made.id}", NOW + 5)
    forever = scene.key()
    assert scene.ask(forever.text) == Authenticated(ROBOT, f"key:{forever.id}", FOREVER)


def test_a_token_stands_for_its_identity(scene: Scene) -> None:
    """So does an access token."""
    made = scene.token()
    assert scene.ask(made.text) == Authenticated(ROBOT, f"token:{made.id}", NOW + 60)


@pytest.mark.parametrize("kind", SecretKind)
def test_unknown_and_wrong_are_one_answer(scene: Scene, kind: SecretKind) -> None:
    """An id that nobody has and a wrong secret of one that somebody has share one reason."""
    made = scene.key() if kind is SecretKind.KEY else scene.token()
    stranger = create_secret(kind)
    assert scene.ask(stranger.text) is Reason.INVALID_CREDENTIAL
    assert scene.ask(with_secret_of(made, stranger)) is Reason.INVALID_CREDENTIAL
    assert isinstance(scene.ask(made.text), Authenticated)


def test_unknown_and_wrong_take_one_path(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both compare the digest of what was sent with 32 bytes, once."""
    made, stranger = scene.key(), create_secret(SecretKind.KEY)
    assert isinstance(scene.ask(made.text), Authenticated)
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    for text in (stranger.text, with_secret_of(made, stranger)):
        scene.ask(text)
    assert compared == [(32, 32)] * 2


def test_the_secret_of_one_kind_is_none_of_the_other(scene: Scene) -> None:
    """A key's id and secret in the form of a token are nobody's."""
    made = scene.key()
    text = f"azt{made.text[3:64]}"
    assert scene.ask(f"{text}_{secrets.checksum(text)}") is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"expires": NOW}, Reason.CREDENTIAL_EXPIRED),
        ({"revoked": True}, Reason.CREDENTIAL_REVOKED),
        ({"active": False}, Reason.CREDENTIAL_INACTIVE),
        ({"active": False, "expires": NOW - 1}, Reason.CREDENTIAL_EXPIRED),
        ({"active": False, "expires": NOW - 1, "revoked": True}, Reason.CREDENTIAL_REVOKED),
        ({"identity": "asleep"}, Reason.INACTIVE_SUBJECT),
        ({"identity": "gone"}, Reason.INVALID_CREDENTIAL),
    ],
)
def test_why_a_key_is_refused_is_told_to_who_has_it(scene: Scene, facts: dict[str, object], reason: Reason) -> None:
    """Expired, revoked and switched off are told to who presents the right secret and to nobody else."""
    made = scene.key(**facts)  # type: ignore[arg-type]
    assert scene.ask(made.text) is reason
    assert scene.ask(with_secret_of(made, create_secret(SecretKind.KEY))) is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"expires": NOW}, Reason.CREDENTIAL_EXPIRED),
        ({"revoked": True, "expires": NOW - 1}, Reason.CREDENTIAL_REVOKED),
        ({"identity": "asleep"}, Reason.INACTIVE_SUBJECT),
        ({"identity": "gone"}, Reason.INVALID_CREDENTIAL),
        # Use extends it, but nothing wakes one that has expired.
        ({"expires": NOW, "sliding_seconds": 900.0}, Reason.CREDENTIAL_EXPIRED),
    ],
)
def test_why_a_token_is_refused_is_told_to_who_has_it(scene: Scene, facts: dict[str, object], reason: Reason) -> None:
    """The same for access tokens."""
    made = scene.token(**facts)  # type: ignore[arg-type]
    assert scene.ask(made.text) is reason
    assert scene.ask(with_secret_of(made, create_secret(SecretKind.TOKEN))) is Reason.INVALID_CREDENTIAL


def test_a_change_of_the_identity_holds_at_once(scene: Scene) -> None:
    """A key of an identity that is switched off or removed stops with it, and goes on when it is switched on."""
    made = scene.key()
    scene.contents.identities["robot"] = Identity("robot", IdentityKind.SERVICE_ACCOUNT, "acme", active=False)
    assert scene.ask(made.text) is Reason.INACTIVE_SUBJECT
    del scene.contents.identities["robot"]
    assert scene.ask(made.text) is Reason.INVALID_CREDENTIAL
    scene.contents.identities["robot"] = ROBOT
    assert isinstance(scene.ask(made.text), Authenticated)


def test_a_stale_copy_trusts_no_credential() -> None:
    """Once the store has not been seen for longer than the bound, every credential is refused for that reason."""
    scene = Scene(max_staleness=900)
    made = scene.key()
    scene.clock.time = 900
    assert isinstance(scene.ask(made.text), Authenticated)
    scene.clock.time = 900.1
    assert scene.ask(made.text) is Reason.STALE_DIRECTORY
    assert scene.ask("nonsense") is Reason.STALE_DIRECTORY
    scene.copy.see(900.1)
    assert isinstance(scene.ask(made.text), Authenticated)


def test_a_copy_that_was_never_loaded_trusts_no_credential() -> None:
    """Before the store has been seen nothing is trusted."""
    copy = DirectoryCopy(max_staleness=900)
    assert Authenticator(copy).authenticate(create_secret(SecretKind.KEY).text, NOW) is Reason.STALE_DIRECTORY


@given(st.one_of(st.text(max_size=100), st.text("azkt_.01\ud800\x00", max_size=100), st.binary().map(repr)))
@settings(max_examples=500)
def test_any_text_is_answered(text: str) -> None:
    """No text makes the authenticator fail, and what is no credential is an invalid one."""
    assert Scene().ask(text) is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" ", id="space"),
        pytest.param("azk_", id="prefix"),
        pytest.param("a.b.c", id="three parts"),
        pytest.param("." * 16_384, id="dots"),
        pytest.param("a" * 100_000_000, id="very long"),
        pytest.param("azk_" + "0" * 10_000, id="long"),
    ],
)
def test_texts_that_are_no_credential(scene: Scene, text: str) -> None:
    """Texts of any size are answered, those beyond the bounds without being looked at."""
    assert scene.ask(text) is Reason.INVALID_CREDENTIAL


def test_wrong_keys_leave_nothing_behind(scene: Scene) -> None:
    """10,000 wrong keys leave no state: there is nothing that the next right one would have to wait for."""
    made = scene.key()
    assert isinstance(scene.ask(made.text), Authenticated)
    before = _state(scene)
    for _ in range(5_000):
        stranger = create_secret(SecretKind.KEY)
        assert scene.ask(stranger.text) is Reason.INVALID_CREDENTIAL
        assert scene.ask(with_secret_of(made, stranger)) is Reason.INVALID_CREDENTIAL
    assert _state(scene) == before
    assert isinstance(scene.ask(made.text), Authenticated)


def _state(scene: Scene) -> tuple[dict[str, object], int]:
    """All that a credential could leave behind."""
    kept = {
        name: dict(value) if isinstance(value, dict) else value for name, value in vars(scene.authenticator).items()
    }
    return kept, len(scene.contents.keys)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"expires": NOW}, Reason.CREDENTIAL_EXPIRED),
        ({"revoked": True}, Reason.CREDENTIAL_REVOKED),
        ({"active": False}, Reason.CREDENTIAL_INACTIVE),
        ({"identity": "asleep"}, Reason.INACTIVE_SUBJECT),
        ({"hash": bytes(32)}, Reason.INVALID_CREDENTIAL),
    ],
)
def test_a_key_that_was_right_is_judged_by_what_is_there_now(
    scene: Scene, facts: dict[str, object], reason: Reason
) -> None:
    """What changes of a key after it was used holds at its next use."""
    made = scene.key()
    first = scene.ask(made.text)
    assert scene.ask(made.text) is first
    usual = {"hash": made.hash, "identity": "robot"}
    scene.contents.keys[made.id] = KeyFacts(**{**usual, **facts})  # type: ignore[arg-type]
    assert scene.ask(made.text) is reason
    scene.contents.keys[made.id] = KeyFacts(made.hash, "robot")
    assert scene.ask(made.text) == first
    del scene.contents.keys[made.id]
    assert scene.ask(made.text) is Reason.INVALID_CREDENTIAL


def test_a_key_that_was_right_expires(scene: Scene) -> None:
    """A key that has been used stops at its expiry."""
    made = scene.key(expires=NOW + 5)
    assert isinstance(scene.ask(made.text), Authenticated)
    assert scene.authenticator.authenticate(made.text, NOW + 5) is Reason.CREDENTIAL_EXPIRED


def test_keys_that_were_right_are_kept_in_bounds(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys are used, a bounded number is remembered, none of them by its secret."""
    monkeypatch.setattr("authz_sidecar.directory.credentials.authentication.MAX_KEPT", 10)
    for _ in range(25):
        made = scene.key()
        assert isinstance(scene.ask(made.text), Authenticated)
        assert made.text[21:64] not in repr(vars(scene.authenticator))
    assert 0 < len(vars(scene.authenticator)["_kept"]) <= 10


def test_a_jwt_stands_for_its_identity(tmp_path: Path) -> None:
    """A text of three parts is a JWT: taken where there is an identity provider, and while the copy is fresh."""
    scene = Scene(max_staleness=900)
    scene.contents.identities["acme:alice"] = alice = Identity("acme:alice", IdentityKind.USER, "acme")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public(ec_key())]}))
    good = sign(ec_key(), "ES256", claims_of())
    assert scene.ask(good) is Reason.INVALID_CREDENTIAL
    with verifier_of(issuer_of({"file": "keys.json"}), folder=tmp_path) as (verifier, _):
        scene.authenticator = Authenticator(scene.copy, JwtCredentials(verifier), clock=scene.clock)
        found = scene.ask(good)
        assert isinstance(found, Authenticated)
        assert (found.identity, found.credential) == (alice, f"jwt:{ISSUER}")
        long = sign(ec_key(), "ES256", claims_of(more="x" * 20_000))
        for wrong in (long, good[:-4], f"{good}.x", good.replace(".", "", 1)):
            assert scene.ask(wrong) is Reason.INVALID_CREDENTIAL
        assert isinstance(scene.ask(scene.key().text), Authenticated)
        scene.clock.time = 901
        assert scene.ask(good) is Reason.STALE_DIRECTORY
