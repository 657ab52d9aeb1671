"""A bundle and a directory for a sidecar in a process of its own, and what tests do with them past the sidecar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.records import Actor, AssignmentRecord, IdentityRecord, ShareRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.directory_rules import DirectoryRules, RoleFacts
from authz_sidecar.values.identity import IdentityKind
from tests.server.sidecar import Sidecar, check_of, running_sidecar, until

OPERATOR = Actor("operator:tester")
MANIFEST = """\
name: served with a directory
schema_version: 1
object_types:
  folder: {description: A folder., actions: [read, update, delete]}
"""
ROLES = """\
roles:
  CLERK:
    description: Reads folders.
    assigned: company
    grants:
      - {object: folder, actions: [read]}
  CHIEF:
    description: Reads and changes folders.
    assigned: company
    grants:
      - {object: folder, actions: [read, update]}
  ADMIN:
    description: Does everything.
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
assignments:
  - {subject: in-git, roles: [CLERK], company: acme}
"""
RULES = DirectoryRules(
    form="extended",
    roles={"CLERK": RoleFacts("company"), "CHIEF": RoleFacts("company"), "ADMIN": RoleFacts("platform")},
    object_types={"folder": ("read", "update", "delete")},
)


class Scene:
    """A bundle in `policies` and a store at `url`, which has the user `ann`, a clerk of acme, the service account
    `robot`, which may act for users on the folders of acme that begin with `shared-`, and `root` on the platform."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir()
        (self.policies / "model.conf").write_text(EXTENDED)
        (self.policies / "manifest.yaml").write_text(MANIFEST)
        (self.policies / "roles.yaml").write_text(ROLES)
        self.url = url or str(folder / "directory.db")
        self.store = Store.open(self.url)
        view = PolicyView(RULES)
        self.identities = IdentityAdministration(self.store, lambda: view)
        self.credentials = CredentialAdministration(self.store, lambda: view)
        self.person("ann", "acme", "CLERK")
        self.person("root", "", "ADMIN")
        self.person("robot", "acme", kind=IdentityKind.SERVICE_ACCOUNT)
        self.share("robot", "shared-*", impersonation=True)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def person(self, id: str, company: str, *roles: str, kind: IdentityKind = IdentityKind.USER) -> int:
        """Make an identity; the revision that has it."""
        record = IdentityRecord(id=id, kind=kind, company=company)
        return self.identities.create_identity(OPERATOR, record, roles).revision

    def assign(self, id: str, role: str, company: str = "acme") -> int:
        """Give a role; the revision that has it."""
        record = AssignmentRecord(identity=id, role=role, company=company)
        return self.identities.create_assignment(OPERATOR, record).revision

    def share(self, id: str, folder: str, *actions: str, impersonation: bool = False) -> int:
        """Share folders of acme; the revision that has it."""
        record = ShareRecord(
            identity=id,
            company="acme",
            object_type="folder",
            object_id=folder,
            actions=actions,
            impersonation=impersonation,
        )
        return self.identities.create_share(OPERATOR, record).revision

    def switch(self, id: str, active: bool) -> int:
        """Switch an identity; the revision that has it."""
        return self.identities.update_identity(OPERATOR, id, {"active": active}).revision

    def key(self, id: str, name: str = "key", **more: Any) -> tuple[str, str]:
        """Make an API key: its id, and what callers send."""
        issued = self.credentials.create_key(OPERATOR, id, name, **more).record
        return issued.record.id, issued.secret

    def revoke(self, key: str) -> int:
        """Revoke a key; the revision that has it."""
        return self.credentials.revoke_key(OPERATOR, key).revision


@contextmanager
def served(scene: Scene, *options: str, **settings: str) -> Iterator[Sidecar]:
    """A sidecar on the scene."""
    with running_sidecar("--directory", scene.url, *options, policies=scene.policies, **settings) as sidecar:
        yield sidecar


def ask(sidecar: Sidecar, subject: str = "", action: str = "read", id: str = "1", **more: Any) -> Any:
    """The answer to a check on a folder of acme."""
    return sidecar.stub.Check(check_of(subject=subject, action=action, id=id, **more), timeout=10)


def reason(name: str) -> int:
    """The number of a reason."""
    return int(check_pb2.Reason.Value(f"REASON_{name}"))


def follows(sidecar: Sidecar, revision: int) -> None:
    """Wait until the sidecar has a revision."""
    until(lambda: ask(sidecar, "nobody").directory_revision >= revision)
