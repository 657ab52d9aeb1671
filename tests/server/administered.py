"""A server with a directory in the test's own process, so that a test may change its policy between two calls."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from authz_sidecar._proto.authz.v1 import credential_service_pb2_grpc, directory_service_pb2_grpc
from authz_sidecar._proto.authz.v1.policy_service_pb2_grpc import PolicyServiceStub
from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.authentication import Authenticator
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.memory.copy import DirectoryCopy
from authz_sidecar.directory.memory.follower import Follower, on_loop
from authz_sidecar.directory.review.policy_review import PolicyPlace
from authz_sidecar.directory.storage.records import Actor, AssignmentRecord, IdentityRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.engine import Engine, Identities, PolicyStatus
from authz_sidecar.engine.holdings import assigned_places, assigned_roles
from authz_sidecar.engine.refresh import Refreshed, RefreshOutcome
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.grpc.administration.guard import Guard
from authz_sidecar.transports.grpc.administration.services import AdministrationServices
from authz_sidecar.transports.grpc.server import GrpcServer
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.limits import Limits

MODEL = Path(__file__).parents[2] / "policies" / "model.conf"
OPERATOR = Actor(id="operator:test")
SECONDS = 60

MANIFEST = """\
name: administered
schema_version: 1
object_types:
  folder:
    description: A folder.
    actions: [read, update]
"""

ROLES = """\
roles:
  ROOT:
    description: Administers everything.
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
  AUDITOR:
    description: Reads who is who, everywhere.
    assigned: platform
    grants:
      - {objects: [sidecar.identity, sidecar.assignment], actions: [read]}
  COMPANY_ADMIN:
    description: Administers the people of one company.
    assigned: company
    grants:
      - {object: sidecar.identity, actions: ["*"]}
      - {object: sidecar.assignment, actions: [read]}
      - {object: sidecar.assignment, id: MEMBER, actions: [create, delete]}
      - {object: sidecar.assignment, id: READER, actions: [create, delete]}
      - {object: sidecar.grant, id: folder, actions: ["*"]}
      - {object: sidecar.grant, actions: [read]}
      - {object: sidecar.share, id: folder, actions: [create, read, update, delete]}
      - {object: sidecar.credential, actions: ["*"]}
      - {object: sidecar.token, actions: ["*"]}
  MEMBER:
    description: Manages what is its own.
    assigned: company
    grants:
      - {object: folder, actions: [read]}
      - {object: sidecar.identity, actions: [read, update], scope: own}
      - {object: sidecar.credential, actions: ["*"], scope: own}
      - {object: sidecar.token, actions: [read, revoke], scope: own}
  READER:
    description: Reads folders.
    assigned: company
    grants:
      - {object: folder, actions: [read]}
"""


def snapshot_of(roles: str = ROLES, manifest: str = MANIFEST) -> Snapshot:
    """The snapshot of a bundle of these files."""
    files = {"model.conf": MODEL.read_bytes(), "manifest.yaml": manifest.encode(), "roles.yaml": roles.encode()}
    bundle, findings = parse_bundle(BundleFiles(files, "administered"), "administered")
    assert bundle is not None, findings
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    return snapshot


class Administered:
    """A server that listens: its engine, store and operations, and stubs on one connection.

    `call(credential)` gives the metadata of a caller.
    """

    def __init__(self, url: str, place: PolicyPlace | None) -> None:
        self.store = Store.open(url)
        self.url = url
        self.place = place
        self.engine = Engine()
        self.copy = DirectoryCopy()
        self.status = PolicyStatus()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.follower = Follower(self.store, self.copy, on_loop(self.loop))
        self.follower.load()
        after = self.follower.catch_up
        self.identities = IdentityAdministration(self.store, self.policy, after=after)
        self.credentials = CredentialAdministration(self.store, self.policy, after=after)
        self.authenticator = Authenticator(self.copy)
        self.take(snapshot_of(), "sha256:first")
        self.server, self.address = self.run(self._serve())
        self.channel = grpc.insecure_channel(str(self.address))
        self.directory = directory_service_pb2_grpc.DirectoryServiceStub(self.channel)
        self.keys = credential_service_pb2_grpc.CredentialServiceStub(self.channel)
        self.policies = PolicyServiceStub(self.channel)
        self.root = self.person("root", "", "ROOT")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SECONDS)

    def policy(self) -> PolicyView:
        """The policy in force, as operations read it."""
        served = self.engine.snapshot_state
        assert served.decider is not None
        snapshot = served.decider.snapshot
        return PolicyView(
            snapshot.directory_rules,
            served.policy_version,
            lambda subject: assigned_roles(snapshot, subject, 0.0),
            lambda subject: assigned_places(snapshot, subject),
        )

    def take(self, snapshot: Snapshot, version: str) -> None:
        """Serve another policy from now on."""
        self.engine.load(snapshot, version)
        self.status.take(version, 1_700_000_000.0)

    async def _serve(self) -> tuple[GrpcServer, Address]:
        identities = Identities(self.copy, self.authenticator, self.engine.counts)
        services = AdministrationServices(
            Guard(self.engine, identities, self.authenticator),
            self.identities,
            self.credentials,
            place=self.place,
            store=self.url,
            status=self._status,
            message_bytes=4 << 20,
        )
        server = GrpcServer(self.engine, Limits(), Address("127.0.0.1", 0), refresher=_refresh, administration=services)
        return server, await server.start()

    async def _status(self) -> PolicyStatus:
        return self.status

    def person(self, id: str, company: str, *roles: str, kind: IdentityKind = IdentityKind.USER) -> str:
        """Make an identity with these roles; the credential that stands for it."""
        self.identities.create_identity(OPERATOR, IdentityRecord(id=id, kind=kind, company=company), roles)
        secret: str = self.credentials.create_key(OPERATOR, id, "test").record.secret
        return secret

    def assign(self, identity: str, role: str, company: str) -> None:
        """Assign a role, whatever the policy says of who may."""
        self.identities.create_assignment(OPERATOR, AssignmentRecord(identity=identity, role=role, company=company))

    def call(self, credential: str) -> tuple[tuple[str, str], ...]:
        """The metadata of a caller."""
        return (("authorization", f"Bearer {credential}"),)

    def close(self) -> None:
        """Stop the server and all that is behind it."""
        self.channel.close()
        self.run(self.server.stop(0))
        self.follower.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.store.close()


async def _refresh() -> Refreshed:
    return Refreshed(RefreshOutcome.CURRENT, "sha256:first", "sha256:first")


@contextmanager
def administered(folder: Path, place: PolicyPlace | None = None) -> Iterator[Administered]:
    """A server on a store of SQLite in `folder`."""
    server = Administered(str(folder / "directory.db"), place)
    try:
        yield server
    finally:
        server.close()
