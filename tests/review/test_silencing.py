"""What is not told: rules that are left out, comments with a reason, and the baseline; and what is always told."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.bundle.ignores import read_ignores
from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.baseline import Baseline, BaselineError, NewBaseline, read_baseline
from authz_sidecar.review.choice import CHOOSABLE, NEVER_SILENCED, WARNINGS_OF_LOADING, Choice, code_problem
from authz_sidecar.review.lint import LintReport, lint_bundle
from authz_sidecar.review.rules import RULES
from authz_sidecar.values import CODES, Diagnostic, Severity, Span
from authz_sidecar.values.codes import RETIRED
from tests.review.rule_cases import BASE_MANIFEST, MODELS

ROLES = """\
roles:
  CLERK:
    assigned: company
    grants:
      - {object: case, actions: [read]}
      - {object: case, actions: [read]}
  INTERN:
    assigned: company
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
# A second primary role, which loading warns of.
SECOND = ROLES + "  - {subject: ann, roles: [INTERN], company: acme}\n"
# The rules of these tests: others may find more in such a bundle.
OURS = (
    "duplicate-grant",
    "ignore-without-reason",
    "malformed-ignore",
    "role-primary",
    "unknown-rule",
    "unused-ignore",
    "unused-role",
)


def lint(
    roles: str,
    manifest: str = "",
    choice: Choice | None = None,
    baseline: Baseline | None = None,
    more: tuple[Diagnostic, ...] = (),
) -> LintReport:
    """The report on a bundle of these roles; `manifest` is added to that of the base bundle."""
    files = {
        "manifest.yaml": (BASE_MANIFEST + manifest).encode(),
        "model.conf": MODELS["basic"].encode(),
        "roles.yaml": roles.encode(),
    }
    bundle, problems = parse_bundle(files, "silenced")
    assert bundle is not None, problems
    snapshot, _ = compile_bundle(bundle)
    return lint_bundle(bundle, snapshot, (*problems, *more), files, choice=choice, baseline=baseline)


def places(report: LintReport) -> list[tuple[str, int]]:
    """Code and line of what is told, of the rules of these tests."""
    return [(finding.code, finding.span.line) for finding in report.findings if finding.code in OURS]


def choose(*codes: str) -> Choice:
    """These rules alone."""
    return Choice(select=codes)


def test_a_comment_silences_its_line_or_the_one_below_it() -> None:
    """On the finding's line, on the line above, and two comments one upon the other; each reason is kept."""
    assert places(lint(ROLES)) == [("duplicate-grant", 6), ("unused-role", 7)]
    lines = ROLES.split("\n")
    lines[6] += "   # authz: ignore[unused-role] from June on"
    lines.insert(5, "      # authz: ignore[duplicate-grant] to be sorted out")
    report = lint("\n".join(lines))
    assert places(report) == []
    assert [(silenced.finding.code, silenced.by, silenced.reason) for silenced in report.silenced] == [
        ("duplicate-grant", "comment", "to be sorted out"),
        ("unused-role", "comment", "from June on"),
    ]
    lines.insert(5, "      # authz: ignore[unused-role] of no use here")
    assert places(lint("\n".join(lines))) == [("unused-ignore", 6)]


def test_a_comment_of_another_line_or_rule_or_without_a_reason_silences_nothing() -> None:
    """The finding stays, beside what is wrong with the comment."""
    for comment, wrong in (
        ("# authz: ignore[duplicate-grant] yes", "unused-ignore"),
        ("# authz: ignore[unused-role]", "ignore-without-reason"),
        ("# authz: ignore unused-role since June", "malformed-ignore"),
        ("# authz: ignore[unused_role] since June", "unknown-rule"),
    ):
        report = lint(ROLES.replace("INTERN:", f"INTERN: {comment}"))
        assert sorted(places(report)) == sorted([("duplicate-grant", 6), ("unused-role", 7), (wrong, 7)])
    report = lint(
        ROLES.replace("assigned: company\nassign", "assigned: company # authz: ignore[unused-role] no\nassign")
    )
    assert ("unused-role", 7) in places(report)
    assert ("unused-ignore", 8) in places(report)


