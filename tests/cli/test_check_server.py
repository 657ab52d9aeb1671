"""`authz-sidecar check --server`, run as a command against a running sidecar."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from authz_sidecar._proto.authz.v1 import (
    audit_service_pb2,
    authenticate_pb2,
    check_pb2,
    credential_service_pb2,
    directory_service_pb2,
    identity_pb2,
)
from authz_sidecar.cli.explanation import decision_line
from authz_sidecar.cli.terminal import plain, visible
from authz_sidecar.values import Decision, Reason
from tests.cli.command_line import Run
from tests.server.sidecar import BUNDLE, Sidecar, running_sidecar

ALLOWED = ("alice", "folder:1", "read", "--company", "acme")
DENIED = ("alice", "folder:1", "delete", "--company", "acme")
CHECK = "/authz.v1.AuthorizationService/Check"
BATCH = "/authz.v1.AuthorizationService/BatchCheck"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A running sidecar on the bundle of the server tests."""
    # It stays on what it began with, whatever is committed meanwhile.
    with running_sidecar("--watch-interval", "0") as running:
        yield running


LATE = Timestamp(seconds=1 << 60)
ESCAPES = "\x1b]0;mine\x07\x9b2J\u202e"
# What each method of a server answers that is not ours, or of another release.
ANSWERS: dict[str, bytes] = {
    CHECK: check_pb2.CheckResponse(allowed=True, reason=777).SerializeToString(),  # type: ignore[arg-type]
    BATCH: b"\xff\xff",
    "/authz.v1.AuthorizationService/Authenticate": authenticate_pb2.AuthenticateResponse(
        authenticated=True, subject="x", kind=identity_pb2.IDENTITY_KIND_USER, expire_time=LATE
    ).SerializeToString(),
    "/authz.v1.DirectoryService/GetIdentity": directory_service_pb2.GetIdentityResponse(
        identity=identity_pb2.Identity(kind=77),  # type: ignore[arg-type]
    ).SerializeToString(),
    "/authz.v1.CredentialService/GetKey": credential_service_pb2.GetKeyResponse(
        key=credential_service_pb2.ApiKey(id="x", expire_time=LATE)
    ).SerializeToString(),
    "/authz.v1.AuditService/ListAuditRecords": audit_service_pb2.ListAuditRecordsResponse(
        records=[
            audit_service_pb2.AuditRecord(
                text=json.dumps({"v": 1, "previous": "00" * 32, "sequence": 1, "time": 1e18, "action": ESCAPES}),
                hash="",
            )
        ]
    ).SerializeToString(),
}


@pytest.fixture
def impostor() -> Iterator[str]:
    """The address of a gRPC server with `ANSWERS`, and none to other methods."""

    class Handlers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
            answer = ANSWERS.get(str(handler_call_details.method))
            return None if answer is None else grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


# The commit behind a rule, or that there is none yet.
ORIGIN = re.compile(r"^ {15}(?:[0-9a-f]{12} \d{4}-\d\d-\d\d .*|not committed)\n", re.MULTILINE)


@pytest.mark.parametrize("question", [ALLOWED, DENIED, ("mallory", "folder:1", "read"), ("alice", "folder", "read")])
def test_a_server_answers_as_its_bundle_does(run: Run, sidecar: Sidecar, question: tuple[str, ...]) -> None:
    """The line and the exit code are those of the same bundle read from its directory."""
    local = run("check", *question, "--policies", str(BUNDLE))
    asked = run("check", *question, "--server", sidecar.grpc)
    assert (asked.returncode, asked.stdout, asked.stderr) == (local.returncode, local.stdout, "")
    assert asked.stdout.endswith(f" policy_version={sidecar.policy_version}\n")


@pytest.mark.parametrize("question", [ALLOWED, DENIED, ("alice", "folder:secret", "read", "--company", "acme")])
def test_a_server_explains_as_its_bundle_does(run: Run, sidecar: Sidecar, question: tuple[str, ...]) -> None:
    """Rules, role path, roles and near misses are those of the bundle; files are named from the bundle on, and who last
    touched their lines only the bundle's repository tells."""
    local = run("check", *question, "--explain", "--policies", str(BUNDLE))
    asked = run("check", *question, "--explain", "--server", sidecar.grpc)
    assert asked.returncode == local.returncode
    assert asked.stdout == ORIGIN.sub("", local.stdout.replace(f"{BUNDLE}/", ""))
    assert "policy.csv:" in asked.stdout


