"""Definitions to rules of the standard model: what each becomes, where it points, which way it came."""

import pytest

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED, form_of, standard_model
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Rule, Span, build_request
from tests.bundle.expectations import findings_of, read, rows_of, yaml_bundle

ROLES = """\
roles:
  READER:
    assigned: company
    grants:
      - {object: folder, actions: [read]}
  WRITER:
    assigned: company
    inherits: [READER]
    grants:
      - objects: [folder, report]
        actions: [create, read]
        scope: own
  CHIEF:
    assigned: company
    inherits: [WRITER]
  ROOT:
    assigned: platform
    grants:
      - {object: "*", actions: ["*"]}
      - {object: report, id: "7", actions: [read], effect: deny}
"""


def test_a_grant_is_one_rule_for_each_type_and_action() -> None:
    """Rules are of the role, in every company, with the scope of the role unless the grant says another."""
    assert rows_of(read(yaml_bundle(ROLES)), "p")[:5] == [
        "p, role:READER, *, folder, *, read, company, allow",
        "p, role:WRITER, *, folder, *, create, own, allow",
        "p, role:WRITER, *, folder, *, read, own, allow",
        "p, role:WRITER, *, report, *, create, own, allow",
        "p, role:WRITER, *, report, *, read, own, allow",
    ]


def test_platform_roles_wildcards_ids_and_denials() -> None:
    """A platform role's grants hold everywhere; `*` stays `*`; an id is kept; a deny is a deny."""
    assert rows_of(read(yaml_bundle(ROLES)), "p")[-2:] == [
        "p, role:ROOT, *, *, *, *, platform, allow",
        "p, role:ROOT, *, report, 7, read, platform, deny",
    ]


def test_every_rule_points_at_its_grant() -> None:
    """The place is that of the entry in the list of grants, also in the rules of roles that inherit it."""
    table = read(yaml_bundle(ROLES)).tables["p"]
    assert table.span(0) == Span("policy.yaml", 5, 9)
    assert table.span(1) == table.span(4) == Span("policy.yaml", 10, 9)
    inherited = [table.rule(row) for row in range(len(table)) if table.values(row)[0] == "role:CHIEF"]
    assert inherited[-1] == Rule(
        "p",
        ("role:CHIEF", "*", "folder", "*", "read", "company", "allow"),
        Span("policy.yaml", 5, 9),
        ("role:WRITER", "role:READER"),
    )
    assert {rule.via for rule in inherited[:-1]} == {("role:WRITER",)}


def test_a_role_above_twice_is_inherited_once() -> None:
    """A diamond of roles gives the rules of its top once, by the shortest way."""
    policy = """\
roles:
  TOP: {assigned: company, grants: [{object: folder, actions: [read]}]}
  LEFT: {assigned: company, inherits: [TOP]}
  RIGHT: {assigned: company, inherits: [TOP]}
  BOTTOM: {assigned: company, inherits: [LEFT, RIGHT, TOP]}
"""
    table = read(yaml_bundle(policy)).tables["p"]
    rules = [table.rule(row) for row in range(len(table)) if table.values(row)[0] == "role:BOTTOM"]
    assert [rule.via for rule in rules] == [("role:TOP",)]


def test_data_domains_are_granted_whole_or_narrowed() -> None:
    """By default all actions that each type declares; narrowed, only those, and only of types that have them."""
    policy = """\
data_domains:
  FILES: {objects: [folder, report]}
  READING: {objects: [folder, report], actions: [read]}
roles:
  A:
    assigned: company
    data_domains:
      - FILES
  B:
    assigned: company
    data_domains: [READING, {name: FILES, actions: [update], scope: own}]
"""
    bundle = read(yaml_bundle(policy))
    assert rows_of(bundle, "p") == [
        "p, role:A, *, folder, *, create, company, allow",
        "p, role:A, *, folder, *, read, company, allow",
        "p, role:A, *, folder, *, update, company, allow",
        "p, role:A, *, report, *, create, company, allow",
        "p, role:A, *, report, *, read, company, allow",
        "p, role:B, *, folder, *, read, company, allow",
        "p, role:B, *, report, *, read, company, allow",
        "p, role:B, *, folder, *, update, own, allow",
    ]
    assert bundle.tables["p"].span(0) == Span("policy.yaml", 8, 9)
    assert bundle.tables["p"].span(7) == Span("policy.yaml", 11, 29)


ASSIGNED = """\
roles:
  A: {assigned: company}
  P: {assigned: platform, kind: additive}
flags:
  on: {roles: [A], object: folder, actions: [read, update]}
  off: {roles: [A], object: report, actions: [create], default: false}
assignments:
  - {subject: silent, roles: [A], company: acme}
  - {subject: both, roles: [A], company: acme, flags: {on: false, off: true}}
  - {subject: root, roles: [P]}
"""


def test_assignments_are_links() -> None:
    """A company role is held in its company, a platform role in the domain `*`; the place is the assignment's."""
    bundle = read(yaml_bundle(ASSIGNED))
    assert rows_of(bundle, "g") == [
        "g, silent, role:A, acme",
        "g, both, role:A, acme",
        "g, root, role:P, *",
    ]
    assert bundle.tables["g"].span(2) == Span("policy.yaml", 10, 5)


