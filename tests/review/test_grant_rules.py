"""Lint rules about single grants and roles: what each finds, where, in which words, and what it leaves alone."""

import pytest

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.choice import Choice
from authz_sidecar.review.lint import lint_bundle
from authz_sidecar.values import Diagnostic, Severity

MANIFEST = """\
name: small
schema_version: 1
object_types:
  folder: {actions: [create, read, update]}
  report: {actions: [read]}
"""
# The rules that are looked at here; what others find in the same bundles is their own matter.
RULES = ("duplicate-grant", "shadowed-grant", "unreachable-grant", "unused-role")
ALLOW = "some(where (p.eft == allow))"
ALLOW_AND_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
DENY_OVERRIDE = "!some(where (p.eft == deny))"
PRIORITY = "priority(p.eft) || deny"


def found_in(files: dict[str, str]) -> list[Diagnostic]:
    """The findings of all lint rules."""
    bundle, diagnostics = parse_bundle({name: text.encode() for name, text in files.items()}, "small")
    assert bundle is not None, diagnostics
    snapshot, problems = compile_bundle(bundle)
    assert snapshot is not None, problems
    found = lint_bundle(bundle, snapshot, diagnostics, choice=Choice(select=RULES)).findings
    return [finding for finding in found if finding.code in (*RULES, "too-many")]


def in_yaml(text: str, manifest: str = MANIFEST, model: str = BASIC) -> list[str]:
    """Findings in `p.yaml` as `line code: message`; the first line of `text` is line 1."""
    return shown(found_in({"model.conf": model, "manifest.yaml": manifest, "p.yaml": text}))


def in_rows(
    rows: str, effect: str = ALLOW_AND_DENY, matcher: str = "", definition: str = "sub, obj, act, eft"
) -> list[str]:
    """Findings in rows of a small model, where `*` is any object."""
    matcher = matcher or 'g(r.sub, p.sub) && (p.obj == "*" || r.obj == p.obj) && r.act == p.act'
    model = (
        f"[request_definition]\nr = sub, obj, act\n[policy_definition]\np = {definition}\n[role_definition]\ng = _, _\n"
        f"[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n"
    )
    return shown(found_in({"model.conf": model, "p.csv": rows}))


def shown(findings: list[Diagnostic]) -> list[str]:
    """One line a finding; every one is a warning with a remedy."""
    for finding in findings:
        assert finding.severity is Severity.WARNING
        assert finding.help
        for text in (finding.message, finding.help):
            assert text.isprintable()
            assert not text[0].isupper()
            assert not text.endswith(".")
    return [f"{finding.span.line} {finding.code}: {finding.message}" for finding in findings]


# --- unused-role -----------------------------------------------------------------------------------------------

ROLES = """\
roles:
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
  CHIEF: {assigned: company, inherits: [CLERK], grants: [{object: folder, actions: [update]}]}
  GUEST: {assigned: company, grants: [{object: report, actions: [read]}]}
  NOBODY: {assigned: company, kind: sole}
"""
ASSIGNED = "assignments: [{subject: ann, roles: [CHIEF], company: acme}]\n"


def test_a_role_that_nobody_holds_is_told_at_its_name() -> None:
    """Neither assigned, nor mapped, nor inherited: the others are used, and a sole role is there to be given."""
    assert in_yaml(ROLES + ASSIGNED) == ["4 unused-role: nobody holds the role `GUEST`"]


@pytest.mark.parametrize(
    ("text", "manifest"),
    [
        (ROLES, MANIFEST),
        (ROLES + ASSIGNED + "group_mappings: [{group: g, roles: [GUEST], company: acme}]\n", MANIFEST),
        (ROLES + ASSIGNED, MANIFEST + "built_in_roles: [GUEST]\n"),
    ],
    ids=["no assignments at all", "mapped", "built in"],
)
def test_roles_that_are_given_elsewhere_are_not_told(text: str, manifest: str) -> None:
    """A bundle without assignments has them elsewhere; mappings and the manifest count as assignments do."""
    assert in_yaml(text, manifest) == []


def test_in_rows_a_role_is_known_by_its_name() -> None:
    """A subject that begins with `role:` and is nobody's is told once; any other may be an identity."""
    rows = "p, role:a, x, read, allow\np, role:a, y, read, allow\np, role:b, x, read, allow\np, bob, x, read, allow\n"
    assert in_rows(rows + "g, ann, role:b\n") == ["1 unused-role: nobody holds the role `role:a`"]
    assert in_rows(rows) == []


