"""CredentialService: API keys, passwords and access tokens over gRPC, and signing in."""

import itertools
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2, timestamp_pb2

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar.directory.storage.records import AssignmentRecord
from tests.server.administered import OPERATOR, Administered, administered
from tests.server.sidecar import failure_of

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "staple and correct horse"
SHORT = "sesame"
DENIED = grpc.StatusCode.PERMISSION_DENIED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    """One server for all tests of this module, each of which makes identities of its own."""
    with administered(tmp_path_factory.mktemp("credentials")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Administered) -> str:
    """The credential of an administrator of acme."""
    return server.person("acme-admin", "acme", "COMPANY_ADMIN")


def name(what: str) -> str:
    """A name that no other test has."""
    return f"{what}-{next(_numbers)}"


def member(server: Administered, company: str = "acme") -> str:
    """The id of a new member of a company."""
    id = name("member")
    server.person(id, company, "MEMBER")
    return id


def ask(server: Administered, secret: str, method: str, message: Any) -> Any:
    """Call a method of CredentialService."""
    return getattr(server.keys, method)(message, metadata=server.call(secret), timeout=20)


def works(server: Administered, secret: str) -> bool:
    """Whether somebody is known by a credential."""
    asked = directory.GetIdentityRequest(id="nobody-of-that-name")
    failure = failure_of(lambda: server.directory.GetIdentity(asked, metadata=server.call(secret), timeout=20))
    return failure.code is not grpc.StatusCode.UNAUTHENTICATED


def sign_in(server: Administered, id: str, password: str) -> credential.SignInResponse:
    """Trade a password for a token."""
    answer: credential.SignInResponse = server.keys.SignIn(
        credential.SignInRequest(identity=id, password=password), timeout=20
    )
    return answer


def test_a_key_works_from_its_answer_on_until_it_is_revoked(server: Administered, admin: str) -> None:
    """What CreateKey gives is a credential at once; once it is revoked it is none."""
    id = member(server)
    made = ask(server, admin, "CreateKey", credential.CreateKeyRequest(identity=id, name="laptop"))
    assert (made.key.identity, made.key.name, made.key.active, made.key.created_by) == (
        id,
        "laptop",
        True,
        "acme-admin",
    )
    assert works(server, made.secret)
    read = ask(server, admin, "GetKey", credential.GetKeyRequest(id=made.key.id))
    assert read.key == made.key
    revoked = ask(server, admin, "RevokeKey", credential.RevokeKeyRequest(id=made.key.id))
    assert revoked.key.HasField("revoke_time")
    assert not works(server, made.secret)


def test_a_secret_is_shown_once(server: Administered, admin: str) -> None:
    """Asked again under the idempotency key, and in a dry run, a key comes without its secret."""
    id = member(server)
    message = credential.CreateKeyRequest(identity=id, name="once", idempotency_key=name("key"))
    first, again = (ask(server, admin, "CreateKey", message) for _ in range(2))
    assert first.secret
    assert (again.key, again.secret) == (first.key, "")
    dry = ask(server, admin, "CreateKey", credential.CreateKeyRequest(identity=id, name="dry", dry_run=True))
    assert (dry.key.name, dry.secret) == ("dry", "")


def test_a_key_is_changed_by_its_mask(server: Administered, admin: str) -> None:
    """A key is renamed, switched off and made to expire; an unknown path and an old etag are refused."""
    id = member(server)
    made = ask(server, admin, "CreateKey", credential.CreateKeyRequest(identity=id, name="one"))

    def update(paths: tuple[str, ...], **fields: Any) -> credential.ApiKey:
        message = credential.UpdateKeyRequest(
            key=credential.ApiKey(id=made.key.id, **fields), update_mask=field_mask_pb2.FieldMask(paths=paths)
        )
        key: credential.ApiKey = ask(server, admin, "UpdateKey", message).key
        return key

    ends = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    changed = update(("name", "active", "expire_time"), name="two", expire_time=ends)
    assert (changed.name, changed.active, changed.expire_time) == ("two", False, ends)
    assert not works(server, made.secret)
    assert update(("active",), active=True, etag=changed.etag).active
    assert works(server, made.secret)
    failure = failure_of(lambda: update(("active",), etag=changed.etag))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    failure = failure_of(lambda: update(("identity",), identity="root"))
    assert (failure.code, list(failure.violations)) == (INVALID, ["update_mask"])


