"""`authz-sidecar test`, run as a command, in each of its forms."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from authz_sidecar.bundle.standard_model import BASIC
from tests.cli.command_line import Run, WriteBundle

MANIFEST = """\
name: small
schema_version: 1
object_types:
  folder: {actions: [create, read, update, delete]}
"""
POLICY = """\
roles:
  CLIENT:
    assigned: company
    grants:
      - {object: folder, actions: [read], scope: own}
  LEADER:
    assigned: company
    inherits: [CLIENT]
    grants:
      - {object: folder, actions: [delete]}
assignments:
  - {subject: alice, roles: [LEADER], company: acme}
"""
FAILING = """\
tests:
  - name: a leader reads their own folder
    subject: alice
    object: folder:1
    company: acme
    owner: alice
    action: read
    expect: allow
  - name: a leader may not delete
    subject: alice
    object: folder:1
    company: acme
    owner: bob
    action: delete
    expect: deny
  - name: a leader has no role elsewhere
    subject: alice
    object: folder:1
    company: other
    action: delete
    expect: deny
    reason: unknown_subject
  - name: a folder <of "others"> & co
    subject: alice
    object: folder:1
    company: acme
    owner: bob
    action: read
    expect: allow
"""


@pytest.fixture
def failing(write_bundle: WriteBundle) -> Path:
    """A bundle with four policy tests, of which the last three fail."""
    return write_bundle(
        {"model.conf": BASIC, "manifest.yaml": MANIFEST, "policy.yaml": POLICY, "tests/folders.yaml": FAILING}
    )


@pytest.mark.usefixtures("failing")
def test_text_shows_failures_with_their_grounds_and_counts(run: Run) -> None:
    """Each failure has its place, question, both outcomes and the reason why; the last line counts; exit code 1."""
    done = run("test")
    assert done.returncode == 1, done.stderr
    assert "policies/tests/folders.yaml:9:" in done.stdout
    assert "failed a leader may not delete\n" in done.stdout
    assert "alice delete folder:1 in company acme, owner bob\n" in done.stdout
    assert "expected     deny\n" in done.stdout
    assert "got          allow reason=allowed_by_rule\n" in done.stdout
    assert " policies/policy.yaml:10:" in done.stdout
    assert "alice -> role:LEADER\n" in done.stdout
    assert "expected     deny reason=unknown_subject\n" in done.stdout
    assert "got          deny reason=no_role_in_company\n" in done.stdout
    assert "near miss 1" in done.stdout
    assert "a leader reads their own folder" not in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 3 failed"
    assert done.stderr == ""


@pytest.mark.usefixtures("failing")
def test_json_has_the_documented_names(run: Run) -> None:
    """The JSON form counts and lists all cases, those that passed without an explanation."""
    done = run("test", "--format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    names = {"policies", "policy_version", "passed", "failed", "not_run", "not_selected", "cases"}
    assert set(report) == names
    assert (report["passed"], report["failed"], len(report["cases"])) == (1, 3, 4)
    assert (report["not_run"], report["not_selected"]) == (0, 0)
    for case in report["cases"]:
        assert set(case) == {"name", "file", "line", "column", "tags", "passed", "expected", "got", "explanation"}
        assert (case["explanation"] is None) is case["passed"]
    case = report["cases"][1]
    assert (case["file"], case["line"]) == ("policies/tests/folders.yaml", 9)
    assert case["expected"] == {"decision": "deny", "reason": None}
    assert case["got"] == {"decision": "allow", "allowed": True, "reason": "allowed_by_rule", "detail": ""}
    assert case["explanation"]["rule"]["fields"]["act"] == "delete"
    assert case["explanation"]["role_path"] == ["alice", "role:LEADER"]


@pytest.mark.usefixtures("failing")
def test_junit_has_a_suite_a_file_and_a_failure_a_case(run: Run) -> None:
    """The JUnit form parses, counts alike at both levels, and keeps names with markup in them."""
    done = run("test", "--format", "junit")
    root = ET.fromstring(done.stdout)  # noqa: S314  # written by the command under test
    (suite,) = root.findall("testsuite")
    assert done.returncode == 1
    for element in (root, suite):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == ("4", "3", "0")
    assert suite.get("name") == "policies/tests/folders.yaml"
    cases = suite.findall("testcase")
    assert [case.find("failure") is None for case in cases] == [True, False, False, False]
    assert cases[3].get("name") == 'a folder <of "others"> & co'
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "expected deny, got allow reason=allowed_by_rule"
    # Nothing is measured, so that no time is claimed.
    assert not [element for element in root.iter() if "time" in element.attrib]
    assert "alice -> role:LEADER" in (failure.text or "")


@pytest.mark.usefixtures("rbac")
def test_a_bundle_without_tests_passes_with_a_warning(run: Run) -> None:
    """No tests is no failure, but it is said."""
    done = run("test")
    assert (done.returncode, done.stdout) == (0, "0 passed, 0 failed\n")
    assert done.stderr == "warning: the bundle in `policies` has no policy tests\n"


def test_a_broken_bundle_is_not_tested(run: Run, write_bundle: WriteBundle) -> None:
    """A bundle that does not load exits 2, not 1, which means that a test failed."""
    policy = POLICY.replace("[LEADER]", "[LEDAER]")
    write_bundle({"model.conf": BASIC, "manifest.yaml": MANIFEST, "policy.yaml": policy, "tests/t.yaml": FAILING})
    done = run("test")
    assert (done.returncode, done.stdout) == (2, "")
    assert "policies/policy.yaml:12:" in done.stderr
    assert "error[unknown-role]" in done.stderr
    assert "did you mean `LEADER`" in done.stderr


def test_the_default_bundle_passes(run: Run, default_policies: str) -> None:
    """Every policy test of the repository's own policies passes, and there are many."""
    done = run("test", default_policies)
    assert done.returncode == 0, done.stdout + done.stderr
    passed, _, rest = done.stdout.partition(" passed, ")
    assert rest == "0 failed\n"
    assert int(passed) > 500


