"""Service accounts with impersonation, in service: people hold roles, programs reach what is shared with them, and all
of both is made through administration."""

import csv
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import (
    check_pb2,
    credential_service_pb2,
    directory_service_pb2,
    filter_pb2,
    identity_pb2,
    policy_service_pb2,
)
from tests.server.sidecar import Failure, until
from tests.systems.conftest import Start
from tests.systems.system import DAY, System, command, creation, in_seconds, mask, question, reason_of, unique

ROLES = ("SUPER_ADMIN", "IAM_ADMIN", "FLOW_ADMIN", "MEMBER")
MANAGERS = ("SUPER_ADMIN", "IAM_ADMIN")
ACTIONS = {
    "process": ("create", "read", "start", "update", "delete"),
    "board": ("create", "read", "update", "delete"),
    "dataset": ("create", "read", "update", "delete"),
    "common_resource": ("read", "update"),
}
COMMON = ("all_items", "user_and_group_management", "all_flows")
MOST_ACCOUNTS, MOST_KEYS, LONGEST_NAME = 25, 50, 79
MONTHS_6, YEARS_2 = 180, 730
WHY = "asked for by the owner of the flow"
PASSWORD = "correct horse battery staple"
IDENTITY_LIST = directory_service_pb2.ListIdentitiesRequest
# Roles that share less than all, which a bundle may have.
NARROW = """\
roles:
  FLOW_SHARER:
    assigned: platform
    grants:
      - {object: sidecar.identity, actions: [read]}
      - {object: sidecar.share, id: process, actions: [create, update, delete, impersonate]}
  GRANTER:
    assigned: platform
    grants:
      - {object: sidecar.identity, actions: [read]}
      - {object: sidecar.grant, actions: [create, delete]}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sidecar writes what it decides."""
    return tmp_path_factory.mktemp("log") / "decisions.jsonl"


@pytest.fixture(scope="module")
def kissflow(start: Start, log: Path) -> System:
    """The system, with a first administrator and nobody else."""
    files = ("people.yaml", "service-accounts.yaml")
    return start("examples/kissflow", "SUPER_ADMIN", without=files, options=("--decision-log", str(log)))


@pytest.fixture(scope="module", autouse=True)
def used_key(kissflow: System) -> str:
    """The id of a key that is used before all tests: when that was is written within seconds."""
    made = new_key(kissflow, account(kissflow), "used")
    assert not made.key.HasField("last_use_time")
    kissflow.presents(made.secret, "read", "process", "any")
    return str(made.key.id)


@pytest.fixture(scope="module")
def people(kissflow: System) -> Mapping[str, str]:
    """One user for each role, by role."""
    return {role: kissflow.create(unique(role.lower()), role) for role in ROLES}


@pytest.fixture(scope="module")
def keys(kissflow: System, people: Mapping[str, str]) -> Mapping[str, str]:
    """A credential of each of them, by role."""
    return {role: kissflow.key(user) for role, user in people.items()}


@pytest.fixture
def robot(kissflow: System) -> Iterator[str]:
    """A service account of this test alone; afterwards there is room for others."""
    made = account(kissflow)
    yield made
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=made))


def account(system: System, **more: Any) -> str:
    """Make a service account; its id."""
    id = unique("sa")
    return system.create(id, program=True, **{"name": id, **more})


def key_request(identity: str, name: str = "", days: float | None = 365, **more: Any) -> Any:
    """The request for a key that lasts so many days, or for good."""
    ends = None if days is None else in_seconds(days * DAY)
    return credential_service_pb2.CreateKeyRequest(
        identity=identity, name=name or unique("key"), expire_time=ends, **more
    )


def new_key(system: System, identity: str, name: str = "", **more: Any) -> credential_service_pb2.CreateKeyResponse:
    """Make a key of a year."""
    made = system.ask(key_request(identity, name, **more))
    assert isinstance(made, credential_service_pb2.CreateKeyResponse)
    return made


def share_request(
    identity: str, type: str, id: str, *actions: str, impersonation: bool = False
) -> directory_service_pb2.CreateShareRequest:
    """The request to share an object."""
    share = identity_pb2.Share(
        identity=identity,
        object_type=type,
        object_id=id,
        actions=actions,
        impersonation=impersonation,
        justification=WHY,
    )
    return directory_service_pb2.CreateShareRequest(share=share)


def share(system: System, identity: str, type: str, id: str, *actions: str, impersonation: bool = False) -> Any:
    """Share an object; the share."""
    return system.ask(share_request(identity, type, id, *actions, impersonation=impersonation)).share


