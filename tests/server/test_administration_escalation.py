"""How somebody who may administer one company might get at more than that, and does not."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar.bundle.files import BundleFiles
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.storage.records import AssignmentRecord, IdentityRecord, ShareRecord
from authz_sidecar.engine.holdings import assigned_places
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import MANIFEST, OPERATOR, ROLES, Administered, administered, snapshot_of
from tests.server.sidecar import failure_of

DENIED = grpc.StatusCode.PERMISSION_DENIED
USER = record.IDENTITY_KIND_USER
SUSPENDED = """\
identities:
  default_role: NO_ACCESS
"""
GIVEN = """\
  TELLER:
    description: Reads who there is.
    assigned: company
    grants:
      - {object: sidecar.identity, actions: [read]}
  NO_ACCESS:
    description: Nothing.
    assigned: platform
    kind: sole
    grants: []
  GRANTOR:
    description: Grants what is not about who is who.
    assigned: company
    grants:
      - {object: sidecar.grant, actions: [create, delete]}
      - {object: sidecar.grant, id: sidecar.assignment, actions: [create, delete], effect: deny}
  SHARER:
    description: Grants everything, and lets programs act for people on all but folders.
    assigned: company
    grants:
      - {object: sidecar.grant, actions: [create, delete]}
      - {object: sidecar.share, actions: [impersonate]}
      - {object: sidecar.share, id: folder, actions: [impersonate], effect: deny}
assignments:
  - {subject: of-the-platform, roles: [AUDITOR]}
  - {subject: of-acme, roles: [MEMBER], company: acme}
  - subject: with-a-grant
    company: globex
    grants:
      - {object: folder, actions: [update]}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    """A server whose policy assigns something to names that are no identities yet."""
    with administered(tmp_path_factory.mktemp("escalation")) as running:
        running.take(snapshot_of(ROLES + GIVEN, MANIFEST + SUSPENDED), "sha256:given")
        yield running


@pytest.fixture(scope="module")
def admin(server: Administered) -> str:
    """The credential of an administrator of acme."""
    return server.person("acme-admin", "acme", "COMPANY_ADMIN")


def create(server: Administered, secret: str, id: str, **more: Any) -> Any:
    """Make a user of acme."""
    message = directory.CreateIdentityRequest(identity=record.Identity(id=id, kind=USER, company="acme"), **more)
    return server.directory.CreateIdentity(message, metadata=server.call(secret), timeout=20)


def create_key(server: Administered, secret: str, id: str) -> Any:
    """Make a key for an identity."""
    message = credential.CreateKeyRequest(identity=id, name="mine")
    return server.keys.CreateKey(message, metadata=server.call(secret), timeout=20)


@pytest.mark.parametrize("id", ["of-the-platform", "with-a-grant"])
def test_a_name_to_which_the_policy_gives_more_is_not_to_be_taken(server: Administered, admin: str, id: str) -> None:
    """Who administers acme alone makes no identity of a name that the policy gives something elsewhere, not even one
    that is switched off; who administers all of it does, and no key of it is made from acme then."""
    assert failure_of(lambda: create(server, admin, id)).code is DENIED
    assert failure_of(lambda: create(server, admin, id, inactive=True)).code is DENIED
    create(server, server.root, id)
    assert failure_of(lambda: create_key(server, admin, id)).code is DENIED
    assert create_key(server, server.root, id).secret


def test_a_name_to_which_the_policy_gives_something_in_the_company_is_the_companys(
    server: Administered, admin: str
) -> None:
    """What the policy assigns in acme is for the administrator of acme to hand out."""
    create(server, admin, "of-acme")
    assert create_key(server, admin, "of-acme").secret


def test_the_default_role_and_what_is_over_hold_nothing_back(server: Administered, admin: str) -> None:
    """Somebody who holds the default role of the platform, or held another until lately, is given keys in acme."""
    create(server, admin, "new")
    now = server.identities.clock()
    earlier = IdentityAdministration(
        server.store, server.policy, clock=lambda: now - 100.0, after=server.follower.catch_up
    )
    over = AssignmentRecord(identity="new", role="AUDITOR", expires_at=now - 50.0)
    to_come = AssignmentRecord(identity="new", role="AUDITOR", begins_at=now + 3600.0)
    earlier.create_assignment(OPERATOR, over)
    assert create_key(server, admin, "new").secret
    server.identities.create_assignment(OPERATOR, to_come)
    assert failure_of(lambda: create_key(server, admin, "new")).code is DENIED


