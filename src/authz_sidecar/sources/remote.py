"""Where policies are served from, if that is a git repository: `git+https://host/path?ref=main&path=policies`.

The text is read strictly. What follows `ref=` and `path=`, the host and the user are checked before anything is done
with them: the host and the user end up on the command line of `ssh`, the path in a command for a shell at its other
end.
"""

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import msgspec

PREFIX = "git+"
FORMS = "`git+https://HOST/PATH`, `git+ssh://USER@HOST/PATH` or `git+file:///PATH`, then `?ref=BRANCH&path=FOLDER`"

_SCHEMES = ("file", "ssh", "https", "http")
_PARAMETERS = ("ref", "path")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What git-check-ref-format(1) forbids.
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|/\.|\.lock(?:/|$)")
COMMIT = re.compile(r"[0-9a-f]{40}")


class RemoteError(Exception):
    """The text names no repository to serve from: a message and a remedy. Neither repeats what may be a secret."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Remote(msgspec.Struct, frozen=True):
    """A folder on a ref of a git repository.

    `scheme` is `file`, `ssh`, `https` or `http`. `host` and `user` are "" and `port` is 0 where the URL has none.
    `path` is the repository's, decoded, and begins with a slash. `ref` is a branch, a tag, a full name such as
    `refs/heads/main`, a commit, or "" for the branch that the repository offers first. `folder` is that of the bundle
    in the repository, "" for all of it.
    """

    scheme: str
    host: str
    port: int
    user: str
    path: str
    ref: str = ""
    folder: str = ""

    @property
    def repository(self) -> str:
        """The URL of the repository as git and its servers take it, without the prefix, the ref and the folder."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}{port}{quote(self.path, safe='/~+@:!$,=')}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """The whole, as it may be typed and shown: it holds no secret."""
        pairs = [(name, value) for name, value in (("ref", self.ref), ("path", self.folder)) if value]
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in pairs)
        return f"{PREFIX}{self.repository}" + (f"?{query}" if query else "")


def is_remote(text: str) -> bool:
    """Whether `text` is meant for a URL, and not for a directory."""
    return text.startswith(PREFIX) or _ANY_URL.match(text) is not None


def parse_remote(text: str, *, insecure: bool = False) -> Remote:
    """Read the text of `--policies`. Raises RemoteError, which names the part that is wrong.

    Plain `http` is taken to this machine only, unless `insecure`.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or 0
    except ValueError:
        raise RemoteError("the URL of the policies cannot be read", f"write {FORMS}") from None
    # First of all, so that no other message shows it.
    scheme = parts.scheme.removeprefix(PREFIX)
    user = _user(parts, scheme)
    if not parts.scheme.startswith(PREFIX) or scheme not in _SCHEMES:
        raise RemoteError(f"policies cannot be served from `{parts.scheme}://`", f"write {FORMS}")
    if parts.fragment or "#" in text:
        raise RemoteError(
            "the URL of the policies holds a `#`", "name the branch with `?ref=` and the folder with `&path=`"
        )
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise RemoteError(
            "the URL of the policies holds a character that a URL cannot hold",
            "write it as `%` and two hexadecimal digits, a space as `%20`",
        )
    remote = Remote(scheme, _host(parts, scheme), port, user, _path(parts), *_query(parts))
    if scheme == "http" and not (insecure or remote.is_loopback):
        raise RemoteError(
            f"`git+http` to `{remote.host}` is neither encrypted nor authenticated: whoever is on the way may change "
            "the policies",
            "use `git+https`, or give `--git-insecure` if something else protects the way",
        )
    return remote


def _user(parts: SplitResult, scheme: str) -> str:
    if "@" not in parts.netloc:
        return ""
    user = unquote(parts.username or "")
    if parts.password is not None or scheme != "ssh":
        raise RemoteError(
            "the URL of the policies holds a user or a password, which other users of the machine could read",
            "take them out of the URL; for `git+https` put them into a file and name it with `--git-credentials`, for "
            "`git+ssh` name a key with `--git-ssh-key`",
        )
    if not _USER.fullmatch(user):
        raise RemoteError("the user in the URL of the policies is not one that `ssh` takes", "write `git@HOST`")
    return user


def _host(parts: SplitResult, scheme: str) -> str:
    host = parts.hostname or ""
    if scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise RemoteError(
                f"`git+file` names the host `{_shown(host)}`, and files are of this machine",
                "write three slashes: `git+file:///srv/policies.git`",
            )
        return ""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            host = ""
    # INVARIANT: neither a host nor a user begins with `-`, which `ssh` would take for an option.
    if not _HOST.fullmatch(host):
        raise RemoteError(
            f"`{_shown(parts.hostname or '')}` is not a host" if parts.hostname else "the URL names no host",
            f"write `git+{scheme}://HOST/PATH`",
        )
    return host


def _path(parts: SplitResult) -> str:
    path = unquote(parts.path, errors="strict") if _decodes(parts.path) else "\0"
    if not path.isprintable():
        raise RemoteError(
            "the path of the repository holds a character that a path cannot hold", "write it as the host shows it"
        )
    if not path.strip("/"):
        raise RemoteError("the URL names no repository on its host", f"write {FORMS}")
    return path


def _query(parts: SplitResult) -> tuple[str, str]:
    """The ref and the folder."""
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise RemoteError(
            "what follows the `?` in the URL of the policies cannot be read", "write `?ref=BRANCH&path=FOLDER`"
        ) from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise RemoteError(
                f"the URL of the policies has no parameter `{_shown(name)}`", "there are two: `?ref=BRANCH&path=FOLDER`"
            )
        if name in values:
            raise RemoteError(f"the URL of the policies gives `{name}` twice", "give it once")
        values[name] = value
    return _ref(values.get("ref")), _folder(values.get("path", ""))


def _ref(ref: str | None) -> str:
    if ref is None:
        return ""
    if not ref or not ref.isprintable() or ref[0] in "-/." or ref[-1] in "/." or ref == "@" or _NOT_IN_REF.search(ref):
        raise RemoteError(
            f"`ref={_shown(ref)}` can be neither a branch nor a tag nor a commit",
            "give the name of a branch or a tag as git shows it, or all 40 digits of a commit",
        )
    return ref


def _folder(path: str) -> str:
    parts = path.removesuffix("/").split("/")
    if path in {"", "."}:
        return ""
    # INVARIANT inside-the-repository: the folder is a path down from its root.
    if any(part in {"", ".", ".."} for part in parts) or not path.isprintable() or "\\" in path:
        raise RemoteError(
            f"`path={_shown(path)}` is not a folder of the repository",
            "give the path from the root of the repository down, such as `path=services/policies`",
        )
    return "/".join(parts)


def _decodes(path: str) -> bool:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _shown(text: str) -> str:
    return ascii(text[:200])[1:-1]
