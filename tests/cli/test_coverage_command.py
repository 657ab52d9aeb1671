"""`authz-sidecar test` with coverage: figures, reports, suggestions, and running again on changes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest
import yaml

from authz_sidecar.bundle.standard_model import BASIC
from tests.cli.command_line import Run, WriteBundle
from tests.review.small_bundle import MANIFEST, ROLES

READS = """\
tests:
  - {name: reads, subject: carol, object: case:1, company: acme, action: read, expect: allow}
"""


@pytest.fixture
def small(write_bundle: WriteBundle) -> Path:
    """A bundle with one test, as `policies/`."""
    return write_bundle(
        {"model.conf": BASIC, "manifest.yaml": MANIFEST, "roles.yaml": ROLES, "tests/cases.yaml": READS}
    )


def git(folder: Path, *arguments: str) -> None:
    """Run git there, as nobody in particular."""
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_coverage_names_what_is_missing(run: Run, small: Path) -> None:
    """The figures come after the tests, then each grant without a test, with its place; the tests decide the exit."""
    done = run("test", "--coverage")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 passed, 0 failed"
    assert lines[1].startswith("tests exercise 1 of ")
    assert "policies/roles.yaml:9:9 no test CLERK: report read (own)" in lines
    assert "not counted: 1 grant of roles that nobody in the bundle holds" in lines


def test_too_little_coverage_fails(run: Run, small: Path) -> None:
    """Under the share that is asked for, the command fails, and says both shares; at or over it, it does not."""
    failed = run("test", "--fail-under", "50")
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[-1].endswith("is under the 50 % asked for")
    assert run("test", "--fail-under", "0").returncode == 0


def test_suggestions_complete_the_tests(run: Run, small: Path) -> None:
    """What `--suggest` prints, pasted into a test file, passes and leaves nothing to exercise."""
    printed = run("test", "--suggest")
    assert printed.returncode == 0, printed.stderr
    (small / "tests" / "more.yaml").write_text(printed.stdout)
    assert len(yaml.safe_load(printed.stdout)["tests"]) > 2
    done = run("test", "--fail-under", "100")
    assert done.returncode == 0, done.stdout
    assert run("test", "--suggest").stdout == ""


def test_since_judges_what_changed(run: Run, small: Path, tmp_path: Path) -> None:
    """With `--since` the share is that of the grants that changed since a revision, removed ones included."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Policies")
    unchanged = run("test", "--coverage", "--since", "HEAD", "--fail-under", "100")
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr
    assert "no grant changed since HEAD" in unchanged.stdout
    roles = small / "roles.yaml"
    text = roles.read_text().replace("      - {object: report, actions: [read], scope: own}\n", "")
    roles.write_text(text.replace("[read, update]}", "[read, create]}"))
    changed = run("test", "--coverage", "--since", "HEAD", "--fail-under", "100", "--format", "json")
    assert changed.returncode == 1, changed.stderr
    coverage = json.loads(changed.stdout)["coverage"]
    assert coverage["since"]["base"] == "HEAD"
    told = {(entry["rule"]["type"], entry["rule"]["act"], entry["removed"]) for entry in coverage["missing"]}
    assert ("report", "read", True) in told
    assert ("case", "create", False) in told
    suggested = run("test", "--suggest", "--since", "HEAD").stdout
    assert {case["expect"] for case in yaml.safe_load(suggested)["tests"]} == {"allow", "deny"}
    (small / "tests" / "more.yaml").write_text(suggested)
    assert run("test", "--since", "HEAD", "--fail-under", "100").returncode == 0


def test_reports(run: Run, small: Path, tmp_path: Path) -> None:
    """A report is HTML or markdown by its name; another ending is refused with what to write instead."""
    assert run("test", "--coverage-report", "out.html").returncode == 0
    page = (tmp_path / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "1/2 allowed, 0/2 denied" in page
    assert run("test", "--coverage-report", "out.md").returncode == 0
    assert "| `case` | ◐ 1/2 allowed, 0/2 denied |" in (tmp_path / "out.md").read_text()
    refused = run("test", "--coverage-report", "out.pdf")
    assert refused.returncode == 2
    assert "name a file that ends in .html or .md" in refused.stderr


def test_since_alone_is_refused(run: Run, small: Path) -> None:
    """A base without a question about coverage is a mistake that is told."""
    refused = run("test", "--since", "HEAD")
    assert refused.returncode == 2
    assert "`--since` is about coverage" in refused.stderr


def test_watch_runs_again_on_a_change(small: Path, tmp_path: Path) -> None:
    """Watching runs the tests, then again when a file changes, also after one that does not load, until interrupted."""
    lines: SimpleQueue[str] = SimpleQueue()
    with subprocess.Popen(
        [sys.executable, "-m", "authz_sidecar", "test", "--watch"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        output = process.stdout

        def read() -> None:
            for line in output:
                lines.put(line)

        Thread(target=read, daemon=True).start()

        def until(text: str) -> None:
            while text not in lines.get(timeout=30):
                pass

        try:
            until("1 passed, 0 failed")
            until("waiting for changes")
            cases = small / "tests" / "cases.yaml"
            cases.write_text(READS.replace("expect: allow", "expect: deny"))
            until("0 passed, 1 failed")
            until("waiting for changes")
            cases.write_text("tests: [")
            until("does not load")
            until("waiting for changes")
            cases.write_text(READS)
            until("1 passed, 0 failed")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
