"""What opens a private repository over HTTPS: a user and a password or token, from a file or from the environment.

They never stand on a command line, in a URL or in a message. The file has git's own form (git-credential-store(1)), one
`https://USER:PASSWORD@HOST` a line, so that each is given to its own host only. It is read at each fetch: a token that
is replaced there is used.
"""

import contextlib
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from authz_sidecar.sources.remote import Remote

USER_VARIABLE = "AUTHZ_GIT_USERNAME"
PASSWORD_VARIABLE = "AUTHZ_GIT_PASSWORD"
# Hosts that know a token by itself take any user with it.
DEFAULT_USER = "git"
MAX_FILE_BYTES = 64 * 1024
# Nobody else on the machine may read the file; a group may, as Kubernetes mounts secrets.
FORBIDDEN_MODE = 0o027
_DEFAULT_PORTS = {"https": 443, "http": 80}


class CredentialsError(Exception):
    """The credentials cannot be used: a message and a remedy, neither of which repeats them."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Credentials(msgspec.Struct, frozen=True):
    """A user and a password."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Without the secret."""
        return "Credentials(…)"


def take_credentials(environment: MutableMapping[str, str]) -> Credentials | None:
    """The credentials in the environment, None without. They are taken out of it, so that no process that is started
    from now on has them, and the system shows them to nobody as those that this one was started with."""
    user = environment.pop(USER_VARIABLE, "")
    password = take_variable(environment, PASSWORD_VARIABLE)
    return Credentials(user or DEFAULT_USER, password) if password else None


def take_variable(environment: MutableMapping[str, str], name: str) -> str:
    """The text of a variable, "" without one, which is taken out of the environment likewise."""
    text = environment.pop(name, "")
    if environment is os.environ and text:
        _forget(name)
    return text


def _forget(name: str) -> None:
    """Blank a variable in the environment that this process was started with, which Linux shows in `/proc` for as long
    as it runs. Where that cannot be done, it is shown to the same user as before, and to root."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # proc(5): `env_start` and `env_end` are the 50th and 51st field; the second may hold spaces.
        fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            at = 0
            for variable in memory.read(end - start).split(b"\0"):
                if variable.startswith(f"{name}=".encode()):
                    memory.seek(start + at)
                    memory.write(bytes(len(variable)))
                at += len(variable) + 1


def read_credentials(file: Path, remote: Remote) -> Credentials | None:
    """The first credentials in the file that are for the remote; None if it has none. Raises CredentialsError."""
    try:
        with file.open("rb") as opened:
            facts = os.fstat(opened.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise CredentialsError(f"`{file}` is not a file", "name a file with `--git-credentials`")
            if facts.st_mode & FORBIDDEN_MODE:
                raise CredentialsError(
                    f"others may read or change `{file}`, which holds credentials: its mode is "
                    f"{stat.S_IMODE(facts.st_mode):04o}",
                    f"`chmod 0600 {file}`",
                )
            text = opened.read(MAX_FILE_BYTES).decode("utf-8")
    except OSError as error:
        raise CredentialsError(
            f"the credentials in `{file}` cannot be read: {(error.strerror or 'unknown reason').lower()}",
            "let the user that runs the sidecar read the file",
        ) from error
    except UnicodeDecodeError:
        raise CredentialsError(f"`{file}` is not text", "write one `https://USER:PASSWORD@HOST` a line") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            parts = urlsplit(line.strip())
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or not parts.username:
            raise CredentialsError(
                f"line {number} of `{file}` is not a URL with credentials",
                "write `https://USER:PASSWORD@HOST`, with `%` and two digits for what a URL cannot hold",
            )
        wanted = _DEFAULT_PORTS.get(remote.scheme, 0)
        same = (parts.scheme, parts.hostname, port or wanted) == (
            remote.scheme,
            remote.host.lower(),
            remote.port or wanted,
        )
        folder = unquote(parts.path).rstrip("/")
        if same and (remote.path == folder or remote.path.startswith(f"{folder}/")):
            return Credentials(unquote(parts.username), unquote(parts.password or ""))
    return None
