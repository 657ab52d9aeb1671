"""`authz-sidecar render`, run as a command."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from authz_sidecar.bundle.standard_model import BASIC, EXTENDED
from tests.cli.command_line import RBAC_MODEL, Run, WriteBundle


@pytest.mark.usefixtures("rbac")
def test_files_are_printed_under_headers(run: Run) -> None:
    """Without `--output` every file stands on standard output under a header with its name."""
    done = run("render")
    assert (done.returncode, done.stderr) == (0, "")
    headers = [line for line in done.stdout.splitlines() if line.startswith("==> ")]
    assert headers == ["==> model.conf <==", "==> policy.csv <=="]
    assert "p, editor, folder:2, read" in done.stdout


def test_a_terminal_shows_what_is_invisible(write_bundle: WriteBundle) -> None:
    """On a terminal characters that hide or reorder text are escaped; a file gets them as they are."""
    policies = write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, a\u202elice, folder:1, read\n"})
    command = (sys.executable, "-m", "authz_sidecar", "render", str(policies))
    ours, theirs = pty.openpty()
    subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, timeout=60, check=True)
    shown = os.read(ours, 65536).decode()
    for end in (ours, theirs):
        os.close(end)
    assert "p, a\\u202elice, folder:1, read" in shown
    assert "\u202e" not in shown
    piped = subprocess.run(command, capture_output=True, timeout=60, check=True, encoding="utf-8")
    assert "p, a\u202elice, folder:1, read" in piped.stdout
    assert "1 warning" in piped.stderr


@pytest.mark.usefixtures("rbac")
def test_output_is_a_bundle_with_the_same_decisions(run: Run, tmp_path: Path) -> None:
    """What `--output` writes loads and decides as the original, and standard output stays empty."""
    done = run("render", "--output", "out/casbin")
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out/casbin").iterdir()) == ["model.conf", "policy.csv"]
    for action, code in (("read", 0), ("delete", 0), ("write", 1)):
        assert run("check", "alice", "folder:2", action, "--policies", "out/casbin").returncode == code


@pytest.mark.usefixtures("rbac")
def test_a_directory_with_files_is_not_written_to(run: Run, tmp_path: Path) -> None:
    """A directory that is not empty is refused, and what it holds stays."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "policy.csv").write_text("precious")
    done = run("render", "--output", "out")
    assert done.returncode == 2
    assert "error: `out` is not empty" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["policy.csv"]
    assert (tmp_path / "out" / "policy.csv").read_text() == "precious"


@pytest.mark.usefixtures("rbac")
def test_force_replaces_files_of_the_same_names(run: Run, tmp_path: Path) -> None:
    """With `--force` a former result is replaced, notes beside it stay, and a link is not written through."""
    target = tmp_path / "elsewhere.csv"
    target.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "policy.csv").symlink_to(target)
    (tmp_path / "out" / "README.md").write_text("notes")
    done = run("render", "--output", "out", "--force")
    assert done.returncode == 0, done.stderr
    assert target.read_text() == "precious"
    assert "p, alice, folder:1, read" in (tmp_path / "out" / "policy.csv").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "model.conf", "policy.csv"]


@pytest.mark.parametrize("name", ["more.csv", "roles.yaml", "deep/more.csv"])
@pytest.mark.usefixtures("rbac")
def test_force_does_not_mix_policies(run: Run, tmp_path: Path, name: str) -> None:
    """Policies that would count as part of the result are refused even with `--force`."""
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("p, mallory, folder:1, read\n")
    done = run("render", "--output", "out", "--force")
    assert done.returncode == 2
    assert f"`out` holds other policies, which would count as part of the result: {name}" in done.stderr
    assert not (tmp_path / "out" / "model.conf").exists()


@pytest.mark.usefixtures("rbac")
def test_an_output_that_cannot_be_written_fails(run: Run, tmp_path: Path) -> None:
    """A file in the place of the directory exits 2 with the system's words and no traceback."""
    (tmp_path / "out").write_text("")
    done = run("render", "--output", "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to `out`: ")


@pytest.mark.parametrize(("form", "text"), [("basic", BASIC), ("extended", EXTENDED)])
def test_model_prints_the_published_form(run: Run, form: str, text: str) -> None:
    """`--model` prints the form byte for byte and needs no bundle."""
    done = run("render", "--model", form)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")


def test_a_broken_bundle_is_not_rendered(run: Run, write_bundle: WriteBundle) -> None:
    """A bundle that does not load exits 2 and writes nothing."""
    write_bundle({"model.conf": RBAC_MODEL, "policy.csv": "p, alice\n"})
    done = run("render", "--output", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error[rule-width]" in done.stderr


def test_the_default_bundle_renders_to_plain_casbin(run: Run, default_policies: str) -> None:
    """The repository's own policies, rendered, are a plain bundle without findings."""
    assert run("render", default_policies, "--output", "plain").returncode == 0
    done = run("lint", "plain")
    assert (done.returncode, done.stdout) == (0, "no findings\n")
