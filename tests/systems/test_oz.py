"""The default bundle in service: roles held in a company or on the platform, flags, and tokens, with everybody made
through administration and nobody named in the bundle."""

import itertools
import time
from collections.abc import Iterator, Mapping

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import credential_service_pb2, directory_service_pb2, identity_pb2
from tests.server.sidecar import until
from tests.systems.conftest import Start
from tests.systems.system import System, assignment, creation, in_seconds, question, reason_of, unique

PASSWORD = "correct horse battery staple"
PLATFORM_ROLES = ("ADMIN", "OPERATOR")
COMPANY_ROLES = ("CLIENT", "CLIENT_SERVICE", "CLIENT_OPERATOR", "CLIENT_ADMIN")
ROLES = (*PLATFORM_ROLES, *COMPANY_ROLES)
CRUD = ("create", "read", "update", "delete")
WITHOUT_UPDATE = ("create", "read", "delete")
STARTS = ("start_biometry", "start_quality", "start_collection")
FLAGS = {start: f"can_start_analysis_{start.removeprefix('start_')}" for start in STARTS}
MINUTE, HOUR, YEAR = 60, 3_600, 365 * 86_400

USERS = "tokens: {lifetime: 15m, sliding: true, max_age: 12h}"
OF_SERVICES = "CLIENT_SERVICE: {lifetime: 5y}\n"

# One column for each role, in their order; one symbol for each action.
LEVELS = """\
company                     ++++ -+-- -c-- -c-- -c-- -ccc
folder                      ++++ +++- ooo- ccc- ccc- cccc
report_template             ++++ +++- -c-- -c-- ccc- cccc
report_template_attachment  +++  ++-  -c-  -c-  cc-  ccc
report                      +++  ++-  oo-  cc-  cc-  ccc
analysis                    ++++ +++- oo-- ccc- ccc- cccc
collection                  ++++ -+-- -c-- cc-- -c-- cccc
person                      +++  -+-  -c-  cc-  -c-  ccc
person_image                +++  -+-  -c-  -c-  -c-  ccc
user                        ++++ -+o- -oo- -co- -co- cccc
"""
# Where an object lies and whose it is: the company and the owner, for who is at home in acme.
SITUATIONS = {
    "own": ("acme", "$subject", ""),
    "own by id": ("acme", "$subject", "42"),
    "another's": ("acme", "somebody", "42"),
    "nobody's": ("acme", "", "42"),
    "own elsewhere": ("globex", "$subject", "42"),
    "another's elsewhere": ("globex", "somebody", "42"),
    "own in no company": ("", "$subject", "42"),
    "another's in no company": ("", "somebody", "42"),
}
OWN = {"own", "own by id"}
AT_HOME = {*OWN, "another's", "nobody's"}


def reach(symbol: str, role: str) -> set[str]:
    """The situations in which a symbol of the table allows something to a role: a company role ends with its company,
    also for what its holder owns."""
    own = OWN if role in COMPANY_ROLES else {*OWN, "own elsewhere", "own in no company"}
    return {"+": {*SITUATIONS}, "c": AT_HOME, "o": own, "-": set()}[symbol]


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Object type, role, action and symbol of every cell of the table."""
    for line in LEVELS.splitlines():
        type, *columns = line.split()
        for role, symbols in zip(ROLES, columns, strict=True):
            for action, symbol in zip(CRUD if len(symbols) == 4 else WITHOUT_UPDATE, symbols, strict=True):
                yield type, role, action, symbol


@pytest.fixture(scope="module")
def oz(start: Start) -> System:
    """The system on SQLite."""
    return start("policies", "ADMIN")


def holder(system: System, role: str, company: str = "acme") -> str:
    """Somebody new who holds a role: a program for CLIENT_SERVICE, in a company unless the role is the platform's."""
    home = company if role in COMPANY_ROLES else ""
    return system.create(unique(role.lower()), role, company=home, program=role == "CLIENT_SERVICE")


@pytest.fixture(scope="module")
def hasty(start: Start) -> System:
    """The system on PostgreSQL, with tokens that end within seconds: lifetimes are settings of the bundle, and other
    ones stand in the manifest of this copy."""
    shorter = USERS.replace("15m", "3s").replace("12h", "1h")
    more = (
        "    CLIENT_OPERATOR: {lifetime: 1s, sliding: false}\n"
        "    CLIENT_ADMIN: {lifetime: 1s, sliding: true, max_age: 2s}\n"
    )
    return start("policies", "ADMIN", postgresql=True, manifest=[(USERS, shorter), (OF_SERVICES, OF_SERVICES + more)])