def switch(system: System, made: Any, by: str = "", **fields: Any) -> None:
    """Change a share."""
    changed = identity_pb2.Share(id=made.id, **fields)
    asked = directory_service_pb2.UpdateShareRequest(share=changed, update_mask=mask(*fields), justification=WHY)
    system.ask(asked, by)


def everything(objects: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Action, type and id of all that may be done to these objects."""
    return [(action, type, id) for type, id in objects.items() for action in ACTIONS[type]]


def allowed_among(
    system: System, asked: Sequence[tuple[str, str, str]], subject: str = "", **more: Any
) -> set[tuple[str, str, str]]:
    """Those questions that are answered with yes."""
    answers = system.answers(question(subject, *each, **more) for each in asked)
    return {each for each, answer in zip(asked, answers, strict=True) if answer.allowed}


def limit_of(failure: Failure) -> tuple[str, int]:
    """The limit of the bundle for which a call was refused, and its value."""
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED, failure.message
    return failure.info.metadata["limit_name"], int(failure.info.metadata["limit"])


# --- service accounts


def test_there_are_at_most_25_service_accounts(kissflow: System) -> None:
    """The 26th service account is refused with the limit; one that is removed makes room for another."""
    programs = identity_pb2.IDENTITY_KIND_SERVICE_ACCOUNT
    there = len(kissflow.ask(IDENTITY_LIST(kind=programs, page_size=1000)).identities)
    made = [account(kissflow) for _ in range(MOST_ACCOUNTS - there)]
    try:
        one_more = creation("sa-one-more", program=True, name="one more")
        assert limit_of(kissflow.refusal(one_more)) == ("identities.service_accounts.max", MOST_ACCOUNTS)
        # People are counted apart.
        kissflow.create(unique("person"), "MEMBER")
        kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=made.pop()))
        kissflow.ask(one_more)
        made.append("sa-one-more")
    finally:
        for id in made:
            kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=id))


def test_a_name_has_under_80_characters(kissflow: System, robot: str) -> None:
    """A name of 79 characters is taken, one of 80 is refused, at the making and later."""
    assert kissflow.update(robot, name="n" * LONGEST_NAME).name == "n" * LONGEST_NAME
    too_long = "n" * (LONGEST_NAME + 1)
    refused = kissflow.refusal(creation("sa-long", program=True, name=too_long))
    assert (refused.code, *refused.violations) == (grpc.StatusCode.INVALID_ARGUMENT, "identity.name")
    renamed = directory_service_pb2.UpdateIdentityRequest(
        identity=identity_pb2.Identity(id=robot, name=too_long), update_mask=mask("name")
    )
    assert kissflow.refusal(renamed).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_name_is_unique(kissflow: System, robot: str) -> None:
    """No second service account has the same name, whatever its case, and none has no name."""
    kissflow.update(robot, name="Purchase sync")
    taken = kissflow.refusal(creation("sa-twin", program=True, name="purchase SYNC"))
    assert taken.code is grpc.StatusCode.ALREADY_EXISTS
    assert "names of service accounts are unique" in taken.message
    assert kissflow.refusal(creation("sa-nameless", program=True)).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_service_account_has_a_description(kissflow: System) -> None:
    """What it is for is kept with a service account, and can be changed."""
    made = account(kissflow, description="Starts purchase requests.")
    found = kissflow.ask(directory_service_pb2.GetIdentityRequest(id=made)).identity
    assert found.description == "Starts purchase requests."
    assert kissflow.update(made, description="Nothing any more.").description == "Nothing any more."
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=made))


def test_a_service_account_never_signs_in_with_a_password(kissflow: System, robot: str) -> None:
    """It cannot be given a password, and a sign-in with one fails as for somebody unknown."""
    given = credential_service_pb2.SetPasswordRequest(identity=robot, password=PASSWORD)
    assert kissflow.refusal(given).code is grpc.StatusCode.FAILED_PRECONDITION
    for name in (robot, "nobody-at-all"):
        tried = kissflow.refusal(credential_service_pb2.SignInRequest(identity=name, password=PASSWORD), None)
        assert tried.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("role", ROLES)
def test_super_admin_and_iam_admin_manage_service_accounts(
    kissflow: System, keys: Mapping[str, str], robot: str, role: str
) -> None:
    """SUPER_ADMIN and IAM_ADMIN make, see, change and remove service accounts, their keys and what is shared with them;
    nobody else does any of it."""
    name = unique("sa")
    key = new_key(kissflow, robot).key.id
    made = share(kissflow, robot, "process", "to-be-changed", "read")
    asked: list[Any] = [
        creation(name, program=True, name=name),
        directory_service_pb2.GetIdentityRequest(id=robot),
        directory_service_pb2.UpdateIdentityRequest(
            identity=identity_pb2.Identity(id=robot, active=True), update_mask=mask("active")
        ),
        key_request(robot),
        credential_service_pb2.ListKeysRequest(identity=robot),
        credential_service_pb2.UpdateKeyRequest(
            key=credential_service_pb2.ApiKey(id=key, active=False), update_mask=mask("active")
        ),
        credential_service_pb2.RotateKeyRequest(id=key),
        credential_service_pb2.RevokeKeyRequest(id=key),
        share_request(robot, "process", unique("process"), "read", impersonation=True),
        directory_service_pb2.UpdateShareRequest(
            share=identity_pb2.Share(id=made.id, impersonation=True), update_mask=mask("impersonation")
        ),
        directory_service_pb2.ListSharesRequest(identity=robot),
        directory_service_pb2.DeleteShareRequest(id=made.id),
        directory_service_pb2.DeleteIdentityRequest(id=name),
    ]
    if role in MANAGERS:
        for message in asked:
            kissflow.ask(message, keys[role])
    else:
        # What is not there is answered as what may not be seen.
        refused = [kissflow.refusal(message, keys[role]).code for message in asked]
        assert refused == [grpc.StatusCode.PERMISSION_DENIED] * len(asked)


# --- keys


def test_a_service_account_has_at_most_50_keys(kissflow: System, robot: str) -> None:
    """The 51st key is refused with the limit, a key can still be rotated, and one that is revoked makes room."""
    made = [new_key(kissflow, robot).key for _ in range(MOST_KEYS)]
    limit = ("identities.service_accounts.keys.max", MOST_KEYS)
    assert limit_of(kissflow.refusal(key_request(robot))) == limit
    kissflow.ask(credential_service_pb2.RotateKeyRequest(id=made[1].id))
    assert limit_of(kissflow.refusal(key_request(robot))) == limit
    kissflow.ask(credential_service_pb2.RevokeKeyRequest(id=made[0].id))
    new_key(kissflow, robot)
    other = account(kissflow)
    new_key(kissflow, other)
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=other))


def test_a_key_has_a_name(kissflow: System, robot: str) -> None:
    """A key is made with a name, which can be changed; without one it is refused."""
    made = new_key(kissflow, robot, "nightly").key
    assert made.name == "nightly"
    renamed = credential_service_pb2.ApiKey(id=made.id, name="daily")
    asked = credential_service_pb2.UpdateKeyRequest(key=renamed, update_mask=mask("name"))
    assert kissflow.ask(asked).key.name == "daily"
    nameless = credential_service_pb2.CreateKeyRequest(identity=robot, expire_time=in_seconds(365 * DAY))
    assert kissflow.refusal(nameless).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("days", "taken"),
    [(MONTHS_6, True), (YEARS_2, True), (MONTHS_6 - 1, False), (YEARS_2 + 1, False), (None, False)],
)
def test_a_key_lasts_between_6_months_and_2_years(kissflow: System, robot: str, days: int | None, taken: bool) -> None:
    """A key of 6 months or of 2 years is made; a day less, a day more and one without an end are refused."""
    asked = key_request(robot, days=days)
    if taken:
        assert kissflow.ask(asked).key.expire_time == asked.expire_time
    else:
        refused = kissflow.refusal(asked)
        assert refused.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
        assert "expire_time" in refused.violations


def test_a_key_has_a_switch(kissflow: System, robot: str) -> None:
    """A key that is switched off is denied at once and told so, others go on; switched on it is as before."""
    share(kissflow, robot, "process", "p", "read")
    made, other = new_key(kissflow, robot), new_key(kissflow, robot)
    assert made.key.active
    for active, reason in ((False, "CREDENTIAL_INACTIVE"), (True, "ALLOWED_BY_RULE")):
        key = credential_service_pb2.ApiKey(id=made.key.id, active=active)
        kissflow.ask(credential_service_pb2.UpdateKeyRequest(key=key, update_mask=mask("active")))
        assert reason_of(kissflow.presents(made.secret, "read", "process", "p")) == reason
        assert kissflow.presents(other.secret, "read", "process", "p").allowed


def test_a_key_is_an_id_and_a_secret(kissflow: System, robot: str) -> None:
    """What callers send holds the key's id and its secret; the id with another secret is worth nothing."""
    share(kissflow, robot, "process", "p", "read")
    made, other = new_key(kissflow, robot), new_key(kissflow, robot)
    kind, id, secret, _ = made.secret.split("_")
    assert (kind, id) == ("azk", made.key.id)
    assert len(secret) == 43
    answer = kissflow.presents(made.secret, "read", "process", "p")
    assert (answer.allowed, answer.subject) == (True, robot)
    mixed = made.secret.replace(secret, other.secret.split("_")[2])
    assert reason_of(kissflow.presents(mixed, "read", "process", "p")) == "INVALID_CREDENTIAL"


def test_a_secret_is_shown_once(kissflow: System, robot: str) -> None:
    """The secret comes with the making of a key alone: not again for the same call, nor with the key, nor in the
    audit."""
    asked = key_request(robot, "once", idempotency_key="once")
    made, again = kissflow.ask(asked), kissflow.ask(asked)
    assert (again.key.id, again.secret) == (made.key.id, "")
    secret = made.secret.split("_")[2]
    assert secret
    seen: list[Any] = [
        kissflow.ask(credential_service_pb2.GetKeyRequest(id=made.key.id)),
        kissflow.ask(credential_service_pb2.ListKeysRequest(identity=robot)),
        *kissflow.audit(identity=robot),
    ]
    assert len(seen) > 2
    assert not any(secret in str(message) for message in seen)
    assert secret not in kissflow.sidecar.log


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_secret_is_downloaded_as_a_file(kissflow: System, robot: str, tmp_path: Path, form: str) -> None:
    """The command line writes id and secret of a new key into a file that only its owner may read, CSV or JSON, and
    over no other; what is in it is right."""
    file = tmp_path / f"key.{form}"
    where = ("--server", kissflow.sidecar.grpc, "--output", str(file))
    arguments = ("keys", "create", robot, f"file {form}", "--expires", "1y", *where)
    assert command(*arguments, AUTHZ_CREDENTIAL=kissflow.root) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    (content,) = [json.loads(text)] if form == "json" else csv.DictReader(text.splitlines())
    assert (content["identity"], content["name"]) == (robot, f"file {form}")
    assert content["id"] in content["secret"]
    assert kissflow.presents(content["secret"], "read", "process", "p").subject == robot
    assert command(*arguments, AUTHZ_CREDENTIAL=kissflow.root) != 0
    assert file.read_text() == text


# --- what is shared


def test_a_service_account_reaches_what_is_shared_with_it(kissflow: System, robot: str) -> None:
    """With nothing shared it reaches nothing; then just the objects and actions that are, until they are not."""
    asked = everything({"process": "p", "board": "b", "dataset": "d", "common_resource": "all_items"})
    asked += everything({"process": "another", "board": "p"})
    secret = new_key(kissflow, robot).secret
    assert allowed_among(kissflow, asked, credential=secret) == set()
    process = share(kissflow, robot, "process", "p", "read", "start")
    share(kissflow, robot, "board", "b", "update", impersonation=True)
    shared = {("read", "process", "p"), ("start", "process", "p"), ("update", "board", "b")}
    assert allowed_among(kissflow, asked, credential=secret) == shared
    assert allowed_among(kissflow, asked, robot) == shared
    kissflow.ask(directory_service_pb2.DeleteShareRequest(id=process.id))
    assert allowed_among(kissflow, asked, credential=secret) == {("update", "board", "b")}


def test_what_others_may_does_not_matter(kissflow: System, robot: str) -> None:
    """Whatever roles are given to people, those who made or share with it included, a service account reaches what it
    did; and a role it cannot have."""
    asked = everything({"process": "p", "board": "b", "dataset": "d", "common_resource": "all_items"})
    share(kissflow, robot, "process", "p", "read")
    friend = kissflow.create(unique("friend"), "MEMBER")
    reached = []
    for role in reversed(ROLES):
        if role != "MEMBER":
            kissflow.assign(friend, role, replace=True)
        reached.append(allowed_among(kissflow, asked, robot))
    assert reached == [{("read", "process", "p")}] * len(ROLES)
    given = directory_service_pb2.CreateRoleAssignmentRequest(
        assignment=identity_pb2.RoleAssignment(identity=robot, role="MEMBER")
    )
    assert kissflow.refusal(given).code is grpc.StatusCode.FAILED_PRECONDITION
    assert kissflow.refusal(creation("sa-role", "MEMBER", program=True, name="with a role")).code is (
        grpc.StatusCode.FAILED_PRECONDITION
    )


def test_nothing_is_granted_beside_shares(kissflow: System, keys: Mapping[str, str], robot: str) -> None:
    """No role lets anybody grant a service account something that is not shared."""
    grant = identity_pb2.IdentityGrant(identity=robot, object_type="process", actions=["*"])
    for role in ROLES:
        refused = kissflow.refusal(directory_service_pb2.CreateIdentityGrantRequest(grant=grant), keys[role])
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED


def test_there_is_a_list_of_what_is_shared(kissflow: System, robot: str) -> None:
    """The resources of a service account can be listed, each with its actions and whether impersonation is on."""
    share(kissflow, robot, "process", "p", "read", impersonation=True)
    share(kissflow, robot, "board", "b", "read", "update")
    share(kissflow, robot, "common_resource", "all_flows", impersonation=True)
    found = kissflow.ask(directory_service_pb2.ListSharesRequest(identity=robot)).shares
    assert [(each.object_type, each.object_id, [*each.actions], each.impersonation) for each in found] == [
        ("process", "p", ["read"], True),
        ("board", "b", ["read", "update"], False),
        ("common_resource", "all_flows", [], True),
    ]


# --- acting for users


def test_impersonation_is_on_or_off_for_each_resource(kissflow: System, people: Mapping[str, str], robot: str) -> None:
    """A service account acts for a user on a resource where impersonation is on, and on no other; the switch counts at
    once, either way."""
    secret, user = new_key(kissflow, robot).secret, people["FLOW_ADMIN"]
    on = share(kissflow, robot, "process", "on", "read", impersonation=True)
    off = share(kissflow, robot, "process", "off", "read")

    def reasons() -> list[str]:
        asked = [question("", "read", "process", id, credential=secret, on_behalf_of=user) for id in ("on", "off", "x")]
        return [reason_of(answer) for answer in kissflow.answers(asked)]

    refused = "IMPERSONATION_NOT_ALLOWED"
    assert reasons() == ["ALLOWED_BY_RULE", refused, refused]
    switch(kissflow, on, impersonation=False)
    switch(kissflow, off, impersonation=True)
    assert reasons() == [refused, "ALLOWED_BY_RULE", refused]
    # What it reaches for itself has not changed.
    assert kissflow.presents(secret, "read", "process", "on").allowed


def test_an_act_counts_as_the_users(kissflow: System, people: Mapping[str, str], robot: str, log: Path) -> None:
    """The answer, the audit and the decision log name the user as who acts, and the service account that acted. Neither
    asked for itself: each act is in the audit once."""
    made, user = new_key(kissflow, robot), people["MEMBER"]
    share(kissflow, robot, "process", "p", impersonation=True)
    # The service account itself may not start it: the act is the user's.
    own = kissflow.presents(made.secret, "start", "process", "p")
    assert not own.allowed
    asked = {"credential": made.secret, "on_behalf_of": user}
    yes, no = (
        kissflow.check("", "start", "process", "p", **asked),
        kissflow.check("", "delete", "process", "p", **asked),
    )
    assert [(each.allowed, each.subject, each.actor) for each in (yes, no)] == [
        (True, user, robot),
        (False, user, robot),
    ]
    until(lambda: len(kissflow.audit(actor=robot)) == 3)
    records = kissflow.audit(actor=robot)
    assert [(each.action, each.actor, each.on_behalf_of, each.decision_id) for each in records] == [
        ("decision.denied", robot, "", own.decision_id),
        ("impersonation.allowed", robot, user, yes.decision_id),
        ("impersonation.denied", robot, user, no.decision_id),
    ]
    assert {each.credential for each in records} == {f"key:{made.key.id}"}
    assert [each.action for each in kissflow.audit(identity=user)][-2:] == [
        "impersonation.allowed",
        "impersonation.denied",
    ]
    until(lambda: no.decision_id in logged(log))
    line = logged(log)[yes.decision_id]
    assert (line["subject"], line["actor"], line["credential"]) == (user, robot, f"key:{made.key.id}")


def logged(log: Path) -> dict[str, Any]:
    """What the decision log has, by decision."""
    lines = [line for file in log.parent.iterdir() for line in file.read_text().splitlines(True)]
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return {record["decision_id"]: record for record in records}


@pytest.mark.parametrize("role", ROLES)
def test_an_act_is_never_beyond_the_user(kissflow: System, people: Mapping[str, str], robot: str, role: str) -> None:
    """With impersonation on and everything shared, what a service account may do for a user is exactly what the user
    may, whatever it may itself."""
    objects = {"process": "p", "board": "b", "dataset": "d", "common_resource": "all_flows"}
    for type, id in objects.items():
        share(kissflow, robot, type, id, *ACTIONS[type], impersonation=True)
    asked, user, secret = everything(objects), people[role], new_key(kissflow, robot).secret
    assert allowed_among(kissflow, asked, robot) == {*asked}
    for_user = allowed_among(kissflow, asked, credential=secret, on_behalf_of=user)
    assert for_user == allowed_among(kissflow, asked, user)
    assert bool(for_user) == (role != "IAM_ADMIN")


def test_only_service_accounts_act_and_only_for_users(
    kissflow: System, people: Mapping[str, str], keys: Mapping[str, str], robot: str
) -> None:
    """No user acts for another, no service account for a second one, nobody for somebody unknown, and nobody for a
    user who is switched off."""
    share(kissflow, robot, "process", "p", *ACTIONS["process"], impersonation=True)
    secret, other = new_key(kissflow, robot).secret, account(kissflow)
    share(kissflow, other, "process", "p", "read", impersonation=True)
    gone = kissflow.create(unique("gone"), "MEMBER")

    def reason(credential: str, user: str) -> str:
        return reason_of(kissflow.presents(credential, "read", "process", "p", on_behalf_of=user))

    assert reason(secret, gone) == "ALLOWED_BY_RULE"
    kissflow.update(gone, active=False)
    assert reason(secret, gone) == "INACTIVE_SUBJECT"
    refused = "IMPERSONATION_NOT_ALLOWED"
    assert [reason(secret, who) for who in (other, robot, "nobody")] == [refused] * 3
    assert [reason(keys[role], people["MEMBER"]) for role in ROLES] == [refused] * len(ROLES)
    # A share with impersonation is for service accounts.
    with_user = share_request(people["MEMBER"], "process", "q", "read", impersonation=True)
    assert kissflow.refusal(with_user).code is grpc.StatusCode.FAILED_PRECONDITION
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=other))


