"""Policies that change while a sidecar serves them."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz_sidecar._proto.authz.v1 import check_pb2
from tests.server.sidecar import BUNDLE, FREE_PORTS, Sidecar, check_of, running_sidecar, until

QUICK = ("--watch-interval", "0.05")
States = health_pb2.HealthCheckResponse
BOB_READS = "p, visitor, acme, folder:*, read, allow\n"


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's settings."""
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    ran = subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def copy_bundle(folder: Path, more: str = "") -> Path:
    """The bundle of the server tests in a new `folder`, with `more` rows."""
    shutil.copytree(BUNDLE, folder)
    with (folder / "policy.csv").open("a") as rows:
        rows.write(more)
    return folder


def replace_rows(policies: Path, rows: str) -> None:
    """Write `policy.csv` as editors do: another file, renamed over it."""
    written = policies / ".policy.csv.new"
    written.write_text(rows)
    written.replace(policies / "policy.csv")


def bob_reads(sidecar: Sidecar) -> bool:
    """Whether the policy that is served lets bob read."""
    return sidecar.stub.Check(check_of("bob")).allowed


def differs(sidecar: Sidecar, served: str) -> bool:
    """Whether another version than `served` answers."""
    return version(sidecar) != served


def children_of(process: int) -> list[str]:
    """The processes that any thread of a process has started and that still run."""
    return [
        child for task in Path(f"/proc/{process}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def version(sidecar: Sidecar) -> str:
    """The version of the policy that is served."""
    return sidecar.stub.Check(check_of()).policy_version


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A bundle of one's own."""
    return copy_bundle(tmp_path / "policies")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch `main` has the bundle in `policies/`, and whose branch `open` lets bob read."""
    root = tmp_path / "repository"
    copy_bundle(root / "policies")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    git(root, "switch", "--quiet", "--create=open")
    with (root / "policies" / "policy.csv").open("a") as rows:
        rows.write(BOB_READS)
    git(root, "commit", "--quiet", "--all", "--message=two")
    git(root, "switch", "--quiet", "main")
    return root


@pytest.fixture
def serving(policies: Path) -> Iterator[Sidecar]:
    """A sidecar that follows `policies`."""
    with running_sidecar(*QUICK, policies=policies) as sidecar:
        yield sidecar


def test_a_file_renamed_over_another_is_loaded(policies: Path, serving: Sidecar) -> None:
    """What an editor saves is served, under a new version that answers, `/readyz` and metrics agree on."""
    assert not bob_reads(serving)
    replace_rows(policies, (policies / "policy.csv").read_text() + BOB_READS)
    until(lambda: bob_reads(serving))
    assert version(serving) != serving.policy_version
    until(lambda: serving.ready() == (200, {"status": "ready", "policy_version": version(serving)}))
    assert serving.metric("authz_policy_info", policy_version=version(serving)) == 1
    assert serving.metric("authz_policy_reloads_total", outcome="loaded") == 2
    assert f"serving {version(serving)}" in serving.log


def test_a_checkout_is_loaded_as_its_commit(repository: Path) -> None:
    """Another branch that is checked out is served, and answers name its commit."""
    with running_sidecar(*QUICK, policies=repository / "policies") as sidecar:
        assert sidecar.policy_version == git(repository, "rev-parse", "main")
        git(repository, "switch", "--quiet", "open")
        until(lambda: bob_reads(sidecar))
        until(lambda: version(sidecar) == git(repository, "rev-parse", "open"))


def test_a_commit_that_changes_nothing_else_changes_the_version(repository: Path) -> None:
    """A commit with the same policies is noticed: answers name it, and nothing is compiled for it."""
    with running_sidecar(*QUICK, policies=repository / "policies") as sidecar:
        git(repository, "commit", "--quiet", "--allow-empty", "--message=nothing")
        head = git(repository, "rev-parse", "HEAD")
        until(lambda: version(sidecar) == head)
        until(lambda: sidecar.metric("authz_policy_reloads_total", outcome="renamed") == 1)
        assert sidecar.metric("authz_policy_reloads_total", outcome="loaded") == 1


def test_uncommitted_changes_become_a_commit(repository: Path) -> None:
    """An edit is served as `+dirty`, and as the commit once it is committed."""
    with running_sidecar(*QUICK, policies=repository / "policies") as sidecar:
        rows = repository / "policies" / "policy.csv"
        replace_rows(repository / "policies", rows.read_text() + BOB_READS)
        until(lambda: bob_reads(sidecar))
        assert version(sidecar).startswith(f"{sidecar.policy_version}+dirty.")
        git(repository, "commit", "--quiet", "--all", "--message=three")
        until(lambda: version(sidecar) == git(repository, "rev-parse", "HEAD"))


def test_a_link_that_is_turned_is_followed(tmp_path: Path) -> None:
    """A link to another directory, as git-sync leaves it, changes what is served at once and as a whole."""
    copy_bundle(tmp_path / "one")
    copy_bundle(tmp_path / "two", BOB_READS)
    current = tmp_path / "current"
    current.symlink_to("one")
    with running_sidecar(*QUICK, policies=current) as sidecar:
        assert not bob_reads(sidecar)
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(current)
        until(lambda: bob_reads(sidecar))


def test_the_swap_of_a_config_map_is_followed(tmp_path: Path) -> None:
    """Kubernetes writes a new hidden directory and turns `..data` to it; the links that are read stay as they are."""
    mount = tmp_path / "mount"
    copy_bundle(mount / "..one")
    copy_bundle(mount / "..two", BOB_READS)
    (mount / "..data").symlink_to("..one")
    for name in ("model.conf", "policy.csv"):
        (mount / name).symlink_to(f"..data/{name}")
    with running_sidecar(*QUICK, policies=mount) as sidecar:
        assert not bob_reads(sidecar)
        (mount / "..next").symlink_to("..two")
        (mount / "..next").replace(mount / "..data")
        until(lambda: bob_reads(sidecar))


def test_nothing_is_loaded_while_git_writes(repository: Path) -> None:
    """While `index.lock` exists a change waits, and is loaded when it is gone."""
    with running_sidecar(*QUICK, policies=repository / "policies") as sidecar:
        lock = repository / ".git" / "index.lock"
        lock.touch()
        rows = repository / "policies" / "policy.csv"
        replace_rows(repository / "policies", rows.read_text() + BOB_READS)
        # Far longer than a reload takes otherwise.
        for _ in range(1_000):
            assert not bob_reads(sidecar)
        lock.unlink()
        until(lambda: bob_reads(sidecar))


def test_a_bundle_with_an_error_is_refused_whole(policies: Path, serving: Sidecar) -> None:
    """The last good policy goes on; `/readyz`, metrics and the log say what is served, what was refused and why."""
    good = (policies / "policy.csv").read_text()
    replace_rows(policies, good + BOB_READS + "p, editor, acme, folder:1, read, maybe\n")
    until(lambda: "refused" in serving.ready()[1])
    assert not bob_reads(serving)
    assert version(serving) == serving.policy_version
    status, body = serving.ready()
    assert (status, body["status"], body["policy_version"]) == (200, "ready", serving.policy_version)
    refused = body["refused"]["policy_version"]
    line = len(good.splitlines()) + 2
    assert body["refused"]["why"].startswith(f"policy.csv:{line}:")
    sentence = f"serving {serving.policy_version}, refused {refused} because policy.csv:{line}:"
    assert body["detail"].startswith(sentence)
    assert sentence in serving.log
    assert serving.metric("authz_policy_refused") == 1
    assert serving.metric("authz_policy_refusal_info", policy_version=refused) == 1
    assert serving.metric("authz_policy_reloads_total", outcome="refused") == 1
    health = health_pb2_grpc.HealthStub(serving.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == States.SERVING

    replace_rows(policies, good + BOB_READS)
    until(lambda: bob_reads(serving))
    until(lambda: "refused" not in serving.ready()[1])
    assert serving.metric("authz_policy_refused") == 0


def test_a_refused_change_that_is_taken_back_is_forgotten(policies: Path, serving: Sidecar) -> None:
    """When the directory holds again what is served, nothing counts as refused, and the version stays."""
    good = (policies / "policy.csv").read_text()
    replace_rows(policies, good + "nonsense\n")
    until(lambda: "refused" in serving.ready()[1])
    replace_rows(policies, good)
    until(lambda: "refused" not in serving.ready()[1])
    assert version(serving) == serving.policy_version
    assert serving.metric("authz_policy_reloads_total", outcome="loaded") == 1


def test_a_directory_that_disappears_is_refused(policies: Path, serving: Sidecar) -> None:
    """Without its directory a sidecar goes on with what it has, says so, and loads the directory when it is back."""
    policies.rename(policies.with_name("elsewhere"))
    until(lambda: "refused" in serving.ready()[1])
    assert serving.stub.Check(check_of()).allowed
    copy_bundle(policies, BOB_READS)
    until(lambda: bob_reads(serving))


def test_a_sidecar_can_wait_for_its_policies(tmp_path: Path) -> None:
    """With `--wait-for-policies` it starts without any: denied, not ready, NOT_SERVING, until they come."""
    policies = tmp_path / "policies"
    with running_sidecar(*QUICK, "--wait-for-policies", policies=policies) as sidecar:
        assert sidecar.policy_version == "none"
        watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == States.NOT_SERVING
        status, body = sidecar.ready()
        assert (status, body["why"]) == (503, "no policy is loaded")
        assert body["detail"].startswith("serving no policy, refused a bundle that cannot be read because ")
        answer = sidecar.stub.Check(check_of())
        assert (answer.allowed, answer.reason) == (False, check_pb2.REASON_NO_POLICY)
        copy_bundle(tmp_path / "ready").rename(policies)
        assert next(watch).status == States.SERVING
        assert sidecar.stub.Check(check_of()).allowed
        until(lambda: sidecar.ready()[0] == 200)


def test_a_broken_bundle_that_is_waited_for_is_told(tmp_path: Path) -> None:
    """With `--wait-for-policies` a bundle with an error is NOT_SERVING, and SERVING once it is mended."""
    policies = copy_bundle(tmp_path / "policies", "nonsense\n")
    with running_sidecar(*QUICK, "--wait-for-policies", policies=policies) as sidecar:
        watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == States.NOT_SERVING
        assert "policy.csv" in sidecar.ready()[1]["detail"]
        replace_rows(policies, (BUNDLE / "policy.csv").read_text())
        assert next(watch).status == States.SERVING


def test_a_hangup_reads_the_policies_anew(policies: Path) -> None:
    """With `--watch-interval 0` nothing is taken without a SIGHUP, before the first one and after it."""
    rows = (policies / "policy.csv").read_text()
    with running_sidecar("--watch-interval", "0", policies=policies) as sidecar:
        for changed in (rows + BOB_READS, rows):
            served = version(sidecar)
            replace_rows(policies, changed)
            for _ in range(500):
                assert version(sidecar) == served
            sidecar.process.send_signal(signal.SIGHUP)
            until(partial(differs, sidecar, served))
        assert not bob_reads(sidecar)


def test_a_stop_during_a_reload_ends_well(policies: Path) -> None:
    """SIGTERM while a changed bundle is compiled ends the server with exit code 0."""
    with running_sidecar(*QUICK, policies=policies) as sidecar:
        replace_rows(policies, (policies / "policy.csv").read_text() + BOB_READS)
        until(lambda: children_of(sidecar.process.pid))
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert "Traceback" not in sidecar.log


def test_a_damaged_repository_does_not_end_the_server(repository: Path) -> None:
    """With a HEAD that cannot be read the sidecar goes on answering, and follows changes."""
    with running_sidecar(*QUICK, policies=repository / "policies") as sidecar:
        (repository / ".git" / "HEAD").write_bytes(b"ref: refs/heads/ma\0in\n")
        rows = repository / "policies" / "policy.csv"
        replace_rows(repository / "policies", rows.read_text() + BOB_READS)
        until(lambda: bob_reads(sidecar))
        assert version(sidecar).startswith("sha256:")


def test_it_starts_while_git_writes_only_when_git_ends(repository: Path) -> None:
    """A lock that stays keeps a sidecar from starting, which names it and what to do."""
    (repository / ".git" / "index.lock").touch()
    command = ("-m", "authz_sidecar", "serve", "--policies", str(repository / "policies"), *FREE_PORTS)
    ended = subprocess.run((sys.executable, *command), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "index.lock` exists" in ended.stderr
    assert "remove the file" in ended.stderr
