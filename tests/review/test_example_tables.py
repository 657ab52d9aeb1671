"""The tables of the four example systems, written down here apart from their YAML, cell by cell; and what a change of
their files may and may not do. A wrong grant and a wrong policy test in a bundle cannot agree unseen."""

from itertools import chain, combinations

import pytest

from tests.review.example_bundles import (
    Files,
    Question,
    answers,
    asker,
    bundle_of,
    changed,
    files_of,
    findings_of,
    questions,
    with_file,
)

CRUD = ("create", "read", "update", "delete")
BOTH = ("primary", "additive")


def held_by(files: Files) -> dict[str, tuple[str, ...]]:
    """The roles of every identity that the bundle assigns."""
    held: dict[str, tuple[str, ...]] = {}
    for assignment in bundle_of(files).assignments:
        held[assignment.subject] = (*held.get(assignment.subject, ()), *assignment.roles)
    return held


def declared(files: Files) -> dict[str, tuple[str, ...]]:
    """Every action of every object type that the bundle declares."""
    types = bundle_of(files).manifest.object_types
    return {name: tuple(kind.actions) for name, kind in types.items()}


# --- viewer ----------------------------------------------------------------------------------------------------

COVERS = {
    "CLINICAL": {"patient_record"},
    "FINANCIAL": {"billing_record"},
    "PAYROLL": {"payroll_record"},
    "DOCUMENTS": {"document", "release_of_information"},
    "REPORTS": {"report"},
    "AUDIT": {"audit_log", "compliance_review"},
    "ADMIN": {"user", "role", "sso_connection"},
}
ARCHIVE_TYPES = {type: domain for domain, types in COVERS.items() for type in types}
# Data domains in full, and data domains read only.
ARCHIVE = {
    "FULL_ACCESS": ("primary", {"CLINICAL", "FINANCIAL", "DOCUMENTS", "REPORTS"}, set()),
    "RESTRICTED_ACCESS": ("primary", {"CLINICAL"}, set()),
    "HR_PAYROLL": ("primary", {"PAYROLL"}, set()),
    "BILLING": ("primary", {"FINANCIAL", "REPORTS"}, set()),
    "HIM_ROI": ("primary", {"CLINICAL", "DOCUMENTS", "REPORTS"}, set()),
    "COMPLIANCE_AUDITOR": ("primary", set(), {"CLINICAL", "FINANCIAL", "DOCUMENTS", "REPORTS", "AUDIT"}),
    "ADMIN": ("additive", {"ADMIN"}, set()),
    "NO_ACCESS": ("sole", set(), set()),
}
HELD_TOGETHER = [
    roles
    for count in range(1, 4)
    for roles in combinations([name for name, (kind, *_) in ARCHIVE.items() if kind in BOTH], count)
]


def archive_allows(roles: tuple[str, ...], question: Question) -> bool:
    """What the table says: the union of the roles."""
    domain = ARCHIVE_TYPES[question.type]
    return any(
        domain in full or (domain in read_only and question.action == "read")
        for _, full, read_only in map(ARCHIVE.__getitem__, roles)
    )


def test_every_cell_of_the_archive() -> None:
    """All eight roles, alone and with ADMIN on top, on every object type, as the table of data domains says."""
    files = files_of("viewer")
    held = held_by(files)
    with_admin = {(name, "ADMIN") for name, (kind, *_) in ARCHIVE.items() if kind == "primary"}
    assert set(held.values()) == {(name,) for name in ARCHIVE} | with_admin
    assert set(declared(files)) == set(ARCHIVE_TYPES)
    found = answers(asker(files), questions([*held, "stranger"], dict.fromkeys(ARCHIVE_TYPES, CRUD), ("", "42")))
    assert found == {question: archive_allows(held.get(question.subject, ()), question) for question in found}


def test_several_roles_are_their_union() -> None:
    """Whoever holds any one, two or three roles has what each of them covers and nothing more."""
    people = {f"person-{number}": roles for number, roles in enumerate(HELD_TOGETHER)}
    lines = [f"  - {{subject: {name}, roles: [{', '.join(roles)}]}}\n" for name, roles in people.items()]
    files = with_file(files_of("viewer"), "assignments.yaml", "assignments:\n" + "".join(lines))
    found = answers(asker(files), questions(people, dict.fromkeys(ARCHIVE_TYPES, CRUD)))
    assert found == {question: archive_allows(people[question.subject], question) for question in found}


