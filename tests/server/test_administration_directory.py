"""DirectoryService: who may administer whom, and how records are made, read, changed and removed."""

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2, struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1 import identity_pb2 as record
from authz_sidecar.directory.storage.records import AssignmentRecord
from authz_sidecar.transports.grpc.administration.conversion import asked as asked_of
from authz_sidecar.transports.grpc.administration.page_tokens import PageTokens
from tests.server.administered import MANIFEST, OPERATOR, ROLES, Administered, administered, snapshot_of
from tests.server.sidecar import Failure, failure_of

USER = record.IDENTITY_KIND_USER
DENIED = grpc.StatusCode.PERMISSION_DENIED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PASSWORD = "correct horse battery"
NO_TOKEN = "?"
LEVEL = struct_pb2.Struct(fields={"level": struct_pb2.Value(number_value=9)})
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    """One server for all tests of this module, each of which makes identities of its own."""
    with administered(tmp_path_factory.mktemp("directory")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Administered) -> str:
    """The credential of an administrator of acme."""
    return server.person("acme-admin", "acme", "COMPANY_ADMIN")


def name(what: str) -> str:
    """A name that no other test has."""
    return f"{what}-{next(_numbers)}"


def member(server: Administered, company: str = "acme") -> str:
    """The id of a new member of a company."""
    id = name("member")
    server.person(id, company, "MEMBER")
    return id


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    """An update mask."""
    return field_mask_pb2.FieldMask(paths=paths)


def create(server: Administered, secret: str, id: str, company: str = "acme", **more: Any) -> Any:
    """Make a user."""
    identity = record.Identity(id=id, kind=USER, company=company)
    message = directory.CreateIdentityRequest(identity=identity, **more)
    return server.directory.CreateIdentity(message, metadata=server.call(secret), timeout=20)


def get(server: Administered, secret: str, id: str) -> record.Identity:
    """Read an identity."""
    message = directory.GetIdentityRequest(id=id)
    found: record.Identity = server.directory.GetIdentity(message, metadata=server.call(secret), timeout=20).identity
    return found


def update(server: Administered, secret: str, identity: record.Identity, *paths: str, **more: Any) -> record.Identity:
    """Change an identity."""
    message = directory.UpdateIdentityRequest(identity=identity, update_mask=mask(*paths), **more)
    answer = server.directory.UpdateIdentity(message, metadata=server.call(secret), timeout=20)
    changed: record.Identity = answer.identity
    return changed


def delete(server: Administered, secret: str, id: str, **more: Any) -> Any:
    """Remove an identity."""
    message = directory.DeleteIdentityRequest(id=id, **more)
    return server.directory.DeleteIdentity(message, metadata=server.call(secret), timeout=20)


def assign(server: Administered, secret: str, identity: str, role: str, company: str = "acme", **more: Any) -> Any:
    """Assign a role."""
    assignment = record.RoleAssignment(identity=identity, role=role, company=company)
    message = directory.CreateRoleAssignmentRequest(assignment=assignment, **more)
    return server.directory.CreateRoleAssignment(message, metadata=server.call(secret), timeout=20)


def grant(server: Administered, secret: str, identity: str, company: str = "acme", **more: Any) -> Any:
    """Grant something to an identity."""
    made = record.IdentityGrant(
        identity=identity, company=company, **({"object_type": "folder", "actions": ["read"]} | more)
    )
    message = directory.CreateIdentityGrantRequest(grant=made)
    return server.directory.CreateIdentityGrant(message, metadata=server.call(secret), timeout=20)


def told(failure: Failure) -> tuple[Any, ...]:
    """All that a caller learns from an error."""
    return failure.code, failure.message, failure.info.reason, dict(failure.info.metadata), failure.violations


# --- who may do what to whom


