"""One bounded fetch of an issuer's keys over HTTP: in size, in time as a whole, and in where it may lead.

`urllib.request` bounds each wait but not their sum, so that a server that sends a byte now and then would hold it for
good. Here a timer ends the connection whatever it is doing.
"""

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.jwt.jwks import MAX_BYTES

MAX_REDIRECTS = 3
MAX_TAG = 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


class FetchError(Exception):
    """Why nothing was fetched."""


class Fetched(msgspec.Struct, frozen=True):
    """What came: `data` is None if it is what the tag stands for. `max_age` is for how many seconds the server lets it
    be kept, None where it does not say."""

    data: bytes | None
    tag: str = ""
    max_age: int | None = None


def fetch_keys(url: str, *, tag: str = "", seconds: float = 10.0, context: ssl.SSLContext | None = None) -> Fetched:
    """What is at `url`, unless it is what `tag` stands for; FetchError after `seconds` at the latest (looking up the
    name of the host apart, which the system bounds)."""
    ends = time.monotonic() + seconds
    where = urlsplit(url)
    for _ in range(MAX_REDIRECTS + 1):
        answer = _ask(where, tag, ends, context)
        if isinstance(answer, Fetched):
            return answer
        following = urlsplit(urljoin(where.geturl(), answer))
        # Whoever answers for one host must not be able to name the keys of another.
        if _origin(following) != _origin(where):
            raise FetchError(f"the server sends on to {quote(following.geturl())}, which is another server")
        where = following
    raise FetchError(f"the server sends on more than {MAX_REDIRECTS} times")


def _origin(url: SplitResult) -> tuple[str, str, int]:
    try:
        port = url.port
    except ValueError:
        raise FetchError("the server sends on to no URL") from None
    return url.scheme, url.hostname or "", port if port is not None else 443 if url.scheme == "https" else 80


def _ask(where: SplitResult, tag: str, ends: float, context: ssl.SSLContext | None) -> Fetched | str:
    """The answer of one server, or where it sends on to."""
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    if tag:
        headers["If-None-Match"] = tag
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    late = FetchError(f"{quote(where.netloc)} has not answered in time")
    try:
        with _connected(where, ends, context) as connection:
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                answer = _read(response, tag)
    except FetchError:
        if time.monotonic() >= ends:
            raise late from None
        raise
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"the certificate of {quote(where.netloc)} is refused: {error.verify_message}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= ends:
            raise late from None
        cause = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise FetchError(f"{quote(where.netloc)} does not answer: {cause.lower()}") from None
    # An answer whose end is the end of the connection looks whole when it was cut off.
    if time.monotonic() >= ends:
        raise late
    return answer


@contextlib.contextmanager
def _connected(where: SplitResult, ends: float, context: ssl.SSLContext | None) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut off when the time is over."""
    _scheme, host, port = _origin(where)
    connection = http.client.HTTPConnection(host, port)
    plain = _connect(host, port, ends)
    left = _left(ends)
    open_socket: socket.socket = plain
    if where.scheme == "https":
        try:
            secured = (context or ssl.create_default_context()).wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        open_socket = secured
    # The method of plain sockets: that of `ssl` would also take the connection's state from under whoever reads it.
    timer = threading.Timer(left, _cut, (open_socket,))
    timer.daemon = True
    timer.start()
    try:
        if isinstance(open_socket, ssl.SSLSocket):
            open_socket.do_handshake()
        connection.sock = open_socket
        yield connection
    finally:
        timer.cancel()
        open_socket.close()
        connection.close()


def _connect(host: str, port: int, ends: float) -> socket.socket:
    """A connection to the first address of a host that takes one, in the time that there is for all of them."""
    failed: OSError = OSError("it has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(_left(ends))
            made.connect(address)
        except OSError as error:
            made.close()
            failed = error
        else:
            return made
    raise failed


def _left(ends: float) -> float:
    return max(ends - time.monotonic(), 0.001)


def _cut(open_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


def _read(answer: http.client.HTTPResponse, tag: str) -> Fetched | str:
    status = answer.status
    if status in (301, 302, 303, 307, 308):
        location = answer.headers.get("Location", "")
        if not location or len(location) > 2048 or not location.isprintable():
            raise FetchError("the server sends on to no URL")
        return location
    found = _MAX_AGE.search(answer.headers.get("Cache-Control", "")[:1024])
    max_age = int(found[1]) if found else None
    if status == 304 and tag:
        return Fetched(None, tag, max_age)
    if status != 200:
        raise FetchError(f"the server answers with status {status}")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchError("the server's answer is compressed, which it was not asked for")
    length = answer.length
    data = answer.read(MAX_BYTES + 1) if length is None or length <= MAX_BYTES else b""
    if len(data) > MAX_BYTES or (length or 0) > MAX_BYTES:
        raise FetchError(f"the server's answer is larger than {MAX_BYTES:,} bytes")
    if length is not None and len(data) < length:
        raise FetchError("the server's answer ends early")
    new_tag = answer.headers.get("ETag", "")
    usable = len(new_tag) <= MAX_TAG and new_tag.isascii() and new_tag.isprintable()
    return Fetched(data, new_tag if usable else "", max_age)
