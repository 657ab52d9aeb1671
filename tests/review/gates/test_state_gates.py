"""Gates that judge the policies as they are: what each kind finds and what it lets pass."""

import pytest

from authz_sidecar.review.access.boxes import contains
from authz_sidecar.review.access.change import EVERYTHING
from authz_sidecar.review.gates.evaluate import evaluate_state_gates
from tests.review.gates.scenes import bundle, change, gate, material, state, with_people, with_role

ONLY_PAYMASTERS = gate("only_roles: {roles: [PAYMASTER], data_domains: [PAYROLL]}")
AUDITOR = "AUDITOR: {assigned: platform, grants: [{object: '*', actions: [read]}]}"


def test_only_roles_holds() -> None:
    """Nothing is found where nobody else may."""
    assert state(bundle(ONLY_PAYMASTERS)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            bundle(ONLY_PAYMASTERS, roles=with_role(AUDITOR)),
            ["one: the role AUDITOR is allowed pay: read everywhere, which is for PAYMASTER only"],
            id="a wildcard of a role that nobody holds",
        ),
        pytest.param(
            bundle(ONLY_PAYMASTERS, roles=with_role("CHIEF: {assigned: company, inherits: [PAYMASTER]}")),
            ["one: the role CHIEF is allowed pay: read, update in every company, which is for PAYMASTER only"],
            id="a role that inherits",
        ),
        pytest.param(
            bundle(
                ONLY_PAYMASTERS,
                people=with_people("subject: eve, company: acme, grants: [{object: pay, actions: [read]}]"),
            ),
            ["one: eve is allowed pay: read in acme, which is for PAYMASTER only"],
            id="an identity's own grant",
        ),
        pytest.param(
            bundle(
                ONLY_PAYMASTERS,
                people=with_people(
                    "subject: pat, roles: [PAYMASTER], company: acme",
                    "subject: pat, grants: [{object: pay, id: '7', actions: [read], scope: own}]",
                ),
            ),
            ["one: pat is allowed pay 7: read (own) everywhere, which is for PAYMASTER only"],
            id="an own grant of somebody who holds the role elsewhere",
        ),
    ],
)
def test_only_roles(files: dict[str, str], expected: list[str]) -> None:
    """Whoever else may is found: by wildcards, by inheritance, by grants of their own beside the role."""
    assert state(files) == expected


def test_only_roles_lets_named_identities() -> None:
    """Identities that may are named; the beginning of their names will do."""
    people = with_people("subject: sa-pay, company: acme, grants: [{object: pay, actions: [read]}]")
    gates = gate("only_roles: {roles: [PAYMASTER], identities: ['sa-*'], objects: [pay]}")
    assert state(bundle(gates, people=people)) == []


def test_a_deny_keeps_a_gate() -> None:
    """What a wildcard grants and a deny takes away is not allowed."""
    roles = with_role(
        "AUDITOR: {assigned: platform, grants: [{object: '*', actions: [read]},"
        " {object: pay, actions: ['*'], effect: deny}]}"
    )
    assert state(bundle(ONLY_PAYMASTERS, roles=roles)) == []


def test_a_counterexample_is_a_request_that_is_allowed() -> None:
    """Each violation has a request that the policy decides so, and the line that makes it."""
    files = bundle(ONLY_PAYMASTERS, roles=with_role(AUDITOR), people=with_people("subject: aud, roles: [AUDITOR]"))
    head = material(files)
    violations = evaluate_state_gates(head)
    for violation in violations:
        (example,) = violation.examples
        assert example.allowed
        assert (example.request.type, example.request.action) == ("pay", "read")
        assert contains(EVERYTHING, example.request.subject, example.request)
        assert head.decider.decide(example.request).allowed
        assert {line.rule.span.file for line in violation.lines} <= {"roles.yaml", "people.yaml"}
        assert any(line.rule.span.file == "roles.yaml" for line in violation.lines)
    # Who holds the role has nothing without it but what is not for the role either.
    assert [violation.detail[1].text for violation in violations if violation.detail[0] == "the role "] == ["AUDITOR"]  # type: ignore[union-attr]  # a name


