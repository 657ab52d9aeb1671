"""`replay` and `unused`: real logs of a real server, files in every shape, and their exit codes."""

import datetime as dt
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz_sidecar._proto.authz.v1 import check_pb2
from tests.cli.command_line import Run, WriteBundle
from tests.review.logged import log_line
from tests.server.sidecar import BUNDLE, check_of, running_sidecar

SUBJECTS = ("alice", "bob", "nobody", "editor")
ACTIONS = ("read", "update", "delete")
IDS = ("1", "2", "secret")
MODEL = (BUNDLE / "model.conf").read_text()
CANDIDATE = """\
p, editor, acme, folder:*, read, allow
g, alice, editor, acme
g, nobody, editor, acme
"""


def checks() -> list[check_pb2.CheckRequest]:
    """Every question about the small world above."""
    return [check_of(subject, action, id=id) for subject in SUBJECTS for action in ACTIONS for id in IDS]


def answers(policies: Path, *options: str) -> list[bool]:
    """What a server on these policies answers."""
    with running_sidecar(*options, policies=policies) as sidecar:
        results = sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks())).results
        return [answer.allowed for answer in results]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a log that a server has written."""
    folder = tmp_path_factory.mktemp("logs")
    answers(BUNDLE, "--decision-log", str(folder / "decisions.jsonl"), "--decision-log-max-bytes", "4096")
    return folder


@pytest.fixture
def log(logs: Path) -> list[str]:
    """Its files, of which there are several, as a shell would name them in any order."""
    files = sorted(map(str, logs.iterdir()), reverse=True)
    assert len(files) > 1
    return files


@pytest.fixture
def candidate(write_bundle: WriteBundle) -> Path:
    """Another policy."""
    return write_bundle({"model.conf": MODEL, "policy.csv": CANDIDATE}, "candidate")


def test_a_replay_equals_what_a_fresh_server_answers(run: Run, log: list[str], candidate: Path) -> None:
    """The counts of a replay against another policy are those that a server on it and one on the old one differ by."""
    before, after = answers(BUNDLE), answers(candidate)
    lost = sum(was and not now for was, now in zip(before, after, strict=True))
    gained = sum(now and not was for was, now in zip(before, after, strict=True))
    assert lost
    assert gained
    ended = run("replay", *log, "--against", "./candidate", "--policies", str(BUNDLE), "--format", "json")
    assert ended.returncode == 1, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["newly_denied"], report["newly_allowed"], report["same"]) == (
        lost,
        gained,
        len(before) - lost - gained,
    )
    assert report["log"]["decisions"] == len(before)
    assert {change["role"] for change in report["changes"]} == {"editor"}
    assert sum(change["decisions"] for change in report["changes"]) == lost + gained


def test_the_same_policy_changes_nothing(run: Run, log: list[str]) -> None:
    """Replayed against the policy that decided, a log exits 0 and says so."""
    ended = run("replay", *log, "--policies", str(BUNDLE))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"no decision changes: {len(checks())} the same" in ended.stdout


def test_text_and_markdown_say_what_changes(run: Run, log: list[str], candidate: Path) -> None:
    """Both name the roles, the actions, the counts and the rules."""
    text = run("replay", *log, "--against", str(candidate))
    assert text.returncode == 1
    assert "\nnewly denied\n  editor\n    update folder: " in text.stdout
    assert "was allowed_by_rule (policy.csv:2:1); now no_matching_rule" in text.stdout
    assert "\nnewly allowed\n  editor\n    read folder: " in text.stdout
    markdown = run("replay", *log, "--against", str(candidate), "--format", "markdown")
    assert markdown.returncode == 1
    assert "### newly denied" in markdown.stdout
    assert "| `editor` | `update` `folder` |" in markdown.stdout


def test_compressed_torn_and_piped_logs_are_read(run: Run, tmp_path: Path, log: list[str]) -> None:
    """A compressed file, one that ends within a line, one that ends within its compressed data, and standard input are
    read as far as they go, and what is missing is told."""
    lines = [line for file in log for line in Path(file).read_bytes().splitlines(keepends=True)]
    whole, torn, short = tmp_path / "whole.gz", tmp_path / "torn.jsonl", tmp_path / "short.gz"
    whole.write_bytes(gzip.compress(b"".join(lines)))
    torn.write_bytes(b"".join(lines[:3])[:-20])
    short.write_bytes(gzip.compress(b"".join(lines) * 50)[:-200])
    ended = run("replay", str(whole), "--policies", str(BUNDLE))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"replayed {len(lines)} decisions" in ended.stdout
    ended = run("replay", str(torn), "--policies", str(BUNDLE))
    assert "replayed 2 decisions" in ended.stdout
    assert "note: 1 file ended within a line, which was left out" in ended.stdout
    ended = run("replay", str(short), "--policies", str(BUNDLE))
    assert ended.returncode == 0
    assert "ends early" in ended.stderr
    command = [sys.executable, "-m", "authz_sidecar", "replay", "-", "--policies", str(BUNDLE)]
    piped = subprocess.run(command, input=b"".join(lines), capture_output=True, timeout=60, check=False)
    assert piped.returncode == 0
    assert f"replayed {len(lines)} decisions".encode() in piped.stdout


def test_a_line_without_an_end_costs_no_memory(tmp_path: Path) -> None:
    """A file of one endless line is one invalid line, also where it is small compressed; lines after it are read."""
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", 1) as file:
        for _ in range(300):
            file.write(b" " * (1 << 20))
        file.write(b"\n" + log_line("alice", "read", "folder") + b"\n")
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (450_000_000, 450_000_000));"
        "from authz_sidecar.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "replay", str(bomb), "--policies", str(BUNDLE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    assert "replayed 1 decision " in ended.stdout
    assert "note: 1 line " in ended.stdout


@pytest.mark.parametrize("name", ["replay", "unused"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        (b"", "no decision of the log can be replayed: there are none in it"),
        (b"nonsense\n", "no decision of the log can be replayed: 1 line"),
        (log_line(masked=("subject",)) + b"\n", "what they lack is masked"),
    ],
    ids=["missing", "empty", "nonsense", "masked"],
)
def test_a_log_that_tells_nothing_exits_2(
    run: Run, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    """A log without a decision that could be made again is no proof of anything, and no success."""
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_bytes(content)
    arguments = ("--log", str(path)) if name == "unused" else (str(path),)
    ended = run(name, *arguments, "--policies", str(BUNDLE))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (message if content is not None else "no such file") in ended.stderr
    assert "help:" in ended.stderr


def test_what_cannot_be_replayed_against_exits_2(run: Run, log: list[str], write_bundle: WriteBundle) -> None:
    """A policy that does not load ends the command with its findings."""
    broken = write_bundle({"model.conf": MODEL, "policy.csv": "p, a\n"}, "broken")
    ended = run("replay", *log, "--against", str(broken))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "does not load" in ended.stderr


def dated(folder: Path, days: dict[int, str]) -> Path:
    """A log with a decision so many days ago, by these subjects."""
    path = folder / "dated.jsonl"
    now = dt.datetime.now(dt.UTC)
    lines = [
        log_line(
            subject,
            "update" if subject == "alice" else "read",
            "folder",
            time=(now - dt.timedelta(days=ago)).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        )
        for ago, subject in days.items()
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_unused_grants_are_shown_by_role(run: Run, log: list[str]) -> None:
    """The grants of the bundle that no logged request needed stand under their role, with their share and places."""
    ended = run("unused", "--log", *log, "--policies", str(BUNDLE))
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "2 of 5 grants unused by 36 decisions\n" in ended.stdout
    assert "alice: 2 of 2 grants unused (100%)\n  policy.csv:4:1 all of it\n" in ended.stdout
    assert "editor:" not in ended.stdout
    report = json.loads(run("unused", "--log", *log, "--policies", str(BUNDLE), "--format", "json").stdout)
    assert (report["grants"], report["unused"]) == (5, 2)
    markdown = run("unused", "--log", *log, "--policies", str(BUNDLE), "--format", "markdown")
    assert "| `alice` | 2 of 2 | 100% |" in markdown.stdout


def test_a_period_leaves_older_decisions_out(run: Run, tmp_path: Path) -> None:
    """With `--since` only decisions of the period count, how much of it the log covers is said, and a log that covers
    little of it is warned about."""
    path = dated(tmp_path, {40: "alice", 8: "nobody", 0: "nobody"})

    def unused(*since: str) -> tuple[int, str, dict[str, Any]]:
        arguments = ("unused", "--log", str(path), *since, "--policies", str(BUNDLE))
        ended = run(*arguments, "--format", "json")
        return ended.returncode, ended.stderr, json.loads(ended.stdout)

    code, warning, report = unused("--since", "90d")
    assert code == 1
    assert "warning: the log covers 44% of the time that was asked for" in warning
    assert "40 of 90 days" in warning
    assert (report["unused"], report["log"]["outside"], report["covered"]) == (4, 0, pytest.approx(40 / 90, abs=0.01))
    _, warning, report = unused("--since", "8d")
    assert (report["unused"], report["log"]["outside"]) == (5, 2)
    _, warning, report = unused("--since", "8w")
    assert (report["unused"], report["log"]["outside"]) == (4, 0)
    assert "warning" in warning
    _, warning, report = unused("--since", "193h")
    assert (warning, report["log"]["outside"]) == ("", 1)
    _, warning, report = unused()
    assert (warning, report["unused"]) == ("", 4)
    ended = run("unused", "--log", str(path), "--since", "yesterday", "--policies", str(BUNDLE))
    assert ended.returncode == 2
    assert "neither a period such as `90d` nor a time such as" in ended.stderr


def test_a_policy_that_is_used_exits_0(run: Run, tmp_path: Path, write_bundle: WriteBundle) -> None:
    """Where every grant was needed there is nothing to report."""
    bundle = write_bundle({"model.conf": MODEL, "policy.csv": "p, alice, acme, folder:*, update, allow\n"})
    ended = run("unused", "--log", str(dated(tmp_path, {1: "alice"})), "--policies", str(bundle))
    assert ended.returncode == 0
    assert "0 of 1 grant unused" in ended.stdout
