"""YAML definitions: every fault of shape or meaning, at its place, with its remedy."""

import pytest

from authz_sidecar.bundle.findings import MAX_SHOWN
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from tests.bundle.expectations import MANIFEST, Finding, expect_findings, findings_of, read, rows_bundle, yaml_bundle

GRANTS = "roles:\n  READER:\n    assigned: company\n    grants:\n"
GOOD = GRANTS + "      - {object: folder, actions: [read]}\n"
ROLES = """\
roles:
  A: {assigned: company}
  P: {assigned: platform, kind: additive}
  S: {assigned: company, kind: sole}
  D: {assigned: company, kind: additive}
flags:
  can: {roles: [D], object: folder, actions: [read]}
"""
NAME_HELP = "a name begins with a letter and holds letters, digits, `_`, `-` and `.`; at most 128"
EMPTY_HELP = "write a value after the colon, or remove the field"
EXTENDED_HELP = "write it with `authz-sidecar render --model extended > DIR/model.conf`"


def grant(text: str) -> str:
    """A policy whose role has one more grant, on line 5 from column 9."""
    return f"{GRANTS}      - {{{text}}}\n"


@pytest.mark.parametrize(
    ("policy", "finding"),
    [
        pytest.param(
            grant("object: folder, actions: [read], scop: own"),
            Finding("policy.yaml:5:43", "field-unknown", "unknown field `scop`", "did you mean `scope`?"),
            id="unknown field",
        ),
        pytest.param(
            "role: {}\n",
            Finding("policy.yaml:1:1", "field-unknown", "unknown field `role`", "did you mean `roles`?"),
            id="unknown section",
        ),
        pytest.param(
            grant("object: folder"),
            Finding(
                "policy.yaml:5:9",
                "field-missing",
                "the field `actions` is missing",
                "add `actions:`, what is granted; `*` for every action",
            ),
            id="missing field",
        ),
        pytest.param(
            "roles:\n  A: {}\n",
            Finding(
                "policy.yaml:2:3",
                "field-missing",
                "the field `assigned` is missing",
                "add `assigned:`, `platform`: the role belongs to no company; `company`: it is always held inside one",
            ),
            id="missing field of a named definition",
        ),
        pytest.param(
            grant("object: folder, objects: [report], actions: [read]"),
            Finding(
                "policy.yaml:5:9",
                "field-value",
                "the grant has both `object` and `objects`",
                "give exactly one of them",
            ),
            id="object and objects",
        ),
        pytest.param(
            grant("actions: [read]"),
            Finding(
                "policy.yaml:5:9",
                "field-value",
                "the grant has neither `object` nor `objects`",
                "give exactly one of them",
            ),
            id="no object",
        ),
        pytest.param(
            grant("object: folder, actions: [read], scope: compnay"),
            Finding(
                "policy.yaml:5:50", "field-value", "`scope` cannot be the text `compnay`", "did you mean `company`?"
            ),
            id="unknown scope",
        ),
        pytest.param(
            grant("object: folder, actions: [read], effect: block"),
            Finding(
                "policy.yaml:5:51", "field-value", "`effect` cannot be the text `block`", "write `allow` or `deny`"
            ),
            id="unknown effect",
        ),
        pytest.param(
            grant("object: folder, actions: [read], scope: "),
            Finding("policy.yaml:5:43", "field-type", "`scope` takes a value, not nothing", EMPTY_HELP),
            id="field without value",
        ),
        pytest.param(
            grant("object: folder, actions: []"),
            Finding("policy.yaml:5:35", "field-value", "`actions` is empty", "give a value, or remove the field"),
            id="empty list",
        ),
        pytest.param(
            grant("object: folder, actions: read"),
            Finding("policy.yaml:5:35", "field-type", "`actions` takes a list, not the text `read`", "write `[read]`"),
            id="text for a list",
        ),
        pytest.param(
            grant("object: folder, actions: [read, 5]"),
            Finding(
                "policy.yaml:5:42",
                "field-type",
                "item 2 of `actions` takes text, not the number `5`",
                'put it in quotes: `"5"`',
            ),
            id="number for text",
        ),
        pytest.param(
            grant("object: folder, actions: [read], id: true"),
            Finding("policy.yaml:5:47", "field-type", "`id` takes text, not `true`", 'put it in quotes: `"true"`'),
            id="boolean for text",
        ),
        pytest.param(
            "roles: [A]\n",
            Finding(
                "policy.yaml:1:8",
                "field-type",
                "`roles` takes a mapping, not a list",
                "write `field: value` lines below it, indented",
            ),
            id="list for a mapping",
        ),
        pytest.param(
            "roles:\n",
            Finding("policy.yaml:1:1", "field-type", "`roles` takes a mapping, not nothing", EMPTY_HELP),
            id="empty section",
        ),
        pytest.param(
            "flags:\n  f: {roles: [A], object: folder, actions: [read], default: off}\n",
            Finding(
                "policy.yaml:2:61",
                "field-type",
                "`default` takes `true` or `false`, not the text `off`",
                "write `false`; YAML 1.2 takes `off` as text",
            ),
            id="off for a boolean",
        ),
        pytest.param(
            'roles:\n  "my role": {assigned: company}\n',
            Finding("policy.yaml:2:3", "field-value", "`my role` is no name", NAME_HELP),
            id="space in a name",
        ),
        pytest.param(
            'roles:\n  "A,B": {assigned: company}\n',
            Finding("policy.yaml:2:3", "field-value", "`A,B` is no name", NAME_HELP),
            id="comma in a name",
        ),
        pytest.param(
            grant('object: folder, actions: [read], id: "a*b"'),
            Finding(
                "policy.yaml:5:47", "field-value", "`a*b` is no id or pattern of ids", "`*` stands alone or at the end"
            ),
            id="star inside an id",
        ),
        pytest.param(
            grant('object: folder, actions: [read], id: "a*"'),
            Finding(
                "policy.yaml:5:47",
                "model-extended",
                "the id pattern `a*` needs the extended form of the standard model",
                EXTENDED_HELP,
            ),
            id="id pattern on the basic model",
        ),
        pytest.param(
            grant("object: folder, actions: [read], when: r.obj.draft == True"),
            Finding(
                "policy.yaml:5:43",
                "model-extended",
                "a condition (`when`) needs the extended form of the standard model",
                EXTENDED_HELP,
            ),
            id="condition on the basic model",
        ),
        pytest.param(
            grant("object: foldr, actions: [read]"),
            Finding("policy.yaml:5:18", "unknown-object-type", "unknown object type `foldr`", "did you mean `folder`?"),
            id="unknown object type",
        ),
        pytest.param(
            grant("objects: [report, invoice], actions: [read]"),
            Finding(
                "policy.yaml:5:28",
                "unknown-object-type",
                "unknown object type `invoice`",
                "the manifest declares `folder` and `report`",
            ),
            id="unknown object type in a list",
        ),
        pytest.param(
            grant("object: folder, actions: [raed]"),
            Finding("policy.yaml:5:36", "unknown-action", "unknown action `raed` of `folder`", "did you mean `read`?"),
            id="unknown action",
        ),
        pytest.param(
            grant("objects: [folder, report], actions: [update]"),
            Finding(
                "policy.yaml:5:47",
                "unknown-action",
                "unknown action `update` of `report`",
                "its actions are `create` and `read`",
            ),
            id="action of one type only",
        ),
        pytest.param(
            grant('object: "*", actions: [fly]'),
            Finding(
                "policy.yaml:5:33",
                "unknown-action",
                "unknown action `fly` of any object type",
                "its actions are `create`, `read` and `update`",
            ),
            id="action of no type",
        ),
        pytest.param(
            grant("object: folder, actions: [read], scope: platform"),
            Finding(
                "policy.yaml:5:50",
                "grant-scope",
                "the company role `READER` has a grant of platform scope",
                "use `company` or `own`, or move the grant to a role that is `assigned: platform`",
            ),
            id="platform scope of a company role",
        ),
        pytest.param(
            "roles:\n  P:\n    assigned: platform\n    grants: [{object: folder, actions: [read], scope: company}]\n",
            Finding(
                "policy.yaml:4:55",
                "grant-scope",
                "the platform role `P` has a grant of company scope",
                "use `platform` or `own`, or move the grant to a role that is `assigned: company`",
            ),
            id="company scope of a platform role",
        ),
        pytest.param(
            ROLES + "data_domains:\n  X: {objects: [folder], actions: [fly]}\n",
            Finding(
                "policy.yaml:9:36",
                "unknown-action",
                "unknown action `fly`: no object type of `X` declares it",
                "their actions are `create`, `read` and `update`",
            ),
            id="unknown action of a data domain",
        ),
        pytest.param(
            "data_domains: {FILES: {objects: [folder]}}\nroles: {A: {assigned: company, data_domains: [FILE]}}\n",
            Finding("policy.yaml:2:47", "unknown-data-domain", "unknown data domain `FILE`", "did you mean `FILES`?"),
            id="unknown data domain",
        ),
        pytest.param(
            "data_domains: {X: {objects: [report]}}\n"
            "roles: {A: {assigned: company, data_domains: [{name: X, actions: [update]}]}}\n",
            Finding(
                "policy.yaml:2:67",
                "unknown-action",
                "unknown action `update` of the data domain `X`",
                "its actions are `create` and `read`",
            ),
            id="data domain narrowed to what it has not",
        ),
        pytest.param(
            ROLES + "  may: {roles: [E], object: folder, actions: [read]}\n",
            Finding("policy.yaml:8:17", "unknown-role", "unknown role `E`", "the bundle defines `A`, `P`, `S` and `D`"),
            id="unknown role of a flag",
        ),
        pytest.param(
            "roles:\n  A: {assigned: company, inherits: [B]}\n  B: {assigned: company, inherits: [A]}\n",
            Finding(
                "policy.yaml:3:37",
                "role-cycle",
                "the role `A` inherits from itself: A > B > A",
                "remove `A` from what `B` inherits",
            ),
            id="circle of roles",
        ),
        pytest.param(
            "roles:\n  A: {assigned: company, inherits: [A]}\n",
            Finding(
                "policy.yaml:2:37",
                "role-cycle",
                "the role `A` inherits from itself: A > A",
                "remove `A` from what `A` inherits",
            ),
            id="role that inherits from itself",
        ),
        pytest.param(
            ROLES.replace("  A: {assigned: company}", "  A: {assigned: company, inherits: [P]}"),
            Finding(
                "policy.yaml:2:37",
                "role-inheritance",
                "the company role `A` inherits from the platform role `P`",
                "a role inherits from roles that are assigned as it is",
            ),
            id="company role on a platform role",
        ),
        pytest.param(
            ROLES.replace("  A: {assigned: company}", "  A: {assigned: company, inherits: [S]}"),
            Finding(
                "policy.yaml:2:37",
                "role-inheritance",
                "the role `A` inherits from `S`, which stands alone",
                "remove it; a sole role grants nothing",
            ),
            id="inherits from a sole role",
        ),
        pytest.param(
            ROLES.replace("kind: sole}", "kind: sole, inherits: [A]}"),
            Finding(
                "policy.yaml:4:38",
                "role-sole",
                "the role `S` stands alone and has `inherits`",
                "remove `inherits`, or make the role `primary` or `additive`",
            ),
            id="sole role that inherits",
        ),
        pytest.param(
            ROLES + "group_mappings:\n  - {group: staff, roles: [A, S], company: acme}\n",
            Finding(
                "policy.yaml:9:31",
                "role-sole",
                "the group `staff` has the role `S`, which stands alone, together with `A`",
                "remove `S`, or the other roles",
            ),
            id="sole role of a group with another",
        ),
        pytest.param(
            ROLES
            + "assignments:\n  - {subject: a, roles: [S], company: acme}\n"
            + "  - {subject: a, grants: [{object: folder, actions: [read]}]}\n",
            Finding(
                "policy.yaml:10:18",
                "role-sole",
                "`a` has the role `S`, which stands alone, together with `grants`",
                "remove `S`, or `grants`",
            ),
            id="sole role with grants beside it",
        ),
        pytest.param(
            "assignments:\n  - {subject: a, company: acme}\n",
            Finding(
                "policy.yaml:2:5",
                "field-value",
                "the assignment has neither `roles` nor `grants`",
                "give at least one of them, or remove the assignment",
            ),
            id="assignment of nothing",
        ),
        pytest.param(
            "assignments:\n  - {subject: a, company: acme, grants: []}\n",
            Finding("policy.yaml:2:41", "field-value", "`grants` is empty", "give a value, or remove the field"),
            id="assignment of no grants",
        ),
        pytest.param(
            "assignments:\n  - {subject: a, grants: [{object: foldr, actions: [read]}]}\n",
            Finding("policy.yaml:2:36", "unknown-object-type", "unknown object type `foldr`", "did you mean `folder`?"),
            id="unknown object type in a grant of one identity",
        ),
        pytest.param(
            "assignments:\n"
            "  - {subject: a, company: acme, grants: [{object: folder, actions: [read], scope: platform}]}\n",
            Finding(
                "policy.yaml:2:83",
                "grant-scope",
                "the assignment of `a` in `acme` has a grant of platform scope",
                "use `company` or `own`, or move the grant to an assignment without `company`",
            ),
            id="platform scope in a company's assignment",
        ),
        pytest.param(
            "assignments:\n  - {subject: a, grants: [{object: folder, actions: [read], scope: company}]}\n",
            Finding(
                "policy.yaml:2:68",
                "grant-scope",
                "the assignment of `a` on the platform has a grant of company scope",
                "use `platform` or `own`, or move the grant to an assignment with a `company`",
            ),
            id="company scope in a platform assignment",
        ),
        pytest.param(
            "assignments:\n  - {subject: a, grants: [{object: folder, id: a-*, actions: [read]}]}\n",
            Finding(
                "policy.yaml:2:48",
                "model-extended",
                "the id pattern `a-*` needs the extended form of the standard model",
                EXTENDED_HELP,
            ),
            id="pattern in a grant of one identity",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [A]}\n",
            Finding(
                "policy.yaml:9:26",
                "assignment-company",
                "the company role `A` is assigned without a company",
                "add `company:` with the company in which it is held",
            ),
            id="company role without company",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [P], company: acme}\n",
            Finding(
                "policy.yaml:9:39",
                "assignment-company",
                "the platform role `P` is assigned in the company `acme`",
                "remove `company:`; `P` belongs to no company and holds everywhere",
            ),
            id="platform role in a company",
        ),
        pytest.param(
            ROLES + "group_mappings:\n  - {group: staff, roles: [P], company: acme}\n",
            Finding(
                "policy.yaml:9:41",
                "assignment-company",
                "the platform role `P` is assigned in the company `acme`",
                "remove `company:`; `P` belongs to no company and holds everywhere",
            ),
            id="platform role of a group in a company",
        ),
        pytest.param(
            ROLES + 'assignments:\n  - {subject: a, roles: [A], company: "*"}\n',
            Finding(
                "policy.yaml:9:39",
                "field-value",
                "a company cannot hold `*`",
                "name one company; for access everywhere assign a platform role",
            ),
            id="star as company",
        ),
        pytest.param(
            ROLES + 'assignments:\n  - {subject: "role:A", roles: [A], company: acme}\n',
            Finding(
                "policy.yaml:9:15",
                "field-value",
                "an identity cannot begin with `role:`",
                "that prefix is kept for roles; name the identity without it",
            ),
            id="identity with the prefix of roles",
        ),
        pytest.param(
            ROLES + 'assignments:\n  - {subject: "*", roles: [A], company: acme}\n',
            Finding(
                "policy.yaml:9:15",
                "field-value",
                "`*` is no identity",
                "name each identity; there is no assignment for everybody",
            ),
            id="star as identity",
        ),
        pytest.param(
            ROLES + 'assignments:\n  - {subject: "a\\nb", roles: [A], company: acme}\n',
            Finding(
                "policy.yaml:9:15",
                "field-value",
                "the value holds the control character U+000A",
                "correct the value",
            ),
            id="line feed in an identity",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [B], company: acme}\n",
            Finding("policy.yaml:9:26", "unknown-role", "unknown role `B`", "the bundle defines `A`, `P`, `S` and `D`"),
            id="unknown role",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [A, S], company: acme}\n",
            Finding(
                "policy.yaml:9:29",
                "role-sole",
                "`a` has the role `S`, which stands alone, together with `A`",
                "remove `S`, or the other roles",
            ),
            id="sole role with another",
        ),
        pytest.param(
            ROLES
            + "assignments:\n  - {subject: a, roles: [A], company: x}\n  - {subject: a, roles: [D], company: y}\n",
            Finding(
                "policy.yaml:10:39",
                "assignment-limit",
                "`a` has more companies than the limit of 1",
                "remove an assignment, or raise `limits.companies_per_identity` in the manifest",
            ),
            id="too many companies",
        ),
        pytest.param(
            ROLES.replace("  A: {", "  B: {assigned: company, kind: additive}\n  A: {")
            + "assignments:\n  - {subject: a, roles: [A, D, B], company: x}\n",
            Finding(
                "policy.yaml:10:25",
                "assignment-limit",
                "`a` has more roles than the limit of 2",
                "remove an assignment, or raise `limits.roles_per_identity` in the manifest",
            ),
            id="too many roles",
        ),
        pytest.param(
            ROLES
            + "assignments:\n  - {subject: a, roles: [A], company: x}\n  - {subject: a, roles: [A], company: x}\n",
            Finding(
                "policy.yaml:10:26",
                "assignment-duplicate",
                "`a` is assigned the role `A` in `x` twice",
                "remove one of them; the first is at policy.yaml:9:26",
            ),
            id="same assignment twice",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [D], company: x, flags: {cann: false}}\n",
            Finding("policy.yaml:9:50", "unknown-flag", "unknown flag `cann`", "did you mean `can`?"),
            id="unknown flag",
        ),
        pytest.param(
            ROLES + "assignments:\n  - {subject: a, roles: [A], company: x, flags: {can: false}}\n",
            Finding(
                "policy.yaml:9:50",
                "flag-role",
                "the flag `can` is set on `a`, which has none of its roles",
                "remove it; the flag is for `D`",
            ),
            id="flag without its role",
        ),
        pytest.param(
            ROLES
            + "assignments:\n  - {subject: a, roles: [D], company: x, flags: {can: false}}\n"
            + "  - {subject: a, roles: [A], company: x, flags: {can: true}}\n",
            Finding(
                "policy.yaml:10:50",
                "assignment-duplicate",
                "the flag `can` is set on `a` twice",
                "remove one of them; the first is at policy.yaml:9:50",
            ),
            id="flag set twice",
        ),
        pytest.param(
            ROLES.replace("P: {assigned: platform, kind: additive}", "P: {assigned: platform}")
            + "assignments:\n  - {subject: a, roles: [P]}\n  - {subject: a, roles: [A], company: x}\n",
            Finding(
                "policy.yaml:10:26",
                "role-primary",
                "`a` has a second primary role, `A` beside `P`",
                "give an identity one primary role; make one that adds to another `kind: additive`",
                "warning",
            ),
            id="second primary role",
        ),
    ],
)
def test_a_fault_of_a_policy_is_reported_at_its_place(policy: str, finding: Finding) -> None:
    """Code, place, message and remedy of each fault; nothing else is reported with it."""
    expect_findings(yaml_bundle(policy), finding)


