"""JWTs of an identity provider as credentials of a running sidecar, and a restore under one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, credential_service_pb2
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar.directory.backup import backup, restore
from tests.directory.identity_provider import AUDIENCE, ISSUER, Provider, public, rsa_key, running_provider, sign
from tests.server.directory_scene import Scene, reason, served
from tests.server.sidecar import Sidecar, until

GROUPS = """\
group_mappings:
  - {group: clerks, roles: [CLERK], company: acme}
  - {group: chiefs, roles: [CHIEF], company: acme}
  - {group: admins, roles: [ADMIN]}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A bundle that maps groups, and a directory."""
    made = Scene(tmp_path)
    (made.policies / "groups.yaml").write_text(GROUPS)
    yield made
    made.close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An identity provider with one key."""
    with running_provider() as running:
        running.keys = [public(rsa_key())]
        yield running


def issuers(scene: Scene, provider: Provider, **more: Any) -> str:
    """A file with the provider in it."""
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["RS256"],
        "jwks": {"url": provider.url},
        "prefix": "idp:",
        "company": "acme",
        "claims": {"groups": "groups"},
        "roles": ["CLERK", "CHIEF"],
        "identities": "any",
        **more,
    }
    path = scene.folder / "issuers.yaml"
    path.write_text(json.dumps({"issuers": [issuer]}))
    return str(path)


def token(*groups: str, name: str = "usual", kid: str = "one", **more: Any) -> str:
    """A token that is right now."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "iat": now, "exp": now + 600, "groups": list(groups)}
    return sign(rsa_key(name), "RS256", {**claims, **more}, kid=kid)


def check(sidecar: Sidecar, credential: str, action: str = "read", company: str = "acme") -> check_pb2.CheckResponse:
    """Whether who presents a credential may do something to a folder."""
    thing = check_pb2.Object(type="folder", id="1", company=company)
    answer = sidecar.stub.Check(check_pb2.CheckRequest(credential=credential, action=action, object=thing), timeout=10)
    assert isinstance(answer, check_pb2.CheckResponse)
    return answer


def test_a_check_takes_a_jwt(scene: Scene, provider: Provider) -> None:
    """One call verifies a JWT and decides with the roles of its groups; what is no JWT of the issuer is denied, and no
    token is in the log."""
    with served(scene, "--issuers", issuers(scene, provider)) as sidecar:
        assert check(sidecar, token("clerks")).allowed
        assert not check(sidecar, token("clerks"), "update").allowed
        assert check(sidecar, token("chiefs"), "update").allowed
        assert not check(sidecar, token("admins"), "delete").allowed
        assert not check(sidecar, token("clerks"), company="globex").allowed
        now = time.time()
        assert check(sidecar, token("clerks", exp=now - 60)).reason == reason("CREDENTIAL_EXPIRED")
        for wrong in (token("clerks", aud="other"), token("clerks", name="another"), "a.b.c", token("clerks") + "x"):
            assert check(sidecar, wrong).reason == reason("INVALID_CREDENTIAL")
        assert "eyJ" not in sidecar.log


def test_a_jwt_signs_in(scene: Scene, provider: Provider) -> None:
    """Signing in with a JWT makes the identity with the roles of its groups, and gives an access token for it; at the
    next sign-in the roles are those of the groups by then."""
    with served(scene, "--issuers", issuers(scene, provider, identities="directory", create=True)) as sidecar:
        credentials = CredentialServiceStub(sidecar.channel)

        def sign_in(jwt: str) -> str:
            answer = credentials.SignIn(credential_service_pb2.SignInRequest(jwt=jwt), timeout=10)
            return str(answer.access_token)

        assert check(sidecar, token("chiefs")).reason == reason("INVALID_CREDENTIAL")
        access = sign_in(token("chiefs", "admins"))
        assert check(sidecar, access, "update").allowed
        assert not check(sidecar, access, "delete").allowed
        sign_in(token("clerks"))
        until(lambda: not check(sidecar, access, "update").allowed)
        assert check(sidecar, access).allowed


def test_a_restore_under_a_running_sidecar(scene: Scene, tmp_path: Path) -> None:
    """A sidecar whose store is restored decides by what is restored, within moments and without a restart."""
    key, secret = scene.key("ann")
    backup(scene.store, tmp_path / "backup")
    with served(scene) as sidecar:
        assert check(sidecar, secret).allowed
        scene.switch("ann", active=False)
        until(lambda: check(sidecar, secret).reason == reason("INACTIVE_SUBJECT"))
        before = sidecar.ready()[1]["directory"]["revision"]
        restore(tmp_path / "backup", scene.url, replace=True)
        until(lambda: check(sidecar, secret).allowed)
        assert sidecar.ready()[1]["directory"]["revision"] > before
        scene.revoke(key)
        until(lambda: check(sidecar, secret).reason == reason("CREDENTIAL_REVOKED"))
