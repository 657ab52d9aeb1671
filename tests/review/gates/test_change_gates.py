"""Gates that judge a change, and what keeps a change from judging itself."""

import pytest

from authz_sidecar.review.gates.violation import is_refused
from authz_sidecar.values import Severity
from tests.review.gates.scenes import PEOPLE, ROLES, bundle, change, found, gate, violations_of, with_people, with_role

DENIED = gate("must_stay_denied: {roles: [CLERK], actions: [approve]}")
# The clerk may approve.
WIDER = ROLES.replace("actions: [create, read]}]", "actions: [create, read, approve]}]", 1)
BROKEN = "one: the role CLERK is allowed case: approve in every company, which must stay denied"
PAY_FOR_CLERKS = ROLES.replace(
    "actions: [create, read]}]", "actions: [create, read]}, {object: pay, actions: [read]}]", 1
)


def test_a_change_that_keeps_the_gates_passes() -> None:
    """Nothing is found where nothing breaks, whatever else changes."""
    assert (
        change(bundle(DENIED), bundle(DENIED, people=with_people("subject: eve, roles: [CLERK], company: acme"))) == []
    )


@pytest.mark.parametrize(
    ("head_gates", "told"),
    [
        (DENIED, []),
        ("", ["gates.yaml: `gates.yaml` changes (the file is removed), and nobody has approved it"]),
        (
            gate("must_stay_denied: {roles: [CLERK], actions: [update]}"),
            ["gates.yaml: `gates.yaml` changes (one changed), and nobody has approved it"],
        ),
        (
            gate("must_stay_denied: {roles: [CLERK], actions: [approve]}", severity="warning"),
            ["gates.yaml: `gates.yaml` changes (one changed), and nobody has approved it"],
        ),
        (
            gate("must_stay_denied: {roles: [CLERK], actions: [approve]}", name="other"),
            [
                "gates.yaml: `gates.yaml` changes (one removed, other added), and nobody has approved it",
                BROKEN.replace("one:", "other:"),
            ],
        ),
    ],
)
def test_a_change_cannot_take_its_gate_away(head_gates: str, told: list[str]) -> None:
    """Removed, changed, made a warning, renamed or with the whole file gone: the base's gate is still asked, and that
    the file changes is told."""
    violations = violations_of(bundle(DENIED), bundle(head_gates, roles=WIDER))
    assert sorted(set(found(violations))) == sorted([*told, BROKEN])
    assert is_refused(violations)


def test_approval_of_the_gates_does_not_lift_the_gate() -> None:
    """Who approves another `gates.yaml` has not let the policy through: the base's gate is asked as it stands."""
    assert change(bundle(DENIED), bundle("", roles=WIDER), "somebody") == [BROKEN]


def test_a_gate_of_the_head_is_asked_at_once() -> None:
    """The first gates of a repository need no approval and are asked of the change that brings them."""
    assert change(bundle(), bundle(DENIED, roles=WIDER)) == [BROKEN]
    assert change(bundle(), bundle(DENIED)) == []


def test_the_same_finding_is_told_once() -> None:
    """A gate of both sides is told with its place in the head."""
    (violation,) = violations_of(bundle(DENIED), bundle(DENIED, roles=WIDER))
    assert (violation.side, str(violation.span)) == ("head", "gates.yaml:2:5")


def test_comments_and_order_are_no_change_of_gates() -> None:
    """What gates mean is compared, not their text."""
    two = DENIED + gate("must_stay_denied: {roles: [CHECKER], actions: [create]}", "two")
    turned = gate("must_stay_denied: {roles: [CHECKER], actions: [create]}", "two") + "# a comment\n" + DENIED
    assert change(bundle(two), bundle(turned)) == []


OWNED = "{by: [ann, ben, cleo], at_least: 2}"


@pytest.mark.parametrize(
    ("approved_by", "missing"),
    [
        ((), "it lacks 2 approvals of ann, ben, cleo"),
        (("ann",), "it lacks 1 approval of ben, cleo"),
        (("ann", "ann"), "it lacks 1 approval of ben, cleo"),
        (("Ann", "Ben"), "it lacks 2 approvals of ann, ben, cleo"),
        (("ann", "cleo"), None),
    ],
)
def test_owners_approve_changes_of_gates(approved_by: tuple[str, ...], missing: str | None) -> None:
    """The owners whom the base names must approve, so many different ones, letter by letter."""
    told = change(bundle(DENIED, owners=OWNED), bundle("", owners="{by: [eve]}"), *approved_by)
    words = "`gates.yaml` changes (one removed, the owners changed)"
    assert told == ([] if missing is None else [f"gates.yaml: {words}, and {missing}"])


