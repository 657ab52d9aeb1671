"""One set of roles for people and programs, in service: both are made through administration, have exactly one role,
may have policies of their own, and hold credentials that are worth what they are. The console is for people."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import (
    authenticate_pb2,
    credential_service_pb2,
    directory_service_pb2,
    explain_pb2,
    identity_pb2,
    policy_service_pb2,
)
from tests.directory.identity_provider import AUDIENCE, ISSUER, public, rsa_key, sign
from tests.systems.conftest import Start
from tests.systems.system import System, assignment, creation, question, reason_of, unique

CRUD = ("create", "read", "update", "delete")
TYPES = ("collection", "record", "pipeline", "user", "service_account", "role", "policy", "api_credential")
EVERYTHING = [(type, action) for type in TYPES for action in CRUD]
ACCESS = {
    "admin": {*EVERYTHING},
    "reader": {(type, "read") for type in TYPES},
    "curator": {(type, action) for type in ("collection", "record") for action in CRUD} | {("pipeline", "read")},
}
ROLES = tuple(ACCESS)
KINDS = {"user": False, "service account": True}
FLAG = {"can_open_console": True}
PASSWORD = "correct horse battery staple"
WHY = "asked for by the team"
CURRENT, REFUSED = policy_service_pb2.REFRESH_OUTCOME_CURRENT, policy_service_pb2.REFRESH_OUTCOME_REFUSED
# A role that somebody adds, and that grants the console.
TAGGER = """\
roles:
  tagger:
    assigned: platform
    grants:
      - {object: record, actions: [read, update]}
      - {object: console, actions: [open]}
"""


@pytest.fixture(scope="module")
def clinia(start: Start, tmp_path_factory: pytest.TempPathFactory) -> System:
    """The system, with an identity provider and a first administrator, and nobody else."""
    folder = tmp_path_factory.mktemp("provider")
    (folder / "keys.json").write_text(json.dumps({"keys": [public(rsa_key())]}))
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["RS256"],
        "jwks": {"file": "keys.json"},
        "prefix": "idp:",
        "platform": True,
        "identities": "directory",
    }
    issuers = folder / "issuers.yaml"
    issuers.write_text(json.dumps({"issuers": [issuer]}))
    files = ("users.yaml", "service-accounts.yaml")
    return start("examples/clinia", "admin", without=files, options=("--issuers", str(issuers)))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.replace(" ", "-"))
def program(request: pytest.FixtureRequest) -> bool:
    """Whether the identity of the test is a service account; users are the other kind."""
    return KINDS[request.param]


def holder(system: System, role: str, *, program: bool, **more: Any) -> str:
    """Make an identity with a role; its id."""
    return system.create(unique("sa" if program else "user"), role, program=program, **more)


def may(system: System, subject: str = "", **more: Any) -> set[tuple[str, str]]:
    """What a subject, or who shows a credential, may do: object types and actions."""
    answers = system.answers(question(subject, action, type, "1", **more) for type, action in EVERYTHING)
    return {each for each, answer in zip(EVERYTHING, answers, strict=True) if answer.allowed}


def opens(system: System, subject: str) -> str:
    """The reason of the answer to whether somebody opens the console."""
    return reason_of(system.check(subject, "open", "console"))


def grant(system: System, identity: str, type: str, *actions: str, id: str = "", effect: str = "") -> Any:
    """Attach a policy to one identity; the grant."""
    made = identity_pb2.IdentityGrant(
        identity=identity, object_type=type, object_id=id, actions=actions, effect=effect, justification=WHY
    )
    return system.ask(directory_service_pb2.CreateIdentityGrantRequest(grant=made)).grant


def refresh(system: System) -> policy_service_pb2.RefreshResponse:
    """Look at the policies now."""
    answer = system.ask(policy_service_pb2.RefreshRequest())
    assert isinstance(answer, policy_service_pb2.RefreshResponse)
    return answer


@pytest.fixture
def policies(clinia: System) -> Iterator[Path]:
    """The folder of the policies, to be changed; afterwards they are as before."""
    before = {path: path.read_text() for path in clinia.policies.iterdir()}
    yield clinia.policies
    for path in clinia.policies.iterdir():
        if path not in before:
            path.unlink()
    for path, text in before.items():
        path.write_text(text)
    assert refresh(clinia).outcome == CURRENT


# --- people and programs


def test_users_sign_in_with_a_password(clinia: System) -> None:
    """A user signs in with name and password and then may do what the user may; a wrong password gives nothing."""
    user = holder(clinia, "curator", program=False)
    clinia.ask(credential_service_pb2.SetPasswordRequest(identity=user, password=PASSWORD))
    token = clinia.sign_in(user, PASSWORD).access_token
    assert may(clinia, credential=token) == ACCESS["curator"]
    wrong = credential_service_pb2.SignInRequest(identity=user, password=PASSWORD + "!")
    assert clinia.refusal(wrong, None).code is grpc.StatusCode.UNAUTHENTICATED


def jwt_of(name: str) -> str:
    """The identity provider's token of somebody."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "iat": now, "exp": now + 600}
    return sign(rsa_key(), "RS256", claims)