def test_a_comment_inside_a_text_or_another_comment_silences_nothing() -> None:
    """What YAML takes for a part of a value, or of a comment that has begun, is no comment of ours."""
    mark = "# authz: ignore[unused-role] no"
    for text in (
        ROLES.replace("INTERN:\n", f'INTERN:\n    description: "{mark}"\n').replace("INTERN:\n", "INTERN: &a\n"),
        ROLES.replace("  INTERN:\n", f"    description: |\n      {mark}\n  INTERN:\n"),
        ROLES.replace("  INTERN:\n", f"    description: >-\n\n      a\n      {mark}\n  INTERN:\n"),
        ROLES.replace("  INTERN:\n", f"    description: 'a\n      {mark}'\n  INTERN:\n"),
        ROLES.replace("INTERN:\n", f"INTERN: # as in {mark}\n"),
    ):
        assert "unused-role" in {code for code, _ in places(lint(text))}
        assert lint(text).silenced == ()


def test_windows_line_ends_change_nothing() -> None:
    """A file whose lines end with carriage return and line feed is read as any other."""
    text = ROLES.replace("INTERN:", "INTERN: # authz: ignore[unused-role] from June on").replace("\n", "\r\n")
    (silenced,) = lint(text).silenced
    assert (silenced.finding.span.line, silenced.reason) == (7, "from June on")


def test_comments_in_files_that_are_no_text_or_no_yaml_are_left_alone() -> None:
    """Nothing is raised, and no comment is found in them."""
    mark = b"# authz: ignore[unused-role] no\n"
    assert list(read_ignores({"a.yaml": mark + b"\xff", "b.yaml": b"a: [\n" + mark, "c.md": mark, "d.yaml": b""})) == []


MARK = "# authz: ignore[b] c"
# Values of a mapping's entry, and whether the mark in them is a comment.
ENTRIES = (
    (f"a {MARK}", True),
    (f"a\t{MARK}", True),
    (f"'a' {MARK}", True),
    (f"[a, 'b#'] {MARK}", True),
    (f"[a, {MARK}\n    b]", True),
    (f"\n    - a\n  {MARK}\n    - b", True),
    (f"|\n    a\n {MARK}", True),
    (f"&a b#c {MARK}", True),
    ("a#authz:ignore[b] c", False),
    (f"a # {MARK}", False),
    (f"'{MARK}'", False),
    (f'"a \\" {MARK}"', False),
    (f"'it''s {MARK}'", False),
    (f"'a\n\n    {MARK}\n    b'", False),
    (f"|\n    {MARK}\n    b", False),
    (f">-\n    a\n     {MARK}\n\n    {MARK}", False),
    (f"[a, '{MARK}', b]", False),
    (f"é #{MARK}", False),
)


@given(st.lists(st.sampled_from(ENTRIES)))
def test_a_comment_is_found_where_yaml_has_one_and_nowhere_else(entries: list[tuple[str, bool]]) -> None:
    """Whatever texts, lists, blocks and other comments stand before and after it, in whichever order."""
    lines = [f"  k{number}: {text.replace('&a', f'&a{number}')}" for number, (text, _) in enumerate(entries)]
    text = "\n".join(["top:", *lines, ""])
    assert len(yaml.load(text, Loader=yaml.CSafeLoader)["top"] or ()) == len(entries)
    found = list(read_ignores({"a.yaml": text.encode()}))
    assert len(found) == sum(is_comment for _, is_comment in entries)
    for comment in found:
        assert text.split("\n")[comment.span.line - 1][comment.span.column - 1 :] == MARK


def test_the_manifest_leaves_rules_out_and_says_how_grave_they_are() -> None:
    """`select` takes rules alone, `ignore` and `off` leave them out, a severity replaces the rule's own."""
    assert places(lint(ROLES, "lint: {select: [unused-role]}\n")) == [("unused-role", 7)]
    assert places(lint(ROLES, "lint: {ignore: [unused-role]}\n")) == [("duplicate-grant", 6)]
    assert places(lint(ROLES, "lint: {severity: {unused-role: off}}\n")) == [("duplicate-grant", 6)]
    report = lint(ROLES, "lint: {select: [unused-role], severity: {unused-role: error}}\n")
    assert [finding.severity for finding in report.findings] == [Severity.ERROR]