def test_a_renamed_role_does_not_escape() -> None:
    """A gate of the base about a role that the head calls otherwise finds nobody: that takes the owners' approval."""
    renamed = WIDER.replace("CLERK", "SCRIBE")
    people = with_people().replace("CLERK", "SCRIBE")
    head = bundle(DENIED.replace("CLERK", "SCRIBE").replace("approve", "update"), roles=renamed, people=people)
    assert change(bundle(DENIED), head) == [
        "gates.yaml: `gates.yaml` changes (one changed), and nobody has approved it",
        "gates.yaml?: the gate one names the role CLERK, which the head no longer has, and nobody has approved it",
    ]
    assert change(bundle(DENIED), head, "owner") == []


def test_a_renamed_type_or_action_does_not_escape() -> None:
    """Nor does an object type, or an action of one type, that goes on under another name."""
    base = bundle(gate("only_roles: {roles: [PAYMASTER], objects: [pay], actions: [update]}"))
    files = bundle(gate("only_roles: {roles: [PAYMASTER], objects: [wages]}"))
    renamed = {path: text.replace("pay:", "wages:").replace("[pay]", "[wages]") for path, text in files.items()}
    assert (
        "gates.yaml?: the gate one names the object type pay, which the head no longer has, and nobody has approved it"
        in change(base, renamed)
    )
    files = bundle(gate("only_roles: {roles: [PAYMASTER], objects: [pay]}"))
    files["manifest.yaml"] = files["manifest.yaml"].replace(
        "pay: {actions: [read, update]}", "pay: {actions: [read, alter]}"
    )
    gone = "the gate one names the action pay:update, which the head no longer has, and nobody has approved it"
    assert f"gates.yaml?: {gone}" in change(base, files)


PAYROLL = gate("only_roles: {roles: [PAYMASTER], data_domains: [PAYROLL]}")


def test_a_redefined_data_domain_does_not_escape() -> None:
    """For a gate of the base a data domain stands for what it was and what it is, and its shrinking is told: the next
    change would find the gate without its meaning."""
    shrunk = PAY_FOR_CLERKS.replace("PAYROLL: {objects: [pay]}", "PAYROLL: {objects: [report]}")
    told = change(bundle(PAYROLL), bundle(PAYROLL, roles=shrunk))
    assert "one: the role CLERK is allowed pay: read in every company, which is for PAYMASTER only" in told
    quiet = ROLES.replace("PAYROLL: {objects: [pay]}", "PAYROLL: {objects: [pay], actions: [read]}")
    lost = "a data domain that the gate one names no longer covers pay:update, and nobody has approved it"
    assert change(bundle(PAYROLL), bundle(PAYROLL, roles=quiet)) == [f"gates.yaml: {lost}"]
    assert change(bundle(PAYROLL), bundle(PAYROLL, roles=quiet), "owner") == []


def test_a_bundle_of_another_form_does_not_escape() -> None:
    """Plain rows have no declarations that the base's gates could be asked by."""
    head = {"model.conf": bundle()["model.conf"], "policy.csv": "p, role:CLERK, *, case, *, approve, company, allow\n"}
    told = change(bundle(DENIED), head)
    assert "gates.yaml: `gates.yaml` changes (the file is removed), and nobody has approved it" in told
    assert any(text.startswith("gates.yaml?: the gate one names the kind of bundle yaml") for text in told)
    assert BROKEN.removesuffix(" in every company, which must stay denied") in "".join(told)


APPROVED = gate("needs_approval: {data_domains: [PAYROLL], approval: {by: [privacy]}}")


@pytest.mark.parametrize(
    ("roles", "people", "told"),
    [
        (ROLES, with_people(), []),
        (PAY_FOR_CLERKS, with_people(), "the role CLERK gains pay: read in every company"),
        (ROLES, with_people("subject: eve, roles: [PAYMASTER], company: acme"), "eve gains pay: read, update in acme"),
        (
            ROLES,
            with_people().replace("  - {subject: pam, roles: [PAYMASTER], company: globex}\n", ""),
            "pam loses pay: read, update in globex",
        ),
        (WIDER, with_people(), []),
    ],
)
def test_needs_approval(roles: str, people: str, told: str | list[str]) -> None:
    """Any gain and any loss of the access in question, by a role or by an identity, needs the approval, and nothing
    else does."""
    base, head = bundle(APPROVED), bundle(APPROVED, roles=roles, people=people)
    missing = change(base, head)
    assert (missing[0] if missing else []) == (f"one: {told}, and it lacks the approval of privacy" if told else [])
    assert change(base, head, "privacy") == []
    assert bool(change(base, head, "eve")) == bool(told)


