"""The published hooks, run by pre-commit in a repository of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from authz_sidecar.bundle.standard_model import BASIC

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"
MANIFEST = """\
name: shop
schema_version: 1
object_types:
  case: {actions: [read], description: a case}
"""
ROLES = """\
roles:
  CLERK:
    description: works on cases
    assigned: company
    grants:
      - {object: case, actions: [read]}

assignments:
  - {subject: ann, roles: [CLERK], company: acme}
"""
TESTS = """\
tests:
  - {name: clerks read, subject: ann, object: "case:1", company: acme, action: read, expect: allow}
"""


class Repository:
    """A repository with a bundle and the hooks."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        # What pre-commit would install for the published file is this package, which the tests have already.
        hooks = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
        for hook in hooks:
            assert hook["language"] == "python"
            hook["language"] = "system"
        source = folder / "hooks"
        source.mkdir()
        (source / ".pre-commit-hooks.yaml").write_text(yaml.safe_dump(hooks), encoding="utf-8")
        self.git(source, "init", "--quiet")
        self.git(source, "add", ".")
        self.git(source, "commit", "--quiet", "--message=hooks")
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "authz-sidecar"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m authz_sidecar "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AUTHZ_", "GIT_", "PRE_COMMIT"))
            },
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PRE_COMMIT_HOME": str(folder / "cache"),
        }
        (self.root / "policies" / "tests").mkdir(parents=True)
        self.git(self.root, "init", "--quiet")
        used = [{"id": hook["id"]} for hook in hooks]
        revision = self.git(source, "rev-parse", "HEAD").strip()
        config = {"repos": [{"repo": str(source), "rev": revision, "hooks": used}]}
        (self.root / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.write("manifest.yaml", MANIFEST)
        self.write("model.conf", BASIC)
        self.write("roles.yaml", ROLES)
        self.write("tests/cases.yaml", TESTS)

    def git(self, folder: Path, *arguments: str) -> str:
        """Run git."""
        command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    def write(self, name: str, text: str) -> None:
        """Write a file of the bundle."""
        (self.root / "policies" / name).write_text(text, encoding="utf-8")

    def run(self) -> dict[str, str]:
        """Stage everything and run the hooks; what each of them said in a word."""
        self.git(self.root, "add", ".")
        result = subprocess.run(
            [Path(sys.executable).parent / "pre-commit", "run", "--color=never"],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        lines = [line for line in result.stdout.splitlines() if line.endswith(("Passed", "Failed", "Skipped"))]
        assert lines, result.stdout + result.stderr
        return {line.partition(".")[0]: line.rpartition(".")[2] for line in lines}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository, for one test."""
    return Repository(tmp_path)


LINT = "lint authorization policies"
LAYOUT = "lay out authorization policies"
TEST = "test authorization policies"


def test_good_policies_pass_and_bad_ones_fail(repository: Repository) -> None:
    """Each hook passes where all is well, and fails for its own kind of fault."""
    assert repository.run() == {LINT: "Passed", LAYOUT: "Passed", TEST: "Passed"}
    repository.write("tests/cases.yaml", TESTS.replace("allow", "deny"))
    twice = ROLES.replace("actions: [read]", "actions: [read, read]")
    repository.write("roles.yaml", twice.replace("- {object: case, actions", "-  {object: case,   actions"))
    assert repository.run() == {LINT: "Failed", LAYOUT: "Failed", TEST: "Failed"}
    assert (repository.root / "policies" / "roles.yaml").read_text(encoding="utf-8") == twice


def test_other_files_run_nothing(repository: Repository) -> None:
    """A commit without a policy file waits for none of it."""
    repository.git(repository.root, "add", ".")
    repository.git(repository.root, "commit", "--quiet", "--no-verify", "--message=policies")
    (repository.root / "notes.md").write_text("notes\n", encoding="utf-8")
    assert set(repository.run().values()) == {"(no files to check)Skipped"}
