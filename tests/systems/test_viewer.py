"""The bundle of a hospital's archive in service: roles of data domains and their kinds, groups of an identity provider,
and access controls that change by commits."""

import itertools
import json
import time
from pathlib import Path

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import (
    credential_service_pb2,
    directory_service_pb2,
    policy_service_pb2,
)
from authz_sidecar.bundle.wording import listed
from tests.directory.identity_provider import AUDIENCE, ISSUER, public, rsa_key, sign
from tests.sources.git_program import git, init
from tests.systems.conftest import Start
from tests.systems.system import System, assignment, command, copy_of, creation, question, unique

CRUD = ("create", "read", "update", "delete")
DATA_DOMAINS = {
    "CLINICAL": ("patient_record",),
    "FINANCIAL": ("billing_record",),
    "PAYROLL": ("payroll_record",),
    "DOCUMENTS": ("document", "release_of_information"),
    "REPORTS": ("report",),
    "AUDIT": ("audit_log", "compliance_review"),
    "ADMIN": ("user", "role", "sso_connection"),
}
EVERYTHING = [(type, action) for types in DATA_DOMAINS.values() for type in types for action in CRUD]
ROLES = {
    "FULL_ACCESS": "CLINICAL FINANCIAL DOCUMENTS REPORTS",
    "RESTRICTED_ACCESS": "CLINICAL",
    "HR_PAYROLL": "PAYROLL",
    "BILLING": "FINANCIAL REPORTS",
    "HIM_ROI": "CLINICAL DOCUMENTS REPORTS",
    "COMPLIANCE_AUDITOR": "CLINICAL FINANCIAL DOCUMENTS REPORTS AUDIT",
    "ADMIN": "ADMIN",
    "NO_ACCESS": "",
}
WORKING = [role for role in ROLES if role != "NO_ACCESS"]
WHY = "asked for by the board"
SEVERAL = ("BILLING", "HIM_ROI", "HR_PAYROLL")
AUTHOR = {
    "GIT_AUTHOR_NAME": "Ines",
    "GIT_AUTHOR_EMAIL": "ines@example.org",
    "GIT_COMMITTER_NAME": "Ines",
    "GIT_COMMITTER_EMAIL": "ines@example.org",
}
GROUPS = {
    "viewer-clinicians": "FULL_ACCESS",
    "viewer-wards": "RESTRICTED_ACCESS",
    "viewer-hr": "HR_PAYROLL",
    "viewer-billing": "BILLING",
    "viewer-him": "HIM_ROI",
    "viewer-compliance": "COMPLIANCE_AUDITOR",
    "viewer-it": "ADMIN",
}


def access(*roles: str) -> set[tuple[str, str]]:
    """What holders of all these roles may do, by the table: object types and actions."""
    return {
        (type, action)
        for role in roles
        for data_domain in ROLES[role].split()
        for type in DATA_DOMAINS[data_domain]
        for action in (("read",) if role == "COMPLIANCE_AUDITOR" else CRUD)
    }


def may(system: System, subject: str, credential: str = "") -> set[tuple[str, str]]:
    """What somebody may do, by the sidecar's answers: named, or by a credential."""
    checks = (
        question(subject, action, type, "42", **({"credential": credential} if credential else {}))
        for type, action in EVERYTHING
    )
    return {asked for asked, answer in zip(EVERYTHING, system.answers(checks), strict=True) if answer.allowed}


def issuers(folder: Path) -> str:
    """A file with an identity provider whose keys lie beside it."""
    (folder / "keys.json").write_text(json.dumps({"keys": [public(rsa_key())]}))
    issuer = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ["RS256"],
        "jwks": {"file": "keys.json"},
        "prefix": "idp:",
        "platform": True,
        "claims": {"groups": "groups"},
        "roles": WORKING,
        "identities": "directory",
        "create": True,
    }
    path = folder / "issuers.yaml"
    path.write_text(json.dumps({"issuers": [issuer]}))
    return str(path)


