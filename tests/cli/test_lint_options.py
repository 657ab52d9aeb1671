"""`authz-sidecar lint`: which rules run, what is silenced, the baseline, and the forms for other programs."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft4Validator, Draft202012Validator

from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.cli import main
from authz_sidecar.review.rules import RULES
from tests.cli.command_line import RBAC_MODEL, WriteBundle

BROKEN_POLICY = "p, alice, folder:1, read\np, bob, folder:2\np9, carol, folder:1, read\n"
# The JSON Schema of SARIF 2.1.0; its licence is beside it.
SARIF_SCHEMA = Path(__file__).with_name("sarif-2.1.0-rtm.5.schema.json")
LINT_SCHEMA = Path(__file__).parents[2] / "schemas" / "lint.schema.json"
MANIFEST = """\
name: shop
schema_version: 1
object_types:
  case: {actions: [read, update], description: a case}
"""
# A grant that is written twice, a role that nobody holds, and a role that a comment lets be.
FAULTY_ROLES = """\
roles:
  CLERK:
    description: works on cases
    assigned: company
    grants:
      - {object: case, actions: [read]}
      - {object: case, actions: [read]}
  INTERN:
    description: looks on
    assigned: company
    grants:
      - {object: case, actions: [update]}
  GUEST: # authz: ignore[unused-role] from June on
    description: looks in
    assigned: company
    grants:
      - {object: case, actions: [read, update], scope: own}
assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
ONLY = "duplicate-grant,unused-role,unused-ignore"


class Done(NamedTuple):
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run the command in this process, which many short runs are quicker in; in the test's own directory."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AUTHZ_")] + ["FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)

    def start(*arguments: str, env: Mapping[str, str] | None = None) -> Done:
        with monkeypatch.context() as context:
            for name, value in (env or {}).items():
                context.setenv(name, value)
            code = main.run(arguments)
        return Done(code, *capsys.readouterr())

    return start


@pytest.fixture
def faulty(write_bundle: WriteBundle) -> Path:
    """A YAML bundle that loads, with two warnings of the rules in `ONLY`, and one that is ignored."""
    return write_bundle({"manifest.yaml": MANIFEST, "model.conf": BASIC, "roles.yaml": FAULTY_ROLES})


@pytest.fixture
def broken(write_bundle: WriteBundle) -> Path:
    """A bundle with two errors, in the second and third line of its policy."""
    return write_bundle({"model.conf": RBAC_MODEL, "policy.csv": BROKEN_POLICY})


@pytest.mark.usefixtures("faulty")
def test_json_fits_its_published_schema_and_has_what_is_silenced(run: Here) -> None:
    """What a comment lets be is counted and listed with its reason, apart from the findings."""
    report = json.loads(run("lint", "--select", ONLY, "--format", "json").stdout)
    Draft202012Validator(json.loads(LINT_SCHEMA.read_text())).validate(report)
    assert (report["warnings"], report["ignored"], report["in_baseline"]) == (2, 1, 0)
    assert [finding["code"] for finding in report["findings"]] == ["duplicate-grant", "unused-role"]
    (silenced,) = report["silenced"]
    assert (silenced["code"], silenced["line"], silenced["by"], silenced["reason"]) == (
        *("unused-role", 13, "comment", "from June on"),
    )


@pytest.mark.usefixtures("faulty")
def test_every_place_is_given_from_the_current_directory(run: Here) -> None:
    """The second place, which a message names, is written as the first, in each form; SARIF relates it too."""
    assert "`policies/roles.yaml:6` has it already" in run("lint").stdout
    assert "`policies/roles.yaml:6` has it already" in run("lint", "--format", "github").stdout
    (result,) = sarif_results(run("lint", "--select", "duplicate-grant", "--format", "sarif").stdout)
    assert result["relatedLocations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "policies/roles.yaml"},
                "region": {"startLine": 6},
            }
        }
    ]


def sarif_results(text: str) -> list[dict[str, Any]]:
    """The results of a log, which is valid."""
    log = json.loads(text)
    Draft4Validator(json.loads(SARIF_SCHEMA.read_text())).validate(log)
    results: list[dict[str, Any]] = log["runs"][0]["results"]
    return results


def test_sarif_fits_the_published_schema(run: Here, faulty: Path, write_bundle: WriteBundle) -> None:
    """With errors, warnings, files as a whole, silenced findings and none at all, a log is valid."""
    assert run("lint", "--write-baseline").returncode == 0
    (faulty / "roles.yaml").write_text(FAULTY_ROLES.replace("INTERN", "TRAINEE"))
    told, ignored, known = sorted(
        sarif_results(run("lint", "--select", ONLY, "--format", "sarif").stdout),
        key=lambda result: [entry["kind"] for entry in result["suppressions"]] != [],
    )
    assert (told["ruleId"], told["suppressions"]) == ("unused-role", [])
    both = sorted(
        (each["suppressions"][0]["kind"], each["suppressions"][0]["justification"]) for each in (ignored, known)
    )
    assert both == [("external", "in the baseline"), ("inSource", "from June on")]
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": BROKEN_POLICY}, "broken")
    write_bundle({"policy.csv": BROKEN_POLICY}, "without")
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": ""}, "clean")
    assert [
        len(sarif_results(run("lint", name, "--format", "sarif").stdout)) for name in ("broken", "without", "clean")
    ] == [
        *(2, 1, 0),
    ]