@pytest.mark.parametrize(
    ("condition", "finding"),
    [
        pytest.param(
            "        when: r.obj.a == r.foo\n",
            Finding(
                "policy.yaml:7:26",
                "expression-name",
                "the request has no token `foo`",
                "the request's tokens are `sub`, `dom`, `type`, `id`, `act`, `owner`, `obj`, `context`",
            ),
            id="bare",
        ),
        pytest.param(
            '        when: "r.obj.a == nope"\n',
            Finding(
                "policy.yaml:7:27",
                "expression-name",
                "unknown name `nope`",
                "texts stand in quotes; names begin with `r.` or `p.`",
            ),
            id="in quotes",
        ),
        pytest.param(
            "        when: >-\n          r.obj.a ==\n          nope\n",
            Finding(
                "policy.yaml:7:15",
                "expression-name",
                "unknown name `nope`",
                "texts stand in quotes; names begin with `r.` or `p.`",
            ),
            id="folded",
        ),
        pytest.param(
            "        when: |\n          r.obj.a == 1\n          && r.obj.b == 2\n",
            Finding(
                "policy.yaml:7:15",
                "expression-syntax",
                "the condition has several lines",
                "write it on one line, or after `when: >-`, which joins the lines",
            ),
            id="several lines",
        ),
    ],
)
def test_a_condition_is_checked_where_it_is_written(condition: str, finding: Finding) -> None:
    """The column is that of the fault inside the condition, or of the whole where lines are folded."""
    policy = f"{GRANTS}      - object: folder\n        actions: [read]\n{condition}"
    expect_findings(yaml_bundle(policy, EXTENDED), finding)