def test_users_come_through_the_identity_provider(clinia: System) -> None:
    """A user whom the directory knows signs in with the identity provider's token, or shows it as it is; somebody whom
    only the provider knows does not."""
    name = unique("anna")
    clinia.create(f"idp:{name}", "reader")
    token = clinia.ask(credential_service_pb2.SignInRequest(jwt=jwt_of(name)), None).access_token
    for credential in (token, jwt_of(name)):
        assert may(clinia, credential=credential) == ACCESS["reader"]
    unknown = credential_service_pb2.SignInRequest(jwt=jwt_of("nobody"))
    assert clinia.refusal(unknown, None).code is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(clinia.presents(jwt_of("nobody"), "read", "record")) == "INVALID_CREDENTIAL"


def test_service_accounts_have_api_credentials_alone(clinia: System) -> None:
    """A service account has keys. It can be given no password, and signs in neither with one nor as somebody of the
    identity provider."""
    name = unique("robot")
    robot = clinia.create(f"idp:{name}", "reader", program=True)
    assert may(clinia, credential=clinia.key(robot)) == ACCESS["reader"]
    given = credential_service_pb2.SetPasswordRequest(identity=robot, password=PASSWORD)
    assert clinia.refusal(given).code is grpc.StatusCode.FAILED_PRECONDITION
    for asked in (
        credential_service_pb2.SignInRequest(identity=robot, password=PASSWORD),
        credential_service_pb2.SignInRequest(jwt=jwt_of(name)),
    ):
        assert clinia.refusal(asked, None).code is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(clinia.presents(jwt_of(name), "read", "record")) == "INVALID_CREDENTIAL"


@pytest.mark.parametrize("role", ROLES)
def test_the_console_is_for_users(clinia: System, role: str) -> None:
    """A user with the flag opens the console, whatever their role; no service account does, by its name or by its key,
    with the flag switched on, with a policy of its own for it, or with all of that."""
    assert opens(clinia, holder(clinia, role, program=False, flags=FLAG)) == "ALLOWED_BY_RULE"
    plain, flagged = holder(clinia, role, program=True), holder(clinia, role, program=True, flags=FLAG)
    granted = holder(clinia, role, program=True, flags=FLAG)
    grant(clinia, granted, "console", "open")
    grant(clinia, granted, "*", "*")
    for robot in (plain, flagged, granted):
        assert opens(clinia, robot) == "DENIED_BY_RULE"
        assert not clinia.presents(clinia.key(robot), "open", "console").allowed
        assert not clinia.presents(clinia.token(robot).access_token, "open", "console").allowed
    clinia.assign(flagged, "admin" if role != "admin" else "reader", replace=True)
    assert opens(clinia, flagged) == "DENIED_BY_RULE"


def test_the_answer_says_that_programs_have_no_console(clinia: System) -> None:
    """The explanation of a service account's denial names its kind as what denied."""
    robot = holder(clinia, "admin", program=True, flags=FLAG)
    asked = explain_pb2.ExplainRequest(check=question(robot, "open", "console"))
    answer = clinia.sidecar.stub.Explain(asked, timeout=10)
    assert not answer.result.allowed
    assert answer.source == "kind:service_account"


def test_a_new_role_opens_no_console_for_programs(clinia: System, policies: Path) -> None:
    """A role that somebody adds and that grants the console, without being one of the flag's, opens it for users
    alone."""
    (policies / "tagger.yaml").write_text(TAGGER)
    assert refresh(clinia).outcome == CURRENT
    made = [holder(clinia, "tagger", program=kind) for kind in (False, True)]
    assert [opens(clinia, each) for each in made] == ["ALLOWED_BY_RULE", "DENIED_BY_RULE"]
    for each in made:
        clinia.assign(each, "reader", replace=True)


# --- roles


