"""docs/review.md: the pull request that it follows, done again command by command."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "review.md"
SECTION = "## One pull request\n"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Shell:
    """The reader's shell, in a repository that has the default bundle."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        shutil.copytree(ROOT / "policies", self.root / "policies")
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "authz-sidecar"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m authz_sidecar "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AUTHZ_", "GIT_"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (
                    ("NAME", "Ada Lovelace"),
                    ("EMAIL", "ada@example.com"),
                    ("DATE", "2026-03-02T12:00:00+00:00"),
                )
            },
        }
        self.code = 0
        self.run("git init --quiet --initial-branch=main . && git add . && git commit --quiet --message first")

    def run(self, command: str, text: str = "") -> str:
        """What a command writes, both streams; `$?` is the exit code of the one before."""
        result = subprocess.run(
            ["sh", "-c", f"(exit {self.code}); {command}"],
            cwd=self.root,
            env=self.environment,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=100,
            check=False,
        )
        self.code = result.returncode
        return result.stdout


def as_pattern(expected: str) -> str:
    """What output must look like: `…` alone on a line is any lines or none, elsewhere any text on its line."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in expected.splitlines()
    ]
    return "".join(lines)


def test_the_pull_request_goes_as_it_is_told(tmp_path: Path) -> None:
    """Every command of the worked pull request gives the output that the page shows."""
    section = PAGE.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    shell = Shell(tmp_path)
    commands = 0
    for kind, content in BLOCK.findall(section):
        if kind == "yaml":
            (shell.root / content.splitlines()[0].removeprefix("# ")).write_text(content, encoding="utf-8")
        elif kind == "diff":
            shell.run("git apply --unidiff-zero -", content)
            assert shell.code == 0, content
        else:
            assert kind == "console"
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                got = shell.run(command)
                assert re.fullmatch(as_pattern(expected), got), f"$ {command}\n{got}"
                commands += 1
    assert commands > 10