@pytest.mark.usefixtures("faulty")
def test_sarif_rules_bring_their_pages(run: Here) -> None:
    """Each rule that was found has its sentence, its page and its severity for a scanner to show."""
    log = json.loads(run("lint", "--select", ONLY, "--format", "sarif").stdout)
    rules = {rule["id"]: rule for rule in log["runs"][0]["tool"]["driver"]["rules"]}
    assert rules.keys() == {"duplicate-grant", "unused-role"}
    assert rules["unused-role"]["fullDescription"]["text"] == "A role that nobody holds."
    assert rules["unused-role"]["help"]["markdown"] == run("lint", "--explain", "unused-role").stdout
    assert rules["unused-role"]["defaultConfiguration"] == {"level": "warning"}


def test_sarif_makes_no_link_of_a_name(run: Here, write_bundle: WriteBundle) -> None:
    """A name in a message that reads as a link of SARIF is written as text, and what cannot be seen is escaped."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "[here](https://example.com)\u202e, alice\n"})
    results = sarif_results(run("lint", "--format", "sarif").stdout)
    (result,) = [result for result in results if result["ruleId"] == "rule-ptype"]
    assert "\\[here](https://example.com)" in result["message"]["text"]
    assert "\u202e" not in result["message"]["text"]


def test_gitlab_form_is_a_code_quality_report(run: Here, faulty: Path) -> None:
    """Each finding has the fields that GitLab reads, and a fingerprint of its own that stays when lines move."""
    report = json.loads(run("lint", "--select", ONLY, "--format", "gitlab").stdout)
    assert [set(entry) for entry in report] == 2 * [
        {"description", "check_name", "fingerprint", "severity", "location"}
    ]
    assert [(entry["check_name"], entry["severity"]) for entry in report] == [
        ("duplicate-grant", "minor"),
        ("unused-role", "minor"),
    ]
    assert report[1]["location"] == {"path": "policies/roles.yaml", "lines": {"begin": 8}}
    assert len({entry["fingerprint"] for entry in report}) == 2
    (faulty / "roles.yaml").write_text("# moved\n" + FAULTY_ROLES)
    moved = json.loads(run("lint", "--select", ONLY, "--format", "gitlab").stdout)
    assert [entry["fingerprint"] for entry in moved] == [entry["fingerprint"] for entry in report]
    assert moved[1]["location"]["lines"] == {"begin": 9}


def test_gitlab_form_of_an_error_and_of_a_file_as_a_whole(run: Here, write_bundle: WriteBundle) -> None:
    """An error is graver than a warning, and a finding without a line stands at the first."""
    write_bundle({"policy.csv": BROKEN_POLICY})
    (entry,) = json.loads(run("lint", "--format", "gitlab").stdout)
    assert (entry["severity"], entry["location"]) == ("major", {"path": "policies/model.conf", "lines": {"begin": 1}})


@pytest.mark.usefixtures("faulty")
def test_rules_are_selected_and_left_out(run: Here) -> None:
    """Codes are separated by commas or given by several options; the environment's by white space."""
    only = run("lint", "--select", "unused-role", "--select", "duplicate-grant, unused-ignore")
    assert only.stdout.endswith("2 warnings (1 ignored)\n")
    assert only.stdout == run("lint", env={"AUTHZ_SELECT": "unused-role duplicate-grant unused-ignore"}).stdout
    without = run("lint", "--select", ONLY, "--ignore", "duplicate-grant")
    assert without.stdout.endswith("1 warning (1 ignored)\n")
    assert run("lint", "--select", "shadowed-grant").returncode == 0


@pytest.mark.usefixtures("faulty")
def test_a_rule_that_does_not_exist_fails_the_tool(run: Here) -> None:
    """A code that is misspelt, or that no one may leave out, exits 2 and judges nothing."""
    done = run("lint", "--select", "unused-rol", "--ignore", "duplicate-grant")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: `--select`: there is no rule `unused-rol`\n  help: did you mean `unused-role`?\n"
    assert "is always told" in run("lint", "--ignore", "gate-violation").stderr
    assert run("lint", "--explain", "unused-rol").returncode == 2


@pytest.mark.usefixtures("faulty")
def test_fail_on_error_lets_warnings_pass(run: Here) -> None:
    """Warnings are shown and exit 0; an error, also one that the manifest makes of a warning, exits 1."""
    done = run("lint", "--select", ONLY, "--fail-on", "error")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 warnings (1 ignored)")


