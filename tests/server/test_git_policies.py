"""Policies that are served straight from a git repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest

from authz_sidecar._proto.authz.v1 import check_pb2, policy_service_pb2
from authz_sidecar._proto.authz.v1.policy_service_pb2 import (
    REFRESH_OUTCOME_CURRENT,
    REFRESH_OUTCOME_FAILED,
    REFRESH_OUTCOME_REFUSED,
    RefreshResponse,
)
from authz_sidecar._proto.authz.v1.policy_service_pb2_grpc import PolicyServiceStub
from tests.server.sidecar import (
    BUNDLE,
    FREE_PORTS,
    Sidecar,
    check_of,
    environment,
    failure_of,
    running_sidecar,
    until,
)
from tests.server.test_workers import answers
from tests.sources.git_server import GitServer, git

BOB_READS = "p, visitor, acme, folder:*, read, allow\n"
BROKEN = "nonsense\n"
# Looks are asked for, one by one.
ASKED = ("--git-interval", "0")
SECRET = "s3cr3t-and-long"


class Policies:
    """A repository whose branch `main` has the bundle of the server tests in `policies/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(BUNDLE, root / "policies")
        git(root, "init", "--quiet", "--initial-branch=main")
        self.first = self.commit("")

    def commit(self, rows: str, *options: str) -> str:
        """Add rows of policy, and commit; the id."""
        with (self.root / "policies" / "policy.csv").open("a") as file:
            file.write(rows)
        git(self.root, "add", ".")
        git(self.root, *options, "commit", "--quiet", "--allow-empty", "--message=more")
        return self.head

    def commit_all(self) -> str:
        """Commit what is there; the id."""
        git(self.root, "commit", "--quiet", "--all", "--message=more")
        return self.head

    @property
    def head(self) -> str:
        """The newest commit."""
        return git(self.root, "rev-parse", "HEAD")

    def url(self, **parameters: str) -> str:
        """Where it is served from."""
        query = "&".join(f"{name}={value}" for name, value in {"ref": "main", "path": "policies", **parameters}.items())
        return f"git+file://{self.root}?{query}"


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """A repository of one's own."""
    return Policies(tmp_path / "repository")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where clones are kept."""
    return tmp_path / "cache"


@pytest.fixture
def server(policies: Policies) -> Iterator[GitServer]:
    """The repository over HTTP."""
    with GitServer(policies.root.parent).running() as running:
        yield running


def serving(url: str, cache: Path, *options: str, **settings: str) -> AbstractContextManager[Sidecar]:
    """A sidecar on a repository, which looks at it when it is asked to."""
    # The last `--policies` counts.
    return running_sidecar(*ASKED, "--policies", url, "--git-cache", str(cache), *options, policies=BUNDLE, **settings)


def over_http(server: GitServer) -> str:
    """The URL of the repository on the server."""
    return f"git+http://127.0.0.1:{server.port}/repository/.git?ref=main&path=policies"


def refresh(sidecar: Sidecar) -> RefreshResponse:
    """Have the sidecar look now."""
    return PolicyServiceStub(sidecar.channel).Refresh(policy_service_pb2.RefreshRequest(), timeout=60)


def bob_reads(sidecar: Sidecar) -> bool:
    """Whether the policy that is served lets bob read."""
    return sidecar.stub.Check(check_of("bob")).allowed


def refusal(*options: str, **settings: str) -> str:
    """What a server that does not start says."""
    ended = subprocess.run(
        (sys.executable, "-m", "authz_sidecar", "serve", *FREE_PORTS, *ASKED, *options),
        capture_output=True,
        text=True,
        check=False,
        env=environment() | settings,
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    return ended.stderr


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line."""
    return subprocess.run(
        (sys.executable, "-m", "authz_sidecar", *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


def test_a_branch_is_served_and_followed(policies: Policies, cache: Path) -> None:
    """The version is the newest commit of the branch, and a look that is asked for brings the next one."""
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == policies.first
        assert not bob_reads(sidecar)
        newer = policies.commit(BOB_READS)
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version, answer.found_version, answer.why) == (
            REFRESH_OUTCOME_CURRENT,
            newer,
            newer,
            "",
        )
        assert bob_reads(sidecar)
        assert sidecar.stub.Check(check_of()).policy_version == newer
        assert sidecar.ready() == (200, {"status": "ready", "policy_version": newer})


def test_two_sidecars_on_one_commit_name_it_alike(policies: Policies, server: GitServer, cache: Path) -> None:
    """Over HTTP and from a path, with a cache in common, the version is the commit; a checkout of it has the same."""
    with (
        serving(policies.url(), cache) as one,
        serving(over_http(server), cache) as two,
        serving(over_http(server), cache) as three,
        running_sidecar(policies=policies.root / "policies") as four,
    ):
        assert {one.policy_version, two.policy_version, three.policy_version, four.policy_version} == {policies.first}


def test_polling_brings_changes_by_itself(policies: Policies, server: GitServer, cache: Path) -> None:
    """With an interval nobody needs to ask; `authz_policy_looks_total` counts the looks."""
    with running_sidecar(
        "--policies", over_http(server), "--git-cache", str(cache), "--git-interval", "0.2"
    ) as sidecar:
        policies.commit(BOB_READS)
        until(lambda: bob_reads(sidecar))
        assert sidecar.metric("authz_policy_looks_total", outcome="ok") >= 2


def test_a_hangup_looks_at_the_repository(policies: Policies, cache: Path) -> None:
    """SIGHUP has the repository looked at."""
    with serving(policies.url(), cache) as sidecar:
        policies.commit(BOB_READS)
        sidecar.process.send_signal(signal.SIGHUP)
        until(lambda: bob_reads(sidecar))


def test_a_commit_with_the_same_bundle_is_not_compiled(policies: Policies, cache: Path) -> None:
    """A commit that changes nothing in the folder is served under its own name, without a reload."""
    with serving(policies.url(), cache) as sidecar:
        newer = policies.commit("")
        assert refresh(sidecar).policy_version == newer
        assert sidecar.metric("authz_policy_reloads_total", outcome="renamed") == 1
        assert sidecar.metric("authz_policy_reloads_total", outcome="loaded") == 1


def test_a_broken_bundle_at_the_new_commit_is_refused(policies: Policies, cache: Path) -> None:
    """The last good commit goes on, the answer says what was found and why it is not served, and mending it helps."""
    with serving(policies.url(), cache) as sidecar:
        broken = policies.commit(BROKEN)
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version, answer.found_version) == (
            REFRESH_OUTCOME_REFUSED,
            policies.first,
            broken,
        )
        assert "policy.csv" in answer.why
        assert sidecar.stub.Check(check_of()).policy_version == policies.first
        status, body = sidecar.ready()
        assert (status, body["refused"]["policy_version"]) == (200, broken)
        # It still stands when it is asked for again.
        assert refresh(sidecar).outcome == REFRESH_OUTCOME_REFUSED
        git(policies.root, "revert", "--no-edit", "HEAD")
        assert refresh(sidecar).policy_version == policies.head
        assert "refused" not in sidecar.ready()[1]


def test_a_folder_that_is_gone_is_refused(policies: Policies, cache: Path) -> None:
    """A commit without the folder is refused, by name."""
    with serving(policies.url(), cache) as sidecar:
        git(policies.root, "mv", "policies", "elsewhere")
        gone = policies.commit_all()
        answer = refresh(sidecar)
        assert (answer.outcome, answer.found_version) == (REFRESH_OUTCOME_REFUSED, gone)
        assert "has no folder `policies`" in answer.why
        assert sidecar.stub.Check(check_of()).allowed


def test_a_remote_that_is_gone_is_told_and_survived(policies: Policies, server: GitServer, cache: Path) -> None:
    """The last good policy goes on; `/readyz`, metrics and the log say that nothing new can be seen, and why."""
    with serving(over_http(server), cache) as sidecar:
        server.stop()
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version, answer.found_version) == (
            REFRESH_OUTCOME_FAILED,
            policies.first,
            "",
        )
        assert "connection refused" in answer.why.lower()
        assert sidecar.stub.Check(check_of()).allowed
        status, body = sidecar.ready()
        assert (status, body["status"]) == (200, "ready")
        assert "connection refused" in body["unseen"]["why"].lower()
        assert sidecar.metric("authz_policy_looks_total", outcome="failed") == 1
        assert sidecar.metric("authz_policy_staleness_seconds") > 0
        assert "the policies cannot be looked at" in sidecar.log


def test_past_the_allowed_staleness_it_is_not_ready(server: GitServer, cache: Path) -> None:
    """With `--max-staleness` `/readyz` fails once the repository was not seen for so long, and recovers with it."""
    with serving(over_http(server), cache, "--max-staleness", "0.5") as sidecar:
        server.password = "changed"
        assert refresh(sidecar).outcome == REFRESH_OUTCOME_FAILED
        until(lambda: sidecar.ready()[0] == 503)
        body = sidecar.ready()[1]
        assert body["why"].startswith("the policies have not been seen for ")
        assert "wants credentials" in body["unseen"]["why"]
        # Checks are answered all the same.
        assert sidecar.stub.Check(check_of()).allowed
        server.password = ""
        refresh(sidecar)
        until(lambda: sidecar.ready()[0] == 503)
        refresh(sidecar)
        assert "unseen" not in sidecar.ready()[1]


def test_a_remote_that_says_nothing_is_given_up(server: GitServer, cache: Path) -> None:
    """One look takes `--git-timeout` at most, and leaves no process behind."""
    with serving(over_http(server), cache, "--git-timeout", "1") as sidecar:
        server.talking.clear()
        answer = refresh(sidecar)
        assert (answer.outcome, "within 1 s" in answer.why) == (REFRESH_OUTCOME_FAILED, True)
        tasks = Path(f"/proc/{sidecar.process.pid}/task")
        until(lambda: not any((task / "children").read_text() for task in tasks.iterdir()))


def test_a_stop_ends_a_look_that_goes_on(server: GitServer, cache: Path) -> None:
    """SIGTERM while the remote says nothing ends the server with exit code 0, and whoever waits is told."""
    with serving(over_http(server), cache) as sidecar:
        asked = len(server.seen)
        server.talking.clear()
        stub = PolicyServiceStub(sidecar.channel)
        call = stub.Refresh.future(policy_service_pb2.RefreshRequest(), timeout=60)
        tasks = Path(f"/proc/{sidecar.process.pid}/task")
        until(lambda: any((task / "children").read_text() for task in tasks.iterdir()))
        sidecar.process.terminate()
        assert sidecar.wait() == (0, "")
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert len(server.seen) == asked


def test_a_damaged_clone_is_made_anew(policies: Policies, server: GitServer, cache: Path) -> None:
    """What cannot be read from the cache is fetched again, and the sidecar goes on following."""
    with serving(over_http(server), cache) as sidecar:
        for pack in cache.rglob("*.pack"):
            pack.chmod(0o600)
            pack.write_bytes(b"PACK" + bytes(40))
        for index in cache.rglob("*.idx"):
            index.chmod(0o600)
            index.write_bytes(b"damaged")
        newer = policies.commit(BOB_READS)
        until(lambda: refresh(sidecar).policy_version == newer)
        assert bob_reads(sidecar)


def test_what_was_served_last_is_served_again_without_the_remote(
    policies: Policies, server: GitServer, cache: Path
) -> None:
    """A restart while the remote is gone starts from the clone, says so, and follows again once it is back."""
    with serving(over_http(server), cache):
        pass
    server.password = "lost"
    with serving(over_http(server), cache) as sidecar:
        assert sidecar.policy_version == policies.first
        assert "wants credentials" in sidecar.ready()[1]["unseen"]["why"]
        newer = policies.commit(BOB_READS)
        server.password = ""
        assert refresh(sidecar).policy_version == newer
    server.password = "lost"
    assert "wants credentials" in refusal("--policies", over_http(server), "--git-cache", str(cache / "empty"))


def test_a_rewritten_history_is_refused(policies: Policies, cache: Path) -> None:
    """A tip that does not contain what is served is refused and told, also after a restart; its descendants as well."""
    served = policies.commit("")
    with serving(policies.url(), cache) as sidecar:
        git(policies.root, "reset", "--quiet", "--hard", policies.first)
        rewritten = policies.commit(BOB_READS)
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version, answer.found_version) == (
            REFRESH_OUTCOME_REFUSED,
            served,
            rewritten,
        )
        assert f"does not contain {served[:12]}" in answer.why
        assert not bob_reads(sidecar)
        assert sidecar.ready()[1]["refused"]["policy_version"] == rewritten
        assert sidecar.metric("authz_policy_refused") == 1
        assert sidecar.metric("authz_policy_reloads_total", outcome="refused") == 1
        assert "was rewritten" in sidecar.log
        after = policies.commit("")
        assert refresh(sidecar).found_version == after
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == served
        assert sidecar.ready()[1]["refused"]["policy_version"] == after
        # Back on what is served.
        git(policies.root, "reset", "--quiet", "--hard", served)
        assert refresh(sidecar).outcome == REFRESH_OUTCOME_CURRENT
        assert "refused" not in sidecar.ready()[1]


def test_a_rewritten_history_is_served_if_that_is_meant(policies: Policies, cache: Path) -> None:
    """With `--allow-rewind` the new tip is served, and remembered."""
    policies.commit("")
    with serving(policies.url(), cache, "--allow-rewind") as sidecar:
        git(policies.root, "reset", "--quiet", "--hard", policies.first)
        rewritten = policies.commit(BOB_READS)
        assert refresh(sidecar).policy_version == rewritten
        assert bob_reads(sidecar)
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == rewritten


def test_a_commit_is_pinned(policies: Policies, cache: Path) -> None:
    """`--at` serves a commit of the branch's history and stays on it, also behind what was served last."""
    newer = policies.commit(BOB_READS)
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == newer
    with serving(policies.url(), cache, "--at", policies.first) as sidecar:
        assert sidecar.policy_version == policies.first
        policies.commit("")
        assert refresh(sidecar).policy_version == policies.first
        assert not bob_reads(sidecar)
    # And on from there.
    with serving(policies.url(), cache) as sidecar:
        assert sidecar.policy_version == policies.head


def test_a_commit_beside_the_history_cannot_be_pinned(policies: Policies, cache: Path) -> None:
    """What is not in the history of the ref is no commit to pin, whether it exists elsewhere or nowhere."""
    git(policies.root, "switch", "--quiet", "--create=other")
    beside = policies.commit(BOB_READS)
    for commit in (beside, "0" * 40):
        said = refusal("--policies", policies.url(), "--git-cache", str(cache), "--at", commit)
        assert f"{commit[:12]}, which is not in the history of `main`" in said
    assert "`--at` is not a commit in full" in refusal("--policies", policies.url(), "--at", "9f0c1d")


def test_workers_follow_a_repository(policies: Policies, server: GitServer, cache: Path) -> None:
    """Any worker takes the call, all serve what was found, and know what it contains."""
    with serving(over_http(server), cache, "--workers", "2") as sidecar:
        newer = policies.commit(BOB_READS)
        assert refresh(sidecar).policy_version == newer
        given = answers(sidecar, 20, "bob")
        assert {(version, allowed) for _, version, allowed in given} == {(newer, True)}
        assert len({process for process, _, _ in given}) == 2
        last = policies.commit("")
        assert refresh(sidecar).policy_version == last
        for minimum in (policies.first, newer, last):
            assert sidecar.stub.Check(check_of(minimum_policy_version=minimum)).policy_version == last


def test_many_that_ask_at_once_cost_one_look(policies: Policies, server: GitServer, cache: Path) -> None:
    """Calls that wait for a look are answered by one, and more than the limit are refused at once."""
    with serving(over_http(server), cache) as sidecar:
        server.talking.clear()
        stub = PolicyServiceStub(sidecar.channel)
        first = stub.Refresh.future(policy_service_pb2.RefreshRequest(), timeout=60)
        tasks = Path(f"/proc/{sidecar.process.pid}/task")
        until(lambda: any((task / "children").read_text() for task in tasks.iterdir()))
        others = [stub.Refresh.future(policy_service_pb2.RefreshRequest(), timeout=60) for _ in range(19)]
        failure = failure_of(lambda: refresh(sidecar))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        before = sidecar.metric("authz_policy_looks_total", outcome="ok")
        newer = policies.commit(BOB_READS)
        server.talking.set()
        assert first.result().outcome == REFRESH_OUTCOME_CURRENT
        # These were asked for during the first look, so that another one has to be taken, and one suffices.
        assert {other.result().policy_version for other in others} == {newer}
        assert sidecar.metric("authz_policy_looks_total", outcome="ok") == before + 2


def test_a_directory_is_looked_at_when_asked(tmp_path: Path) -> None:
    """The call works for a directory, too: what it holds is served or refused when it is answered."""
    policies = tmp_path / "policies"
    shutil.copytree(BUNDLE, policies)
    rows = (policies / "policy.csv").read_text()
    with running_sidecar("--watch-interval", "0", policies=policies) as sidecar:
        (policies / "policy.csv").write_text(rows + BOB_READS)
        answer = refresh(sidecar)
        assert (answer.outcome, answer.policy_version) == (REFRESH_OUTCOME_CURRENT, answer.found_version)
        assert bob_reads(sidecar)
        (policies / "policy.csv").write_text(rows + BROKEN)
        answer = refresh(sidecar)
        assert answer.outcome == REFRESH_OUTCOME_REFUSED
        assert answer.found_version not in {answer.policy_version, ""}
        asked = command("refresh", "--server", sidecar.grpc)
        assert (asked.returncode, asked.stderr) == (1, "")
        assert asked.stdout.startswith(f"refused policy_version={answer.policy_version} found_version=")
        (policies / "policy.csv").write_text(rows)
        asked = command("refresh", "--server", sidecar.grpc, "--format", "json")
        assert asked.returncode == 0
        assert json.loads(asked.stdout)["outcome"] == "current"


def test_the_call_can_be_switched_off() -> None:
    """With `--no-refresh-rpc` the call is UNIMPLEMENTED, and the command says so."""
    with running_sidecar("--no-refresh-rpc") as sidecar:
        assert failure_of(lambda: refresh(sidecar)).code is grpc.StatusCode.UNIMPLEMENTED
        asked = command("refresh", "--server", sidecar.grpc)
        assert (asked.returncode, asked.stdout) == (2, "")
        assert "does not take this call" in asked.stderr


def test_credentials_are_given_and_never_shown(
    policies: Policies, server: GitServer, cache: Path, tmp_path: Path
) -> None:
    """The file's user and password reach the remote, and stand in no command line, environment, log, error or page."""
    server.password = SECRET
    file = tmp_path / "credentials"
    file.touch(mode=0o600)
    file.write_text(f"https://elsewhere:{SECRET}x@example.org\nhttp://user:{SECRET}@127.0.0.1:{server.port}\n")
    with serving(over_http(server), cache, "--git-credentials", str(file), "--log-level", "debug") as sidecar:
        assert server.seen[-1] == f"user:{SECRET}"
        policies.commit(BOB_READS)
        server.talking.clear()
        stub = PolicyServiceStub(sidecar.channel)
        call = stub.Refresh.future(policy_service_pb2.RefreshRequest(), timeout=60)
        tasks = Path(f"/proc/{sidecar.process.pid}/task")
        until(lambda: any((task / "children").read_text() for task in tasks.iterdir()))
        pids = [
            sidecar.process.pid,
            *(int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()),
        ]
        shown = "".join((Path(f"/proc/{pid}") / name).read_text() for pid in pids for name in ("cmdline", "environ"))
        server.password = "another"
        server.talking.set()
        call.result()
        shown += refresh(sidecar).why + sidecar.get("/metrics")[1] + sidecar.get("/readyz")[1] + sidecar.log
        assert "wants credentials" in shown
        assert SECRET not in shown
        file.chmod(0o644)
        assert "others may read or change" in refresh(sidecar).why


def test_credentials_of_the_environment_stay_with_the_server(server: GitServer, cache: Path) -> None:
    """A password in the environment reaches the remote, and then neither the server nor a process that it starts shows
    it as its environment."""
    server.password = SECRET
    with serving(
        over_http(server),
        cache,
        "--workers",
        "2",
        AUTHZ_GIT_USERNAME="user",
        AUTHZ_GIT_PASSWORD=SECRET,
    ) as sidecar:
        assert server.seen[-1] == f"user:{SECRET}"
        tasks = Path(f"/proc/{sidecar.process.pid}/task")
        children = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        assert children
        for pid in (sidecar.process.pid, *children):
            assert SECRET not in Path(f"/proc/{pid}/environ").read_text()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("git+https://user:secret@example.org/p.git", "holds a user or a password"),
        ("git+https://secret@example.org/p.git", "holds a user or a password"),
        ("https://user:secret@example.org/p.git", "holds a user or a password"),
        ("git+http://example.org/p.git", "is neither encrypted nor authenticated"),
        ("git+ssh://-oProxyCommand=secret/p.git", "is not a host"),
        ("git+https://example.org/p.git?path=../secret", "is not a folder of the repository"),
    ],
)
def test_a_url_that_must_not_be_used_is_refused(url: str, said: str) -> None:
    """Such a URL ends the command with what is wrong and what to do, and without the secret in it."""
    told = refusal("--policies", url)
    assert said in told
    assert "help: " in told
    assert "user:secret" not in told
    assert "secret@" not in told


def test_a_candidate_is_not_what_was_served_last(policies: Policies, server: GitServer, cache: Path) -> None:
    """A candidate on the ref that is served does not take the place of a pinned commit, on which a server starts
    without the remote."""
    policies.commit(BOB_READS)
    pinned = ("--at", policies.first)
    with serving(over_http(server), cache, *pinned, "--shadow", "main") as sidecar:
        until(lambda: "authz_shadow_policy_info{" in sidecar.get("/metrics")[1])
    server.stop()
    with serving(over_http(server), cache, *pinned) as sidecar:
        assert sidecar.policy_version == policies.first


def test_a_cache_that_others_may_enter_is_refused(policies: Policies, cache: Path) -> None:
    """Who may write the clone decides what is served, so that its directory must be private."""
    cache.mkdir(mode=0o755)
    cache.chmod(0o755)
    assert "chmod 0700" in refusal("--policies", policies.url(), "--git-cache", str(cache))
    cache.chmod(0o700)
    with serving(policies.url(), cache):
        for folder, _, _ in os.walk(cache):
            assert not Path(folder).stat().st_mode & 0o077


def test_without_a_cache_of_its_own_nothing_is_left_behind(policies: Policies, tmp_path: Path) -> None:
    """Where the user has no cache directory the clone is made for this run, and removed at its end."""
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "home").chmod(0o700)
    settings = {"XDG_CACHE_HOME": "relative", "HOME": "", "TMPDIR": str(tmp_path / "tmp")}
    with running_sidecar(*ASKED, "--policies", policies.url(), policies=BUNDLE, **settings) as sidecar:
        assert sidecar.policy_version == policies.first
        assert list((tmp_path / "tmp").glob("authz-git-*"))
    assert not list((tmp_path / "tmp").glob("authz-git-*"))


def test_a_missing_ref_is_told_with_a_guess(policies: Policies, server: GitServer, cache: Path) -> None:
    """A branch that does not exist keeps the server from starting; one that goes away does not stop it."""
    for url in (policies.url(ref="mian"), over_http(server).replace("ref=main", "ref=mian")):
        said = refusal("--policies", url, "--git-cache", str(cache))
        assert "no branch and no tag `mian`" in said
        assert "did you mean `main`?" in said
    with serving(policies.url(), cache) as sidecar:
        git(policies.root, "branch", "--move", "main", "trunk")
        answer = refresh(sidecar)
        assert (answer.outcome, "no branch and no tag `main`" in answer.why) == (REFRESH_OUTCOME_FAILED, True)
        assert sidecar.stub.Check(check_of()).allowed


def test_errors_of_a_bundle_in_git_are_shown_at_the_start(policies: Policies, cache: Path) -> None:
    """A commit whose bundle does not load keeps the server from starting, with each error at its place in git."""
    policies.commit(BROKEN)
    said = refusal("--policies", policies.url(), "--git-cache", str(cache))
    assert "policies/policy.csv:" in said
    assert "does not load: 1 error" in said


def test_it_can_wait_for_a_repository(policies: Policies, server: GitServer, cache: Path) -> None:
    """With `--wait-for-policies` it starts while the remote cannot be had, and says why it is not ready."""
    server.password = "later"
    with serving(over_http(server), cache, "--wait-for-policies") as sidecar:
        assert sidecar.policy_version == "none"
        status, body = sidecar.ready()
        assert (status, "wants credentials" in body["unseen"]["why"]) == (503, True)
        assert sidecar.stub.Check(check_of()).reason == check_pb2.REASON_NO_POLICY
        server.password = ""
        assert refresh(sidecar).policy_version == policies.first
        assert sidecar.ready()[0] == 200
