"""Identities for tests of what reads a directory from outside: a bundle, and administration that keeps its rules."""

from pathlib import Path

from authz_sidecar.bundle.directory_rules import directory_rules
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.storage.records import Actor, IdentityRecord
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values.identity import IdentityKind

OPERATOR = Actor(id="operator:test")

MANIFEST = """\
name: people
schema_version: 1
object_types:
  folder: {actions: [read, update, impersonate], description: A folder.}
"""

CHIEF = """\
  CHIEF:
    assigned: company
    grants: [{object: folder, actions: [update]}]
"""
ROLES = f"""\
roles:
  CLERK:
    assigned: company
    grants: [{{object: folder, actions: [read]}}]
  BOSS:
    assigned: platform
    grants: [{{object: folder, actions: [read, update]}}]
{CHIEF}flags:
  may_update:
    roles: [CHIEF]
    object: folder
    actions: [update]
"""
WITHOUT_CHIEF = ROLES.partition("  CHIEF:")[0]


def write_policies(folder: Path, roles: str = ROLES) -> Path:
    """A bundle of these roles in `folder`."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "model.conf").write_text(EXTENDED)
    (folder / "manifest.yaml").write_text(MANIFEST)
    (folder / "roles.yaml").write_text(roles)
    return folder


def people(store: Store, policies: Path) -> IdentityAdministration:
    """Administration by the rules of the bundle in `policies`."""
    bundle = load_bundle(policies).bundle
    assert bundle is not None
    view = PolicyView(directory_rules(bundle))
    return IdentityAdministration(store, lambda: view)


def add(
    administration: IdentityAdministration, id: str, *roles: str, company: str = "acme", program: bool = False
) -> None:
    """Make an identity that holds roles."""
    kind = IdentityKind.SERVICE_ACCOUNT if program else IdentityKind.USER
    administration.create_identity(OPERATOR, IdentityRecord(id=id, kind=kind, company=company, name=id), roles)