def test_the_command_line_outranks_the_manifest() -> None:
    """A rule that is asked for by name runs although the manifest leaves it out; one that is left out does not."""
    manifest = "lint: {ignore: [unused-role], severity: {duplicate-grant: off}}\n"
    assert places(lint(ROLES, manifest, choose("unused-role"))) == [("unused-role", 7)]
    assert places(lint(ROLES, manifest, choose("duplicate-grant"))) == [("duplicate-grant", 6)]
    assert places(lint(ROLES, choice=Choice(ignore=("unused-role",)))) == [("duplicate-grant", 6)]
    assert places(lint(ROLES, choice=Choice(("unused-role",), ("unused-role",)))) == []


def test_warnings_of_loading_are_chosen_and_silenced_like_rules() -> None:
    """A second primary role is told, left out, made an error, and silenced by a comment."""
    assert ("role-primary", 11) in places(lint(SECOND))
    assert "role-primary" not in dict(places(lint(SECOND, "lint: {ignore: [role-primary]}\n")))
    (raised,) = lint(SECOND, "lint: {severity: {role-primary: error}}\n", choose("role-primary")).findings
    assert raised.severity is Severity.ERROR
    report = lint(
        SECOND.replace(
            "  - {subject: ann, roles: [I", "  # authz: ignore[role-primary] so be it\n  - {subject: ann, roles: [I"
        )
    )
    assert [silenced.finding.code for silenced in report.silenced] == ["role-primary"]
    assert ("unused-ignore", 7) in places(lint(ROLES.replace("INTERN:", "INTERN: # authz: ignore[role-primary] no")))


def test_errors_that_refuse_the_bundle_gates_and_the_rest_of_many_are_always_told() -> None:
    """No selection, comment or baseline takes them away, and none can name them."""
    text = ROLES.replace("INTERN:", "INTERN: # authz: ignore[gate-violation, too-many, rule-width] no")
    always = tuple(
        Diagnostic(Span("roles.yaml", 7, 3), code, "told", "", severity)
        for code, severity in (
            ("gate-violation", Severity.ERROR),
            ("gate-violation", Severity.WARNING),
            ("too-many", Severity.WARNING),
            ("rule-width", Severity.ERROR),
        )
    )
    report = lint(text, "lint: {select: [unused-ignore]}\n", choose("unused-ignore"), NewBaseline(), always)
    assert set(report.findings) >= set(always)
    assert all(code_problem(code) for code in (*NEVER_SILENCED, "rule-width"))


def test_what_can_be_chosen_is_declared() -> None:
    """Every rule and every warning of loading has a code of the table, and none of them is always told."""
    assert CODES.keys() >= CHOOSABLE
    assert not CHOOSABLE & NEVER_SILENCED
    assert {rule.code for rule in RULES} | WARNINGS_OF_LOADING == CHOOSABLE


def baseline_of(roles: str) -> NewBaseline:
    """The baseline of today."""
    new = NewBaseline()
    lint(roles, baseline=new)
    return new


def test_a_baseline_silences_what_it_holds_wherever_it_moves() -> None:
    """With lines added above, and the places that messages name moved with them, nothing is new."""
    text = baseline_of(ROLES).text()
    for roles in (
        ROLES,
        "# one\n\n# two\n" + ROLES,
        ROLES.replace("roles:\n", "roles:\n  ADDED: {assigned: company}\n", 1),
    ):
        report = lint(roles.replace("[CLERK]", "[CLERK]"), baseline=read_baseline(text))
        assert [code for code, _ in places(report) if code != "unused-role"] == []
        assert {("duplicate-grant", "baseline"), ("unused-role", "baseline")} <= {
            (silenced.finding.code, silenced.by) for silenced in report.silenced
        }
        assert report.unmatched == 0


