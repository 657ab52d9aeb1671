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
    assert set(report) == {"policies", "policy_version", "passed", "failed", "cases"}
    assert (report["passed"], report["failed"], len(report["cases"])) == (1, 3, 4)
    for case in report["cases"]:
        assert set(case) == {"name", "file", "line", "column", "passed", "expected", "got", "explanation"}
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