def test_a_company_admin_administers_the_company(server: Administered, admin: str) -> None:
    """Identities of acme are made, read, changed and removed by its administrator."""
    id = name("ann")
    made = create(server, admin, id, roles=["MEMBER"]).identity
    assert (made.id, made.company, made.active, made.created_by) == (id, "acme", True, "acme-admin")
    assert update(server, admin, record.Identity(id=id, name="Ann"), "name").name == "Ann"
    assert get(server, admin, id).name == "Ann"
    delete(server, admin, id)
    assert failure_of(lambda: get(server, server.root, id)).code is grpc.StatusCode.NOT_FOUND


def test_a_company_admin_does_not_touch_another_company(server: Administered, admin: str) -> None:
    """Whatever is of another company, or of none, is out of reach: it is neither made, read, changed nor removed."""
    for company in ("globex", ""):
        there = name("there")
        server.person(there, company)
        for call in (
            lambda company=company: create(server, admin, name("new"), company),
            lambda there=there: get(server, admin, there),
            lambda there=there: update(server, admin, record.Identity(id=there, name="x"), "name"),
            lambda there=there: delete(server, admin, there),
            lambda there=there: assign(server, admin, there, "MEMBER", "globex"),
            lambda there=there: grant(server, admin, there, "globex"),
            lambda there=there: server.directory.CreateShare(
                directory.CreateShareRequest(
                    share=record.Share(
                        identity=there, company="globex", object_type="folder", object_id="1", actions=["read"]
                    )
                ),
                metadata=server.call(admin),
            ),
            lambda there=there: server.keys.CreateKey(
                credential.CreateKeyRequest(identity=there, name="x"), metadata=server.call(admin)
            ),
        ):
            failure = failure_of(call)
            assert failure.code is DENIED, failure.message


def test_nobody_learns_whether_there_is_what_they_may_not_read(server: Administered, admin: str) -> None:
    """An identity of another company, its key, its assignment, and what there is not, are answered alike."""
    there = member(server, "globex")
    held = server.identities.list_assignments(identity=there).records[0].id
    key = server.credentials.list_keys(identity=there).records[0].id
    calls: dict[str, Callable[..., Any]] = {
        "get": lambda who, **_: get(server, admin, who),
        "update": lambda who, **_: update(server, admin, record.Identity(id=who, name="x"), "name"),
        "delete": lambda who, **_: delete(server, admin, who),
        "assign here": lambda who, **_: assign(server, admin, who, "MEMBER"),
        "grant here": lambda who, **_: grant(server, admin, who),
        "take away": lambda assignment, **_: server.directory.DeleteRoleAssignment(
            directory.DeleteRoleAssignmentRequest(id=assignment), metadata=server.call(admin)
        ),
        "get key": lambda key, **_: server.keys.GetKey(credential.GetKeyRequest(id=key), metadata=server.call(admin)),
        "list keys": lambda who, **_: server.keys.ListKeys(
            credential.ListKeysRequest(identity=who), metadata=server.call(admin)
        ),
        "list tokens": lambda who, **_: server.keys.ListTokens(
            credential.ListTokensRequest(identity=who), metadata=server.call(admin)
        ),
        "password": lambda who, **_: server.keys.SetPassword(
            credential.SetPasswordRequest(identity=who, password=PASSWORD), metadata=server.call(admin)
        ),
    }
    for what, call in calls.items():
        existing = failure_of(partial(call, who=there, assignment=held, key=key))
        absent = failure_of(partial(call, who="nobody", assignment="nothing", key="nothing"))
        assert told(existing) == told(absent), what
        assert existing.code is DENIED, what