def test_kinds_of_the_roles() -> None:
    """Six roles are primary, ADMIN is additive, NO_ACCESS is sole, and none belongs to a company."""
    roles = bundle_of(files_of("viewer")).roles
    assert {name: role.kind for name, role in roles.items()} == {name: kind for name, (kind, *_) in ARCHIVE.items()}
    assert {role.assigned for role in roles.values()} == {"platform"}


@pytest.mark.parametrize("roles", [roles for roles in HELD_TOGETHER if len(roles) == 2], ids="+".join)
def test_a_second_primary_role_is_a_warning(roles: tuple[str, str]) -> None:
    """Two primary roles load with a warning; ADMIN beside a primary role is nothing to mention."""
    text = f"assignments: [{{subject: a, roles: [{', '.join(roles)}]}}]\n"
    expected = [] if "ADMIN" in roles else [("warning", "role-primary")]
    assert findings_of(with_file(files_of("viewer"), "assignments.yaml", text)) == expected


@pytest.mark.parametrize("role", [name for name in ARCHIVE if name != "NO_ACCESS"])
def test_no_access_stands_alone(role: str) -> None:
    """NO_ACCESS beside any other role is refused, whether by hand or by a group."""
    files = files_of("viewer")
    by_hand = f"assignments: [{{subject: a, roles: [NO_ACCESS]}}, {{subject: a, roles: [{role}]}}]\n"
    assert findings_of(with_file(files, "assignments.yaml", by_hand)) == [("error", "role-sole")]
    by_group = f"group_mappings: [{{group: a, roles: [{role}, NO_ACCESS]}}]\n"
    assert findings_of(with_file(files, "groups.yaml", by_group)) == [("error", "role-sole")]


@pytest.mark.parametrize(
    ("path", "old", "new", "code"),
    [
        ("roles.yaml", "    kind: sole\n", "    kind: sole\n    data_domains: [REPORTS]\n", "role-sole"),
        ("roles.yaml", "    kind: sole\n", "    kind: sole\n    inherits: [BILLING]\n", "role-sole"),
        (
            "assignments.yaml",
            "roles: [NO_ACCESS]}",
            "roles: [NO_ACCESS], grants: [{object: report, actions: [read]}]}",
            "role-sole",
        ),
        ("roles.yaml", "  NO_ACCESS:\n", "  NOTHING:\n", "role-missing"),
    ],
    ids=["data domain", "inheritance", "grants beside it", "removal"],
)
def test_no_access_cannot_be_edited(path: str, old: str, new: str, code: str) -> None:
    """Whatever is given to NO_ACCESS, or beside it, is refused, and so is its removal."""
    assert ("error", code) in findings_of(changed(files_of("viewer"), path, old, new))


def test_toggling_a_cell_changes_that_cell() -> None:
    """A data domain taken from a role, or added to it, changes what its holders may do there and nothing else."""
    files = files_of("viewer")
    asked = questions(held_by(files), dict.fromkeys(ARCHIVE_TYPES, CRUD))
    before = answers(asker(files), asked)
    off = changed(files, "roles.yaml", "data_domains: [FINANCIAL, REPORTS]", "data_domains: [FINANCIAL]")
    on = changed(files, "roles.yaml", "data_domains: [PAYROLL]", "data_domains: [PAYROLL, REPORTS]")
    for toggled, people in ((off, ["billing-novak", "billing-manager-weiss"]), (on, ["hr-barros", "hr-manager-ito"])):
        after = answers(asker(toggled), asked)
        different = {question for question in asked if before[question] != after[question]}
        assert different == {question for question in asked if question.type == "report" and question.subject in people}


def test_groups_lead_to_every_role() -> None:
    """Every role can come from a group of the identity provider, one from each."""
    mappings = bundle_of(files_of("viewer")).group_mappings
    assert sorted(chain.from_iterable(mapping.roles for mapping in mappings)) == sorted(ARCHIVE)
    assert len({mapping.group for mapping in mappings}) == len(ARCHIVE)


# --- kissflow --------------------------------------------------------------------------------------------------