NOBODY_APPROVES = gate("must_stay_denied: {actions: [approve]}")


@pytest.mark.parametrize(
    ("gates", "people", "expected"),
    [
        (gate("must_stay_denied: {roles: [CLERK], objects: [case], actions: [approve]}"), (), []),
        (
            gate("must_stay_denied: {roles: [CLERK], objects: [case], actions: [read, approve]}"),
            (),
            ["one: the role CLERK is allowed case: read in every company, which must stay denied"],
        ),
        (gate("must_stay_denied: {roles: ['C*'], assigned: company, actions: [update]}"), (), []),
        (gate("must_stay_denied: {roles: ['*'], assigned: company, objects: [report]}"), (), []),
        (
            gate("must_stay_denied: {roles: ['*'], assigned: platform, objects: [report], scope: others}"),
            (),
            ["one: the role ADMIN is allowed report: every action (others') everywhere, which must stay denied"],
        ),
        (gate("must_stay_denied: {identities: [ann], actions: [approve]}"), (), []),
        (
            gate("must_stay_denied: {identities: ['*'], actions: [approve], except_roles: [ADMIN, CHECKER]}"),
            (),
            [],
        ),
        (
            gate("must_stay_denied: {identities: ['*'], actions: [approve], except_roles: [ADMIN, CHECKER]}"),
            ("subject: bob, company: acme, grants: [{object: case, actions: [approve]}]",),
            ["one: bob is allowed case: approve in acme, which must stay denied"],
        ),
        (
            gate("must_stay_denied: {identities: ['*'], objects: [pay], companies: ['ac*'], except_identities: [x]}"),
            ("subject: x, company: acme, roles: [PAYMASTER]", "subject: y, company: acme, roles: [PAYMASTER]"),
            ["one: y is allowed pay: read, update in acme, which must stay denied"],
        ),
        (gate("must_stay_denied: {anyone: true}"), (), []),
    ],
)
def test_must_stay_denied(gates: str, people: tuple[str, ...], expected: list[str]) -> None:
    """Roles by name, beginning or assignment, identities with exceptions, anyone, companies and scopes."""
    assert state(bundle(gates, people=with_people(*people))) == expected


def test_everybody_must_stay_denied() -> None:
    """Without a subject a gate is about every role and every identity; what one may do through a role that is told is
    told with the role."""
    people = with_people("subject: eve, company: acme, grants: [{object: pay, actions: [update]}]")
    assert state(bundle(gate("must_stay_denied: {objects: [pay], actions: [update]}"), people=people)) == [
        "one: the role PAYMASTER is allowed pay: update in every company, which must stay denied",
        "one: eve is allowed pay: update in acme, which must stay denied",
    ]


def test_must_stay_denied_for_pattern_ids() -> None:
    """Ids are compared as sets: a grant of ids that begin alike meets a gate about other beginnings of them."""
    people = with_people("subject: eve, company: acme, grants: [{object: case, id: 'secret-*', actions: [read]}]")
    gates = gate("must_stay_denied: {identities: [eve], ids: ['sec*']}")
    assert state(bundle(gates, people=people, when=True)) == [
        "one: eve is allowed case beginning with secret-: read in acme, which must stay denied"
    ]
    gates = gate("must_stay_denied: {identities: [eve], ids: ['other-*', '']}")
    assert state(bundle(gates, people=people, when=True)) == []


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        (gate("must_stay_allowed: {roles: [ADMIN], objects: [case, report]}"), []),
        (gate("must_stay_allowed: {roles: [CLERK], objects: [case], actions: [read]}"), []),
        (gate("must_stay_allowed: {roles: [CLERK], objects: [case], actions: [read], companies: [acme]}"), []),
        (gate("must_stay_allowed: {identities: [ann], objects: [case], actions: [read], companies: [acme]}"), []),
        (
            gate("must_stay_allowed: {identities: [ann], objects: [case], actions: [read]}"),
            ["one: ann is denied case: read on the platform and in every company except acme, which must stay allowed"],
        ),
        (
            gate("must_stay_allowed: {roles: [CLERK], objects: [case], actions: [read, update]}"),
            ["one: the role CLERK is denied case: update in every company, which must stay allowed"],
        ),
        (
            gate("must_stay_allowed: {anyone: true, objects: [report], actions: [read]}"),
            ["one: anyone is denied report: read everywhere, which must stay allowed"],
        ),
    ],
)
def test_must_stay_allowed(gates: str, expected: list[str]) -> None:
    """One request that is denied breaks it; a company's role is judged in companies."""
    assert state(bundle(gates)) == expected