def test_a_key_is_rotated_without_a_gap(server: Administered, admin: str) -> None:
    """Both keys work after the rotation, until the old one is revoked."""
    made = ask(server, admin, "CreateKey", credential.CreateKeyRequest(identity=member(server), name="old"))
    rotated = ask(server, admin, "RotateKey", credential.RotateKeyRequest(id=made.key.id, overlap_seconds=3600))
    assert rotated.key.rotated_from == made.key.id == rotated.replaced.id
    assert rotated.replaced.HasField("expire_time")
    assert works(server, made.secret)
    assert works(server, rotated.secret)
    ask(server, admin, "RevokeKey", credential.RevokeKeyRequest(id=made.key.id))
    assert not works(server, made.secret)
    assert works(server, rotated.secret)


@pytest.mark.parametrize("seconds", [-1, 10**12])
def test_an_overlap_has_bounds(server: Administered, admin: str, seconds: int) -> None:
    """No key overlaps for less than nothing, or for centuries."""
    message = credential.RotateKeyRequest(id="x", overlap_seconds=seconds)
    failure = failure_of(lambda: ask(server, admin, "RotateKey", message))
    assert (failure.code, list(failure.violations)) == (INVALID, ["overlap_seconds"])


def test_lists_of_keys_leave_out_what_the_caller_may_not_read(server: Administered, admin: str) -> None:
    """An administrator sees the keys of the company, a member their own, and nobody sees revoked ones unasked."""
    id = name("lists")
    secret = server.person(id, "acme", "MEMBER")
    member(server, "globex")
    mine = ask(server, secret, "ListKeys", credential.ListKeysRequest()).keys
    assert {key.identity for key in mine} == {id}
    ask(server, admin, "RevokeKey", credential.RevokeKeyRequest(id=mine[0].id))
    other = ask(server, admin, "CreateKey", credential.CreateKeyRequest(identity=id, name="x")).key.id
    asked = credential.ListKeysRequest(identity=id)
    assert [key.id for key in ask(server, admin, "ListKeys", asked).keys] == [other]
    asked.include_ended = True
    assert {key.id for key in ask(server, admin, "ListKeys", asked).keys} == {other, mine[0].id}
    all_of_acme = ask(server, admin, "ListKeys", credential.ListKeysRequest(page_size=1000)).keys
    owners = {server.identities.get_identity(key.identity).company for key in all_of_acme}
    assert owners == {"acme"}


def test_signing_in_gives_a_token_that_ends_at_once_when_it_is_revoked(server: Administered, admin: str) -> None:
    """A password is set, traded for a token, which stands for the user until it is revoked."""
    id = member(server)
    ask(server, admin, "SetPassword", credential.SetPasswordRequest(identity=id, password=PASSWORD))
    signed = sign_in(server, id, PASSWORD)
    assert (signed.token.identity, signed.token.created_by) == (id, id)
    assert works(server, signed.access_token)
    listed = ask(server, admin, "ListTokens", credential.ListTokensRequest(identity=id)).tokens
    assert [token.id for token in listed] == [signed.token.id]
    revoked = ask(server, admin, "RevokeTokens", credential.RevokeTokensRequest(id=signed.token.id))
    assert revoked.revoked == 1
    assert not works(server, signed.access_token)
    assert ask(server, admin, "RevokeTokens", credential.RevokeTokensRequest(id=signed.token.id)).revoked == 0


def test_a_failed_sign_in_says_nothing(server: Administered, admin: str) -> None:
    """A wrong password, a user without one, and a name of nobody end in one answer, which repeats neither."""
    id = member(server)
    ask(server, admin, "SetPassword", credential.SetPasswordRequest(identity=id, password=PASSWORD))
    told = set()
    for who, password in ((id, OTHER_PASSWORD), (member(server), PASSWORD), ("nobody-at-all", PASSWORD)):
        failure = failure_of(partial(sign_in, server, who, password))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_FAILED")
        assert who not in str(failure.status)
        assert password not in str(failure.status)
        told.add((failure.message, str(dict(failure.info.metadata))))
    assert len(told) == 1


