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

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
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


@pytest.mark.usefixtures("small")
def test_coverage_names_what_is_missing(call: Run) -> None:
    """The figures come after the tests, then each grant without a test, with its place; the tests decide the exit."""
    done = call("test", "--coverage")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 passed, 0 failed"
    assert lines[1].startswith("tests exercise 1 of ")
    assert "policies/roles.yaml:9:9 no test CLERK: report read (own)" in lines
    assert "not counted: 1 grant of roles that nobody in the bundle holds" in lines


@pytest.mark.usefixtures("small")
def test_too_little_coverage_fails(call: Run) -> None:
    """Under the share that is asked for, the command fails, and says both shares; at or over it, it does not."""
    failed = call("test", "--fail-under", "50")
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[-1].endswith("is under the 50 % asked for")
    assert call("test", "--fail-under", "0").returncode == 0


def test_suggestions_complete_the_tests(call: Run, small: Path) -> None:
    """What `--suggest` prints, pasted into a test file, passes and leaves nothing to exercise."""
    printed = call("test", "--suggest")
    assert printed.returncode == 0, printed.stderr
    (small / "tests" / "more.yaml").write_text(printed.stdout)
    assert len(yaml.safe_load(printed.stdout)["tests"]) > 2
    done = call("test", "--fail-under", "100")
    assert done.returncode == 0, done.stdout
    assert call("test", "--suggest").stdout == ""


def test_since_judges_what_changed(call: Run, small: Path, tmp_path: Path) -> None:
    """With `--since` the share is that of the grants that changed since a revision, removed ones included."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Policies")
    unchanged = call("test", "--coverage", "--since", "HEAD", "--fail-under", "100")
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr
    assert "no grant changed since HEAD" in unchanged.stdout
    roles = small / "roles.yaml"
    text = roles.read_text().replace("      - {object: report, actions: [read], scope: own}\n", "")
    roles.write_text(text.replace("[read, update]}", "[read, create]}"))
    changed = call("test", "--coverage", "--since", "HEAD", "--fail-under", "100", "--format", "json")
    assert changed.returncode == 1, changed.stderr
    coverage = json.loads(changed.stdout)["coverage"]
    assert coverage["since"]["base"] == "HEAD"
    told = {(entry["rule"]["type"], entry["rule"]["act"], entry["removed"]) for entry in coverage["missing"]}
    assert ("report", "read", True) in told
    assert ("case", "create", False) in told
    suggested = call("test", "--suggest", "--since", "HEAD").stdout
    assert {case["expect"] for case in yaml.safe_load(suggested)["tests"]} == {"allow", "deny"}
    (small / "tests" / "more.yaml").write_text(suggested)
    assert call("test", "--since", "HEAD", "--fail-under", "100").returncode == 0


@pytest.mark.usefixtures("small")
def test_since_a_revision_without_policies_judges_all_of_them(call: Run, tmp_path: Path) -> None:
    """The change that adds the policies has changed every grant; a revision that does not exist stays an error."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "Nothing")
    whole = json.loads(call("test", "--coverage", "--format", "json").stdout)["coverage"]
    since = json.loads(call("test", "--coverage", "--since", "HEAD", "--format", "json").stdout)["coverage"]["since"]
    assert since["grants"] == whole["grants"] > 1
    assert call("test", "--coverage", "--since", "HAED").returncode == 2


@pytest.mark.usefixtures("small")
def test_reports(call: Run, tmp_path: Path) -> None:
    """A report is HTML or markdown by its name; another ending is refused with what to write instead."""
    assert call("test", "--coverage-report", "out.html").returncode == 0
    page = (tmp_path / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "1/2 allowed, 0/2 denied" in page
    assert call("test", "--coverage-report", "out.md").returncode == 0
    assert "| `case` | ◐ 1/2 allowed, 0/2 denied |" in (tmp_path / "out.md").read_text()
    refused = call("test", "--coverage-report", "out.pdf")
    assert refused.returncode == 2
    assert "name a file that ends in .html or .md" in refused.stderr


def test_a_page_is_no_part_of_the_bundle(call: Run, small: Path) -> None:
    """A page in the bundle's directory would keep the bundle from loading: it is refused, notes are not."""
    refused = call("test", "--coverage-report", "policies/out.html")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "`policies/out.html` would be a part of the bundle" in refused.stderr
    assert not (small / "out.html").exists()
    assert call("test", "--coverage-report", "policies/COVERAGE.md").returncode == 0


def test_reports_escape_the_name_of_the_bundle(call: Run, small: Path, tmp_path: Path) -> None:
    """A bundle's name is its author's text, in the heading of a report too."""
    manifest = small / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("name: small", 'name: "a\\n<b>@everyone"'))
    for name in ("out.md", "out.html"):
        assert call("test", "--coverage-report", name).returncode == 0
        heading = next(line for line in (tmp_path / name).read_text().splitlines() if "Coverage of" in line)
        assert "<b>" not in heading
        assert "@everyone" not in heading or name.endswith("html")
    assert not call("test", "--suggest").stdout.startswith("\n")


@pytest.mark.usefixtures("small")
def test_every_form_tells_too_little_coverage(call: Run) -> None:
    """JUnit has no place for coverage, which goes to standard error; JSON has all but the verdict, which goes there."""
    done = call("test", "--fail-under", "50", "--format", "junit")
    assert done.returncode == 1
    assert "tests exercise 1 of" in done.stderr
    assert "is under the 50 % asked for" in done.stderr
    done = call("test", "--fail-under", "50", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["coverage"]["exercised"] == 1
    assert "is under the 50 % asked for" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suggest", "--format", "json"], "`--suggest` prints cases as YAML alone"),
        (["--suggest", "--verbose"], "`--suggest` prints cases as YAML alone"),
        (["--list", "--coverage"], "`--list` runs no tests"),
        (["--list", "--since", "HEAD"], "`--list` runs no tests"),
        (["--watch", "--suggest"], "`--watch` shows text"),
    ],
)
@pytest.mark.usefixtures("small")
def test_options_that_exclude_each_other(call: Run, arguments: list[str], message: str) -> None:
    """An option that would have no effect beside another one is refused."""
    refused = call("test", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr


def test_tests_that_do_not_count_are_told(call: Run, small: Path) -> None:
    """A grant that only tests ask for which another grant answers too is named with that."""
    roles = small / "roles.yaml"
    roles.write_text(
        roles.read_text().replace(
            "      - {object: report, actions: [read], scope: own}\n",
            "      - {object: report, actions: [read], scope: own}\n      - {object: report, id: a, actions: [read]}\n",
        )
    )
    (small / "model.conf").write_text(EXTENDED)
    (small / "tests" / "own.yaml").write_text(
        "tests:\n  - {name: x, subject: carol, owner: carol, object: report:a, company: acme, action: read, "
        "expect: allow}\n"
    )
    lines = call("test", "--coverage").stdout.splitlines()
    assert "policies/roles.yaml:9:9 no test CLERK: report read (own) (1 test that other grants answer too)" in lines


def test_nothing_to_cover_is_said(call: Run, small: Path) -> None:
    """Where the bundle gives nobody any role, no share is missing, and that is what is said."""
    roles = small / "roles.yaml"
    roles.write_text(roles.read_text().partition("assignments:")[0])
    (small / "tests" / "cases.yaml").unlink()
    done = call("test", "--fail-under", "100")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "there is no grant to exercise, so none is missing of the 100 % asked for"


@pytest.mark.usefixtures("small")
def test_since_alone_is_refused(call: Run) -> None:
    """A base without a question about coverage is a mistake that is told."""
    refused = call("test", "--since", "HEAD")
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