FLOW = {"process": {*CRUD, "start"}, "board": {*CRUD}, "dataset": {*CRUD}}
MANAGED = {
    "user": {*CRUD},
    "group": {*CRUD},
    "access_key": {*CRUD},
    "service_account": {*CRUD, "share"},
}
PEOPLE: dict[str, dict[str, set[str]]] = {
    "SUPER_ADMIN": {**FLOW, **MANAGED, "common_resource": {"read", "update", "extend_impersonation"}},
    "IAM_ADMIN": {**MANAGED, "common_resource": {"extend_impersonation"}},
    "FLOW_ADMIN": FLOW,
    "MEMBER": {"process": {"read", "start"}, "board": {"read", "update"}, "dataset": {"read"}},
}
SHARED: dict[str, dict[tuple[str, str], set[str]]] = {
    "sa-erp-sync": {
        ("process", "purchase-requests"): {"read", "start", "update", "impersonate"},
        ("board", "vendor-onboarding"): {"read", "update"},
    },
    "sa-hr-import": {
        ("dataset", "employees"): {"create", "read", "update"},
        ("common_resource", "user_and_group_management"): {"read", "update", "impersonate"},
    },
    "sa-archive": {
        ("common_resource", "all_items"): {"read"},
        ("common_resource", "all_flows"): {"read", "impersonate"},
    },
}
RESOURCES = ["", "purchase-requests", "vendor-onboarding", "employees", "all_items", "user_and_group_management"]
RESOURCES += ["all_flows", "another", "*", "purchase-requests/1"]


def test_every_cell_of_kissflow() -> None:
    """People have what their role says; a service account has the resources that are shared with it and no other."""
    files = files_of("kissflow")
    held = held_by(files)
    assert {subject for subject, roles in held.items() if not roles} == set(SHARED)
    found = answers(asker(files), questions([*held, "sa-new"], declared(files), RESOURCES))
    for question, allowed in found.items():
        by_role = [PEOPLE[role].get(question.type, set()) for role in held.get(question.subject, ())]
        by_share = SHARED.get(question.subject, {}).get((question.type, question.id), set())
        assert allowed == any(question.action in actions for actions in [*by_role, by_share]), question


def test_service_accounts_depend_on_no_role_and_no_person() -> None:
    """A service account reaches the same when every role grants everything, and when all people have left."""
    files = files_of("kissflow")
    everything = "".join(
        f"  {role}: {{assigned: platform, grants: [{{object: '*', actions: ['*']}}]}}\n" for role in PEOPLE
    )
    asked = questions([*SHARED, "sa-new"], declared(files), RESOURCES)
    before = answers(asker(files), asked)
    assert answers(asker(with_file(files, "roles.yaml", "roles:\n" + everything)), asked) == before
    assert answers(asker(with_file(files, "people.yaml", "assignments: []\n")), asked) == before


def test_impersonation_is_switched_for_one_resource() -> None:
    """Taken out of a share, `impersonate` is gone for that service account on that resource, and all else stays."""
    files = files_of("kissflow")
    asked = questions(held_by(files), declared(files), RESOURCES)
    off = changed(files, "service-accounts.yaml", "[read, start, update, impersonate]", "[read, start, update]")
    before, after = answers(asker(files), asked), answers(asker(off), asked)
    different = {question[:4] for question in asked if before[question] != after[question]}
    assert different == {("sa-erp-sync", "impersonate", "process", "purchase-requests")}


def test_only_two_roles_extend_impersonation() -> None:
    """No grant but those of SUPER_ADMIN and IAM_ADMIN names it, no role impersonates, and none is granted a `*`."""
    bundle = bundle_of(files_of("kissflow"))
    table = bundle.tables["p"]
    by_action: dict[str, set[str]] = {}
    for number in range(len(table)):
        subject, _, kind, _, action, *_ = table.rule(number).values
        # To switch impersonation on in a share is an action of its own, on the share.
        if kind != "sidecar.share":
            by_action.setdefault(action, set()).add(subject)
    assert by_action["extend_impersonation"] == {"role:SUPER_ADMIN", "role:IAM_ADMIN"}
    assert by_action["impersonate"] == set(SHARED)
    assert "*" not in by_action


