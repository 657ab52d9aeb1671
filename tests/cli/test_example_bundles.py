"""The example bundles on the command line: clean, passing, and as their READMEs show them."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command_line import Run

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ["viewer", "kissflow", "e6data", "clinia"]


@pytest.fixture
def checkout(tmp_path: Path) -> None:
    """The examples where their READMEs expect them: in the current directory."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.usefixtures("checkout")
def test_an_example_has_no_finding(run: Run, name: str) -> None:
    """`lint` finds nothing in an example."""
    done = run("lint", f"examples/{name}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings\n", "")


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.usefixtures("checkout")
def test_an_example_passes_its_policy_tests(run: Run, name: str) -> None:
    """`test` passes on an example, which has many tests."""
    done = run("test", f"examples/{name}")
    assert (done.returncode, done.stderr) == (0, "")
    counts = re.search(r"^(\d+) passed, 0 failed$", done.stdout, re.MULTILINE)
    assert counts
    assert int(counts[1]) > 900


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.usefixtures("checkout")
def test_a_readme_shows_an_allow_and_a_deny(run: Run, name: str) -> None:
    """The commands that an example's README begins with work in a checkout; the last one explains a denial."""
    readme = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
    _, _, block = readme.partition("```sh\n")
    commands = re.findall(r"^authz-sidecar (.+)$", block.partition("```")[0], re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["test", "check", "check"]
    codes = []
    for command in commands:
        done = run(*shlex.split(command))
        assert done.stderr == "", command
        codes.append(done.returncode)
    assert codes == [0, 0, 1]


@pytest.mark.parametrize("name", BUNDLES)
def test_a_readme_names_every_file_and_what_the_directory_keeps(name: str) -> None:
    """The table of an example's README is its files, and a section says what the directory keeps."""
    folder = ROOT / "examples" / name
    readme = (folder / "README.md").read_text(encoding="utf-8")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(re.findall(r"^\| `([^`]+)` \|", readme, re.MULTILINE)) == files - {"README.md"}
    assert re.search(r"^## In the directory\n\n`serve --directory` keeps ", readme, re.MULTILINE)
