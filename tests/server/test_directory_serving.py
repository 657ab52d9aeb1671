"""How a sidecar runs with a directory: workers, staleness, its options, its start, and what it shows of secrets."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from authz_sidecar._proto.authz.v1 import authenticate_pb2, check_pb2, filter_pb2
from authz_sidecar._proto.authz.v1.policy_service_pb2 import GetActivePolicyRequest
from authz_sidecar._proto.authz.v1.policy_service_pb2_grpc import PolicyServiceStub
from authz_sidecar.audit.chain import GENESIS
from authz_sidecar.audit.checkpoint import Checkpoint, CheckpointFile
from authz_sidecar.audit.signing import SigningKey, create_key
from authz_sidecar.engine import Engine
from authz_sidecar.server.directory import ServedDirectory
from authz_sidecar.server.settings import DirectorySettings
from tests.deploy.serve_options import serve_command
from tests.postgres import PASSWORD, shared_postgres
from tests.server.directory_scene import OPERATOR, Scene, ask, follows, reason, served
from tests.server.sidecar import BUNDLE, COMMAND, FREE_PORTS, environment, failure_of, running_sidecar, until


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A bundle and a directory in SQLite."""
    made = Scene(tmp_path)
    yield made
    made.close()


def refused(*options: str, policies: Path = BUNDLE, **settings: str) -> str:
    """What a sidecar that does not start says; it exits 2."""
    ended = subprocess.run(
        (*COMMAND, "--policies", str(policies), *FREE_PORTS, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment() | settings,
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    return ended.stderr


def test_every_worker_follows(scene: Scene) -> None:
    """With several workers each knows the directory: a revocation is soon denied by all, and the sidecar tells the
    least of their revisions. Each tells the policy of all of them."""
    key, secret = scene.key("ann")
    _, admin = scene.key("root")
    with served(scene, "--workers", "2") as sidecar:
        revision = scene.revoke(key)
        until(lambda: sidecar.ready()[1]["directory"]["revision"] == revision)
        told = set()
        # Connections go to either.
        for _ in range(10):
            with sidecar.open_channel() as channel:
                call = channel.unary_unary(
                    "/authz.v1.AuthorizationService/Check",
                    request_serializer=check_pb2.CheckRequest.SerializeToString,
                    response_deserializer=check_pb2.CheckResponse.FromString,
                )
                thing = check_pb2.Object(type="folder", id="1", company="acme")
                answer = call(check_pb2.CheckRequest(credential=secret, action="read", object=thing), timeout=10)
                assert answer.reason == reason("CREDENTIAL_REVOKED")
                active = PolicyServiceStub(channel).GetActivePolicy(
                    GetActivePolicyRequest(), metadata=(("authorization", f"Bearer {admin}"),), timeout=10
                )
                told.add((active.policy_version, active.load_time.ToNanoseconds(), active.bundle, active.rules))
        assert len(told) == 1
        assert sidecar.ready()[1]["policy_version"] == told.pop()[0]
        assert sidecar.metric("authz_directory_identities") == 3
        assert sidecar.metric("authz_authentications_total", outcome="credential_revoked") == 10


def test_a_store_that_is_gone_leaves_decisions_until_it_is_stale(scene: Scene) -> None:
    """Without its store a sidecar goes on by what it knows, and says so; past the staleness that is allowed it is not
    ready and trusts no credential, until the store is back."""
    _, secret = scene.key("ann")
    away = scene.folder / "away.db"
    with served(scene, "--max-staleness", "1.5") as sidecar:
        assert sidecar.ready()[0] == 200
        Path(scene.url).rename(away)
        until(lambda: "is gone" in sidecar.ready()[1]["directory"].get("unseen", ""))
        assert ask(sidecar, "ann").allowed
        until(lambda: ask(sidecar, credential=secret).reason == reason("STALE_DIRECTORY"))
        assert ask(sidecar, "ann").allowed
        status, body = sidecar.ready()
        assert (status, body["status"]) == (503, "not ready")
        assert "the directory has not been seen" in body["why"]
        assert sidecar.metric("authz_directory_staleness_seconds") > 1.5
        request = authenticate_pb2.AuthenticateRequest(credential=secret)
        assert sidecar.stub.Authenticate(request, timeout=10).reason == reason("STALE_DIRECTORY")
        away.rename(scene.url)
        until(lambda: ask(sidecar, credential=secret).allowed)
        assert sidecar.ready()[0] == 200


def test_any_staleness_may_be_allowed(scene: Scene) -> None:
    """With `--max-staleness 0` credentials are trusted however long ago the store was seen."""
    _, secret = scene.key("ann")
    with served(scene, "--max-staleness", "0") as sidecar:
        Path(scene.url).rename(scene.folder / "away.db")
        until(lambda: sidecar.ready()[1]["directory"].get("unseen"))
        assert sidecar.ready()[0] == 200
        assert ask(sidecar, credential=secret).allowed


def test_a_directory_in_postgresql(tmp_path: Path) -> None:
    """With a database by URL the same is true, and its password, which comes by the environment, is shown nowhere: not
    in the log, and not in what the system tells of the process."""
    url = shared_postgres().create_database()
    scene = Scene(tmp_path, url)
    try:
        key, secret = scene.key("ann")
        options = ("--workers", "2")
        with running_sidecar(*options, policies=scene.policies, AUTHZ_DIRECTORY=url) as sidecar:
            assert ask(sidecar, credential=secret).allowed
            revision = scene.revoke(key)
            until(lambda: sidecar.ready()[1]["directory"]["revision"] >= revision)
            assert ask(sidecar, credential=secret).reason == reason("CREDENTIAL_REVOKED")
            processes = [sidecar.process.pid, *_children(sidecar.process.pid)]
            assert len(processes) >= 3
            for process in processes:
                for file in ("environ", "cmdline"):
                    assert PASSWORD.encode() not in Path(f"/proc/{process}/{file}").read_bytes()
            assert PASSWORD not in sidecar.log
    finally:
        scene.close()
        shared_postgres().drop_database(url)


def filter_of(subject: str, company: str | None = None) -> filter_pb2.FilterObjectsRequest:
    """Which folders may be read?"""
    return filter_pb2.FilterObjectsRequest(subject=subject, action="read", object_type="folder", company=company)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def test_only_some_companies_may_be_held(scene: Scene) -> None:
    """With `--companies` objects of others are denied for that reason, and filters pass none of them."""
    scene.person("gus", "globex", "CLERK")
    scene.assign("ann", "CLERK", "globex")
    with served(scene, "--companies", "acme,initech") as sidecar:
        assert ask(sidecar, "ann").allowed
        assert ask(sidecar, "root", company="").allowed
        for subject in ("ann", "gus", "root"):
            assert ask(sidecar, subject, company="globex").reason == reason("COMPANY_NOT_HELD")
        assert sidecar.metric("authz_directory_identities") == 3
        found = sidecar.stub.FilterObjects(filter_of("ann"), timeout=10)
        assert [list(clause.company.values) for clause in found.clauses] == [["acme"]]
        found = sidecar.stub.FilterObjects(filter_of("root"), timeout=10)
        assert [list(clause.company.values) for clause in found.clauses] == [["", "acme", "initech"]]
        narrowed = filter_of("ann", "globex")
        found = sidecar.stub.FilterObjects(narrowed, timeout=10)
        assert (found.kind, found.reason) == (filter_pb2.FILTER_KIND_NONE, reason("COMPANY_NOT_HELD"))


def test_who_is_not_held_is_denied(scene: Scene) -> None:
    """With `--companies` somebody of another company is denied whatever the bundle assigns: that it is switched off, or
    refused something, is not known here. Whom no directory has is decided by the bundle."""
    with served(scene, "--companies", "acme") as sidecar:
        assert ask(sidecar, "in-git").allowed
        scene.person("in-git", "globex")
        revision = scene.switch("in-git", active=False)
        follows(sidecar, revision)
        assert ask(sidecar, "in-git").reason == reason("COMPANY_NOT_HELD")
        found = sidecar.stub.FilterObjects(filter_of("in-git"), timeout=10)
        assert (found.kind, found.reason) == (filter_pb2.FILTER_KIND_NONE, reason("COMPANY_NOT_HELD"))
        for subject, user in (("robot", "in-git"), ("in-git", "ann")):
            answer = ask(sidecar, subject, id="shared-1", on_behalf_of=user)
            assert answer.reason == reason("COMPANY_NOT_HELD"), subject
        # Another that knows all of them says why.
        with served(scene) as other:
            assert ask(other, "in-git").reason == reason("INACTIVE_SUBJECT")
        scene.identities.delete_identity(OPERATOR, "in-git")
        follows(sidecar, scene.store.state().revision)
        assert ask(sidecar, "in-git").allowed


def test_the_store_is_followed_however_many_wait_for_it(scene: Scene) -> None:
    """A change of another process is known within a second also while all connections of the operations are taken."""
    directory = ServedDirectory(
        DirectorySettings(scene.url), Engine(), lambda work: work(), threading.Event(), first=True
    )
    directory.begin()
    pool = directory.store.engine.pool
    assert isinstance(pool, QueuePool)
    try:
        with ExitStack() as taken:
            for _ in range(pool.size() + pool._max_overflow):  # noqa: SLF001
                taken.enter_context(directory.store.read())
            revision = scene.switch("ann", active=False)
            began = time.monotonic()
            until(lambda: directory.status().revision == revision)
            assert time.monotonic() - began < 1.0
    finally:
        directory.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_the_first_reading(tmp_path: Path, workers: str) -> None:
    """A server that is told to stop while it reads its directory does, without having served, and exits 0."""
    url = shared_postgres().create_database()
    scene = Scene(tmp_path, url)
    command = (*COMMAND, "--policies", str(scene.policies), *FREE_PORTS, "--workers", workers, "--log-format", "text")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    try:
        with scene.store.engine.connect() as blocking, scene.store.engine.connect() as looking:
            blocking.execute(text("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE"))
            sidecar = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment() | {"AUTHZ_DIRECTORY": url},
            )
            # A transaction sees who was active at its first look.
            looking.execution_options(isolation_level="AUTOCOMMIT")
            until(lambda: looking.execute(waiting).scalar_one() >= int(workers))
            sidecar.terminate()
            assert sidecar.stderr is not None
            said = next(line for line in sidecar.stderr if "SIGTERM" in line)
            assert "finishing" in said
            blocking.rollback()
        out, _ = sidecar.communicate(timeout=30)
        assert (sidecar.returncode, out) == (0, "")
    finally:
        scene.close()
        shared_postgres().drop_database(url)


def test_a_bundle_that_drops_a_role_in_use_is_refused(scene: Scene) -> None:
    """A server does not start on a bundle without a role that an identity holds, unless that is allowed."""
    roles = scene.policies / "roles.yaml"
    roles.write_text(roles.read_text().replace("CLERK", "SCRIBE"))
    said = refused("--directory", scene.url, policies=scene.policies)
    assert "CLERK" in said
    assert "ann" in said
    with served(scene, "--allow-orphans") as sidecar:
        assert not ask(sidecar, "ann").allowed


def test_the_audit_is_signed_for(scene: Scene) -> None:
    """With a key and a file the server tells how old the last checkpoint is, and writes one of what came, at its end at
    the latest."""
    key, file = scene.folder / "audit.key", scene.folder / "checkpoints.jsonl"
    public, _ = create_key(key)
    CheckpointFile(file).append(Checkpoint(sequence=0, hash=GENESIS, time=time.time() - 300), SigningKey.load(key))
    with served(scene, "--audit-key", str(key), "--audit-checkpoints", str(file), "--workers", "2") as sidecar:
        ask(sidecar, "robot", id="shared-1", on_behalf_of="ann")
        until(lambda: 300 <= sidecar.metric("authz_directory_audit_checkpoint_age_seconds") < 400)
        assert sidecar.metric("authz_directory_audit_checkpoint_failing") == 0
    signed = CheckpointFile(file).last()
    assert signed is not None
    assert signed.is_signed_by((public,))
    assert signed.checkpoint.sequence == scene.store.state().audit_sequence


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_cannot_be_opened_keeps_the_server_from_starting(tmp_path: Path, workers: str) -> None:
    """A file that is no directory is refused with a remedy, before anything listens, and is left as it is."""
    path = tmp_path / "directory.db"
    path.write_bytes(b"no database" * 100)
    said = refused("--directory", str(path), "--workers", workers)
    assert f"the store `{path}` is refused: the file is no database of SQLite" in said
    assert "help: name another file, or restore a backup" in said
    assert path.read_bytes() == b"no database" * 100


def test_a_database_that_cannot_be_reached_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """A database that is down is named without its password, with a remedy."""
    said = refused(AUTHZ_DIRECTORY=f"postgresql://authz:{PASSWORD}@/authz?host={tmp_path}")
    assert "cannot be reached" in said
    assert "help: " in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--directory", f"postgresql://authz:{PASSWORD}@localhost/authz"), "AUTHZ_DIRECTORY"),
        (("--companies", "acme"), "name it with `--directory`"),
        (("--allow-orphans",), "name it with `--directory`"),
        (("--directory", "d.db", "--audit-key", "key"), "give `--audit-checkpoints` as well"),
        (("--directory", "d.db", "--audit-checkpoints", "file"), "give `--audit-key` as well"),
        (("--directory", "d.db", "--companies", " , "), "no company is named"),
        (("--directory", "d.db", "--companies", "a\x01b"), "control character"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], said: str) -> None:
    """A mistake in the options ends the server before it begins, with what to do, and repeats no password."""
    ended = CliRunner().invoke(serve_command(), ["--policies", str(BUNDLE), *options], env={"AUTHZ_DIRECTORY": None})
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())
    assert PASSWORD not in ended.output