def test_needs_approval_of_a_role() -> None:
    """Of a role counts what it may do, who holds it, and whether it exists."""
    gates = gate("needs_approval: {roles: [CLERK], approval: {by: [boss]}}")
    lacks = ", and it lacks the approval of boss"
    assert change(bundle(gates), bundle(gates, people=with_people("subject: eve, roles: [CLERK], company: acme"))) == [
        f"one: eve is given the role CLERK in acme{lacks}"
    ]
    assert change(bundle(gates), bundle(gates, roles=PAY_FOR_CLERKS)) == [
        f"one: the role CLERK gains pay: read in every company{lacks}"
    ]
    assert (
        change(bundle(gates), bundle(gates, people=with_people("subject: eve, roles: [CHECKER], company: acme"))) == []
    )


JUSTIFIED = gate("needs_justification: {objects: [pay], min_length: 10}")


@pytest.mark.parametrize(
    ("justifications", "passes"),
    [
        ((), False),
        (("too short",), False),
        (("a" * 40,), False),
        (("   x  \n     ",), False),
        (("auditors asked for it",), True),
        (("no", "auditors asked for it"), True),
    ],
)
def test_needs_justification(justifications: tuple[str, ...], passes: bool) -> None:
    """A reason of some length is wanted where the access changes, and approvals are none."""
    head = bundle(JUSTIFIED, roles=PAY_FOR_CLERKS)
    told = change(bundle(JUSTIFIED), head, "boss", justifications=justifications)
    assert (told == []) is passes
    assert change(bundle(JUSTIFIED), bundle(JUSTIFIED, roles=WIDER)) == []


def test_a_justification_is_no_approval() -> None:
    """What a commit says approves nothing."""
    base, head = bundle(APPROVED), bundle(APPROVED, roles=PAY_FOR_CLERKS)
    assert change(base, head, justifications=("approved by privacy, who knows of it",)) != []


@pytest.mark.parametrize(
    ("roles", "people", "count"),
    [
        (ROLES, with_people(), 0),
        (PAY_FOR_CLERKS, with_people(), 1),
        (ROLES.replace("actions: [create, read]}]", 'actions: ["*"]}]', 1), with_people(), 2),
        (
            ROLES.replace(
                "actions: [create, read]}]",
                "actions: [create, read]}, {object: report, actions: [read], scope: own}]",
                1,
            ),
            with_people(),
            1,
        ),
        (ROLES, with_people("subject: eve, roles: [PAYMASTER], company: acme"), 0),
        (ROLES, with_people("subject: eve, company: acme, grants: [{object: pay, actions: [read, update]}]"), 2),
        (ROLES, with_people("subject: pam, company: globex, grants: [{object: pay, actions: [read]}]"), 0),
    ],
)
def test_max_new_grants(roles: str, people: str, count: int) -> None:
    """Types and actions of a role that are gained count one by one, wildcards for all that is declared; an assignment
    is no grant, and a grant of an identity's own is one."""
    base = bundle(gate("max_new_grants: {grants: 0}"))
    told = change(base, bundle(gate("max_new_grants: {grants: 0}"), roles=roles, people=people))
    words = f"{count} new grant{'' if count == 1 else 's'}; at most 0 may come in one change"
    assert told == ([f"one: {words}"] if count else [])
    more = gate(f"max_new_grants: {{grants: {count}}}")
    assert change(bundle(more), bundle(more, roles=roles, people=people)) == []


def test_max_identities() -> None:
    """Identities that gain anything are counted, however they do."""
    people = with_people("subject: eve, roles: [CLERK], company: acme", "subject: ann, roles: [CHECKER], company: acme")
    gates = gate("max_new_grants: {identities: 1}")
    assert change(bundle(gates), bundle(gates, people=people)) == [
        "one: 2 identities gain access; at most 1 may in one change"
    ]
    gates = gate("max_new_grants: {identities: 2}")
    assert change(bundle(gates), bundle(gates, people=people)) == []


def test_only_gained_leaves_alone_what_there_was() -> None:
    """A gate can be taken up by policies that do not keep it yet: what a change adds is told, and nothing else."""
    gates = gate("only_roles: {roles: [CHECKER], actions: [approve], only_gained: true}")
    assert change(bundle(gates), bundle(gates)) == []
    assert change(bundle(gates), bundle(gates, roles=WIDER))[0] == (
        "one: the role CLERK gains case: approve in every company, which is for CHECKER only"
    )


def test_a_warning_does_not_refuse() -> None:
    """A gate of severity warning is told, and the change may be made."""
    gates = gate("must_stay_denied: {roles: [CLERK], actions: [approve]}", severity="warning")
    (violation,) = violations_of(bundle(gates), bundle(gates, roles=WIDER))
    assert violation.severity is Severity.WARNING
    assert not is_refused([violation])