def test_a_key_is_switched_on_only_by_who_might_make_it(server: Administered, admin: str) -> None:
    """Whoever kept a key of somebody who has risen to the platform since does not switch it on again; switching it off
    needs the company alone."""
    server.person("risen", "acme", "MEMBER")
    issued = create_key(server, admin, "risen").key
    server.assign("risen", "AUDITOR", "")

    def switch(secret: str, on: bool) -> Any:
        message = credential.UpdateKeyRequest(
            key=credential.ApiKey(id=issued.id, active=on), update_mask=field_mask_pb2.FieldMask(paths=["active"])
        )
        return server.keys.UpdateKey(message, metadata=server.call(secret), timeout=20).key

    assert switch(admin, False).active is False
    assert failure_of(lambda: switch(admin, True)).code is DENIED
    assert switch(server.root, True).active is True


def test_a_suspension_is_lifted_only_by_who_may_take_it_away(server: Administered, admin: str) -> None:
    """Assigning a role that one may assign does not lift the role that stands alone where that was given by hand."""
    server.person("suspended", "acme")
    server.assign("suspended", "NO_ACCESS", "")
    message = directory.CreateRoleAssignmentRequest(
        assignment=record.RoleAssignment(identity="suspended", role="MEMBER", company="acme")
    )

    def assign(secret: str) -> Any:
        return server.directory.CreateRoleAssignment(message, metadata=server.call(secret), timeout=20)

    assert failure_of(lambda: assign(admin)).code is DENIED
    assert assign(server.root).assignment.role == "MEMBER"


def test_all_types_are_granted_only_by_who_may_grant_each(server: Administered) -> None:
    """A grant on all object types is made and taken away only by whom the policy refuses that on none of them."""
    grantor = server.person("grantor", "acme", "GRANTOR")
    server.person("granted", "acme", "MEMBER")

    def grant(secret: str, type: str) -> Any:
        made = record.IdentityGrant(
            identity="granted", company="acme", object_type=type, actions=["read"], justification="a test"
        )
        message = directory.CreateIdentityGrantRequest(grant=made)
        return server.directory.CreateIdentityGrant(message, metadata=server.call(secret), timeout=20)

    assert grant(grantor, "folder").grant.id
    assert failure_of(lambda: grant(grantor, "sidecar.assignment")).code is DENIED
    assert failure_of(lambda: grant(grantor, "*")).code is DENIED
    made = directory.DeleteIdentityGrantRequest(id=grant(server.root, "*").grant.id)

    def take_away(secret: str) -> Any:
        return server.directory.DeleteIdentityGrant(made, metadata=server.call(secret), timeout=20)

    assert failure_of(lambda: take_away(grantor)).code is DENIED
    assert take_away(server.root).directory_revision


def test_impersonation_on_all_types_takes_the_right_to_each(server: Administered) -> None:
    """Who may not let programs act for people on folders does it neither by naming all types, nor by taking away what
    denies programs everything there."""
    sharer = server.person("sharer", "acme", "SHARER")
    for id, kind in (("program", IdentityKind.SERVICE_ACCOUNT), ("person", IdentityKind.USER)):
        server.person(id, "acme", "MEMBER", kind=kind)

    def grant(secret: str, type: str, action: str, effect: str = "allow", identity: str = "program") -> Any:
        made = record.IdentityGrant(
            identity=identity, company="acme", object_type=type, actions=[action], effect=effect, justification="a test"
        )
        message = directory.CreateIdentityGrantRequest(grant=made)
        return server.directory.CreateIdentityGrant(message, metadata=server.call(secret), timeout=20).grant.id

    def take_away(secret: str, id: str) -> Any:
        message = directory.DeleteIdentityGrantRequest(id=id)
        return server.directory.DeleteIdentityGrant(message, metadata=server.call(secret), timeout=20)

    assert grant(sharer, "sidecar.share", "impersonate")
    assert failure_of(lambda: grant(sharer, "*", "impersonate")).code is DENIED
    assert grant(server.root, "*", "impersonate")
    for type in ("folder", "*"):
        denied = grant(sharer, type, "*", "deny")
        assert failure_of(lambda: take_away(sharer, denied)).code is DENIED  # noqa: B023 - called here
        assert take_away(server.root, denied)
    assert take_away(sharer, grant(sharer, "folder", "*", "deny", "person"))