@pytest.fixture(scope="module")
def viewer(start: Start, tmp_path_factory: pytest.TempPathFactory) -> System:
    """The system on SQLite, with an identity provider."""
    options = ("--issuers", issuers(tmp_path_factory.mktemp("provider")))
    return start("examples/viewer", "ADMIN", options=options)


def jwt_of(person: str, *groups: str) -> str:
    """The provider's token of a member of groups."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": person, "iat": now, "exp": now + 600, "groups": list(groups)}
    return sign(rsa_key(), "RS256", claims)


def sign_in(system: System, person: str, *groups: str) -> str:
    """Sign in as a member of groups; the access token."""
    asked = credential_service_pb2.SignInRequest(jwt=jwt_of(person, *groups))
    return str(system.ask(asked, None).access_token)


def holder(system: System, *roles: str) -> str:
    """Somebody new who holds these roles."""
    return system.create(unique("person"), *roles, justification=WHY)


# --- roles and data domains


def test_deny_by_default(viewer: System) -> None:
    """Who is not known, who has been made and given no role, and who is named like a role or a group may do nothing."""
    newcomer = viewer.create(unique("newcomer"))
    for subject in (newcomer, "nobody", "FULL_ACCESS", "viewer-clinicians"):
        assert may(viewer, subject) == set()
    assert may(viewer, "", sign_in(viewer, unique("stranger"), "a-group-that-nobody-maps")) == set()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_its_data_domains(viewer: System, role: str) -> None:
    """Who holds one role may do just what its data domains cover, each with its object types and all four actions (an
    auditor reads), whether they are named or show a key."""
    person = holder(viewer, role)
    assert may(viewer, person) == access(role)
    assert may(viewer, "", viewer.key(person)) == access(role)


@pytest.mark.parametrize("additive", [True, False])
def test_access_is_the_union_of_the_roles(viewer: System, additive: bool) -> None:
    """Who holds two roles may do what either lets them, and nothing else: with ADMIN on top of a primary role, and
    with two primary roles."""
    pairs = [pair for pair in itertools.combinations(WORKING, 2) if ("ADMIN" in pair) == additive]
    assert len(pairs) == (6 if additive else 15)
    for pair in pairs:
        assert may(viewer, holder(viewer, *pair)) == access(*pair)


def test_there_are_no_companies(viewer: System) -> None:
    """Every role is held on the platform: assigned in a company it is refused."""
    person = viewer.create(unique("person"))
    for role in ROLES:
        refused = viewer.refusal(assignment(person, role, "acme", justification=WHY))
        assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["assignment.company"])


# --- kinds of roles


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> System:
    """The system on SQLite, and on PostgreSQL."""
    system: System = request.getfixturevalue("viewer" if request.param == "sqlite" else "in_git")
    return system


def test_a_second_primary_role_is_a_warning(viewer: System, capfd: pytest.CaptureFixture[str]) -> None:
    """Several primary roles may be held together; who does is pointed out by `lint` of the bundle beside the directory.
    ADMIN on top of one is not."""
    many, admin = holder(viewer, *SEVERAL), holder(viewer, "BILLING", "ADMIN")
    assert may(viewer, many) == access(*SEVERAL)
    capfd.readouterr()
    assert command("lint", "--directory", viewer.url, str(viewer.policies)) == 1
    told = capfd.readouterr().out
    assert f"1 identity of the directory holds the primary roles {listed(SEVERAL, 'and')} together: `{many}`" in told
    assert "warning[role-primary]" in told
    assert f"`{admin}`" not in told


def test_no_access_is_lifted_by_a_role_and_restored(either: System) -> None:
    """A new identity holds NO_ACCESS; a role lifts it, and taking the last role away restores it, at once."""
    person = either.create(unique("person"))
    assert either.roles(person) == {"NO_ACCESS": "default"}
    either.assign(person, "BILLING")
    either.assign(person, "HIM_ROI")
    assert either.roles(person) == {"BILLING": "hand", "HIM_ROI": "hand"}
    assert may(either, person) == access("BILLING", "HIM_ROI")
    either.take_away(person, "BILLING")
    assert either.roles(person) == {"HIM_ROI": "hand"}
    either.take_away(person, "HIM_ROI")
    assert either.roles(person) == {"NO_ACCESS": "default"}
    assert may(either, person) == set()


def test_suspending_restores_no_access(viewer: System) -> None:
    """Who is given NO_ACCESS in the place of their roles may do nothing, by a key that they have either, until a role
    is granted, which lifts it again."""
    person = holder(viewer, "BILLING", "HIM_ROI")
    key = viewer.key(person)
    viewer.assign(person, "NO_ACCESS", replace=True)
    assert viewer.roles(person) == {"NO_ACCESS": "hand"}
    assert may(viewer, "", key) == set()
    viewer.assign(person, "RESTRICTED_ACCESS")
    assert viewer.roles(person) == {"RESTRICTED_ACCESS": "hand"}
    assert may(viewer, "", key) == access("RESTRICTED_ACCESS")


def test_no_access_goes_with_no_other_role(viewer: System) -> None:
    """NO_ACCESS beside another role is refused, at the creation and later, and cannot be taken away by itself."""
    refused = viewer.refusal(creation(unique("both"), "BILLING", "NO_ACCESS"))
    assert (refused.code, "stands alone" in refused.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    person = holder(viewer, "BILLING")
    refused = viewer.refusal(assignment(person, "NO_ACCESS"))
    assert (refused.code, "stands alone" in refused.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    assert viewer.roles(person) == {"BILLING": "hand"}
    newcomer = viewer.create(unique("newcomer"))
    (held,) = viewer.ask(directory_service_pb2.ListRoleAssignmentsRequest(identity=newcomer)).assignments
    refused = viewer.refusal(directory_service_pb2.DeleteRoleAssignmentRequest(id=held.id))
    assert (refused.code, "assign another role" in refused.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)


# --- groups


def test_roles_come_from_groups_at_each_sign_in(either: System) -> None:
    """Signing in gives the roles of the groups that somebody is in by then: joining one adds its role, leaving one
    takes it away, and with the last of them NO_ACCESS is back."""
    name = unique("member")
    token = sign_in(either, name, "viewer-billing")
    person = f"idp:{name}"
    assert either.roles(person) == {"BILLING": "group:viewer-billing"}
    assert may(either, "", token) == access("BILLING")
    sign_in(either, name, "viewer-billing", "viewer-it", "a-group-that-nobody-maps")
    assert either.roles(person) == {"BILLING": "group:viewer-billing", "ADMIN": "group:viewer-it"}
    assert may(either, "", token) == access("BILLING", "ADMIN")
    sign_in(either, name, "viewer-wards")
    assert may(either, "", token) == access("RESTRICTED_ACCESS")
    sign_in(either, name)
    assert either.roles(person) == {"NO_ACCESS": "default"}
    assert may(either, "", token) == set()


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_gives_its_role(viewer: System, group: str) -> None:
    """Each group of the mapping gives its role, by an access token and by the provider's own token."""
    name = unique("member")
    token = sign_in(viewer, name, group)
    assert viewer.roles(f"idp:{name}") == {GROUPS[group]: f"group:{group}"}
    assert may(viewer, "", token) == access(GROUPS[group])
    assert may(viewer, "", jwt_of(name, group)) == access(GROUPS[group])


