"""`authz-sidecar lint`, run as a command, in each of its forms."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import RBAC_MODEL, Run, WriteBundle

BROKEN_POLICY = "p, alice, folder:1, read\np, bob, folder:2\np9, carol, folder:1, read\n"
DENY_OVERRIDE_MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""


@pytest.fixture
def broken(write_bundle: WriteBundle) -> Path:
    """A bundle with two errors, in the second and third line of its policy."""
    return write_bundle({"model.conf": RBAC_MODEL, "policy.csv": BROKEN_POLICY})


@pytest.mark.usefixtures("rbac")
def test_a_clean_bundle_has_no_findings(run: Run) -> None:
    """A bundle without faults says so and exits 0."""
    done = run("lint")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings\n", "")


@pytest.mark.usefixtures("broken")
def test_text_shows_place_source_caret_and_help(run: Run) -> None:
    """Each finding has its place and code, the source line, a caret under the column, and a remedy; all at once."""
    done = run("lint")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("policies/policy.csv:2:1 error[rule-width] "))
    assert lines[first + 1] == "  2 | p, bob, folder:2"
    assert lines[first + 2] == "    | ^"
    assert lines[first + 3].startswith("  help: ")
    assert any(line.startswith("policies/policy.csv:3:1 error[rule-ptype] ") for line in lines)
    assert lines[-1] == "2 errors"
    assert done.stderr == ""


def test_the_caret_stands_under_wide_letters_and_tabs(run: Run, write_bundle: WriteBundle) -> None:
    """Letters that take two columns, and tabs, before the fault move the caret as far as a terminal moves the fault."""
    row = 'm = r.sub == \t"日本" && nonsense(r.act)'
    write_bundle({"model.conf": RBAC_MODEL.partition("m = ")[0] + row + "\n"})
    lines = run("lint").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("policies/model.conf:"))
    column = int(lines[at].split(":")[2].split(" ")[0])
    # One tab is shown as four spaces, and each of the two letters takes one column more than it has characters.
    assert lines[at + 2].index("^") - lines[at + 1].index("m = ") == column - 1 + 3 + 2


@pytest.mark.usefixtures("broken")
def test_json_has_the_documented_names(run: Run) -> None:
    """The JSON form counts and lists the findings under their documented names, sorted by place."""
    done = run("lint", "--format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert set(report) == {
        *("policies", "policy_version", "errors", "warnings", "ignored", "in_baseline", "findings", "silenced")
    }
    assert (report["policies"], report["errors"], report["warnings"]) == ("policies", 2, 0)
    assert [set(finding) for finding in report["findings"]] == 2 * [
        {"file", "line", "column", "severity", "code", "message", "help"}
    ]
    places = [(finding["file"], finding["line"], finding["code"]) for finding in report["findings"]]
    assert places == [("policies/policy.csv", 2, "rule-width"), ("policies/policy.csv", 3, "rule-ptype")]


@pytest.mark.usefixtures("broken")
def test_github_form_is_workflow_commands(run: Run) -> None:
    """Each finding is one `::error` command with file, line and column, its line breaks escaped."""
    done = run("lint", "--format", "github")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert len(lines) == 2
    assert lines[0].startswith("::error file=policies/policy.csv,line=2,col=1,title=rule-width::")
    assert "%0Ahelp: " in lines[0]


def test_github_form_escapes_what_the_runner_would_read(run: Run, write_bundle: WriteBundle) -> None:
    """A percent sign in a message, and a comma and a colon in a file name, are escaped."""
    write_bundle({"model.conf": RBAC_MODEL, "a,b:c.csv": "p%0A, alice\n"})
    (line,) = run("lint", "--format", "github").stdout.splitlines()
    assert "file=policies/a%2Cb%3Ac.csv," in line
    assert "%250A" in line


@pytest.mark.usefixtures("broken")
def test_sarif_form_is_a_log_of_one_run(run: Run) -> None:
    """The SARIF form is version 2.1.0 with a rule for each code and a region for each result."""
    done = run("lint", "--format", "sarif")
    log = json.loads(done.stdout)
    assert done.returncode == 1
    assert log["version"] == "2.1.0"
    (run_,) = log["runs"]
    driver = run_["tool"]["driver"]
    assert driver["name"] == "authz-sidecar"
    assert [rule["id"] for rule in driver["rules"]] == ["rule-ptype", "rule-width"]
    for result in run_["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"]
    place = run_["results"][0]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "policies/policy.csv"},
        "region": {"startLine": 2, "startColumn": 1},
    }


@pytest.mark.usefixtures("rbac")
def test_sarif_of_a_clean_bundle_has_no_results(run: Run) -> None:
    """A clean bundle is a log with an empty list of results, which tells a scanner that all is fixed."""
    done = run("lint", "--format", "sarif")
    assert done.returncode == 0
    assert json.loads(done.stdout)["runs"][0]["results"] == []


def test_an_effect_that_allows_by_default_is_a_warning(run: Run, write_bundle: WriteBundle) -> None:
    """A bundle that allows what no rule denies loads, and lint warns at its model."""
    write_bundle({"model.conf": DENY_OVERRIDE_MODEL, "policy.csv": "p, alice, folder:1, read, deny\n"})
    done = run("lint")
    assert done.returncode == 1
    assert "warning[effect-allows-by-default]" in done.stdout
    assert done.stdout.startswith("policies/model.conf:8:")
    assert done.stdout.endswith("1 warning\n")
    assert run("check", "bob", "folder:1", "read").stdout.startswith("allow reason=allowed_without_rule ")


def test_a_directory_without_a_model_has_findings(run: Run, write_bundle: WriteBundle) -> None:
    """What a directory lacks is a finding (1), not a failure of the tool."""
    write_bundle({"policy.csv": "p, alice, folder:1, read\n"})
    done = run("lint")
    assert done.returncode == 1
    assert "policies/model.conf error[model-missing] " in done.stdout


def test_a_directory_that_is_none_fails_the_tool(run: Run, tmp_path: Path) -> None:
    """A file, or nothing at all, where a directory is named exits 2."""
    (tmp_path / "file").write_text("")
    assert run("lint", "nowhere").returncode == 2
    done = run("lint", "file")
    assert done.returncode == 2
    assert "`file` is not a directory" in done.stderr


def test_source_lines_of_files_outside_are_not_shown(run: Run, write_bundle: WriteBundle, tmp_path: Path) -> None:
    """A link out of the directory is a finding, and not a line of its target is printed."""
    (tmp_path / "secret.csv").write_text("top-secret-line\n")
    root = write_bundle({"model.conf": RBAC_MODEL})
    (root / "policy.csv").symlink_to(tmp_path / "secret.csv")
    done = run("lint")
    assert done.returncode == 1
    assert "policies/policy.csv error[file-link] " in done.stdout
    assert "top-secret-line" not in done.stdout


def test_source_lines_cannot_drive_the_terminal(run: Run, write_bundle: WriteBundle) -> None:
    """Escape sequences and direction marks in a faulty line are shown escaped."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, \x1b[2Jalice\u202e\n"})
    done = run("lint")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\\x1b[2Jalice\\u202e" in done.stdout


def test_a_long_source_line_is_cut(run: Run, write_bundle: WriteBundle) -> None:
    """A faulty line of a megabyte does not fill the screen."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, " + "a" * 1_000_000 + "\n"})
    done = run("lint")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) < 2_000


def test_paths_outside_the_current_directory_are_absolute(run: Run, write_bundle: WriteBundle, tmp_path: Path) -> None:
    """A bundle that does not lie below the current directory is shown by its absolute path."""
    root = write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, alice\n"}, f"../{tmp_path.name}-outside")
    done = run("lint", str(root))
    assert done.stdout.startswith(f"{root.resolve()}/policy.csv:1:1 error[rule-width] ")


def test_the_default_bundle_is_clean(run: Run, default_policies: str) -> None:
    """The repository's own policies have no findings."""
    done = run("lint", default_policies)
    assert (done.returncode, done.stdout) == (0, "no findings\n")