@pytest.mark.parametrize(
    ("manifest", "finding"),
    [
        pytest.param(
            MANIFEST.replace("schema_version: 1", "schema_version: 2"),
            Finding("manifest.yaml:2:17", "field-value", "`schema_version` cannot be the number `2`", "write `1`"),
            id="version",
        ),
        pytest.param(
            MANIFEST.replace("object_types", "object_type"),
            Finding(
                "manifest.yaml:3:1", "field-unknown", "unknown field `object_type`", "did you mean `object_types`?"
            ),
            id="unknown field",
        ),
        pytest.param(
            MANIFEST.replace("roles_per_identity: 2", "roles_per_identity: 0"),
            Finding(
                "manifest.yaml:6:30",
                "field-value",
                "`roles_per_identity` is 0; the least is 1",
                "write a larger number",
            ),
            id="limit of nothing",
        ),
        pytest.param(
            MANIFEST + "casbin: {}\n",
            Finding(
                "manifest.yaml:7:1",
                "field-value",
                "`casbin` is for plain Casbin bundles",
                "remove it; the standard model needs no matching functions",
            ),
            id="casbin section",
        ),
    ],
)
def test_a_fault_of_a_manifest_is_reported_at_its_place(manifest: str, finding: Finding) -> None:
    """The manifest is checked as strictly; a policy that is right adds nothing to it."""
    expect_findings(yaml_bundle(GOOD, manifest=manifest), finding)


