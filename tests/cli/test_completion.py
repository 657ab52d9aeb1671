"""Shell completion: the scripts, and what they offer, asked as a shell asks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from authz_sidecar.cli.main import LAZY
from tests.cli.command_line import Run

Complete = Callable[[str], list[str]]
# Readline's `compopt` works in a live completion only; here it says what it is asked.
DRIVER = """
source "$1"
compopt() {{ printf 'compopt %s %s\\n' "$@"; }}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
complete -p authz-sidecar > /dev/null || exit 3
_authz_sidecar_completion authz-sidecar
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(run: Run, tmp_path: Path) -> Complete:
    """What bash offers for the last word of a command line, by the script that the command prints."""
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    command = tmp_path / "bin" / "authz-sidecar"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m authz_sidecar "$@"\n')
    command.chmod(0o755)

    def ask(words: str) -> list[str]:
        done = subprocess.run(
            [bash, "--norc", "-c", DRIVER.format(words=words), "bash", str(script)],
            env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [line for line in done.stdout.splitlines() if line]

    return ask


def test_bash_completes_commands(complete: Complete) -> None:
    """All commands for an empty word, those that begin with it for another."""
    assert complete("authz-sidecar ''") == list(LAZY)
    assert complete("authz-sidecar ren") == ["render"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("authz-sidecar check --sub", ["--subject-attribute"]),
        ("authz-sidecar lint --format ''", ["text", "json", "sarif", "github", "gitlab"]),
        ("authz-sidecar lint --color=a", ["auto", "always"]),
        ("authz-sidecar completion f", ["fish"]),
        ("authz-sidecar test --fail-fast --fi", ["--file"]),
        ("authz-sidecar lint pol", ["compopt -o dirnames"]),
        ("authz-sidecar check --policies ''", ["compopt -o dirnames"]),
    ],
)
def test_bash_completes_options_choices_and_directories(complete: Complete, words: str, offered: list[str]) -> None:
    """Options by their beginning, the choices of an option, and for a bundle bash's own directories."""
    assert complete(words) == offered


@pytest.mark.parametrize(
    ("shell", "registers"), [("bash", "complete "), ("zsh", "#compdef authz-sidecar"), ("fish", "complete ")]
)
def test_each_script_registers_the_command(run: Run, shell: str, registers: str) -> None:
    """The scripts ask the command by the variable that it answers to, and start no shell to be written."""
    done = run("completion", shell, env={"PATH": "/nonexistent"})
    assert (done.returncode, done.stderr) == (0, "")
    assert registers in done.stdout
    assert f"_AUTHZ_SIDECAR_COMPLETE={shell}_complete" in done.stdout


def test_zsh_and_fish_are_answered(run: Run) -> None:
    """Both get kind, value and description of what is offered, each in the form that its script reads."""
    asked = {"COMP_WORDS": "authz-sidecar pl", "COMP_CWORD": "1"}
    zsh = run(env={**asked, "_AUTHZ_SIDECAR_COMPLETE": "zsh_complete"})
    assert zsh.stdout.splitlines()[:2] == ["plain", "plan"]
    fish = run(env={**asked, "COMP_CWORD": "pl", "_AUTHZ_SIDECAR_COMPLETE": "fish_complete"})
    assert "plan" in fish.stdout
    assert run(env={"_AUTHZ_SIDECAR_COMPLETE": "tcsh_complete"}).returncode == 2


def test_completing_a_command_imports_none() -> None:
    """A shell asks with each press of a key: commands are listed without importing them."""
    program = (
        "import sys; from authz_sidecar.cli.main import run; code = run();"
        "loaded = [name for name in ('grpc', 'pydantic', 'rich', 'authz_sidecar.values') if name in sys.modules];"
        "sys.exit(f'imported: {loaded}' if loaded else code)"
    )
    asked = {"COMP_WORDS": "authz-sidecar ", "COMP_CWORD": "1", "_AUTHZ_SIDECAR_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plain,serve" in done.stdout