def test_json_of_a_server_names_the_decision(run: Run, sidecar: Sidecar) -> None:
    """The JSON form has what the local one has, and the decision's id, which the server gives once."""
    local = json.loads(run("check", *DENIED, "--explain", "--format", "json", "--policies", str(BUNDLE)).stdout)
    asked = json.loads(run("check", *DENIED, "--explain", "--format", "json", "--server", sidecar.grpc).stdout)
    again = json.loads(run("check", *DENIED, "--explain", "--format", "json", "--server", sidecar.grpc).stdout)
    assert set(asked) == {*local, "decision_id"}
    assert asked["decision_id"] != again["decision_id"]
    for miss in local["explanation"]["near_misses"]:
        miss["rule"]["file"] = miss["rule"]["file"].removeprefix(f"{BUNDLE}/")
    assert local["explanation"]["near_misses"]
    assert {name: asked[name] for name in local} == local


def test_everything_that_is_typed_reaches_the_server(run: Run, sidecar: Sidecar) -> None:
    """Section, context and attributes decide as they do locally: each is needed for the allow."""
    vault = ("alice", "vault", "open", "--section", "2", "--context", "level=high", "--server", sidecar.grpc)
    apollo = ("alice", "x:1", "read", "--section", "3", "--attribute", "project=apollo", "--server", sidecar.grpc)
    assert run("check", *vault).returncode == 0
    assert run("check", *[word.replace("high", "low") for word in vault]).returncode == 1
    assert run("check", *apollo).returncode == 0
    assert run("check", *[word.replace("apollo", "gemini") for word in apollo]).returncode == 1


def test_an_evaluation_error_is_explained(run: Run, sidecar: Sidecar) -> None:
    """The explanation of a server says which attribute was missing."""
    done = run("check", "alice", "x:1", "read", "--section", "3", "--explain", "--server", sidecar.grpc)
    assert done.returncode == 1
    assert done.stdout.startswith("deny reason=evaluation_error ")
    assert "`project`" in done.stdout


def test_a_unix_socket_is_asked(run: Run, tmp_path: Path) -> None:
    """`unix:/path` reaches a server that listens there."""
    socket = f"unix:{tmp_path}/s"
    with running_sidecar(ports=("--grpc", socket, "--http", "127.0.0.1:0")):
        assert run("check", *ALLOWED, "--server", socket).returncode == 0
    assert run("check", *ALLOWED, "--server", socket).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message", "help"),
    [
        (("alice", "folder:1", "read", "--section", "9"), "the model has no section `9`", "give `--section` "),
        (("alice", "vault", "open", "--section", "2"), "context.level is not set", "`--context level=…`"),
        (("alice", "vault", "open", "--section", "2", "--explain"), "context.level is not set", "`--context level=…`"),
        (("role:editor", "folder:1", "read"), "subject begins with `role:`", "SUBJECT is one identity"),
        (("alice", "folder:1", "read", "--context", f"n={2**53 + 1}"), f"the number {2**53 + 1}", "a smaller number"),
        (("alice", "folder:1", "read", "--attribute", f'n=[{{"m":{-(2**60)}}}]'), "object.attributes", "a smaller"),
    ],
)
def test_an_invalid_request_is_no_answer(
    run: Run, sidecar: Sidecar, arguments: tuple[str, ...], message: str, help: str
) -> None:
    """What the server or the wire cannot take exits 2 with what to type instead, also under `--explain`."""
    done = run("check", *arguments, "--server", sidecar.grpc)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "  help: " in done.stderr
    assert help in done.stderr


def test_no_server_is_no_answer(run: Run) -> None:
    """Where nothing listens the error names the address and the reason, in one line, with a remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = run("check", *ALLOWED, "--server", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: no answer from `127.0.0.1:{port}`: ")
    assert "refused" in first
    assert second.startswith("  help: give `--server` ")


def test_a_server_that_does_not_answer_is_given_up(run: Run) -> None:
    """A port that takes connections and says nothing is given up after `--timeout`."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run("check", *ALLOWED, "--server", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "within 0.5 s\n  help: give `--timeout` more seconds" in done.stderr