def test_a_condition_that_changes_cannot_be_shown() -> None:
    """Gates about changes do not pass over what cannot be compared."""
    role = "DRAFTER: {{assigned: company, grants: [{{object: pay, actions: [read], when: r.obj.draft == {}}}]}}"
    gates = APPROVED + gate("max_new_grants: {grants: 9}", "two")
    base = bundle(gates, roles=with_role(role.format("True")), when=True)
    head = bundle(gates, roles=with_role(role.format("False")), when=True)
    assert {text.partition(":")[0] for text in change(base, head)} == {"one?", "two?"}
    assert change(base, base) == []


def test_hostile_names_are_told_as_they_are() -> None:
    """A name that would move a cursor or turn a line is kept apart from our words, for each format to escape."""
    name = '"x\\u202e</td>`::error::"'
    people = with_people(f"subject: {name}, company: acme, grants: [{{object: pay, actions: [read]}}]")
    violations = violations_of(bundle(PAYROLL), bundle(PAYROLL, people=people))
    (violation,) = violations
    assert violation.detail[0].text == "x\u202e</td>`::error::"  # type: ignore[union-attr]  # a name
    assert "\u202e" not in "".join(found(violations))


@pytest.mark.parametrize(
    ("domain", "manifest", "lost"),
    [
        ("{objects: [pay], actions: [read]}", {"[read, update]}": "[read, alter]}"}, "pay:update"),
        ("{objects: [report]}", {"  pay:": "  wages:"}, "pay:read, pay:update"),
    ],
)
def test_what_a_data_domain_stood_for_does_not_escape_by_another_name(
    domain: str, manifest: dict[str, str], lost: str
) -> None:
    """An action or an object type that is called otherwise and left out of the data domain is told as lost."""
    gates = gate("must_stay_denied: {roles: [CLERK], data_domains: [PAYROLL]}")
    base = bundle(gates, roles=ROLES.replace("{objects: [pay]}", "{objects: [pay], actions: [read, update]}"))
    head = bundle(gates, roles=ROLES.replace("{objects: [pay]}", domain))
    for old, new in manifest.items():
        before, types, after = head["manifest.yaml"].rpartition("  pay:")
        head["manifest.yaml"] = before + (types + after).replace(old, new)
    told = f"gates.yaml: a data domain that the gate one names no longer covers {lost}, and nobody has approved it"
    assert told in change(base, head)
    assert told not in change(base, head, "owner")


def test_rows_that_become_definitions_do_not_escape() -> None:
    """In definitions a role has another name than in rows, by which the base's gates would find nobody."""
    files = bundle(gate("must_stay_denied: {roles: [CLERK], actions: [approve]}"))
    rows = "p, CLERK, *, case, *, read, company, allow\ng, ann, CLERK, acme\n"
    base = {"model.conf": files["model.conf"], "gates.yaml": files["gates.yaml"], "policy.csv": rows}
    told = change(base, {**files, "roles.yaml": WIDER})
    assert any(text.startswith("gates.yaml?: the gate one names the kind of bundle casbin") for text in told)


def test_an_empty_name_approves_nothing() -> None:
    """A variable that nobody set is no approval, where that of anybody would do."""
    removed = ["gates.yaml: `gates.yaml` changes (the file is removed), and nobody has approved it"]
    assert change(bundle(DENIED), bundle(), "", " ") == removed
    assert change(bundle(DENIED), bundle(), "", "boss") == []


def test_a_role_is_an_assignment_only_where_it_is_held() -> None:
    """What a role may do is a new grant for an identity that holds it in another company."""
    gates = gate("max_new_grants: {grants: 0}")
    people = with_people("subject: pam, company: acme, grants: [{object: pay, actions: [read, update]}]")
    assert change(bundle(gates), bundle(gates, people=people)) == [
        "one: 2 new grants; at most 0 may come in one change"
    ]


def test_needs_approval_of_a_role_that_is_given_in_other_ways() -> None:
    """A role is also given by one that inherits from it, and by a group that is mapped to it."""
    gates = gate("needs_approval: {roles: [CLERK], approval: {by: [boss]}}")
    lacks = ", and it lacks the approval of boss"
    heir = with_role("HEIR: {assigned: company, inherits: [CLERK]}")
    people = with_people("subject: eve, roles: [HEIR], company: acme")
    base = bundle(gates, roles=heir)
    assert change(base, bundle(gates, roles=heir, people=people)) == [f"one: eve is given the role HEIR in acme{lacks}"]
    mapped = PEOPLE + "group_mappings: [{group: staff, roles: [CHECKER, HEIR], company: acme}]\n"
    head = bundle(gates, roles=heir, people=mapped)
    assert change(base, head) == [f"one: the group staff is mapped to the role HEIR in acme{lacks}"]
    assert change(head, base) == [f"one: the group staff is no longer mapped to the role HEIR in acme{lacks}"]
    assert change(head, head) == []