# --- unreachable-grant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            "p, ann, *, case:7, *, read, platform, allow",
            "object.type holds a colon; the type ends before the first one",
        ),
        ("p, ann, *, folder, *, , platform, allow", "action is empty"),
        (
            f"p, ann, *, {'x' * 1025}, *, read, platform, allow",
            "object.type is 1025 bytes long; at most 1024 are taken",
        ),
        ("p, role:a, *, folder, *, read, platform, allow", "nobody holds `role:a` on the platform"),
        ("p, role:a, globex, folder, *, read, company, allow", "nobody holds `role:a` in `globex`"),
        ("p, , *, folder, *, read, platform, allow", "subject is empty"),
    ],
)
def test_a_rule_that_no_request_can_match_is_told_with_the_reason(row: str, why: str) -> None:
    """What a request cannot hold, and a role that is held in other companies only, keep a rule from ever deciding."""
    files = {"model.conf": BASIC, "p.csv": f"g, ann, role:a, acme\np, role:a, *, report, *, read, own, allow\n{row}\n"}
    assert shown(found_in(files)) == [f"3 unreachable-grant: this rule never decides: {why}"]


def test_an_object_may_be_a_type_with_an_id() -> None:
    """`r.obj` holds a colon between type and id, so that a rule on it is reachable; what is longer than both is not."""
    rows = f"p, ann, folder:1, read, allow\np, ann, a:b:c, read, allow\np, ann, {'x' * 2000}, read, allow\n"
    assert [line[:19] for line in in_rows(rows)] == ["3 unreachable-grant"]


def test_a_condition_that_its_own_grant_excludes_is_told() -> None:
    """A grant on folders whose condition asks for reports can never hold; one that may fail first is left alone."""
    text = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: folder, actions: [read], when: "r.type == 'report'"}
      - {object: folder, actions: [update], when: "1 > 2"}
      - {object: report, actions: [read], when: "r.obj.open == True && r.type == 'folder'"}
assignments: [{subject: ann, roles: [CLERK], company: acme}]
"""
    assert in_yaml(text, model=EXTENDED) == [
        '5 unreachable-grant: this grant never decides: `r.type == "report"` cannot hold beside its other fields',
        "6 unreachable-grant: this grant never decides: its fields and its condition exclude each other",
    ]


def test_two_values_for_one_token_are_told() -> None:
    """A matcher that compares a token with two fields is met by rules that have the same in both."""
    rows = "p, ann, bob, read\np, ann, ann, read\n"
    matcher = "r.sub == p.sub && r.sub == p.obj && r.act == p.act"
    assert in_rows(rows, ALLOW, matcher, "sub, obj, act") == [
        "1 unreachable-grant: this rule never decides: `r.sub` would be both `ann` and `bob`"
    ]


def test_a_deny_that_the_effect_does_not_read_is_told() -> None:
    """Where one allow is enough, a deny decides nothing."""
    (line,) = in_rows("p, ann, x, read, allow\np, bob, x, read, deny\n", ALLOW)
    assert line == f"2 unreachable-grant: this rule never decides: a deny decides nothing under the effect `{ALLOW}`"


# --- duplicate-grant -------------------------------------------------------------------------------------------


def test_rows_that_stand_twice_are_told_at_the_second() -> None:
    """Each later row with the same fields names the first, file and line."""
    rows = "p, ann, x, read, allow\np, ann, y, read, allow\np, ann, x, read, allow\np, ann, x, read, allow\n"
    assert in_rows(rows) == [
        "3 duplicate-grant: this rule is written twice: `p.csv:1` has it already",
        "4 duplicate-grant: this rule is written twice: `p.csv:1` has it already",
    ]


def test_a_grant_that_lists_make_twice_is_told_once() -> None:
    """Lists of types and actions that overlap are told with what they have in common, also within one grant."""
    text = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {objects: [folder, report], actions: [read]}
      - {object: folder, actions: [read, update]}
      - {object: folder, actions: [create, create]}
      - {object: report, actions: [read]}
assignments: [{subject: ann, roles: [CLERK], company: acme, grants: [{objects: [folder, folder], actions: [read]}]}]
"""
    assert in_yaml(text) == [
        "6 duplicate-grant: `read` of `folder` is granted to `CLERK` twice: `p.yaml:5` has it already",
        "7 duplicate-grant: `create` of `folder` is granted to `CLERK` twice",
        "8 duplicate-grant: this grant is written twice: `p.yaml:5` has it already",
        "9 duplicate-grant: `read` of `folder` is granted to `ann` twice",
    ]