def test_an_unknown_identity_does_not_stay_allowed() -> None:
    """An identity that the policies do not name at all has lost what it must keep."""
    gates = gate("must_stay_allowed: {identities: [gone], objects: [case], actions: [read], companies: [acme]}")
    assert state(bundle(gates)) == ["one: gone is denied case: read in acme, which must stay allowed"]


def test_a_condition_cannot_be_shown() -> None:
    """What rests on attributes neither stays allowed nor stays denied for certain: the rule is named."""
    roles = with_role(
        "DRAFTER: {assigned: company, grants: [{object: pay, actions: [read], when: r.obj.draft == True}]}"
    )
    denied = state(bundle(gate("must_stay_denied: {roles: [DRAFTER], objects: [pay]}"), roles=roles, when=True))
    assert [text.partition(":")[0] for text in denied] == ["one?"]
    allowed = gate("must_stay_allowed: {roles: [DRAFTER], objects: [pay], actions: [read]}")
    assert "one?" in [text.partition(":")[0] for text in state(bundle(allowed, roles=roles, when=True))]
    (violation, *_) = evaluate_state_gates(material(bundle(ONLY_PAYMASTERS, roles=roles, when=True)))
    assert not violation.shown
    assert [line.rule.values[-1] for line in violation.lines] == ["r.obj.draft == True"]


def test_a_condition_of_who_may_does_not_matter() -> None:
    """That a role which may has a condition breaks nothing."""
    roles = with_role(
        "DRAFTER: {assigned: company, grants: [{object: pay, actions: [read], when: r.obj.draft == True}]}"
    )
    gates = gate("only_roles: {roles: [PAYMASTER, DRAFTER], objects: [pay]}")
    people = with_people("subject: dan, roles: [DRAFTER], company: acme")
    assert state(bundle(gates, roles=roles, people=people, when=True)) == []


AWAY = ", which is in a company in which they hold nothing"
STAY_HOME = gate("no_cross_company_access: {except_roles: [ADMIN]}")


@pytest.mark.parametrize(
    ("roles", "people", "expected"),
    [
        ("", (), []),
        (
            AUDITOR,
            (),
            [f"one: holders of the role AUDITOR are allowed every type: read in every company{AWAY}"],
        ),
        (
            "",
            ("subject: eve, company: acme, grants: [{object: case, actions: [read]}]",),
            [],
        ),
        (
            "",
            ("subject: ann, grants: [{object: report, actions: [read]}]",),
            [f"one: ann is allowed report: read in every company except acme{AWAY}"],
        ),
        ("", ("subject: ann, roles: [ADMIN]",), []),
    ],
)
def test_no_cross_company_access(roles: str, people: tuple[str, ...], expected: list[str]) -> None:
    """Roles of the platform are named or found, and so is what identities reach away from home by other ways."""
    files = bundle(
        STAY_HOME, roles=with_role(roles) if roles else with_role("X: {assigned: company}"), people=with_people(*people)
    )
    assert state(files) == expected


SEPARATE = gate(
    "separation_of_duties: {duties: [{objects: [case], actions: [create]}, {objects: [case], actions: [approve]}],"
    " except_roles: [ADMIN]}"
)
SEPARATE_ROLES = gate("separation_of_duties: {duties: [{roles: [CLERK]}, {roles: [CHECKER]}]}")