@pytest.mark.parametrize("resource", COMMON)
def test_administrators_alone_extend_impersonation_to_common_resources(
    kissflow: System, people: Mapping[str, str], keys: Mapping[str, str], robot: str, resource: str
) -> None:
    """SUPER_ADMIN and IAM_ADMIN extend impersonation on a common resource to a service account and take it back; nobody
    else does, nor says that they may."""
    secret, user = new_key(kissflow, robot).secret, people["SUPER_ADMIN"]

    def acts() -> bool:
        answer = kissflow.presents(secret, "read", "common_resource", resource, on_behalf_of=user)
        assert isinstance(answer, check_pb2.CheckResponse)
        return answer.allowed

    asked = share_request(robot, "common_resource", resource, impersonation=True)
    for role in ROLES:
        may = kissflow.check(people[role], "extend_impersonation", "common_resource", resource)
        assert may.allowed == (role in MANAGERS)
        if role in MANAGERS:
            made = kissflow.ask(asked, keys[role]).share
            assert acts()
            kissflow.ask(directory_service_pb2.DeleteShareRequest(id=made.id), keys[role])
        else:
            assert kissflow.refusal(asked, keys[role]).code is grpc.StatusCode.PERMISSION_DENIED
        assert not acts()


@pytest.fixture(scope="module")
def narrow(kissflow: System) -> Mapping[str, str]:
    """Credentials of holders of two more roles, which a change of the policies brings: one shares processes, the other
    grants, and does not share."""
    (kissflow.policies / "narrow.yaml").write_text(NARROW)
    refreshed = kissflow.ask(policy_service_pb2.RefreshRequest())
    assert refreshed.outcome == policy_service_pb2.REFRESH_OUTCOME_CURRENT, refreshed.why
    return {role: kissflow.key(kissflow.create(unique(role.lower()), role)) for role in ("FLOW_SHARER", "GRANTER")}