TAGGED = """\
tags: [folders]
tests:
  - name: alice reads her own
    subject: alice
    object: folder:1
    company: acme
    owner: alice
    action: read
    expect: allow
  - name: alice deletes
    tags: [smoke]
    subject: alice
    object: folder:1
    company: acme
    action: delete
    expect: allow
"""
MATRIX = """\
matrices:
  - name: access levels
    tags: [slow]
    actions: [read, delete]
    subjects: {LEADER: {subject: alice, home: acme}}
    situations: {own: {company: $home, owner: $subject}, others: {company: $home, owner: bob}}
    legend: {o: [own], c: [own, others]}
    rows: {folder: {LEADER: o c}}
"""


@pytest.fixture
def tagged(write_bundle: WriteBundle) -> Path:
    """A bundle with six passing tests: two single ones in one file, and four cells of a matrix in another."""
    return write_bundle(
        {
            "model.conf": BASIC,
            "manifest.yaml": MANIFEST,
            "policy.yaml": POLICY,
            "tests/single.yaml": TAGGED,
            "tests/sub/matrix.yaml": MATRIX,
        }
    )


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize(
    ("filters", "selected"),
    [
        ((), 6),
        (("--name", "ALICE"), 2),
        (("--name", "access levels: folder delete*"), 2),
        (("--name", "access*own", "--name", "her own"), 3),
        (("--tag", "folders"), 2),
        (("--tag", "smoke", "--tag", "slow"), 5),
        (("--exclude-tag", "smoke"), 5),
        (("--tag", "folders", "--exclude-tag", "smoke"), 1),
        (("--file", "matrix"), 4),
        (("--file", "policies/tests/sub/matrix.yaml"), 4),
        (("--file", "tests/*.yaml", "--name", "delete"), 3),
    ],
)
def test_filters_select_what_runs(run: Run, filters: tuple[str, ...], selected: int) -> None:
    """Names and files by a part or a pattern, tags whole; one of each kind must hold, and the rest is counted."""
    done = run("test", *filters)
    rest = f", {6 - selected} not selected" if selected < 6 else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{selected} passed, 0 failed{rest}\n", "")
    assert len(run("test", *filters, "--list").stdout.splitlines()) == selected
    listed = json.loads(run("test", *filters, "--list", "--format", "json").stdout)
    assert len(listed["tests"]) == selected


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize(
    ("filters", "message", "remedy"),
    [
        (("--name", "acess levels"), "no test is named like `acess levels`", "did you mean `access levels`?"),
        (("--name", "alcie"), "no test is named like `alcie`", "did you mean `alice`?"),
        (("--name", "zzz"), "no test is named like `zzz`", "`alice deletes` and `access levels`; `--list` shows them"),
        (("--tag", "smok"), "no test has the tag `smok`", "did you mean `smoke`?"),
        (("--tag", "smoke", "--tag", "x"), "no test has the tag `x`", "tagged `folders`, `slow` and `smoke`"),
        (
            ("--file", "singel.yaml"),
            "no file of tests is named like `singel.yaml`",
            "did you mean `tests/single.yaml`?",
        ),
        (("--tag", "smoke", "--file", "matrix"), "no test meets all of the filters", "leave one away"),
    ],
)
def test_a_filter_that_selects_nothing_exits_2(run: Run, filters: tuple[str, ...], message: str, remedy: str) -> None:
    """It is no success: what nothing has is named with what comes near, even beside filters that select something."""
    done = run("test", *filters)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {message}\n" in done.stderr
    assert remedy in done.stderr