@pytest.mark.parametrize("gates", [SEPARATE, SEPARATE_ROLES])
@pytest.mark.parametrize(
    ("roles", "people", "broken"),
    [
        ("", (), []),
        ("", ("subject: ann, roles: [CHECKER], company: acme",), ["ann"]),
        ("", ("subject: ann, roles: [CHECKER], company: globex",), []),
        ("BOTH: {assigned: company, inherits: [CLERK, CHECKER]}", (), ["the role BOTH"]),
        (
            "BOTH: {assigned: company, inherits: [CLERK, CHECKER]}",
            ("subject: eve, roles: [BOTH], company: acme",),
            ["the role BOTH"],
        ),
        ("CHIEF: {assigned: company, inherits: [CLERK]}", ("subject: bob, roles: [CHIEF], company: acme",), ["bob"]),
    ],
)
def test_separation_of_duties(gates: str, roles: str, people: tuple[str, ...], broken: list[str]) -> None:
    """Two roles, or two accesses, of one identity or one role, inherited ones included, in the same company."""
    files = bundle(
        gates, roles=with_role(roles) if roles else with_role("X: {assigned: company}"), people=with_people(*people)
    )
    assert [
        text.removeprefix("one: ").partition(" may do")[0].partition(" holds")[0] for text in state(files)
    ] == broken


def test_separation_across_companies() -> None:
    """Two duties in two companies meet where the gate says so."""
    people = with_people("subject: ann, roles: [CHECKER], company: globex")
    gates = SEPARATE_ROLES.replace("{duties:", "{across_companies: true, duties:")
    assert state(bundle(gates, people=people)) == [
        "one: ann holds the role CLERK in acme and holds the role CHECKER in globex"
    ]


def test_separation_of_an_identitys_own_grants() -> None:
    """An access counts wherever it comes from; both requests are shown, in one company."""
    people = with_people("subject: ann, company: acme, grants: [{object: case, actions: [approve]}]")
    (violation,) = evaluate_state_gates(material(bundle(SEPARATE, people=people)))
    requests = [example.request for example in violation.examples]
    assert [(one.subject, one.type, one.action, one.company) for one in requests] == [
        ("ann", "case", "create", "acme"),
        ("ann", "case", "approve", "acme"),
    ]


def test_separation_in_a_group_mapping() -> None:
    """Members of a group hold all its roles: a mapping may not give both."""
    people = with_people() + "group_mappings:\n  - {group: staff, roles: [CLERK, CHECKER], company: acme}\n"
    assert state(bundle(SEPARATE_ROLES, people=people)) == [
        "one: the group staff holds the role CLERK in acme and holds the role CHECKER in acme"
    ]
    people = with_people() + "group_mappings:\n  - {group: staff, roles: [CLERK], company: acme}\n"
    assert state(bundle(SEPARATE_ROLES, people=people)) == []


def test_a_platform_role_is_held_in_every_company() -> None:
    """It meets a role of any company."""
    roles = with_role("LORD: {assigned: platform, kind: additive, grants: [{object: case, actions: [approve]}]}")
    people = with_people("subject: ann, roles: [LORD]")
    gates = gate("separation_of_duties: {duties: [{roles: [CLERK]}, {roles: [LORD]}]}")
    assert state(bundle(gates, roles=roles, people=people)) == [
        "one: ann holds the role CLERK in acme and holds the role LORD everywhere"
    ]


def test_gates_about_changes_are_not_asked_of_a_state() -> None:
    """Without a base there is no change: `lint` asks none of these."""
    gates = (
        gate("max_new_grants: {grants: 0}", "a")
        + gate("needs_approval: {approval: {by: [x]}}", "b")
        + gate("needs_justification: {}", "c")
        + gate("must_stay_denied: {only_gained: true}", "d")
    )
    assert state(bundle(gates)) == []
    assert change(None, bundle(gates)) != []


def test_an_identity_that_no_policy_names_is_denied_what_others_own() -> None:
    """What belongs to others is denied to a name that only the gate has, and is told, as what it owns itself is."""
    for scope, told in (("others", " (others')"), ("own", " (own)"), ("any", "")):
        (found_,) = state(bundle(gate(f"must_stay_allowed: {{identities: [ghost], objects: [pay], scope: {scope}}}")))
        assert found_.startswith("one: ghost is denied pay: every action" + told)