def test_a_company_admin_does_not_raise_anybody(server: Administered, admin: str) -> None:
    """Roles that the policy does not let the administrator assign, platform roles, and grants of all types, of the
    platform or with its reach, are refused: for others and for the administrator."""
    for id in ("acme-admin", member(server)):
        for call in (
            lambda who=id: assign(server, admin, who, "COMPANY_ADMIN"),
            lambda who=id: assign(server, admin, who, "ROOT", ""),
            lambda who=id: assign(server, admin, who, "ROOT"),
            lambda who=id: grant(server, admin, who, object_type="*", actions=["*"]),
            lambda who=id: grant(server, admin, who, object_type="sidecar.assignment", actions=["create"]),
            lambda who=id: grant(server, admin, who, "", actions=["update"]),
            lambda who=id: grant(server, admin, who, "*", actions=["update"]),
            lambda who=id: grant(server, admin, who, scope="platform", actions=["update"]),
        ):
            failure = failure_of(call)
            assert failure.code is DENIED, failure.message
    failure = failure_of(lambda: create(server, admin, name("new"), roles=["MEMBER", "ROOT"]))
    assert (failure.code, failure.info.metadata["object_type"]) == (DENIED, "sidecar.assignment")


def test_replacing_needs_the_right_to_take_away(server: Administered, admin: str) -> None:
    """An administrator who may assign MEMBER cannot take away ROOT by replacing it; READER they can."""
    id = member(server)
    server.assign(id, "ROOT", "")
    failure = failure_of(lambda: assign(server, admin, id, "READER", replace=True))
    assert (failure.code, failure.info.metadata["action"]) == (DENIED, "delete")
    other = member(server)
    assign(server, admin, other, "READER", replace=True)
    assert [one.role for one in server.identities.list_assignments(identity=other).records] == ["READER"]


def test_a_credential_is_handed_out_only_for_what_its_maker_may_administer(server: Administered, admin: str) -> None:
    """For somebody of acme who also holds something elsewhere its administrator makes no key, token or password, and
    sets no flag or attribute; but ends keys, and switches them off."""
    metadata = server.call(admin)
    for role, company in (("AUDITOR", ""), ("MEMBER", "globex")):
        id = member(server)
        key = server.credentials.list_keys(identity=id).records[0].id
        server.assign(id, role, company)
        for call in (
            lambda who=id: server.keys.CreateKey(
                credential.CreateKeyRequest(identity=who, name="x"), metadata=metadata
            ),
            lambda who=id: server.keys.CreateToken(credential.CreateTokenRequest(identity=who), metadata=metadata),
            lambda who=id: server.keys.SetPassword(
                credential.SetPasswordRequest(identity=who, password=PASSWORD), metadata=metadata
            ),
            lambda key=key: server.keys.RotateKey(credential.RotateKeyRequest(id=key), metadata=metadata),
            lambda who=id: update(server, admin, record.Identity(id=who, attributes=LEVEL), "attributes"),
            lambda who=id: update(server, admin, record.Identity(id=who, active=True), "active"),
        ):
            failure = failure_of(call)
            assert failure.code is DENIED, failure.message
        assert server.keys.RevokeKey(credential.RevokeKeyRequest(id=key), metadata=metadata).key.HasField("revoke_time")
        assert not update(server, admin, record.Identity(id=id), "active").active


def test_people_manage_what_is_their_own(server: Administered) -> None:
    """With grants of scope `own` somebody renames themselves and makes themselves a key; but what decides what they
    may do is not theirs to change, nor are others."""
    id = name("own")
    secret = server.person(id, "acme", "MEMBER")
    assert get(server, secret, id).id == id
    assert update(server, secret, record.Identity(id=id, name="Own"), "name").name == "Own"
    for path in ("active", "attributes", "flags"):
        failure = failure_of(partial(update, server, secret, record.Identity(id=id, attributes=LEVEL), path, "name"))
        assert failure.code is DENIED, path
    made = server.keys.CreateKey(credential.CreateKeyRequest(identity=id, name="mine"), metadata=server.call(secret))
    assert get(server, made.secret, id).id == id
    assert failure_of(lambda: get(server, secret, member(server))).code is DENIED
    listed = server.directory.ListIdentities(directory.ListIdentitiesRequest(), metadata=server.call(secret))
    assert [one.id for one in listed.identities] == [id]


