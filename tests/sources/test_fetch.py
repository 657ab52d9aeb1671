"""Looking at a remote repository: over HTTP from git's own server, over `ssh`, and from a path."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz_sidecar.sources.cache import GitCache
from authz_sidecar.sources.credentials import Credentials
from authz_sidecar.sources.fetch import Fetch, FetchOrder, FetchReport
from authz_sidecar.sources.remote import parse_remote
from authz_sidecar.sources.transport import SshFiles, ssh_command
from tests.sources.git_server import GitServer, git

# Stands in for the `ssh` program, since not every machine that tests has a server for it: it writes down how it was
# called, and runs the command that it was to run at the other end.
FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" >"$0.called"
for command; do :; done
exec sh -c "$command"
"""


class Repository:
    """A repository with commits on `main`, and whoever fetches it into `cache`."""

    def __init__(self, root: Path, cache: Path) -> None:
        root.mkdir()
        self.root = root
        self.cache = cache
        git(root, "init", "--quiet", "--initial-branch=main")
        self.first = self.commit("one")

    def commit(self, content: str) -> str:
        """Commit a file of this content; the id."""
        (self.root / "file").write_text(content)
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message=more")
        return git(self.root, "rev-parse", "HEAD")

    def look(self, url: str, *, bytes: int = 1 << 30, **order: Any) -> FetchReport:
        """What a look at the URL finds."""
        remote = parse_remote(url)
        return Fetch(FetchOrder(remote, str(self.cache), order.pop("seconds", 30), bytes, **order)).result()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of one's own."""
    return Repository(tmp_path / "repository", tmp_path / "cache")


@pytest.fixture
def server(repository: Repository) -> Iterator[GitServer]:
    """The repository over HTTP."""
    with GitServer(repository.root.parent).running() as running:
        yield running


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake `ssh`, first on the path."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def http(server: GitServer, ref: str = "main") -> str:
    """The URL of the repository on the server."""
    return f"git+http://127.0.0.1:{server.port}/repository/.git" + (f"?ref={ref}" if ref else "")


@pytest.mark.parametrize("kind", ["branch", "tag", "annotated", "commit", "full", "default"])
@pytest.mark.usefixtures("ssh")
def test_a_ref_of_any_kind_is_found(repository: Repository, server: GitServer, kind: str) -> None:
    """A branch, a tag of both kinds, a commit in full, a full name and the default branch, over every transport."""
    git(repository.root, "tag", "light")
    git(repository.root, "tag", "--annotate", "--message=release", "v1")
    newest = repository.commit("two")
    ref, wanted = {
        "branch": ("main", newest),
        "tag": ("light", repository.first),
        "annotated": ("v1", repository.first),
        "commit": (repository.first, repository.first),
        "full": ("refs/heads/main", newest),
        "default": ("", newest),
    }[kind]
    query = f"?ref={ref}" if ref else ""
    for url in (
        http(server, ref),
        f"git+file://{repository.root}{query}",
        f"git+ssh://git@host{repository.root}{query}",
    ):
        for _ in range(2):
            report = repository.look(url)
            assert (report.commit, report.problem, report.refused, report.cloned) == (wanted, "", "", "")


def test_a_branch_comes_before_a_tag_of_its_name(repository: Repository, server: GitServer) -> None:
    """Who may push tags may not stand in for the branch."""
    git(repository.root, "tag", "main")
    newest = repository.commit("two")
    assert repository.look(http(server)).commit == newest
    assert repository.look(f"git+file://{repository.root}?ref=main").commit == newest


def test_only_what_is_new_is_fetched(repository: Repository, server: GitServer) -> None:
    """A look that finds nothing new fetches nothing, and a new commit is one fetch."""
    for content, fetches in (("one", 1), ("one", 2), (None, 2), ("three", 3)):
        if content is not None:
            repository.commit(content)
        assert not repository.look(http(server)).problem
        assert server.fetches == fetches