# --- e6data ----------------------------------------------------------------------------------------------------

ENGINE: dict[str, dict[str, set[str]]] = {
    "WORKSPACE_ADMIN": {
        "cluster": {*CRUD, "start", "stop"},
        "catalog": {*CRUD},
        "query": {"run", "read", "cancel"},
        "service_account": {*CRUD, "assign_role"},
        "access_key": {"create", "read", "download", "revoke"},
        "role": {*CRUD},
        "activity": {"read"},
    },
    "DATA_ENGINEER": {
        "cluster": {"read", "start", "stop"},
        "catalog": {"create", "read", "update"},
        "query": {"run", "own read", "own cancel"},
    },
    "ANALYST": {"cluster": {"read"}, "catalog": {"read"}, "query": {"run", "own read", "own cancel"}},
    "AUDITOR": {"service_account": {"read"}, "access_key": {"read"}, "role": {"read"}, "activity": {"read"}},
}


def engine_allows(roles: tuple[str, ...], question: Question) -> bool:
    """What the table says."""
    granted = set(chain.from_iterable(ENGINE[role].get(question.type, set()) for role in roles))
    own = question.owner == question.subject and f"own {question.action}" in granted
    return own or question.action in granted


def test_every_cell_of_e6data() -> None:
    """Each role lets a person and a service account do the same, on every object type."""
    files = files_of("e6data")
    held = held_by(files)
    for accounts in (
        [subject for subject in held if subject.startswith("sa-")],
        [subject for subject in held if not subject.startswith("sa-")],
    ):
        assert sorted(held[subject] for subject in accounts) == sorted((role,) for role in ENGINE)
    found = answers(asker(files), questions([*held, "sa-new"], declared(files), ("", "42")))
    assert found == {question: engine_allows(held.get(question.subject, ()), question) for question in found}


def test_another_role_or_other_grants_change_a_service_account() -> None:
    """Assigned another role, a service account has that role's access and no more of its old; a grant taken from a role
    is taken from all who hold it, and from nobody else."""
    files = files_of("e6data")
    held = held_by(files)
    asked = questions(held, declared(files), ("", "42"))
    moved = changed(files, "assignments.yaml", "sa-dashboards, roles: [ANALYST]", "sa-dashboards, roles: [AUDITOR]")
    now = {**held, "sa-dashboards": ("AUDITOR",)}
    found = answers(asker(moved), asked)
    assert found == {question: engine_allows(now[question.subject], question) for question in asked}

    before = answers(asker(files), asked)
    less = changed(
        files, "roles.yaml", "{object: cluster, actions: [start, stop]}", "{object: cluster, actions: [start]}"
    )
    after = answers(asker(less), asked)
    different = {question[:3] for question in asked if before[question] != after[question]}
    # WORKSPACE_ADMIN inherits the grant.
    losers = ("elena", "sa-nightly-load", "tomas", "sa-provisioning")
    assert different == {(subject, "stop", "cluster") for subject in losers}


def test_a_service_account_outlives_people() -> None:
    """Without the people nothing of a service account changes."""
    files = files_of("e6data")
    accounts = {subject: roles for subject, roles in held_by(files).items() if subject.startswith("sa-")}
    asked = questions(accounts, declared(files), ("", "42"))
    lines = [f"  - {{subject: {subject}, roles: [{roles[0]}]}}\n" for subject, roles in accounts.items()]
    alone = with_file(files, "assignments.yaml", "assignments:\n" + "".join(lines))
    assert answers(asker(alone), asked) == answers(asker(files), asked)


def test_a_service_account_has_one_role() -> None:
    """A second role is refused."""
    two = "assignments: [{subject: sa, roles: [ANALYST, AUDITOR]}]\n"
    assert ("error", "assignment-limit") in findings_of(with_file(files_of("e6data"), "assignments.yaml", two))


# --- clinia ----------------------------------------------------------------------------------------------------