def test_what_is_taken_away_is_gone_at_the_next_call(server: Administered) -> None:
    """An administrator whose role is taken away, or who is switched off, is refused at once."""
    secret = server.person(name("admin"), "acme", "COMPANY_ADMIN")
    id = server.credentials.get_key(secret.split("_")[1]).identity
    get(server, secret, id)
    held = server.identities.list_assignments(identity=id).records[0]
    server.directory.DeleteRoleAssignment(
        directory.DeleteRoleAssignmentRequest(id=held.id), metadata=server.call(server.root)
    )
    assert failure_of(lambda: get(server, secret, id)).code is DENIED
    update(server, server.root, record.Identity(id=id), "active")
    assert failure_of(lambda: get(server, secret, id)).info.reason == "INACTIVE_CALLER"


# --- updates


def test_a_mask_changes_what_it_names_and_nothing_else(server: Administered, admin: str) -> None:
    """Fields that the mask does not name stay, whatever the message says of them."""
    id = member(server)
    update(server, admin, record.Identity(id=id, name="Ann", description="first"), "name", "description")
    changed = update(server, admin, record.Identity(id=id, name="Bea", description="second", active=False), "name")
    assert (changed.name, changed.description, changed.active) == ("Bea", "first", True)


FLAGS = (
    MANIFEST,
    ROLES
    + """\
flags:
  may_read:
    description: Whether it may read folders.
    roles: [MEMBER]
    object: folder
    actions: [read]
  may_update:
    description: Whether it may change folders.
    roles: [MEMBER]
    object: folder
    actions: [update]
""",
)


@pytest.fixture
def flagged(server: Administered) -> Iterator[None]:
    """The policy has two flags."""
    server.take(snapshot_of(FLAGS[1], FLAGS[0]), "sha256:flags")
    yield
    server.take(snapshot_of(), "sha256:first")


@pytest.mark.usefixtures("flagged")
def test_one_flag_is_changed_by_its_path(server: Administered, admin: str) -> None:
    """`flags.NAME` sets one flag and leaves the others; a flag that the message does not have is taken away."""
    id = member(server)
    update(server, admin, record.Identity(id=id, flags={"may_read": True, "may_update": False}), "flags")
    changed = update(server, admin, record.Identity(id=id, flags={"may_read": False}), "flags.may_read")
    assert dict(changed.flags) == {"may_read": False, "may_update": False}
    changed = update(server, admin, record.Identity(id=id), "flags.may_update")
    assert dict(changed.flags) == {"may_read": False}


@pytest.mark.parametrize(
    "paths",
    [(), ("id",), ("company",), ("kind",), ("name", "Name"), ("flags.",), ("attributes.level",), ("flags", "flags.x")],
    ids=str,
)
def test_a_mask_that_cannot_be_is_refused(server: Administered, admin: str, paths: tuple[str, ...]) -> None:
    """An empty mask, an unknown path, a path that never changes, and one inside another are violations of
    `update_mask`, and nothing is changed."""
    id = member(server)
    before = get(server, admin, id)
    failure = failure_of(lambda: update(server, admin, record.Identity(id=id, name="x"), *paths))
    assert (failure.code, failure.info.reason) == (INVALID, "INVALID_REQUEST")
    assert list(failure.violations) == ["update_mask"]
    assert get(server, admin, id) == before


def test_an_etag_guards_against_lost_updates(server: Administered, admin: str) -> None:
    """A change under the etag that was read is done; under that of an older state it is ABORTED and changes nothing."""
    id = member(server)
    read = get(server, admin, id)
    changed = update(server, admin, record.Identity(id=id, name="one", etag=read.etag), "name")
    assert changed.etag != read.etag
    for call in (
        lambda: update(server, admin, record.Identity(id=id, name="two", etag=read.etag), "name"),
        lambda: delete(server, admin, id, etag=read.etag),
    ):
        failure = failure_of(call)
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert get(server, admin, id).name == "one"
    failure = failure_of(lambda: update(server, admin, record.Identity(id=id, etag="x"), "name"))
    assert (failure.code, list(failure.violations)) == (INVALID, ["identity.etag"])