@pytest.mark.parametrize(
    ("fault", "order", "said"),
    [
        ({"breaks_after": 100}, {}, "does not answer as it should"),
        ({"password": "wanted"}, {}, "wants credentials, or refuses those that it is given"),
        ({"password": "wanted"}, {"credentials": Credentials("user", "wrong")}, "wants credentials"),
        ({"redirects_to": "http://localhost:1"}, {}, "redirects to http://localhost:1, which is not followed"),
        ({}, {"bytes": 100}, "the remote sends more than 100 bytes"),
    ],
    ids=["broken", "no-credentials", "wrong-credentials", "redirect", "too-large"],
)
def test_a_fault_of_the_remote_is_told_and_leaves_nothing_half(
    repository: Repository, server: GitServer, fault: dict[str, Any], order: dict[str, Any], said: str
) -> None:
    """The problem is said in words, without secrets, and the next look finds all."""
    for name, value in fault.items():
        setattr(server, name, value)
    report = repository.look(http(server), **order)
    assert said in report.problem
    assert (report.commit, "wrong" in report.problem + report.help) == ("", False)
    server.breaks_after, server.password, server.redirects_to = None, "", ""
    assert repository.look(http(server)).commit == repository.first


def test_a_remote_that_says_nothing_is_bounded(repository: Repository, server: GitServer) -> None:
    """A look ends when its time is over, whatever it waits for."""
    server.talking.clear()
    assert repository.look(http(server), seconds=0.5).problem == "the remote was not fetched within 0.5 s"


def test_a_remote_that_is_no_git_server(repository: Repository, server: GitServer) -> None:
    """A path without a repository, and a port where nobody listens, are told apart."""
    assert "there is no repository `/nothing`" in repository.look(f"git+http://127.0.0.1:{server.port}/nothing").problem
    server.stop()
    assert "`127.0.0.1` cannot be reached: [Errno 111] Connection refused" in repository.look(http(server)).problem
    assert "there is no repository at `/nothing`" in repository.look("git+file:///nothing").problem


def test_credentials_of_the_file_go_to_their_host(repository: Repository, server: GitServer, tmp_path: Path) -> None:
    """Those of the host and port are sent, and no others; a file that others may read is refused."""
    server.password = "secret"
    file = tmp_path / "credentials"
    file.touch(mode=0o600)
    file.write_text("http://user:secret@127.0.0.1:1\nhttp://user:secret@example.org\n")
    assert "wants credentials" in repository.look(http(server), credentials_file=str(file)).problem
    assert set(server.seen) == {None}
    file.write_text(f"# ours\n\nhttp://user:secret@127.0.0.1:{server.port}\n")
    assert repository.look(http(server), credentials_file=str(file)).commit == repository.first
    file.chmod(0o604)
    report = repository.look(http(server), credentials_file=str(file))
    assert "others may read or change" in report.problem
    assert report.help.startswith("`chmod 0600")


def test_damage_is_mended_by_another_clone(repository: Repository, server: GitServer) -> None:
    """Packs that cannot be read, a clone whose settings cannot, and one that is a file, are replaced."""
    repository.look(http(server))
    clone = next(repository.cache.glob("*/repository.git"))
    for pack in clone.rglob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"damaged")
    for damage in ("packs", "config", "file"):
        if damage == "config":
            (clone / "config").write_bytes(b"[core\0")
        elif damage == "file":
            for path in sorted(clone.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            clone.rmdir()
            clone.touch()
        report = repository.look(http(server))
        assert (report.commit, bool(report.cloned), report.problem) == (repository.first, True, "")


def test_a_clone_that_cannot_be_made_anew_is_kept(repository: Repository, server: GitServer) -> None:
    """Where the remote gives no clone in the place of one that a bundle could not be read from, that one stays."""
    first = repository.look(http(server)).commit
    GitCache(repository.cache, parse_remote(http(server))).keep_served(first)
    server.breaks_after = 10
    report = repository.look(http(server), fresh=True)
    assert (bool(report.problem), report.commit) == (True, "")
    server.stop()
    assert repository.look(http(server)).kept == first


def test_a_shallow_remote_is_served_as_far_as_it_goes(repository: Repository, server: GitServer) -> None:
    """A shallow repository is served, and what was served must be in what it holds: beyond that nobody can tell."""
    last = repository.commit("two")
    shallow = repository.root.parent / "shallow"
    git(repository.root.parent, "clone", "--quiet", "--bare", "--depth=1", f"file://{repository.root}", str(shallow))
    for url in (f"git+http://127.0.0.1:{server.port}/shallow?ref=main", f"git+file://{shallow}?ref=main"):
        for served in ("", last):
            assert (report := repository.look(url, served=served)).commit == last
            assert (report.refused, report.cloned) == ("", "")
        report = repository.look(url, served=repository.first)
        assert "the repository is shallow, and does not show that `main` contains" in report.refused
        assert (report.cloned, repository.look(url, served=repository.first, allow_rewind=True).refused) == ("", "")


def test_a_password_of_any_letters_is_given(repository: Repository, server: GitServer) -> None:
    """A password that Latin-1 has no letters for reaches the remote as UTF-8."""
    server.password = "pä€ß"
    assert repository.look(http(server), credentials=Credentials("user", "pä€ß")).commit == repository.first


def test_several_look_into_one_cache_at_once(repository: Repository, server: GitServer) -> None:
    """Servers that share a cache directory take turns, and all find the same."""
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: repository.look(http(server)), range(4)))
    assert {(report.commit, report.problem) for report in reports} == {(repository.first, "")}
    assert server.fetches == 1