def test_a_baseline_does_not_silence_what_is_new() -> None:
    """The same fault in another role, once more in the same one, or in a line that says something else is told."""
    text = baseline_of(ROLES).text()
    third = "      - {object: case, actions: [read]}\n"
    assert ("duplicate-grant", 7) in places(
        lint(ROLES.replace("  INTERN:", third + "  INTERN:"), baseline=read_baseline(text))
    )
    other = ROLES.replace(
        "    assigned: company\nassignments", "    assigned: company\n    grants:\n" + 2 * third + "assignments"
    )
    assert ("duplicate-grant", 11) in places(lint(other, baseline=read_baseline(text)))
    assert ("unused-role", 7) in places(lint(ROLES.replace("INTERN", "TRAINEE"), baseline=read_baseline(text)))


def test_what_a_baseline_holds_in_vain_is_counted() -> None:
    """Findings that are gone are counted, those of rules that did not run are not."""
    text = baseline_of(ROLES).text()
    fixed = ROLES.replace("[CLERK]", "[CLERK, INTERN]")
    assert lint(fixed, choice=choose("unused-role"), baseline=read_baseline(text)).unmatched == 1
    assert lint(fixed, choice=choose("duplicate-grant"), baseline=read_baseline(text)).unmatched == 0


def test_a_comment_goes_before_the_baseline() -> None:
    """What a comment silences is not written to a baseline, so that taking the comment out tells it again."""
    roles = ROLES.replace("INTERN:", "INTERN: # authz: ignore[unused-role] from June on")
    written = json.loads(baseline_of(roles).text())["findings"]
    assert "unused-role" not in {entry["code"] for entry in written}


def test_a_baseline_is_written_the_same_again_and_an_empty_file_is_an_empty_one() -> None:
    """Its entries are sorted, counted, and readable."""
    document = json.loads(baseline_of(ROLES).text())
    assert document["version"] == 1
    assert [set(entry) for entry in document["findings"]] == len(document["findings"]) * [
        {"code", "file", "message", "context", "count"}
    ]
    assert baseline_of(ROLES).text() == baseline_of(ROLES).text()
    assert places(lint(ROLES, baseline=read_baseline(""))) == places(lint(ROLES))


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[]",
        "7",
        '{"version": 2, "findings": []}',
        '{"version": 1}',
        '{"version": 1, "findings": [{"code": 1}]}',
        b"\xff",
    ],
)
def test_what_is_no_baseline_is_refused(text: str | bytes) -> None:
    """Another file, another version, and one that was cut are told, not taken for an empty one."""
    with pytest.raises(BaselineError):
        read_baseline(text)


def test_a_thousand_silenced_findings_leave_room_for_the_rest() -> None:
    """What is silenced does not count towards the number of findings that is shown."""
    grants = "".join(
        f"      - {{object: payroll, id: c{number}, actions: [read]}}\n"
        f"      # authz: ignore[duplicate-grant] one of many\n"
        f"      - {{object: payroll, id: c{number}, actions: [read]}}\n"
        for number in range(1100)
    )
    report = lint(ROLES.replace("    grants:\n", "    grants:\n" + grants), choice=choose("duplicate-grant"))
    assert [finding.code for finding in report.findings] == ["duplicate-grant"]
    assert (report.by_comments, len(report.silenced)) == (1100, 1000)


def test_a_rule_that_is_gone_names_the_one_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who still names a retired code is told what to name instead."""
    monkeypatch.setitem(RETIRED, "former-rule", "unused-role")
    monkeypatch.setitem(RETIRED, "lost-rule", "")
    assert code_problem("former-rule") == ("the rule `former-rule` is gone", "its place took `unused-role`")
    assert code_problem("lost-rule") == ("the rule `lost-rule` is gone", "remove it")


def test_the_examples_of_the_documentation_are_read_as_they_say() -> None:
    """The manifest of docs/lint.md chooses rules that exist, and its comments silence with their reasons."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "lint.md").read_text(encoding="utf-8")
    manifest, roles = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[:2]
    settings = manifest.partition("\n")[2]
    assert "unknown-rule" not in dict(places(lint(ROLES, settings, Choice(ignore=("unused-ignore",)))))
    assert [
        (ignore.line, [code for code, _ in ignore.codes], ignore.reason)
        for ignore in read_ignores({"r.yaml": roles.encode()})
    ] == [
        (2, ["unused-role"], "given by the identity provider from June on"),
        (6, ["shadowed-grant", "duplicate-grant"], "stays until the audit in July"),
    ]