MATCHING = "name: demo\nschema_version: 1\ncasbin:\n  "


@pytest.mark.parametrize(
    ("casbin", "finding"),
    [
        pytest.param(
            "role_matching: {g2: keyMatch22}\n",
            Finding(
                "manifest.yaml:4:19",
                "manifest-casbin",
                "unknown matching function `keyMatch22`",
                "did you mean `keyMatch2`?",
            ),
            id="unknown function",
        ),
        pytest.param(
            "role_matching: {g3: keyMatch}\n",
            Finding(
                "manifest.yaml:4:19",
                "manifest-casbin",
                "the model has no role definition `g3`",
                "did you mean `g`?",
            ),
            id="unknown role definition",
        ),
        pytest.param(
            "domain_matching: {g2: keyMatch}\n",
            Finding(
                "manifest.yaml:4:21",
                "manifest-casbin",
                "the role definition `g2` has no domain to match",
                "use `role_matching`, or give the definition a third `_`",
            ),
            id="no domain",
        ),
        pytest.param(
            "link_conditions: {g2: timeMatch}\n",
            Finding(
                "manifest.yaml:4:21",
                "manifest-casbin",
                "the links of `g2` have no parameters for a condition",
                "write `g2 = _, _, (_, _)` in `model.conf`",
            ),
            id="no parameters",
        ),
    ],
)
def test_matching_functions_fit_the_model(casbin: str, finding: Finding) -> None:
    """What the manifest of a plain bundle declares must exist in its model."""
    expect_findings(rows_bundle("", **{"manifest.yaml": MATCHING + casbin}), finding)


