"""Policy tests: single cases, matrices, and what is wrong with them."""

import pytest

from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.values import Reason, Span
from tests.bundle.expectations import Finding, expect_findings, read, rows_bundle, yaml_bundle

POLICY = "roles: {A: {assigned: company, grants: [{object: folder, actions: [read]}]}}\n"
SINGLE = """\
tests:
  - name: reads
    subject: alice
    object: folder:4:2
    company: acme
    owner: bob
    action: read
    attributes: {draft: true, tags: [a, null, 1.5]}
    subject_attributes: {level: 3}
    context: {ip: 10.0.0.1}
    time: 2026-01-31 12:00:00
    expect: deny
    reason: no_matching_rule
    tags: [smoke]
"""
MATRIX = """\
matrices:
  - name: levels
    tags: [table]
    actions: [create, read]
    subjects:
      BOSS: {subject: root, legend: everywhere, subject_attributes: {level: 9}}
      CLERK: {subject: bob, home: acme}
    situations:
      own: {company: $home, owner: $subject, id: "1"}
      away: {company: globex}
    legend: {"+": [own], "-": []}
    legends: {everywhere: {"+": [own, away]}}
    reasons: {"-": no_matching_rule}
    rows:
      folder: {BOSS: + +, CLERK: "- +"}
      report: {actions: [read], BOSS: +, CLERK: "-"}
"""


def with_tests(tests: str) -> dict[str, str | bytes]:
    """The small YAML bundle with one file of tests."""
    return {**yaml_bundle(POLICY), "tests/deep/t.yaml": tests}


def test_a_single_test_keeps_everything() -> None:
    """Every field reaches the test; the object's id is all that follows the first colon."""
    assert read(with_tests(SINGLE)).tests == (
        PolicyTest(
            name="reads",
            span=Span("tests/deep/t.yaml", 2, 5),
            subject="alice",
            action="read",
            type="folder",
            id="4:2",
            company="acme",
            owner="bob",
            attributes={"draft": True, "tags": ["a", None, 1.5]},
            subject_attributes={"level": 3},
            context={"ip": "10.0.0.1"},
            time=1769860800.0,
            allowed=False,
            reason=Reason.NO_MATCHING_RULE,
            tags=("smoke",),
        ),
    )


def test_tags_of_a_file_are_those_of_its_tests() -> None:
    """A single test has the file's tags before its own, each once; so has every cell of a matrix, which names it."""
    tests = read(with_tests("tags: [nightly, smoke]\n" + SINGLE + MATRIX)).tests
    assert tests[0].tags == ("nightly", "smoke")
    assert (tests[0].matrix, {test.matrix for test in tests[1:]}) == ("", {"levels"})
    assert {test.tags for test in tests[1:]} == {("nightly", "smoke", "table")}


def test_a_matrix_is_a_test_for_each_cell_and_situation() -> None:
    """What a symbol lists is allowed, all else denied; placeholders are filled; legends and actions can differ."""
    tests = read(with_tests(MATRIX)).tests
    assert {test.name: test.allowed for test in tests} == {
        "levels: folder create as BOSS, own": True,
        "levels: folder create as BOSS, away": True,
        "levels: folder read as BOSS, own": True,
        "levels: folder read as BOSS, away": True,
        "levels: folder create as CLERK, own": False,
        "levels: folder create as CLERK, away": False,
        "levels: folder read as CLERK, own": True,
        "levels: folder read as CLERK, away": False,
        "levels: report read as BOSS, own": True,
        "levels: report read as BOSS, away": True,
        "levels: report read as CLERK, own": False,
        "levels: report read as CLERK, away": False,
    }
    clerk = tests[6]
    assert (clerk.subject, clerk.company, clerk.owner, clerk.id) == ("bob", "acme", "bob", "1")
    assert clerk.tags == ("table",)
    assert tests[0].subject_attributes == {"level": 9}
    assert (tests[0].company, tests[0].owner) == ("", "root")
    assert [test.reason for test in tests[4:7]] == [Reason.NO_MATCHING_RULE, Reason.NO_MATCHING_RULE, None]


def test_a_cell_is_found_again() -> None:
    """Each case points at its symbol in the file."""
    spans = {test.name: test.span for test in read(with_tests(MATRIX)).tests}
    line = MATRIX.splitlines()[14]
    assert line[spans["levels: folder read as BOSS, own"].column - 1 :].startswith("+, CLERK")
    assert line[spans["levels: folder create as CLERK, own"].column - 1 :].startswith("- +")
    assert spans["levels: folder read as CLERK, away"] == Span("tests/deep/t.yaml", 15, 37)


def test_plain_bundles_have_tests_too() -> None:
    """Object types and actions are then whatever the rows say; nothing is declared."""
    tests = read(
        rows_bundle("", **{"tests/t.yaml": "tests: [{name: n, subject: a, object: /x, action: GET, expect: deny}]\n"})
    ).tests
    assert [(test.type, test.action) for test in tests] == [("/x", "GET")]


def single(text: str) -> str:
    """One test on line 2, from column 6."""
    return f"tests:\n  - {{name: n, {text}}}\n"