def test_everybody_sets_their_own_password(server: Administered) -> None:
    """With `own` scope a user gives themselves another password, and nobody else."""
    id = name("self")
    secret = server.person(id, "acme", "MEMBER")
    ask(server, secret, "SetPassword", credential.SetPasswordRequest(identity=id, password=PASSWORD))
    token = sign_in(server, id, PASSWORD).access_token
    ask(server, token, "SetPassword", credential.SetPasswordRequest(identity=id, password=OTHER_PASSWORD))
    assert sign_in(server, id, OTHER_PASSWORD).access_token
    message = credential.SetPasswordRequest(identity=member(server), password=PASSWORD)
    assert failure_of(lambda: ask(server, secret, "SetPassword", message)).code is DENIED


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (credential.SignInRequest(), "identity"),
        (credential.SignInRequest(identity="x"), "password"),
        (credential.SignInRequest(password=PASSWORD), "identity"),
        (credential.SignInRequest(identity="x", jwt="y"), "jwt"),
        (credential.SignInRequest(identity="x", password="y" * 5000), "password"),
        (credential.SignInRequest(jwt="y" * 20_000), "jwt"),
    ],
    ids=str,
)
def test_a_sign_in_is_one_way_of_it(server: Administered, message: credential.SignInRequest, field: str) -> None:
    """Neither, both, or too much of what signs in is a violation."""
    failure = failure_of(lambda: server.keys.SignIn(message, timeout=20))
    assert (failure.code, field in failure.violations) == (INVALID, True)


def test_all_tokens_of_an_identity_end_together(server: Administered, admin: str) -> None:
    """RevokeTokens by identity ends every token, and says how many there were."""
    id = member(server)
    tokens = [
        ask(server, admin, "CreateToken", credential.CreateTokenRequest(identity=id)).access_token for _ in range(3)
    ]
    assert all(works(server, token) for token in tokens)
    assert ask(server, admin, "RevokeTokens", credential.RevokeTokensRequest(identity=id)).revoked == 3
    assert not any(works(server, token) for token in tokens)


@pytest.mark.parametrize(
    "message", [credential.RevokeTokensRequest(), credential.RevokeTokensRequest(id="a", identity="b")], ids=str
)
def test_tokens_are_named_in_one_way(server: Administered, admin: str, message: credential.RevokeTokensRequest) -> None:
    """Neither or both of id and identity is a violation."""
    failure = failure_of(lambda: ask(server, admin, "RevokeTokens", message))
    assert (failure.code, list(failure.violations)) == (INVALID, ["id"])


def test_a_refused_password_is_told_without_the_password(server: Administered, admin: str) -> None:
    """A password that is too short is a violation of `password`, which does not repeat it."""
    message = credential.SetPasswordRequest(identity=member(server), password=SHORT)
    failure = failure_of(lambda: ask(server, admin, "SetPassword", message))
    assert (failure.code, list(failure.violations)) == (INVALID, ["password"])
    assert SHORT not in str(failure.status)


def test_a_credential_of_an_administrator_is_of_no_use_elsewhere(server: Administered, admin: str) -> None:
    """Keys and tokens of identities of another company are out of reach, and whoever holds a role there, too."""
    there = member(server, "globex")
    both = member(server)
    server.identities.create_assignment(
        OPERATOR, AssignmentRecord(identity=both, role="COMPANY_ADMIN", company="globex")
    )
    for id in (there, both):
        for method, message in (
            ("CreateKey", credential.CreateKeyRequest(identity=id, name="x")),
            ("CreateToken", credential.CreateTokenRequest(identity=id)),
            ("SetPassword", credential.SetPasswordRequest(identity=id, password=PASSWORD)),
        ):
            failure = failure_of(partial(ask, server, admin, method, message))
            assert failure.code is DENIED, method
