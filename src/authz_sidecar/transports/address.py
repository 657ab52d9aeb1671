"""Addresses to listen on: `host:port` or `unix:/path`."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

UNIX = "unix:"
MAX_PORT = 65535
# Bytes of `sun_path` without the closing zero, on Linux.
MAX_PATH_BYTES = 107
# A Unix socket is for its owner and group: 0777 without these bits.
SOCKET_UMASK = 0o117
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


def open_listener(address: Address) -> socket.socket:
    """A socket that listens on `address`; raises AddressError if that is taken, forbidden or unknown."""
    listener: socket.socket | None = None
    try:
        if address.path:
            clear_stale_socket(address)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with socket_permissions():
                listener.bind(address.path)
        else:
            family, kind, protocol, _, place = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
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
    """Raise AddressError if `address` cannot be listened on now; a server that binds by itself says less."""
    if address.path:
        clear_stale_socket(address)
    else:
        open_listener(address).close()


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
        try:
            client.connect(address.path)
        except ConnectionRefusedError:
            Path(address.path).unlink()
            return
        except OSError as error:
            raise cannot_listen(address, error) from error
    raise cannot_listen(address, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))


@contextlib.contextmanager
def socket_permissions() -> Iterator[None]:
    """Sockets that are made inside belong to their owner and group alone."""
    previous = os.umask(SOCKET_UMASK)
    try:
        yield
    finally:
        os.umask(previous)


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
        errno.EADDRINUSE: "stop the other server or choose another address; port 0 takes any free one",
        errno.EACCES: "choose a port from 1024 up, or a path that this user may write",
        errno.EADDRNOTAVAIL: "choose an address of this machine, for example 127.0.0.1",
        errno.ENOENT: "make the directory of the socket first",
    }.get(error.errno or 0, "choose another address")
    return AddressError(f"cannot listen on `{address}`: {why}", help)