def test_a_share_is_changed_by_its_mask(server: Administered) -> None:
    """`actions`, `impersonation` and `expire_time` of a share change; an unset time takes the end away."""
    id = name("program")
    metadata = server.call(server.root)
    identity = record.Identity(id=id, kind=record.IDENTITY_KIND_SERVICE_ACCOUNT, company="acme")
    server.directory.CreateIdentity(directory.CreateIdentityRequest(identity=identity), metadata=metadata)
    ends = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    share = record.Share(
        identity=id, company="acme", object_type="folder", object_id="7", actions=["read"], expire_time=ends
    )
    made = server.directory.CreateShare(directory.CreateShareRequest(share=share), metadata=metadata).share
    assert made.expire_time == ends
    changed = server.directory.UpdateShare(
        directory.UpdateShareRequest(
            share=record.Share(id=made.id, impersonation=True, etag=made.etag),
            update_mask=mask("impersonation", "expire_time"),
        ),
        metadata=metadata,
    ).share
    assert (list(changed.actions), changed.impersonation, changed.HasField("expire_time")) == (["read"], True, False)


# --- creates


def test_a_create_under_an_idempotency_key_is_done_once(server: Administered, admin: str) -> None:
    """Asked again under the key, the same create gives what the first made; another one is ABORTED."""
    id = name("once")
    first = create(server, admin, id, idempotency_key=id)
    again = create(server, admin, id, idempotency_key=id)
    assert again.identity == first.identity
    failure = failure_of(lambda: create(server, admin, name("other"), idempotency_key=id))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "IDEMPOTENCY_KEY_REUSED")
    failure = failure_of(lambda: create(server, admin, id))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def test_a_dry_run_says_what_would_come_and_changes_nothing(server: Administered, admin: str) -> None:
    """Every kind of change is checked in full, answered, and undone."""
    id = name("dry")
    revision = server.copy.revision
    made = create(server, admin, id, dry_run=True)
    assert (made.identity.id, made.directory_revision) == (id, revision)
    there = member(server)
    revision = server.copy.revision
    assert update(server, admin, record.Identity(id=there, name="x"), "name", dry_run=True).name == "x"
    assert assign(server, admin, there, "READER", dry_run=True).assignment.role == "READER"
    delete(server, admin, there, dry_run=True)
    assert get(server, admin, there).name == ""
    assert server.store.state().revision == revision
    failure = failure_of(lambda: create(server, admin, there, dry_run=True))
    assert failure.code is grpc.StatusCode.ALREADY_EXISTS


def test_all_that_is_invalid_is_told_at_once(server: Administered, admin: str) -> None:
    """A message with several faults is refused with the path of each."""
    message = directory.CreateRoleAssignmentRequest(
        assignment=record.RoleAssignment(
            company="acme",
            expire_time=timestamp_pb2.Timestamp(seconds=-1),
            begin_time=timestamp_pb2.Timestamp(seconds=1, nanos=-1),
        ),
        idempotency_key="x" * 300,
    )
    failure = failure_of(lambda: server.directory.CreateRoleAssignment(message, metadata=server.call(admin)))
    assert failure.code is INVALID
    assert sorted(failure.violations) == [
        "assignment.begin_time",
        "assignment.expire_time",
        "assignment.identity",
        "assignment.role",
        "idempotency_key",
    ]


@pytest.mark.parametrize(
    ("identity", "field"),
    [
        (record.Identity(kind=USER), "identity.id"),
        (record.Identity(id="x"), "identity.kind"),
        (record.Identity(id="x", kind=7), "identity.kind"),  # type: ignore[arg-type]
        (record.Identity(id="role:x", kind=USER), "identity.id"),
        (record.Identity(id="x\n", kind=USER), "identity.id"),
    ],
    ids=str,
)
def test_an_identity_that_cannot_be_is_refused(server: Administered, identity: record.Identity, field: str) -> None:
    """The violation names the path in the message."""
    failure = failure_of(
        lambda: server.directory.CreateIdentity(
            directory.CreateIdentityRequest(identity=identity), metadata=server.call(server.root)
        )
    )
    assert (failure.code, field in failure.violations) == (INVALID, True)