@pytest.mark.parametrize(
    ("tests", "finding"),
    [
        pytest.param(
            single("subject: a, object: foldr, action: read, expect: deny"),
            Finding(
                "tests/deep/t.yaml:2:35", "unknown-object-type", "unknown object type `foldr`", "did you mean `folder`?"
            ),
            id="unknown object type",
        ),
        pytest.param(
            single("subject: a, object: folder, action: raed, expect: deny"),
            Finding(
                "tests/deep/t.yaml:2:51", "unknown-action", "unknown action `raed` of `folder`", "did you mean `read`?"
            ),
            id="unknown action",
        ),
        pytest.param(
            single("subject: a, object: folder, action: read, expect: denied"),
            Finding(
                "tests/deep/t.yaml:2:65", "field-value", "`expect` cannot be the text `denied`", "did you mean `deny`?"
            ),
            id="unknown expectation",
        ),
        pytest.param(
            single("subject: a, object: folder, action: read, expect: deny, time: noon"),
            Finding("tests/deep/t.yaml:2:77", "field-value", "`noon` is no time", "write `YYYY-MM-DD hh:mm:ss` in UTC"),
            id="no time",
        ),
        pytest.param(
            single('subject: a, object: folder, action: read, expect: deny, section: "2"'),
            Finding(
                "tests/deep/t.yaml:2:80",
                "test-request",
                "the model has no sections numbered `2`",
                "remove `section`; the model has no numbers",
            ),
            id="no such section",
        ),
        pytest.param(
            single("subject: a, object: folder, expect: deny"),
            Finding(
                "tests/deep/t.yaml:2:5",
                "test-request",
                "the test is no valid request: action is empty",
                "correct it, or expect `reason: invalid_request`",
            ),
            id="no action",
        ),
        pytest.param(
            single("subject: 'role:A', object: folder, action: read, expect: deny"),
            Finding(
                "tests/deep/t.yaml:2:5",
                "test-request",
                "the test is no valid request: subject begins with `role:`, which is kept for roles",
                "correct it, or expect `reason: invalid_request`",
            ),
            id="role as subject",
        ),
        pytest.param(
            SINGLE + SINGLE.removeprefix("tests:\n"),
            Finding(
                "tests/deep/t.yaml:15:11",
                "name-duplicate",
                "the test name `reads` is used twice",
                "rename one of them; the other is at tests/deep/t.yaml:2:11",
            ),
            id="name used twice",
        ),
        pytest.param(
            MATRIX.replace("own: {company: $home", "own: {company: $hom"),
            Finding("tests/deep/t.yaml:9:22", "test-matrix", "unknown placeholder `$hom`", "did you mean `$home`?"),
            id="unknown placeholder",
        ),
        pytest.param(
            MATRIX.replace('"+": [own], ', '"+": [ownn], '),
            Finding("tests/deep/t.yaml:11:14", "test-matrix", "unknown situation `ownn`", "did you mean `own`?"),
            id="unknown situation",
        ),
        pytest.param(
            MATRIX.replace("legend: everywhere", "legend: anywhere"),
            Finding("tests/deep/t.yaml:6:37", "test-matrix", "unknown legend `anywhere`", "did you mean `everywhere`?"),
            id="unknown legend",
        ),
        pytest.param(
            MATRIX.replace('{everywhere: {"+"', '{everywhere: {"x"'),
            Finding("tests/deep/t.yaml:12:15", "test-matrix", "unknown symbol `x`", "the matrix defines `+` and `-`"),
            id="unknown symbol of a legend",
        ),
        pytest.param(
            MATRIX.replace('reasons: {"-"', 'reasons: {"x"'),
            Finding("tests/deep/t.yaml:13:15", "test-matrix", "unknown symbol `x`", "the matrix defines `+` and `-`"),
            id="unknown symbol of a reason",
        ),
        pytest.param(
            MATRIX.replace('CLERK: "- +"', 'CLERK: "- x"'),
            Finding("tests/deep/t.yaml:15:34", "test-matrix", "unknown symbol `x`", "the legend defines `+` and `-`"),
            id="unknown symbol of a cell",
        ),
        pytest.param(
            MATRIX.replace('CLERK: "- +"', 'CLERK: "-"'),
            Finding(
                "tests/deep/t.yaml:15:34",
                "test-matrix",
                "the cells have 1 symbol for 2 actions",
                "write one symbol for each of `create` and `read`, separated by spaces",
            ),
            id="too few cells",
        ),
        pytest.param(
            MATRIX.replace('CLERK: "- +"', 'CLERC: "- +", CLERK: "- +"'),
            Finding("tests/deep/t.yaml:15:27", "test-matrix", "unknown subject `CLERC`", "did you mean `CLERK`?"),
            id="unknown subject",
        ),
        pytest.param(
            MATRIX.replace(', CLERK: "- +"', ""),
            Finding(
                "tests/deep/t.yaml:15:7",
                "test-matrix",
                "the row `folder` has no cells for `CLERK`",
                "add `CLERK:` with 2 symbols",
            ),
            id="no cells for a subject",
        ),
        pytest.param(
            MATRIX.replace("      report:", "      reprot:"),
            Finding(
                "tests/deep/t.yaml:16:7",
                "unknown-object-type",
                "unknown object type `reprot`",
                "did you mean `report`?",
            ),
            id="row of an unknown type",
        ),
        pytest.param(
            MATRIX.replace("{actions: [read],", "{actions: [update],"),
            Finding(
                "tests/deep/t.yaml:16:26",
                "unknown-action",
                "unknown action `update` of `report`",
                "its actions are `create` and `read`",
            ),
            id="action of another type",
        ),
    ],
)
def test_a_fault_of_a_test_file_is_reported_at_its_place(tests: str, finding: Finding) -> None:
    """A test that asks nothing, or something else than it says, would be worse than none."""
    expect_findings(with_tests(tests), finding)


def test_an_invalid_request_can_be_expected() -> None:
    """A test may show that a request is refused before it is decided."""
    text = single("subject: 'role:A', object: folder, action: read, expect: deny, reason: invalid_request")
    [test] = read(with_tests(text)).tests
    request, violations = test.request()
    assert request is None
    assert [violation.field for violation in violations] == ["subject"]
