"""Administration of a running sidecar, from the bootstrap on: one process, and several workers."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar._proto.authz.v1 import policy_service_pb2 as policy
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar._proto.authz.v1.directory_service_pb2_grpc import DirectoryServiceStub
from authz_sidecar._proto.authz.v1.policy_service_pb2_grpc import PolicyServiceStub
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.bootstrap import bootstrap
from authz_sidecar.directory.storage.records import IdentityRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import MANIFEST, MODEL, OPERATOR, ROLES, snapshot_of
from tests.server.sidecar import check_of, failure_of, running_sidecar, until

SERVICES = ("DirectoryService", "CredentialService", "AuditService", "PolicyService")
PASSWORD = "correct horse battery"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A bundle in a directory."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "model.conf").write_bytes(MODEL.read_bytes())
    (folder / "manifest.yaml").write_text(MANIFEST)
    (folder / "roles.yaml").write_text(ROLES)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sidecar_is_administered_from_its_first_administrator_on(
    tmp_path: Path, policies: Path, workers: int
) -> None:
    """The first administrator makes another one, who makes a member, who signs in and asks for a decision; what was
    refused of the policies is told by every process, and no secret is in the log."""
    url = str(tmp_path / "directory.db")
    store = Store.open(url)
    view = PolicyView(snapshot_of().directory_rules)
    root = bootstrap(store, OPERATOR, IdentityRecord(id="root", kind=IdentityKind.USER), "ROOT", view).key.secret
    store.close()
    with running_sidecar("--directory", url, "--workers", str(workers), policies=policies) as sidecar:

        def as_caller(secret: str) -> dict[str, Any]:
            return {"metadata": (("authorization", f"Bearer {secret}"),), "timeout": 20}

        identities, keys = DirectoryServiceStub(sidecar.channel), CredentialServiceStub(sidecar.channel)
        admin = record.Identity(id="admin", kind=record.IDENTITY_KIND_USER, company="acme")
        identities.CreateIdentity(
            directory.CreateIdentityRequest(identity=admin, roles=["COMPANY_ADMIN"]), **as_caller(root)
        )
        key = keys.CreateKey(credential.CreateKeyRequest(identity="admin", name="k"), **as_caller(root)).secret
        member = record.Identity(id="member", kind=record.IDENTITY_KIND_USER, company="acme")
        made = identities.CreateIdentity(
            directory.CreateIdentityRequest(identity=member, roles=["MEMBER"]), **as_caller(key)
        )
        assert made.identity.created_by == "admin"
        changed = keys.SetPassword(
            credential.SetPasswordRequest(identity="member", password=PASSWORD), **as_caller(key)
        )
        assert changed.directory_revision
        token = keys.SignIn(credential.SignInRequest(identity="member", password=PASSWORD), timeout=20).access_token
        question = check_of("", "read", "folder", "1", "acme", credential=token)
        assert sidecar.stub.Check(question, timeout=20).allowed

        versions = PolicyServiceStub(sidecar.channel)
        asked = policy.GetActivePolicyRequest()
        failure = failure_of(lambda: versions.GetActivePolicy(asked, **as_caller(key)))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
        (policies / "roles.yaml").write_text("roles: 7\n")
        until(lambda: versions.GetActivePolicy(asked, **as_caller(root)).refused_why)
        active = versions.GetActivePolicy(asked, **as_caller(root))
        assert active.policy_version == sidecar.policy_version
        assert "roles.yaml" in active.refused_why
        assert active.load_time.seconds

        health = health_pb2_grpc.HealthStub(sidecar.channel)
        for name in SERVICES:
            answer = health.Check(health_pb2.HealthCheckRequest(service=f"authz.v1.{name}"), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(sidecar.channel).ServerReflectionInfo(
            iter(
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"authz.v1.{name}") for name in SERVICES
            ),
            timeout=20,
        )
        assert all(answer.HasField("file_descriptor_response") for answer in reflection)
        log = sidecar.log
    for secret in (root, key, token, PASSWORD):
        assert secret not in log
        assert secret.split("_")[-2:][0] not in log