def test_who_shares_flows_extends_nothing_to_common_resources(
    kissflow: System, narrow: Mapping[str, str], robot: str
) -> None:
    """A role that may share processes, with impersonation, may not share a common resource in any way."""
    by = narrow["FLOW_SHARER"]
    made = kissflow.ask(share_request(robot, "process", "p", "read", impersonation=True), by).share
    switch(kissflow, made, by, impersonation=False)
    for resource in COMMON:
        for impersonation in (False, True):
            asked = share_request(robot, "common_resource", resource, "read", impersonation=impersonation)
            assert kissflow.refusal(asked, by).code is grpc.StatusCode.PERMISSION_DENIED
    there = share(kissflow, robot, "common_resource", "all_items", "read")
    asked_later = directory_service_pb2.UpdateShareRequest(
        share=identity_pb2.Share(id=there.id, impersonation=True), update_mask=mask("impersonation")
    )
    assert kissflow.refusal(asked_later, by).code is grpc.StatusCode.PERMISSION_DENIED


def test_a_grant_gives_no_impersonation_by_the_way(
    kissflow: System, people: Mapping[str, str], narrow: Mapping[str, str], robot: str
) -> None:
    """A grant of any action gives no impersonation; one that names `impersonate`, and the end of one that denies it,
    are for whoever may share with impersonation."""
    by, secret, user = narrow["GRANTER"], new_key(kissflow, robot).secret, people["SUPER_ADMIN"]

    def grant(*actions: str, type: str = "process", effect: str = "") -> Any:
        made = identity_pb2.IdentityGrant(
            identity=robot, object_type=type, actions=actions, effect=effect, justification=WHY
        )
        return directory_service_pb2.CreateIdentityGrantRequest(grant=made)

    kissflow.ask(grant("*"), by)
    kissflow.ask(grant("*", type="*"), by)
    assert kissflow.presents(secret, "delete", "process", "p").allowed
    answer = kissflow.presents(secret, "read", "process", "p", on_behalf_of=user)
    assert reason_of(answer) == "IMPERSONATION_NOT_ALLOWED"
    for type in ("process", "common_resource", "*"):
        for actions in (("impersonate",), ("read", "impersonate"), ("*", "impersonate")):
            assert kissflow.refusal(grant(*actions, type=type), by).code is grpc.StatusCode.PERMISSION_DENIED
    share(kissflow, robot, "process", "p", impersonation=True)
    denied = kissflow.ask(grant("impersonate", effect="deny"), by).grant
    assert not kissflow.presents(secret, "read", "process", "p", on_behalf_of=user).allowed
    lifted = directory_service_pb2.DeleteIdentityGrantRequest(id=denied.id)
    assert kissflow.refusal(lifted, by).code is grpc.StatusCode.PERMISSION_DENIED