def test_a_flag_that_is_off_denies_the_identity() -> None:
    """Switched off, or off by default and not switched on: deny rules of the identity, at the place that says so."""
    bundle = read(yaml_bundle(ASSIGNED))
    assert rows_of(bundle, "p") == [
        "p, silent, *, report, *, create, platform, deny",
        "p, both, *, folder, *, read, platform, deny",
        "p, both, *, folder, *, update, platform, deny",
    ]
    assert bundle.tables["p"].span(0) == Span("policy.yaml", 8, 5)
    assert bundle.tables["p"].span(1) == Span("policy.yaml", 9, 56)


SHARED = """\
roles:
  A: {assigned: company, grants: [{object: folder, actions: [read]}]}
assignments:
  - subject: sync
    company: acme
    grants:
      - {object: folder, id: inbox, actions: [read, update]}
      - {object: report, actions: [create], scope: own}
  - {subject: sync, grants: [{objects: [folder, report], actions: [create], effect: deny}]}
  - {subject: both, roles: [A], company: acme, grants: [{object: report, id: "7", actions: ["*"]}]}
"""


def test_grants_of_one_identity_are_rules_of_the_identity() -> None:
    """They hold in the company of the assignment, or in `*`, and stand at the place of the grant."""
    bundle = read(yaml_bundle(SHARED))
    assert rows_of(bundle, "p") == [
        "p, role:A, *, folder, *, read, company, allow",
        "p, sync, acme, folder, inbox, read, company, allow",
        "p, sync, acme, folder, inbox, update, company, allow",
        "p, sync, acme, report, *, create, own, allow",
        "p, sync, *, folder, *, create, platform, deny",
        "p, sync, *, report, *, create, platform, deny",
        "p, both, acme, report, 7, *, company, allow",
    ]
    assert rows_of(bundle, "g") == ["g, both, role:A, acme"]
    assert bundle.tables["p"].span(2) == Span("policy.yaml", 7, 9)
    assert bundle.tables["p"].span(6) == Span("policy.yaml", 10, 57)


@pytest.mark.parametrize(
    ("subject", "action", "type", "id", "company", "owner", "allowed"),
    [
        ("sync", "read", "folder", "inbox", "acme", "", True),
        ("sync", "update", "folder", "inbox", "acme", "", True),
        ("sync", "read", "folder", "other", "acme", "", False),
        ("sync", "read", "folder", "", "acme", "", False),
        ("sync", "read", "folder", "inbox", "globex", "", False),
        ("sync", "read", "folder", "inbox", "", "", False),
        ("sync", "create", "report", "", "acme", "sync", False),
        ("both", "read", "folder", "inbox", "acme", "", True),
        ("both", "update", "folder", "inbox", "acme", "", False),
        ("both", "create", "report", "7", "acme", "", True),
        ("both", "create", "report", "7", "globex", "", False),
        ("other", "read", "folder", "inbox", "acme", "", False),
    ],
)
@pytest.mark.parametrize("model", [BASIC, EXTENDED], ids=["basic", "extended"])
def test_grants_of_one_identity_reach_it_alone(
    model: str, subject: str, action: str, type: str, id: str, company: str, owner: str, allowed: bool
) -> None:
    """What is shared with an identity in one company is not shared with others, elsewhere or on other objects, and a
    denial of its own wins."""
    snapshot, _ = compile_bundle(read(yaml_bundle(SHARED, model)))
    assert snapshot is not None
    request, _ = build_request(subject, action, type=type, id=id, company=company, owner=owner)
    assert request is not None
    assert Decider(snapshot).decide(request).allowed is allowed


def test_the_extended_form_carries_conditions_and_patterns() -> None:
    """With the extended model every rule has a condition, `True` where none is written."""
    policy = """\
roles:
  A:
    assigned: company
    grants:
      - {object: folder, id: "draft-*", actions: [read]}
      - object: report
        actions: [read]
        when: >-
          r.obj.draft == True
          || r.sub.level > 3
"""
    assert rows_of(read(yaml_bundle(policy, EXTENDED)), "p") == [
        "p, role:A, *, folder, draft-*, read, company, allow, True",
        "p, role:A, *, report, *, read, company, allow, r.obj.draft == True || r.sub.level > 3",
    ]


def test_the_definitions_are_kept_with_their_places() -> None:
    """A bundle gives its definitions to later checks, each pointing at its name."""
    bundle = read(yaml_bundle(ASSIGNED))
    assert bundle.form == "yaml"
    assert bundle.roles["P"].span == Span("policy.yaml", 3, 3)
    assert bundle.roles["P"].kind == "additive"
    assert bundle.flags["off"].default is False
    assert [assignment.subject for assignment in bundle.assignments] == ["silent", "both", "root"]
    assert bundle.manifest.limits.roles_per_identity == 2
    assert bundle.manifest.object_types["report"].actions == ["create", "read"]


def test_inheritance_is_bounded() -> None:
    """A chain of more than sixty-four roles is refused rather than multiplied out."""
    roles = "".join(f"  R{n}: {{assigned: company, inherits: [R{n + 1}]}}\n" for n in range(66))
    found = findings_of(yaml_bundle(f"roles:\n{roles}  R66: {{assigned: company}}\n"))
    assert [(finding.place, finding.code) for finding in found] == [
        ("policy.yaml:2:27", "role-inheritance"),
        ("policy.yaml:3:27", "role-inheritance"),
    ]


def test_the_published_forms_are_models_and_differ() -> None:
    """Each form is recognised as itself."""
    assert form_of(standard_model("basic")) == "basic"
    assert form_of(standard_model("extended")) == "extended"
    assert standard_model("basic").text == BASIC
