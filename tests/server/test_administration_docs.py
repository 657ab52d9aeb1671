"""The page on administration says what is."""

import re
from pathlib import Path

from authz_sidecar._proto.authz.v1 import (
    audit_service_pb2,
    credential_service_pb2,
    directory_service_pb2,
    policy_service_pb2,
)
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values.identity import Identity, IdentityKind, RoleSet
from authz_sidecar.values.request import Request
from tests.server.administered import snapshot_of

PAGE = (Path(__file__).parents[2] / "docs" / "administration.md").read_text()
FILES = (audit_service_pb2, credential_service_pb2, directory_service_pb2, policy_service_pb2)


def test_the_roles_of_the_page_load_and_do_what_it_says() -> None:
    """The YAML can be copied: its first role may do everything of administration, its second no more than it says."""
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    decider = Decider(snapshot_of(block[1]))

    def may(role: str, company: str, type: str, id: str, action: str) -> bool:
        identity = Identity("ann", IdentityKind.USER, company, roles=RoleSet({company: (role,)}))
        request = Request("ann", action, type, id, company, "", f"{type}:{id}", identity=identity)
        return decider.decide(request).allowed

    for type, actions in OWN_TYPES.items():
        assert all(may("DIRECTORY_ADMIN", "", type, "x", action) for action in actions)
    assert may("COMPANY_ADMIN", "acme", "sidecar.assignment", "MEMBER", "create")
    assert not may("COMPANY_ADMIN", "acme", "sidecar.assignment", "COMPANY_ADMIN", "create")
    assert not may("MEMBER", "acme", "sidecar.identity", "x", "read")


def test_every_method_is_on_the_page() -> None:
    """With the object types and actions that the sidecar has, and no others."""
    methods = {
        method.name
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    table = PAGE.split("## Methods")[1].split("## Roles for it")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])}
    assert told == methods
    asked = {(type, action) for row in rows for type, action in re.findall(r"`(sidecar\.\w+):(\w+)`", row)}
    assert asked == {(type, action) for type, actions in OWN_TYPES.items() for action in actions}
