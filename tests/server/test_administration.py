"""Every method of administration needs a credential and is decided by the policy, by the name of its action."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar._proto.authz.v1 import policy_service_pb2 as policy
from authz_sidecar.directory.storage.records import AssignmentRecord, GrantRecord, ShareRecord
from authz_sidecar.transports.grpc.administration.guard import NEEDED
from authz_sidecar.values.identity import IdentityKind
from tests.server.administered import OPERATOR, Administered, administered, snapshot_of
from tests.server.sidecar import Failure, failure_of

_numbers = itertools.count(1)
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    """One server for all tests of this module, each of which makes identities of its own."""
    with administered(tmp_path_factory.mktemp("administration")) as running:
        yield running


def name(what: str) -> str:
    """A name that no other test has."""
    return f"{what}-{next(_numbers)}"


def member(server: Administered) -> str:
    """The id of a new member of acme."""
    id = name("member")
    server.person(id, "acme", "MEMBER")
    return id


def program(server: Administered) -> str:
    """The id of a new service account of acme."""
    id = name("program")
    server.person(id, "acme", "MEMBER", kind=IdentityKind.SERVICE_ACCOUNT)
    return id


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    """An update mask."""
    return field_mask_pb2.FieldMask(paths=paths)


def assignment(server: Administered) -> str:
    """The id of a new assignment of READER."""
    made = server.identities.create_assignment(
        OPERATOR, AssignmentRecord(identity=member(server), role="READER", company="acme")
    )
    id: str = made.record.id
    return id


def grant(server: Administered) -> str:
    """The id of a new grant."""
    made = server.identities.create_grant(
        OPERATOR,
        GrantRecord(identity=member(server), company="acme", object_type="folder", actions=("update",)),
    )
    id: str = made.record.id
    return id


def share(server: Administered) -> str:
    """The id of a new share."""
    made = server.identities.create_share(
        OPERATOR,
        ShareRecord(identity=program(server), company="acme", object_type="folder", object_id="7", actions=("update",)),
    )
    id: str = made.record.id
    return id


def key(server: Administered) -> str:
    """The id of a new key."""
    id: str = server.credentials.create_key(OPERATOR, member(server), "another").record.record.id
    return id


class Case(NamedTuple):
    """A method, what to ask of it, and all that the policy has to allow for that: object types and actions."""

    service: str
    method: str
    ask: Callable[[Administered], Message]
    needs: tuple[tuple[str, str], ...]


def new_share(server: Administered, **more: Any) -> record.Share:
    """A share to make."""
    return record.Share(identity=program(server), company="acme", object_type="folder", object_id="1", **more)


CASES = [
    Case(
        "directory",
        "CreateIdentity",
        lambda _: directory.CreateIdentityRequest(
            identity=record.Identity(id=name("new"), kind=record.IDENTITY_KIND_USER, company="acme")
        ),
        (("sidecar.identity", "create"),),
    ),
    Case(
        "directory",
        "CreateIdentity",
        lambda _: directory.CreateIdentityRequest(
            identity=record.Identity(id=name("new"), kind=record.IDENTITY_KIND_USER, company="acme"), roles=["READER"]
        ),
        (("sidecar.identity", "create"), ("sidecar.assignment", "create")),
    ),
    Case(
        "directory",
        "GetIdentity",
        lambda server: directory.GetIdentityRequest(id=member(server)),
        (("sidecar.identity", "read"),),
    ),
    Case(
        "directory",
        "ListIdentities",
        lambda _: directory.ListIdentitiesRequest(),
        (("sidecar.identity", "read"),),
    ),
    Case(
        "directory",
        "UpdateIdentity",
        lambda server: directory.UpdateIdentityRequest(
            identity=record.Identity(id=member(server), active=False), update_mask=mask("active")
        ),
        (("sidecar.identity", "update"),),
    ),
    Case(
        "directory",
        "DeleteIdentity",
        lambda server: directory.DeleteIdentityRequest(id=member(server)),
        (("sidecar.identity", "delete"),),
    ),
    Case(
        "directory",
        "CreateRoleAssignment",
        lambda server: directory.CreateRoleAssignmentRequest(
            assignment=record.RoleAssignment(identity=member(server), role="READER", company="acme")
        ),
        (("sidecar.assignment", "create"),),
    ),
    Case(
        "directory",
        "CreateRoleAssignment",
        lambda server: directory.CreateRoleAssignmentRequest(
            assignment=record.RoleAssignment(identity=member(server), role="READER", company="acme"), replace=True
        ),
        (("sidecar.assignment", "create"), ("sidecar.assignment", "delete")),
    ),
    Case(
        "directory",
        "ListRoleAssignments",
        lambda _: directory.ListRoleAssignmentsRequest(),
        (("sidecar.assignment", "read"),),
    ),
    Case(
        "directory",
        "DeleteRoleAssignment",
        lambda server: directory.DeleteRoleAssignmentRequest(id=assignment(server)),
        (("sidecar.assignment", "delete"),),
    ),
    Case(
        "directory",
        "CreateIdentityGrant",
        lambda server: directory.CreateIdentityGrantRequest(
            grant=record.IdentityGrant(
                identity=member(server), company="acme", object_type="folder", actions=["update"]
            )
        ),
        (("sidecar.grant", "create"),),
    ),
    Case(
        "directory",
        "ListIdentityGrants",
        lambda _: directory.ListIdentityGrantsRequest(),
        (("sidecar.grant", "read"),),
    ),
    Case(
        "directory",
        "DeleteIdentityGrant",
        lambda server: directory.DeleteIdentityGrantRequest(id=grant(server)),
        (("sidecar.grant", "delete"),),
    ),
    Case(
        "directory",
        "CreateShare",
        lambda server: directory.CreateShareRequest(share=new_share(server, actions=["read"])),
        (("sidecar.share", "create"),),
    ),
    Case(
        "directory",
        "CreateShare",
        lambda server: directory.CreateShareRequest(share=new_share(server, impersonation=True)),
        (("sidecar.share", "create"), ("sidecar.share", "impersonate")),
    ),
    Case("directory", "ListShares", lambda _: directory.ListSharesRequest(), (("sidecar.share", "read"),)),
    Case(
        "directory",
        "UpdateShare",
        lambda server: directory.UpdateShareRequest(
            share=record.Share(id=share(server), actions=["read"]), update_mask=mask("actions")
        ),
        (("sidecar.share", "update"),),
    ),
    Case(
        "directory",
        "UpdateShare",
        lambda server: directory.UpdateShareRequest(
            share=record.Share(id=share(server), impersonation=True), update_mask=mask("impersonation")
        ),
        (("sidecar.share", "update"), ("sidecar.share", "impersonate")),
    ),
    Case(
        "directory",
        "DeleteShare",
        lambda server: directory.DeleteShareRequest(id=share(server)),
        (("sidecar.share", "delete"),),
    ),
    Case(
        "keys",
        "CreateKey",
        lambda server: credential.CreateKeyRequest(identity=member(server), name="laptop"),
        (("sidecar.credential", "create"),),
    ),
    Case("keys", "GetKey", lambda server: credential.GetKeyRequest(id=key(server)), (("sidecar.credential", "read"),)),
    Case("keys", "ListKeys", lambda _: credential.ListKeysRequest(), (("sidecar.credential", "read"),)),
    Case(
        "keys",
        "UpdateKey",
        lambda server: credential.UpdateKeyRequest(
            key=credential.ApiKey(id=key(server), name="renamed"), update_mask=mask("name")
        ),
        (("sidecar.credential", "update"),),
    ),
    Case(
        "keys",
        "RotateKey",
        lambda server: credential.RotateKeyRequest(id=key(server)),
        (("sidecar.credential", "rotate"),),
    ),
    Case(
        "keys",
        "RevokeKey",
        lambda server: credential.RevokeKeyRequest(id=key(server)),
        (("sidecar.credential", "revoke"),),
    ),
    Case(
        "keys",
        "SetPassword",
        lambda server: credential.SetPasswordRequest(identity=member(server), password=PASSWORD),
        (("sidecar.credential", "set_password"),),
    ),
    Case(
        "keys",
        "CreateToken",
        lambda server: credential.CreateTokenRequest(identity=member(server)),
        (("sidecar.token", "create"),),
    ),
    Case(
        "keys",
        "ListTokens",
        lambda server: credential.ListTokensRequest(identity=member(server)),
        (("sidecar.token", "read"),),
    ),
    Case(
        "keys",
        "RevokeTokens",
        lambda server: credential.RevokeTokensRequest(identity=member(server)),
        (("sidecar.token", "revoke"),),
    ),
    Case("policies", "Refresh", lambda _: policy.RefreshRequest(), (("sidecar.policy", "refresh"),)),
    Case("policies", "GetActivePolicy", lambda _: policy.GetActivePolicyRequest(), (("sidecar.policy", "read"),)),
    Case(
        "policies",
        "ListPolicyVersions",
        lambda _: policy.ListPolicyVersionsRequest(),
        (("sidecar.policy", "read"),),
    ),
]
NAMES = [f"{case.method}-{number}" for number, case in enumerate(CASES)]


def ask(server: Administered, case: Case, message: Message, metadata: Any) -> Any:
    """Call the method."""
    return getattr(getattr(server, case.service), case.method)(message, metadata=metadata, timeout=20)


def exactly(*needs: tuple[str, str]) -> str:
    """Roles of a bundle whose role EXACT grants these on the platform, and nothing else."""
    grants = "".join(f"\n      - {{object: {type}, actions: [{action}]}}" for type, action in needs)
    return f"""\