def test_roles_by_hand_and_by_groups_are_held_together(viewer: System) -> None:
    """What an administrator has assigned stays through sign-ins, beside what groups give."""
    name = unique("member")
    sign_in(viewer, name, "viewer-wards")
    viewer.assign(f"idp:{name}", "BILLING")
    sign_in(viewer, name, "viewer-wards")
    assert viewer.roles(f"idp:{name}") == {"RESTRICTED_ACCESS": "group:viewer-wards", "BILLING": "hand"}
    sign_in(viewer, name)
    assert viewer.roles(f"idp:{name}") == {"BILLING": "hand"}


def test_groups_do_not_lift_a_suspension(viewer: System) -> None:
    """Who was suspended by an administrator stays so through sign-ins, and by the provider's own token, whatever groups
    they are in."""
    name = unique("member")
    token = sign_in(viewer, name, "viewer-clinicians")
    viewer.assign(f"idp:{name}", "NO_ACCESS", replace=True)
    assert may(viewer, "", token) == set()
    assert may(viewer, "", sign_in(viewer, name, "viewer-clinicians")) == set()
    assert may(viewer, "", jwt_of(name, "viewer-clinicians")) == set()


# --- access controls


def test_a_sensitive_role_is_given_with_a_reason(viewer: System) -> None:
    """Giving somebody ADMIN without a justification is refused; with one the audit keeps it, and its auditor reads
    who, whom and why."""
    person = viewer.create(unique("person"))
    refused = viewer.refusal(assignment(person, "ADMIN"))
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JUSTIFICATION_REQUIRED")
    assert "`justification`" in refused.message
    viewer.assign(person, "ADMIN", justification=WHY)
    auditor = viewer.key(holder(viewer, "COMPLIANCE_AUDITOR"))
    found = viewer.audit(auditor, subject=person, actions=["assignment.create"])
    assert [(record.actor, record.justification) for record in found][-1] == ("root", WHY)


