"""The section `identities` and the sidecar's own object types: every fault, and what directories are told."""

import pytest

from authz_sidecar.bundle.directory_rules import directory_rules
from authz_sidecar.bundle.identity_rules import seconds_of
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.values.directory_rules import (
    DAY,
    YEAR,
    DirectoryRules,
    FlagFacts,
    GroupFacts,
    KeyRules,
    KindRules,
    RoleFacts,
    TokenRules,
)
from tests.bundle.expectations import (
    MANIFEST,
    RBAC,
    Finding,
    expect_findings,
    findings_of,
    read,
    rows_bundle,
    rows_of,
    yaml_bundle,
)

ROLES = """\
roles:
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
  CHIEF: {assigned: company, sensitive: true, grants: [{object: folder, actions: [update]}]}
  BOSS: {assigned: platform}
  EXTRA: {assigned: company, kind: additive}
  NONE: {assigned: platform, kind: sole}
"""
# The section begins on line 7 of the manifest.
IDENTITIES = MANIFEST + "identities:\n"
DURATION_HELP = "write a whole number and `s`, `m`, `h`, `d`, `w` or `y`, as in `15m`"


def fault(section: str, *findings: Finding) -> None:
    """A manifest with this section has these findings and no other."""
    expect_findings(yaml_bundle(ROLES, manifest=IDENTITIES + section), *findings)


@pytest.mark.parametrize(
    ("section", "finding"),
    [
        pytest.param(
            "  default_role: CLARK\n",
            Finding("manifest.yaml:8:17", "unknown-role", "unknown role `CLARK`", "did you mean `CLERK`?"),
            id="unknown default role",
        ),
        pytest.param(
            "  default_role: EXTRA\n",
            Finding(
                "manifest.yaml:8:17",
                "manifest-identities",
                "the default role `EXTRA` is additive: it is held beside another role",
                "name a role that is `kind: primary` or `kind: sole`",
            ),
            id="additive default role",
        ),
        pytest.param(
            "  role_required: true\n  users: {roles: false}\n  service_accounts: {roles: false}\n",
            Finding(
                "manifest.yaml:8:3",
                "manifest-identities",
                "`role_required` is given, and neither users nor service accounts hold roles",
                "remove it, or `roles: false` from `users` or `service_accounts`",
            ),
            id="a role that nobody can hold",
        ),
        pytest.param(
            "  role_tokens: {CLERC: {lifetime: 5y}}\n",
            Finding("manifest.yaml:8:17", "unknown-role", "unknown role `CLERC`", "did you mean `CLERK`?"),
            id="tokens of an unknown role",
        ),
        pytest.param(
            "  impersonated_platform_roles: [BOSS, CLERK]\n",
            Finding(
                "manifest.yaml:8:39",
                "manifest-identities",
                "`CLERK` is a company role: a service account may act for whoever holds only such",
                "remove it; only platform roles are named here",
            ),
            id="company role among platform roles",
        ),
        pytest.param(
            "  impersonated_platform_roles: [BOS]\n",
            Finding("manifest.yaml:8:33", "unknown-role", "unknown role `BOS`", "did you mean `BOSS`?"),
            id="unknown platform role",
        ),
        pytest.param(
            "  service_accounts: {passwords: true}\n",
            Finding(
                "manifest.yaml:8:22",
                "field-unknown",
                "unknown field `passwords`",
                "the fields here are `max`, `name_length`, `unique_names`, `audited`, `roles`, `keys`, `tokens` and "
                "`denied`",
            ),
            id="password of a service account",
        ),
        pytest.param(
            "  service_accounts: {denied: [{object: foldr, actions: [read]}]}\n",
            Finding(
                "manifest.yaml:8:40", "unknown-object-type", "unknown object type `foldr`", "did you mean `folder`?"
            ),
            id="denial of what is not there",
        ),
        pytest.param(
            "  users: {denied: [{object: folder, actions: [raed]}]}\n",
            Finding(
                "manifest.yaml:8:47", "unknown-action", "unknown action `raed` of `folder`", "did you mean `read`?"
            ),
            id="denial of an action that is not there",
        ),
        pytest.param(
            "  users: {keys: {expiry_min: 2y, expiry_max: 180d}}\n",
            Finding(
                "manifest.yaml:8:11",
                "field-value",
                "`expiry_min` is longer than `expiry_max`: no key could be made",
                "exchange them",
            ),
            id="window without inside",
        ),
        pytest.param(
            "  users: {tokens: {lifetime: 15m, max_age: 12h}}\n",
            Finding(
                "manifest.yaml:8:11",
                "field-value",
                "`max_age` is for sliding tokens",
                "remove it, or add `sliding: true`",
            ),
            id="age of what does not slide",
        ),
        pytest.param(
            "  users: {tokens: {lifetime: 1d, sliding: true}}\n",
            Finding(
                "manifest.yaml:8:11",
                "field-value",
                "a token would end before its lifetime does",
                "write a `max_age` that is not shorter than `lifetime`",
            ),
            id="longer than its age",
        ),
        pytest.param(
            "  users: {tokens: {lifetime: 15 minutes}}\n",
            Finding("manifest.yaml:8:30", "field-value", "`15 minutes` is no duration", DURATION_HELP),
            id="no duration",
        ),
        pytest.param(
            "  break_glass: {max: 0h}\n",
            Finding("manifest.yaml:8:22", "field-value", "`0h` is no duration", DURATION_HELP),
            id="no time at all",
        ),
        pytest.param(
            "  users: {max: 0}\n",
            Finding("manifest.yaml:8:16", "field-value", "`max` is 0; the least is 1", "write a larger number"),
            id="nobody",
        ),
        pytest.param(
            "  users: {name_length: 1000}\n",
            Finding(
                "manifest.yaml:8:24", "field-value", "`name_length` is 1000; the most is 256", "write a smaller number"
            ),
            id="endless names",
        ),
    ],
)
def test_faults(section: str, finding: Finding) -> None:
    """Each fault of the section is told at its place with its remedy."""
    fault(section, finding)