# --- over time


def test_each_service_account_has_its_own_audit(
    kissflow: System, people: Mapping[str, str], keys: Mapping[str, str], robot: str, log: Path
) -> None:
    """All that concerns one service account is listed by itself: what was done to it, to its keys and shares, what it
    asked for others and for itself. What it asked is in the decision log, too. Administrators read it, and nobody
    else."""
    other = account(kissflow)
    made, user = new_key(kissflow, robot), people["MEMBER"]
    new_key(kissflow, other)
    granted = share(kissflow, robot, "process", "p", "read", impersonation=True)
    kissflow.presents(made.secret, "read", "process", "p", on_behalf_of=user)
    done = kissflow.presents(made.secret, "read", "process", "p")
    rotated = kissflow.ask(credential_service_pb2.RotateKeyRequest(id=made.key.id))
    off = credential_service_pb2.ApiKey(id=rotated.key.id, active=False)
    kissflow.ask(credential_service_pb2.UpdateKeyRequest(key=off, update_mask=mask("active")))
    kissflow.ask(credential_service_pb2.RevokeKeyRequest(id=made.key.id))
    kissflow.update(robot, description="under review")
    kissflow.ask(directory_service_pb2.DeleteShareRequest(id=granted.id))
    until(lambda: kissflow.audit(identity=robot, actions=["decision"]))
    for role in MANAGERS:
        records = kissflow.audit(by=keys[role], identity=robot)
        assert sorted(each.action for each in records) == [
            "decision.allowed",
            "identity.create",
            "identity.update",
            "impersonation.allowed",
            "key.create",
            # The one that came of the rotation.
            "key.create",
            "key.revoke",
            "key.rotate",
            "key.update",
            "share.create",
            "share.delete",
        ]
        assert {each.actor for each in records} == {"root", robot}
        assert not any(other in (each.actor, each.subject, each.on_behalf_of) for each in records)
    for role in ("FLOW_ADMIN", "MEMBER"):
        with pytest.raises(grpc.RpcError) as refused:
            kissflow.audit(by=keys[role], identity=robot)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    until(lambda: done.decision_id in logged(log))
    line = logged(log)[done.decision_id]
    assert (line["subject"], line["action"], line["credential"]) == (robot, "read", f"key:{made.key.id}")
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=other))