class Repository:
    """The bundle in the folder `policies` of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = init(root)
        self.policies = copy_of("examples/viewer", root, without=("assignments.yaml",))
        self.commit("The archive's access controls")

    def commit(self, subject: str, why: str = "") -> str:
        """Commit what is there; the commit."""
        git(self.root, "add", "--all")
        trailer = ["--trailer", f"Justification: {why}"] if why else []
        git(self.root, "commit", "--quiet", "--message", subject, *trailer)
        return self.head

    @property
    def head(self) -> str:
        """The newest commit."""
        return git(self.root, "rev-parse", "HEAD")

    def edit(self, role: str, old: str, new: str) -> None:
        """Change the text of one role."""
        path = self.policies / "roles.yaml"
        before, name, rest = path.read_text().partition(f"\n  {role}:\n")
        assert old in rest
        path.write_text(before + name + rest.replace(old, new, 1))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository of one's own."""
    return Repository(tmp_path_factory.mktemp("repository") / "work")


@pytest.fixture(scope="module")
def in_git(start: Start, repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> System:
    """The system on PostgreSQL, from the repository, which it looks at when it is asked to."""
    folder = tmp_path_factory.mktemp("git")
    where = f"git+file://{repository.root}?ref=main&path=policies"
    options = ("--policies", where, "--git-interval", "0", "--git-cache", str(folder), "--issuers", issuers(folder))
    return start("examples/viewer", "ADMIN", postgresql=True, options=options)


def looked(system: System) -> policy_service_pb2.RefreshResponse:
    """Have the sidecar look at the repository; what came of it."""
    answer = system.ask(policy_service_pb2.RefreshRequest())
    assert isinstance(answer, policy_service_pb2.RefreshResponse)
    return answer


def test_a_cell_is_toggled_by_a_commit(in_git: System, repository: Repository) -> None:
    """A data domain that a commit adds to a role is served from the next look on, to all who hold the role; so is its
    removal."""
    person = holder(in_git, "HR_PAYROLL")
    assert may(in_git, person) == access("HR_PAYROLL")
    repository.edit("HR_PAYROLL", "[PAYROLL]", "[PAYROLL, REPORTS]")
    commit = repository.commit("Payroll staff read reports", WHY)
    assert looked(in_git).policy_version == commit
    answer = in_git.check(person, "read", "report")
    assert (answer.allowed, answer.policy_version) == (True, commit)
    assert may(in_git, person) == access("HR_PAYROLL") | {("report", action) for action in CRUD}
    repository.edit("HR_PAYROLL", "[PAYROLL, REPORTS]", "[PAYROLL]")
    commit = repository.commit("No more", WHY)
    assert looked(in_git).policy_version == commit
    assert may(in_git, person) == access("HR_PAYROLL")


def test_every_change_is_a_version_with_who_and_why(
    in_git: System, repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    """The history of a role, and the versions and their differences as the sidecar tells them, say who changed what,
    when and why, the identities of the directory included; another role's history does not."""
    base = repository.head
    person = holder(in_git, "BILLING")
    role = ("role", "toggle", "BILLING", "DOCUMENTS", "--policies", str(repository.policies), "--yes")
    assert command(*role, "--commit", "--justification", WHY, **AUTHOR) == 0
    looked(in_git)
    newest, *_ = in_git.ask(policy_service_pb2.ListPolicyVersionsRequest()).versions
    assert (newest.policy_version, newest.active, newest.justification) == (repository.head, True, WHY)
    assert AUTHOR["GIT_AUTHOR_NAME"] in newest.author
    assert newest.HasField("time")
    told = in_git.ask(policy_service_pb2.DiffPolicyVersionsRequest(base=base, head=repository.head))
    assert told.access_changes
    assert person in told.report_json
    assert "BILLING gains all of data domain DOCUMENTS" in told.report_text
    capfd.readouterr()
    assert command("history", "BILLING", "--policies", str(repository.policies), "--format", "json") == 0
    changes = json.loads(capfd.readouterr().out)["changes"]
    assert [(one["commit"], one["author"], one["justifications"]) for one in changes][:1] == [
        (repository.head, AUTHOR["GIT_AUTHOR_NAME"], [WHY])
    ]
    assert any("DOCUMENTS" in line["text"] for line in changes[0]["gained"])
    assert command("history", "HIM_ROI", "--policies", str(repository.policies), "--format", "json") == 0
    assert all(one["commit"] != repository.head for one in json.loads(capfd.readouterr().out)["changes"])
    assert command(*role, "--commit", "--justification", "it was for a month", **AUTHOR) == 0


def test_sensitive_data_domains_change_with_a_reason(repository: Repository, capfd: pytest.CaptureFixture[str]) -> None:
    """A change of who reaches a sensitive data domain is kept out until a commit of it says why; one of another data
    domain needs no reason there."""
    base = repository.head
    gate = ("diff", base, "HEAD", "--gate", "--policies", str(repository.policies))
    for data_domain, sensitive in (("DOCUMENTS", False), ("ADMIN", True)):
        git(repository.root, "switch", "--quiet", "--create", unique("change"))
        try:
            repository.edit("BILLING", "REPORTS]", f"REPORTS, {data_domain}]")
            repository.commit("Billing reaches more")
            capfd.readouterr()
            assert command(*gate) == (1 if sensitive else 0)
            assert ("sensitive-is-justified" in capfd.readouterr().out) == sensitive
            git(repository.root, "commit", "--quiet", "--amend", "--no-edit", "--trailer", f"Justification: {WHY}")
            assert command(*gate) == 0
        finally:
            git(repository.root, "switch", "--quiet", "main")
    toggle = ("role", "toggle", "BILLING", "ADMIN", "--policies", str(repository.policies), "--yes", "--commit")
    assert command(*toggle, **AUTHOR) == 2
    assert repository.head == base


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "    kind: sole\n    assigned: platform\n",
            "    kind: sole\n    assigned: platform\n    data_domains: [REPORTS]\n",
        ),
        ("", ""),
    ],
    ids=["edited", "removed"],
)
def test_no_access_is_neither_edited_nor_removed(in_git: System, repository: Repository, old: str, new: str) -> None:
    """A commit that gives NO_ACCESS a data domain, or removes it, is refused, and what was served goes on."""
    served = looked(in_git).policy_version
    person = in_git.create(unique("person"))
    if old:
        repository.edit("NO_ACCESS", old, new)
    else:
        path = repository.policies / "roles.yaml"
        path.write_text(path.read_text().partition("\n  NO_ACCESS:")[0] + "\n")
    refused = repository.commit("Spoil it", WHY)
    try:
        answer = looked(in_git)
        assert (answer.outcome, answer.policy_version) == (policy_service_pb2.REFRESH_OUTCOME_REFUSED, served)
        assert answer.found_version == refused
        assert "NO_ACCESS" in answer.why
        assert may(in_git, person) == set()
    finally:
        git(repository.root, "revert", "--no-edit", "HEAD")
    assert looked(in_git).outcome == policy_service_pb2.REFRESH_OUTCOME_CURRENT