def test_data_domains_that_share_a_type_are_no_duplicate() -> None:
    """Categories of data overlap; that a role covers two of them is nobody's mistake."""
    text = """\
data_domains:
  FOLDERS: {objects: [folder]}
  READING: {objects: [folder, report], actions: [read]}
roles: {CLERK: {assigned: company, data_domains: [FOLDERS, READING]}}
assignments: [{subject: ann, roles: [CLERK], company: acme}]
"""
    assert in_yaml(text) == []
    # One that adds nothing is a grant like any other.
    assert in_yaml(text.replace("[folder, report], actions", "[folder], actions")) == [
        "4 duplicate-grant: this grant is written twice: `p.yaml:4` has it already"
    ]


# --- shadowed-grant --------------------------------------------------------------------------------------------


def test_a_narrower_grant_beside_a_wider_one_is_told() -> None:
    """A wildcard, and the scope of the company beside that of one's own, cover a grant; the message says where."""
    text = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: folder, actions: [read], scope: own}
      - {object: folder, actions: ["*"], id: a}
      - {object: folder, actions: [read, update]}
      - {object: folder, actions: [update], id: a}
      - {object: folder, actions: [create], scope: own}
assignments: [{subject: ann, roles: [CLERK], company: acme}]
"""
    assert in_yaml(text) == [
        "5 shadowed-grant: this grant never decides: `p.yaml:7` already allows all that it allows",
        "8 shadowed-grant: this grant never decides: `p.yaml:7` already allows all that it allows",
    ]


def test_a_grant_is_told_only_if_all_its_rules_are_covered() -> None:
    """One action or one type that nothing else grants keeps a grant."""
    text = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {objects: [folder, report], actions: [read], scope: own}
      - {object: folder, actions: [read]}
assignments: [{subject: ann, roles: [CLERK], company: acme}]
"""
    assert in_yaml(text) == []
    both = text.replace("{object: folder, actions: [read]}", '{object: "*", actions: [read]}')
    assert in_yaml(both) == ["5 shadowed-grant: this grant never decides: `p.yaml:6` already allows all that it allows"]


def test_a_grant_that_a_role_inherits_is_told_where_it_is_repeated() -> None:
    """The role that inherits may drop its own; the one above may not, as its holders have nothing else."""
    text = """\
roles:
  CHIEF: {assigned: company, inherits: [CLERK], grants: [{object: folder, actions: [read]}]}
  CLERK: {assigned: company, grants: [{object: folder, actions: [read]}]}
assignments:
  - {subject: ann, roles: [CHIEF], company: acme}
  - {subject: bob, roles: [CLERK], company: acme}
"""
    assert in_yaml(text) == ["2 shadowed-grant: this grant never decides: `p.yaml:3` already allows all that it allows"]


def test_an_allow_that_a_deny_outweighs_is_told() -> None:
    """A deny of everything makes each allow below it pointless; a deny of less does not, nor an allow a deny."""
    assert in_rows("p, ann, *, read, deny\np, ann, x, read, allow\n") == [
        "2 shadowed-grant: this rule never decides: `p.csv:1` denies all that it allows"
    ]
    assert in_rows("p, ann, x, read, deny\np, ann, *, read, allow\n") == []
    assert in_rows("p, ann, *, read, allow\np, ann, x, read, deny\n") == []


def test_a_role_that_is_held_as_well_covers_a_rule() -> None:
    """Who holds a role holds what it inherits, so the rule of the lower role is pointless."""
    rows = "p, editor, x, read, allow\np, author, x, read, allow\ng, editor, author\ng, ann, editor\n"
    assert in_rows(rows) == ["1 shadowed-grant: this rule never decides: `p.csv:2` already allows all that it allows"]


