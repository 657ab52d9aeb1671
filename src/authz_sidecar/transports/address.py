"""Addresses to listen on: `host:port` or `unix:/path`."""

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

UNIX = "unix:"
MAX_PORT = 65535
# Bytes of `sun_path` without the closing zero, on Linux.
MAX_PATH_BYTES = 107
# A Unix socket is for its owner and group.
SOCKET_MODE = 0o660
BACKLOG = 1024


class AddressError(Exception):
    """An address that cannot be read or listened on; `help` says what to do."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Address(msgspec.Struct, frozen=True):
    """Where to listen: `path` of a Unix socket, or else `host` (without brackets) and `port` (0: any free one)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` counts as reachable from outside."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Read `host:port`, `[ipv6]:port` or `unix:/path`; raises AddressError."""
    help = "write `host:port` (port 0 takes any free one) or `unix:/path`"
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not path.startswith("/") or "\0" in path:
            raise AddressError(f"`{text}` does not name an absolute path", help)
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise AddressError(f"the path of `{text}` is longer than {MAX_PATH_BYTES} bytes", "use a shorter path")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(f"`{text}` is not an address", help)
    if not (port.isascii() and port.isdigit()) or int(port[:6]) > MAX_PORT:
        raise AddressError(f"`{port}` in `{text}` is not a port", f"ports are whole numbers from 0 to {MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError(f"`{host}` in `{text}` is not an IPv6 address", help) from None
    elif ":" in host:
        raise AddressError(f"`{text}` is not an address", "put an IPv6 address in brackets: `[::1]:50051`")
    elif not host.isascii() or not host.isprintable() or " " in host or "/" in host:
        raise AddressError(f"`{host}` in `{text}` is not a host", help)
    return Address(host, int(port))


class SocketAccess(msgspec.Struct, frozen=True):
    """Who may connect to a Unix socket: its permissions, and its owner and group by number (-1: the server's)."""

    mode: int = SOCKET_MODE
    owner: int = -1
    group: int = -1


def open_listener(address: Address, access: SocketAccess) -> tuple[socket.socket, "SocketFile | None"]:
    """A socket that listens on `address`, and its file if it is a Unix socket; raises AddressError if the address is
    taken, forbidden or unknown."""
    with binding(address, access) as bound:
        listener = _listen(address)
        try:
            return listener, bound()
        except AddressError:
            listener.close()
            raise


def reserve_port(address: Address) -> tuple[socket.socket, Address]:
    """Take a TCP port for several processes that share it, after seeing that nobody has it.

    The socket, which does not listen, keeps the port until it is closed: with port 0 the one that was chosen. Raises
    AddressError.
    """
    require_free(address)
    try:
        family, kind, protocol, _, place = _resolve(address)
        holder = socket.socket(family, kind, protocol)
        # Processes of this user may join; `require_free` refuses all who look first, as every sidecar does.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(place)
    except OSError as error:
        raise cannot_listen(address, error) from error
    return holder, bound_address(address, holder)


def _resolve(address: Address) -> tuple[int, int, int, str, Any]:
    return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]


def _listen(address: Address) -> socket.socket:
    listener: socket.socket | None = None
    try:
        if address.path:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(address.path)
        else:
            family, kind, protocol, _, place = _resolve(address)
            listener = socket.socket(family, kind, protocol)
            # Not SO_REUSEPORT: a port that another server has is an error.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise cannot_listen(address, error) from error
    listener.setblocking(False)
    return listener


def bound_address(address: Address, listener: socket.socket) -> Address:
    """`address` with the port that was taken."""
    if address.path:
        return address
    return Address(address.host, int(listener.getsockname()[1]))


def require_free(address: Address) -> None:
    """Raise AddressError if the TCP `address` cannot be listened on now."""
    _listen(address).close()


@contextlib.contextmanager
def binding(
    address: Address, access: SocketAccess, *, shared: bool = False
) -> Iterator[Callable[[], "SocketFile | None"]]:
    """Inside, a server may bind `address` by its own means, and then calls what it is given: that sets the owner of
    a Unix socket and returns its file. Raises AddressError where the address is not free; `shared` says that a TCP
    port is known to be this server's."""
    if not address.path:
        if not shared:
            require_free(address)
        yield lambda: None
        return
    with _starting_alone(address):
        clear_stale_socket(address)
        previous = os.umask(0o777 & ~access.mode)
        try:
            yield lambda: _own(address, access)
        finally:
            os.umask(previous)


def _own(address: Address, access: SocketAccess) -> "SocketFile | None":
    if (access.owner, access.group) != (-1, -1):
        try:
            os.chown(address.path, access.owner, access.group, follow_symlinks=False)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise AddressError(
                f"cannot give `{address.path}` to another owner: {why}",
                "run as a user that may, name a group that this user is in, or leave `--socket-owner` away",
            ) from error
    return SocketFile.of(address)


@contextlib.contextmanager
def _starting_alone(address: Address) -> Iterator[None]:
    """Keep a second server from starting on the same path at the same moment: between a look at the socket and the
    bind it would be replaced unseen. The lock is a file beside it, gone afterwards."""
    path = f"{address.path}.lock"
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise cannot_listen(address, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another server may have locked, bound and removed the file since it was opened.
            if os.fstat(lock).st_ino != os.lstat(path).st_ino:
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise AddressError(
                f"another server is starting on `{address}`", "stop one of the two or choose another path"
            ) from None
        try:
            yield
        finally:
            Path(path).unlink(missing_ok=True)
    finally:
        os.close(lock)


def clear_stale_socket(address: Address) -> None:
    """Remove the socket that a server left behind when it was killed; raises AddressError if one still listens."""
    try:
        if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
            raise AddressError(f"`{address.path}` is a file, not a socket", "remove it or choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_listen(address, error) from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # One that listens and has no time to accept is alive: do not wait for it.
        client.setblocking(False)
        try:
            client.connect(address.path)
        except ConnectionRefusedError:
            Path(address.path).unlink()
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise cannot_listen(address, error) from error
    raise cannot_listen(address, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))


class SocketFile(msgspec.Struct, frozen=True):
    """The file of a Unix socket that was just bound: its path, and which file it is, since the path may be another
    server's by the time this one ends."""

    path: str
    device: int
    inode: int
    # The number of a file is given again at once when it is removed.
    bound_ns: int

    @classmethod
    def of(cls, address: Address) -> "SocketFile | None":
        """The file at `address`; None if that is no Unix socket or the file is gone."""
        if not address.path:
            return None
        try:
            facts = os.lstat(address.path)
        except OSError:
            return None
        return cls(address.path, facts.st_dev, facts.st_ino, facts.st_mtime_ns)

    def remove(self) -> None:
        """Remove the file, if it is still the same."""
        if SocketFile.of(Address(path=self.path)) == self:
            with contextlib.suppress(OSError):
                Path(self.path).unlink()


def cannot_listen(address: Address, error: OSError) -> AddressError:
    """The error for people: the address, the system's word, and what to do."""
    why = (error.strerror or str(error)).lower()
    help = {
        errno.EADDRINUSE: "stop the other server or choose another "
        + ("path" if address.path else "address; port 0 takes any free one"),
        errno.EACCES: "choose a port from 1024 up, or a path that this user may write",
        errno.EADDRNOTAVAIL: "choose an address of this machine, for example 127.0.0.1",
        errno.ENOENT: "make the directory of the socket first",
    }.get(error.errno or 0, "choose another address")
    return AddressError(f"cannot listen on `{address}`: {why}", help)
