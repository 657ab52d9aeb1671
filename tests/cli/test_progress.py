"""Progress of long work: on a terminal, after a while, and nowhere else."""

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.command_line import Run

# Work that goes on until its progress is seen, or is proved to stay unseen.
PROGRAM = """
import sys, threading
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import Terminal
with Progress(Terminal(), delay=float(sys.argv[1])) as progress:
    progress.step("counting sheep", 1000)
    for _ in range(500):
        progress.advance()
    if sys.argv[2] == "wait":
        [thread.join(30) for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for _ in range(500):
        progress.advance()
print("done", "rich" in sys.modules)
"""


def on_terminal(arguments: Sequence[str], cwd: Path, term: str = "xterm") -> tuple[str, str]:
    """Standard output and what appears on a terminal that is standard error."""
    reader, writer = pty.openpty()
    try:
        done = subprocess.run(
            arguments,
            cwd=cwd,
            env={**os.environ, "TERM": term, "COLUMNS": "80", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=writer,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        os.close(writer)
        shown = b""
        # A terminal whose other end is closed ends with an error where it has been read empty.
        try:
            while part := os.read(reader, 65536):
                shown += part
        except OSError:
            pass
    finally:
        os.close(reader)
    return done.stdout, shown.decode()


def test_long_work_is_shown_and_leaves_nothing(tmp_path: Path) -> None:
    """After the delay the step is drawn with a bar; at the end its line is erased and the cursor shown again."""
    result, shown = on_terminal([sys.executable, "-c", PROGRAM, "0", "wait"], tmp_path)
    assert result == "done True\n"
    assert "counting sheep" in shown
    assert "\x1b[2K" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0


def test_quick_work_shows_nothing_and_loads_nothing(tmp_path: Path) -> None:
    """What ends before the delay draws nothing and has not imported what draws."""
    assert on_terminal([sys.executable, "-c", PROGRAM, "60", "go"], tmp_path) == ("done False\n", "")


def test_a_terminal_that_cannot_redraw_shows_nothing(tmp_path: Path) -> None:
    """On a dumb terminal a bar would be a heap of lines."""
    assert on_terminal([sys.executable, "-c", PROGRAM, "0", "go"], tmp_path, "dumb") == ("done False\n", "")


def test_a_file_shows_nothing(tmp_path: Path) -> None:
    """Standard error that is no terminal holds no progress, whatever the work takes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "0", "go"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("done False\n", "")


@pytest.mark.usefixtures("rbac")
@pytest.mark.parametrize("command", ["lint", "test", "plan", "render"])
def test_commands_are_silent_on_small_bundles(run: Run, tmp_path: Path, command: str) -> None:
    """On a terminal, too, a small bundle gives the same result as ever."""
    result, _ = on_terminal([sys.executable, "-m", "authz_sidecar", command], tmp_path)
    assert result == run(command).stdout
