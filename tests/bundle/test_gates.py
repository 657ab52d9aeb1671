"""`gates.yaml`: every fault of shape or meaning, at its place, with its remedy, and where the file belongs."""

import json
from typing import Any

import jsonschema
import pytest

from authz_sidecar.bundle.files import is_known, is_policy
from authz_sidecar.bundle.gates import KINDS, Approval, matches
from authz_sidecar.bundle.schemas import build_schema
from tests.bundle.expectations import Finding, findings_of, read, rows_bundle, yaml_bundle

POLICY = """\
roles:
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
data_domains:
  PAPERS: {objects: [report], actions: [read]}
"""
ONE_KIND = "give exactly one of " + ", ".join(f"`{kind}`" for kind in KINDS)


def gates(text: str) -> dict[str, str | bytes]:
    """A YAML bundle with this `gates.yaml`."""
    return {**yaml_bundle(POLICY), "gates.yaml": text}


def gate(text: str) -> dict[str, str | bytes]:
    """A YAML bundle with one gate on line 2; its kind begins at column 28."""
    return gates(f"gates:\n  - {{id: one, message: no, {text}}}\n")


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        pytest.param(
            "only_role: {roles: [CLERK]}",
            Finding("gates.yaml:2:28", "field-unknown", "unknown field `only_role`", "did you mean `only_roles`?"),
            id="unknown kind",
        ),
        pytest.param(
            "severity: warning",
            Finding("gates.yaml:2:5", "field-value", "the gate has none of the kinds", ONE_KIND),
            id="no kind",
        ),
        pytest.param(
            "only_roles: {roles: [CLERK]}, max_new_grants: {grants: 1}",
            Finding("gates.yaml:2:5", "field-value", "the gate has both `only_roles` and `max_new_grants`", ONE_KIND),
            id="two kinds",
        ),
        pytest.param(
            "only_roles: {roles: [CLERC]}",
            Finding("gates.yaml:2:49", "unknown-role", "unknown role `CLERC`", "did you mean `CLERK`?"),
            id="unknown role",
        ),
        pytest.param(
            "only_roles: {roles: ['X*']}",
            Finding("gates.yaml:2:49", "unknown-role", "no role begins as `X*`", "the bundle has `CLERK`"),
            id="beginning of no role",
        ),
        pytest.param(
            "no_cross_company_access: {except_roles: [CLERC]}",
            Finding("gates.yaml:2:69", "unknown-role", "unknown role `CLERC`", "did you mean `CLERK`?"),
            id="unknown excepted role",
        ),
        pytest.param(
            "separation_of_duties: {duties: [{roles: [CLERC]}, {objects: [folder]}]}",
            Finding("gates.yaml:2:69", "unknown-role", "unknown role `CLERC`", "did you mean `CLERK`?"),
            id="unknown role of a duty",
        ),
        pytest.param(
            "must_stay_denied: {objects: [foldr]}",
            Finding("gates.yaml:2:57", "unknown-object-type", "unknown object type `foldr`", "did you mean `folder`?"),
            id="unknown object type",
        ),
        pytest.param(
            "must_stay_denied: {objects: ['x*']}",
            Finding(
                "gates.yaml:2:57",
                "unknown-object-type",
                "no object type begins as `x*`",
                "the bundle has `folder` and `report`",
            ),
            id="beginning of no object type",
        ),
        pytest.param(
            "must_stay_denied: {objects: [report], actions: [update]}",
            Finding(
                "gates.yaml:2:76", "unknown-action", "unknown action `update`", "the bundle has `create` and `read`"
            ),
            id="action that no named type declares",
        ),
        pytest.param(
            "must_stay_denied: {data_domains: [PAPER]}",
            Finding("gates.yaml:2:62", "unknown-data-domain", "unknown data domain `PAPER`", "did you mean `PAPERS`?"),
            id="unknown data domain",
        ),
        pytest.param(
            "must_stay_denied: {section: '2'}",
            Finding(
                "gates.yaml:2:56",
                "field-value",
                "the model has no sections numbered `2`",
                "remove `section`; the model has no numbers",
            ),
            id="unknown section",
        ),
        pytest.param(
            "must_stay_denied: {roles: ['a*b']}",
            Finding(
                "gates.yaml:2:55",
                "field-value",
                "`a*b` is no name or beginning of names",
                "`*` stands alone or at the end",
            ),
            id="asterisk inside",
        ),
        pytest.param(
            "must_stay_denied: {identities: [ann], assigned: company}",
            Finding(
                "gates.yaml:2:66",
                "field-value",
                "`assigned` narrows `roles`, which the gate does not have",
                'add `roles: ["*"]`, or remove `assigned`',
            ),
            id="assigned without roles",
        ),
        pytest.param(
            "must_stay_allowed: {objects: [folder]}",
            Finding(
                "gates.yaml:2:28",
                "field-value",
                "the gate says of nobody that they must stay allowed",
                "give `roles`, `identities` or `anyone: true`",
            ),
            id="nobody stays allowed",
        ),
        pytest.param(
            "separation_of_duties: {duties: [{roles: [CLERK], objects: [folder]}, {objects: [report]}]}",
            Finding(
                "gates.yaml:2:60",
                "field-value",
                "the duty has both `roles` and requests",
                "give `roles`, or `objects` or `data_domains` with `actions`",
            ),
            id="two kinds of duty",
        ),
        pytest.param(
            "max_new_grants: {section: ''}",
            Finding(
                "gates.yaml:2:28",
                "field-value",
                "the gate has neither `grants` nor `identities`",
                "give at least one of the two limits",
            ),
            id="no limit",
        ),
        pytest.param(
            "needs_approval: {objects: [folder], approval: {by: [a, a], at_least: 2}}",
            Finding(
                "gates.yaml:2:64",
                "field-value",
                "the approval of 2 is wanted, of 1 that are named",
                "name more in `by`, or lower `at_least`",
            ),
            id="approval that cannot be met",
        ),
    ],
)
def test_faults(text: str, finding: Finding) -> None:
    """Each fault of a gate is an error at its place, with a remedy."""
    assert findings_of(gate(text)) == [finding]