def test_the_manifest_makes_an_error_of_a_warning(run: Here, faulty: Path) -> None:
    """The finding is shown as an error, and the bundle is served all the same."""
    (faulty / "manifest.yaml").write_text(MANIFEST + "lint: {severity: {unused-role: error}}\n")
    done = run("lint", "--select", ONLY, "--fail-on", "error")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 error, 1 warning (1 ignored)")
    assert run("check", "ann", "case:1", "read", "--company", "acme").returncode == 0


def test_a_baseline_lets_an_old_repository_adopt_lint(run: Here, faulty: Path) -> None:
    """What is there today is silenced, also after it moves; what is new is told; the policy version is the same."""
    version = json.loads(run("lint", "--format", "json").stdout)["policy_version"]
    written = run("lint", "--write-baseline")
    assert (written.returncode, written.stdout.startswith("no findings (1 ignored, ")) == (0, True)
    assert written.stderr.endswith(" findings to policies/.authz-lint-baseline.json\n")
    assert run("lint").returncode == 0
    assert json.loads(run("lint", "--format", "json").stdout)["policy_version"] == version
    (faulty / "roles.yaml").write_text(
        "# moved\n" + FAULTY_ROLES.replace("assignments", "  NEW: {assigned: company}\nassignments")
    )
    done = run("lint", "--select", "unused-role")
    assert done.returncode == 1
    assert done.stdout.startswith("policies/roles.yaml:19:3 warning[unused-role] nobody holds the role `NEW`\n")
    assert done.stdout.endswith("1 warning (1 ignored, 1 in the baseline)\n")
    assert done.stderr == ""


def test_findings_of_the_baseline_that_are_gone_are_told(run: Here, faulty: Path) -> None:
    """A note on standard error says how many, and writing the baseline anew takes them out."""
    run("lint", "--write-baseline")
    (faulty / "roles.yaml").write_text(FAULTY_ROLES.replace("[CLERK]", "[CLERK, INTERN]"))
    done = run("lint", "--select", "unused-role")
    assert (done.returncode, done.stdout) == (0, "no findings (1 ignored)\n")
    assert done.stderr == "1 finding of the baseline is gone: take out what is gone with `--write-baseline`\n"
    run("lint", "--write-baseline")
    assert run("lint", "--select", "unused-role").stderr == ""


def test_a_baseline_never_holds_errors(run: Here, broken: Path) -> None:
    """A bundle that does not load gets no baseline, and one that was written silences no error."""
    done = run("lint", "--write-baseline")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "2 errors")
    assert done.stderr == "warning: no baseline is written: the bundle does not load\n"
    assert not (broken / ".authz-lint-baseline.json").exists()
    (broken / ".authz-lint-baseline.json").write_text(json.dumps({"version": 1, "findings": []}))
    assert run("lint").returncode == 1


def test_a_baseline_elsewhere_is_named(run: Here, faulty: Path, tmp_path: Path) -> None:
    """`--baseline` says which file is written and read; one that is missing, or none, fails the tool."""
    assert run("lint", "--write-baseline", "--baseline", "known.json").returncode == 0
    assert not (faulty / ".authz-lint-baseline.json").exists()
    assert run("lint", "--baseline", "known.json").returncode == 0
    assert run("lint").returncode == 1
    (tmp_path / "broken.json").write_text("{}")
    for name, problem in (("gone.json", "no such file"), ("broken.json", "version None")):
        done = run("lint", "--baseline", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert problem in done.stderr
    assert run("lint", "--write-baseline", "--baseline", "no/where.json").returncode == 2
    assert run("lint", "--write-baseline", "--select", "unused-role").returncode == 2


def test_explain_shows_the_page_of_a_rule(run: Here) -> None:
    """The page needs no bundle, and is the one of the documentation; a code of loading has its sentence."""
    page = Path(__file__).parents[2] / "docs" / "rules" / "shadowed-grant.md"
    assert run("lint", "--explain", "shadowed-grant").stdout == page.read_text(encoding="utf-8")
    assert "a row has fewer or more fields" in run("lint", "--explain", "rule-width").stdout


def test_list_shows_every_rule(run: Here) -> None:
    """One line a rule, with its severity."""
    lines = run("lint", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [rule.code for rule in RULES]


def test_an_error_names_its_second_place_from_the_current_directory(run: Here, write_bundle: WriteBundle) -> None:
    """Also the places in the help of an error that refuses the bundle are given as the first one is."""
    twice = FAULTY_ROLES + "  - {subject: ann, roles: [CLERK], company: acme}\n"
    write_bundle({"manifest.yaml": MANIFEST, "model.conf": BASIC, "roles.yaml": twice})
    done = run("lint")
    assert "policies/roles.yaml:20:28 error[assignment-duplicate]" in done.stdout
    assert "the first is at policies/roles.yaml:19:28\n" in done.stdout