def test_what_is_unknown_beside_a_malformed_role_is_not_told() -> None:
    """A role that was written and could not be read is not also an unknown default role."""
    policy = "roles:\n  CLERK: {assigned: nowhere}\n"
    found = findings_of(yaml_bundle(policy, manifest=IDENTITIES + "  default_role: CLERK\n"))
    assert [one.code for one in found] == ["field-value"]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43_200), ("180d", 180 * DAY), ("2w", 14 * DAY), ("5y", 5 * YEAR)],
)
def test_durations(duration: str, seconds: float) -> None:
    """A duration is what people read: minutes, hours, days, weeks, and years of 365 days."""
    assert seconds_of(duration) == seconds


def test_a_directory_is_told_all_that_the_bundle_says() -> None:
    """Limits, roles, types, flags, groups and every field of the section arrive as numbers and names."""
    manifest = (
        MANIFEST.replace("[create, read]}", "[create, read], sensitive: true}")
        + """\
  # of the limits above
built_in_roles: [NONE]
identities:
  default_role: NONE
  role_required: true
  own_company_only: true
  users:
    max: 1000
    name_length: 80
    unique_names: true
    passwords: false
    keys: {max: 5}
    tokens: {lifetime: 15m, sliding: true, max_age: 8h}
  service_accounts:
    max: 25
    audited: true
    roles: false
    keys: {max: 10, expiry_min: 180d, expiry_max: 2y}
    tokens: {lifetime: 1y}
    denied: [{object: report, actions: [create]}, {object: sidecar.grant, actions: [read]}]
  role_tokens: {CHIEF: {lifetime: 5y}}
  break_glass: {max: 1h}
  impersonated_platform_roles: [BOSS]
"""
    )
    policy = (
        ROLES
        + """\
data_domains:
  CASES: {objects: [folder], sensitive: true}
flags:
  may_read: {roles: [CLERK], object: folder, actions: [read], default: false}
assignments:
  - {subject: ann, roles: [CLERK], company: acme, flags: {may_read: true}}
  - {subject: bob, roles: [CLERK], company: acme}
group_mappings:
  - {group: clerks, roles: [CLERK], company: acme}
  - {group: bosses, roles: [BOSS]}
"""
    )
    assert directory_rules(read(yaml_bundle(policy, manifest=manifest))) == DirectoryRules(
        form="basic",
        domains=True,
        roles={
            "CLERK": RoleFacts("company"),
            "CHIEF": RoleFacts("company", sensitive=True),
            "BOSS": RoleFacts("platform"),
            "EXTRA": RoleFacts("company", "additive"),
            "NONE": RoleFacts("platform", "sole", built_in=True),
        },
        default_role="NONE",
        role_required=True,
        own_company_only=True,
        roles_per_identity=2,
        companies_per_identity=1,
        object_types={"folder": ("create", "read", "update"), "report": ("create", "read"), **OWN_TYPES},
        justified=frozenset({"folder", "report", *OWN_TYPES}),
        flags={"may_read": FlagFacts(("CLERK",), "folder", ("read",), False, frozenset({"ann"}))},
        groups=(GroupFacts("clerks", ("CLERK",), "acme"), GroupFacts("bosses", ("BOSS",))),
        users=KindRules(1000, 80, True, True, False, KeyRules(5), TokenRules(900.0, True, 8 * 3600.0)),
        service_accounts=KindRules(
            25,
            256,
            False,
            False,
            False,
            KeyRules(10, 180 * DAY, 2 * YEAR),
            TokenRules(YEAR, False, 0.0),
            (("report", ("create",)), ("sidecar.grant", ("read",))),
            audited=True,
        ),
        role_tokens={"CHIEF": TokenRules(5 * YEAR, False, 0.0)},
        break_glass_seconds=3600.0,
        impersonated_platform_roles=frozenset({"BOSS"}),
    )


