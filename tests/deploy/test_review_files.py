"""What runs the review at GitHub, GitLab and before a commit: valid files, least permissions, no text in scripts."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTIONS = ["action.yml", "deploy/github/comment/action.yml"]
WORKFLOWS = ["deploy/github/workflows/access-review.yml", "deploy/github/workflows/access-review-comment.yml"]
HASH = "0123456789abcdef0123456789abcdef01234567"


def run(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a module of this environment's Python."""
    return subprocess.run(
        [str(Path(sys.executable).parent / str(arguments[0])), *map(str, arguments[1:])],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def load(file: str) -> Any:
    """The data of a YAML file; `on` is a key, not a truth."""
    return yaml.load((ROOT / file).read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506  # the plainest loader


@pytest.mark.parametrize(
    ("schema", "file"),
    [("github-actions", file) for file in ACTIONS] + [("github-workflows", file) for file in WORKFLOWS],
)
def test_github_takes_them(schema: str, file: str) -> None:
    """Actions and workflows are as GitHub's schemas have it."""
    result = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_gitlab_takes_the_template(tmp_path: Path) -> None:
    """The jobs of the template, after its inputs, are as GitLab's schema has it."""
    inputs, _, jobs = (ROOT / "deploy/gitlab/review.yml").read_text(encoding="utf-8").partition("\n---\n")
    (tmp_path / "jobs.yml").write_text(jobs, encoding="utf-8")
    result = run("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", tmp_path / "jobs.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    named = set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", jobs))
    assert named == yaml.safe_load(inputs)["spec"]["inputs"].keys()


def test_no_input_of_gitlab_stands_in_a_script() -> None:
    """Inputs are put in as text, so they become variables and never a part of a command."""
    jobs = (ROOT / "deploy/gitlab/review.yml").read_text(encoding="utf-8").partition("\n---\n")[2]
    for name, job in yaml.safe_load(jobs).items():
        assert "$[[" not in str(job.get("script")), name


def test_a_security_linter_finds_nothing(tmp_path: Path) -> None:
    """No script holds an expression, everything is pinned to a commit, and no token may do more than it must."""
    files = []
    for file in [*ACTIONS, *WORKFLOWS]:
        # A user puts the project's own place and commit there.
        text = (ROOT / file).read_text(encoding="utf-8").replace("OWNER/", "owner/").replace("@COMMIT", f"@{HASH}")
        target = tmp_path / ".github" / "workflows" / Path(file).name if file in WORKFLOWS else tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        files.append(target)
    result = run("zizmor", "--offline", "--persona", "pedantic", "--no-progress", *files, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_workflow_without_files_may_write() -> None:
    """The workflow that sees the pull request's files may write nothing; the one that may write checks out nothing."""
    review, comment = (load(file) for file in WORKFLOWS)
    granted = [review["permissions"], *(job["permissions"] for job in review["jobs"].values())]
    assert {level for permissions in granted for level in permissions.values()} == {"read"}
    steps = [step for job in comment["jobs"].values() for step in job["steps"]]
    assert [step["uses"].partition("@")[0] for step in steps] == [
        "actions/download-artifact",
        "OWNER/authz-sidecar/deploy/github/comment",
    ]
    assert comment["permissions"] == {}
    assert comment["jobs"]["comment"]["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert list(comment["on"]) == ["workflow_run"]
    assert comment["on"]["workflow_run"]["workflows"] == [review["name"]]


def test_no_python_looks_for_modules_among_the_files_of_the_change() -> None:
    """Steps run where the pull request is checked out, and `python -m pip` would run a `pip.py` that lies there."""
    started = [
        line
        for file in ACTIONS
        for step in load(file)["runs"]["steps"]
        for line in step.get("run", "").split("\n")
        if re.search(r"\bpython3?\b", line) and not line.strip().startswith("#")
    ]
    assert len(started) == 5
    assert all(re.search(r"\bpython3?\"? -I ", line) for line in started), started


def test_the_check_has_the_name_of_the_branch() -> None:
    """A commit may be proposed for two branches with other gates: the check of one is not that of the other, and is
    made anew when the branch is another one."""
    review = load(WORKFLOWS[0])
    assert "github.event.pull_request.base.ref" in review["jobs"]["review"]["name"]
    assert "edited" in review["on"]["pull_request"]["types"]


def test_inputs_reach_the_review_as_variables() -> None:
    """Every input of the action is given to the script, and every variable that the script reads is set."""
    action = load("action.yml")
    steps = action["runs"]["steps"]
    given = {name for step in steps for name in step.get("env", {})}
    text = (ROOT / "deploy/github/review.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"((?:REVIEW_\w+|SIDECAR))"', text)) | set(re.findall(r"'(REVIEW_\w+)'", text)) == given - {
        "SOURCE"
    }
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == action["inputs"].keys()


def test_hooks_are_as_pre_commit_has_them() -> None:
    """The published file of hooks is valid."""
    result = run("pre-commit", "validate-manifest", ".pre-commit-hooks.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
