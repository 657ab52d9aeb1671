"""The command as a whole: its registry, its help, its exit codes."""

import json
import os
import platform
import subprocess
import sys

import click
import pytest

from authz_sidecar import CASBIN_JUDGE, __version__
from authz_sidecar.cli.main import LAZY, SECTIONS, SUMMARIES, cli
from authz_sidecar.cli.sectioned_command import SectionedCommand
from tests.cli.command_line import Run


def command(name: str) -> click.Command:
    """A command of the registry, imported."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_every_command_has_a_summary() -> None:
    """The registry and the list that `--help` shows name the same commands in the same order."""
    assert list(LAZY) == list(SUMMARIES)
    assert next(iter(SECTIONS)) == next(iter(LAZY))
    assert SECTIONS.keys() <= LAZY.keys()


@pytest.mark.parametrize("name", LAZY)
def test_sections_of_help_list_options_that_there_are(name: str) -> None:
    """Each name in a section of a command's help is one of its options."""
    found = command(name)
    for part in (found, *(found.commands.values() if isinstance(found, click.Group) else ())):
        if isinstance(part, SectionedCommand):
            names = {parameter.name for parameter in part.params}
            # A command of a group may lack the whole section.
            assert all(set(listed) <= names or names.isdisjoint(listed) for listed in part.sections.values())


@pytest.mark.parametrize("name", LAZY)
def test_every_option_has_an_environment_variable(name: str) -> None:
    """Each option of each command is also `AUTHZ_` and its name."""
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            variables = {"AUTHZ_" + option.lstrip("-").replace("-", "_").upper() for option in parameter.opts}
            assert parameter.envvar in variables


@pytest.mark.parametrize("name", LAZY)
def test_every_command_has_help(run: Run, name: str) -> None:
    """`--help` of each command explains it and exits 0."""
    ended = run(name, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"authz-sidecar {name}" in ended.stdout


@pytest.mark.parametrize("name", LAZY)
def test_every_command_has_an_example(name: str) -> None:
    """The help of each command ends with a command line that somebody can copy."""
    epilog = command(name).epilog or ""
    assert epilog.startswith(("\b\nExample:\n", "\b\nExamples:\n"))
    lines = epilog.splitlines()[2:]
    assert lines
    assert all(f"authz-sidecar {name}" in line for line in lines)


def test_help_imports_no_command() -> None:
    """`--help` lists the commands without importing any, so that it is quick."""
    program = (
        "import sys; from authz_sidecar.cli.main import run; code = run(['--help']);"
        "loaded = [name for name in ('grpc', 'pydantic', 'rich', 'authz_sidecar.values') if name in sys.modules];"
        "sys.exit(f'imported: {loaded}' if loaded else code)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert all(f"  {name} " in ended.stdout for name in LAZY)


@pytest.mark.parametrize(
    "arguments", [("chekc",), ("check",), ("serve", "--no-such-option"), ("version", "--format", "xml"), ()]
)
def test_what_cannot_be_called_exits_2(run: Run, arguments: tuple[str, ...]) -> None:
    """A command line that cannot be read exits 2 with the reason, so that 1 keeps its meaning."""
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "a", "b", "c", "--attribute", "k\x1b[2J"),
        ("check", "a", "b", "c", "--time", "\x1b[2J"),
        ("serve", "--grpc", "\x1b[2J"),
        ("lint", "--\x1b[2J"),
        ("\x1b[2J",),
    ],
)
def test_what_is_typed_wrong_cannot_act_on_the_terminal(run: Run, arguments: tuple[str, ...]) -> None:
    """A message that repeats an argument escapes its control characters."""
    ended = run(*arguments)
    assert ended.returncode == 2
    assert "\\x1b[2J" in ended.stderr
    assert "\x1b" not in ended.stderr


def test_version_says_what_a_report_needs(run: Run) -> None:
    """`version` names the sidecar, the Casbin whose decisions are the judge, and the Python."""
    versions = {
        "authz-sidecar": __version__,
        "pycasbin-compat": CASBIN_JUDGE,
        "python": platform.python_version(),
    }
    as_text, as_json = run("version"), run("version", "--format", "json")
    assert (as_text.returncode, as_json.returncode) == (0, 0)
    assert as_text.stdout == "".join(f"{name} {version}\n" for name, version in versions.items())
    assert json.loads(as_json.stdout) == versions


def test_a_reader_that_leaves_is_not_a_deny() -> None:
    """A command whose output nobody reads any more says nothing and exits 2, not 1."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as output:  # noqa: PTH123 - a pipe has no path
        ended = subprocess.run(
            [sys.executable, "-m", "authz_sidecar", "version"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (2, "")
