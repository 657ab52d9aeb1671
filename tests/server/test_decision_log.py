"""The decision log: a line for each decision, masked, rotated, never in the way of an answer, whole but for its end."""

import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from google.protobuf import struct_pb2

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2, filter_pb2
from authz_sidecar.cli.report_schemas import build_report_schema
from authz_sidecar.server.log_sink import LogStream, RotatedFiles, Rotation
from authz_sidecar.server.log_writer import LogWriter
from tests.server.sidecar import (
    BUNDLE,
    COMMAND,
    FREE_PORTS,
    Sidecar,
    check_of,
    environment,
    running_sidecar,
    until,
)

REQUEST_ID = "x-request-id"
SECRET = "s3cret"
KEY = "0123456789abcdef0123456789abcdef"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(build_report_schema("decision-log.schema.json")))
BATCH = 500


def raw_lines(folder: Path) -> list[bytes]:
    """The lines of all files of a log, each file's in its order."""
    return [line for file in sorted(folder.glob("decisions.*")) for line in file.read_bytes().splitlines(True)]


def decisions(folder: Path) -> list[dict[str, Any]]:
    """The logged decisions, each of which the published schema takes."""
    found = [json.loads(line) for line in raw_lines(folder)]
    for line in found:
        VALIDATOR.validate(line)
    return found


def logged(sidecar: Sidecar, number: int) -> None:
    """Wait until so many lines have been written."""
    until(lambda: sidecar.metric("authz_decision_log_written_total") == number)


def secrets() -> struct_pb2.Struct:
    """A Struct whose values say what they are."""
    struct = struct_pb2.Struct()
    struct.update({"token": SECRET, "level": 3})
    return struct


