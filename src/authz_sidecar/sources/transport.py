"""The way to a remote repository, with dulwich's clients: its refs, and a pack of what is missing here.

Whatever goes wrong on the way is a `RemoteFailedError` in words for people. Nothing in it is a secret: credentials are
in no URL and no command line, and what the other side writes is escaped and cut.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from authz_sidecar.sources.credentials import Credentials
from authz_sidecar.sources.remote import Remote
from authz_sidecar.values.lineage import is_commit

if TYPE_CHECKING:
    from dulwich.client import GitClient, SubprocessWrapper

MAX_SAID = 300
CONNECT_SECONDS = 15
READ_SECONDS = 30
# What ssh itself waits for a silent server: three times this.
ALIVE_SECONDS = 10


class RemoteFailedError(Exception):
    """The remote does not give what was asked of it: a message and a remedy."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class SshFiles(msgspec.Struct, frozen=True):
    """The private key and the known hosts of `ssh`; "" for its own defaults."""

    key: str = ""
    known_hosts: str = ""


class Transport:
    """Talks to one remote. `interrupted` are errors that are the caller's own and pass through."""

    def __init__(self, remote: Remote, credentials: Credentials | None, ssh: SshFiles) -> None:
        self._remote = remote
        self._client = _client(remote, credentials, ssh)
        # What the clients call the repository: they have the host already.
        self._path: Any = remote.path.encode() if remote.scheme == "ssh" else remote.path

    def refs(self, prefixes: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The ids of the refs that begin with one of `prefixes`, and what symbolic ones name; raises
        RemoteFailedError."""
        with self._told():
            found = self._client.get_refs(self._path, ref_prefix=[prefix.encode() for prefix in prefixes])
            self._refuse_dumb()
            refs = {_text(name): id.decode("ascii", "replace") for name, id in found.refs.items() if id is not None}
            if not all(map(is_commit, refs.values())):
                raise ValueError("what it names is no id")
            return refs, {_text(name): _text(target) for name, target in found.symrefs.items()}

    def fetch(self, wanted: Sequence[str], walker: Any, take: Callable[[bytes], int]) -> set[bytes]:
        """Give `take` a pack of the wanted objects and all that they need beyond what `walker` has; the ids of commits
        whose parents the remote does not hold. Raises RemoteFailedError, and what `take` raises."""

        def wants(_refs: Any, _depth: int | None = None) -> list[bytes]:
            return [id.encode("ascii") for id in wanted]

        with self._told():
            fetched = self._client.fetch_pack(self._path, wants, walker, take)  # type: ignore[arg-type]  # ids are bytes
            self._refuse_dumb()
            return set(fetched.new_shallow or ())

    def _refuse_dumb(self) -> None:
        if getattr(self._client, "dumb", False):
            raise RemoteFailedError(
                f"`{self._remote.host}` does not answer as a git server at this path",
                "give the URL that `git clone` takes",
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        from dulwich.client import HTTPProxyUnauthorized, HTTPUnauthorized
        from dulwich.errors import GitProtocolError, NotGitRepository
        from urllib3.exceptions import HTTPError, MaxRetryError

        where = self._remote.host or self._remote.path
        try:
            yield
        except RemoteFailedError:
            raise
        except HTTPUnauthorized:
            raise RemoteFailedError(
                f"`{where}` wants credentials, or refuses those that it is given",
                "give them with `--git-credentials`; a token needs the right to read the repository",
            ) from None
        except HTTPProxyUnauthorized:
            raise RemoteFailedError("the proxy wants credentials", "give them in `https_proxy`") from None
        except NotGitRepository:
            raise RemoteFailedError(
                f"there is no repository `{self._remote.path}` on `{where}`, or it is not shown to us"
                if self._remote.host
                else f"there is no repository `{self._remote.path}`",
                "give the URL that `git clone` takes, and credentials if the repository is private",
            ) from None
        except (GitProtocolError, HTTPError) as error:
            if isinstance(error.__cause__, MaxRetryError) and (reason := error.__cause__.reason) is not None:
                # What urllib3 says before the last colon is how it came there.
                why = _said(reason).rpartition(": ")[2]
                raise RemoteFailedError(f"`{where}` cannot be reached: {why}") from error
            raise RemoteFailedError(f"`{where}` does not answer as it should: {_said(error)}") from error
        except (ConnectionError, TimeoutError) as error:
            raise RemoteFailedError(f"the connection to `{where}` is lost: {_said(error)}") from error
        # What parses the answers of a server that is none fails in these ways.
        except (AssertionError, ValueError, KeyError, IndexError, EOFError) as error:
            raise RemoteFailedError(f"`{where}` does not answer as a git server: {_said(error)}") from error


def _client(remote: Remote, credentials: Credentials | None, ssh: SshFiles) -> "GitClient":
    if remote.scheme == "ssh":
        from dulwich.client import SSHGitClient

        return SSHGitClient(remote.host, remote.port or None, remote.user or None, vendor=_ssh(ssh))
    from dulwich.client import Urllib3HttpGitClient

    base = remote.repository
    return Urllib3HttpGitClient(
        base,
        pool_manager=_pool(base, remote),
        username=_as_utf8(credentials.user) if credentials else None,
        password=_as_utf8(credentials.password) if credentials else None,
    )


def _as_utf8(text: str) -> str:
    """A text of which the client, which knows Latin-1 only, makes the bytes that hosts expect (RFC 7617, 2.1)."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _pool(base: str, remote: Remote) -> Any:
    """Connections to the host of `base` and to no other: a redirect leads nowhere else, and credentials with it."""
    import urllib3
    from dulwich.client import default_urllib3_manager

    origin = urllib3.util.parse_url(base)

    class OneHost(urllib3.PoolManager):
        """Follows redirects on one host only."""

        def urlopen(self, method: str, url: str, *arguments: Any, **named: Any) -> Any:
            """Ask, unless it is another host."""
            target = urllib3.util.parse_url(url)
            if (target.scheme, target.host, target.port) != (origin.scheme, origin.host, origin.port):
                shown = f"{target.scheme}://{target.host}" + (f":{target.port}" if target.port else "")
                raise urllib3.exceptions.HTTPError(f"it redirects to {shown}, which is not followed")
            return super().urlopen(method, url, *arguments, **named)  # type: ignore[no-untyped-call, unused-ignore]

    class OneHostByProxy(OneHost, urllib3.ProxyManager):
        """The same by way of a proxy."""

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    if remote.is_loopback:
        pool: Any = OneHost(cert_reqs="CERT_REQUIRED")
    else:
        pool = default_urllib3_manager(None, pool_manager_cls=OneHost, proxy_manager_cls=OneHostByProxy, base_url=base)
    pool.connection_pool_kw["timeout"] = timeout
    pool.headers.setdefault("User-agent", "git/authz-sidecar")
    return pool


def _ssh(files: SshFiles) -> Any:
    """What runs `ssh` for dulwich."""
    from dulwich.client import SSHVendor, SubprocessWrapper

    class Ssh(SSHVendor):
        """The `ssh` program, without a terminal, a question, or a setting that is not ours."""

        def run_command(self, host: str, command: bytes, *arguments: Any, **named: Any) -> "SubprocessWrapper":
            """Start it."""
            username, port = named.get("username"), named.get("port")
            line = ssh_command(files, host, username or "", port or 0, os.fsdecode(command))
            environment = {
                name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "SSH_AUTH_SOCK", "USER"}
            }
            try:
                return SubprocessWrapper(
                    subprocess.Popen(  # noqa: S603 - every part of it was checked
                        line,
                        bufsize=0,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        env=environment | {"LC_ALL": "C"},
                    )
                )
            except FileNotFoundError:
                raise RemoteFailedError(
                    "there is no `ssh` program here", "install the OpenSSH client, or serve from `git+https`"
                ) from None

    return Ssh()