@pytest.fixture(scope="module")
def people(oz: System) -> Mapping[str, str]:
    """One holder of each role, by role."""
    return {role: holder(oz, role) for role in ROLES}


def wrong_cells(system: System, people: Mapping[str, str]) -> list[str]:
    """Where answers differ from the table, for each situation, with the subject named and by an API key of it."""
    keys = {role: system.key(id) for role, id in people.items()}
    asked = []
    for (type, role, action, symbol), (place, (company, owner, id)) in itertools.product(cells(), SITUATIONS.items()):
        owned_by = owner.replace("$subject", people[role])
        for who in ({"subject": people[role]}, {"subject": "", "credential": keys[role]}):
            check = question(action=action, type=type, id=id, company=company, owner=owned_by, **who)
            asked.append((f"{role} {action} {type}, {place}", place in reach(symbol, role), check))
    answers = system.answers(check for _, _, check in asked)
    assert {answer.allowed for answer in answers} == {True, False}
    return [
        f"{name}: {reason_of(answer)}"
        for (name, allowed, _), answer in zip(asked, answers, strict=True)
        if answer.allowed != allowed
    ]


# --- roles


@pytest.mark.parametrize("role", PLATFORM_ROLES)
def test_platform_roles_are_assigned_in_no_company(oz: System, role: str) -> None:
    """ADMIN and OPERATOR are held on the platform: assigned in a company they are refused, and the refusal says so."""
    client = holder(oz, "CLIENT")
    refused = oz.refusal(assignment(client, role, "acme", replace=True))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.violations == {
        "assignment.company": f"the platform role `{role}` is assigned in the company `acme`",
    }
    assert "leave the company empty" in refused.message
    assert oz.roles(client) == {"CLIENT": "hand"}


@pytest.mark.parametrize("role", COMPANY_ROLES)
def test_company_roles_are_held_in_one_company(oz: System, role: str) -> None:
    """The four others are held in a company, and in one alone: without a company they are refused, and in a second one
    as well, also in the place of the first."""
    refused = oz.refusal(creation(unique("nowhere"), role))
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["roles[0]"])
    person = holder(oz, role)
    refused = oz.refusal(assignment(person, role, replace=True))
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["assignment.company"])
    for replace in (False, True):
        refused = oz.refusal(assignment(person, role, "globex", replace=replace))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.info.metadata["limit_name"] == "identities.own_company_only"
        assert f"`{person}` belongs to `acme` and would hold `{role}` in the company `globex`" in refused.message
        assert f"give it a role in `acme`, or give `{role}` to one of `globex`" in refused.message
    assert oz.roles(person) == {role: "hand"}
    assert oz.check(person, "read", "company", "acme", company="acme").allowed
    elsewhere = oz.check(person, "read", "company", "globex", company="globex")
    assert reason_of(elsewhere) == "NO_ROLE_IN_COMPANY"


@pytest.mark.parametrize("role", PLATFORM_ROLES)
def test_platform_roles_belong_to_no_company(oz: System, role: str) -> None:
    """Who belongs to a company is not given ADMIN or OPERATOR, at the creation, later, in the place of its role or for
    an emergency; and who holds one is given no role of a company."""
    client = holder(oz, "CLIENT")
    asked = [
        creation(unique("lofty"), role, company="acme"),
        assignment(client, role, replace=True),
        assignment(client, role, break_glass=True, expire_time=in_seconds(MINUTE), justification="fire"),
    ]
    for request in asked:
        refused = oz.refusal(request)
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.info.metadata["limit_name"] == "identities.own_company_only"
        assert f"belongs to `acme` and would hold `{role}` on the platform" in refused.message
    assert oz.roles(client) == {"CLIENT": "hand"}
    platform = holder(oz, role)
    refused = oz.refusal(assignment(platform, "CLIENT", "acme", replace=True))
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"`{platform}` belongs to none and would hold `CLIENT` in the company `acme`" in refused.message
    oz.assign(platform, *{*PLATFORM_ROLES} - {role}, replace=True)