CONTENT = ("collection", "record", "pipeline")
DIRECTORY = ("user", "service_account", "role", "policy", "api_credential")
HEALTH: dict[str, dict[str, set[str]]] = {
    "admin": {type: {*CRUD} for type in (*CONTENT, *DIRECTORY)},
    "reader": {type: {"read"} for type in (*CONTENT, *DIRECTORY)},
    "curator": {"collection": {*CRUD}, "record": {*CRUD}, "pipeline": {"read"}},
}
USER_DEFINED = {
    ("dmitri", "update", "collection", "clinical-trials"),
    ("dmitri", "create", "record", "*"),
    ("sa-tagger", "update", "record", "*"),
    ("sa-tagger", "update", "pipeline", "tagging"),
    ("sa-tagger", "delete", "pipeline", "tagging"),
}
USERS = ("amelie", "bruno", "carmen", "dmitri")


def health_allows(roles: tuple[str, ...], question: Question) -> bool:
    """What role, user-defined policies and the kind of identity say."""
    subject, action, type, id, _ = question
    if type == "console":
        return subject in USERS and bool(roles)
    by_policy = {(subject, action, type, id), (subject, action, type, "*")} & USER_DEFINED
    return bool(by_policy) or any(action in HEALTH[role].get(type, ()) for role in roles)


def test_every_cell_of_clinia() -> None:
    """Each role means the same for people and programs, policies add to one identity, and only people open the
    console."""
    files = files_of("clinia")
    held = held_by(files)
    assert {len(roles) for roles in held.values()} == {1}
    assert set(USERS) < set(held)
    for people in (True, False):
        assert {role for subject, (role,) in held.items() if (subject in USERS) == people} == set(HEALTH)
    found = answers(
        asker(files), questions([*held, "stranger"], declared(files), ("", "42", "clinical-trials", "tagging"))
    )
    assert found == {question: health_allows(held.get(question.subject, ()), question) for question in found}


@pytest.mark.parametrize("role", HEALTH)
def test_no_policy_opens_the_console_to_a_service_account(role: str) -> None:
    """Neither a role with everything nor a user-defined policy of its own opens the console to a service account."""
    grants = "grants: [{object: console, actions: [open]}, {object: '*', actions: ['*']}]"
    text = f"assignments: [{{subject: sa, roles: [{role}], {grants}}}]\n"
    ask = asker(with_file(files_of("clinia"), "service-accounts.yaml", text))
    assert ask("sa", "delete", "record", "1")
    assert not ask("sa", "open", "console")


def test_the_console_is_closed_to_new_roles_unless_people_hold_them() -> None:
    """Every role of the bundle has the flag, so that nobody opens the console who was not given it."""
    bundle = bundle_of(files_of("clinia"))
    assert set(bundle.flags["can_open_console"].roles) == set(bundle.roles)
    assert bundle.flags["can_open_console"].default is False


@pytest.mark.parametrize("second", ["admin", "curator"])
def test_each_identity_has_one_role(second: str) -> None:
    """A second role is refused, in one assignment or in two."""
    files = files_of("clinia")
    for text in (
        f"assignments: [{{subject: a, roles: [reader, {second}]}}]\n",
        f"assignments: [{{subject: a, roles: [reader]}}, {{subject: a, roles: [{second}]}}]\n",
    ):
        assert ("error", "assignment-limit") in findings_of(with_file(files, "users.yaml", text))


@pytest.mark.parametrize("role", ["admin", "reader"])
def test_built_in_roles_cannot_be_removed(role: str) -> None:
    """Without `admin` or `reader` the bundle is refused, also where nobody holds the role."""
    files = changed(files_of("clinia"), "roles.yaml", f"\n  {role}:\n", f"\n  {role}2:\n")
    files = changed(files, "console.yaml", f"{role}, " if role == "admin" else f", {role}", "")
    for path in ("users.yaml", "service-accounts.yaml"):
        files = with_file(files, path, "assignments: []\n")
    files = with_file(files, "gates.yaml", "gates: []\n")
    assert findings_of(files) == [("error", "role-missing")]


def test_a_role_in_use_cannot_be_removed() -> None:
    """A role that somebody holds is refused its removal; one that nobody holds can go."""
    files = changed(files_of("clinia"), "console.yaml", ", curator", "")
    files = changed(files, "roles.yaml", "\n  curator:\n", "\n  librarian:\n")
    assert findings_of(files) == [("error", "unknown-role")]
    for path in ("users.yaml", "service-accounts.yaml"):
        files = with_file(files, path, "assignments: []\n")
    assert findings_of(files) == []
