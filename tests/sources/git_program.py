"""Real repositories for tests, made with the git program without anybody's settings."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


def git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, input: str | None = None) -> str:
    """Run git in `folder` and return what it says, without the line end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    result = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        env=kept | ALONE | IDENTITY | dict(env or {}),
        input=input,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.rstrip("\n")


def init(folder: Path) -> Path:
    """A new repository in `folder` with the branch `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def at_time(seconds: int) -> dict[str, str]:
    """The environment in which git believes this to be the time."""
    return {"GIT_AUTHOR_DATE": f"@{seconds} +0000", "GIT_COMMITTER_DATE": f"@{seconds} +0000"}


def commit(root: Path, message: str, files: Mapping[str, str | None] | None = None, *, at: int | None = None) -> str:
    """Write `files` (None removes one), commit everything at the time `at` (seconds), and return the id."""
    for name, text in (files or {}).items():
        path = root / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8"))
    when = {} if at is None else at_time(at)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--file=-", env=when, input=message)
    return git(root, "rev-parse", "HEAD")
