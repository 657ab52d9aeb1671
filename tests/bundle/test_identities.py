"""Exported identities: reading them, and putting them beside the assignments of a bundle."""

import json
from typing import Any

import jsonschema
import pytest

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.identities import IdentitiesFile, parse_identities
from authz_sidecar.bundle.identity_merge import merge_identities
from authz_sidecar.bundle.schemas import build_schema
from tests.bundle.expectations import MANIFEST, RBAC, Finding, read, rows_bundle, rows_of, yaml_bundle

POLICY = """\
roles:
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
  BOSS: {assigned: platform, grants: [{object: folder, actions: [read]}]}
flags:
  may_update: {roles: [CLERK], object: folder, actions: [update]}
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
YAML = """\
identities:
  - id: bob
    kind: user
    company: acme
    name: Bob Ünal
    roles: [CLERK, {role: CLERK, company: globex}]
  - {id: robot, kind: service_account, roles: [BOSS]}
"""
RECORDS: list[dict[str, Any]] = [
    {
        "id": "bob",
        "kind": "user",
        "company": "acme",
        "name": "Bob Ünal",
        "roles": ["CLERK", {"role": "CLERK", "company": "globex"}],
    },
    {"id": "robot", "kind": "service_account", "roles": ["BOSS"]},
]
LINES = "".join(f"{json.dumps(record)}\n" for record in RECORDS)
JSON = json.dumps({"identities": RECORDS}, indent=1)


def parse(text: str, file: str = "ids.yaml") -> tuple[IdentitiesFile | None, list[Finding]]:
    """What a file holds, and what is wrong with it."""
    findings = Findings()
    content = parse_identities(text.encode(), file, findings)
    found = [Finding(str(d.span), d.code, d.message, d.help, str(d.severity)) for d in findings.sorted()]
    return content, found


def merge(text: str, *bundles: Bundle, file: str = "ids.yaml") -> tuple[list[Bundle], list[str], list[Finding]]:
    """The bundles with the identities, the notes, and what is wrong."""
    content, found = parse(text, file)
    assert content is not None, found
    merged, problems = merge_identities(content, list(zip(("base", "head"), bundles, strict=False)))
    return (
        [each.bundle for each in merged],
        [note for each in merged for note in each.notes],
        [Finding(str(d.span), d.code, d.message, d.help, str(d.severity)) for d in problems],
    )


def records(*more: dict[str, Any]) -> str:
    """A file of these identities."""
    return json.dumps({"identities": list(more)})


@pytest.mark.parametrize(("text", "file"), [(YAML, "ids.yaml"), (JSON, "ids.json"), (LINES, "ids.jsonl")])
def test_three_forms_say_the_same(text: str, file: str) -> None:
    """YAML, JSON and JSON lines give the same identities."""
    content, found = parse(text, file)
    assert found == []
    assert content is not None
    assert [(each.id, each.kind, each.company, each.name) for each in content.identities] == [
        ("bob", "user", "acme", "Bob Ünal"),
        ("robot", "service_account", "", ""),
    ]
    assert [(held.role, held.company) for held in content.identities[0].roles] == [("CLERK", ""), ("CLERK", "globex")]


@pytest.mark.parametrize(
    ("text", "file", "expected"),
    [
        (
            "identities:\n  - {id: bob, kind: person}\n",
            "ids.yaml",
            [("ids.yaml:2:21", "field-value", "`kind` cannot be the text `person`")],
        ),
        (
            "identities:\n  - {kind: user}\n",
            "ids.yaml",
            [("ids.yaml:2:5", "field-missing", "the field `id` is missing")],
        ),
        (
            '{"id": "bob", "kind": "user"}\n{"id": "bob" "kind": "user"}\n',
            "ids.jsonl",
            [("ids.jsonl:2:14", "json-syntax", "the line is not JSON: expecting ',' delimiter")],
        ),
        (
            '{"id": "bob", "id": "eve", "kind": "user"}\n',
            "ids.jsonl",
            [("ids.jsonl:1:1", "json-syntax", "the key `id` is given twice")],
        ),
        ('{"id": NaN}\n', "ids.jsonl", [("ids.jsonl:1:1", "json-syntax", "a number or a nesting is beyond limits")]),
        (
            '{"id": "bob", "kind": "user"}\n\n{"id": "bob", "kind": "user"}\n',
            "ids.jsonl",
            [("ids.jsonl:3:1", "name-duplicate", "the identity `bob` is listed twice")],
        ),
        (
            '{"id": "role:BOSS", "kind": "user"}\n',
            "ids.jsonl",
            [("ids.jsonl:1:1", "field-value", "an identity cannot begin with `role:`")],
        ),
        (
            '{"id": "bob", "kind": "user", "rolls": []}\n',
            "ids.jsonl",
            [("ids.jsonl:1:1", "field-unknown", "unknown field `rolls`")],
        ),
        ("- id: bob\n", "ids.yaml", [("ids.yaml:1:1", "yaml-document", "the file holds no mapping")]),
    ],
)
def test_faults_are_told_with_their_places(text: str, file: str, expected: list[tuple[str, str, str]]) -> None:
    """A file is read strictly, and each fault is told where it stands."""
    content, found = parse(text, file)
    assert content is None
    assert [(each.place, each.code, each.message) for each in found] == expected


def test_json_may_escape_what_yaml_may_not() -> None:
    """JSON writes a character beyond the basic plane as a pair of escapes; it is read as that character."""
    content, found = parse('{"identities": [{"id": "a\\ud83d\\ude00\\\\ud83d", "kind": "user"}]}', "ids.json")
    assert found == []
    assert content is not None
    assert content.identities[0].id == "a\U0001f600\\ud83d"


def test_identities_become_assignments() -> None:
    """Roles are held in the company that they name, else in the identity's, and platform roles everywhere; each row
    has its place in the file."""
    (bundle,), notes, found = merge(YAML, read(yaml_bundle(POLICY)))
    assert rows_of(bundle, "g") == [
        "g, ann, role:CLERK, acme",
        "g, bob, role:CLERK, acme",
        "g, bob, role:CLERK, globex",
        "g, robot, role:BOSS, *",
    ]
    table = bundle.tables["g"]
    assert [str(table.span(row)) for row in range(4)] == [
        "policy.yaml:7:5",
        "ids.yaml:6:13",
        "ids.yaml:6:20",
        "ids.yaml:7:48",
    ]
    assert notes == []
    assert [(each.code, each.severity) for each in found] == [("assignment-limit", "warning")]


def test_own_grants_and_flags_are_taken() -> None:
    """What an identity is granted or refused alone holds in its company."""
    text = records(
        {
            "id": "bob",
            "kind": "user",
            "company": "acme",
            "roles": ["CLERK"],
            "grants": [{"object": "report", "actions": ["read"]}],
            "flags": {"may_update": False},
        }
    )
    (bundle,), _, found = merge(text, read(yaml_bundle(POLICY)))
    assert found == []
    assert rows_of(bundle, "p")[-2:] == [
        "p, bob, acme, report, *, read, company, allow",
        "p, bob, *, folder, *, update, platform, deny",
    ]


def test_what_a_kind_is_denied_is_denied_to_each() -> None:
    """What the manifest denies service accounts is a denial of each of them, and of no user."""
    manifest = MANIFEST + "identities: {service_accounts: {denied: [{object: report, actions: [read]}]}}\n"
    text = records({"id": "robot", "kind": "service_account", "roles": ["BOSS"]}, {"id": "bob", "kind": "user"})
    (bundle,), _, found = merge(text, read(yaml_bundle(POLICY, manifest=manifest)))
    assert found == []
    denials = [row for row in rows_of(bundle, "p") if row.endswith("deny")]
    assert denials == ["p, robot, *, report, *, read, platform, deny"]


def test_what_the_bundle_says_too_is_taken_once() -> None:
    """An assignment that stands in the bundle and in the file is one row."""
    text = records({"id": "ann", "kind": "user", "company": "acme", "roles": ["CLERK"]})
    (bundle,), _, found = merge(text, read(yaml_bundle(POLICY)))
    assert found == []
    assert rows_of(bundle, "g") == ["g, ann, role:CLERK, acme"]


def test_who_is_switched_off_is_left_out() -> None:
    """An identity that may do nothing takes no part; what people say of it decides nothing."""
    off = {"id": "bob", "kind": "user", "company": "acme", "roles": ["BOSS"], "active": False}
    on = {"id": "eve", "kind": "user", "description": "on leave", "active": True}
    content, found = parse(records(off, on))
    assert found == []
    assert content is not None
    assert [each.id for each in content.identities] == ["eve"]


def test_a_role_of_one_side_is_left_out_of_the_other() -> None:
    """Where only head defines a role, base does without and it is said so."""
    head = read(yaml_bundle(POLICY.replace("BOSS", "CHIEF")))
    text = records({"id": "robot", "kind": "service_account", "roles": ["CHIEF"]})
    (base, changed), notes, found = merge(text, read(yaml_bundle(POLICY)), head)
    assert rows_of(base, "g") == ["g, ann, role:CLERK, acme"]
    assert rows_of(changed, "g")[-1] == "g, robot, role:CHIEF, *"
    assert notes == ["1 exported entry left out of base: there is no role `CHIEF`"]
    assert found == []


def test_a_role_of_no_side_is_an_error() -> None:
    """A role that neither side defines is a mistake in the file."""
    bundle = read(yaml_bundle(POLICY))
    _, notes, found = merge(records({"id": "bob", "kind": "user", "roles": ["BOS"]}), bundle, bundle)
    assert notes == []
    assert found == [
        Finding("ids.yaml:1:57", "unknown-role", "unknown role `BOS`", "did you mean `BOSS`?"),
    ]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"roles": ["CLERK"]}, "assignment-company"),
        ({"roles": [{"role": "BOSS", "company": "acme"}]}, "assignment-company"),
        ({"flags": {"may_fly": False}}, "unknown-flag"),
        ({"grants": [{"object": "house", "actions": ["read"]}]}, "unknown-action"),
        ({"grants": [{"object": "folder", "actions": ["read"], "when": "r.owner == ''"}]}, "model-extended"),
        ({"flags": {"may_update": False}}, "flag-role"),
    ],
)
def test_identities_pass_the_checks_of_assignments(record: dict[str, Any], code: str) -> None:
    """What an assignment could not say, an export cannot either."""
    bundle = read(yaml_bundle(POLICY))
    _, _, found = merge(records({"id": "bob", "kind": "user", **record}), bundle, bundle)
    assert [(each.code, each.severity) for each in found] == [(code, "error")]


def test_plain_casbin_bundles_take_roles() -> None:
    """In a plain Casbin bundle the roles become rows of `g`, in the company or without, as the model has it."""
    bundle = read(rows_bundle("p, editor, acme, doc, read, allow\ng, ann, editor, acme\n", RBAC))
    text = records(
        {"id": "bob", "kind": "user", "company": "acme", "roles": ["editor"]},
        {"id": "ann", "kind": "user", "company": "acme", "roles": ["editor"]},
    )
    (merged,), _, found = merge(text, bundle)
    assert found == []
    assert rows_of(merged, "g") == ["g, ann, editor, acme", "g, bob, editor, acme"]
    assert rows_of(bundle, "g") == ["g, ann, editor, acme"]
    _, _, found = merge(records({"id": "bob", "kind": "user", "roles": ["author"]}), bundle)
    assert [each.code for each in found] == ["unknown-role"]


@pytest.mark.parametrize(
    ("record", "good"),
    [
        ({"id": "bob", "kind": "user"}, True),
        ({"id": "bob", "kind": "user", "roles": ["A", {"role": "B", "company": "c"}]}, True),
        ({"id": "bob", "kind": "user", "roles": [{"company": "c"}]}, False),
        ({"id": "bob"}, False),
        ({"id": "bob", "kind": "robot"}, False),
        ({"id": "bob", "kind": "user", "extra": 1}, False),
        ({"id": "bob", "kind": "user", "active": False, "description": ""}, True),
        ({"id": "bob", "kind": "user", "active": "no"}, False),
        ({"id": "bob", "kind": "user", "flags": {"f": "no"}}, False),
    ],
)
def test_schema_and_reader_agree(record: dict[str, Any], good: bool) -> None:
    """The published schema takes what the reader takes."""
    schema = json.loads(build_schema("identities.schema.json"))
    content, _ = parse(records(record))
    assert (jsonschema.Draft202012Validator(schema).is_valid({"identities": [record]}), content is not None) == (
        good,
        good,
    )