def ssh_command(files: SshFiles, host: str, user: str, port: int, command: str) -> list[str]:
    """The command line of `ssh`.

    `-F none` leaves the settings of the user and the machine out of it. Nobody is asked for a password, and a host that
    is not known, or known by another key, is refused.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PermitLocalCommand": "no",
        "ClearAllForwardings": "yes",
        "ControlMaster": "no",
        "ControlPath": "none",
        "LogLevel": "ERROR",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(ALIVE_SECONDS),
        "ServerAliveCountMax": "3",
        "SetEnv": "GIT_PROTOCOL=version=2",
    }
    if files.known_hosts:
        options |= {"UserKnownHostsFile": _ssh_path(files.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
    if files.key:
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none", "IdentityFile": _ssh_path(files.key)}
    line = ["ssh", "-F", "none", "-T", "-a", "-x"]
    for name, value in options.items():
        line += ["-o", f"{name}={value}"]
    if port:
        line += ["-p", str(port)]
    return [*line, "--", f"{user}@{host}" if user else host, command]


def _ssh_path(path: str) -> str:
    """A path as a value of an option, whatever is in it."""
    text = str(Path(path).absolute()).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'


def _said(error: Exception) -> str:
    """What an error says, in one line that is safe to show."""
    lines = [line.strip() for line in (str(error) or type(error).__name__).split("\n") if line.strip()]
    return ascii(" ".join(lines)[:MAX_SAID])[1:-1]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
