"""A directory with its first administrator, sidecars on it, and what holds of its store whatever happened to them."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy import select

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar._proto.authz.v1.audit_service_pb2_grpc import AuditServiceStub
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar._proto.authz.v1.directory_service_pb2_grpc import DirectoryServiceStub
from authz_sidecar.audit.verification import verify
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.bootstrap import bootstrap
from authz_sidecar.directory.storage.records import Actor, IdentityRecord
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, AUDIT, CHANGES, IDENTITIES
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import MODEL, snapshot_of
from tests.server.sidecar import COMMAND, FREE_PORTS, Sidecar, check_of, environment, running_sidecar

OPERATOR = Actor("operator:tester")
SECONDS = 20
MANIFEST = """\
name: faults
schema_version: 1
object_types:
  folder: {description: A folder., actions: [read, update, delete]}
identities:
  break_glass: {max: 8h}
  users:
    keys: {max: 10}
    tokens: {lifetime: 15m, sliding: true, max_age: 12h}
  service_accounts:
    max: 25
"""
ROLES = """\
roles:
  CLERK:
    description: Reads folders.
    assigned: company
    grants:
      - {object: folder, actions: [read]}
  CARETAKER:
    description: Removes folders in an emergency.
    assigned: company
    grants:
      - {object: folder, actions: [read, delete]}
  ADMIN:
    description: Does everything.
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
group_mappings:
  - {group: clerks, roles: [CLERK], company: acme}
"""


class Scene:
    """A bundle in `policies` and a store at `url` with `root`, who may do everything and whose API key is `root`; once
    made nobody has it open."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir()
        shutil.copyfile(MODEL, self.policies / "model.conf")
        (self.policies / "manifest.yaml").write_text(MANIFEST)
        (self.policies / "roles.yaml").write_text(ROLES)
        self.url = url or str(folder / "directory.db")
        store = Store.open(self.url)
        view = PolicyView(snapshot_of(ROLES, MANIFEST).directory_rules)
        first = IdentityRecord(id="root", kind=IdentityKind.USER)
        self.root = bootstrap(store, OPERATOR, first, "ADMIN", view).key.secret
        store.close()

    @contextmanager
    def served(
        self, *options: str, command: Sequence[str] = COMMAND, **settings: str
    ) -> Iterator[tuple[Sidecar, "Client"]]:
        """A sidecar on it, and root as its client."""
        settings = {"AUTHZ_DIRECTORY": self.url, **settings}
        with running_sidecar(*options, policies=self.policies, command=command, **settings) as sidecar:
            yield sidecar, Client(sidecar.channel, self.root)


def refused_start(scene: Scene) -> str:
    """What a sidecar on the scene that does not start says; it exits 2."""
    ended = subprocess.run(
        (*COMMAND, "--policies", str(scene.policies), *FREE_PORTS),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment() | {"AUTHZ_DIRECTORY": scene.url},
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    return ended.stderr


class Client:
    """Who calls with a credential."""

    def __init__(self, channel: grpc.Channel, secret: str) -> None:
        self.directory = DirectoryServiceStub(channel)
        self.credentials = CredentialServiceStub(channel)
        self.audit = AuditServiceStub(channel)
        self._caller = (("authorization", f"Bearer {secret}"),)

    def ask(self, method: Any, message: Any, seconds: float = SECONDS) -> Any:
        """The answer to one call."""
        return method(message, metadata=self._caller, timeout=seconds)

    def create(
        self, id: str, *roles: str, company: str = "acme", kind: Any = record.IDENTITY_KIND_USER, key: str = ""
    ) -> Any:
        """Make an identity, under an idempotency key if there is one."""
        identity = record.Identity(id=id, kind=kind, company=company)
        message = directory.CreateIdentityRequest(identity=identity, roles=roles, idempotency_key=key)
        return self.ask(self.directory.CreateIdentity, message)

    def create_key(self, id: str, name: str = "key", **more: Any) -> Any:
        """Make an API key."""
        return self.ask(self.credentials.CreateKey, credential.CreateKeyRequest(identity=id, name=name, **more))

    def revoke_key(self, id: str) -> Any:
        """End one."""
        return self.ask(self.credentials.RevokeKey, credential.RevokeKeyRequest(id=id))

    def set_password(self, id: str, password: str) -> Any:
        """Give a password."""
        return self.ask(self.credentials.SetPassword, credential.SetPasswordRequest(identity=id, password=password))

    def sign_in(self, id: str, password: str) -> Any:
        """Trade a password for an access token."""
        return self.ask(self.credentials.SignIn, credential.SignInRequest(identity=id, password=password))

    def identities(self) -> list[str]:
        """The ids of all identities."""
        found: list[str] = []
        token = ""
        while True:
            page = self.ask(
                self.directory.ListIdentities, directory.ListIdentitiesRequest(page_size=1000, page_token=token)
            )
            found += [identity.id for identity in page.identities]
            token = page.next_page_token
            if not token:
                return found


def ask(sidecar: Sidecar, subject: str = "", action: str = "read", **more: Any) -> Any:
    """The answer to a check on a folder of acme."""
    return sidecar.stub.Check(check_of(subject=subject, action=action, **more), timeout=SECONDS)


def reason(name: str) -> int:
    """The number of a reason."""
    return int(check_pb2.Reason.Value(f"REASON_{name}"))


def check_whole(url: str) -> set[str]:
    """That nothing is half done in a store, and nothing is missing: the ids of its identities.

    The audit is an unbroken chain; revisions have no gaps; an identity, its assignment and their records of the audit
    are there together, each in one revision, and all that was recorded is there.
    """
    store = Store.open(url, migrate=False)
    state = store.state()
    with store.read() as connection:
        report = verify(connection)
        assert report.intact, report.findings
        assert report.last == state.audit_sequence
        revisions = connection.execute(select(CHANGES.c.revision).distinct().order_by(CHANGES.c.revision)).scalars()
        assert list(revisions) == list(range(1, state.revision + 1))
        identities = connection.execute(select(IDENTITIES.c.id, IDENTITIES.c.revision)).all()
        assigned = connection.execute(select(ASSIGNMENTS.c.identity, ASSIGNMENTS.c.revision)).all()
        recorded = {
            action: connection.execute(select(AUDIT.c.subject, AUDIT.c.revision).where(AUDIT.c.action == action)).all()
            for action in ("identity.create", "assignment.create")
        }
    store.close()
    made = sorted(map(tuple, identities))
    assert made == sorted(map(tuple, assigned))
    assert made == sorted(map(tuple, recorded["identity.create"]))
    assert made == sorted(map(tuple, recorded["assignment.create"]))
    return {id for id, _ in made}