def test_a_plain_bundle_takes_matching_functions_from_its_manifest() -> None:
    """Role and domain matching are declared by name of role definition."""
    manifest = MATCHING + "role_matching: {g2: keyMatch2}\n  domain_matching: {g: keyMatch}\n"
    bundle = read(rows_bundle("", **{"manifest.yaml": manifest}))
    assert bundle.role_matching == {"g2": "keyMatch2"}
    assert bundle.domain_matching == {"g": "keyMatch"}
    assert bundle.link_conditions == {}
    assert bundle.name == "demo"


def test_object_types_mean_nothing_to_rows() -> None:
    """A field that would not be honoured is refused, not ignored."""
    expect_findings(
        rows_bundle("", **{"manifest.yaml": "name: x\nschema_version: 1\nlimits: {roles_per_identity: 1}\n"}),
        Finding(
            "manifest.yaml:3:1",
            "field-value",
            "`limits` is for bundles with YAML definitions",
            "remove it; the rows of a plain Casbin bundle name objects and actions themselves",
        ),
    )


def test_a_manifest_with_object_types_begins_a_yaml_bundle() -> None:
    """Before its first definition a YAML bundle is one already, with no rules."""
    bundle = read({"model.conf": BASIC, "manifest.yaml": MANIFEST})
    assert bundle.form == "yaml"
    assert bundle.rule_count == 0