def test_a_role_held_for_a_time_has_its_times(server: Administered, admin: str) -> None:
    """The times of an assignment come back as they were given, to the microsecond."""
    begins = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600, nanos=123_456_000)
    ends = timestamp_pb2.Timestamp(seconds=begins.seconds + 3600, nanos=7_000)
    assignment = record.RoleAssignment(
        identity=member(server), role="READER", company="acme", begin_time=begins, expire_time=ends
    )
    made = server.directory.CreateRoleAssignment(
        directory.CreateRoleAssignmentRequest(assignment=assignment), metadata=server.call(admin)
    ).assignment
    assert (made.begin_time, made.expire_time, made.source) == (begins, ends, "hand")
    assert made.created_by == "acme-admin"


def test_attributes_come_back_as_they_were(server: Administered, admin: str) -> None:
    """Attributes are JSON values of any shape."""
    attributes = struct_pb2.Struct()
    attributes.update({"level": 3, "tags": ["a", None, True], "more": {"x": 0.5}})
    changed = update(server, admin, record.Identity(id=member(server), attributes=attributes), "attributes")
    assert changed.attributes == attributes


LIMITED = """\
identities:
  users: {max: 2}
"""


def test_a_limit_is_named(server: Administered) -> None:
    """Beyond the bundle's number a create is RESOURCE_EXHAUSTED; the quota and the details name the limit."""
    server.take(snapshot_of(manifest=MANIFEST + LIMITED), "sha256:limited")
    try:
        company = name("company")
        for _ in range(2):
            create(server, server.root, name("ann"), company)
        failure = failure_of(lambda: create(server, server.root, name("ann"), company))
    finally:
        server.take(snapshot_of(), "sha256:first")
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert failure.hopeless
    assert failure.info.metadata["limit"] == "2"
    quota = error_details_pb2.QuotaFailure()
    assert any(detail.Unpack(quota) for detail in failure.status.details)
    assert quota.violations[0].subject == failure.info.metadata["limit_name"]


SENSITIVE = MANIFEST.replace("description: A folder.", "description: A folder.\n    sensitive: true")


def test_a_justification_that_the_bundle_asks_for_is_missed(server: Administered, admin: str) -> None:
    """A grant of a sensitive type without a justification is FAILED_PRECONDITION, and with one is made."""
    server.take(snapshot_of(manifest=SENSITIVE), "sha256:sensitive")
    try:
        id = member(server)
        failure = failure_of(lambda: grant(server, admin, id))
        made = grant(server, admin, id, justification="asked for in a letter").grant
    finally:
        server.take(snapshot_of(), "sha256:first")
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JUSTIFICATION_REQUIRED")
    assert made.justification == "asked for in a letter"


# --- lists


def all_pages(server: Administered, secret: str, size: int, **asked: Any) -> list[str]:
    """The ids of a list of identities, page by page."""
    found: list[str] = []
    token = ""
    for _ in range(1000):
        page = server.directory.ListIdentities(
            directory.ListIdentitiesRequest(page_size=size, page_token=token, **asked), metadata=server.call(secret)
        )
        assert len(page.identities) <= size
        found += [one.id for one in page.identities]
        token = page.next_page_token
        if not token:
            return found
    raise AssertionError("the list has no end")