def test_two_gates_of_one_name() -> None:
    """An id belongs to one gate."""
    text = "gates:\n" + "  - {id: one, message: no, max_new_grants: {grants: 1}}\n" * 2
    assert findings_of(gates(text)) == [
        Finding(
            "gates.yaml:3:10",
            "name-duplicate",
            "the gate `one` is defined twice",
            "rename or remove one of them; the other is at gates.yaml:2:5",
        )
    ]


def test_a_message_is_one_line() -> None:
    """What is printed beside other findings cannot pretend to be several."""
    (finding,) = findings_of(gates('gates:\n  - {id: one, message: "a\\nb", max_new_grants: {grants: 1}}\n'))
    assert finding.message == "the message has more than one line"


def test_names_are_not_also_unknown_where_their_definition_is_faulty() -> None:
    """One mistake in a role is not told again wherever a gate names that role."""
    files = {**yaml_bundle("roles:\n  CLERK: {assigned: nowhere}\n")}
    files["gates.yaml"] = "gates:\n  - {id: one, message: no, only_roles: {roles: [CLERK]}}\n"
    assert [finding.place.partition(":")[0] for finding in findings_of(files)] == ["policy.yaml"]


def test_a_broken_file_refuses_the_bundle() -> None:
    """Gates that cannot be read would be gates that are not asked: the bundle is refused whole."""
    assert [finding.severity for finding in findings_of(gates("gates: {}\n"))] == ["error"]


def test_gates_are_part_of_the_bundle() -> None:
    """The file is read with the bundle, counts for its version, and is no file of definitions."""
    assert is_known("gates.yaml")
    assert is_policy("gates.yaml")
    bundle = read(gate("only_roles: {roles: [CLERK], objects: [folder]}, severity: warning, description: why"))
    (one,) = bundle.gates
    assert (one.id, one.message, one.severity, one.kind, one.span.line) == ("one", "no", "warning", "only_roles", 2)
    assert read(yaml_bundle(POLICY)).gates == ()


def test_a_plain_bundle_can_have_gates() -> None:
    """In plain Casbin names are free; what only YAML definitions have is refused."""
    rows = rows_bundle("p, admin, acme, data, read, allow\ng, alice, admin, acme\n")
    rows["gates.yaml"] = "gates:\n  - {id: one, message: no, only_roles: {roles: [admin], objects: [data]}}\n"
    assert [one.id for one in read(rows).gates] == ["one"]
    rows["gates.yaml"] = (
        'gates:\n  - {id: one, message: no, must_stay_denied: {roles: ["*"], assigned: company, data_domains: [D]}}\n'
    )
    assert [(finding.place, finding.message) for finding in findings_of(rows)] == [
        ("gates.yaml:2:61", "`assigned` is for bundles with YAML definitions"),
        ("gates.yaml:2:80", "`data_domains` is for bundles with YAML definitions"),
    ]


def test_a_gates_file_does_not_make_a_yaml_bundle() -> None:
    """Rows and gates are no mixture of forms."""
    rows = rows_bundle("p, admin, acme, data, read, allow\n", **{"gates.yaml": "gates: []\n"})
    assert read(rows).form == "casbin"


@pytest.mark.parametrize(
    ("pattern", "name", "stands"),
    [("*", "", True), ("a*", "ab", True), ("a*", "b", False), ("a", "a", True), ("a", "ab", False), ("", "", True)],
)
def test_names_of_gates(pattern: str, name: str, stands: bool) -> None:
    """A name stands for itself, and with `*` at its end for all that begin so."""
    assert matches(pattern, name) is stands


def test_how_many_approvals() -> None:
    """One of the named by default, as many as are asked for, or all; a name that is given twice is one."""
    assert Approval(by=["a", "b"]).needed == 1
    assert Approval(by=["a", "b"], at_least=2).needed == 2
    assert Approval(by=["a", "b", "b"], all=True).needed == 2


@pytest.mark.parametrize(
    ("gate_data", "good"),
    [
        ({"only_roles": {"roles": ["CLERK"]}}, True),
        ({}, False),
        ({"only_roles": {"roles": ["CLERK"]}, "max_new_grants": {"grants": 1}}, False),
        ({"only_roles": {"roles": []}}, False),
        ({"only_roles": {"roles": ["*"], "companies": ["", "acme*"]}}, True),
        ({"only_roles": {"roles": ["CL*RK"]}}, False),
        ({"no_cross_company_access": {}}, True),
        ({"no_cross_company_access": None}, False),
        ({"needs_approval": {"objects": ["folder"]}}, False),
        ({"needs_approval": {"approval": {"by": ["security"]}}}, True),
    ],
)
def test_schema_and_reader_agree(gate_data: dict[str, Any], good: bool) -> None:
    """An editor accepts what the reader accepts."""
    data = {"gates": [{"id": "one", "message": "no", **gate_data}]}
    schema = json.loads(build_schema("gates.schema.json"))
    codes = {finding.code for finding in findings_of(gates(json.dumps(data)))}
    accepts = jsonschema.Draft202012Validator(schema).is_valid(data)
    assert (accepts, not any(code.startswith("field-") for code in codes)) == (good, good)