def test_two_roles_of_one_name_are_both_named() -> None:
    """The later definition is refused and the earlier one pointed at, also across files."""
    expect_findings(
        {**yaml_bundle(GOOD), "z.yaml": GOOD},
        Finding(
            "z.yaml:2:3",
            "name-duplicate",
            "the role `READER` is defined twice",
            "rename or remove one of them; the other is at policy.yaml:2:3",
        ),
    )


def test_a_built_in_role_cannot_be_removed() -> None:
    """A bundle without a role that its manifest calls built in is refused."""
    manifest = MANIFEST + "built_in_roles: [READER, WRITER]\n"
    expect_findings(
        yaml_bundle(GOOD, manifest=manifest),
        Finding(
            "manifest.yaml:7:26",
            "role-missing",
            "the built-in role `WRITER` is not defined",
            "define it in a policy file; a built-in role cannot be removed",
        ),
    )
    assert findings_of(yaml_bundle(GOOD, manifest=manifest.replace(", WRITER", ""))) == []


def test_a_sensitive_action_is_one_of_its_type() -> None:
    """An action that the type does not declare cannot be marked."""
    expect_findings(
        yaml_bundle(
            GOOD,
            manifest=MANIFEST.replace("limits", "  case: {actions: [read], sensitive_actions: [read, raed]}\nlimits"),
        ),
        Finding("manifest.yaml:6:53", "unknown-action", "unknown action `raed` of `case`", "did you mean `read`?"),
    )