@pytest.mark.usefixtures("tagged")
def test_list_shows_place_name_and_tags(run: Run) -> None:
    """Each test that would run stands on a line, with the tags of its file and its own; nothing is decided."""
    lines = run("test", "--list").stdout.splitlines()
    assert lines[0] == "policies/tests/single.yaml:3:5 alice reads her own [folders]"
    assert lines[1] == "policies/tests/single.yaml:10:5 alice deletes [folders, smoke]"
    assert lines[2].endswith(" access levels: folder read as LEADER, own [slow]")
    refused = run("test", "--list", "--format", "junit")
    assert (refused.returncode, refused.stdout) == (2, "")


@pytest.mark.usefixtures("failing")
def test_verbose_shows_what_passes(run: Run) -> None:
    """Passing tests have a line of their own, in the order of the files."""
    assert "passed" not in run("test").stdout.partition("\n")[0]
    first = run("test", "--verbose").stdout.partition("\n")[0]
    assert first == "policies/tests/folders.yaml:2:5 passed a leader reads their own folder"


@pytest.mark.usefixtures("failing")
def test_fail_fast_stops_at_the_first_failure(run: Run) -> None:
    """What comes after it is not run, and said to be so in each form."""
    done = run("test", "--fail-fast")
    assert done.returncode == 1
    assert done.stdout.endswith("\n1 passed, 1 failed, 2 not run\n")
    report = json.loads(run("test", "--fail-fast", "--format", "json").stdout)
    assert (report["passed"], report["failed"], report["not_run"]) == (1, 1, 2)
    (suite,) = ET.fromstring(run("test", "--fail-fast", "--format", "junit").stdout)  # noqa: S314  # our own output
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


@pytest.mark.usefixtures("tagged")
def test_junit_has_a_suite_for_each_file(run: Run) -> None:
    """Suites stand in the order of the files and count their own cases; the document counts all."""
    root = ET.fromstring(run("test", "--format", "junit").stdout)  # noqa: S314  # our own output
    assert root.get("tests") == "6"
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        ("policies/tests/single.yaml", "2"),
        ("policies/tests/sub/matrix.yaml", "4"),
    ]