def test_what_is_left_out_is_the_default() -> None:
    """A bundle that says nothing about identities leaves the numbers as they are, for users and service accounts."""
    rules = directory_rules(read(yaml_bundle(ROLES, model=EXTENDED)))
    usual = DirectoryRules()
    assert (rules.users, rules.service_accounts) == (usual.users, usual.service_accounts)
    assert rules.audited == ()
    assert (rules.form, rules.default_role, rules.break_glass_seconds) == ("extended", "", 8 * 3600.0)
    assert rules.service_accounts.tokens == TokenRules(5 * YEAR, False, 0.0)


def test_the_roles_of_a_plain_bundle_are_the_names_that_g_is_asked_for() -> None:
    """Names on the right of links and subjects of rules are roles, held in companies where `g` has a domain."""
    rows = "p, admin, acme, doc, read, allow\np, reader, acme, doc, read, allow\n"
    rows += "g, alice, admin, acme\ng, bob, chief, acme\n"
    rules = directory_rules(read(rows_bundle(rows)))
    assert (rules.form, rules.domains, rules.object_types) == ("casbin", True, {})
    assert rules.roles == dict.fromkeys(("admin", "chief", "reader"), RoleFacts("company"))
    without = RBAC.replace("g = _, _, _", "g = _, _").replace("g(r.sub, p.sub, r.dom)", "g(r.sub, p.sub)")
    rules = directory_rules(read(rows_bundle(rows.replace(", acme\n", "\n"), without)))
    assert (rules.domains, set(rules.roles.values())) == (False, {RoleFacts("platform")})
    assert rules.roles.keys() == {"admin", "chief", "reader"}


def test_a_plain_bundle_may_have_the_section() -> None:
    """Its manifest sets limits and tokens, and may name any role."""
    manifest = "name: demo\nschema_version: 1\nidentities: {default_role: reader, users: {max: 3}}\n"
    rules = directory_rules(read(rows_bundle("g, alice, admin, acme\n", **{"manifest.yaml": manifest})))
    assert (rules.default_role, rules.users.most) == ("reader", 3)


def test_a_plain_bundle_without_companies_keeps_nobody_to_one() -> None:
    """`own_company_only` needs a model whose roles are held in companies."""
    manifest = "name: x\nschema_version: 1\nidentities:\n  own_company_only: true\n"
    assert directory_rules(read(rows_bundle("", **{"manifest.yaml": manifest}))).own_company_only
    without = RBAC.replace("g = _, _, _", "g = _, _").replace("g(r.sub, p.sub, r.dom)", "g(r.sub, p.sub)")
    finding = Finding(
        "manifest.yaml:4:3",
        "manifest-identities",
        "`own_company_only` is given, and roles of this model are held in no company",
        "remove it, or give `g` of the model a third field, the company",
    )
    expect_findings(rows_bundle("", without, **{"manifest.yaml": manifest}), finding)