def test_one_fault_is_not_reported_as_many() -> None:
    """A role that is malformed, or in a file that does not parse, is not also unknown to those who name it, nor is it
    missing."""
    assign = "assignments: [{subject: a, roles: [READER], company: acme}]\n"
    manifest = MANIFEST + "built_in_roles: [READER]\n"
    malformed = {**yaml_bundle(GOOD.replace("grants", "grnats"), manifest=manifest), "z.yaml": assign}
    assert [finding.code for finding in findings_of(malformed)] == ["field-unknown"]
    unreadable = {**yaml_bundle("roles: [", manifest=manifest), "z.yaml": assign}
    assert [finding.code for finding in findings_of(unreadable)] == ["yaml-syntax"]


def test_a_faulty_grant_does_not_hide_the_others() -> None:
    """What is wrong in shape is left out and the rest of the role is checked."""
    policy = grant("object: 5, actions: [read]") + "      - {object: foldr, actions: [read]}\n"
    assert [finding.place for finding in findings_of(yaml_bundle(policy))] == ["policy.yaml:5:18", "policy.yaml:6:18"]


def test_a_flood_of_faults_is_counted() -> None:
    """Neither a hundred thousand faulty definitions nor as many faults of one are listed one by one."""
    many = findings_of(yaml_bundle("assignments: [" + "{}," * 100_000 + "]\n"))
    assert len(many) == MAX_SHOWN
    [one] = findings_of(yaml_bundle(grant(f"object: folder, actions: [{'5,' * 100_000}]")))
    assert one == Finding(
        "policy.yaml:5:9",
        "field-value",
        "the definition has 100,000 faults",
        "compare it with the format; most of its values are of another type than their field takes",
    )


def test_faults_of_all_files_come_at_once_and_sorted() -> None:
    """Model, manifest, policy and tests are all read, whatever is wrong with one of them."""
    files = {
        "model.conf": "[matchers]\n",
        "manifest.yaml": MANIFEST + "x: 1\n",
        "a.yaml": "roles: 1\n",
        "tests/t.yaml": "tests: 1\n",
        "notes.txt": "",
    }
    places = [finding.place for finding in findings_of(files)]
    assert places == sorted(places)
    assert {place.split(":")[0] for place in places} == set(files)