def batch_of(number: int) -> check_pb2.BatchCheckRequest:
    """A batch of checks of objects 0, 1 and so on."""
    return check_pb2.BatchCheckRequest(checks=[check_of(id=str(at)) for at in range(number)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a log is written."""
    return tmp_path


def test_a_decision_is_a_line(folder: Path) -> None:
    """Each decision of a check, batch, stream, explanation and filter is a line that says what was asked, what was
    answered, by which policy and rule, and under which names; attributes are named and left out."""
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl")) as sidecar:
        stub: Any = sidecar.stub
        named = ((REQUEST_ID, "call-1"),)
        allowed = stub.Check(check_of(), metadata=named)
        check = check_of(section="3", subject_attributes=secrets(), context=secrets())
        check.object.attributes.CopyFrom(secrets())
        check.object.owner = "bob"
        failed = stub.Check(check)
        batch = stub.BatchCheck(batch_of(2))
        stream = list(stub.CheckStream(iter([check_pb2.CheckStreamRequest(check=check_of(id="7"))]), metadata=named))
        explained = stub.Explain(explain_pb2.ExplainRequest(check=check_of(id="8")), metadata=named)
        filtered = stub.FilterObjects(
            filter_pb2.FilterObjectsRequest(subject="alice", action="read", object_type="folder", company="acme")
        )
        with pytest.raises(grpc.RpcError):
            # No token `level`: it is a deny with a reason, and so is an item of a batch.
            stub.Check(check_of(section="2"))
        logged(sidecar, 8)
        version = sidecar.policy_version
    first, error, *rest = decisions(folder)
    assert first.pop("time").endswith("Z")
    assert first == {
        "decision_id": allowed.decision_id,
        "subject": "alice",
        "action": "read",
        "object": {"type": "folder", "id": "1", "company": "acme"},
        "allowed": True,
        "reason": "allowed_by_rule",
        "policy_version": version,
        "rule": "policy.csv:1:1",
        "role": "editor",
        "call_id": "call-1",
    }
    assert (error["decision_id"], error["reason"], error["section"]) == (failed.decision_id, "evaluation_error", "3")
    assert error["object"]["owner"] == "bob"
    assert error["masked"] == ["subject_attributes", "object.attributes", "context"]
    assert [line["decision_id"] for line in rest[:-1]] == [
        *[result.decision_id for result in batch.results],
        stream[0].result.decision_id,
        explained.result.decision_id,
        filtered.decision_id,
    ]
    assert [line.get("kind", "check") for line in rest] == ["check", "check", "check", "explain", "filter", "check"]
    assert [line.get("call_id") for line in rest] == [None, None, "call-1", "call-1", None, None]
    assert [line["object"].get("id") for line in rest] == ["0", "1", "7", "8", None, "1"]
    assert rest[-1]["reason"] == "invalid_request"
    assert SECRET not in str([first, error, *rest])


def test_files_are_private_and_full_ones_are_followed(folder: Path) -> None:
    """No file is larger than it may be, all are for their owner alone, the oldest are removed, and no line is lost but
    with them; other files stay."""
    other = folder / "decisions.20200101T000000000000Z.1.jsonl"
    other.write_text("another worker's\n")
    options = ("--decision-log-max-bytes", "4096", "--decision-log-keep", "3")
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl"), *options) as sidecar:
        answers = sidecar.stub.BatchCheck(batch_of(100)).results
        logged(sidecar, 100)
    assert other.read_text() == "another worker's\n"
    other.unlink()
    files = sorted(folder.iterdir())
    assert len(files) == 4
    for file in files:
        assert file.stat().st_size <= 4096
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = [line["decision_id"] for line in decisions(folder)]
    assert 30 < len(kept) < 100
    assert kept == [answer.decision_id for answer in answers][-len(kept) :]


def test_workers_have_files_of_their_own(folder: Path) -> None:
    """Each worker writes files with its number, metrics add their lines up, and together they hold every decision."""
    path = str(folder / "decisions.jsonl")
    with running_sidecar("--workers", "2", "--decision-log", path) as sidecar:
        ids = set()
        while len({file.name.split(".")[2] for file in folder.iterdir()}) < 2:
            # Which worker a connection is given to is the kernel's choice.
            with sidecar.open_channel() as channel:
                stub = type(sidecar.stub)(channel)
                answer = stub.Check(check_of(), timeout=10)
            ids.add(answer.decision_id)
            logged(sidecar, len(ids))
    for file in folder.iterdir():
        number = file.name.split(".")[2]
        assert number in {"0", "1"}
    assert {line["decision_id"] for line in decisions(folder)} == ids


def test_a_drain_writes_everything(folder: Path) -> None:
    """What was decided just before SIGTERM is in the log when the process has ended."""
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl")) as sidecar:
        answers = sidecar.stub.BatchCheck(batch_of(BATCH)).results
    assert [line["decision_id"] for line in decisions(folder)] == [answer.decision_id for answer in answers]


def test_a_kill_tears_one_line_at_most(folder: Path) -> None:
    """After SIGKILL amid decisions each line but the last of a file is whole, and they are the first decisions."""
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl")) as sidecar:
        stop = threading.Event()
        ids: list[str] = []

        def ask() -> None:
            while not stop.is_set():
                try:
                    ids.extend(answer.decision_id for answer in sidecar.stub.BatchCheck(batch_of(100)).results)
                except grpc.RpcError:
                    return

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: sidecar.metric("authz_decision_log_written_total") >= 1000)
        sidecar.process.send_signal(signal.SIGKILL)
        sidecar.process.wait(30)
        stop.set()
        asking.join()
    (file,) = folder.iterdir()
    *whole, last = file.read_bytes().split(b"\n")
    assert len(whole) >= 1000
    found = [json.loads(line)["decision_id"] for line in whole]
    assert found[: len(ids)] == ids[: len(found)]
    assert not last or not last.endswith(b"}")


def test_what_nobody_reads_is_dropped_and_counted(folder: Path) -> None:
    """While a pipe has no reader checks are answered as ever; what finds no room is counted, the log says that it
    cannot be written, and the first line after it says how many are missing."""
    pipe = folder / "decisions.pipe"
    os.mkfifo(pipe)
    with running_sidecar("--decision-log", str(pipe)) as sidecar:
        asked = 0
        while not sidecar.metric("authz_decision_log_dropped_total"):
            assert all(answer.allowed for answer in sidecar.stub.BatchCheck(batch_of(1000)).results)
            asked += 1000
        dropped = int(sidecar.metric("authz_decision_log_dropped_total"))
        found: list[dict[str, Any]] = []

        def read() -> None:
            with pipe.open() as lines:
                found.extend(json.loads(line) for line in lines)

        reading = threading.Thread(target=read)
        reading.start()
        logged(sidecar, asked - dropped)
        sidecar.stub.Check(check_of(id="last"))
        logged(sidecar, asked - dropped + 1)
        assert "the decision log cannot be written" in sidecar.log
        assert "the decision log is written again" in sidecar.log
    reading.join()
    assert len(found) == asked - dropped + 1
    assert sum(line.get("dropped", 0) for line in found) == dropped
    assert found[-1]["object"]["id"] == "last"


def test_a_log_that_cannot_be_written_does_not_end_the_drain(folder: Path) -> None:
    """With lines waiting for a reader who never comes the server still stops in time, and says what is lost."""
    pipe = folder / "decisions.pipe"
    os.mkfifo(pipe)
    with running_sidecar("--decision-log", str(pipe), "--grace", "1") as sidecar:
        sidecar.stub.BatchCheck(batch_of(3))
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert "3 decisions could not be written to the decision log before the end" in sidecar.log


@pytest.mark.parametrize("keyed", [False, True], ids=["left-out", "hashed"])
def test_what_is_masked_is_nowhere(folder: Path, keyed: bool) -> None:
    """A masked value is in no file, and neither in the server's own log: left out, or with a key a hash that is the
    same for the same value; what is not masked stays."""
    logs = folder / "logs"
    logs.mkdir()
    key = folder / "key"
    key.write_text(KEY + "\n")
    names = "subject,object.id,object.owner,call_id,context.token,object.attributes,subject_attributes.token"
    options = ["--decision-log-mask", names, *(["--decision-log-mask-key", str(key)] if keyed else [])]
    attributes = "--decision-log-attributes"
    with running_sidecar("--decision-log", str(logs / "decisions.jsonl"), attributes, *options) as sidecar:
        check = check_of(subject=f"user-{SECRET}", id=SECRET, context=secrets(), subject_attributes=secrets())
        check.object.attributes.CopyFrom(secrets())
        check.object.owner = SECRET
        for _ in range(2):
            sidecar.stub.Check(check, metadata=((REQUEST_ID, SECRET),))
        # The rule of the third section is for the subject itself.
        own = check_of(section="3")
        own.object.attributes["project"] = "apollo"
        assert sidecar.stub.Check(own).allowed
        sidecar.stub.Check(check_of(section="3"))
        logged(sidecar, 4)
        assert SECRET not in sidecar.log
        assert "alice" not in sidecar.log
    text = b"".join(raw_lines(logs)).decode()
    assert SECRET not in text
    assert "alice" not in text
    assert KEY not in text
    first, second, own_rule, _ = decisions(logs)
    assert first["masked"] == [
        "subject",
        "object.id",
        "object.owner",
        "call_id",
        "subject_attributes.token",
        "object.attributes",
        "context.token",
    ]
    assert first["context"] == first["subject_attributes"] == {"level": 3}
    assert first["object"]["company"] == "acme"
    assert first.get("subject") == second.get("subject")
    assert own_rule["rule"] == "policy.csv:5:1"
    if keyed:
        assert first["subject"].startswith("hmac:")
        assert first["subject"] != first["object"]["id"] == first["call_id"]
        assert own_rule["role"] == own_rule["subject"]
    else:
        assert "subject" not in first
        assert "role" not in own_rule


def test_attributes_are_logged_on_request(folder: Path) -> None:
    """With `--decision-log-attributes` attributes and context are in the line, and nothing is masked."""
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl"), "--decision-log-attributes") as sidecar:
        check = check_of(context=secrets(), subject_attributes=secrets())
        check.object.attributes.CopyFrom(secrets())
        sidecar.stub.Check(check)
        logged(sidecar, 1)
    (line,) = decisions(folder)
    assert (
        line["context"] == line["subject_attributes"] == line["object"]["attributes"] == {"token": SECRET, "level": 3}
    )
    assert "masked" not in line


def test_denials_are_always_logged(folder: Path) -> None:
    """Of what is allowed a share is logged, which its lines name; of what is denied everything is."""
    with running_sidecar("--decision-log", str(folder / "decisions.jsonl"), "--decision-log-sample", "0.2") as sidecar:
        checks = [check_of(id=str(number)) for number in range(BATCH)] + [check_of(id="secret")] * BATCH
        sidecar.stub.BatchCheck(check_pb2.BatchCheckRequest(checks=checks))
    found = decisions(folder)
    allowed = [line for line in found if line["allowed"]]
    assert len(found) - len(allowed) == BATCH
    # Five standard deviations to either side.
    assert 55 < len(allowed) < 145
    assert {line["sample"] for line in allowed} == {0.2}
    assert not any("sample" in line for line in found if not line["allowed"])


def test_standard_output_takes_the_log() -> None:
    """With `-` the lines follow the ready line on standard output, of all workers."""
    with running_sidecar("--decision-log", "-", "--workers", "2") as sidecar:
        # As many as the pipe holds before it is read.
        ids = [answer.decision_id for answer in sidecar.stub.BatchCheck(batch_of(100)).results]
        logged(sidecar, 100)
        sidecar.process.terminate()
        code, output = sidecar.wait()
    assert code == 0
    assert [json.loads(line)["decision_id"] for line in output.splitlines()] == ids


def test_log_decisions_is_the_log_on_standard_error() -> None:
    """`--log-decisions` writes the same lines to standard error at any level, and in ASCII, for terminals."""
    with running_sidecar("--log-decisions", "--log-level", "error") as sidecar:
        # No control character, but it turns the direction of text.
        sidecar.stub.Check(check_of(id='a\u202e"b'))
        logged(sidecar, 1)
        assert sidecar.log.isascii()
        (line,) = [json.loads(line) for line in sidecar.log.splitlines()]
    VALIDATOR.validate(line)
    assert line["object"]["id"] == 'a\u202e"b'


def test_metrics_begin_at_nothing(sidecar: Sidecar) -> None:
    """Without a log its counters are there, and 0."""
    sidecar.stub.Check(check_of())
    text = sidecar.get("/metrics")[1]
    assert "authz_decision_log_written_total 0.0\n" in text
    assert "authz_decision_log_dropped_total 0.0\n" in text


class FullDisk:
    """A sink on a disk that is full until it is not; what a file system does, at the one place where it is asked."""

    def __init__(self) -> None:
        self.full = threading.Event()
        self.tried = threading.Event()
        self.lines: list[bytes] = []

    def room(self) -> int:
        """Two lines at once."""
        return 20

    def write(self, lines: bytes) -> None:
        """Refuse while it is full."""
        self.tried.set()
        if self.full.is_set():
            raise OSError(28, "No space left on device")
        self.lines.append(lines)

    def tend(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def test_a_full_disk_loses_what_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    """Lines wait while the disk is full, those that find no room are for the caller to count, and once there is room
    again all that waited are written, in order; the log says so once each."""
    disk = FullDisk()
    disk.full.set()
    writer = LogWriter(disk, queue_bytes=50)
    put = 0
    while not writer.full:
        writer.put(b"%09d\n" % put)
        put += 1
    assert put == 5
    assert disk.tried.wait(10)
    until(lambda: "No space left on device" in caplog.text)
    disk.full.clear()
    until(lambda: writer.written == put)
    writer.close()
    assert b"".join(disk.lines) == b"".join(b"%09d\n" % number for number in range(put))
    assert caplog.text.count("cannot be written") == 1


def test_an_old_file_is_followed_by_another(folder: Path) -> None:
    """A file that is as old as may be is ended, by time alone, and the next line begins another."""
    now = [1_000_000.0]
    files = RotatedFiles(folder / "decisions.jsonl", 3, Rotation(max_age=60.0), clock=lambda: now[0])
    files.write(b"1\n")
    now[0] += 59.9
    files.tend()
    files.write(b"2\n")
    now[0] += 0.1
    files.tend()
    assert [file.read_bytes() for file in folder.iterdir()] == [b"1\n2\n"]
    files.write(b"3\n")
    files.close()
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["decisions.19700112T134640000000Z.3.jsonl", "decisions.19700112T134740000000Z.3.jsonl"]
    assert (folder / names[1]).read_bytes() == b"3\n"


def test_a_removed_file_is_begun_anew(folder: Path) -> None:
    """Lines do not go on into a file that somebody has removed."""
    now = [1_000_000.0]
    files = RotatedFiles(folder / "decisions.jsonl", 0, Rotation(), clock=lambda: now[0])
    files.write(b"1\n")
    next(folder.iterdir()).unlink()
    files.tend()
    now[0] += 1
    files.write(b"2\n")
    files.close()
    assert [file.read_bytes() for file in folder.iterdir()] == [b"2\n"]


def test_a_pipe_goes_on_where_it_ended(folder: Path) -> None:
    """Where a pipe took a part of the lines, the rest follows when they are given again, and none comes twice."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    stream = LogStream(str(pipe))
    lines = b"".join(b"%09d\n" % number for number in range(10_000))
    with pytest.raises(BlockingIOError):
        stream.write(lines)
    read = b""
    while len(read) < len(lines):
        read += os.read(reader, 65_536)
        try:
            stream.write(lines)
        except BlockingIOError:
            continue
        break
    while len(read) < len(lines):
        read += os.read(reader, 65_536)
    os.close(reader)
    stream.close()
    assert read == lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--decision-log", "/nowhere/decisions.jsonl"), "there is no directory `/nowhere`"),
        (("--decision-log", "/tmp"), "`/tmp` is a directory"),  # noqa: S108 - it is only refused
        (("--decision-log-mask", "subjct"), "did you mean `subject`"),
        (("--decision-log-mask-key", "/nowhere"), "`/nowhere` cannot be read"),
        (("--decision-log-mask-key", "/dev/null"), "holds 0 bytes"),
        (("--decision-log", "-", "--log-decisions"), "name two places for one log"),
        (("--decision-log-sample", "2"), "2.0 is not in the range"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: tuple[str, ...], message: str) -> None:
    """A log that cannot be written, or options that mean nothing, end the start with exit code 2 and the reason."""
    command = (*COMMAND, "--policies", str(BUNDLE), *FREE_PORTS, *options)
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
