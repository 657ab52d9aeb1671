"""Service accounts with roles, in service: a role and its grants count at once for every key of whoever holds it, and
nothing of a program hangs on people."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import (
    credential_service_pb2,
    directory_service_pb2,
    identity_pb2,
    policy_service_pb2,
)
from tests.server.sidecar import until
from tests.systems.conftest import Start
from tests.systems.system import System, assignment, command, creation, mask, question, reason_of, unique

ROLES = ("WORKSPACE_ADMIN", "DATA_ENGINEER", "ANALYST", "AUDITOR")
MOST_KEYS = 10
# Actions by object type, and the letters of the roles that may do each: Workspace admin, data Engineer, aNalyst,
# auDitor. `n` is what is one's own.
LEVELS = {
    "cluster": {"create": "W", "read": "WEN", "start": "WE", "stop": "WE", "update": "W", "delete": "W"},
    "catalog": {"create": "WE", "read": "WEN", "update": "WE", "delete": "W"},
    "query": {"run": "WEN", "read": "W", "cancel": "W"},
    "service_account": {"create": "W", "read": "WD", "update": "W", "delete": "W", "assign_role": "W"},
    "access_key": {"create": "W", "read": "WD", "download": "W", "revoke": "W"},
    "role": {"create": "W", "read": "WD", "update": "W", "delete": "W"},
    "activity": {"read": "WD"},
}
LETTERS = dict(zip(ROLES, "WEND", strict=True))
EVERYTHING = [(type, action) for type, actions in LEVELS.items() for action in actions]
ANALYST_GRANT = "      - {objects: [cluster, catalog], actions: [read]}\n"


@pytest.fixture(scope="module")
def e6data(start: Start) -> System:
    """The system, with a first administrator and nobody else."""
    return start("examples/e6data", "WORKSPACE_ADMIN")


@pytest.fixture(scope="module")
def keys(e6data: System) -> Mapping[str, str]:
    """A credential of a person with each role, by role."""
    return {role: e6data.key(e6data.create(unique(role.lower()), role)) for role in ROLES}


@pytest.fixture
def robot(e6data: System) -> str:
    """A service account that is an analyst."""
    return program(e6data, "ANALYST")


def program(system: System, *roles: str, **more: Any) -> str:
    """Make a service account; its id."""
    id = unique("sa")
    return system.create(id, *roles, program=True, **{"name": id, **more})


def may(system: System, credentials: Sequence[str]) -> list[set[tuple[str, str]]]:
    """What may be done with each credential: object types and actions."""
    asked = [(credential, *each) for credential in credentials for each in EVERYTHING]
    answers = system.answers(question("", action, type, "1", credential=key) for key, type, action in asked)
    found = [(key, type, action) for (key, type, action), answer in zip(asked, answers, strict=True) if answer.allowed]
    return [{(type, action) for key, type, action in found if key == credential} for credential in credentials]


def table(role: str) -> set[tuple[str, str]]:
    """What the table says a role may do."""
    return {(type, action) for type, action in EVERYTHING if LETTERS[role] in LEVELS[type][action]}


def test_a_service_account_is_made_with_name_and_description(e6data: System) -> None:
    """A service account keeps the name and the description that it is made with; without a name, or with one that
    another has, none is made."""
    made = program(e6data, name="Nightly load", description="Loads what came in during the day.")
    found = e6data.ask(directory_service_pb2.GetIdentityRequest(id=made)).identity
    assert (found.name, found.description) == ("Nightly load", "Loads what came in during the day.")
    assert found.kind == identity_pb2.IDENTITY_KIND_SERVICE_ACCOUNT
    twin, nameless = creation("sa-twin", program=True, name="nightly load"), creation("sa-nameless", program=True)
    assert e6data.refusal(twin).code is grpc.StatusCode.ALREADY_EXISTS
    assert e6data.refusal(nameless).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("role", ROLES)
def test_a_service_account_is_assigned_a_role(e6data: System, role: str) -> None:
    """Without a role a service account may do nothing; with one it may do what the role says, and a second role is
    refused."""
    made = program(e6data)
    key = e6data.key(made)
    assert may(e6data, [key]) == [set()]
    e6data.assign(made, role)
    assert may(e6data, [key]) == [table(role)]
    second = e6data.refusal(assignment(made, "ANALYST" if role != "ANALYST" else "AUDITOR"))
    assert second.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert second.info.metadata["limit_name"] == "limits.roles_per_identity"


def test_administrators_alone_make_assign_and_generate(e6data: System, keys: Mapping[str, str], robot: str) -> None:
    """WORKSPACE_ADMIN makes service accounts, assigns roles and generates keys; no other role does any of it."""
    for role in ROLES:
        name = unique("sa")
        asked = [
            creation(name, "ANALYST", program=True, name=name),
            assignment(robot, "DATA_ENGINEER", replace=True),
            credential_service_pb2.CreateKeyRequest(identity=robot, name=name),
        ]
        if role == "WORKSPACE_ADMIN":
            for message in asked:
                e6data.ask(message, keys[role])
        else:
            refused = [e6data.refusal(message, keys[role]).code for message in asked]
            assert refused == [grpc.StatusCode.PERMISSION_DENIED] * len(asked)


def test_a_service_account_has_at_most_10_keys(e6data: System, robot: str) -> None:
    """The 11th key is refused with the limit; one that is revoked makes room. People may have more."""
    made = [key_of(e6data, robot) for _ in range(MOST_KEYS)]
    one_more = credential_service_pb2.CreateKeyRequest(identity=robot, name="one more")
    refused = e6data.refusal(one_more)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(refused.info.metadata).items() >= {
        ("limit_name", "identities.service_accounts.keys.max"),
        ("limit", str(MOST_KEYS)),
    }
    e6data.ask(credential_service_pb2.RevokeKeyRequest(id=made[0].key.id))
    e6data.ask(one_more)
    person = e6data.create(unique("person"), "ANALYST")
    for _ in range(MOST_KEYS + 1):
        e6data.key(person)


def key_of(system: System, identity: str) -> credential_service_pb2.CreateKeyResponse:
    """Make a key."""
    made = system.ask(credential_service_pb2.CreateKeyRequest(identity=identity, name=unique("key")))
    assert isinstance(made, credential_service_pb2.CreateKeyResponse)
    return made


def test_a_key_is_downloaded_as_csv(e6data: System, robot: str, tmp_path: Path) -> None:
    """The command line writes a new key into a file of CSV, one line of names and one of values, that works."""
    file = tmp_path / "key.csv"
    arguments = ("keys", "create", robot, "nightly", "--server", e6data.sidecar.grpc, "--output", str(file))
    assert command(*arguments, AUTHZ_CREDENTIAL=e6data.root) == 0
    names, values = csv.reader(file.read_text().splitlines())
    assert names == ["id", "identity", "name", "expires_at", "secret"]
    assert values[1:3] == [robot, "nightly"]
    assert may(e6data, [values[4]]) == [table("ANALYST")]


def test_another_role_counts_at_once_for_every_key(e6data: System, robot: str) -> None:
    """As soon as a service account's role is changed, every key that it has, ten of them, may do what the new role
    says, and no more of what the old one did."""
    credentials = [e6data.key(robot) for _ in range(MOST_KEYS)]
    assert may(e6data, credentials) == [table("ANALYST")] * MOST_KEYS
    for role in ("WORKSPACE_ADMIN", "AUDITOR", "DATA_ENGINEER"):
        e6data.assign(robot, role, replace=True)
        assert may(e6data, credentials) == [table(role)] * MOST_KEYS
    e6data.take_away(robot, "DATA_ENGINEER")
    assert may(e6data, credentials) == [set()] * MOST_KEYS


@pytest.fixture
def refreshed_afterwards(e6data: System) -> Iterator[None]:
    """Serve the roles as they were again."""
    path = e6data.policies / "roles.yaml"
    before = path.read_text()
    yield
    path.write_text(before)
    refresh(e6data)


def refresh(system: System) -> str:
    """Look at the policies now; the version that is served then."""
    answer = system.ask(policy_service_pb2.RefreshRequest())
    assert answer.outcome == policy_service_pb2.REFRESH_OUTCOME_CURRENT, answer.why
    return str(answer.policy_version)


@pytest.mark.usefixtures("refreshed_afterwards")
def test_other_grants_of_a_role_count_at_once_for_every_key(e6data: System) -> None:
    """As soon as a change of a role's grants is served, every key of every service account with that role, or with one
    that inherits from it, may do what it says now, others what they could; answers name the new version."""
    analysts = [program(e6data, "ANALYST") for _ in range(2)]
    engineer, auditor = program(e6data, "DATA_ENGINEER"), program(e6data, "AUDITOR")
    credentials = [e6data.key(id) for id in (*analysts, *analysts, engineer, auditor)]
    before = may(e6data, credentials)
    path = e6data.policies / "roles.yaml"
    text = path.read_text()
    assert text.count(ANALYST_GRANT) == 1
    path.write_text(text.replace(ANALYST_GRANT, "      - {objects: [catalog], actions: [read, delete]}\n"))
    version = refresh(e6data)
    changed = table("ANALYST") - {("cluster", "read")} | {("catalog", "delete")}
    of_engineer = table("DATA_ENGINEER") - {("cluster", "read")} | {("catalog", "delete")}
    assert may(e6data, credentials) == [changed] * 4 + [of_engineer, table("AUDITOR")]
    assert e6data.presents(credentials[0], "delete", "catalog", "1").policy_version == version
    path.write_text(text)
    assert refresh(e6data) != version
    assert may(e6data, credentials) == before


def test_keys_are_rotated_without_downtime(e6data: System, robot: str) -> None:
    """A rotated key and the one in its place are both good until the old one is revoked, with ten keys too."""
    made = [key_of(e6data, robot) for _ in range(MOST_KEYS)]
    old = made[0]
    new = e6data.ask(credential_service_pb2.RotateKeyRequest(id=old.key.id))
    assert (new.key.rotated_from, new.key.name, new.replaced.id) == (old.key.id, old.key.name, old.key.id)
    assert new.secret != old.secret
    assert may(e6data, [old.secret, new.secret]) == [table("ANALYST")] * 2
    e6data.ask(credential_service_pb2.RevokeKeyRequest(id=old.key.id))
    assert reason_of(e6data.presents(old.secret, "read", "cluster", "1")) == "CREDENTIAL_REVOKED"
    assert may(e6data, [old.secret, new.secret]) == [set(), table("ANALYST")]


def test_an_overlap_may_have_an_end(e6data: System, robot: str) -> None:
    """Where an overlap is given, the old key ends after it by itself, and the new one goes on."""
    old = key_of(e6data, robot)
    new = e6data.ask(credential_service_pb2.RotateKeyRequest(id=old.key.id, overlap_seconds=1))
    assert may(e6data, [new.secret]) == [table("ANALYST")]
    until(lambda: reason_of(e6data.presents(old.secret, "read", "cluster", "1")) == "CREDENTIAL_EXPIRED")
    assert may(e6data, [old.secret, new.secret]) == [set(), table("ANALYST")]


def test_activity_is_reviewed_for_each_service_account(e6data: System, keys: Mapping[str, str]) -> None:
    """AUDITOR and WORKSPACE_ADMIN read what was done by and to one service account, and what it asked, and nothing of
    another; nobody else reads any of it."""
    robot, other = program(e6data, "WORKSPACE_ADMIN"), program(e6data, "ANALYST")
    made = key_of(e6data, robot)
    key_of(e6data, other)
    person = e6data.create(unique("person"), by=made.secret)
    e6data.ask(credential_service_pb2.RotateKeyRequest(id=made.key.id))
    started = e6data.presents(made.secret, "start", "cluster", "c-1")
    refused_start = e6data.check(other, "start", "cluster", "c-1")
    until(lambda: e6data.audit(actor=other))
    (of_other,) = e6data.audit(actor=other)
    assert (of_other.action, of_other.decision_id) == ("decision.denied", refused_start.decision_id)
    expected = [
        ("decision.allowed", robot, ""),
        ("identity.create", "root", robot),
        ("assignment.create", "root", robot),
        ("key.create", "root", robot),
        ("identity.create", robot, person),
        ("key.create", "root", robot),
        ("key.rotate", "root", robot),
    ]
    for role in ("AUDITOR", "WORKSPACE_ADMIN"):
        found = e6data.audit(by=keys[role], identity=robot)
        assert sorted((each.action, each.actor, each.subject) for each in found) == sorted(expected)
    by_robot = e6data.audit(by=keys["AUDITOR"], actor=robot)
    assert [(each.action, each.credential, each.decision_id) for each in by_robot] == [
        ("identity.create", f"key:{made.key.id}", ""),
        ("decision.allowed", f"key:{made.key.id}", started.decision_id),
    ]
    # The decisions by which it might make a person are not there; what it asked is listed by itself.
    (record,) = e6data.audit(by=keys["AUDITOR"], identity=robot, actions=["decision"])
    assert (record.object_type, record.object_id, record.after["action"]) == ("cluster", "c-1", "start")
    for role in ("ANALYST", "DATA_ENGINEER"):
        with pytest.raises(grpc.RpcError) as refused:
            e6data.audit(by=keys[role], identity=robot)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_what_a_service_account_is_refused_or_sees_of_administration_is_in_its_audit(e6data: System) -> None:
    """A call of administration that is refused to a service account, or that lets it look, is one record of its audit;
    what it changes is in the record of that alone, and to read the audit adds nothing to it."""
    analyst, admin = program(e6data, "ANALYST"), program(e6data, "WORKSPACE_ADMIN")
    by_analyst, by_admin = e6data.key(analyst, days=30), e6data.key(admin, days=30)
    update = directory_service_pb2.UpdateIdentityRequest(
        identity=identity_pb2.Identity(id=admin), update_mask=mask("name")
    )
    for refused in (creation(unique("person")), update, directory_service_pb2.ListIdentitiesRequest(role="ANALYST")):
        assert e6data.refusal(refused, by_analyst).code is grpc.StatusCode.PERMISSION_DENIED
    person = e6data.create(unique("person"), "ANALYST", by=by_admin)
    e6data.ask(directory_service_pb2.GetIdentityRequest(id=person), by_admin)
    e6data.ask(directory_service_pb2.ListIdentitiesRequest(role="ANALYST"), by_admin)
    e6data.ask(policy_service_pb2.RefreshRequest(), by_admin)
    until(lambda: len(e6data.audit(actor=admin, actions=["decision"])) == 3)

    def told(actor: str) -> list[tuple[str, str, str]]:
        found = e6data.audit(by=by_admin, actor=actor, actions=["decision"])
        return [(each.action, each.object_type, each.after["action"]) for each in found]

    assert told(analyst) == [
        ("decision.denied", "sidecar.identity", "create"),
        ("decision.denied", "sidecar.identity", "update"),
        ("decision.denied", "sidecar.assignment", "read"),
    ]
    looks = [
        ("decision.allowed", "sidecar.identity", "read"),
        ("decision.allowed", "sidecar.assignment", "read"),
        ("decision.allowed", "sidecar.policy", "refresh"),
    ]
    assert told(admin) == looks
    e6data.ask(directory_service_pb2.GetIdentityRequest(id=person), by_admin)
    until(lambda: told(admin)[3:] == looks[:1])


def test_nothing_changes_when_people_leave(e6data: System) -> None:
    """When whoever made a service account, its key and its role is switched off, and when they are removed, its role,
    its keys and what they may do are as they were."""
    maker = e6data.create(unique("tomas"), "WORKSPACE_ADMIN")
    by = e6data.key(maker)
    robot = e6data.create(unique("sa"), program=True, by=by, name=unique("made by tomas"))
    e6data.ask(assignment(robot, "DATA_ENGINEER"), by)
    key = e6data.key(robot, by=by)

    def state() -> list[Any]:
        found = e6data.ask(directory_service_pb2.GetIdentityRequest(id=robot)).identity
        (listed,) = e6data.ask(credential_service_pb2.ListKeysRequest(identity=robot)).keys
        return [found.active, found.created_by, listed.active, e6data.roles(robot), may(e6data, [key])]

    before = state()
    assert before == [True, maker, True, {"DATA_ENGINEER": "hand"}, [table("DATA_ENGINEER")]]
    e6data.update(maker, active=False)
    assert reason_of(e6data.presents(by, "read", "cluster", "1")) == "INACTIVE_SUBJECT"
    assert state() == before
    e6data.ask(directory_service_pb2.DeleteIdentityRequest(id=maker))
    assert state() == before