roles:
  EXACT:
    description: What a test needs.
    assigned: platform
    grants:{grants or " []"}
  ROOT:
    description: Administers everything.
    assigned: platform
    grants:
      - {{object: "*", actions: ["*"]}}
  MEMBER:
    description: A member.
    assigned: company
  READER:
    description: A reader.
    assigned: company
"""


@pytest.fixture(scope="module")
def exact(server: Administered) -> Iterator[str]:
    """The credential of somebody who holds the role EXACT alone."""
    server.take(snapshot_of(exactly()), "sha256:exact")
    yield server.person("exact", "", "EXACT")
    server.take(snapshot_of(), "sha256:first")


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_who_shows_no_credential_is_unauthenticated(server: Administered, case: Case) -> None:
    """Without a credential, with a malformed or an unknown one, a call ends in the same words."""
    empty = type(case.ask(server))()
    for metadata in (
        (),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {server.root}"),),
        (("authorization", f"Bearer {server.root}x"),),
        (("authorization", f"Bearer {server.root}"), ("authorization", f"Bearer {server.root}")),
    ):
        failure = failure_of(partial(ask, server, case, empty, metadata))
        assert (failure.code, failure.message) == (grpc.StatusCode.UNAUTHENTICATED, NEEDED)
        assert failure.info.reason == "INVALID_CREDENTIAL"


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_policy_decides_a_method_by_its_names(server: Administered, exact: str, case: Case) -> None:
    """A method needs just what its documentation says: with all of that it is done, without any part it is refused,
    and what is refused names object type and action."""
    server.take(snapshot_of(exactly(*case.needs)), "sha256:exact")
    ask(server, case, case.ask(server), server.call(exact))
    for missing in case.needs:
        server.take(snapshot_of(exactly(*[need for need in case.needs if need != missing])), "sha256:exact")
        message = case.ask(server)
        failure = failure_of(partial(ask, server, case, message, server.call(exact)))
        assert failure.code is grpc.StatusCode.PERMISSION_DENIED
        assert failure.info.reason == "NOT_PERMITTED"
        assert (failure.info.metadata["object_type"], failure.info.metadata["action"]) == missing


def test_every_method_of_administration_is_in_the_table() -> None:
    """No method is left out of the tests above but SignIn, which needs no credential, DiffPolicyVersions, which needs
    a repository, and the audit's."""
    services = (directory.DESCRIPTOR, credential.DESCRIPTOR, policy.DESCRIPTOR)
    methods = {
        method.name for file in services for service in file.services_by_name.values() for method in service.methods
    }
    assert methods - {case.method for case in CASES} == {"SignIn", "DiffPolicyVersions"}