@pytest.mark.parametrize(
    ("function", "wide", "narrow", "told"),
    [
        ("keyMatch", "/a/*", "/a/b/*", True),
        ("keyMatch", "/a/*", "/a/b", True),
        ("keyMatch", "/a/*", "/ab/*", False),
        ("keyMatch2", "/a/:id", "/a/1", True),
        ("keyMatch2", "/a/:id", "/a/:id/b", False),
        ("regexMatch", "/a", "/a.*c", True),
        ("regexMatch", "/a.*c", "^/abc$", True),
        ("regexMatch", "/ab*$", "/a.*d$", False),
        ("globMatch", "/a/*", "/a/b*", False),
    ],
)
def test_a_pattern_that_takes_in_another_covers_a_rule(function: str, wide: str, narrow: str, told: bool) -> None:
    """A beginning covers what begins with it, any pattern covers a single value; of two others nothing is said."""
    matcher = f"r.sub == p.sub && {function}(r.obj, p.obj) && r.act == p.act"
    found = in_rows(f"p, ann, {narrow}, read, allow\np, ann, {wide}, read, allow\n", matcher=matcher)
    assert [line[:16] for line in found] == (["1 shadowed-grant"] if told else [])


def test_patterns_that_cover_each_other_leave_one() -> None:
    """Two spellings of one pattern are told once, so that removing what is told keeps the access."""
    matcher = "r.sub == p.sub && keyMatch(r.obj, p.obj) && r.act == p.act"
    rows = "p, ann, /a*, read, allow\np, ann, /a*b, read, allow\np, ann, /a*c, read, allow\n"
    assert len(in_rows(rows, matcher=matcher)) == 2


def test_under_priority_the_first_rule_decides_whatever_it_says() -> None:
    """A later rule is covered by an earlier one of either effect, an earlier rule by none."""
    definition = "priority, sub, obj, act, eft"
    rows = "p, 2, ann, x, read, allow\np, 1, ann, *, read, deny\np, 0, ann, y, read, allow\n"
    assert in_rows(rows, PRIORITY, definition=definition) == [
        "1 shadowed-grant: this rule never decides: `p.csv:2` denies all that it allows"
    ]
    rows = "p, 2, ann, x, read, deny\np, 1, ann, *, read, allow\n"
    assert in_rows(rows, PRIORITY, definition=definition) == [
        "1 shadowed-grant: this rule never decides: `p.csv:2` comes first and allows all that it denies"
    ]


CONDITIONAL = 'r.sub == p.sub && (p.obj == "*" || r.obj == p.obj) && r.act == p.act && eval(p.rule)'
RULED = "sub, obj, act, rule, eft"


def test_a_condition_that_may_fail_is_not_covered_by_an_allow() -> None:
    """Its failure denies in spite of the allow, so the rule decides; one that cannot fail is covered."""
    wide = "p, ann, *, read, True, allow\n"
    assert in_rows(wide + "p, ann, x, read, r.obj.level > 3, allow\n", ALLOW_AND_DENY, CONDITIONAL, RULED) == []
    for row in ('p, ann, x, read, r.sub == "ann", allow', "p, ann, x, read, True, allow"):
        (line,) = in_rows(wide + row + "\n", ALLOW_AND_DENY, CONDITIONAL, RULED)
        assert line.startswith("2 shadowed-grant")
    # A deny outweighs the failure too.
    (line,) = in_rows(
        wide.replace("allow", "deny") + "p, ann, x, read, r.obj.level > 3, allow\n", ALLOW_AND_DENY, CONDITIONAL, RULED
    )
    assert line.startswith("2 shadowed-grant")


def test_where_a_condition_may_fail_an_earlier_allow_is_not_covered_by_a_later_one() -> None:
    """One allow is enough and the first that matches ends the search: without it a failure would come first."""
    early, failing, wide = (
        "p, ann, x, read, True, allow\n",
        "p, ann, *, read, r.obj.level > 3, allow\n",
        "p, ann, *, read, True, allow\n",
    )
    assert in_rows(early + failing + wide, ALLOW, CONDITIONAL, RULED) == []
    assert [line[:1] for line in in_rows(wide + early + failing, ALLOW, CONDITIONAL, RULED)] == ["2", "3"]


def test_the_last_rules_of_an_effect_that_allows_by_default_are_kept() -> None:
    """Without any rule it denies, so even rules that nothing matches keep it allowing."""
    assert in_rows("p, ann, x, , deny\n", DENY_OVERRIDE) == []
    assert [line[:19] for line in in_rows("p, ann, x, , deny\np, ann, x, read, deny\n", DENY_OVERRIDE)] == [
        "1 unreachable-grant"
    ]


def test_what_is_found_is_bounded() -> None:
    """A bundle with thousands of faults shows a thousand and counts the rest."""
    rows = "".join(f"p, ann, x{number}, read, allow\n" * 2 for number in range(1_500))
    found = in_rows(rows)
    assert len(found) == 1_001
    assert "0 too-many: 500 more warnings were found" in found