def test_an_issuers_file_that_is_wrong_is_refused(tmp_path: Path) -> None:
    """Identity providers that cannot be served keep the server from starting, with the place of the mistake."""
    issuers = tmp_path / "issuers.yaml"
    issuers.write_text("issuers:\n  - {issuer: 7}\n")
    said = refused("--directory", str(tmp_path / "d.db"), "--issuers", str(issuers))
    assert "the identity providers cannot be served" in said
    assert f"{issuers}:2" in said


def test_without_a_directory_nothing_of_it_is_loaded() -> None:
    """A server without a directory has loaded neither databases nor cryptography."""
    script = (
        "import sys\n"
        "from authz_sidecar.cli.serve import command\n"
        "import authz_sidecar.server.serve, authz_sidecar.server.alone, authz_sidecar.server.supervisor\n"
        "import authz_sidecar.server.worker, authz_sidecar.transports.http.app\n"
        "heavy = {'sqlalchemy', 'alembic', 'psycopg', 'argon2', 'joserfc', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"


def test_without_a_directory_credentials_are_refused() -> None:
    """A server without a directory says of a credential that it can know none, and demands of a revision fail."""
    with running_sidecar() as sidecar:
        failure = failure_of(
            lambda: sidecar.stub.Authenticate(authenticate_pb2.AuthenticateRequest(credential="key"), timeout=10)
        )
        assert failure.code is grpc.StatusCode.UNIMPLEMENTED
        assert failure.info.reason == "CREDENTIAL_NOT_SUPPORTED"
        failure = failure_of(lambda: ask(sidecar, "alice", minimum_directory_revision=1))
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "directory" not in sidecar.ready()[1]
        assert sidecar.metric("authz_directory_revision") == 0


def test_a_directory_is_made_where_there_is_none(tmp_path: Path) -> None:
    """A server on a file that does not exist makes it, for its user alone, and starts with nobody in it."""
    path = tmp_path / "new.db"
    with running_sidecar("--directory", str(path)) as sidecar:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == os.getuid()
        assert sidecar.ready()[1]["directory"]["revision"] == 0
        assert ask(sidecar, "alice").allowed


def test_a_worker_that_dies_comes_back_with_the_directory(scene: Scene) -> None:
    """A worker that takes the place of a dead one knows what changed meanwhile before it answers."""
    with served(scene, "--workers", "2") as sidecar:
        (first, *_) = _children(sidecar.process.pid)
        os.kill(first, 9)
        revision = scene.assign("robot", "CLERK")
        until(lambda: sidecar.metric("authz_workers") == 2 and sidecar.metric("authz_worker_restarts_total") >= 1)
        follows(sidecar, revision)
        for _ in range(6):
            with sidecar.open_channel() as channel:
                call = channel.unary_unary(
                    "/authz.v1.AuthorizationService/Check",
                    request_serializer=check_pb2.CheckRequest.SerializeToString,
                    response_deserializer=check_pb2.CheckResponse.FromString,
                )
                thing = check_pb2.Object(type="folder", id="1", company="acme")
                request = check_pb2.CheckRequest(
                    subject="robot", action="read", object=thing, minimum_directory_revision=revision
                )
                assert call(request, timeout=10).allowed


def test_no_worker_serves_what_it_has_not_read(scene: Scene) -> None:
    """A worker that dies while the store is gone is not replaced until the store is back: the others go on, and without
    any the sidecar is not ready."""
    away = scene.folder / "away.db"
    with served(scene, "--workers", "2") as sidecar:
        first, second = _children(sidecar.process.pid)
        Path(scene.url).rename(away)
        os.kill(first, 9)
        until(lambda: sidecar.metric("authz_worker_restarts_total") >= 2)
        assert sidecar.metric("authz_workers") == 1
        assert sidecar.ready()[0] == 200
        assert second in _children(sidecar.process.pid)
        os.kill(second, 9)
        until(lambda: sidecar.ready()[0] == 503)
        assert sidecar.ready()[1]["why"] == "no worker answers"
        away.rename(scene.url)
        until(lambda: sidecar.metric("authz_workers") == 2)
        assert sidecar.ready()[0] == 200
