"""JWTs of an identity provider as credentials of a running sidecar, and a restore under one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, credential_service_pb2
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar.audit.signing import create_key
from authz_sidecar.directory.backup.backup import backup, restore
from tests.directory.identity_provider import AUDIENCE, ISSUER, Provider, public, rsa_key, running_provider, sign
from tests.server.directory_scene import Scene, reason, served
from tests.server.sidecar import Sidecar, until

ABSENT = "https://absent.example"
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
    """A file with the provider in it, and one whose keys are not there."""
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
    absent = {"issuer": ABSENT, "audiences": [AUDIENCE], "algorithms": ["RS256"], "company": "acme", "prefix": "no:"}
    path = scene.folder / "issuers.yaml"
    path.write_text(json.dumps({"issuers": [issuer, {**absent, "jwks": {"file": "absent.json"}}]}))
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


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar with two identity providers, one of them without keys, and a file of checkpoints that is none."""
    scene = Scene(tmp_path_factory.mktemp("taking"))
    (scene.policies / "groups.yaml").write_text(GROUPS)
    key, checkpoints = scene.folder / "audit.key", scene.folder / "checkpoints.jsonl"
    create_key(key)
    checkpoints.write_text("no checkpoint\n")
    signing = ("--audit-key", str(key), "--audit-checkpoints", str(checkpoints))
    with running_provider() as provider:
        provider.keys = [public(rsa_key())]
        with served(scene, "--issuers", issuers(scene, provider), *signing) as sidecar:
            yield sidecar
    scene.close()


def test_a_check_takes_a_jwt(taking: Sidecar) -> None:
    """One call verifies a JWT and decides with the roles of its groups; what is no JWT of the issuer is denied, and no
    token is in the log."""
    assert check(taking, token("clerks")).allowed
    assert not check(taking, token("clerks"), "update").allowed
    assert check(taking, token("chiefs"), "update").allowed
    assert not check(taking, token("admins"), "delete").allowed
    assert not check(taking, token("clerks"), company="globex").allowed
    now = time.time()
    assert check(taking, token("clerks", exp=now - 60)).reason == reason("CREDENTIAL_EXPIRED")
    for wrong in (token("clerks", aud="other"), token("clerks", name="another"), "a.b.c", token("clerks") + "x"):
        assert check(taking, wrong).reason == reason("INVALID_CREDENTIAL")
    assert "eyJ" not in taking.log


def test_metrics_tell_of_keys_and_of_the_audit(taking: Sidecar) -> None:
    """For each identity provider they say how many keys there are, for how long these have not been seen, and how looks
    at them ended; and that the audit cannot be signed for, where that is so."""
    until(lambda: taking.metric("authz_directory_audit_checkpoint_failing") == 1)
    assert "\nauthz_directory_audit_checkpoint_age_seconds " not in taking.get("/metrics")[1]
    assert [taking.metric("authz_issuer_keys", issuer=issuer) for issuer in (ISSUER, ABSENT)] == [1, 0]
    for issuer, ended, other in ((ISSUER, "ok", "failed"), (ABSENT, "failed", "ok")):
        assert taking.metric("authz_issuer_keys_looks_total", issuer=issuer, outcome=ended) >= 1
        assert taking.metric("authz_issuer_keys_looks_total", issuer=issuer, outcome=other) == 0
        assert 0 < taking.metric("authz_issuer_keys_staleness_seconds", issuer=issuer) < 60


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