def test_another_service_is_no_answer(run: Run, impostor: str) -> None:
    """A gRPC server without the method exits 2 and says what to name."""
    done = run("check", *ALLOWED, "--explain", "--server", impostor)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: the server at `{impostor}` does not take this call: " in done.stderr
    assert "  help: give `--server` the gRPC address of an authz-sidecar" in done.stderr


def test_a_reason_that_is_not_known_is_no_answer(run: Run, impostor: str) -> None:
    """An answer of a later version is not passed on as an allow that nobody can read: exit 2."""
    done = run("check", *ALLOWED, "--server", impostor)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: the server gives a reason that this version does not know: number 777" in done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("whoami --credential-file key", "an answer that this version does not know: 1.15292e+18 is no time"),
        ("identities show x", "an answer that this version does not know: 77 is not a valid IdentityKind"),
        ("keys show x", "an answer that this version does not know: 1.15292e+18 is no time"),
        ("bench --batch 2 --duration 0.1", "the answer does not parse"),
    ],
)
def test_an_answer_that_cannot_be_read_is_no_answer(
    call: Run, impostor: str, tmp_path: Path, command: str, message: str
) -> None:
    """Kinds and times that nobody knows, and bytes that are no message, exit 2 with one line and a remedy."""
    (tmp_path / "key").write_text("azk_x")
    done = call(*command.split(), "--server", impostor)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert message in first
    assert second.startswith("  help: ")


def test_records_of_a_hostile_server_do_not_act_on_the_terminal(
    call: Run, impostor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is shown whatever its time is, and what is exported to a terminal is escaped there."""
    done = call("audit", "list", "--server", impostor)
    assert done.stdout == f"1 1e+18 {visible(ESCAPES)} actor=\n"
    raw = call("audit", "export", "--format", "csv", "--server", impostor)
    assert ESCAPES in raw.stdout
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = call("audit", "export", "--format", "csv", "--server", impostor)
    assert visible(ESCAPES) in shown.stdout
    assert "\x1b" not in shown.stdout
    assert ESCAPES not in plain(decision_line(Decision(True, Reason.ALLOWED_BY_RULE), ESCAPES))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--server", "127.0.0.1:1", "--policies", "policies"), "give `--policies` or `--server`, not both"),
        (("--server", "127.0.0.1:1", "--time", "2024-01-01T00:00:00Z"), "`--time` is for a bundle"),
        (("--timeout", "1"), "`--timeout` is for `--server`"),
        (("--server", "127.0.0.1:0"), "`127.0.0.1:0` names no port"),
        (("--server", "nowhere"), "`nowhere` is not an address: write `host:port`"),
    ],
)
def test_options_that_contradict_are_refused(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """What would be ignored is refused instead, with exit code 2."""
    done = run("check", *ALLOWED, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_server_without_a_directory_knows_no_credentials(run: Run, sidecar: Sidecar, tmp_path: Path) -> None:
    """Asked by a credential, or on behalf of a user, it exits 2 and says which server would know."""
    (tmp_path / "key").write_text("azk_x")
    for question in (
        (*ALLOWED[1:], "--credential-file", str(tmp_path / "key")),
        (*ALLOWED, "--on-behalf-of", "bob"),
    ):
        done = run("check", *question, "--server", sidecar.grpc)
        assert (done.returncode, done.stdout) == (2, "")
        assert "has no directory of identities" in done.stderr
        assert "`serve --directory`" in done.stderr


def test_what_is_typed_outranks_the_environment(run: Run, sidecar: Sidecar) -> None:
    """`AUTHZ_SERVER` is asked, before `AUTHZ_POLICIES` too, unless `--policies` is typed."""
    settings = {"AUTHZ_SERVER": sidecar.grpc, "AUTHZ_POLICIES": "nowhere"}
    asked = run("check", *ALLOWED, "--format", "json", env=settings)
    assert "decision_id" in json.loads(asked.stdout)
    settings["AUTHZ_SERVER"] = "127.0.0.1:1"
    assert run("check", *ALLOWED, env=settings).returncode == 2
    read = run("check", *ALLOWED, "--format", "json", "--policies", str(BUNDLE), env=settings)
    assert "decision_id" not in json.loads(read.stdout)
    typed = run("check", *ALLOWED, "--format", "json", "--server", sidecar.grpc, env=settings)
    assert "decision_id" in json.loads(typed.stdout)