def test_the_cache_is_private(repository: Repository, server: GitServer) -> None:
    """Nobody else may enter the clone, and a directory that others may enter is refused."""
    repository.look(http(server))
    assert not [
        path for path in repository.cache.rglob("*") if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    repository.cache.chmod(0o750)
    assert "others may enter" in repository.look(http(server)).problem


def test_a_full_disk_is_told(repository: Repository, server: GitServer) -> None:
    """Where nothing can be written the look has a problem, and the clone is kept."""
    repository.look(http(server))
    (repository.root / "large").write_bytes(os.urandom(4 << 20))
    newest = repository.commit("two")
    # As if the disk ended there.
    report = _limited(repository, http(server))
    assert "there is no room" in report.problem
    assert repository.look(http(server)).commit == newest


def _limited(repository: Repository, url: str) -> FetchReport:
    """A look by a process that may write files of a megabyte only."""
    order = FetchOrder(parse_remote(url), str(repository.cache), 30, 1 << 30)
    ran = subprocess.run(
        ["sh", "-c", 'ulimit -f 1024; exec "$0" "$@"', sys.executable, "-m", "authz_sidecar.sources.fetcher"],
        input=msgspec.json.encode(order),
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(ran.stdout, type=FetchReport)


def test_ssh_gets_no_freedom(repository: Repository, ssh: Path) -> None:
    """`ssh` is called without settings of others, asks nobody, knows its hosts, and gets host and command last."""
    url = f"git+ssh://git@host.example:2222{repository.root}?ref=main"
    files = SshFiles("/keys/a key", "/keys/known%hosts")
    assert repository.look(url, ssh=files).commit == repository.first
    called = (ssh.parent / "ssh.called").read_text().splitlines()
    assert called == ssh_command(files, "host.example", "git", 2222, f"git-upload-pack '{repository.root}'")[1:]
    assert called[:2] == ["-F", "none"]
    options = {called[place + 1] for place, word in enumerate(called) if word == "-o"}
    assert {
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        'IdentityFile="/keys/a key"',
        'UserKnownHostsFile="/keys/known%%hosts"',
    } <= options
    assert called[-5:-1] == ["-p", "2222", "--", "git@host.example"]


@pytest.mark.usefixtures("ssh")
def test_a_path_cannot_leave_its_quotes(repository: Repository, tmp_path: Path) -> None:
    """What follows a quote in the path of the repository is not run at the other end."""
    report = repository.look(f"git+ssh://host/a';touch%20{tmp_path}/run;'")
    assert report.problem
    assert not (tmp_path / "run").exists()


def test_without_ssh_it_is_said(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no `ssh` program the problem says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository.look("git+ssh://host/p.git").problem == "there is no `ssh` program here"


def test_what_was_served_must_be_in_the_history(repository: Repository) -> None:
    """A tip beside what is served is refused, unless that is allowed; an unknown commit counts as beside."""
    url = f"git+file://{repository.root}?ref=main"
    second = repository.commit("two")
    assert repository.look(url, served=repository.first).refused == ""
    git(repository.root, "reset", "--quiet", "--hard", repository.first)
    assert "was rewritten" in repository.look(url, served=second).refused
    assert "was rewritten" in repository.look(url, served="0" * 40).refused
    assert repository.look(url, served=second, allow_rewind=True).refused == ""
    assert repository.look(url, at=repository.first, served=second).refused == ""
    assert "not in the history of `main`" in repository.look(url, at=second).refused