def test_every_decision_for_a_service_account_is_in_its_audit(
    kissflow: System, people: Mapping[str, str], robot: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is asked for a service account, with its key or by its name, is in its audit, allowed or denied; what is
    asked for people is not. The command line lists it."""
    made, user = new_key(kissflow, robot), people["SUPER_ADMIN"]
    share(kissflow, robot, "process", "p", "read")
    shown = kissflow.presents(made.secret, "read", "process", "p")
    named = kissflow.check(robot, "delete", "process", "p")
    batch = [question(robot, "read", "process", "p"), question(user, "read", "process", "p")]
    batch.append(question("nobody", "read", "process", "p"))
    of_robot, of_user, of_nobody = kissflow.answers(batch)
    asked = filter_pb2.FilterObjectsRequest(action="read", object_type="process", credential=made.secret)
    filtered = kissflow.sidecar.stub.FilterObjects(asked, timeout=10)
    until(lambda: len(kissflow.audit(identity=robot, actions=["decision"])) == 4)
    records = kissflow.audit(identity=robot, actions=["decision"])
    by_key, read, what = f"key:{made.key.id}", {"asked": "check", "action": "read"}, ("process", "p")
    assert [(each.action, each.credential, each.decision_id) for each in records] == [
        ("decision.allowed", by_key, shown.decision_id),
        ("decision.denied", "", named.decision_id),
        ("decision.allowed", "", of_robot.decision_id),
        ("decision.allowed", by_key, filtered.decision_id),
    ]
    assert [dict(each.after) for each in records] == [
        {**read, "reason": "allowed_by_rule"},
        {**read, "action": "delete", "reason": "no_matching_rule"},
        {**read, "reason": "allowed_by_rule"},
        {**read, "asked": "filter", "reason": "allowed_by_rule"},
    ]
    assert [(each.object_type, each.object_id) for each in records] == [what, what, what, ("process", "")]
    assert {(each.actor, each.subject, each.on_behalf_of) for each in records} == {(robot, "", "")}
    assert {each.policy_version for each in records} == {shown.policy_version}
    # Records are written in the order of the answers: these would be there by now.
    seen = {each.decision_id for each in kissflow.audit(actions=["decision"])}
    assert not seen & {of_user.decision_id, of_nobody.decision_id}
    assert [each.decision_id for each in kissflow.audit(actor=robot, actions=["decision.denied"])] == [
        named.decision_id
    ]
    listing = ("audit", "list", "--identity", robot, "--action", "decision", "--server", kissflow.sidecar.grpc)
    capfd.readouterr()
    assert command(*listing, AUTHZ_CREDENTIAL=kissflow.root) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 4
    assert f"decision.denied actor={robot} object=process:p asked=delete reason=no_matching_rule" in lines[1]


def test_a_service_account_outlives_who_made_it(kissflow: System, people: Mapping[str, str]) -> None:
    """When the user who made a service account, its key and its shares is switched off, and when they are removed,
    it reaches, for itself and for users, what it did."""
    maker = kissflow.create(unique("iris"), "IAM_ADMIN")
    by, made = kissflow.key(maker), unique("sa")
    kissflow.create(made, program=True, name=made, by=by)
    secret = kissflow.ask(key_request(made), by).secret
    kissflow.ask(share_request(made, "process", "p", "read", impersonation=True), by)
    asked = everything({"process": "p", "board": "b"})

    def reached() -> list[set[tuple[str, str, str]]]:
        for_user = allowed_among(kissflow, asked, credential=secret, on_behalf_of=people["MEMBER"])
        return [allowed_among(kissflow, asked, credential=secret), for_user]

    before = reached()
    assert before == [{("read", "process", "p")}, {("read", "process", "p"), ("start", "process", "p")}]
    kissflow.update(maker, active=False)
    assert kissflow.refusal(directory_service_pb2.GetIdentityRequest(id=made), by).code is (
        grpc.StatusCode.UNAUTHENTICATED
    )
    assert reached() == before
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=maker))
    assert reached() == before
    assert kissflow.ask(directory_service_pb2.GetIdentityRequest(id=made)).identity.created_by == maker
    kissflow.ask(directory_service_pb2.DeleteIdentityRequest(id=made))
    assert reason_of(kissflow.presents(secret, "read", "process", "p")) == "INVALID_CREDENTIAL"


def test_the_last_use_of_a_key_is_known(kissflow: System, used_key: str) -> None:
    """A key that was used says when, and one that was not says that it never was."""

    def key() -> Any:
        return kissflow.ask(credential_service_pb2.GetKeyRequest(id=used_key)).key

    until(lambda: key().HasField("last_use_time"))
    used = key()
    assert used.create_time.seconds <= used.last_use_time.seconds <= used.create_time.seconds + 60
