"""Replay of a decision log: `python -m bench.replay SCENARIO`, each in a process of its own.

replay   a million logged decisions of the default bundle, half of them allowed, decided anew by the same policy
changed  the same by the bundle of an example, which changes most of them
"""

import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide.decider import Decider
from authz_sidecar.sources.load import load_bundle
from authz_sidecar.values.logged_decision import LoggedDecision, LoggedObject
from bench.data import Question, request
from bench.servers import ROOT, environment

POLICIES = ROOT / "policies"
DECISIONS = 1_000_000
# Each object is asked for some times, as lists and pages do.
OBJECTS = 5_000
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def write_log(path: Path) -> None:
    """A log as a server writes it, of decisions that the default bundle makes."""
    bundle = load_bundle(POLICIES).bundle
    assert bundle is not None
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    decide = Decider(snapshot).decide
    subjects = sorted({assignment.subject for assignment in bundle.assignments})
    kinds = [(name, action) for name, kind in bundle.manifest.object_types.items() for action in kind.actions]
    chance = random.Random(3)
    index = snapshot.sections[""]
    table = snapshot.tables[index.section.ptype]
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for number in range(DECISIONS):
            kind, action = chance.choice(kinds)
            subject = chance.choice(subjects)
            object_id = str(chance.randrange(OBJECTS))
            owner = chance.choice((subject, "somebody"))
            question: Question = (subject, action, kind, object_id, "acme", owner)
            decision = decide(request(question))
            moment = START + dt.timedelta(milliseconds=37 * number)
            logged = LoggedDecision(
                time=moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                decision_id=f"{number:x}",
                subject=subject,
                action=action,
                object=LoggedObject(kind, object_id, "acme", owner),
                allowed=decision.allowed,
                reason=decision.reason.label,
                policy_version="f" * 40,
                rule=str(table.span(decision.rule)) if decision.rule >= 0 else "",
                role=index.role_of(table, decision.rule) if decision.rule >= 0 else "",
            )
            file.write(encode(logged) + b"\n")


def _replay(against: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as folder:
        log = Path(folder) / "decisions.jsonl"
        write_log(log)
        size = log.stat().st_size
        command = [sys.executable, "-m", "authz_sidecar", "replay", str(log), "--policies", str(POLICIES)]
        command += ["--against", str(against), "--format", "json"]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as process:
            assert process.stdout is not None
            report = json.loads(process.stdout.read())
            seconds = time.perf_counter() - started
            used = _peak_mb(process)
    if report["log"]["decisions"] != DECISIONS:
        raise SystemExit("the log was not replayed whole")
    return {
        "total_s": seconds,
        "peak_mb": used,
        "log_mb": size / 1e6,
        "requests": report["log"]["requests"],
        "changed": report["newly_allowed"] + report["newly_denied"],
    }


def _peak_mb(process: "subprocess.Popen[str]") -> float:
    """The most memory that a process has used; it ends meanwhile."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024 / 1e6


def replay() -> dict[str, object]:
    """By the same policy."""
    return _replay(POLICIES)


def changed() -> dict[str, object]:
    """By another one."""
    return _replay(ROOT / "examples" / "viewer")


SCENARIOS = {"replay": replay, "changed": changed}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