def test_pages_hold_every_record_once(server: Administered) -> None:
    """Whatever their size, the pages of a list together hold what the list holds, in order."""
    company = name("paged")
    ids = sorted(f"{company}-{number:02}" for number in range(23))
    for id in ids:
        create(server, server.root, id, company)
    for size in (1, 7, 23, 0):
        assert all_pages(server, server.root, size or 1000, company=company) == ids
    assert all_pages(server, server.root, 5, company=company, prefix=f"{company}-1") == ids[10:20]


def test_lists_leave_out_what_the_caller_may_not_read(server: Administered, admin: str) -> None:
    """An administrator of acme sees acme; one of two companies sees both; nobody sees more by asking for it."""
    server.person(name("else"), "globex")
    both = server.person(name("both"), "acme", "COMPANY_ADMIN")
    server.assign(server.credentials.get_key(both.split("_")[1]).identity, "COMPANY_ADMIN", "globex")

    def companies(secret: str) -> set[str]:
        return {get(server, server.root, id).company for id in all_pages(server, secret, 1000)}

    assert companies(admin) == {"acme"}
    assert companies(both) == {"acme", "globex"}
    assert {"", "acme", "globex"} <= companies(server.root)
    asked = directory.ListIdentitiesRequest(company="globex")
    failure = failure_of(lambda: server.directory.ListIdentities(asked, metadata=server.call(admin)))
    assert failure.code is DENIED


def test_lists_of_what_identities_hold_leave_out_too(server: Administered, admin: str) -> None:
    """Assignments, grants and shares of other companies are not in the lists of an administrator of acme."""
    here, there = member(server), member(server, "globex")
    for id, company in ((here, "acme"), (there, "globex")):
        grant(server, server.root, id, company)
    metadata = server.call(admin)
    assignments = server.directory.ListRoleAssignments(
        directory.ListRoleAssignmentsRequest(page_size=1000), metadata=metadata
    ).assignments
    assert {one.company for one in assignments} == {"acme"}
    grants = server.directory.ListIdentityGrants(
        directory.ListIdentityGrantsRequest(page_size=1000), metadata=metadata
    ).grants
    assert {one.company for one in grants} == {"acme"}
    empty = server.directory.ListIdentityGrants(directory.ListIdentityGrantsRequest(identity=there), metadata=metadata)
    unknown = server.directory.ListIdentityGrants(
        directory.ListIdentityGrantsRequest(identity="nobody"), metadata=metadata
    )
    assert empty == unknown == directory.ListIdentityGrantsResponse()


def test_a_page_token_is_of_its_list_and_tells_nothing(server: Administered) -> None:
    """A token is refused with another filter, another method and another caller; and no id can be read from it, but by
    who has the secret of the store: what checkpoints and backups say of the store opens none."""
    company = name("sealed")
    for number in range(3):
        create(server, server.root, f"{company}-{number}", company)
    asked = directory.ListIdentitiesRequest(company=company, page_size=2)
    token = server.directory.ListIdentities(asked, metadata=server.call(server.root)).next_page_token
    of = f"sidecar.identity\0root\0{asked_of(asked)}"
    assert PageTokens(server.store.page_secret()).open(token, of)
    assert PageTokens(server.store.state().epoch.encode()).open(token, of) is None
    assert company not in base64.urlsafe_b64decode(token + "===").decode("latin-1")
    other = server.person(name("other"), "", "ROOT")
    changed = ("A" if token[0] != "A" else "B") + token[1:]
    for secret, message in (
        (server.root, directory.ListIdentitiesRequest(page_token=token)),
        (server.root, directory.ListIdentitiesRequest(company=company, page_token=changed)),
        (server.root, directory.ListIdentitiesRequest(company=company, page_token=NO_TOKEN)),
        (other, directory.ListIdentitiesRequest(company=company, page_token=token)),
    ):
        failure = failure_of(partial(server.directory.ListIdentities, message, metadata=server.call(secret)))
        assert (failure.code, list(failure.violations)) == (INVALID, ["page_token"])
    failure = failure_of(
        lambda: server.directory.ListRoleAssignments(
            directory.ListRoleAssignmentsRequest(company=company, page_token=token), metadata=server.call(server.root)
        )
    )
    assert failure.code is INVALID
    # Its pages may have another size.
    asked = directory.ListIdentitiesRequest(company=company, page_size=1, page_token=token)
    assert len(server.directory.ListIdentities(asked, metadata=server.call(server.root)).identities) == 1


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_has_bounds(server: Administered, size: int) -> None:
    """A size below 0 or above 1,000 is a violation of `page_size`."""
    failure = failure_of(
        lambda: server.directory.ListIdentities(
            directory.ListIdentitiesRequest(page_size=size), metadata=server.call(server.root)
        )
    )
    assert (failure.code, list(failure.violations)) == (INVALID, ["page_size"])