def test_a_plain_bundle_denies_by_rows_alone() -> None:
    """There `denied` would do nothing, so that it is refused."""
    manifest = "name: demo\nschema_version: 1\nidentities: {users: {denied: [{object: folder, actions: [read]}]}}\n"
    expect_findings(
        rows_bundle("g, alice, admin, acme\n", **{"manifest.yaml": manifest}),
        Finding(
            "manifest.yaml:3:22",
            "manifest-identities",
            "`denied` of `users` is for bundles with YAML definitions",
            "remove it; write rows of `p` that deny",
        ),
    )


# --- the sidecar's own object types


def test_grants_may_name_what_no_manifest_declares() -> None:
    """Types of the sidecar's own, with their actions, are granted in roles, data domains and to identities."""
    policy = """\
roles:
  ADMIN:
    assigned: platform
    data_domains: [KEYS]
    grants: [{objects: [sidecar.identity, sidecar.audit], actions: [read]}]
data_domains:
  KEYS: {objects: [sidecar.token]}
assignments:
  - {subject: ann, grants: [{object: sidecar.credential, actions: [rotate], scope: own}]}
"""
    bundle = read(yaml_bundle(policy))
    granted = [(fields[3], fields[5]) for fields in (row.split(", ") for row in rows_of(bundle, "p"))]
    assert granted == [
        ("sidecar.identity", "read"),
        ("sidecar.audit", "read"),
        ("sidecar.token", "create"),
        ("sidecar.token", "read"),
        ("sidecar.token", "revoke"),
        ("sidecar.credential", "rotate"),
    ]


@pytest.mark.parametrize(
    ("grant", "finding"),
    [
        pytest.param(
            "object: sidecar.identities, actions: [read]",
            Finding(
                "policy.yaml:2:49",
                "unknown-object-type",
                "unknown object type `sidecar.identities`",
                "did you mean `sidecar.identity`?",
            ),
            id="type",
        ),
        pytest.param(
            "object: sidecar.token, actions: [rotate]",
            Finding(
                "policy.yaml:2:74",
                "unknown-action",
                "unknown action `rotate` of `sidecar.token`",
                "did you mean `create`?",
            ),
            id="action",
        ),
        pytest.param(
            'object: "*", actions: [rotate]',
            Finding(
                "policy.yaml:2:64",
                "unknown-action",
                "unknown action `rotate` of any object type",
                "did you mean `create`?",
            ),
            id="no wildcard makes it right",
        ),
        pytest.param(
            "object: policy, actions: [read]",
            Finding(
                "policy.yaml:2:49",
                "unknown-object-type",
                "unknown object type `policy`",
                "the manifest declares `folder` and `report`",
            ),
            id="what is meant is one's own",
        ),
    ],
)
def test_misspelt_own_types(grant: str, finding: Finding) -> None:
    """A type or action of the sidecar's own that does not exist is told, with what was meant."""
    expect_findings(yaml_bundle(f"roles:\n  ADMIN: {{assigned: platform, grants: [{{{grant}}}]}}\n"), finding)


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("sidecar.identity", "remove it: grants may name"),
        ("sidecar.folder", "rename it; grants may name"),
    ],
)
def test_no_manifest_declares_a_type_of_the_sidecars_own(name: str, help: str) -> None:
    """The prefix is the sidecar's, also for what it does not have yet."""
    manifest = MANIFEST.replace("  folder:", f"  {name}: {{actions: [create]}}\n  folder:")
    (found,) = findings_of(yaml_bundle(ROLES, manifest=manifest))
    assert (found.place, found.code) == ("manifest.yaml:4:3", "field-value")
    assert found.message == f"the object type `{name}` is declared, and `sidecar.` is kept for the sidecar itself"
    assert found.help.startswith(help)


def test_gates_and_tests_may_name_them() -> None:
    """A gate over `sidecar.*` and a policy test of one of its types load; a beginning that none has is told."""
    files = yaml_bundle("roles:\n  ADMIN: {assigned: platform, grants: [{object: sidecar.audit, actions: [read]}]}\n")
    files["gates.yaml"] = (
        'gates:\n  - {id: g, message: m, only_roles: {roles: [ADMIN], objects: ["sidecar.*"], actions: [read]}}\n'
    )
    files["tests/t.yaml"] = "tests:\n  - {name: t, subject: ann, object: sidecar.audit, action: read, expect: deny}\n"
    read(files)
    files["gates.yaml"] = str(files["gates.yaml"]).replace("sidecar.*", "sidekick.*")
    assert [found.code for found in findings_of(files)] == ["unknown-object-type"]