def test_a_changed_model_is_refused() -> None:
    """The standard model of a YAML bundle cannot be edited; the help says how to have a model of one's own."""
    expect_findings(
        yaml_bundle(GOOD, BASIC.replace(' && (p.act == "*" || p.act == r.act)', "")),
        Finding(
            "model.conf:28:5",
            "model-standard",
            "`model.conf` is not the standard model: it differs in `m`",
            "restore it with `authz-sidecar render --model basic > DIR/model.conf`; for a model of your own, then go "
            "plain with `authz-sidecar render --output NEW` and edit what it writes",
        ),
    )


def test_spacing_and_comments_of_the_model_are_free() -> None:
    """The model is compared by meaning, not by text."""
    squeezed = "\n".join(line.replace(" ", "") for line in BASIC.splitlines() if line and line[0] != "#")
    assert read(yaml_bundle(GOOD, "# mine\n" + squeezed)).form == "yaml"


def test_a_bundle_is_rows_or_definitions() -> None:
    """Not both, since one could contradict the other."""
    expect_findings(
        {**yaml_bundle(GOOD), "policy.csv": "p, a"},
        Finding(
            "policy.csv",
            "bundle-mixed",
            "the bundle has both rows (`policy.csv`) and definitions (`policy.yaml`)",
            "keep `*.csv` for a plain Casbin bundle, or YAML definitions with the standard model; not both",
        ),
    )


def test_a_yaml_bundle_needs_a_manifest_and_a_model() -> None:
    """Each missing file is named, with what to put there."""
    expect_findings(
        {"policy.yaml": GOOD},
        Finding(
            "manifest.yaml",
            "manifest-missing",
            "the bundle has no `manifest.yaml`",
            "add one with `name`, `schema_version: 1` and `object_types`",
        ),
        Finding(
            "model.conf",
            "model-missing",
            "the bundle has no `model.conf`",
            "add the Casbin model; for YAML definitions, `authz-sidecar render --model basic > DIR/model.conf`",
        ),
    )


@pytest.mark.parametrize(
    ("name", "message", "help"),
    [
        ("roles.yml", "the file `roles.yml` ends with `.yml`", "rename it to `roles.yaml`"),
        ("model.cnf", "a bundle has no file `model.cnf`", "did you mean `model.conf`?"),
        (
            "sub/model.conf",
            "a bundle has no file `sub/model.conf`",
            "a bundle has `model.conf`, `*.csv`, `*.yaml` and notes in `*.md`; move other files out of it",
        ),
        (
            "policy.csv.bak",
            "a bundle has no file `policy.csv.bak`",
            "a bundle has `model.conf`, `*.csv`, `*.yaml` and notes in `*.md`; move other files out of it",
        ),
    ],
)
def test_no_file_is_skipped_silently(name: str, message: str, help: str) -> None:
    """A file whose name means nothing is an error: it may hold rules that somebody believes in."""
    expect_findings({**rows_bundle(""), name: ""}, Finding(name, "file-name", message, help))


def test_notes_and_dot_names_are_not_read() -> None:
    """`*.md`, `LICENSE` and names with a dot in front say nothing to the sidecar."""
    expect_findings({**rows_bundle(""), "README.md": b"\xff", "LICENSE": "x", ".hidden": "x", ".git/config": "x"})


def test_a_file_over_its_limit_is_refused() -> None:
    """A model of more than a megabyte is not even parsed."""
    expect_findings(
        {"model.conf": "#" * ((1 << 20) + 1)},
        Finding(
            "model.conf",
            "file-size",
            "the file `model.conf` holds 1,048,577 bytes; at most 1,048,576 are read",
            "split the file",
        ),
    )


def test_too_many_files_are_refused() -> None:
    """Ten thousand files are a bundle; more are a wrong directory."""
    expect_findings(
        {f"{n}.csv": "" for n in range(10_001)},
        Finding(
            ".",
            "bundle-size",
            "the bundle has 10,001 files; at most 10,000 are read",
            "name the directory that holds the policies alone, or split the bundle",
        ),
        Finding(
            "model.conf",
            "model-missing",
            "the bundle has no `model.conf`",
            "add the Casbin model; for YAML definitions, `authz-sidecar render --model basic > DIR/model.conf`",
        ),
    )