# --- the store


def test_while_the_store_is_held_everything_else_is_answered(server: Administered) -> None:
    """A change that waits for the store ends at its deadline, and health is answered meanwhile; beyond so many that
    wait a call is refused at once."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with server.store.change(OPERATOR, time.time()):
            begun.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(30)
    health = health_pb2_grpc.HealthStub(server.channel)
    try:
        started = time.monotonic()
        identity = record.Identity(id=name("late"), kind=USER, company="acme")
        message = directory.CreateIdentityRequest(identity=identity)
        failure = failure_of(
            lambda: server.directory.CreateIdentity(message, metadata=server.call(server.root), timeout=0.3)
        )
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 5
        waiting = [
            server.directory.CreateIdentity.future(message, metadata=server.call(server.root), timeout=20)
            for _ in range(100)
        ]
        refused = failure_of(
            lambda: server.directory.CreateIdentity(message, metadata=server.call(server.root), timeout=20)
        )
        assert (refused.code, refused.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert health.Check(health_pb2.HealthCheckRequest(service="authz.v1.DirectoryService"), timeout=5)
        for one in waiting:
            one.cancel()
    finally:
        done.set()
        holder.join()


def test_a_store_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """Where the store cannot be reached a call is UNAVAILABLE, says when to try again, and nothing of where the store
    is; once it is back, it is used."""
    with administered(tmp_path) as server:
        file = tmp_path / "directory.db"
        aside = tmp_path / "aside.db"
        file.rename(aside)
        failure = failure_of(lambda: create(server, server.root, "ann"))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert failure.retry_after
        aside.rename(file)
        assert create(server, server.root, "ann").identity.id == "ann"


def test_what_is_done_is_in_the_audit_under_the_callers_name(server: Administered, admin: str) -> None:
    """The audit has who did it, by which credential, from where, and under which name of the call."""
    from sqlalchemy import select

    from authz_sidecar.directory.storage.schema import AUDIT

    id = name("audited")
    message = directory.CreateIdentityRequest(identity=record.Identity(id=id, kind=USER, company="acme"))
    server.directory.CreateIdentity(message, metadata=(*server.call(admin), ("x-request-id", "call-7")))
    with server.store.read() as connection:
        text: str = connection.execute(select(AUDIT.c.record).where(AUDIT.c.subject == id)).scalars().first() or ""
    key = admin.split("_")[1]
    for part in ('"actor":"acme-admin"', f'"key:{key}"', '"127.0.0.1"', '"call-7"', '"identity.create"'):
        assert part in text.replace(" ", ""), text
    assert admin.split("_")[2] not in text


def test_the_audit_names_an_assignments_maker(server: Administered, admin: str) -> None:
    """What a message says of who made a record is not what is kept."""
    forged = record.RoleAssignment(
        identity=member(server), role="READER", company="acme", created_by="root", source="group:x", id="mine"
    )
    made = server.directory.CreateRoleAssignment(
        directory.CreateRoleAssignmentRequest(assignment=forged), metadata=server.call(admin)
    ).assignment
    kept: AssignmentRecord = server.identities.get_assignment(made.id)
    assert (kept.created_by, kept.source, kept.id != "mine") == ("acme-admin", "hand", True)
