"""`authz-sidecar audit`: what an auditor does at a store, and from afar."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store
from tests.audit.test_audit_service import AUDIT_ROLES
from tests.cli.command_line import Run
from tests.server.administered import Administered, administered, snapshot_of

DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with three records: two of an old day, and one of today."""
    opened = Store.open(str(tmp_path / "directory.db"))
    now = time.time()
    for time_of, subject, company in (
        (now - 400 * DAY, "ben", "acme"),
        (now - 399 * DAY, "=cmd()", "globex"),
        (now, "ben", ""),
    ):
        with opened.change(Actor("anna"), time_of) as change:
            change.audit(
                "identity.update",
                subject=subject,
                company=company,
                object_type="identity",
                object_id=subject,
                before={"name": "a", "active": True},
                after={"name": "b", "active": True},
                justification="\x1b[31mred",
            )
    yield opened
    opened.close()


@pytest.fixture
def at_store(call: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line with the store in its environment."""
    monkeypatch.setenv("AUTHZ_DIRECTORY", str(store.path))
    return call


def _tamper(store: Store, statement: str) -> None:
    with store.change(Actor("x"), 1.0) as change:
        change.connection.execute(text(statement))


KEYS = ("--audit-key", "audit.key", "--audit-checkpoints", "checkpoints.jsonl")
PUBLIC = ("--audit-public-key", "audit.key.pub", "--audit-checkpoints", "checkpoints.jsonl")


def test_list_shows_who_did_what(at_store: Run) -> None:
    """A record is a line that says when, what, who and what changed, and cannot act on the terminal."""
    said = at_store("audit", "list")
    assert said.returncode == 0, said.stderr
    first = said.stdout.splitlines()[0]
    assert " identity.update actor=anna subject=ben company=acme object=identity:ben " in first
    assert 'justification="\\x1b[31mred"' in first
    assert first.endswith('name: "a" → "b"')
    assert len(said.stdout.splitlines()) == 3
    said = at_store("audit", "list", "--format", "json", "--limit", "1")
    assert json.loads(said.stdout)["sequence"] == 3
    assert "there are earlier ones" in said.stderr


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--identity", "ben"), [1, 3]),
        (("--actor", "ben"), []),
        (("--subject", "=cmd()"), [2]),
        (("--company", "acme"), [1]),
        (("--company", ""), [3]),
        (("--action", "identity", "--action", "key"), [1, 2, 3]),
        (("--action", "key"), []),
        (("--since", "1d"), [3]),
        (("--until", "2020-01-01"), []),
        (("--until", "2100-01-01T00:00:00Z"), [1, 2, 3]),
    ],
)
def test_list_filters(at_store: Run, options: tuple[str, ...], wanted: list[int]) -> None:
    """Every filter narrows the list."""
    said = at_store("audit", "list", "--format", "json", *options)
    assert [json.loads(line)["sequence"] for line in said.stdout.splitlines()] == wanted


def test_an_action_that_nobody_writes_is_warned_of(at_store: Run) -> None:
    """A filter that takes nothing for want of a letter says so on standard error; kinds and actions do not."""
    assert at_store("audit", "list", "--action", "key", "--action", "identity.update").stderr == ""
    said = at_store("audit", "list", "--action", "key.revok")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == (
        "warning: no record of this release has the action `key.revok`\n  help: did you mean `key.revoke`?\n"
    )
    assert "`sign_in`" in at_store("audit", "export", "--action", "frobnicate").stderr


def test_export_writes_files_for_others(at_store: Run, tmp_path: Path) -> None:
    """JSON lines are the audit's own; CSV has no cell that a spreadsheet would run; a file is its owner's and new."""
    assert at_store("audit", "export", "--output", "audit.jsonl").returncode == 0
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3]
    assert json.loads(lines[2])["previous"] == hashlib.sha256(lines[1]).hexdigest()
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    said = at_store("audit", "export", "--output", "audit.jsonl")
    assert (said.returncode, "exists" in said.stderr) == (2, True)
    said = at_store("audit", "export", "--format", "jsonl", "--output", "audit.csv")
    assert (said.returncode, "`audit.csv` is a name for csv" in said.stderr) == (2, True)
    assert at_store("audit", "export", "--output", "audit.csv").returncode == 0
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["subject"] for row in rows] == ["ben", "'=cmd()", "ben"]
    said = at_store("audit", "export", "--format", "csv", "--subject", "ben")
    assert len(list(csv.DictReader(io.StringIO(said.stdout)))) == 2


def test_verify_tells_intact_from_broken(at_store: Run, store: Store, tmp_path: Path) -> None:
    """Exit code 0 for a whole audit, 1 for another with each finding, 2 where nobody can say."""
    said = at_store("audit", "verify")
    assert said.returncode == 0
    assert said.stdout.startswith("intact: 3 records, 1 to 3\n")
    assert "no public key was given" in said.stdout
    _tamper(store, "UPDATE audit SET actor = 'ben' WHERE sequence = 2")
    said = at_store("audit", "verify")
    assert said.returncode == 1
    assert said.stdout.startswith("broken: record 2: the column `actor` is not what its text says\n")
    said = at_store("audit", "verify", "--format", "json")
    data = json.loads(said.stdout)
    assert (data["intact"], data["findings"][0]["kind"], data["findings"][0]["sequence"]) == (False, "column", 2)
    for arguments, message in (
        (("--directory", "none.db"), "there is no directory"),
        (("--audit-checkpoints", "x"), "without the public key"),
        (("--audit-public-key", "x"), "`x` cannot be read"),
    ):
        said = at_store("audit", "verify", *arguments)
        assert said.returncode == 2
        assert message in said.stderr
        assert "help:" in said.stderr
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + bytes(4000))
    assert at_store("audit", "verify", "--directory", "damaged.db").returncode == 2


def test_checkpoints_find_what_the_chain_cannot(at_store: Run, store: Store, tmp_path: Path) -> None:
    """With a key and a file outside the store an end that was cut off is found, and nothing is signed over it."""
    said = at_store("audit", "key", "create", "audit.key")
    assert said.returncode == 0
    assert said.stdout.split()[1:] == ["audit.key", "audit.key.pub"]
    assert "PRIVATE" not in said.stdout + said.stderr
    assert at_store("audit", "checkpoint", *KEYS).stdout.startswith("record 3 at ")
    said = at_store("audit", "checkpoint", *KEYS)
    assert (said.returncode, said.stdout) == (0, "")
    said = at_store("audit", "verify", *PUBLIC, "--newest-within", "1h")
    assert said.returncode == 0, said.stdout
    assert "signed for up to the last record" in said.stdout
    with store.read() as connection:
        hash = connection.execute(text("SELECT hash FROM audit WHERE sequence = 2")).scalar_one()
    _tamper(store, "DELETE FROM audit WHERE sequence = 3")
    _tamper(store, "DELETE FROM checkpoints")
    _tamper(store, f"UPDATE state SET audit_sequence = 2, audit_hash = x'{hash.hex()}'")  # noqa: S608
    assert at_store("audit", "verify").returncode == 0
    said = at_store("audit", "verify", *PUBLIC)
    assert said.returncode == 1
    assert "record 3 is missing at the end" in said.stdout
    said = at_store("audit", "checkpoint", *KEYS)
    assert (said.returncode, "broken:" in said.stdout) == (1, True)
    # The operators declare that it was a restore.
    said = at_store("audit", "checkpoint", "--after-restore", *KEYS)
    assert said.returncode == 0, said.stderr
    said = at_store("audit", "verify", *PUBLIC)
    assert said.returncode == 0
    assert "1 checkpoints were declared void" in said.stdout
    (tmp_path / "audit.key").chmod(0o644)
    said = at_store("audit", "checkpoint", *KEYS)
    assert (said.returncode, "others may read or write the private key" in said.stderr) == (2, True)


def test_verify_fails_where_nobody_signs_any_more(at_store: Run) -> None:
    """Records that have waited too long for a checkpoint are told."""
    at_store("audit", "key", "create", "audit.key")
    (Path.cwd() / "checkpoints.jsonl").touch()
    said = at_store("audit", "verify", *PUBLIC, "--newest-within", "1h")
    assert said.returncode == 1
    assert "no checkpoint covers them" in said.stdout


def test_prune_removes_behind_a_seal(at_store: Run, store: Store) -> None:
    """Old records go once that is confirmed, the rest stays proved, and a broken audit is kept whole."""
    at_store("audit", "key", "create", "audit.key")
    old = ("audit", "prune", "--older-than", "365d", *KEYS)
    said = at_store(*old, "--dry-run")
    assert (said.returncode, said.stderr) == (0, "2 records up to 2 would be removed\n")
    assert at_store(*old).returncode == 2
    assert len(at_store("audit", "list").stdout.splitlines()) == 3
    said = at_store(*old, "--yes", "--justification", "a year is enough")
    assert said.returncode == 0, said.stderr
    lines = at_store("audit", "list").stdout.splitlines()
    assert len(lines) == 2
    assert "audit.prune actor=operator:" in lines[1]
    assert 'justification="a year is enough"' in lines[1]
    said = at_store("audit", "verify", *PUBLIC)
    assert said.returncode == 0
    assert "intact: 2 records, 3 to 4" in said.stdout
    assert "records up to 2 were removed behind a seal" in said.stdout
    assert at_store(*old, "--yes").stderr == "no record is so old\n"
    _tamper(store, "UPDATE audit SET actor = 'x' WHERE sequence = 3")
    assert at_store("audit", "prune", "--older-than", "1s", *KEYS, "--yes").returncode == 1


def test_a_key_is_changed(at_store: Run) -> None:
    """A new key begins a new file with the old public key at hand, and both files are verified together."""
    at_store("audit", "key", "create", "audit.key")
    at_store("audit", "key", "create", "new.key")
    assert at_store("audit", "prune", "--older-than", "365d", *KEYS, "--yes").returncode == 0
    new = ("--audit-key", "new.key", "--audit-checkpoints", "new.jsonl")
    assert at_store("audit", "checkpoint", *new).returncode == 1
    said = at_store("audit", "checkpoint", *new, "--audit-public-key", "audit.key.pub")
    assert said.returncode == 0, said.stderr
    said = at_store("audit", "verify", *PUBLIC, "--audit-checkpoints", "new.jsonl", "--audit-public-key", "new.key.pub")
    assert said.returncode == 0, said.stdout
    assert at_store("audit", "prune", "--older-than", "365d", *new, "--dry-run").returncode == 1
    said = at_store("audit", "prune", "--older-than", "365d", *new, "--audit-public-key", "audit.key.pub", "--dry-run")
    assert said.returncode == 0, said.stdout


def test_what_no_record_has_is_told(at_store: Run) -> None:
    """A filter with a control character, and a place beyond the end, are mistakes, and not tracebacks."""
    for arguments, message in (
        (("list", "--actor", "a\x1b"), "control character"),
        (("follow", "--after", str(1 << 64)), "set back"),
    ):
        said = at_store("audit", *arguments)
        assert (said.returncode, message in said.stderr) == (2, True), said.stderr


def test_follow_shows_what_is_written(store: Store, tmp_path: Path) -> None:
    """A line appears while the command runs, for each record that it asks for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    with subprocess.Popen(
        [sys.executable, "-m", "authz_sidecar", "audit", "follow", "--directory", str(store.path), "--after", "2"],
        env=kept | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("3 ")
        with store.change(Actor("anna"), time.time()) as change:
            change.audit("key.revoke", subject="ben")
        assert " key.revoke actor=anna subject=ben" in following.stdout.readline()
        following.terminate()


@pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "jq", "sha256sum"))), reason="sh, jq or sha256sum is not installed"
)
def test_the_way_without_this_program(at_store: Run, tmp_path: Path) -> None:
    """The loop of the manual finds a line that was changed, with sha256sum and jq alone."""
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    script = page.partition("```sh verify\n")[2].partition("```")[0]
    at_store("audit", "export", "--output", "audit.jsonl")
    said = subprocess.run(["sh"], input=script, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (said.returncode, said.stdout.split()[0]) == (0, "last:"), said.stderr
    path = tmp_path / "audit.jsonl"
    path.write_text(path.read_text().replace('"name":"b"', '"name":"c"', 1))
    said = subprocess.run(["sh"], input=script, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert said.stdout.startswith("broken before line 2")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Administered]:
    """A server with a directory whose policy lets auditors read."""
    folder = tmp_path / "server"
    folder.mkdir()
    with administered(folder) as running:
        running.take(snapshot_of(AUDIT_ROLES), "sha256:audit")
        yield running


def test_an_auditor_asks_a_server(
    call: Run, server: Administered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of a server come with a credential from the environment or a file, and only those that it may read."""
    secret = server.person("auditor", "acme", "AUDIT_COMPANY")
    address = str(server.address)
    said = call("audit", "list", "--server", address)
    assert (said.returncode, "AUTHZ_CREDENTIAL" in said.stderr) == (2, True)
    (tmp_path / "credential").write_text(secret)
    said = call("audit", "list", "--server", address, "--credential-file", "credential", "--format", "json")
    assert {json.loads(line)["company"] for line in said.stdout.splitlines()} == {"acme"}
    monkeypatch.setenv("AUTHZ_CREDENTIAL", secret)
    said = call("audit", "export", "--server", address, "--action", "identity.create")
    (line,) = said.stdout.splitlines()
    assert json.loads(line)["after"]["id"] == "auditor"
    assert secret.split("_")[2] not in said.stdout
    # It ends when the server does.
    stopping = threading.Timer(1.0, lambda: server.run(server.server.stop(5)))
    stopping.start()
    said = call("audit", "follow", "--server", address, "--after", "0", "--format", "json")
    stopping.join()
    assert json.loads(said.stdout.splitlines()[0])["subject"] == "auditor"
    assert said.returncode == 2
    assert call("audit", "list").returncode == 2