def test_each_identity_has_exactly_one_role(clinia: System, program: bool) -> None:
    """An identity is made with one role, not with none and not with two. Its role is replaced, not taken away, and no
    second one is added."""
    without = clinia.refusal(creation(unique("none"), program=program))
    assert without.code is grpc.StatusCode.FAILED_PRECONDITION
    both = clinia.refusal(creation(unique("both"), "reader", "curator", program=program))
    assert both.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    made = holder(clinia, "reader", program=program)
    second = clinia.refusal(assignment(made, "curator"))
    assert (second.code, second.info.metadata["limit"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1")
    listed = directory_service_pb2.ListRoleAssignmentsRequest(identity=made)
    (held,) = clinia.ask(listed).assignments
    last = clinia.refusal(directory_service_pb2.DeleteRoleAssignmentRequest(id=held.id))
    assert last.code is grpc.StatusCode.FAILED_PRECONDITION
    clinia.assign(made, "curator", replace=True)
    assert clinia.roles(made) == {"curator": "hand"}
    assert may(clinia, made) == ACCESS["curator"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gives_both_kinds_the_same(clinia: System, program: bool, role: str) -> None:
    """`admin` may do everything, `reader` reads everything and does no more, another role is what it says: for users
    and service accounts alike."""
    assert may(clinia, holder(clinia, role, program=program)) == ACCESS[role]


@pytest.mark.parametrize("role", ROLES)
def test_admin_administers_and_reader_reads(clinia: System, program: bool, role: str) -> None:
    """Over the directory itself `admin` may do everything too, `reader` reads, and others do nothing."""
    key, other = clinia.key(holder(clinia, role, program=program)), holder(clinia, "reader", program=False)
    reading: Sequence[Any] = (
        directory_service_pb2.GetIdentityRequest(id=other),
        credential_service_pb2.ListKeysRequest(identity=other),
        policy_service_pb2.GetActivePolicyRequest(),
    )
    changing: Sequence[Any] = (
        creation(unique("user"), "reader"),
        assignment(other, "curator", replace=True),
        credential_service_pb2.CreateKeyRequest(identity=other, name="one"),
        directory_service_pb2.DeleteIdentityRequest(id=other),
    )
    allowed = [] if role == "curator" else [*reading, *(changing if role == "admin" else ())]
    for message in (*reading, *changing):
        if message in allowed:
            clinia.ask(message, key)
        else:
            assert clinia.refusal(message, key).code is grpc.StatusCode.PERMISSION_DENIED


def test_built_in_roles_cannot_be_deleted(clinia: System, policies: Path) -> None:
    """Policies without `admin` or `reader` are refused for just that, and what was served goes on."""
    served = refresh(clinia).policy_version
    roles = (policies / "roles.yaml").read_text()
    # Nothing else is to be wrong with them.
    (policies / "gates.yaml").unlink()
    console = policies / "console.yaml"
    console.write_text(console.read_text().replace("roles: [admin, reader, curator]", "roles: [curator]"))
    for role in ("admin", "reader"):
        (policies / "roles.yaml").write_text(roles.replace(f"  {role}:\n", f"  {role}2:\n"))
        answer = refresh(clinia)
        assert (answer.outcome, answer.policy_version) == (REFUSED, served)
        assert f"the built-in role `{role}` is not defined" in answer.why
        assert may(clinia, holder(clinia, role, program=False)) == ACCESS[role]


def test_other_roles_are_free_until_somebody_holds_them(clinia: System, policies: Path) -> None:
    """A role that somebody adds can be assigned to both kinds, and is as it says. While a user or a service account
    holds it, policies without it are refused with the role and its holders, and what was served goes on; once nobody
    does, they are taken, and the role cannot be assigned any more."""
    path = policies / "tagger.yaml"
    path.write_text(TAGGER)
    answer = refresh(clinia)
    assert answer.outcome == CURRENT
    served = answer.policy_version
    holders = [holder(clinia, "tagger", program=kind) for kind in KINDS.values()]
    path.unlink()
    while holders:
        answer = refresh(clinia)
        assert (answer.outcome, answer.policy_version) == (REFUSED, served)
        assert [name in answer.why for name in ("`tagger`", *[f"`{each}`" for each in holders])] == (
            [True] * (1 + len(holders))
        )
        for each in holders:
            assert may(clinia, each) == {("record", "read"), ("record", "update")}
        clinia.assign(holders.pop(), "reader", replace=True)
    assert refresh(clinia).outcome == CURRENT
    late = clinia.refusal(creation(unique("late"), "tagger"))
    assert late.code is grpc.StatusCode.INVALID_ARGUMENT


# --- policies of one identity


def test_both_kinds_take_policies_of_their_own(clinia: System, program: bool) -> None:
    """A policy that is attached to one identity adds to its role, or takes from it, at once and for that identity
    alone, until it is detached."""
    made, other = holder(clinia, "reader", program=program), holder(clinia, "reader", program=program)
    key = clinia.key(made)
    grants = [
        grant(clinia, made, "record", "update", "create"),
        grant(clinia, made, "pipeline", "delete", id="1"),
        grant(clinia, made, "policy", "read", effect="deny"),
    ]
    more = {("record", "update"), ("record", "create"), ("pipeline", "delete")}
    for asked in ({"subject": made}, {"credential": key}):
        assert may(clinia, **asked) == (ACCESS["reader"] | more) - {("policy", "read")}
    assert not clinia.check(made, "delete", "pipeline", "2").allowed
    assert may(clinia, other) == ACCESS["reader"]
    listed = clinia.ask(directory_service_pb2.ListIdentityGrantsRequest(identity=made)).grants
    assert [each.id for each in listed] == [each.id for each in grants]
    for each in grants:
        clinia.ask(directory_service_pb2.DeleteIdentityGrantRequest(id=each.id))
    assert may(clinia, credential=key) == ACCESS["reader"]


# --- credentials


def credentials_of(system: System, identity: str) -> Mapping[str, str]:
    """One credential of each kind that an identity of any kind may have."""
    return {"key": system.key(identity), "token": system.token(identity).access_token}


def test_a_credential_belongs_to_one_identity(clinia: System, program: bool) -> None:
    """Each key and token stands for the identity that it was made for, and is listed with it alone."""
    made, other = (holder(clinia, "curator", program=program) for _ in range(2))
    for credential in credentials_of(clinia, made).values():
        asked = authenticate_pb2.AuthenticateRequest(credential=credential)
        answer = clinia.sidecar.stub.Authenticate(asked, timeout=10)
        assert (answer.authenticated, answer.subject) == (True, made)
    keys = {each: clinia.ask(credential_service_pb2.ListKeysRequest(identity=each)).keys for each in (made, other)}
    assert ([each.identity for each in keys[made]], [*keys[other]]) == ([made], [])


def test_a_credential_carries_exactly_its_identitys_access(clinia: System, program: bool) -> None:
    """What a key or token may do is what its identity may, also after its role or its policies change, at once."""
    made = holder(clinia, "curator", program=program)
    credentials = credentials_of(clinia, made)

    def all_are(access: set[tuple[str, str]]) -> bool:
        return all(may(clinia, **asked) == access for asked in ({"subject": made}, *shown))

    shown = [{"credential": credential} for credential in credentials.values()]
    assert all_are(ACCESS["curator"])
    for role in ("reader", "admin", "curator"):
        clinia.assign(made, role, replace=True)
        assert all_are(ACCESS[role])
    grant(clinia, made, "user", "read")
    assert all_are(ACCESS["curator"] | {("user", "read")})


def test_credentials_stop_with_their_identity_at_once(clinia: System, program: bool) -> None:
    """When an identity is switched off, all its credentials are denied at once and told so, for administration too;
    switched on they are as before; once it is removed they are nobody's."""
    made = holder(clinia, "admin", program=program)
    credentials = [*credentials_of(clinia, made).values()]
    if not program:
        clinia.ask(credential_service_pb2.SetPasswordRequest(identity=made, password=PASSWORD))
        credentials.append(clinia.sign_in(made, PASSWORD).access_token)
    asked = directory_service_pb2.GetIdentityRequest(id="root")

    def reasons() -> set[str]:
        return {reason_of(clinia.presents(each, "read", "record")) for each in credentials}

    assert reasons() == {"ALLOWED_BY_RULE"}
    clinia.update(made, active=False)
    assert reasons() == {"INACTIVE_SUBJECT"}
    assert {clinia.refusal(asked, each).code for each in credentials} == {grpc.StatusCode.UNAUTHENTICATED}
    if not program:
        tried = credential_service_pb2.SignInRequest(identity=made, password=PASSWORD)
        assert clinia.refusal(tried, None).code is grpc.StatusCode.UNAUTHENTICATED
    clinia.update(made, active=True)
    assert reasons() == {"ALLOWED_BY_RULE"}
    clinia.ask(directory_service_pb2.DeleteIdentityRequest(id=made))
    assert reasons() == {"INVALID_CREDENTIAL"}
    assert {clinia.refusal(asked, each).code for each in credentials} == {grpc.StatusCode.UNAUTHENTICATED}