def test_an_identity_has_one_role(oz: System) -> None:
    """Nobody is made without a role or left without one. A second one is refused with the limit and its value, at the
    creation and later; replacing one by another is one step, in force at once."""
    refused = oz.refusal(creation(unique("none"), company="acme"))
    assert (refused.code, "role" in refused.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    refused = oz.refusal(creation(unique("both"), "CLIENT", "CLIENT_OPERATOR", company="acme"))
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    client = holder(oz, "CLIENT")
    (held,) = oz.ask(directory_service_pb2.ListRoleAssignmentsRequest(identity=client)).assignments
    refused = oz.refusal(directory_service_pb2.DeleteRoleAssignmentRequest(id=held.id))
    assert (refused.code, "without" in refused.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    operator = holder(oz, "OPERATOR")
    for held, second in (
        ("CLIENT", assignment(client, "CLIENT_ADMIN", "acme")),
        ("OPERATOR", assignment(operator, "ADMIN")),
    ):
        refused = oz.refusal(second)
        assert refused.info.metadata["limit_name"] == "limits.roles_per_identity"
        assert refused.info.metadata["limit"] == "1"
        assert f"`{second.assignment.identity}` has `{held}`" in refused.message
    assert not oz.check(client, "delete", "folder", "1", "acme").allowed
    oz.assign(client, "CLIENT_ADMIN", "acme", replace=True)
    assert oz.roles(client) == {"CLIENT_ADMIN": "hand"}
    assert oz.check(client, "delete", "folder", "1", "acme").allowed


def test_who_is_not_known_may_do_nothing(oz: System) -> None:
    """Whom the directory does not have is denied, also what they would own, and so is who is switched off."""
    off = holder(oz, "CLIENT_ADMIN")
    oz.update(off, active=False)
    for subject, reason in (("nobody", "UNKNOWN_SUBJECT"), (off, "INACTIVE_SUBJECT")):
        asked = {(type, action) for type, _, action, _ in cells()}
        answers = oz.answers(question(subject, action, type, "1", "acme", owner=subject) for type, action in asked)
        assert {reason_of(answer) for answer in answers} == {reason}


# --- access levels


def test_the_access_levels_are_those_of_the_table(oz: System, people: Mapping[str, str]) -> None:
    """Every role may do just what its cell says to objects of each type: at home and elsewhere, its own and others',
    in companies and outside, whether it is named or shows a key."""
    assert wrong_cells(oz, people) == []


def test_the_access_levels_hold_on_postgresql(hasty: System) -> None:
    """The same with the identities in PostgreSQL."""
    assert wrong_cells(hasty, {role: holder(hasty, role) for role in ROLES}) == []


def test_everything_lies_in_the_company_at_the_root_of_its_tree(oz: System) -> None:
    """Users, folders and analyses, reports and their templates, collections and persons all lie in the company above
    them: who administers one company deletes any of them there, and reads none of another."""
    admin = holder(oz, "CLIENT_ADMIN")
    types = sorted({type for type, _, _, _ in cells()})
    for company, allowed in (("acme", True), ("globex", False)):
        for action in ("read", "delete"):
            answers = oz.answers(question(admin, action, type, "1", company, owner="somebody") for type in types)
            assert {answer.allowed for answer in answers} == {allowed}


@pytest.mark.parametrize("role", ["OPERATOR", "CLIENT", "CLIENT_SERVICE", "CLIENT_OPERATOR"])
def test_own_is_what_the_subject_owns(oz: System, people: Mapping[str, str], role: str) -> None:
    """A record is one's own when its owner is the subject, which needs no company: an operator changes their own user
    record, which lies outside of companies, and no other; the others theirs at home."""
    me = people[role]
    home = "acme" if role in COMPANY_ROLES else ""
    assert oz.check(me, "update", "user", me, home, owner=me).allowed
    for owner in ("somebody", ""):
        assert not oz.check(me, "update", "user", me, home, owner=owner).allowed
    for action in ("create", "delete"):
        assert not oz.check(me, action, "user", me, home, owner=me).allowed


def test_a_folder_and_what_is_in_it_are_its_owners(oz: System) -> None:
    """Two clients of one company see their own folders, analyses and reports, and not each other's."""
    mine, theirs = holder(oz, "CLIENT"), holder(oz, "CLIENT")
    for type in ("folder", "analysis", "report"):
        assert oz.check(mine, "read", type, "1", "acme", owner=mine).allowed
        assert not oz.check(mine, "read", type, "1", "acme", owner=theirs).allowed
        assert not oz.check(mine, "read", type, "1", "acme").allowed


# --- starting and deciding


def test_deciding_is_for_operators(oz: System, people: Mapping[str, str]) -> None:
    """Choosing a result is for OPERATOR everywhere and for CLIENT_OPERATOR in its company; no other role may."""
    for role, company in itertools.product(ROLES, ("acme", "globex")):
        allowed = role == "OPERATOR" or (role == "CLIENT_OPERATOR" and company == "acme")
        answer = oz.check(people[role], "decide", "analysis", "1", company, owner=people[role])
        assert answer.allowed == allowed, (role, company)


def test_the_administrator_decides_nothing(oz: System, people: Mapping[str, str]) -> None:
    """ADMIN may do everything, of every type there is, but choose a result: the deny wins over its wildcard, and over
    a grant of its own."""
    admin = people["ADMIN"]
    for type, _, action, _ in cells():
        assert oz.check(admin, action, type, "1", "globex", owner="somebody").allowed
    assert reason_of(oz.check(admin, "decide", "analysis", "1", "acme")) == "DENIED_BY_RULE"
    grant = identity_pb2.IdentityGrant(
        identity=admin, object_type="analysis", actions=["decide"], justification="they asked"
    )
    oz.ask(directory_service_pb2.CreateIdentityGrantRequest(grant=grant))
    assert reason_of(oz.check(admin, "decide", "analysis", "1", "acme")) == "DENIED_BY_RULE"


def test_who_may_create_an_analysis_may_start_every_kind(oz: System, people: Mapping[str, str]) -> None:
    """Each kind of start is answered as the creation is, for every role in every situation."""
    for role, (company, owner, id) in itertools.product(ROLES, SITUATIONS.values()):
        me = people[role]
        owned_by = owner.replace("$subject", me)
        created, *started = oz.answers(
            question(me, action, "analysis", id, company, owner=owned_by) for action in ("create", *STARTS)
        )
        assert {answer.allowed for answer in started} == {created.allowed}


@pytest.mark.parametrize("kind", STARTS)
def test_a_flag_switches_one_kind_of_start_off(oz: System, kind: str) -> None:
    """A client may start every kind until its flag is off; then that kind alone is denied, to that client alone, until
    the flag is on again."""
    client, other = holder(oz, "CLIENT"), holder(oz, "CLIENT")

    def may(who: str) -> dict[str, str]:
        answers = oz.answers(question(who, action, "analysis", "", "acme", owner=who) for action in STARTS)
        return dict(zip(STARTS, map(reason_of, answers), strict=True))

    every_kind = dict.fromkeys(STARTS, "ALLOWED_BY_RULE")
    assert may(client) == every_kind
    oz.update(client, f"flags.{FLAGS[kind]}", flags={FLAGS[kind]: False})
    assert may(client) == every_kind | {kind: "DENIED_BY_RULE"}
    assert may(other) == every_kind
    assert oz.check(client, "create", "analysis", "", "acme", owner=client).allowed
    oz.update(client, f"flags.{FLAGS[kind]}", flags={FLAGS[kind]: True})
    assert may(client) == every_kind


def test_flags_are_for_clients(oz: System) -> None:
    """A flag that is off takes nothing from the holder of another role, and one that is on gives a client nothing that
    is not its own."""
    off, on = dict.fromkeys(FLAGS.values(), False), dict.fromkeys(FLAGS.values(), True)
    operator = oz.create(unique("operator"), "CLIENT_OPERATOR", company="acme", flags=off)
    client = oz.create(unique("client"), "CLIENT", company="acme", flags=on)
    for action in STARTS:
        assert oz.check(operator, action, "analysis", "", "acme", owner=operator).allowed
        assert not oz.check(client, action, "analysis", "", "acme", owner="somebody").allowed


# --- tokens


def with_password(system: System, role: str, company: str = "acme") -> str:
    """A user who holds a role and has a password."""
    user = system.create(unique("user"), role, company=company if role in COMPANY_ROLES else "")
    system.ask(credential_service_pb2.SetPasswordRequest(identity=user, password=PASSWORD))
    return user


def lasts(token: credential_service_pb2.AccessToken) -> float:
    """How many seconds a token lasts from its making, unless it is used."""
    return (token.expire_time.ToMilliseconds() - token.create_time.ToMilliseconds()) / 1000


def reads(system: System, credential: str) -> str:
    """How a read of a company is answered to who shows a credential."""
    return reason_of(system.presents(credential, "read", "company", "acme", "acme"))


def test_a_sign_in_gives_a_token_of_fifteen_minutes(oz: System) -> None:
    """A token by password carries what its user may do, stops after 15 minutes without a request, and after 12 hours
    however many there are."""
    user = with_password(oz, "CLIENT")
    signed_in = oz.sign_in(user, PASSWORD)
    assert lasts(signed_in.token) == 15 * MINUTE
    assert signed_in.token.end_time.seconds - signed_in.token.create_time.seconds == pytest.approx(12 * HOUR, abs=1)
    answer = oz.presents(signed_in.access_token, "read", "folder", "1", "acme", owner=user)
    assert (answer.allowed, answer.subject) == (True, user)
    assert not oz.presents(signed_in.access_token, "delete", "folder", "1", "acme", owner=user).allowed


@pytest.mark.parametrize("program", [True, False])
def test_a_client_service_gets_a_token_of_five_years(oz: System, program: bool) -> None:
    """Whoever holds CLIENT_SERVICE, a program or a user, gets a token of 5 years that use does not extend."""
    service = oz.create(unique("service"), "CLIENT_SERVICE", company="acme", program=program)
    made = oz.token(service)
    assert lasts(made.token) == 5 * YEAR
    assert not made.token.HasField("end_time")
    assert reads(oz, made.access_token) == "ALLOWED_BY_RULE"


def test_a_program_signs_in_with_no_password(oz: System) -> None:
    """A service account cannot be given a password; its token is made by an administrator."""
    service = holder(oz, "CLIENT_SERVICE")
    refused = oz.refusal(credential_service_pb2.SetPasswordRequest(identity=service, password=PASSWORD))
    assert refused.code in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}


def test_requests_extend_a_token(hasty: System) -> None:
    """A token that requests keep using outlives its lifetime. One that nobody uses, one whose role's tokens do not
    slide, and one that has come to its greatest age expire."""
    people = {role: holder(hasty, role) for role in ("CLIENT", "CLIENT_OPERATOR", "CLIENT_ADMIN")}
    tokens = {role: hasty.token(id) for role, id in people.items()}
    unused = hasty.token(people["CLIENT"])
    assert lasts(unused.token) == 3

    def used() -> dict[str, str]:
        return {role: reads(hasty, made.access_token) for role, made in tokens.items()}

    assert used()["CLIENT"] == "ALLOWED_BY_RULE"
    until(lambda: used() and time.time() > unused.token.expire_time.ToMilliseconds() / 1000)
    assert used() == {
        "CLIENT": "ALLOWED_BY_RULE",
        "CLIENT_OPERATOR": "CREDENTIAL_EXPIRED",
        "CLIENT_ADMIN": "CREDENTIAL_EXPIRED",
    }
    assert reads(hasty, unused.access_token) == "CREDENTIAL_EXPIRED"


def test_each_token_that_is_worth_nothing_is_told_why(oz: System, hasty: System) -> None:
    """Expired, revoked and unknown tokens are denied, each with a reason of its own; a wrong secret is an unknown one,
    and whose user is switched off is told that."""
    client = holder(oz, "CLIENT")
    made, other = oz.token(client), oz.token(client)
    assert reads(oz, made.access_token) == "ALLOWED_BY_RULE"
    revoked = oz.ask(credential_service_pb2.RevokeTokensRequest(id=made.token.id))
    assert revoked.revoked == 1
    assert reads(oz, made.access_token) == "CREDENTIAL_REVOKED"
    assert reads(oz, other.access_token) == "ALLOWED_BY_RULE"
    token = made.access_token
    wrong = token[:-1] + ("x" if token[-1] != "x" else "y")
    assert {reads(oz, text) for text in ("azt_nobody", "nonsense", wrong)} == {"INVALID_CREDENTIAL"}
    # Another sidecar's token is nobody's here.
    foreign = hasty.token(holder(hasty, "CLIENT_SERVICE"))
    assert reads(hasty, foreign.access_token) == "ALLOWED_BY_RULE"
    assert reads(oz, foreign.access_token) == "INVALID_CREDENTIAL"
    oz.update(client, active=False)
    assert reads(oz, other.access_token) == "INACTIVE_SUBJECT"
    expired = hasty.token(holder(hasty, "CLIENT_OPERATOR"))
    until(lambda: reads(hasty, expired.access_token) == "CREDENTIAL_EXPIRED")