def test_a_changed_policy_changes_who_may_administer_at_once(server: Administered, exact: str) -> None:
    """The call after a reload is decided by the new policy."""
    asked = policy.GetActivePolicyRequest()
    read = partial(server.policies.GetActivePolicy, asked, metadata=server.call(exact), timeout=20)
    server.take(snapshot_of(exactly(("sidecar.policy", "read"))), "sha256:lets")
    assert read().policy_version == "sha256:lets"
    server.take(snapshot_of(exactly()), "sha256:lets-not")
    assert failure_of(read).code is grpc.StatusCode.PERMISSION_DENIED


def refusal(server: Administered, secret: str) -> Failure:
    """How the server refuses this credential."""
    return failure_of(
        lambda: server.directory.GetIdentity(directory.GetIdentityRequest(id="root"), metadata=server.call(secret))
    )


def test_only_who_has_the_right_secret_is_told_what_became_of_it(server: Administered) -> None:
    """A revoked and an expired key, and a key of an inactive identity, are told apart for who has the secret; with
    another secret all of them are invalid."""
    id = name("told")
    secret = server.person(id, "acme", "MEMBER")
    expiring = server.credentials.create_key(OPERATOR, id, "short", expires_at=time.time() + 0.2).record
    revoked = server.credentials.create_key(OPERATOR, id, "revoked").record
    server.credentials.revoke_key(OPERATOR, revoked.record.id)
    off = server.credentials.create_key(OPERATOR, id, "off").record
    server.credentials.update_key(OPERATOR, off.record.id, {"active": False})
    assert refusal(server, revoked.secret).info.reason == "CREDENTIAL_REVOKED"
    assert refusal(server, off.secret).info.reason == "CREDENTIAL_INACTIVE"
    while refusal(server, expiring.secret).info.reason == "NOT_PERMITTED":
        pass
    assert refusal(server, expiring.secret).info.reason == "CREDENTIAL_EXPIRED"
    server.identities.update_identity(OPERATOR, id, {"active": False})
    assert refusal(server, secret).info.reason == "INACTIVE_CALLER"
    for text in (secret, revoked.secret, off.secret, expiring.secret):
        other = f"{text[:30]}{'a' if text[30] != 'a' else 'b'}{text[31:]}"
        failure = refusal(server, other)
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIAL")


def test_no_refusal_repeats_a_credential(server: Administered) -> None:
    """Neither the secret nor any part of the credential comes back in an error."""
    secret = server.person(name("quiet"), "acme", "MEMBER")
    for text in (secret, secret[:-1] + "x"):
        failure = failure_of(
            partial(server.directory.GetIdentity, directory.GetIdentityRequest(id="root"), metadata=server.call(text))
        )
        told = failure.message + str(failure.status)
        assert not [part for part in text.split("_")[1:] if part in told]


def test_a_stale_directory_answers_nobody(server: Administered) -> None:
    """Where the directory has not been seen for too long, a call is UNAVAILABLE and may be tried again."""
    server.copy.max_staleness, seen = 1.0, server.copy.seen_at
    try:
        # Nobody looks by themselves here: a copy is brought forward by those who write.
        server.copy.see(time.monotonic() - 10)
        failure = refusal(server, server.root)
    finally:
        server.copy.max_staleness = 0.0
        server.copy.see(seen)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STALE_DIRECTORY")
    assert failure.retry_after