@pytest.fixture
def between(server: Administered, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """`between(operation, what)`: something happens once, after the policy was asked and before the operation."""

    def arrange(operation: str, what: Callable[[], Any]) -> None:
        owner: Any = server.credentials if hasattr(server.credentials, operation) else server.identities
        real = getattr(owner, operation)

        def first(*arguments: Any, **more: Any) -> Any:
            monkeypatch.setattr(owner, operation, real)
            what()
            return real(*arguments, **more)

        monkeypatch.setattr(owner, operation, first)

    return arrange


def test_no_key_is_made_for_who_rises_meanwhile(
    server: Administered, admin: str, between: Callable[[str, Callable[[], Any]], None]
) -> None:
    """A role of the platform that is assigned between the question to the policy and the making of a key counts."""
    server.person("rising", "acme", "MEMBER")
    between("create_key", lambda: server.assign("rising", "AUDITOR", ""))
    assert failure_of(lambda: create_key(server, admin, "rising")).code is DENIED


def test_no_key_is_made_for_another_of_the_same_name(
    server: Administered, admin: str, between: Callable[[str, Callable[[], Any]], None]
) -> None:
    """An identity that was removed and made again in another company meanwhile is that company's."""

    def elsewhere() -> None:
        server.identities.delete_identity(OPERATOR, "moved")
        server.identities.create_identity(
            OPERATOR, IdentityRecord(id="moved", kind=IdentityKind.USER, company="globex")
        )

    server.person("moved", "acme", "MEMBER")
    between("create_key", elsewhere)
    assert failure_of(lambda: create_key(server, admin, "moved")).code is DENIED
    server.person("removed", "acme", "MEMBER")
    message = directory.DeleteIdentityRequest(id="moved")
    assert failure_of(lambda: server.directory.DeleteIdentity(message, metadata=server.call(admin))).code is DENIED


def test_a_role_that_is_given_meanwhile_is_not_replaced_unasked(
    server: Administered, admin: str, between: Callable[[str, Callable[[], Any]], None]
) -> None:
    """Replacing takes away no role that nobody asked the policy about."""
    server.person("replaced", "acme", "MEMBER")
    between("create_assignment", lambda: server.assign("replaced", "AUDITOR", ""))
    message = directory.CreateRoleAssignmentRequest(
        assignment=record.RoleAssignment(identity="replaced", role="READER", company="acme"), replace=True
    )
    call = server.call(admin)
    # Arranged first, so that it is the one below that it comes between.
    assert failure_of(lambda: server.directory.CreateRoleAssignment(message, metadata=call)).code is DENIED
    held = {one.role for one in server.identities.list_assignments(identity="replaced").records}
    assert held == {"MEMBER", "AUDITOR"}


def test_impersonation_that_is_switched_off_meanwhile_stays_off(
    server: Administered, admin: str, between: Callable[[str, Callable[[], Any]], None]
) -> None:
    """An update that would have left impersonation on does not switch it on again."""
    server.person("robot", "acme", "MEMBER", kind=IdentityKind.SERVICE_ACCOUNT)
    share = server.identities.create_share(
        OPERATOR,
        ShareRecord(
            identity="robot", company="acme", object_type="folder", object_id="1", actions=("read",), impersonation=True
        ),
    ).record

    def off() -> None:
        server.identities.update_share(OPERATOR, share.id, {"impersonation": False})

    between("update_share", off)
    message = directory.UpdateShareRequest(
        share=record.Share(id=share.id, impersonation=True),
        update_mask=field_mask_pb2.FieldMask(paths=["impersonation"]),
    )
    assert failure_of(lambda: server.directory.UpdateShare(message, metadata=server.call(admin))).code is DENIED
    assert server.identities.get_share(share.id).impersonation is False


def test_what_goes_on_changing_is_told_as_that(
    server: Administered, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of an identity that others change each time is given up in the end, ABORTED, and nothing is done."""
    server.person("busy", "acme", "MEMBER")
    real = server.credentials.create_key
    asked = []

    def busy(*arguments: Any, **more: Any) -> Any:
        asked.append(1)
        server.identities.update_identity(OPERATOR, "busy", {"description": str(len(asked))})
        return real(*arguments, **more)

    monkeypatch.setattr(server.credentials, "create_key", busy)
    failure = failure_of(lambda: create_key(server, admin, "busy"))
    assert (failure.code, len(asked)) == (grpc.StatusCode.ABORTED, 5)
    assert [key.name for key in server.credentials.list_keys(identity="busy").records] == ["test"]


def test_what_a_removed_caller_asked_is_not_their_namesakes(server: Administered) -> None:
    """Under an idempotency key of somebody who was removed, somebody else of the same name asks anew."""

    def ask(secret: str, id: str) -> str:
        made: str = create(server, secret, id, idempotency_key="first").identity.id
        return made

    assert ask(server.person("chief", "acme", "COMPANY_ADMIN"), "asked-1") == "asked-1"
    server.identities.delete_identity(OPERATOR, "chief")
    assert ask(server.person("chief", "acme", "COMPANY_ADMIN"), "asked-2") == "asked-2"


def test_a_list_by_role_tells_no_roles_that_the_caller_may_not_read(server: Administered, admin: str) -> None:
    """Who holds a role is told where the caller may read assignments: not on the platform or elsewhere, and not at all
    to who may read none."""
    server.person("two-roles", "acme", "MEMBER", "AUDITOR")
    server.assign("two-roles", "READER", "globex")
    teller = server.person("teller", "acme", "TELLER")

    def listed(secret: str, role: str) -> set[str]:
        message = directory.ListIdentitiesRequest(role=role, prefix="two-roles")
        answer = server.directory.ListIdentities(message, metadata=server.call(secret), timeout=20)
        return {identity.id for identity in answer.identities}

    assert [listed(server.root, role) for role in ("MEMBER", "AUDITOR", "READER")] == [{"two-roles"}] * 3
    assert [listed(admin, role) for role in ("MEMBER", "AUDITOR", "READER")] == [{"two-roles"}, set(), set()]
    assert failure_of(lambda: listed(teller, "MEMBER")).code is DENIED


PLAIN_MODEL = """\
[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && keyMatch(r.obj, p.obj) && r.act == p.act
"""
PLAIN_ROWS = """\
p, admin, acme, sidecar.identity:*, create
p, admin, acme, sidecar.assignment:clerk, create
p, admin, acme, sidecar.credential:*, create
p, clerk, acme, folder:*, read
p, chief, acme, folder:*, update
p, robot, globex, folder:*, update
"""


def plain(model: str, rows: str) -> Snapshot:
    """The snapshot of a plain Casbin bundle."""
    files = {"model.conf": model.encode(), "policy.csv": rows.encode()}
    bundle, findings = parse_bundle(BundleFiles(files, "plain"), "plain")
    assert bundle is not None, findings
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    return snapshot


def test_nobody_is_called_like_a_role_that_they_could_not_be_given(tmp_path: Path) -> None:
    """In a plain Casbin bundle, where whoever is called like a role has its rights, an identity of that name is made by
    who may assign the role."""
    with administered(tmp_path) as server:
        server.take(plain(PLAIN_MODEL, PLAIN_ROWS), "sha256:plain")
        secret = server.person("acme-admin", "acme", "admin")
        create(server, secret, "ann")
        create(server, secret, "clerk")
        for name in ("chief", "admin", "robot"):
            assert failure_of(partial(create, server, secret, name)).code is DENIED


def test_places_of_plain_casbin_bundles_are_the_domains_of_rules_and_links() -> None:
    """What a plain bundle gives a name counts in the domains of its links and of its own rules, and everywhere where
    rules have none."""
    rows = "p, ann, acme, x, read\np, clerk, globex, x, read\ng, ann, clerk, initech\n"
    snapshot = plain(PLAIN_MODEL, rows)
    assert assigned_places(snapshot, "ann") == {"acme", "initech"}
    assert assigned_places(snapshot, "bob") == set()
    flat = PLAIN_MODEL.replace(" dom,", "").replace("_, _, _", "_, _").replace(", r.dom)", ")")
    flat = flat.replace("r.dom == p.dom && ", "")
    assert assigned_places(plain(flat, "p, ann, x, read\n"), "ann") == {""}
